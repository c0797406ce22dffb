"""The names of rows and columns: from whoever gives them into the store, and out of it again."""

import dataclasses
import json
import pickle
import uuid

import anndata
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner
from runs import matrix, stored

import dnmf
from dnmf.checkpoint import Store
from dnmf.cli import main
from dnmf.errors import DataError
from dnmf.plan import make_plan
from dnmf.sources import open_matrix
from dnmf.sources.dask_array import DaskSource
from dnmf.sources.names import NO_NAMES, Names

V = matrix()
CELLS = [f"cell {row}" for row in range(24)]
GENES = [f"gène {column}" for column in range(60)]
FEW = {"rank": 3, "max_passes": 2, "tol": 0}


def told(names):
    return [None if texts is None else texts.tolist() for texts in (names.rows, names.columns)]


@pytest.fixture(params=["folder", "objects"])
def store(request, tmp_path):
    return str(tmp_path / "run.zarr") if request.param == "folder" else f"memory://{uuid.uuid4().hex}/run.zarr"


@pytest.mark.parametrize("chunks", [(24, 20), (6, 60)], ids=["columns", "rows"])
def test_names_are_in_the_result_in_the_store_and_there_after_a_resume(chunks, store, tmp_path):
    path = stored(tmp_path / "V.zarr", V, chunks)
    result = dnmf.factorize(path, **FEW, store=store, row_names=CELLS, column_names=GENES)
    for found in (result, dnmf.load(store), dnmf.resume(store, max_passes=3), dnmf.load(store)):
        assert told(found.names) == [CELLS, GENES]


GIVEN = {
    "pandas": lambda folder: pd.DataFrame(V, CELLS, GENES),
    "xarray": lambda folder: xr.DataArray(V, {"cell": CELLS, "gene": GENES}, ("cell", "gene")),
    "AnnData": lambda folder: annotated(),
    "AnnData in a file": lambda folder: annotated().write_h5ad(folder / "V.h5ad") or folder / "V.h5ad",
}


def annotated():
    return anndata.AnnData(V, pd.DataFrame(index=CELLS), pd.DataFrame(index=GENES))


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_names_of_frames_anndata_and_xarray_reach_the_store(given, tmp_path):
    result = dnmf.factorize(given(tmp_path), **FEW, store=tmp_path / "run.zarr")
    assert told(result.names) == told(dnmf.load(tmp_path / "run.zarr").names) == [CELLS, GENES]
    assert dnmf.load(tmp_path / "run.zarr").top(1)[0][0][0] in GENES


class NamedSource(DaskSource):
    """A source that knows names."""

    def __init__(self, *given):
        super().__init__(*given)
        self.layout = dataclasses.replace(self.layout, names=Names.of(CELLS, GENES))


def test_names_of_a_source_travel_and_are_overruled_axis_by_axis(monkeypatch, store):
    monkeypatch.setattr("dnmf.sources.opening.DaskSource", NamedSource)
    lazy = da.from_array(V, chunks=(24, 20))
    result = dnmf.factorize(lazy, **FEW, store=store, row_names=range(24))
    assert told(result.names) == told(dnmf.load(store).names) == [[str(row) for row in range(24)], GENES]
    weighted = dnmf.factorize(lazy, **FEW, weights=np.ones(V.shape))
    assert told(weighted.names) == [CELLS, GENES]


def test_a_store_without_names_has_none_until_a_matrix_brings_them(monkeypatch, store):
    lazy = da.from_array(V, chunks=(24, 20))
    dnmf.factorize(lazy, **FEW, store=store)
    assert not dnmf.load(store).names
    monkeypatch.setattr("dnmf.sources.opening.DaskSource", NamedSource)
    assert told(dnmf.resume(store, lazy, max_passes=3).names) == told(dnmf.load(store).names) == [CELLS, GENES]


def test_a_resume_may_name_anew(store):
    dnmf.factorize(V, **FEW, store=store, column_names=GENES)
    with pytest.raises(DataError, match="V has 24 rows and 1 names for them"):
        dnmf.resume(store, V, row_names=["one"])
    result = dnmf.resume(store, V, max_passes=3, row_names=CELLS)
    assert told(result.names) == told(dnmf.load(store).names) == [CELLS, GENES]


