"""Several models on one read: each ends as in a run of its own, the best is kept, and all can be resumed."""

import dataclasses
import itertools
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import kl_div
from strategies import SOURCES, low_rank

import dnmf
import dnmf.solvers.initialise
import dnmf.solvers.selection
from dnmf.engine import ThreadEngine
from dnmf.engine.factor import MemoryFactor
from dnmf.errors import DataError, SettingsError
from dnmf.kernels.registry import make_rule
from dnmf.settings import Settings
from dnmf.solvers.bundle import best_of, bundle, bundled
from dnmf.solvers.initialise import random_state
from dnmf.solvers.iteration import PassContext, after_extrapolated, after_plain, after_second_order, iterate, stepping
from dnmf.solvers.several_runs import alone, halving, runs_of, without_overflows
from dnmf.sources import open_matrix

FOLLOWS = [
    ({"solver": "hals"}, after_plain),
    ({"solver": "als"}, after_plain),
    ({"solver": "hals"}, after_extrapolated),
    ({"solver": "mu"}, after_extrapolated),
    ({"loss": "kullback-leibler", "solver": "cd"}, after_extrapolated),
    ({"loss": "kullback-leibler", "solver": "newton"}, after_second_order),
    ({"loss": 0.5}, after_plain),
]
KINDS = ["dask, columns", "csr", "zarr, rows"]
RUNS = [{"solver": "hals"}, {"solver": "hals", "extrapolate": True}, {"loss": "kullback-leibler"}, {"missing": "nan"}]


def begin(V, options, ranks, seeds):
    """Return a context, and random states for some ranks and seeds."""
    source = open_matrix(V)
    layout = source.layout
    settings = Settings(rank=1, **options)
    rule = make_rule(settings, transposed=layout.transposed)
    if options.get("solver") == "newton":
        rule = make_rule(settings).__class__(
            **{name: getattr(rule, name) for name in rule.__slots__} | {"hessian_rate": 1.0}
        )
    engine = ThreadEngine(source, min(layout.blocks, 3), 2)
    context = PassContext(engine, rule, lambda rows: MemoryFactor(layout.blocks))
    starts = [random_state(settings.replace({"rank": rank, "seed": seed}), layout) for rank in ranks for seed in seeds]
    return context, starts


def whole(H, blocks):
    return np.concatenate([H.read(block) for block in range(blocks)], axis=1)


def passes(context, state, method, count):
    return next(itertools.islice(iterate(context, state, method), count - 1, None))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("options", "follow"), FOLLOWS)
def test_a_bundle_of_one_is_the_single_run_to_the_bit(kind, options, follow, tmp_path):
    context, (start,) = begin(SOURCES[kind](low_rank(30, 200, 3), tmp_path), options, [3], [0])
    single = passes(context, start, stepping(follow), 6)
    (part,) = passes(context, bundle([start]), bundled(follow), 6).parts
    blocks = context.layout.blocks
    np.testing.assert_array_equal(part.W, single.W)
    np.testing.assert_array_equal(whole(part.H, blocks), whole(single.H, blocks))
    assert (part.loss, part.optimality, part.passes) == (single.loss, single.optimality, single.passes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("options", "follow"), FOLLOWS)
def test_every_part_is_what_it_is_alone_but_for_rounding(kind, options, follow, tmp_path):
    context, starts = begin(SOURCES[kind](low_rank(30, 200, 3), tmp_path), options, [2, 4], [0, 1])
    together = passes(context, bundle(starts), bundled(follow), 5)
    blocks = context.layout.blocks
    assert together.W.shape[1] == 12
    for start, part in zip(starts, together.parts, strict=True):
        single = passes(context, start, stepping(follow), 5)
        assert part.loss == pytest.approx(single.loss, rel=1e-9)
        np.testing.assert_allclose(part.W, single.W, rtol=1e-5, atol=1e-7 * single.W.max())
        np.testing.assert_allclose(
            whole(part.H, blocks), whole(single.H, blocks), rtol=1e-5, atol=1e-7 * whole(single.H, blocks).max()
        )


def test_a_part_that_is_refused_keeps_its_factors_while_others_go_on():
    context, starts = begin(low_rank(30, 200, 3), {"solver": "hals"}, [3], [0, 1, 2])

    def stubborn(context, state, stats, H):
        new = after_plain(context, state, stats, H)
        return state.rejected(new.norms, "stubborn") if state.W is refusing else new

    start = bundle(starts)
    first = passes(context, start, bundled(after_plain), 1)
    refusing = first.parts[1].W
    second = passes(context, first, bundled(stubborn), 1)
    np.testing.assert_array_equal(second.parts[1].W, first.parts[1].W)
    np.testing.assert_array_equal(second.parts[1].H.read(0), first.parts[1].H.read(0))
    for k in (0, 2):
        alone_ = passes(context, passes(context, starts[k], stepping(after_plain), 1), stepping(after_plain), 1)
        np.testing.assert_allclose(second.parts[k].H.read(0), alone_.H.read(0), rtol=1e-9, atol=1e-12)


