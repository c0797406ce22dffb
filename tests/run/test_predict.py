"""Predictions and recommendations, against W @ H in NumPy."""

import json

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import threadpoolctl
from click.testing import CliRunner
from runs import factors

import dnmf
import dnmf.run.predict
from dnmf.cli.app import main
from dnmf.errors import DataError, DataWarning, SettingsError

RNG = np.random.default_rng(0)
V = np.where(RNG.random((40, 70)) < 0.3, RNG.integers(1, 6, (40, 70)), 0).astype(np.float32)
FORMS = {"CSR": sp.csr_array, "Dask, by columns": lambda V: da.from_array(V, chunks=(-1, 11))}
PEOPLE, FILMS = [f"p{i}" for i in range(40)], [f"film {j}" for j in range(70)]


@pytest.fixture(scope="module", params=FORMS)
def result(request):
    return dnmf.factorize(FORMS[request.param](V), 3, max_passes=3)


@pytest.fixture(scope="module")
def named():
    return dnmf.factorize(sp.csr_array(V), 3, max_passes=3, row_names=PEOPLE, column_names=FILMS)


def product(result):
    W, H = factors(result)
    return W.astype(np.float64) @ H.astype(np.float64)


def test_predictions_are_the_entries_of_the_product(result, tmp_path):
    pairs = RNG.integers(0, V.shape, (300, 2))
    expected = product(result)[tuple(pairs.T)]
    for given in (pairs, pairs.tolist(), tuple(pairs.T), pd.DataFrame(pairs)):
        np.testing.assert_allclose(dnmf.predict(result, given), expected, rtol=1e-12)
    np.testing.assert_allclose(dnmf.predict(result.save(tmp_path / "run.zarr"), pairs), expected, rtol=1e-12)
    assert result.predict([]).shape == (0,)


def test_pairs_may_be_names(named):
    expected = product(named)[[2, 9], [4, 0]]
    frame = pd.DataFrame({"who": ["p2", "p9"], "what": ["film 4", "film 0"]})
    for given in ([("p2", "film 4"), ("p9", "film 0")], frame, [("p2", 4), ("p9", 0)], (["p2", "p9"], [4, 0])):
        np.testing.assert_allclose(named.predict(given), expected, rtol=1e-12)


def test_identifiers_that_are_whole_numbers_are_names_and_never_positions():
    result = dnmf.factorize(V, 3, max_passes=2, row_names=range(100, 140), column_names=FILMS)
    np.testing.assert_allclose(result.predict([(139, "film 1")]), product(result)[39, 1], rtol=1e-12)
    with pytest.raises(DataError, match="row '7' is not among the rows of V"):
        result.predict([(7, 1)])


REFUSED = {
    "too large": ([(0, 70)], r"column 70 is not in V, which has 70 columns; give positions from 0 to 69"),
    "negative": ([(-1, 0)], r"row -1 is not in V"),
    "columns first": (
        [("film 1", "p2")],
        r"row 'film 1' is not among the rows of V, but among its columns\. Give names of rows, such as 'p0'\.",
    ),
    "another word": (
        [("p2", "zzz")],
        r"column 'zzz' is not among the columns of V\. Give names of columns, such as 'film 0'",
    ),
    "unknown name": ([("p40", 0)], r"row 'p40' is not among the rows of V\. Did you mean 'p4"),
    "fractions": (np.array([[0.5, 1]]), r"rows has dtype float64; give positions as whole numbers, or names"),
    "three columns": (np.zeros((4, 3), int), r"pairs has shape \(4, 3\); give an array \(p, 2\)"),
    "lengths": (([0, 1], [0]), r"pairs has 2 rows and 1 columns"),
    "frame": (pd.DataFrame(np.zeros((2, 3), int)), r"a frame of 3 columns; give two"),
}


@pytest.mark.parametrize(("pairs", "sentence"), REFUSED.values(), ids=REFUSED)
def test_other_pairs_are_refused(pairs, sentence, named):
    with pytest.raises(DataError, match=sentence):
        named.predict(pairs)


def test_a_name_of_several_rows_and_a_name_without_names_are_refused(result):
    twice = dnmf.factorize(V, 2, max_passes=1, row_names=["same"] * 2 + PEOPLE[2:])
    with pytest.raises(DataError, match="row 'same' is the name of 2 rows of V; give unique names"):
        twice.predict([("same", 0)])
    with pytest.raises(DataError, match=r"row 'p1' is a name, and the rows of V have none"):
        result.predict([("p1", "film 1")])


