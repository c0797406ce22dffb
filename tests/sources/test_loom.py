"""A loom file is cells × genes, as AnnData reads it."""

import numpy as np
import pytest
import scipy.sparse as sp
from formats import annotated, import_loompy, loom, quiet, read_back
from strategies import low_rank

from dnmf.conversion import convert
from dnmf.errors import DataError
from dnmf.sources import open_matrix

V = low_rank(30, 200, 3).astype("f4")


@pytest.mark.parametrize("writer", ["loompy", "anndata"])
def test_a_loom_file_is_read_as_anndata_reads_it(writer, tmp_path):
    import anndata

    place = tmp_path / "V.loom"
    with quiet():
        import_loompy()
        if writer == "loompy":
            loom(V, tmp_path)
            expected = anndata.io.read_loom(place)
        else:
            annotated(V, sp.csr_matrix(V)).write_loom(place)
            expected = anndata.io.read_loom(place, obs_names="obs_names", var_names="var_names")
    source = open_matrix(place)
    np.testing.assert_array_equal(read_back(source), expected.X.toarray())
    assert source.layout.names.rows.tolist() == expected.obs_names.tolist()
    assert source.layout.names.columns.tolist() == expected.var_names.tolist()
    for layer, values in expected.layers.items():
        inner = open_matrix(f"{place}::layers/{layer}")
        np.testing.assert_array_equal(read_back(inner), values.toarray())
        assert inner.layout.names.rows.tolist() == expected.obs_names.tolist()
    convert(place, tmp_path / "V.zarr")
    again = open_matrix(tmp_path / "V.zarr")
    np.testing.assert_array_equal(read_back(again), V)
    assert again.layout.names.columns.tolist() == expected.var_names.tolist()


def test_a_dataset_of_genes_by_cells_is_refused_and_other_files_are_left(tmp_path):
    import h5py

    with h5py.File(loom(V, tmp_path), "a") as file:
        with pytest.raises(DataError, match="holds the transpose of its matrix"):
            open_matrix(file["matrix"])
        assert open_matrix(file).layout.user_shape == V.shape
        del file["col_attrs"]
    with pytest.raises(DataError, match="give one of its arrays: layers/twice, matrix"):
        open_matrix(tmp_path / "V.loom")
    assert open_matrix(f"{tmp_path / 'V.loom'}::matrix").layout.user_shape == V.T.shape
