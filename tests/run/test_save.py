"""Results without a store, saved as one: what is loaded is what was saved."""

import dask.array as da
import numpy as np
import pytest
from runs import assert_same_bits, change_header, matrix, stored

import dnmf
from dnmf.errors import StoreError

V = matrix()
NAMES = {"row_names": [f"r{i}" for i in range(24)], "column_names": [f"c{j}" for j in range(60)]}


@pytest.mark.parametrize("form", ["memory", "tall", "Dask", "disk", "prepared"])
def test_a_saved_result_is_loaded_to_the_bit(form, tmp_path):
    forms = {
        "memory": lambda: V,
        "tall": lambda: V.T.copy(),
        "Dask": lambda: da.from_array(V, chunks=(-1, 17)),
        "disk": lambda: stored(tmp_path / "V.zarr", V, (24, 13)),
        "prepared": lambda: dnmf.preprocessing.unit_variance(V),
    }
    names = {} if form == "tall" else NAMES
    given = forms[form]()
    result = dnmf.factorize(given, 3, max_passes=3, n_runs=2, **names)
    loaded = dnmf.load(result.save(tmp_path / "run.zarr"))
    assert_same_bits(loaded, result)
    assert (loaded.settings, loaded.runs) == (result.settings, result.runs)
    if names:
        assert loaded.names.columns.tolist() == NAMES["column_names"]
    new, axis = (V.T[:2], "rows") if form == "tall" else (V[:, :2], "columns")
    np.testing.assert_array_equal(dnmf.transform(loaded, new, axis=axis), dnmf.transform(result, new, axis=axis))
    page = loaded.report(tmp_path / "page.html", given)
    assert "Resume from the newest checkpoint" not in page.read_text()
    again = loaded.scaled("columns").save(tmp_path / "scaled.zarr")
    np.testing.assert_allclose(np.asarray(dnmf.load(again).H).sum(axis=1), 1, rtol=1e-5)


def test_a_result_is_not_saved_over_its_own_store_or_matrix_or_anything_else(tmp_path):
    path = stored(tmp_path / "V.zarr", V, (24, 20))
    result = dnmf.factorize(path, 3, max_passes=2, store=tmp_path / "run.zarr")
    for place in (path, tmp_path / "run.zarr"):
        with pytest.raises(StoreError, match="is an input itself"):
            result.save(place, overwrite=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a")
    with pytest.raises(StoreError, match="is not a store of dnmf, and is not overwritten"):
        result.save(tmp_path / "notes", overwrite=True)
    result.save(tmp_path / "copy.zarr")
    with pytest.raises(StoreError, match="already exists"):
        result.save(tmp_path / "copy.zarr")
    assert_same_bits(dnmf.load(result.save(tmp_path / "copy.zarr", overwrite=True)), result)


def test_a_saved_result_cannot_be_resumed(tmp_path):
    result = dnmf.load(dnmf.factorize(V, 3, max_passes=2).save(tmp_path / "run.zarr"))
    with pytest.raises(StoreError, match="a saved result and no run to resume"):
        result.resume(V)


@pytest.mark.parametrize(
    "saved", ["yes", {"survey": 3}, {"survey": None, "density_threshold": 0.5, "neighbours": -1.0}]
)
def test_a_header_with_another_origin_is_refused(saved, tmp_path):
    path = tmp_path / "run.zarr"
    dnmf.factorize(V, 3, max_passes=2).save(path)
    change_header(path, saved=saved)
    with pytest.raises(StoreError, match="is not a store that dnmf wrote: saved is"):
        dnmf.load(path)
