"""Spectra in other units, against the regressions of SciPy and NumPy on the whole matrix."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from click.testing import CliRunner
from scipy.optimize import nnls

import dnmf
from dnmf.cli.app import main
from dnmf.errors import DataError, DataWarning, SettingsError

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(6 * RNG.random((60, 3)) ** 3 @ RNG.random((3, 20)) ** 3 + 0.1).astype(np.uint16)
COUNTS[:, 3] = 2
FORMS = {
    "CSR": sp.csr_array,
    "CSC": sp.csc_array,
    "by rows": lambda V: da.from_array(V, chunks=(7, -1)),
    "by columns": lambda V: da.from_array(V, chunks=(-1, 9)),
}


def usages(result, tall):
    """Return the usages, not normalised and normalised."""
    W, H = (result.H.T, result.W.T) if tall else (result.W, result.H)
    U = W.astype(np.float64) * H.sum(axis=1, dtype=np.float64)
    sums = U.sum(axis=1, keepdims=True)
    return U, U / np.where(sums > 0, sums, 1)


@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_spectra_are_the_regressions_of_counts_and_z_scores_on_the_usages(form, tall):
    def turned(V):
        return np.ascontiguousarray(V.T) if tall else V

    result = dnmf.factorize(turned(COUNTS[:, ::2]), 3, max_passes=4)
    U, N = usages(result, tall)
    options = {"axis": "rows" if tall else "columns"}
    million = COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e6
    expected = np.array([nnls(N, million[:, j])[0] for j in range(20)])
    found = result.spectra(form(turned(COUNTS)), **options)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * expected.max())
    scores = (million - million.mean(axis=0)) / million.std(axis=0)
    found = result.spectra(form(turned(COUNTS)), units="z-score", **options)
    np.testing.assert_allclose(found, (np.linalg.pinv(U) @ scores).T, rtol=1e-5, atol=1e-8)
    assert found.columns.tolist() == ["NMF_1", "NMF_2", "NMF_3"]


def test_data_may_be_taken_as_they_are_and_a_constant_feature_has_coefficients_of_zero():
    result = dnmf.factorize(COUNTS[:, ::2], 3, max_passes=4)
    U, N = usages(result, False)
    expected = np.array([nnls(N, COUNTS[:, j])[0] for j in range(20)])
    np.testing.assert_allclose(result.spectra(COUNTS, total=None), expected, rtol=1e-6, atol=1e-9)
    deviation = COUNTS.std(axis=0)
    scores = (COUNTS - COUNTS.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    found = result.spectra(COUNTS, units="z-score", total=None)
    np.testing.assert_allclose(found, (np.linalg.pinv(U) @ scores).T, rtol=1e-6, atol=1e-9)
    assert not found.loc[3].any()


def test_samples_are_found_by_name_and_features_have_their_names():
    frame = pd.DataFrame(COUNTS, [f"cell {i}" for i in range(60)], [f"gene {j}" for j in range(20)])
    result = dnmf.factorize(frame.iloc[:, ::2], 3, max_passes=4)
    expected = result.spectra(frame)
    assert expected.index.tolist() == frame.columns.tolist()
    with pytest.warns(DataWarning, match="the fitted factor was brought into the order of V"):
        found = result.spectra(frame.iloc[::-1])
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    with pytest.raises(DataError, match="Row 0 of V is 'other'"):
        result.spectra(frame.rename(index={"cell 0": "other"}))


def test_the_matrix_of_a_run_is_found_by_its_location_before_its_preparation(tmp_path):
    np.save(tmp_path / "V.npy", COUNTS)
    prepared = dnmf.preprocessing.unit_variance(str(tmp_path / "V.npy"))
    result = dnmf.factorize(prepared, 3, max_passes=3, store=tmp_path / "run.zarr")
    expected = result.spectra(COUNTS)
    for given in (result, tmp_path / "run.zarr"):
        np.testing.assert_array_equal(dnmf.spectra(given), expected)


def test_spectra_of_something_else_are_refused():
    result = dnmf.factorize(COUNTS, 3, max_passes=2)
    with pytest.raises(DataError, match="V has 59 rows, and the result is of 60"):
        result.spectra(COUNTS[1:])
    with pytest.raises(DataError, match="The result was of a matrix in memory; give the data"):
        result.spectra()
    with pytest.raises(DataError, match=r"V\[0, 0\] is -1, which is negative"):
        result.spectra(np.where(np.arange(20) == 0, -1.0, COUNTS), total=None)
    for options, sentence in (
        ({"total": -1}, "total=-1 is not allowed"),
        ({"units": "tpm"}, "units='tpm' is not known"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            result.spectra(COUNTS, **options)
    with pytest.raises(SettingsError, match="missing='zeros', and spectra are of data without missing entries"):
        dnmf.factorize(sp.csr_array(COUNTS), 3, missing="zeros", max_passes=2).spectra(COUNTS)


def test_the_command_writes_a_table(tmp_path):
    np.save(tmp_path / "V.npy", COUNTS)
    result = dnmf.factorize(str(tmp_path / "V.npy"), 3, max_passes=3, store=tmp_path / "run.zarr")
    command = ["spectra", str(tmp_path / "run.zarr"), "-o", str(tmp_path / "z.csv"), "--units", "z-score"]
    ended = CliRunner().invoke(main, command)
    assert ended.exit_code == 0, ended.output
    found = pd.read_csv(tmp_path / "z.csv", index_col="feature")
    np.testing.assert_allclose(found, result.spectra(COUNTS, units="z-score"), rtol=1e-12)
    assert "already exists" in CliRunner().invoke(main, command).stderr
    assert CliRunner().invoke(main, [*command, "--overwrite", "--no-total"]).exit_code == 0
    (tmp_path / "z.csv").write_text("my own")
    assert "is not a table of dnmf" in CliRunner().invoke(main, [*command, "--overwrite"]).stderr
