"""A survey of ranks: few reads, the planted rank, nothing that leaks, the same bits every time and after a stop."""

import io
import itertools
import pickle
import shutil
import threading

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from rich.console import Console
from runs import Told

import dnmf
from dnmf.engine import ThreadEngine
from dnmf.engine.passes import WHOLE
from dnmf.errors import DataWarning, Interrupted, SettingsError, StoreError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.hashing import drop_hashed
from dnmf.run.progress import Bar
from dnmf.run.watcher import Watcher
from dnmf.sources import open_matrix
from dnmf.survey import on_sketch, runner, table
from dnmf.survey.api import load_survey, select_rank
from dnmf.survey.holdout import FoldWeights, Halves, Speckles, divergence, hide
from dnmf.survey.on_data import shown
from dnmf.survey.stability import stability
from dnmf.survey.store import SurveyStore


def planted(rank=4, rows=60, columns=400, noise=0.05, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    V = rng.random((rows, rank)) ** 3 @ rng.random((rank, columns)) ** 3
    return np.maximum(V + noise * V.mean() * rng.standard_normal(V.shape), 0).astype(dtype)


def counts(rank=3, rows=50, columns=300, seed=0):
    rng = np.random.default_rng(seed)
    return rng.poisson(20 * rng.gamma(0.3, size=(rows, rank)) @ rng.gamma(0.3, size=(rank, columns))).astype(float)


class Reads(Watcher):
    """Counts the bytes that are read."""

    def __init__(self):
        self.bytes, self._lock = 0, threading.Lock()

    def block_read(self, count):
        with self._lock:
            self.bytes += count


class StopAfter(Watcher):
    """Sets an event once some models were fitted, or some passes made."""

    def __init__(self, event, models=None, passes=None):
        self.event, self.models, self.passes = event, models, passes

    def modelled(self, done, total):
        if self.models is not None and done >= self.models:
            self.event.set()

    def passed(self, record):
        if self.passes is not None and record.passes >= self.passes:
            self.event.set()


def results(survey):
    """Return the table of a survey without its costs."""
    return {name: column for name, column in survey.table().items() if name not in ("passes", "seconds")}


def same(one, two):
    assert results(one) == results(two)
    for a, b in zip(one.models, two.models, strict=True):
        np.testing.assert_array_equal(a.W, b.W)
        np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_array_equal(one.held_out, two.held_out)
    for rank in one.ranks:
        np.testing.assert_array_equal(np.asarray(one.best(rank).W), np.asarray(two.best(rank).W))
        np.testing.assert_array_equal(np.asarray(one.best(rank).H), np.asarray(two.best(rank).H))


@pytest.mark.parametrize("form", [np.asarray, sp.csc_array, lambda V: da.from_array(V, chunks=(-1, 90))])
def test_the_planted_rank_is_found_in_three_reads(form):
    V, reads = planted(), Reads()
    survey = select_rank(form(V), range(2, 7), n_runs=4, cv=3, watchers=[reads])
    found = survey.suggest()
    assert (found.rank, survey.passes, survey.holdout) == (4, 3, "bicross")
    assert reads.bytes <= 4.2 * open_matrix(form(V)).layout.stored_bytes  # three, and the blocks of the first basis
    best = survey.best(4)
    assert best.W.shape == (60, 4)
    exact = np.linalg.norm(V - best.W @ np.asarray(best.H)) / np.linalg.norm(V)
    assert best.relative_error == pytest.approx(exact, rel=1e-9)
    assert best.relative_error <= survey.table()["relative_error"][2] * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_planted_rank_is_found_where_there_is_little_noise(seed):
    assert select_rank(planted(noise=0.01, seed=seed), range(2, 10), n_runs=1).suggest().rank == 4


def every_other(V):
    return np.repeat(V, 2, axis=1) * (np.arange(2 * V.shape[1]) % 2)


def at_the_end(V):
    return np.hstack([np.zeros((len(V), 9 * V.shape[1])), V])


@pytest.mark.parametrize("spread", [every_other, at_the_end])
def test_columns_of_zeros_between_others_change_no_rank(spread, monkeypatch):
    """A sample of 100 columns misses most of those that are not 0, or all of them."""
    monkeypatch.setattr(dnmf.solvers.sketch.samples, "SAMPLE", 100)
    V = planted(noise=0.1)
    survey, alone = select_rank(spread(V), range(2, 7), n_runs=2), select_rank(V, range(2, 7), n_runs=2)
    assert survey.suggest().rank == alone.suggest().rank == 4
    # The folds hold out other columns; a part of the squares that is far above their noise would be a worse fit.
    assert survey.held_out.mean(axis=1)[2:].max() < 3 * alone.held_out.mean(axis=1)[2:].max()
    best = select_rank(V, [4], n_runs=8, cv=0, solver="hals").best(4).relative_error
    assert survey.best(4).relative_error <= 1.01 * best


def test_a_component_without_data_outside_a_fold_is_predicted_by_nothing():
    """Its H is rounding errors there, and W was their quotient with those of V: 1e12 times what it should be."""
    rng = np.random.default_rng(0)
    V, rows = np.zeros((60, 400)), rng.choice(60, 60, False)
    V[np.ix_(rows, rng.choice(400, 6, False))] = rng.random((60, 2)) ** 2 @ rng.random((2, 6)) ** 2
    V *= 1 + 0.02 * np.abs(rng.standard_normal(V.shape))
    survey = select_rank(V, [1, 2, 3, 4], n_runs=2)
    assert survey.held_out.max() < 2  # 1 is the error of zeros


def test_a_fold_that_holds_out_nothing_but_zeros_has_no_error():
    V = planted(2, 60, 80)
    V[np.ix_(Halves(0, 1, 80).rows(60), Halves(0, 1, 80).columns(0, 80))] = 0
    survey = dnmf.select_rank(V, [1, 2], n_runs=1, cv=3)
    np.testing.assert_array_equal(np.isnan(survey.held_out), [[False, True, False]] * 2)
    table, known = survey.table(), survey.held_out[:, [0, 2]]
    np.testing.assert_allclose(table["held_out"], known.mean(axis=1))
    np.testing.assert_allclose(table["held_out_se"], abs(known[:, 0] - known[:, 1]) / 2)


def test_a_suggestion_names_outliers_where_no_rank_predicts_anything():
    V = planted()
    assert "better than by zeros" not in select_rank(V, [3, 4]).suggest().reason
    V[10, 20] = 1000 * V.max()
    found = select_rank(V, range(2, 6)).suggest()
    assert "predicted better than by zeros" in found.reason
    assert not found.agree


def test_a_warning_names_the_passes_that_see_all_columns_where_a_penalty_leaves_a_sample(monkeypatch):
    monkeypatch.setattr(dnmf.solvers.sketch.samples, "SAMPLE", 100)
    V = at_the_end(planted(columns=100))
    with pytest.warns(DataWarning, match="A few columns of V have most of its squares.* Give solver='hals'"):
        select_rank(V, [4], n_runs=1, l1_H=1e-3)
    select_rank(planted(columns=1000), [4], n_runs=1, l1_H=1e-3)  # whose columns are alike
    select_rank(V, [4], n_runs=1, l1_H=1e-3, solver="hals", max_passes=3)


def test_models_on_a_sketch_are_as_good_as_runs_of_many_passes():
    V = planted()
    survey = select_rank(V, [2, 4, 6], n_runs=3, cv=0)
    for rank, error in zip(survey.ranks, survey.table()["relative_error"], strict=True):
        alone = dnmf.factorize(V, rank, solver="hals", init="random", n_runs=3, max_passes=60, tol=0)
        assert error <= alone.relative_error * 1.01


@pytest.mark.parametrize("loss", ["kullback-leibler", 1.5])
def test_models_of_divergences_advance_together_and_speckles_find_the_rank(loss):
    V = counts()
    survey = select_rank(V, range(2, 6), n_runs=3, cv=3, loss=loss, max_passes=20)
    assert (survey.suggest().rank, survey.holdout, survey.passes) == (3, "speckled", 21)
    single = dnmf.factorize(V, 3, loss=loss, max_passes=60, tol=0)
    assert survey.best(3).loss <= single.loss * 1.02


@pytest.mark.parametrize("options", [{"solver": "mu"}, {"solver": "hals"}, {"solver": "als", "extrapolate": True}])
def test_a_solver_that_is_named_makes_its_passes_and_one_model_is_the_single_run_to_the_bit(options):
    V, options = planted(), {"max_passes": 6, "tol": 0, **options}
    survey = select_rank(V, [3], n_runs=1, cv=0, seed=2, **options)
    single = dnmf.factorize(V, 3, init="random", seed=2, **options)
    best = survey.best(3)
    assert (survey.passes, survey.holdout) == (6, "speckled")
    assert [(r.passes, r.loss, r.solver) for r in best.history] == [
        (r.passes, r.loss, r.solver) for r in single.history[-1:]
    ]
    np.testing.assert_array_equal(best.W, single.W)
    np.testing.assert_array_equal(np.asarray(best.H), np.asarray(single.H))


def test_a_solver_that_is_named_is_that_of_every_model():
    V = planted()
    made = {
        solver: select_rank(V, [2, 4], n_runs=2, cv=2, solver=solver, max_passes=5, tol=0)
        for solver in ("auto", "sketch", "mu", "hals")
    }
    assert [made[solver].passes for solver in made] == [3, 3, 6, 6]
    same(made["auto"], made["sketch"])
    for seed in (0, 1):
        single = dnmf.factorize(V, 4, init="random", solver="mu", seed=seed, max_passes=5, tol=0)
        assert made["mu"].models_of(4)[seed].loss == pytest.approx(single.loss, rel=1e-9)
    assert (made["mu"].models_of(4)[0].W != made["hals"].models_of(4)[0].W).any()


def test_the_results_of_models_on_data_take_one_pass_over_their_factors_alone(monkeypatch):
    passes, one_pass = [], ThreadEngine.one_pass

    def spying(self, work, H=None, room=None, scope=WHOLE):
        passes.append(scope.reading)
        return one_pass(self, work, H, room, scope)

    monkeypatch.setattr(ThreadEngine, "one_pass", spying)
    select_rank(planted(), [2, 3], n_runs=2, cv=2, solver="mu", max_passes=4, tol=0)
    assert passes == [True] * 4 + [False, True]


class Announced(Told):
    """Record the losses of passes, too."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def passed(self, record):
        super().passed(record)
        self.losses.append(record.loss)


def test_the_passes_of_a_sketch_are_announced_and_reported(tmp_path):
    watcher, arguments = Announced(), {"ranks": [2, 4], "n_runs": 2, "cv": 2, "store": tmp_path / "survey.zarr"}
    survey = select_rank(planted(), watchers=[watcher], **arguments)
    assert watcher.calls == [("started", 0, 3), ("passed", 2), ("passed", 3), ("stopped", True)]
    assert watcher.losses == [min(survey.table()["loss"]), survey.best(4).loss]
    again = Told()
    select_rank(planted(), watchers=[again], **arguments)
    assert again.calls == [("started", 3, 3), ("stopped", True)]


def test_passes_of_models_that_do_not_fit_together_are_announced_and_reported_in_one_count(monkeypatch):
    monkeypatch.setattr(runner, "in_batches", lambda models, fits: [(model,) for model in models])
    watcher = Announced()
    survey = select_rank(counts(), [2, 3], n_runs=2, cv=2, solver="mu", max_passes=2, watchers=[watcher])
    passes = [("passed", number) for number in (1, 2, 4, 5)]  # pass 3 and pass 6 measure the predictions of the folds
    assert watcher.calls == [("started", 0, 6), *passes, ("stopped", True)]
    assert survey.passes == 6
    assert watcher.losses[1::2] == survey.table()["loss"]  # of the models, not of the folds, which have fewer entries


def test_a_bar_shows_the_passes_of_a_survey():
    bar, seen = Bar(Console(file=io.StringIO())), []

    class Look(Watcher):
        def modelled(self, done, total):
            seen.append(bar._progress.tasks[0].fields["text"])

    select_rank(planted(), [2, 4], n_runs=2, cv=2, watchers=[bar, Look()])
    assert seen == [f"{done} of 8 models on the sketch" for done in range(1, 9)]


@pytest.mark.parametrize("options", [{}, {"solver": "mu", "max_passes": 5, "tol": 0}], ids=str)
def test_every_rank_has_its_share_of_passes_and_seconds(options, tmp_path):
    survey = select_rank(planted(), [2, 4, 6], n_runs=2, cv=2, store=tmp_path / "survey.zarr", **options)
    figures = survey.table()
    assert figures["passes"] == [survey.passes] * 3 == [6 if options else 3] * 3
    assert 0 < sum(figures["seconds"]) <= survey.seconds
    if options:  # all that takes time is shared by the components of the models
        assert figures["seconds"] == pytest.approx(
            [survey._costs.steps["models-2-6"].seconds * k / 6 for k in (1, 2, 3)]
        )
    assert load_survey(tmp_path / "survey.zarr").table() == figures
    assert [word in str(survey) for word in ("passes", "seconds")] == [True, True]


def test_passes_count_for_the_ranks_that_took_part(monkeypatch):
    for module in (runner, on_sketch):
        monkeypatch.setattr(module, "in_batches", lambda models, fits: [(model,) for model in models])
    survey = select_rank(planted(), [2, 4], n_runs=2, cv=2)
    # The sketch; two models each, the folds of both with the first; the best of each.
    assert (survey.table()["passes"], survey.passes) == ([4, 5], 7)


def test_a_survey_that_goes_on_adds_to_what_it_took_before(tmp_path):
    event, where = threading.Event(), tmp_path / "survey.zarr"
    arguments = {"ranks": [2, 3], "n_runs": 2, "cv": 2, "store": where}
    with pytest.raises(Interrupted):
        select_rank(planted(), cancel=event, watchers=[StopAfter(event, models=5)], **arguments)
    before = SurveyStore.open(where).costs()
    fits = sum(float(SurveyStore.open(where).get(path.stem)["seconds"]) for path in (where / "pieces").glob("fit-2-*"))
    resumed = select_rank(planted(), **arguments)
    steps = resumed._costs.steps
    assert steps["pass-1"] == before.steps["pass-1"]
    assert steps["fits-2"].seconds == pytest.approx(fits) != 0
    assert resumed.seconds > before.seconds > before.steps["pass-1"].seconds
    assert resumed.table()["passes"] == [3, 3]


def test_a_survey_by_an_earlier_version_does_not_know_what_each_rank_took(tmp_path):
    where, arguments = tmp_path / "survey.zarr", {"ranks": [2, 3], "n_runs": 2, "cv": 2}
    survey = select_rank(planted(), store=where, **arguments)
    (where / "spent.json").write_text('{"passes": 3, "seconds": 1.5}')
    for piece in (where / "pieces").glob("fit-*"):
        with np.load(piece) as arrays:
            kept = {name: arrays[name] for name in ("W", "loss")}
        np.savez(piece, **kept)
    old = load_survey(where)
    same(old, survey)
    assert (old.passes, old.seconds) == (3, 1.5)
    again = select_rank(planted(), store=where, **arguments)
    for found in (old, again, load_survey(where)):
        assert found.table()["passes"] == found.table()["seconds"] == [None, None]
        assert "seconds" not in str(found)
    for nonsense in ("[]", '{"passes": Infinity, "seconds": 1}', '{"passes": 3, "seconds": NaN}', '{"passes": 3}'):
        (where / "spent.json").write_text(nonsense)
        assert (load_survey(where).passes, load_survey(where).seconds) == (0, 0)


def test_missing_and_weighted_entries_are_surveyed_too():
    V = planted()
    holes = np.where(np.random.default_rng(1).random(V.shape) < 0.1, np.nan, V)
    survey = select_rank(holes, [3, 4, 5], n_runs=2, cv=2, missing="nan", max_passes=25)
    assert survey.suggest().rank == 4
    ratings = sp.csc_array(np.where(np.random.default_rng(2).random(V.shape) < 0.5, V, 0))
    survey = select_rank(ratings, [2, 4], n_runs=2, cv=2, missing="zeros", max_passes=25)
    assert survey.held_out.mean(axis=1)[1] < survey.held_out.mean(axis=1)[0]
    weights = np.random.default_rng(3).random(V.shape)
    survey = select_rank(V, [2, 4], n_runs=2, cv=2, weights=weights, max_passes=25)
    assert survey.held_out.mean(axis=1)[1] < survey.held_out.mean(axis=1)[0]


def test_no_block_that_is_held_out_changes_a_fold(monkeypatch):
    from dnmf.survey.store import SurveyStore

    V, folds = planted(), 2
    pieces = []
    for planted_value in (0.0, 1e3):
        changed = V.copy()
        halves = Halves(0, 0, 400)
        row = int(np.flatnonzero(halves.rows(60))[3])
        column = int(np.flatnonzero(halves.columns(0, 400))[5])
        changed[row, column] = planted_value
        kept = {}
        put = SurveyStore.put

        def spying(self, name, kept=kept, put=put, **piece):
            kept[name] = put(self, name, **piece)
            return kept[name]

        monkeypatch.setattr(SurveyStore, "put", spying)
        select_rank(changed, [3, 4], n_runs=1, cv=folds)
        monkeypatch.setattr(SurveyStore, "put", put)
        pieces.append(kept)
    for rank in (3, 4):
        np.testing.assert_array_equal(pieces[0][f"fit-{rank}-fold0"]["W"], pieces[1][f"fit-{rank}-fold0"]["W"])
        assert pieces[0][f"held-{rank}-0"]["error"] != pieces[1][f"held-{rank}-0"]["error"]
        assert (pieces[0][f"fit-{rank}-0"]["W"] != pieces[1][f"fit-{rank}-0"]["W"]).any()


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
def test_no_entry_that_is_held_out_changes_a_fold(loss, tmp_path, monkeypatch):
    from dnmf.survey import on_data

    V = counts()
    hidden = np.ones(V.shape)
    drop_hashed(np.uint64(0), np.uint64(0), *Speckles(0, 1, 2).bounds, hidden)
    row, column = (int(place[4]) for place in np.nonzero(hidden == 0))
    states = []
    for value in (0.0, 7e3):
        changed = V.copy()
        changed[row, column] = value

        def keeping(context, request, store, state, models, folds, keep=on_data.keep_advanced):
            states.append(state)
            return keep(context, request, store, state, models, folds)

        with monkeypatch.context() as patch:
            patch.setattr(on_data, "keep_advanced", keeping)
            select_rank(changed, [2, 3], n_runs=1, cv=2, holdout="speckled", loss=loss, max_passes=4)
    # Models of both ranks come first, then those of fold 0 and of fold 1, which does not see the entry.
    for part in (4, 5):
        np.testing.assert_array_equal(states[0].parts[part].W, states[1].parts[part].W)
    for part in (0, 1, 2, 3):
        assert (states[0].parts[part].W != states[1].parts[part].W).any()


def test_speckles_hold_out_their_share_and_no_entry_twice():
    kept = np.array([np.ones((300, 400)) for _ in range(4)])
    for fold in range(4):
        drop_hashed(np.uint64(7), np.uint64(0), *Speckles(7, fold, 4).bounds, kept[fold])
    assert kept.mean(axis=(1, 2)) == pytest.approx(0.9, abs=0.005)
    assert ((kept == 0).sum(axis=0) <= 1).all()
    whole = kept[2]
    weights = FoldWeights(Speckles(7, 2, 4), (300, 400), 0)
    np.testing.assert_array_equal(weights[:, slice(37, 90)], whole[:, 37:90])
    later = FoldWeights(Speckles(7, 2, 4), (300, 100), 300)
    np.testing.assert_array_equal(later[:, slice(0, 100)], whole[:, 300:])
    rows, columns = np.array([1, 5, 299]), np.array([0, 40, 99])
    np.testing.assert_array_equal(later[rows, columns], whole[rows, columns + 300])


@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, sp.csc_array])
@pytest.mark.parametrize("places", [[0, 1, 2, 10, 11, 30, 77, 78], [5], [4, 9, 20], [*range(7, 20)]], ids=str)
def test_columns_in_runs_are_shown_as_one_by_one(form, places):
    V, fold = counts(), Speckles(3, 1, 4)
    rows, columns = np.indices(V.shape)
    kept = FoldWeights(fold, V.shape, 0)[rows.ravel(), columns.ravel()].reshape(V.shape)
    one_by_one = np.hstack([V[:, [place]] * kept[:, [place]] for place in places])
    found = shown(form(V[:, places]), np.array(places), fold)
    np.testing.assert_array_equal(found.toarray() if sp.issparse(found) else found, one_by_one)
    assert sp.issparse(found) or found.flags.c_contiguous


def test_halves_are_halves_for_any_blocks():
    halves = Halves(3, 1, 10_000)
    whole = halves.columns(0, 10_000)
    assert whole.mean() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(np.concatenate([halves.columns(0, 77), halves.columns(77, 10_000)]), whole)
    assert (whole != Halves(3, 2, 10_000).columns(0, 10_000)).any()
    assert (halves.rows(10_000) != whole).any()


@pytest.mark.parametrize("beta", [2.0, 1.0, 0.0, 0.5, 1.5])
def test_what_was_held_out_is_judged_by_the_loss(beta):
    rng = np.random.default_rng(0)
    v, y = rng.random(50) + 0.1, rng.random(50) + 0.1
    textbook = {
        2.0: lambda: (v - y) ** 2,
        1.0: lambda: v * np.log(v / y) - v + y,
        0.0: lambda: v / y - np.log(v / y) - 1,
    }.get(beta, lambda: (v**beta + (beta - 1) * y**beta - beta * v * y ** (beta - 1)) / (beta * (beta - 1)))()
    assert divergence(v, y, beta, 1e-9) == pytest.approx(textbook.sum(), rel=1e-12)
    assert divergence(np.zeros(3), np.zeros(3), 1.0, 1e-9) == pytest.approx(0, abs=1e-8)
    # By d(cv, cy) = c^β d(v, y), entries far below the others are judged as these are, and a prediction of 0 is finite.
    assert divergence(1e-13 * v, 1e-13 * y, beta, 1e-9) == pytest.approx(1e-13**beta * textbook.sum(), rel=1e-9)
    assert np.isfinite(divergence(1e-13 * v, 0 * y, beta, 1e-9))


@pytest.mark.parametrize(
    "options", [{"tol": 1e-2}, {"tol": 1e-3}, {"tol": 1e-3, "solver": "mu"}, {"tol": 1e-3, "loss": 1.5}], ids=str
)
def test_models_of_a_divergence_end_as_in_runs_of_their_own(options, tmp_path):
    V = counts()
    options = {"loss": "kullback-leibler", "init": "random", "max_passes": 80, **options}
    alone = {rank: dnmf.factorize(V, rank, **options) for rank in (2, 4)}
    histories = [result.history for result in alone.values()]
    assert all(result.converged for result in alone.values())
    early = [min(record.passes for record in history if record.optimality <= options["tol"]) for history in histories]
    assert max(early) < max(result.passes for result in alone.values())  # the optimality alone would end too early
    for rank, result in alone.items():
        store = tmp_path / f"{rank}.zarr"
        assert select_rank(V, [rank], n_runs=1, cv=0, store=store, **options).passes == result.passes
    both = select_rank(V, [2, 4], n_runs=1, cv=0, **options)  # until the last of the models has converged
    assert both.passes == max(result.passes for result in alone.values())


def test_a_survey_of_a_divergence_that_was_stopped_late_ends_after_the_same_passes(tmp_path):
    V, options = counts(), {"loss": "kullback-leibler", "init": "random", "tol": 1e-3, "max_passes": 80}
    arguments = {"ranks": [2, 4], "n_runs": 2, "cv": 0, "checkpoint_every": 1, **options}
    straight = select_rank(V, **arguments)
    for passes in (1, 2, straight.passes - 2, straight.passes - 1):
        event, store = threading.Event(), tmp_path / f"{passes}.zarr"
        with pytest.raises(Interrupted):
            select_rank(V, store=store, cancel=event, watchers=[StopAfter(event, passes=passes)], **arguments)
        resumed = select_rank(V, store=store, **arguments)
        same(resumed, straight)
        assert resumed.passes == straight.passes


CASES = [{}, {"loss": "kullback-leibler", "max_passes": 7, "checkpoint_every": 2}]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_blocks_and_threads_change_nothing(options):
    V = counts()
    one = select_rank(V, [2, 3], n_runs=2, cv=2, threads=1, **options)
    same(one, select_rank(V, [2, 3], n_runs=2, cv=2, threads=3, **options))
    cut = select_rank(da.from_array(V, chunks=(-1, 70)), [2, 3], n_runs=2, cv=2, **options)
    np.testing.assert_allclose(cut.held_out, one.held_out, rtol=1e-6)
    np.testing.assert_allclose(cut.table()["loss"], one.table()["loss"], rtol=1e-6)


@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.parametrize("stop", [{"models": 1}, {"models": 5}, {"passes": 5}], ids=str)
def test_a_survey_that_was_stopped_goes_on_to_the_same_bits(options, stop, tmp_path):
    V = counts()
    arguments = {"ranks": [2, 3], "n_runs": 2, "cv": 2, **options}
    straight = select_rank(V, store=tmp_path / "straight.zarr", **arguments)
    event = threading.Event()
    try:
        select_rank(V, store=tmp_path / "run.zarr", cancel=event, watchers=[StopAfter(event, **stop)], **arguments)
    except Interrupted:
        with pytest.raises(StoreError, match="is not finished"):
            load_survey(tmp_path / "run.zarr")
    resumed = select_rank(V, store=tmp_path / "run.zarr", **arguments)
    same(resumed, straight)
    same(load_survey(tmp_path / "run.zarr"), straight)
    assert resumed.passes == load_survey(tmp_path / "run.zarr").passes == straight.passes


class Killed(BaseException):
    """The end of a process, as far as it can be had without one."""


@pytest.mark.parametrize("options", CASES, ids=str)
def test_a_survey_that_was_killed_as_it_kept_a_piece_goes_on_to_the_same_bits(options, tmp_path, monkeypatch):
    V, put, one_pass, reads = counts(), SurveyStore.put, ThreadEngine.one_pass, []
    arguments = {"ranks": [2, 3], "n_runs": 2, "cv": 2, **options}
    straight = select_rank(V, **arguments)

    def counting(self, work, H=None, room=None, scope=WHOLE):
        sums = one_pass(self, work, H, room, scope)
        reads.extend([work] * scope.reading)
        return sums

    monkeypatch.setattr(ThreadEngine, "one_pass", counting)
    for count in itertools.count(1):
        left = count

        def dying(self, name, **piece):
            nonlocal left
            kept = put(self, name, **piece)
            left -= 1
            if left == 0:
                raise Killed
            return kept

        where = tmp_path / f"{count}.zarr"
        with monkeypatch.context() as patch:
            patch.setattr(SurveyStore, "put", dying)
            try:
                select_rank(V, store=where, **arguments)
                break
            except Killed:
                pass
        resumed = select_rank(V, store=where, **arguments)
        same(resumed, straight)
        # Side by side, passes after the last checkpoint do not count: they are made again.
        assert resumed.passes == (straight.passes if options else len(reads)) >= straight.passes
        reads.clear()
    assert count > 4


def test_a_finished_survey_reads_nothing_again_and_is_refused_to_others(tmp_path):
    V, where = planted(), tmp_path / "survey.zarr"
    first = select_rank(V, [3, 4], n_runs=2, cv=2, store=where)
    reads = Reads()
    again = select_rank(V, [3, 4], n_runs=2, cv=2, store=where, watchers=[reads])
    same(first, again)
    assert reads.bytes == 0
    with pytest.raises(StoreError, match=r"has ranks=\[3, 4\] and not \[3, 5\]; repeat its options"):
        select_rank(V, [3, 5], n_runs=2, cv=2, store=where)
    with pytest.raises(StoreError, match="has fingerprint="):
        select_rank(V + 1, [3, 4], n_runs=2, cv=2, store=where)
    other = select_rank(V, [3, 5], n_runs=2, cv=2, store=where, overwrite=True)
    assert load_survey(where).ranks == other.ranks == (3, 5)
    assert dnmf.load(where / "best" / "rank-005.zarr").W.shape == (60, 5)


def test_an_overwritten_survey_knows_nothing_of_the_one_before(tmp_path):
    V, where = planted(), tmp_path / "survey.zarr"
    options = {"ranks": [2, 3], "n_runs": 2, "cv": 2, "holdout": "speckled", "max_passes": 4}
    select_rank(V[::-1], store=where, **options)
    new, straight = select_rank(V, store=where, overwrite=True, **options), select_rank(V, **options)
    same(new, straight)
    assert new.passes == straight.passes


@pytest.mark.parametrize(
    ("options", "name"),
    [
        *((CASES[0], name) for name in ("sketch-fold0", "fit-3-fold1", "model-3-1", "held-3-0")),
        *((CASES[1], name) for name in ("model-3-1", "held-2-0")),
    ],
    ids=str,
)
def test_a_damaged_piece_is_computed_again(options, name, tmp_path):
    V, where = counts(), tmp_path / "survey.zarr"
    arguments = {"ranks": [2, 3], "n_runs": 2, "cv": 2, **options}
    first = select_rank(V, store=where, **arguments)
    piece = where / "pieces" / f"{name}.npz"
    content = bytearray(piece.read_bytes())
    content[len(content) // 2] ^= 0xFF
    piece.write_bytes(bytes(content))
    with pytest.warns(UserWarning, match=f"{name}.npz is damaged .* and is computed again"):
        again = select_rank(V, store=where, **arguments)
    assert piece.exists()
    same(first, again)


def test_what_is_no_survey_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"nothing\.zarr does not exist; give the store of a survey"):
        load_survey(tmp_path / "nothing.zarr")
    (tmp_path / "other").mkdir()
    with pytest.raises(StoreError, match="is not a survey; give the store of a survey"):
        load_survey(tmp_path / "other")
    dnmf.factorize(planted(), 2, max_passes=2, store=tmp_path / "run.zarr")
    with pytest.raises(StoreError, match="already exists and is not a survey"):
        select_rank(planted(), [2, 3], store=tmp_path / "run.zarr")
    where = tmp_path / "survey.zarr"
    select_rank(planted(), [2, 3], n_runs=1, cv=0, store=where)
    header = (where / "zarr.json").read_text()
    (where / "zarr.json").write_text(header.replace('"cv": 0', '"cv": "many"'))
    with pytest.raises(StoreError, match="is not a survey that dnmf wrote"):
        load_survey(where)


def test_the_consensus_of_many_runs_recovers_the_components(tmp_path):
    rng = np.random.default_rng(0)
    true = rng.random((60, 3)) ** 4
    V = true @ rng.random((3, 500)) ** 3
    np.save(tmp_path / "V.npy", V)
    survey = select_rank(tmp_path / "V.npy", [3], n_runs=6, cv=0)
    found = survey.consensus(3)
    unit = [X / np.linalg.norm(X, axis=0) for X in (true, np.asarray(found.W))]
    assert (unit[0].T @ unit[1]).max(axis=1) == pytest.approx(1, abs=0.02)
    assert np.linalg.norm(V - found.W @ np.asarray(found.H)) < 0.05 * np.linalg.norm(V)
    with pytest.raises(StoreError, match="The survey was given its matrix in memory; give V again"):
        select_rank(V, [3], n_runs=2, cv=0).consensus(3)


def test_one_run_of_each_rank_and_no_fold_is_a_survey_too():
    survey = select_rank(planted(), [3, 4], n_runs=1, cv=0)
    figures = survey.table()
    assert figures["stability"] == figures["held_out"] == figures["cophenetic"] == [None, None]
    assert survey.suggest().rank is None or survey.suggest().rank in (3, 4)
    assert "rank" in str(survey)


def test_a_survey_works_out_its_figures_once_and_travels(monkeypatch):
    survey, matched = select_rank(planted(), [3, 4], n_runs=2, cv=2), []
    monkeypatch.setattr(table, "stability", lambda runs: matched.append(len(runs)) or stability(runs))
    before, printed, figures = repr(survey), str(survey), survey.table()
    assert str(survey.suggest()) in printed
    figures["loss"].clear()
    assert len(survey.table()["loss"]) == 2
    assert matched == [2, 2]
    there = pickle.loads(pickle.dumps(survey))
    assert repr(survey) == before == repr(there).replace(repr(there._best), repr(survey._best))
    same(there, survey)
    assert str(there) == printed
    assert matched == [2, 2]


def test_a_tight_memory_limit_makes_more_passes_of_fewer_models():
    V = planted(rows=2000, columns=1500)
    roomy = select_rank(V, range(2, 8), n_runs=4, cv=0)
    tight = select_rank(V, range(2, 8), n_runs=4, cv=0, memory_limit="321MB", threads=1)
    assert tight.passes > roomy.passes == 3
    np.testing.assert_allclose(tight.table()["loss"], roomy.table()["loss"], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ranks": []}, r"ranks=\[\] is not allowed; give whole numbers of at least 1, each once"),
        ({"ranks": [2, 2]}, "each once"),
        ({"ranks": [2, 70]}, r"ranks go up to 70, and V \(60, 400\) has rank 60 at most"),
        ({"cv": 1}, "cv=1 is not allowed; give the number of folds, at least 2, or 0 for none"),
        ({"n_runs": 0}, "n_runs=0 is not allowed"),
        ({"init": "nndsvd"}, "init='nndsvd' is not for a survey"),
        ({"fixed_W": np.ones((60, 1))}, "the option 'fixed_W' is not for a survey"),
        ({"solver": "minibatch"}, "solver='minibatch' is not for a survey"),
        ({"max_seconds": 5}, "max_seconds is not for a survey"),
        ({"solver": "sketch", "holdout": "speckled"}, "holdout='speckled' is for passes over V itself"),
        ({"holdout": "halves"}, "holdout"),
        ({"holdout": "bicross", "loss": "kullback-leibler"}, "holdout='bicross' is for the Frobenius loss"),
        ({"holdout": "bicross", "ranks": [2, 12]}, r"larger than 5 times the largest rank, 12, in both directions"),
        (
            {"holdout": "bicross", "solver": "mu"},
            "is for models on a sketch of V, and solver='mu' is for passes over V itself; leave "
            "solver out, or use holdout='speckled'",
        ),
        ({"holdout": "bicross", "init": "random"}, "and init='random' is for passes .* leave init out"),
        ({"slover": "hals"}, "the option 'slover' is not known"),
    ],
)
def test_bad_input_is_refused_by_a_sentence(change, sentence):
    reads = Reads()
    with pytest.raises(SettingsError, match=sentence):
        select_rank(planted(), **{"ranks": [2, 3], "watchers": [reads], **change})
    assert reads.bytes == 0


def test_a_store_that_was_moved_is_a_survey(tmp_path):
    survey = select_rank(planted(), [3, 4], n_runs=2, cv=2, store=tmp_path / "survey.zarr")
    factors = [np.asarray(survey.best(rank).H) for rank in (3, 4)]
    shutil.move(tmp_path / "survey.zarr", tmp_path / "moved.zarr")
    moved = load_survey(tmp_path / "moved.zarr")
    assert moved.table() == survey.table()
    for rank, H in zip((3, 4), factors, strict=True):
        np.testing.assert_array_equal(np.asarray(moved.best(rank).H), H)


def test_visits_see_blocks_without_what_is_hidden():
    V = counts()
    block = hide(Speckles(0, 0, 2), V, 0)
    from dnmf.kernels.blocks.entries import Entries

    pairs = list(Entries(weighted=True).panels(block, np.dtype(float), Scratch()))
    assert sum((pair.weights == 0).sum() for _, pair in pairs) == pytest.approx(0.1 * V.size, rel=0.1)


@pytest.mark.parametrize("shape", [(6, 200), (200, 6), (7, 7)])
def test_few_rows_or_columns_are_never_all_in_one_half(shape):
    """With these seeds, a hash holds out every row or column in some folds, or none."""
    for seed in (7, 11, 19, 20):
        survey = select_rank(np.random.default_rng(seed).random(shape), [1], n_runs=1, seed=seed)
        assert (survey.held_out > 0).all()
        for fold in range(5):
            halves = Halves(seed, fold, shape[1])
            assert 2 <= halves.rows(shape[0]).sum() <= shape[0] - 2
            blocks = [halves.columns(start, start + 1) for start in range(shape[1])]
            np.testing.assert_array_equal(np.concatenate(blocks), halves.columns(0, shape[1]))
