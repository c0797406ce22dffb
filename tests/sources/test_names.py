"""The names of rows and columns: from whoever gives them into the store, and out of it again."""

import dataclasses
import json
import pickle
import re
import uuid
import warnings

import anndata
import dask.array as da
import dask.dataframe as dd
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import xarray as xr
import zarr
from click.testing import CliRunner
from runs import matrix, stored
from scipy.optimize import nnls
from sklearn.preprocessing import StandardScaler

import dnmf
from dnmf.checkpoint import Store
from dnmf.cli.app import main
from dnmf.engine.plan import make_plan
from dnmf.errors import DataError
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
    monkeypatch.setattr("dnmf.sources.dask_array.DaskSource", NamedSource)
    lazy = da.from_array(V, chunks=(24, 20))
    result = dnmf.factorize(lazy, **FEW, store=store, row_names=range(24))
    assert told(result.names) == told(dnmf.load(store).names) == [[str(row) for row in range(24)], GENES]
    weighted = dnmf.factorize(lazy, **FEW, weights=np.ones(V.shape))
    assert told(weighted.names) == [CELLS, GENES]


def test_a_store_without_names_has_none_until_a_matrix_brings_them(monkeypatch, store):
    lazy = da.from_array(V, chunks=(24, 20))
    dnmf.factorize(lazy, **FEW, store=store)
    assert not dnmf.load(store).names
    monkeypatch.setattr("dnmf.sources.dask_array.DaskSource", NamedSource)
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
    with pytest.raises(DataError, match=r"The names in .*names\.json cannot be read \(.*\); give a text file with one"):
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
    assert "cannot be read (No such file or directory); give a text file with one name per line" in ended.stderr


# What goes along with V, by the names that both have.
MIXED = np.random.default_rng(7).permutation(60)
LIKE = "have the same names in another order"
IN_ORDER = f"{LIKE}; the fitted factor was brought into the order of V"


def table(order=None, cells=None, seed=3):
    """Return a frame of a matrix with its genes in an order."""
    frame = pd.DataFrame(matrix(seed=seed).astype("float64") + 0.01, CELLS if cells is None else cells, GENES)
    return frame if order is None else frame.iloc[:, order]


def projected(frame, H):
    """Return the best W for H, row by row, by SciPy's NNLS."""
    return np.array([nnls(np.asarray(H).T, row)[0] for row in frame.to_numpy()])


def as_h5ad(frame, path, kind):
    adata = anndata.AnnData(kind(frame.to_numpy()), pd.DataFrame(index=frame.index), pd.DataFrame(index=frame.columns))
    adata.write_h5ad(path)
    return adata


NEW = {
    "pandas": lambda frame, folder: frame,
    "polars": lambda frame, folder: pl.from_pandas(frame),
    "xarray": lambda frame, folder: xr.DataArray(frame),
    "AnnData": lambda frame, folder: as_h5ad(frame, folder / "V.h5ad", sp.csr_matrix),
    "AnnData in a file": lambda frame, folder: as_h5ad(frame, folder / "V.h5ad", sp.csc_matrix) and folder / "V.h5ad",
    "backed AnnData": lambda frame, folder: (
        as_h5ad(frame, folder / "V.h5ad", np.asarray) and anndata.read_h5ad(folder / "V.h5ad", backed="r")
    ),
    "Dask frame": lambda frame, folder: dd.from_pandas(frame.rename(index=str), npartitions=3, sort=False),
}


