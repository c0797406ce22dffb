"""The parts of an AnnData, in memory and backed by a file, are matrices with its names."""

import numpy as np
import pytest
import scipy.sparse as sp
from formats import annotated, quiet, read_back
from strategies import low_rank

import dnmf
from dnmf.sources import open_matrix

V = low_rank(30, 200, 3)


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, np.asarray])
def test_every_part_is_the_matrix_that_anndata_shows(form, tmp_path):
    import anndata
    import h5py

    place = tmp_path / "V.h5ad"
    with quiet():
        whole = annotated(V, form(V))
        whole.raw = whole.copy()
        chosen = whole[:, 5:50].copy()
        chosen.write_h5ad(place)
        backed = anndata.read_h5ad(place, backed="r")
    parts = {"X": V[:, 5:50], "raw": V, "raw/X": V}
    objects = {"X": backed.X, "raw": backed.raw, "raw/X": backed.raw.X}
    for name, given in objects.items():
        source = open_matrix(given)
        np.testing.assert_array_equal(read_back(source), parts[name])
        assert source.layout.location == f"{place}::{name.replace('raw', 'raw/X') if name == 'raw' else name}"
        assert source.layout.names.rows.tolist() == chosen.obs_names.tolist()
        assert source.layout.names.columns[-1] == ("gene 49" if name == "X" else "gene 199")
    held = open_matrix(chosen.raw)
    np.testing.assert_array_equal(read_back(held), V)
    assert held.layout.names.columns.tolist() == whole.var_names.tolist()
    with h5py.File(place) as file:
        for name, given in (("X", file["X"]), ("X", file), ("raw/X", file["raw"]), ("raw/X", file["raw/X"])):
            np.testing.assert_array_equal(read_back(open_matrix(given)), parts[name])
    for given in (backed.raw, chosen.raw):
        model = dnmf.NMF(2, max_iter=2000, tol=0.1, random_state=0).fit(given)
        assert list(model.feature_names_in_) == whole.var_names.tolist()
        assert model.transform(given).shape == (30, 2)
    dnmf.factorize(backed.raw, 2, max_passes=2, tol=0, store=tmp_path / "run.zarr")
    assert dnmf.resume(tmp_path / "run.zarr", max_passes=3).passes == 3
    backed.file.close()