@pytest.mark.parametrize("axis", ["rows", "columns"])
@pytest.mark.parametrize(
    "exclude", [None, np.asarray, sp.csr_array, sp.csc_array, lambda V: da.from_array(V, chunks=(9, -1))]
)
def test_recommendations_are_the_largest_entries_that_are_not_known(exclude, axis, result, monkeypatch):
    monkeypatch.setattr("dnmf.run.predict.SCORES", 100)
    scores = product(result)
    if exclude is not None:
        scores = np.where(V != 0, -np.inf, scores)
    scores = scores if axis == "rows" else scores.T
    rows = RNG.integers(0, len(scores), 7)
    found = dnmf.recommend(result, rows, 5, None if exclude is None else exclude(V), axis=axis)
    for row, items in zip(rows, found, strict=True):
        order = np.argsort(-scores[row], kind="stable")[:5]
        assert [item for item, _ in items] == order.tolist()
        np.testing.assert_allclose([score for _, score in items], scores[row][order], rtol=1e-12)


def test_all_rows_are_recommended_as_many_columns_as_are_not_known(result):
    found = result.recommend(n=1000, exclude=V)
    assert [len(items) for items in found] == (V == 0).sum(axis=1).tolist()


def test_recommendations_have_names_and_known_entries_are_found_by_name(named):
    order = RNG.permutation(70)
    known = pd.DataFrame(V[::-1][:, order], PEOPLE[::-1], [FILMS[j] for j in order])
    scores = np.where(V != 0, -np.inf, product(named))
    with pytest.warns(DataWarning, match="exclude was brought into the order of V"):
        (one, two) = named.recommend(["p3", "p11"], 4, known)
    for row, items in ((3, one), (11, two)):
        assert [name for name, _ in items] == [FILMS[j] for j in np.argsort(-scores[row], kind="stable")[:4]]


def test_entries_that_are_not_nan_are_known_where_nan_is_missing():
    gaps = np.where(V == 0, np.nan, V - 1)
    result = dnmf.factorize(gaps, 2, missing="nan", max_passes=3)
    assert [len(items) for items in result.recommend(n=70, exclude=gaps)] == (V == 0).sum(axis=1).tolist()


def test_a_recommendation_of_something_else_is_refused(result):
    with pytest.raises(DataError, match=r"exclude has shape \(40, 69\), and V had \(40, 70\)"):
        result.recommend([0], exclude=V[:, 1:])
    for options, sentence in (({"n": 0}, "n=0 is not allowed"), ({"axis": "row"}, "axis='row' is not known")):
        with pytest.raises(SettingsError, match=sentence):
            result.recommend([0], **options)


def test_the_commands_print_what_the_functions_return(named, result, tmp_path):
    def printed(*command):
        ended = CliRunner().invoke(main, [str(word) for word in command])
        assert ended.exit_code == 0, ended.output
        return ended.stdout.splitlines()

    store, plain = named.save(tmp_path / "named.zarr"), result.save(tmp_path / "plain.zarr")
    (tmp_path / "pairs.csv").write_text("who,what,stars\np2,film 4,5\np9,film 0,1\n")
    header, *lines = printed("predict", store, tmp_path / "pairs.csv")
    assert header == "who,what,stars,prediction"
    expected = [f"{value:.6g}" for value in named.predict([("p2", "film 4"), ("p9", "film 0")])]
    assert lines == [f"p2,film 4,5,{expected[0]}", f"p9,film 0,1,{expected[1]}"]
    (tmp_path / "places.csv").write_text("row,column\n2,4\n")
    assert printed("predict", plain, tmp_path / "places.csv")[1] == f"2,4,{result.predict([(2, 4)])[0]:.6g}"

    best = [json.loads(line) for line in printed("recommend", store, "p2", "p9", "-n", 3, "--json")]
    assert [one["name"] for one in best] == ["p2", "p9"]
    assert [[tuple(item) for item in one["best"]] for one in best] == dnmf.recommend(named, ["p2", "p9"], 3)
    items = ", ".join(f"{place} {score:.4g}" for place, score in dnmf.recommend(result, 7, 2)[0])
    assert printed("recommend", plain, "7", "-n", 2) == [f"7  {items}"]
    assert len(printed("recommend", plain, "--axis", "columns")) == 70
    empty = CliRunner().invoke(main, ["predict", store, "-"], input="who\n")
    assert (empty.exit_code, "PAIRS is not a CSV table with a header" in empty.stderr) == (2, True)


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_recommendations_do_not_depend_on_the_threads_of_blas(axis, monkeypatch):
    found, product = [], dnmf.run.predict.product

    def seen(A, B):
        found.append({pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"})
        return product(A, B)

    monkeypatch.setattr(dnmf.run.predict, "product", seen)
    result = dnmf.factorize(np.random.default_rng(0).random((20, 30)), 3, max_passes=2)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        dnmf.recommend(result, [1, 2], 3, axis=axis)
    assert found
    assert all(counts == {1} for counts in found)
