"""Passes from a point beyond W: they follow the textbook, and a rejected one changes nothing but the passes."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from naive import als, extrapolated_passes, hals, kl_pass, mu, objective, quadratic_pass
from runs import PLAIN, Told, assert_same_bits, factors, interrupt_at, matrix, stored
from strategies import low_rank

import dnmf
import dnmf.solvers.iteration
from dnmf.errors import Interrupted, SettingsError
from dnmf.kernels.extrapolation import Momentum, extrapolate

PENALTIES = {"l1_W": 0.02, "l2_W": 0.1, "l1_H": 0.03, "l2_H": 0.2}
# For these, a pass is rejected early.
OPTIONS = {"rank": 4, "solver": "hals", "init": "random", "extrapolate": True, "tol": 0}


def start(V, rank, seed=1):
    rng = np.random.default_rng(seed)
    return rng.random((V.shape[0], rank)) + 0.1, rng.random((rank, V.shape[1])) + 0.1


def losses(result):
    return np.array([record.loss for record in result.history])


def refused_passes(result):
    """Return the passes that leave the loss unchanged to the bit."""
    return [record.passes for before, record in itertools.pairwise(result.history) if record.loss == before.loss]


@pytest.fixture
def wild(monkeypatch):
    """Let every point beyond W raise the loss."""
    monkeypatch.setattr(dnmf.solvers.iteration, "extrapolate", lambda new, *given: np.ones_like(new))


@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
@pytest.mark.parametrize(("solver", "update"), [("hals", hals), ("mu", mu), ("als", als)])
@pytest.mark.parametrize("form", [np.asarray, sp.csc_array])
def test_extrapolated_passes_equal_the_textbook(form, solver, update, penalties):
    V, passes = low_rank(12, 40, 3), 8
    sweeps, least = {"hals": 4, "mu": 10, "als": 1}[solver], 0.1 if solver == "mu" else 0.0
    W, H, expected, _ = extrapolated_passes(
        lambda W, H: quadratic_pass(update, V, W, H, sweeps=sweeps, **penalties),
        lambda point, W, H: objective(V, W, H, **penalties),
        *start(V, 3),
        passes,
        scaled=not penalties,
        least=least,
    )
    given = {"solver": solver, "extrapolate": True, "init": start(V, 3), "max_passes": passes, "tol": 0}
    result = dnmf.factorize(form(V), 3, **given, **penalties)
    np.testing.assert_allclose(result.W, W, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(result.H, H, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(losses(result), expected, rtol=1e-8)


@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
def test_extrapolated_passes_of_a_divergence_equal_the_textbook(penalties):
    V, passes = low_rank(12, 40, 3), 8
    _, H, expected, evaluated = extrapolated_passes(
        lambda W, H: kl_pass(V, W, H, **penalties),
        lambda point, W, H: objective(V, point, H, loss="kullback-leibler", **penalties),
        *start(V, 3),
        passes,
        scaled=not penalties,
        least=0.1,
    )
    options = {"loss": "kullback-leibler", "solver": "mu", "extrapolate": True, "max_passes": passes, "tol": 0}
    result = dnmf.factorize(V, 3, init=start(V, 3), **options, **penalties)
    np.testing.assert_allclose(result.W, evaluated, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(result.H, H, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(losses(result), expected, rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_point_beyond_is_on_the_line_and_not_negative(dtype):
    new, old = np.array([[2.0, 1.0], [0.0, 4.0]], dtype), np.array([[1.0, 3.0], [1.0, 4.0]], dtype)
    found = extrapolate(new, old, 0.5, 0.0, scaled=False)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.array([[2.5, 0.0], [0.0, 4.0]], dtype))
    np.testing.assert_array_equal(extrapolate(new, old, 0.5, 0.25, scaled=False)[0], np.array([2.5, 0.25], dtype))


def test_the_scale_of_an_old_column_means_nothing_where_the_next_may_take_any():
    rng = np.random.default_rng(0)
    new, old = rng.random((20, 3)), rng.random((20, 3))
    scaled = old * [1e-20, 1.0, 1e20]
    np.testing.assert_allclose(extrapolate(new, scaled, 0.7, 0, True), extrapolate(new, old, 0.7, 0, True), rtol=1e-12)
    np.testing.assert_allclose(extrapolate(new, 3 * new, 0.7, 0, True), new, rtol=1e-12)
    np.testing.assert_array_equal(extrapolate(new, np.zeros_like(new), 0.5, 0, True), 1.5 * new)


def test_the_step_grows_to_its_bound_and_is_cut():
    momentum = Momentum()
    for _ in range(100):
        momentum = momentum.grown()
        assert momentum.step <= momentum.bound <= 1
    assert momentum.step == 1
    cut = momentum.cut()
    assert (cut.step, cut.bound) == (1 / 1.5, 1)
    assert (cut.cut().step, cut.cut().bound) == (pytest.approx(1 / 2.25), 1 / 1.5)


@pytest.mark.parametrize("rows", [False, True], ids=["columns", "rows"])
def test_a_point_that_does_not_pay_gives_the_state_back(rows, wild):
    V = matrix().T.copy() if rows else matrix()
    told = Told()
    results = list(dnmf.iterate(V, max_passes=7, watchers=[told], **OPTIONS))
    plain = list(dnmf.iterate(V, 4, max_passes=4, tol=0, **PLAIN))
    # Before the first pass there is no W to extrapolate from; after it, every second pass is rejected.
    for passes, same in enumerate([1, 2, 2, 3, 3, 4, 4]):
        for one, other in zip(factors(results[passes]), factors(plain[same - 1]), strict=True):
            np.testing.assert_array_equal(one, other)
        assert results[passes].loss == plain[same - 1].loss
        assert results[passes].passes == passes + 1
    assert len(told.blocks) == 7
    assert [record.bytes_read for record in results[-1].history] == [k * V.nbytes for k in range(1, 8)]
    assert {record.solver for record in results[-1].history} == {"extrapolated"}


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler", "itakura-saito", 1.5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
def test_no_extrapolated_pass_raises_the_loss(penalties, dtype, loss):
    V = low_rank(20, 300, 4, dtype=dtype) + np.array(0.01, dtype)
    result = dnmf.factorize(V, 4, loss=loss, init="random", extrapolate=True, max_passes=60, tol=0, **penalties)
    assert (np.diff(losses(result)) <= 20 * np.finfo(dtype).eps * losses(result)[0]).all()
    assert [record.passes for record in result.history] == list(range(1, 61))


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
def test_extrapolation_comes_further_in_as_many_passes(loss):
    V, solver = low_rank(40, 300, 6), "hals" if loss == "frobenius" else "mu"
    runs = [
        dnmf.factorize(V, 6, loss=loss, solver=solver, init="random", extrapolate=how, max_passes=30, tol=0)
        for how in (True, False)
    ]
    assert runs[0].loss < runs[1].loss


def test_a_named_solver_is_plain_unless_it_is_told_otherwise():
    V = matrix()
    for solver in ("hals", "mu", "als"):
        named = dnmf.factorize(V, 4, solver=solver, init="random", max_passes=5, tol=0)
        assert_same_bits(
            dnmf.factorize(V, 4, solver=solver, init="random", extrapolate=False, max_passes=5, tol=0), named
        )
        assert {record.solver for record in named.history} == {solver}
    automatic = dnmf.factorize(V, 4, loss=1.5, max_passes=5, tol=0)
    extrapolated = dnmf.factorize(V, 4, loss=1.5, solver="mu", extrapolate=True, max_passes=5, tol=0)
    assert_same_bits(automatic, extrapolated)
    assert {record.solver for record in automatic.history} == {"extrapolated"}


@pytest.mark.parametrize("given", [1.5, "yes", 2])
def test_extrapolate_is_a_switch(given):
    with pytest.raises(SettingsError, match=r"extrapolate=.* is not allowed; give True, False or None"):
        dnmf.factorize(matrix(), 4, extrapolate=given)


@pytest.mark.parametrize("cut", [(24, 7), (5, 60)], ids=["columns", "rows"])
@pytest.mark.parametrize("at", range(1, 7))
def test_a_run_is_resumed_before_and_after_a_point_that_did_not_pay(at, cut, tmp_path, wild):
    V, where = stored(tmp_path / "V.zarr", matrix(), cut), tmp_path / "run.zarr"
    whole = dnmf.factorize(V, max_passes=8, checkpoint_every=2, **OPTIONS)
    with pytest.raises(Interrupted):
        dnmf.factorize(V, store=where, max_passes=8, checkpoint_every=2, **OPTIONS, **interrupt_at(at))
    assert_same_bits(dnmf.resume(where), whole)


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler", 0.5])
@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
def test_an_extrapolated_run_resumes_to_the_same_bits_at_every_pass(penalties, loss, tmp_path):
    V, where = matrix() + np.float32(0.01), tmp_path / "run.zarr"
    options = {"loss": loss, "init": "random", "extrapolate": True, "max_passes": 40, "tol": 0, **penalties}
    whole = dnmf.factorize(V, 4, **options)
    with pytest.raises(Interrupted):
        dnmf.factorize(V, 4, store=where, **options, **interrupt_at(3))
    for at in (4, 5, 9, 20, 33):
        with pytest.raises(Interrupted):
            dnmf.resume(where, V, **interrupt_at(at))
    assert_same_bits(dnmf.resume(where, V), whole)


def test_some_passes_are_refused_and_the_run_goes_on():
    result = dnmf.factorize(low_rank(40, 300, 6), max_passes=60, **{**OPTIONS, "rank": 6})
    refused = refused_passes(result)
    assert refused
    assert losses(result)[-1] < losses(result)[refused[0] - 1]
