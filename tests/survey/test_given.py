"""Entries that the caller holds out of a survey, and errors in the units of V, against fits without these entries."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from click.testing import CliRunner

import dnmf
from dnmf.cli.app import main
from dnmf.errors import DataError, SettingsError, StoreError
from dnmf.survey.holdout import Listed

RNG = np.random.default_rng(0)
LIKING = 1 + 4 * RNG.beta(0.6, 1, (40, 2)) @ RNG.dirichlet([0.4, 0.4], 90).T
STARS = np.where(RNG.random(LIKING.shape) < 0.4, LIKING.round(1), 0)
MASK = (RNG.random(LIKING.shape) < 0.1) & (STARS > 0)
OPTIONS = {"missing": "zeros", "max_passes": 5, "tol": 0}


def survey(V=None, holdout=MASK, **options):
    V = sp.csr_array(STARS) if V is None else V
    return dnmf.select_rank(V, [2], n_runs=1, holdout=holdout, **(OPTIONS | options))


def expected(form):
    """Return the errors of a fit from which the entries are missing."""
    result = dnmf.factorize(form(np.where(MASK, 0, STARS)), 2, init="random", **OPTIONS)
    errors = (np.asarray(result.W) @ np.asarray(result.H) - STARS)[MASK]
    return (errors**2).sum() / (STARS[MASK] ** 2).sum(), np.sqrt((errors**2).mean()), np.abs(errors).mean()


@pytest.mark.parametrize("form", [sp.csr_array, sp.csc_array])
def test_given_entries_are_predicted_by_a_fit_without_them(form):
    wanted = expected(form)
    names = {"row_names": [f"film {i}" for i in range(40)]}
    frame = pd.DataFrame({"film": [f"film {i}" for i in np.nonzero(MASK)[0]], "person": np.nonzero(MASK)[1]})
    for holdout, more in ((MASK, {}), (sp.coo_array(MASK), {}), (np.argwhere(MASK), {}), (frame, names)):
        found = survey(form(STARS), holdout, **more)
        table = found.table()
        errors = [table[name][0] for name in ("held_out", "rmse", "mae")]
        np.testing.assert_allclose(errors, wanted, rtol=1e-9)
        assert (found.holdout, found.passes, table["held_out_se"]) == ("given", 7, [None])
        assert "RMSE" in str(found)


def test_speckles_have_errors_in_the_units_of_v_where_entries_are_missing():
    found = survey(holdout="auto", cv=3)
    assert found.rmse.shape == found.mae.shape == (1, 3)
    assert found.table()["rmse"] == [pytest.approx(found.rmse.mean())]
    assert (found.mae <= found.rmse).all()
    plain = survey(LIKING, "speckled", cv=2, missing="none")
    assert plain.table()["rmse"] == [None]
    squares = (LIKING**2).mean()
    np.testing.assert_allclose(plain.rmse**2 / squares, plain.held_out, rtol=0.2)


def test_entries_of_dense_and_weighted_matrices_may_be_held_out():
    gaps = np.where(STARS > 0, STARS, np.nan)
    np.testing.assert_allclose(
        survey(gaps, missing="nan").table()["rmse"], survey(STARS, missing="none", weights=STARS > 0).table()["rmse"]
    )
    assert survey(LIKING, missing="none", loss="kullback-leibler").passes == 6


def test_a_survey_with_given_entries_is_stored_and_continued_with_the_same_ones(tmp_path):
    np.save(tmp_path / "held.npy", MASK)
    first = survey(holdout=tmp_path / "held.npy", store=tmp_path / "survey.zarr")
    again = survey(holdout=np.argwhere(MASK)[::-1], store=tmp_path / "survey.zarr")
    for found in (again, dnmf.load_survey(tmp_path / "survey.zarr")):
        assert (found.passes, found.table()["rmse"]) == (first.passes, first.table()["rmse"])
    with pytest.raises(StoreError, match=r"has held=.* and not .*; repeat its options"):
        survey(holdout=np.argwhere(MASK)[1:], store=tmp_path / "survey.zarr")
    page = dnmf.write_report(first, tmp_path / "page.html").read_text()
    assert "RMSE" in page
    assert "--holdout held.npy" in page


def test_the_command_takes_a_file(tmp_path):
    sp.save_npz(tmp_path / "V.npz", sp.csr_array(STARS))
    sp.save_npz(tmp_path / "held.npz", sp.csr_array(MASK))
    flags = ["--ranks", "2", "--n-runs", "1", "--missing", "zeros", "--max-passes", "2"]
    ended = CliRunner().invoke(main, ["rank", str(tmp_path / "V.npz"), *flags, "--holdout", str(tmp_path / "held.npz")])
    assert ended.exit_code == 0, ended.output
    assert "MAE" in ended.stdout


REFUSED = {
    "missing": (MASK | (STARS == 0), DataError, r"entries of holdout are missing in V, as V\[\d+, \d+\]; hold out"),
    "outside": ([(0, 90)], DataError, "column 90 is not in V, which has 90 columns"),
    "none": (np.zeros((0, 2), int), DataError, "holdout has no entry"),
    "all": (np.ones(MASK.shape, bool), DataError, "holdout has all entries of V"),
    "shape": (MASK[1:], DataError, r"holdout has shape \(39, 90\), and V has \(40, 90\)"),
    "name": ("speckld", SettingsError, "holdout='speckld' is not known.*Did you mean 'speckled'"),
    "no file": ("held.npy", DataError, r"held\.npy cannot be read"),
}


@pytest.mark.parametrize(("holdout", "error", "sentence"), REFUSED.values(), ids=REFUSED)
def test_other_entries_are_refused(holdout, error, sentence):
    with pytest.raises(error, match=sentence):
        survey(holdout=holdout)


def test_no_fold_and_entries_to_hold_out_exclude_each_other():
    with pytest.raises(SettingsError, match="cv=0 holds out no entries, and holdout lists some"):
        survey(cv=0)


def test_listed_entries_are_dropped_from_any_columns_of_dense_and_sparse_numbers():
    held = Listed.of(np.array(np.nonzero(MASK)), MASK.shape)
    for first, last in ((0, 90), (13, 40), (89, 90)):
        dense = np.ones((40, last - first))
        held.drop(first, dense)
        np.testing.assert_array_equal(dense == 0, MASK[:, first:last])
        places = np.array(np.nonzero(dense + 1))
        numbers = np.ones(places.shape[1])
        held.drop_entries(first, 40, places, numbers)
        np.testing.assert_array_equal(numbers == 0, MASK[:, first:last].ravel())