def test_a_store_that_is_overwritten_forgets_its_names(store):
    dnmf.factorize(V, **FEW, store=store, row_names=CELLS)
    dnmf.factorize(V, **FEW, store=store, overwrite=True)
    assert not dnmf.load(store).names


def test_what_a_kill_leaves_of_names_is_swept(tmp_path):
    dnmf.factorize(V, **FEW, store=tmp_path / "run.zarr")
    (tmp_path / "run.zarr" / ".names.json-draft").write_text("{")
    Store.open(tmp_path / "run.zarr", write=True).close()
    assert not (tmp_path / "run.zarr" / ".names.json-draft").exists()


@pytest.mark.parametrize("given", [{"row_names": CELLS[1:]}, {"column_names": [*GENES, "more"]}])
def test_another_number_of_names_is_refused_before_the_first_pass(given, tmp_path):
    with pytest.raises(DataError, match=r"V has (24 rows|60 columns) and (23|61) names for them; give one name for"):
        dnmf.factorize(V, **FEW, store=tmp_path / "run.zarr", **given)
    assert not (tmp_path / "run.zarr").exists()


FILES = {
    "a line each": ("names.txt", "é\nb c\n\n"),
    "lines as Windows ends them": ("names.tsv", "\ufeffé\r\nb c\r\n\r\n"),
    "a list": ("names.json", '["\\u00e9", "b c", ""]'),
}


@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES)
def test_names_are_read_from_files(name, content, tmp_path):
    (tmp_path / name).write_bytes(content.encode())
    assert Names.of(tmp_path / name, str(tmp_path / name)).rows.tolist() == ["é", "b c", ""]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[", b"{}", b"[[1]]", b"[" * 10**5, None])
def test_a_file_of_no_names_is_refused(content, tmp_path):
    path = tmp_path / "names.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"The names in .*names\.json cannot be read \(.*\); give a text file with a"):
        Names.of(None, path)


def test_names_that_are_no_clean_text_become_such():
    names = Names.of([b"\xff", "\udce9", 3, "nu\0l"], None).rows.tolist()
    assert names == ["\\xff", "\\udce9", "3", "nu\0l"]


def test_names_go_along_with_a_result_that_is_pickled_and_not_with_a_layout():
    result = dnmf.factorize(V, **FEW, row_names=CELLS)
    assert told(pickle.loads(pickle.dumps(result)).names) == [CELLS, None]
    layout = dataclasses.replace(open_matrix(V).layout, names=result.names)
    there = pickle.loads(pickle.dumps(layout))
    assert not there.names
    assert dataclasses.replace(there, names=NO_NAMES) == dataclasses.replace(layout, names=NO_NAMES)


def test_the_plan_counts_the_names():
    layout = open_matrix(V).layout
    named = dataclasses.replace(layout, names=Names.of(CELLS, GENES))
    more = make_plan(named, 3, 10**9, 1).peak_bytes - make_plan(layout, 3, 10**9, 1).peak_bytes
    assert more == 80 * 84


def test_the_command_line_takes_files_of_names(tmp_path):
    path = stored(tmp_path / "V.zarr", V, (24, 20))
    (tmp_path / "cells.txt").write_text("\n".join(CELLS))
    fit = ["fit", path, "--rank", "2", "--max-passes", "2", "--store", str(tmp_path / "run.zarr"), "--row-names"]
    assert CliRunner().invoke(main, [*fit, str(tmp_path / "cells.txt")]).exit_code == 0
    assert told(dnmf.load(tmp_path / "run.zarr").names) == [CELLS, None]
    (tmp_path / "genes.json").write_text(json.dumps(GENES))
    resume = ["resume", str(tmp_path / "run.zarr"), "--max-passes", "3", "--column-names", str(tmp_path / "genes.json")]
    assert CliRunner().invoke(main, resume).exit_code == 0
    assert told(dnmf.load(tmp_path / "run.zarr").names) == [CELLS, GENES]
    ended = CliRunner().invoke(main, [*fit, str(tmp_path / "none.txt"), "--overwrite"])
    assert ended.exit_code == 2
    assert "cannot be read (No such file or directory); give a text file with a name on every line" in ended.stderr
