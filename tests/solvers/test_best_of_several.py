"""Several random starts on a sketch: the loss of each is returned, and the best one is kept."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.optimize import nnls

import dnmf
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.row_updates import hals
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.solvers.sketch.singular import singular_start
from dnmf.solvers.sketch.surrogate import Surrogate


def nearly_low(seed, rows=60, columns=400, rank=5):
    """Return a matrix close to one of a rank, whose factorisations at a lower rank have several ends."""
    rng = np.random.default_rng(seed)
    V = rng.random((rows, rank)) @ rng.random((rank, columns)) + 0.02 * rng.random((rows, columns))
    return V.astype(np.float32)


@pytest.mark.parametrize("seed", range(12))
def test_the_loss_of_every_run_is_finite_and_the_best_is_kept(seed, tmp_path):
    V = nearly_low(seed)
    options = {"init": "sketch", "max_passes": 3, "tol": 0, "seed": seed}
    found = dnmf.factorize(V, 4, n_runs=4, store=tmp_path / "run.zarr", **options)
    assert np.isfinite(found.runs).all()
    assert len(found.runs) == 4
    W, H = np.asarray(found.W, np.float64), np.asarray(found.H, np.float64)
    assert 0.5 * np.linalg.norm(V - W @ H) ** 2 <= min(found.runs) * (1 + 1e-3)
    assert dnmf.factorize(V, 4, n_runs=2, **options).runs == found.runs[:2]
    assert dnmf.load(tmp_path / "run.zarr").runs == found.runs
    json.dumps([record.to_dict() for record in found.history], allow_nan=False)


@pytest.mark.parametrize("rounds", [1, 2, 3, 4, 5, 7, 16, 64])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_of_a_descent_is_that_of_the_factors_it_returns(seed, rounds):
    V = nearly_low(seed, 30, 80).astype(np.float64)
    U, s, Vt = np.linalg.svd(V, full_matrices=False)
    left, S = U[:, :10] * s[:10], Vt[:10]
    rule = Quadratic(hals, 1, Penalty(), Penalty())
    surrogate = Surrogate(left, rule, float(np.linalg.norm(left @ S) ** 2))
    W, loss = surrogate.fitted(S, 4, seed, 1, 1, rounds)
    least = sum(nnls(W, column)[1] ** 2 for column in (left @ S).T) / 2
    assert least <= loss * (1 + 1e-9)
    if rounds == 64:
        assert loss <= 1.02 * least
    more = dataclasses.replace(surrogate).fitted(S, 4, seed, 1, 1, rounds + 1)[1]
    assert more <= loss * (1 + 1e-12)


def test_a_survey_of_such_a_matrix_takes_the_best_seed_of_every_rank():
    V = nearly_low(1)
    survey = dnmf.select_rank(V, [3, 4], n_runs=4, cv=2)
    for rank in (3, 4):
        losses = [model.loss for model in survey.models_of(rank)]
        assert np.isfinite(losses).all()
        W, H = (np.asarray(factor, np.float64) for factor in (survey.best(rank).W, survey.best(rank).H))
        assert 0.5 * np.linalg.norm(V - W @ H) ** 2 <= min(losses) * (1 + 1e-3)


def test_the_start_of_singular_vectors_finds_components_that_do_not_overlap():
    rng = np.random.default_rng(0)
    W, H = np.kron(np.eye(3), rng.random((10, 1)) + 0.1), np.kron(np.diag([3.0, 2.0, 1.0]), rng.random((1, 8)) + 0.1)
    drawn = rng.random((30, 4))
    U, s, Vt = np.linalg.svd(W @ H, full_matrices=False)
    start = singular_start(U[:, :5] * s[:5], Vt[:5], drawn)
    np.testing.assert_allclose(start[:, :3], W / np.linalg.norm(W, axis=0), atol=1e-12)
    assert np.array_equal(start[:, 3], drawn[:, 3])