@pytest.mark.parametrize("kind", NEW)
def test_a_factor_follows_the_order_of_the_names_of_new_data(kind, tmp_path):
    dnmf.factorize(table(), 3, max_passes=5, store=tmp_path / "run.zarr")
    new = table(cells=[f"new {row}" for row in range(24)], seed=4)
    expected = projected(new, dnmf.load(tmp_path / "run.zarr").H)
    given = NEW[kind](new.iloc[:, MIXED], tmp_path)
    with pytest.warns(dnmf.errors.DataWarning, match=f"The columns of V and of the fitted factor {IN_ORDER}") as said:
        found = dnmf.transform(tmp_path / "run.zarr", given, axis="rows")
    assert len(said) == 1
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["pandas", "AnnData in a file"])
def test_the_w_of_the_fit_follows_the_order_of_new_columns(kind, tmp_path):
    result = dnmf.factorize(table(), 3, max_passes=5)
    order = np.random.default_rng(8).permutation(24)
    new = table(seed=4).iloc[:, :9].set_axis([f"new {column}" for column in range(9)], axis=1)
    expected = projected(new.T, np.asarray(result.W).T).T
    with pytest.warns(dnmf.errors.DataWarning, match=f"The rows of V and of the fitted factor {IN_ORDER}"):
        found = dnmf.transform(result, NEW[kind](new.iloc[order], tmp_path))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_what_prepares_new_data_follows_their_order():
    frame = table()
    source = open_matrix(frame, "rows")
    result = dnmf.factorize(dnmf.preprocessing.unit_variance(source), 3, max_passes=5)
    new = table(cells=[f"new {row}" for row in range(24)], seed=4)
    scaler = StandardScaler(with_mean=False).fit(frame.to_numpy())
    expected = projected(pd.DataFrame(scaler.transform(new.to_numpy())), result.H)
    with pytest.warns(dnmf.errors.DataWarning, match=IN_ORDER):
        found = dnmf.transform(result, new.iloc[:, MIXED])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", NEW)
def test_other_names_are_refused_by_the_first_one_and_may_be_given(kind, tmp_path):
    result = dnmf.factorize(table(), 3, max_passes=5)
    new = table(cells=[f"new {row}" for row in range(24)], seed=4)
    given = NEW[kind](new.set_axis([*GENES[:3], "stranger", *GENES[4:]], axis=1), tmp_path)
    with pytest.raises(DataError, match=r"Column 3 of V is 'stranger', which is not among .* there is 'gène 3'.* name"):
        dnmf.transform(result, given, axis="rows")
    found = dnmf.transform(result, given, axis="rows", column_names=GENES)
    np.testing.assert_allclose(found, projected(new, result.H), rtol=1e-6, atol=1e-9)


