"""Stores that an earlier dnmf wrote: they are read, resumed to the factors it would have reached, and reported."""

import importlib.util
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize

import dnmf

STORES = Path(__file__).parent.parent / "stores"
ARCHIVES = sorted(STORES.glob("*.zip"))
specification = importlib.util.spec_from_file_location("make_stores", STORES / "make.py")
make = importlib.util.module_from_spec(specification)
specification.loader.exec_module(make)
# Another processor may round otherwise; a run that began elsewhere, or has other settings, differs by far more.
CLOSE = {"rtol": 2e-3, "atol": 2e-4}
# Runs whose algorithm has changed since a version: they end near an undisturbed run of today.
CHANGED = {("0.4.0", "mu"), ("0.4.0", "newton"), ("0.4.0", "survey-kl"), ("0.5.0", "newton")}
EARLY = {"0.4.0", "0.5.0"}
STORED = [(path, name) for path in ARCHIVES for name in make.RUNS if path.stem not in EARLY or name not in make.LATER]


@pytest.fixture(scope="module", params=ARCHIVES, ids=[archive.stem for archive in ARCHIVES])
def archive(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    shutil.unpack_archive(request.param, folder)
    return folder


@pytest.fixture
def changed(request):
    """Return whether today's algorithm differs from that of the version."""
    return (request.node.callspec.params["archive"].stem, request.node.callspec.params["name"]) in CHANGED


@pytest.fixture
def folder(archive, tmp_path):
    """Return a copy of the stores to write to."""
    return shutil.copytree(archive, tmp_path / "stores")


@pytest.fixture(scope="module")
def expected(archive):
    return np.load(archive / "expected.npz")


@pytest.fixture(autouse=True)
def without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def assert_expected(result, expected, name):
    """Compare the products WH: near the end of a run, single entries depend on the rounding of the processor."""
    product, known = np.asarray(result.W) @ np.asarray(result.H), expected[f"{name}-W"] @ expected[f"{name}-H"]
    assert np.linalg.norm(product - known) <= 2e-4 * np.linalg.norm(known)


@pytest.mark.parametrize(
    ("archive", "name"), STORED, indirect=["archive"], ids=[f"{path.stem}-{name}" for path, name in STORED]
)
def test_an_interrupted_run_goes_on_to_the_expected_factors(name, folder, expected, changed, tmp_path):
    store, V = folder / f"{name}.zarr", make.matrix(folder, name)
    before = dnmf.load(store)
    assert before.passes == make.RUNS[name][0]
    assert "Not finished" in before.verdict
    result = dnmf.resume(store, V, **make.given_again(name))
    assert result.passes == make.RUNS[name][1]["max_passes"]
    if changed:
        assert result.loss == pytest.approx(dnmf.factorize(V, **make.options(name)).loss, rel=2e-3)
        expected = {f"{name}-W": np.asarray(result.W), f"{name}-H": np.asarray(result.H)}
    assert_expected(result, expected, name)
    assert_expected(dnmf.load(store), expected, name)
    named = result.names.columns if name == "rows" else result.names.rows
    assert list(named) == make.ROWS
    assert "<!doctype html>" in dnmf.write_report(store, tmp_path / "page.html", V).read_text()


def test_a_finished_run_is_loaded_exported_and_reported(folder, expected, tmp_path):
    store, V = folder / "finished.zarr", make.matrix(folder, "finished")
    assert_expected(dnmf.load(store), expected, "sketch")
    assert_expected(dnmf.resume(store, V), expected, "sketch")
    best = np.stack([scipy.optimize.nnls(expected["sketch-W"], column)[0] for column in V.T], axis=1)
    np.testing.assert_allclose(np.asarray(dnmf.transform(store, V)), best, **CLOSE)
    assert dnmf.export(store, tmp_path / "tables").joinpath("W.csv").read_text().count("\n") == 25
    assert "24" in dnmf.write_report(store, tmp_path / "page.html", V).read_text()


@pytest.mark.parametrize("name", make.SURVEYS)
def test_a_survey_is_gone_on_with_and_read(name, folder, expected, changed, tmp_path):
    store, V = folder / f"{name}.zarr", make.matrix(folder, name)
    made = dnmf.select_rank(V, [2, 3], store=store, **make.SURVEYS[name][1])
    read = dnmf.load_survey(store)
    np.testing.assert_array_equal(read.held_out, made.held_out)
    np.testing.assert_array_equal(np.asarray(read.best(3).W), np.asarray(made.best(3).W))
    if changed:
        whole = dnmf.select_rank(V, [2, 3], **make.SURVEYS[name][1])
        for rank in (2, 3):
            assert made.best(rank).loss == pytest.approx(whole.best(rank).loss, rel=2e-3)
            sums = (np.sort(np.asarray(survey.best(rank).W).sum(axis=0)) for survey in (made, whole))
            np.testing.assert_allclose(*sums, rtol=0.05)
        # Four of the six passes were those of the earlier version.
        np.testing.assert_allclose(made.held_out.mean(axis=1), whole.held_out.mean(axis=1), rtol=0.05)
    else:
        np.testing.assert_allclose(made.held_out, expected[f"{name}-held_out"], **CLOSE)
        W = np.asarray(made.best(3).W)
        np.testing.assert_allclose(np.sort(W.sum(axis=0)), np.sort(expected[f"{name}-W"].sum(axis=0)), **CLOSE)
    assert "<!doctype html>" in dnmf.write_report(store, tmp_path / "page.html").read_text()
