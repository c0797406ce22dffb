"""`numpy.seterr` of the caller changes nothing: numbers that underflow are no errors."""

import itertools
import warnings

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

import dnmf
from dnmf import NMF, MiniBatchNMF
from dnmf.conversion import convert
from dnmf.errors import DnmfError, SettingsError

rng = np.random.default_rng(0)
SPARSE = sp.random(90, 240, 0.08, "csr", random_state=1)
DENSE = rng.random((50, 3)) ** 8 @ rng.random((3, 160)) ** 8 + 1e-9  # squares of its least entries are far below 1
HOLES = np.where(rng.random(DENSE.shape) < 0.2, np.nan, DENSE)
LOSSES = [2, 1, 0, 0.5, 3]
RUNS = list(itertools.product(LOSSES, ["auto", "mu", "minibatch"], ["auto", "random", "nndsvdar"]))
RUNS += list(itertools.product([2, 1], ["hals", "als", "cd", "newton", "sketch"], ["auto"]))


def flat(found):
    """Return every array in what was found."""
    if isinstance(found, (tuple, list)):
        return [array for part in found for array in flat(part)]
    return [np.asarray(found)]


def same(call):
    """Run a call as it is and where every floating-point error raises, and compare all bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected = flat(call())
        with np.errstate(all="raise"):
            found = flat(call())
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("V", "threads"), [(SPARSE, 2), (DENSE, 1)], ids=["sparse", "dense"])
def test_factors_are_the_same_for_every_loss_solver_and_start(V, threads):
    compared = 0
    for loss, solver, init in RUNS:

        def run(loss=loss, solver=solver, init=init):
            result = dnmf.factorize(V, 4, loss=loss, solver=solver, init=init, max_passes=3, threads=threads)
            return result.W, result.H, result.loss

        try:
            same(run)
            compared += 1
        except SettingsError:
            continue  # not every solver and start serves every loss
        except DnmfError:
            assert V is SPARSE
            assert loss <= 0
    assert compared >= (22 if V is SPARSE else 37), compared


@pytest.mark.parametrize("loss", [2, 1, 0.5])
@pytest.mark.parametrize(
    "options",
    [
        {"missing": "nan"},
        {"weights": np.random.default_rng(3).random(DENSE.shape)},
        {"n_runs": 3, "init": "random"},
        {"fixed_W": np.ones((len(DENSE), 1))},
        {"l1_W": 0.1, "l2_H": 0.1},
    ],
    ids=lambda options: "-".join(options),
)
def test_factors_are_the_same_with_other_options(loss, options):
    V = HOLES if "missing" in options else DENSE

    def run():
        result = dnmf.factorize(V, 4, loss=loss, max_passes=4, **options)
        return result.W, result.H, dnmf.transform(result, DENSE, weights=options.get("weights"))

    same(run)


@pytest.mark.parametrize("loss", [2, 1, 0.5])
def test_surveys_estimators_and_steps_are_the_same(loss, tmp_path):
    def surveyed():
        survey = dnmf.select_rank(SPARSE, [2, 3], n_runs=3, cv=2, loss=loss, max_passes=4)
        return survey.best(3).W, survey.held_out, survey.suggest().rank, survey.connectivity(3)

    def estimated(cls, **options):
        model = cls(4, beta_loss=loss, init="nndsvda", max_iter=4, random_state=0, **options)
        W = model.fit_transform(SPARSE)
        with dask.config.set(scheduler="sync"):  # in the thread of the caller
            lazy = [np.asarray(model.transform(da.from_array(SPARSE.toarray(), (30, width)))) for width in (240, 100)]
        return W, model.components_, *lazy, model.score(SPARSE), model.inverse_transform(W), model.reconstruction_err_

    def updated():
        model = MiniBatchNMF(4, beta_loss=loss, random_state=0)
        for first in range(0, 90, 30):
            model.partial_fit(SPARSE[first : first + 30])
        return model.components_

    def stepped():
        steps = dnmf.iterate(SPARSE, 4, loss=loss, max_passes=3)
        caller = np.geterr()
        found = []
        for result in steps:
            assert np.geterr() == caller  # that of the caller stays as it is between the steps
            found.append((result.W, result.H))
        return found

    for call in (surveyed, lambda: estimated(NMF, solver="mu"), lambda: estimated(MiniBatchNMF), updated, stepped):
        same(call)


@pytest.mark.parametrize("name", ["unit_variance", "tfidf", "log_normalize"])
def test_prepared_and_stored_runs_are_the_same(name, tmp_path):
    turns = itertools.count()

    def run():
        folder = tmp_path / str(next(turns))
        convert(getattr(dnmf.preprocessing, name)(SPARSE), folder / "V.zarr")
        dnmf.factorize(folder / "V.zarr", 3, max_passes=2, tol=0, store=folder / "run.zarr")
        result = dnmf.resume(folder / "run.zarr", max_passes=4)
        dnmf.write_report(result, folder / "page.html")
        return result.W, result.H, result.loss

    same(run)