REFUSED = {
    "one is missing": (lambda frame: frame.iloc[:5, 1:], "V lacks the column 'gène 0' of the fitted factor"),
    "one is more": (
        lambda frame: frame.iloc[:5].assign(more=1.0),
        "Column 60 of V is 'more', which is not among those",
    ),
    "cells that were fitted, and a gene is missing": (lambda frame: frame.iloc[:, 1:], "V lacks the column 'gène 0'"),
    "cells that were fitted, of other genes": (
        lambda frame: frame.set_axis([f"other {column}" for column in range(60)], axis=1),
        "Column 0 of V is 'other 0', which is not among .* give axis='columns'",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_names_that_are_missing_are_named(kind):
    result = dnmf.factorize(open_matrix(table(), "rows"), 3, max_passes=2)
    change, sentence = REFUSED[kind]
    with pytest.raises(DataError, match=sentence):
        dnmf.transform(result, change(table(seed=4)))


def test_names_that_are_not_unique_are_taken_by_their_place_alone():
    twice = ["MYC", "MYC", *GENES[2:]]
    result = dnmf.factorize(table().set_axis(twice, axis=1), 3, max_passes=5)
    new = table(cells=[f"new {row}" for row in range(24)], seed=4).set_axis(twice, axis=1)
    np.testing.assert_allclose(dnmf.transform(result, new), projected(new, result.H), rtol=1e-6, atol=1e-9)
    with pytest.raises(DataError, match="'MYC' is the name of 2 of them, so that they cannot be told apart"):
        dnmf.transform(result, new.iloc[:, MIXED], axis="rows")
    with pytest.raises(DataError, match="differ only by the suffix that make_unique adds: column 1 of V is 'MYC-1'"):
        dnmf.transform(result, new.set_axis(["MYC", "MYC-1", *GENES[2:]], axis=1), axis="rows")


@pytest.mark.parametrize("named", ["fit", "new"])
def test_where_one_side_has_no_names_places_count(named):
    new = table(seed=4).iloc[:5, MIXED]
    result = dnmf.factorize(table() if named == "fit" else table().to_numpy(), 3, max_passes=5)
    found = dnmf.transform(result, new.to_numpy() if named == "fit" else new)
    np.testing.assert_allclose(found, projected(new, result.H), rtol=1e-6, atol=1e-9)


def weights_for(V):
    return pd.DataFrame(np.random.default_rng(5).gamma(1.0, 1.0, V.shape), CELLS, GENES)


@pytest.mark.parametrize("form", ["pandas", "sparse", "xarray"])
@pytest.mark.parametrize("shuffled", ["rows", "columns", "rows and columns"])
def test_weights_are_brought_into_the_order_of_v(shuffled, form):
    V, weights = table(), weights_for(table())
    expected = dnmf.factorize(V, **FEW, weights=weights.to_numpy())
    mixed = weights.sample(frac=1, random_state=1) if "rows" in shuffled else weights
    mixed = mixed.iloc[:, MIXED] if "columns" in shuffled else mixed
    form = {"pandas": lambda w: w, "sparse": lambda w: w.astype(pd.SparseDtype(float, 0)), "xarray": xr.DataArray}[form]
    with pytest.warns(dnmf.errors.DataWarning, match=f"The {shuffled} of V and of weights {LIKE}; weights was brought"):
        result = dnmf.factorize(V, **FEW, weights=form(mixed))
    np.testing.assert_allclose(result.H, expected.H, rtol=1e-9)
    named = dnmf.factorize(V.to_numpy(), **FEW, weights=form(weights), row_names=CELLS, column_names=GENES)
    np.testing.assert_allclose(named.H, expected.H, rtol=1e-9)


def test_weights_of_others_and_those_in_a_file_are_refused(tmp_path):
    V = table()
    others = weights_for(V).rename(columns={"gène 4": "stranger"})
    with pytest.raises(
        DataError, match=r"Column 4 of V is 'gène 4', which is not among those of weights .* 'stranger'"
    ):
        dnmf.factorize(V, **FEW, weights=others)
    as_h5ad(V, tmp_path / "V.h5ad", sp.csr_matrix)
    as_h5ad(weights_for(V).iloc[:, MIXED], tmp_path / "M.h5ad", sp.csr_matrix)
    with pytest.raises(DataError, match="weights has the names of V along its columns in another order, and is not"):
        dnmf.factorize(tmp_path / "V.h5ad", **FEW, weights=tmp_path / "M.h5ad")


def test_known_columns_of_w_are_brought_into_the_order_of_v():
    known = pd.DataFrame(np.random.default_rng(6).random((24, 2)), CELLS)
    with pytest.warns(dnmf.errors.DataWarning, match=f"The rows of V and of fixed_W {LIKE}; fixed_W was brought"):
        result = dnmf.factorize(table(), **FEW, fixed_W=known.sample(frac=1, random_state=1))
    np.testing.assert_allclose(np.asarray(result.W)[:, :2], known.to_numpy(), rtol=1e-12)
    with pytest.raises(DataError, match="Row 1 of V is 'cell 1', which is not among those of fixed_W"):
        dnmf.factorize(table(), **FEW, fixed_W=known.rename(index={"cell 1": "stranger"}))


def given_factors():
    rng = np.random.default_rng(6)
    return pd.DataFrame(rng.random((24, 3)), CELLS, list("abc")), pd.DataFrame(rng.random((3, 60)), list("abc"), GENES)


def test_given_factors_are_brought_into_the_order_of_v_and_of_each_other():
    W, H = given_factors()
    expected = dnmf.factorize(table(), **FEW, init=(W.to_numpy(), H.to_numpy()))
    mixed = W.sample(frac=1, random_state=1), H.iloc[[2, 0, 1], MIXED]
    with pytest.warns(dnmf.errors.DataWarning) as said:
        result = dnmf.factorize(table(), **FEW, init=mixed)
    sentences = [str(warning.message) for warning in said]
    assert len(sentences) == 3
    assert all(
        any(name in sentence for sentence in sentences) for name in ("W in init was", "H in init was", "components")
    )
    np.testing.assert_allclose(result.H, expected.H, rtol=1e-9)
    with pytest.raises(DataError, match="Column 0 of V is 'gène 0', which is not among those of H in init"):
        dnmf.factorize(table(), **FEW, init=(W, H.rename(columns={"gène 0": "stranger"})))
    with pytest.raises(DataError, match="Component 1 of W in init is 'b', which is not among those of H in init"):
        dnmf.factorize(table(), **FEW, init=(W, H.rename(index={"b": "d"})))


@pytest.mark.parametrize("kind", [dnmf.NMF, dnmf.MiniBatchNMF])
def test_estimators_bring_given_factors_into_the_order_of_x(kind):
    W, H = given_factors()
    how = {"init": "custom", "max_iter": 2, "tol": 0}
    expected = kind(3, **how).fit(table(), W=W.to_numpy(), H=H.to_numpy())
    with pytest.warns(dnmf.errors.DataWarning, match="another order"):
        model = kind(3, **how).fit(table(), W=W, H=H.iloc[:, MIXED])
    np.testing.assert_allclose(model.components_, expected.components_, rtol=1e-9)
    with pytest.warns(dnmf.errors.DataWarning, match="The columns of V and of H have"):
        found = dnmf.non_negative_factorization(table(), H=H.iloc[:, MIXED], update_H=False)[0]
    np.testing.assert_allclose(found, projected(table(), H), rtol=1e-6, atol=1e-9)


def test_a_matrix_with_its_columns_in_another_order_is_not_resumed_or_reported(tmp_path):
    def named(genes):  # no number shows another order
        return pd.DataFrame(matrix(), CELLS, genes)

    V = named(GENES)
    swapped = [*range(30), 31, 30, *range(32, 60)]
    dnmf.factorize(V, **FEW, store=tmp_path / "run.zarr")
    again = named([GENES[place] for place in swapped])
    for act in (
        lambda: dnmf.resume(tmp_path / "run.zarr", again, max_passes=3),
        lambda: dnmf.write_report(tmp_path / "run.zarr", tmp_path / "page.html", again),
        lambda: dnmf.write_report(dnmf.factorize(V, **FEW), tmp_path / "page.html", again),
    ):
        with pytest.raises(
            DataError, match=r"column 30 of V is 'gène 31', and that of the matrix of the run 'gène 30'"
        ):
            act()
    others = named([*GENES[:30], "stranger", *GENES[31:]])
    with pytest.raises(
        DataError, match="Column 30 of V is 'stranger', which is not among those of the matrix of the run"
    ):
        dnmf.resume(tmp_path / "run.zarr", others, max_passes=3)
    resumed = dnmf.resume(tmp_path / "run.zarr", others, max_passes=3, column_names=GENES)
    assert told(resumed.names) == [CELLS, GENES]
    assert dnmf.resume(tmp_path / "run.zarr", others, max_passes=4).passes == 4


@pytest.mark.parametrize("own", [[f"id {column}" for column in range(60)], GENES[::-1]], ids=["others", "reversed"])
def test_a_run_whose_names_were_given_is_resumed_on_a_matrix_with_its_own(own, tmp_path):
    V = pd.DataFrame(matrix(), CELLS, own)
    dnmf.factorize(V, **FEW, store=tmp_path / "run.zarr", column_names=GENES)
    assert told(dnmf.resume(tmp_path / "run.zarr", V, max_passes=3).names) == [CELLS, GENES]
    assert dnmf.write_report(tmp_path / "run.zarr", tmp_path / "page.html", V).exists()


@pytest.mark.parametrize("kind", [dnmf.NMF, dnmf.MiniBatchNMF])
def test_estimators_know_the_features_of_files_and_follow_their_order(kind, tmp_path):
    as_h5ad(table(), tmp_path / "V.h5ad", sp.csr_matrix)
    as_h5ad(table(MIXED), tmp_path / "mixed.h5ad", sp.csr_matrix)
    model = kind(3, random_state=0, max_iter=5, tol=0).fit(tmp_path / "V.h5ad")
    assert list(model.feature_names_in_) == GENES
    W = np.asarray(model.transform(tmp_path / "V.h5ad"))
    np.testing.assert_allclose(W, projected(table(), model.components_), rtol=1e-6, atol=1e-9)
    with pytest.warns(dnmf.errors.DataWarning, match="features of X are those of the fit in another order"):
        found = model.transform(tmp_path / "mixed.h5ad")
    np.testing.assert_allclose(found, W, rtol=1e-6, atol=1e-9)
    with pytest.warns(dnmf.errors.DataWarning, match="in another order"):
        score = model.score(tmp_path / "mixed.h5ad")
    assert score == pytest.approx(model.score(tmp_path / "V.h5ad"), rel=1e-9)
    as_h5ad(table().rename(columns={"gène 0": "stranger"}), tmp_path / "others.h5ad", sp.csr_matrix)
    with pytest.raises(DataError, match=r"Column 0 of X is 'stranger', .* The feature names should match those"):
        model.transform(tmp_path / "others.h5ad")
    if kind is dnmf.MiniBatchNMF:
        with (
            pytest.warns(dnmf.errors.DataWarning),
            pytest.raises(DataError, match="give all batches with their features in the order of feature_names_in_"),
        ):
            model.partial_fit(tmp_path / "mixed.h5ad")


def test_an_estimator_from_a_store_knows_the_names_of_its_features(tmp_path):
    dnmf.factorize(table(), 3, max_passes=5, store=tmp_path / "run.zarr")
    model = dnmf.NMF.from_store(tmp_path / "run.zarr")
    assert (list(model.feature_names_in_), model.n_features_in_) == (GENES, 60)
    as_h5ad(table(MIXED), tmp_path / "mixed.h5ad", sp.csr_matrix)
    with pytest.warns(dnmf.errors.DataWarning, match="in another order"):
        found = model.transform(tmp_path / "mixed.h5ad")
    np.testing.assert_allclose(found, projected(table(), model.components_), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.transform(table()), found, rtol=1e-6, atol=1e-9)
    for given in (table(MIXED), as_h5ad(table(MIXED), tmp_path / "V.h5ad", sp.csr_matrix)):
        with pytest.raises(ValueError, match="feature names should match"):
            model.transform(given)


def test_names_of_a_backed_anndata_are_those_that_it_has_now(tmp_path):
    twice = ["MYC", "MYC", *GENES[2:]]
    with pytest.warns(UserWarning, match="Variable names are not unique"):
        as_h5ad(table().set_axis(twice, axis=1), tmp_path / "V.h5ad", sp.csr_matrix)
    with pytest.warns(UserWarning, match="Variable names are not unique"):
        backed = anndata.read_h5ad(tmp_path / "V.h5ad", backed="r")
    in_file = dnmf.factorize(tmp_path / "V.h5ad", **FEW)
    backed.var_names_make_unique()
    result = dnmf.factorize(backed, **FEW)
    assert told(result.names) == [CELLS, list(backed.var_names)]
    dnmf.write_anndata(backed, result)
    assert backed.varm["NMF"].shape == (60, 3)
    with pytest.raises(DataError, match=r"They differ only by the suffix that make_unique adds: factorise adata after"):
        dnmf.write_anndata(backed, in_file)


OPENED = {
    "X": lambda folder: anndata.read_h5ad(folder / "V.h5ad", backed="r").X,
    "raw.X": lambda folder: anndata.read_h5ad(folder / "V.h5ad", backed="r").raw.X,
    "sparse_dataset": lambda folder: anndata.io.sparse_dataset(h5py.File(folder / "V.h5ad")["X"]),
    "sparse_dataset in Zarr": lambda folder: anndata.io.sparse_dataset(zarr.open(folder / "V.zarr")["X"]),
    "group": lambda folder: h5py.File(folder / "V.h5ad")["X"],
    "file": lambda folder: h5py.File(folder / "V.h5ad"),
}


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, np.asarray])
@pytest.mark.parametrize("kind", OPENED)
def test_what_a_package_has_opened_is_read_from_its_file_with_its_names(kind, form, tmp_path):
    if "sparse" in kind and form is np.asarray:
        return
    adata = as_h5ad(table(), tmp_path / "V.h5ad", form)
    adata.raw = adata
    adata.write_h5ad(tmp_path / "V.h5ad")
    if "Zarr" in kind:
        with anndata.settings.override(zarr_write_format=3, auto_shard_zarr_v3=False):
            anndata.io.write_elem(zarr.open_group(tmp_path / "V.zarr", mode="w"), "/", adata)
    given = OPENED[kind](tmp_path)
    result = dnmf.factorize(given, **FEW)
    np.testing.assert_array_equal(result.H, dnmf.factorize(tmp_path / "V.h5ad", **FEW).H)
    assert told(result.names) == [CELLS, GENES]
    assert dnmf.NMF(3, max_iter=2, tol=0).fit(given).feature_names_in_.tolist() == GENES