def test_the_best_of_the_parts_goes_on_alone():
    context, starts = begin(low_rank(30, 200, 3), {"solver": "hals"}, [2, 4], [0, 1])
    state = passes(context, bundle(starts), bundled(after_plain), 3)
    best = alone(context, state)
    assert best.loss == min(part.loss for part in state.parts) == state.loss
    assert best.runs == tuple(part.loss for part in state.parts)
    assert best.W.shape == (30, 4)
    assert not best.parts
    np.testing.assert_array_equal(best.H.read(0), next(p for p in state.parts if p.loss == best.loss).H.read(0))


@pytest.mark.parametrize("options", RUNS, ids=str)
def test_several_runs_are_those_of_their_seeds_and_the_best_is_kept(options):
    V = low_rank(30, 200, 3)
    common = {"init": "random", "max_passes": 8, "tol": 0, **options}
    many = dnmf.factorize(V, 3, seed=5, n_runs=3, **common)
    singles = [dnmf.factorize(V, 3, seed=seed, **common) for seed in (5, 6, 7)]
    assert many.runs == pytest.approx([single.loss for single in singles], rel=1e-9)
    assert many.loss == min(many.runs)
    assert many.passes == 8
    best = min(singles, key=lambda single: single.loss)
    np.testing.assert_allclose(many.W @ np.asarray(many.H), best.W @ np.asarray(best.H), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("options", RUNS, ids=str)
def test_several_runs_are_resumed_to_the_same_bits(options, tmp_path):
    V = low_rank(30, 200, 3)
    common = {"init": "random", "max_passes": 9, "tol": 0, "n_runs": 3, "checkpoint_every": 2, **options}
    straight = dnmf.factorize(V, 3, store=tmp_path / "straight.zarr", **common)
    steps = dnmf.iterate(V, 3, store=tmp_path / "run.zarr", **common)
    step = next(itertools.islice(steps, 4, None))
    steps.close()
    found = dnmf.load(tmp_path / "run.zarr")  # the best after the checkpoint of pass 4
    assert found.W.shape == step.W.shape
    assert found.loss >= step.loss
    resumed = dnmf.resume(tmp_path / "run.zarr", V)
    np.testing.assert_array_equal(resumed.W, straight.W)
    np.testing.assert_array_equal(np.asarray(resumed.H), np.asarray(straight.H))
    assert resumed.runs == straight.runs == dnmf.load(tmp_path / "run.zarr").runs
    assert len(straight.runs) == 3


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_runs_on_a_sketch_cost_no_read(form):
    V = form(low_rank(60, 900, 4))
    many = dnmf.factorize(V, 4, solver="sketch", n_runs=5, max_passes=4, tol=0)
    assert [record.bytes_read for record in many.history] == [
        record.bytes_read for record in dnmf.factorize(V, 4, solver="sketch", max_passes=4, tol=0).history
    ]
    assert len(many.runs) == 5
    assert many.loss <= min(many.runs) * (1 + 1e-3)


def test_runs_on_a_sample_of_a_sketch_are_judged_by_its_own_size():
    V = low_rank(30, 25_000, 6)
    many = dnmf.factorize(V, 5, solver="sketch", n_runs=4, max_passes=3, tol=0)
    assert min(many.runs) == pytest.approx(many.loss, rel=0.05)
    V[:, ::3] *= 2  # every third column is in the sample, of at most 10,000
    larger = dnmf.factorize(V, 5, solver="sketch", n_runs=4, max_passes=3, tol=0)
    assert min(larger.runs) > many.loss
    assert len(set(larger.runs)) > 1


def test_runs_of_a_divergence_share_the_pass_of_the_sketch():
    V = np.random.default_rng(0).poisson(low_rank(60, 900, 4)).astype(float)
    many = dnmf.factorize(V, 4, loss="kullback-leibler", n_runs=3, max_passes=5, tol=0)
    assert len(many.history) == 4
    assert len(many.runs) == 3
    assert many.history[-1].bytes_read <= 6 * V.nbytes  # five passes, and the blocks that the first basis is made of


def test_the_worse_half_of_runs_of_a_divergence_is_dropped(tmp_path):
    V = np.random.default_rng(0).poisson(low_rank(60, 900, 6)).astype(float)
    common = {"loss": "kullback-leibler", "max_passes": 20, "tol": 0}
    whole = dnmf.factorize(V, 4, n_runs=5, store=tmp_path / "whole.zarr", **common)
    assert len(whole.runs) == 5
    assert whole.loss == min(whole.runs)
    assert whole.loss <= dnmf.factorize(V, 4, **common).loss * (1 + 1e-6)
    Y = np.asarray(whole.W) @ np.asarray(whole.H)
    assert whole.loss == pytest.approx(kl_div(V, Y).sum(), rel=1e-6)
    for passes in (3, 5, 9):  # before the first choice, between both, and with one run left
        store = tmp_path / f"{passes}.zarr"
        steps = dnmf.iterate(V, 4, n_runs=5, store=store, checkpoint_every=1, **common)
        next(step for step in steps if step.passes == passes)
        steps.close()
        resumed = dnmf.resume(store, V)
        assert resumed.runs == whole.runs
        np.testing.assert_array_equal(resumed.W, whole.W)
        np.testing.assert_array_equal(np.asarray(resumed.H), np.asarray(whole.H))


def test_halving_keeps_the_factors_of_the_better_runs():
    context, starts = begin(low_rank(30, 200, 3), {"solver": "hals"}, [4], range(5))
    all_of = passes(context, bundle(starts), bundled(after_plain), 4)
    half = passes(context, bundle(starts), halving(bundled(after_plain)), 4)
    losses = [part.loss for part in all_of.parts]
    best = sorted(sorted(range(5), key=losses.__getitem__)[:2])
    assert half.runs == tuple(None if k in best else losses[k] for k in range(5))
    for part, k in zip(half.parts, best, strict=True):
        np.testing.assert_array_equal(part.W, all_of.parts[k].W)
        np.testing.assert_array_equal(part.H.read(0), all_of.parts[k].H.read(0))
    last = passes(context, half, halving(bundled(after_plain)), 4)
    later = [part.loss for part in passes(context, half, bundled(after_plain), 4).parts]
    assert min(later) < max(later)
    expected = losses.copy()
    for k, loss in zip(best, later, strict=True):
        expected[k] = loss
    assert runs_of(last) == alone(context, last).runs == tuple(expected)


def test_the_loss_of_every_run_has_the_place_of_its_seed(tmp_path):
    V = np.random.default_rng(0).poisson(low_rank(60, 900, 6)).astype(float)
    seen, options = {}, {"loss": "kullback-leibler", "max_passes": 10, "tol": 0, "store": tmp_path / "run.zarr"}
    for step in dnmf.iterate(V, 4, n_runs=5, checkpoint_every=1, **options):
        seen[step.passes] = step.runs
        assert dnmf.load(tmp_path / "run.zarr").runs == step.runs
    assert all(len(runs) == 5 for runs in seen.values())
    assert all(one > other for one, other in zip(seen[2], seen[3], strict=True))  # all of them make passes
    third, last = sorted(range(5), key=seen[4].__getitem__), seen[10]
    assert [k for k in range(5) if last[k] == seen[4][k]] == sorted(third[2:])
    assert [k for k in range(5) if last[k] < seen[9][k]] == [min(range(5), key=seen[8].__getitem__)]


def test_the_losses_of_a_bundle_of_an_older_version_are_those_of_its_parts_and_then_the_others(tmp_path):
    context, starts = begin(low_rank(30, 200, 3), {"solver": "hals"}, [4], range(2))
    old = bundle([dataclasses.replace(start, runs=(7.0, 6.0)) for start in starts])
    new = passes(context, old, halving(bundled(after_plain)), 4)
    losses = [part.loss for part in passes(context, old, bundled(after_plain), 4).parts]
    assert runs_of(new) == (*losses, 7.0, 6.0)


def spoiled(method, bad, passes):
    """Return the method after which some parts have no loss, from a number of passes on."""

    def step(context, state):
        new = method(context, state)
        gone = bad if new.passes == passes else ()
        parts = [dataclasses.replace(part, loss=np.nan) if k in gone else part for k, part in enumerate(new.parts)]
        return dataclasses.replace(new, parts=tuple(parts), loss=best_of(parts).loss)

    return step


@pytest.mark.parametrize("bad", [{0}, {1}, {0, 1, 2}])
def test_halving_keeps_the_better_half_of_the_runs_that_have_a_loss(bad):
    context, starts = begin(low_rank(30, 200, 3), {"solver": "hals"}, [4], range(5))
    method = bundled(after_plain)
    losses = [part.loss for part in passes(context, bundle(starts), method, 4).parts]
    half = passes(context, bundle(starts), halving(without_overflows(spoiled(method, bad, 4))), 4)
    good = [k for k in range(5) if k not in bad]
    best = sorted(sorted(good, key=losses.__getitem__)[: len(good) // 2])
    assert [part.loss for part in half.parts] == [losses[k] for k in best]
    assert half.runs == tuple(np.inf if k in bad else None if k in best else losses[k] for k in range(5))
    assert half.loss == min(losses[k] for k in good)


@pytest.mark.parametrize("init", ["random", "sketch"])
@pytest.mark.parametrize(("bad", "lost"), [({0}, 2), ({0}, 4), ({2, 3}, 2), ({1, 3}, 4)])
def test_a_run_that_leaves_the_range_of_floats_does_not_end_the_others(bad, lost, init, tmp_path, monkeypatch):
    monkeypatch.setattr(
        dnmf.solvers.selection, "bundled", lambda follow, make=bundled: spoiled(make(follow), bad, lost)
    )
    V = np.random.default_rng(0).poisson(low_rank(60, 900, 6)).astype(float)
    common = {"loss": "kullback-leibler", "max_passes": 7, "tol": 0, "init": init}
    whole = dnmf.factorize(V, 4, n_runs=4, store=tmp_path / "whole.zarr", **common)
    assert whole.runs.count(np.inf) == len(bad)
    assert len(whole.runs) == 4
    assert whole.loss == min(whole.runs)
    assert dnmf.load(tmp_path / "whole.zarr").runs == whole.runs
    if init == "random":
        alone = [dnmf.factorize(V, 4, seed=seed, **common).loss for seed in range(4)]
        assert whole.loss == pytest.approx(min(alone[k] for k in range(4) if k not in bad), rel=1e-9)
    steps = dnmf.iterate(V, 4, n_runs=4, store=tmp_path / "cut.zarr", checkpoint_every=1, **common)
    next(step for step in steps if step.passes == 5)
    steps.close()
    resumed = dnmf.resume(tmp_path / "cut.zarr", V)
    assert resumed.runs == whole.runs
    np.testing.assert_array_equal(resumed.W, whole.W)


@pytest.mark.parametrize("init", ["random", "sketch"])
@pytest.mark.parametrize("lost", [2, 4])
def test_runs_that_all_leave_the_range_of_floats_end_with_a_sentence(lost, init, monkeypatch):
    monkeypatch.setattr(
        dnmf.solvers.selection, "bundled", lambda follow, make=bundled: spoiled(make(follow), range(4), lost)
    )
    V = np.random.default_rng(0).poisson(low_rank(60, 900, 6)).astype(float)
    with pytest.raises(DataError, match=f"The loss after pass {lost} is nan: sums of V's entries leave the range"):
        dnmf.factorize(V, 4, n_runs=4, loss="kullback-leibler", max_passes=7, tol=0, init=init)


def test_a_run_that_starts_too_large_is_dropped(monkeypatch):
    start = dnmf.solvers.initialise.random_state

    def too_large(settings, layout):
        state = start(settings, layout)
        return state if settings.seed else dataclasses.replace(state, W=state.W * 1e300)

    V, common = low_rank(60, 900, 6), {"solver": "hals", "init": "random", "max_passes": 4, "tol": 0}
    expected = min(dnmf.factorize(V, 4, seed=seed, **common).loss for seed in (1, 2))
    monkeypatch.setattr(dnmf.solvers.initialise, "random_state", too_large)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(DataError, match="leave the range"):
            dnmf.factorize(V, 4, seed=0, **common)
        assert dnmf.factorize(V, 4, n_runs=3, seed=0, **common).loss == pytest.approx(expected, rel=1e-9)


def test_known_columns_stay_in_every_run():
    V = low_rank(30, 200, 3)
    fixed = np.random.default_rng(1).random((30, 1))
    result = dnmf.factorize(V, 3, fixed_W=fixed, n_runs=3, max_passes=5, tol=0)
    np.testing.assert_array_equal(result.W[:, :1], fixed)
    assert len(result.runs) == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"init": "nndsvda"},
            "n_runs=3 is for random starts .* init='nndsvda' makes one",
        ),
        ({"solver": "minibatch"}, "n_runs=3 is for random starts .* solver='minibatch' makes one run"),
        ({"init": (np.ones((30, 3)), np.ones((3, 200)))}, "n_runs=3 is for random starts, and init gives one"),
    ],
)
def test_several_runs_of_one_start_are_refused(options, sentence):
    with pytest.raises(SettingsError, match=sentence):
        dnmf.factorize(low_rank(30, 200, 3), 3, n_runs=3, **options)