def test_a_group_of_a_closed_file_is_refused(tmp_path):
    as_h5ad(table(), tmp_path / "V.h5ad", sp.csr_matrix)
    with h5py.File(tmp_path / "V.h5ad") as file:
        group = file["X"]
    with pytest.raises(DataError, match="V lies in an HDF5 file that has been closed; open it again, or give its path"):
        dnmf.factorize(group, **FEW)


def test_the_command_line_warns_of_names_in_another_order(tmp_path):
    as_h5ad(table(), tmp_path / "V.h5ad", sp.csr_matrix)
    as_h5ad(table(MIXED, [f"new {row}" for row in range(24)]), tmp_path / "mixed.h5ad", sp.csr_matrix)
    as_h5ad(table().rename(columns={"gène 0": "stranger"}), tmp_path / "others.h5ad", sp.csr_matrix)
    result = dnmf.factorize(tmp_path / "V.h5ad", **FEW, store=tmp_path / "run.zarr")
    words = ["transform", str(tmp_path / "run.zarr"), str(tmp_path / "mixed.h5ad"), "--out", str(tmp_path / "W.zarr")]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        ended = CliRunner().invoke(main, words)
    assert ended.exit_code == 0, ended.output
    assert re.search(f"^warning: .*{IN_ORDER}", ended.stderr, re.MULTILINE)
    expected = projected(table(), result.H)
    np.testing.assert_allclose(zarr.open_array(tmp_path / "W.zarr")[...], expected, rtol=1e-6, atol=1e-9)
    words[2] = str(tmp_path / "others.h5ad")
    ended = CliRunner().invoke(main, [*words, "--axis", "rows", "--overwrite"])
    assert ended.exit_code == 2
    assert "Column 0 of V is 'stranger', which is not among those of the fitted factor" in ended.stderr
    (tmp_path / "genes.txt").write_text("\n".join(GENES))
    named = [*words, "--axis", "rows", "--overwrite", "--column-names", str(tmp_path / "genes.txt")]
    assert CliRunner().invoke(main, named).exit_code == 0


@pytest.mark.parametrize("names", [{"b": 1, "a": 0, "c": 2}, {"a", "b", "c"}, 3], ids=["mapping", "set", "number"])
def test_names_without_an_order_are_refused(names):
    with pytest.raises(DataError, match=r"column_names is a \w+, which is not a list of names; give one name for each"):
        dnmf.factorize(np.ones((4, 3)), 1, column_names=names)
