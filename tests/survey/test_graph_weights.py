"""Surveys with graphs: of ranks, and of weights whose errors are those of models fitted alone."""

import threading
import tracemalloc

import dask.array as da
import numpy as np
import pytest

import dnmf
from dnmf.engine.plan import RUNTIME_BYTES
from dnmf.errors import DataError
from dnmf.survey.holdout import Speckles, hide

rng = np.random.default_rng(3)
CURVES = np.sin(np.linspace(0, 6, 90) + np.arange(3)[:, None]) + 1
V = rng.poisson(rng.random((20, 3)) @ CURVES).astype(float)
BLOCKS = da.from_array(np.asfortranarray(V), chunks=(20, 40))
CHAIN = dnmf.graphs.chain(90)


def test_the_error_of_a_weight_is_that_of_its_model_alone():
    survey = dnmf.select_graph_weight(BLOCKS, 3, [5.0, 0.0, 100.0], cv=2, graph_H=CHAIN, max_passes=6, tol=0)
    assert survey.weights == (0.0, 5.0, 100.0)
    assert survey.passes == 7
    for index, weight in enumerate(survey.weights):
        for fold in range(2):
            shown = hide(Speckles(0, fold, 2), V, 0).weights[:, slice(0, 90)].astype(float)
            options = {"solver": "hals", "extrapolate": True, "init": "random", "max_passes": 6, "tol": 0}
            alone = dnmf.factorize(BLOCKS, 3, weights=shown, graph_H=CHAIN, graph_weight=weight, **options)
            missed = (shown == 0) * (V - alone.W @ np.asarray(alone.H)) ** 2
            assert survey.held_out[index, fold] == pytest.approx(missed.sum() / (V[shown == 0] ** 2).sum(), rel=1e-6)


@pytest.mark.parametrize("cut", ["columns", "rows"])
def test_two_graphs_have_weights_of_their_own(cut):
    blocks = BLOCKS if cut == "columns" else da.from_array(np.ascontiguousarray(V), chunks=(7, 90))
    graphs = {"graph_H": CHAIN, "graph_W": dnmf.graphs.chain(20)}
    options = {"max_passes": 6, "tol": 0, **graphs}
    survey = dnmf.select_graph_weight(blocks, 3, [3, (50, 0), (0.5, 4)], cv=2, **options)
    assert survey.weights == ((0.5, 4.0), 3.0, (50.0, 0.0))
    assert " 50:0 " in repr(survey)
    for index, weight in enumerate(survey.weights):
        shown = hide(Speckles(0, 1, 2), V if cut == "columns" else V.T, 0).weights[:, slice(None)].astype(float)
        shown = shown if cut == "columns" else shown.T
        alone = dnmf.factorize(
            blocks, 3, weights=shown, graph_weight=weight, solver="hals", extrapolate=True, init="random", **options
        )
        missed = (shown == 0) * (V - np.asarray(alone.W) @ np.asarray(alone.H)) ** 2
        assert survey.held_out[index, 1] == pytest.approx(missed.sum() / (V[shown == 0] ** 2).sum(), rel=1e-6)


class Stop(dnmf.Watcher):
    def passed(self, record):
        if record.passes == 3:
            raise KeyboardInterrupt


class Cancel(dnmf.Watcher):
    def __init__(self):
        self.event, self.passes = threading.Event(), 0

    def passed(self, record):
        self.passes = record.passes
        if self.passes == 2:
            self.event.set()


@pytest.mark.parametrize("survey", ["ranks", "weights"])
def test_a_survey_is_cancelled_after_a_pass_and_resumes_there(survey, tmp_path):
    def call(**options):
        options |= {"cv": 2, "max_passes": 5, "tol": 0, "graph_H": CHAIN}
        if survey == "weights":
            return dnmf.select_graph_weight(BLOCKS, 3, [0, 5], **options)
        return dnmf.select_rank(BLOCKS, [2, 3], n_runs=2, solver="hals", **options)

    watcher, store = Cancel(), tmp_path / "survey.zarr"
    with pytest.raises(dnmf.errors.Interrupted):
        call(store=store, watchers=[watcher], cancel=watcher.event)
    assert watcher.passes == 2
    seen = []
    call(store=store, watchers=lambda record: seen.append(record.passes))
    assert seen[0] == 3


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
def test_a_stopped_survey_resumes_to_the_same_bits(loss, tmp_path):
    options = {"graph_H": CHAIN, "graph_weights": [0, (2, 5)], "cv": 2, "max_passes": 6, "tol": 0, "loss": loss}
    expected = dnmf.select_graph_weight(BLOCKS, 3, **options)
    options |= {"store": tmp_path / "survey.zarr", "checkpoint_every": 2}
    with pytest.raises(KeyboardInterrupt):
        dnmf.select_graph_weight(BLOCKS, 3, **options, watchers=[Stop()])
    with pytest.raises(dnmf.DnmfError, match=r"survey.zarr is a survey of graph weights; repeat select_graph_weight"):
        dnmf.load_survey(tmp_path / "survey.zarr")
    seen = []
    found = dnmf.select_graph_weight(BLOCKS, 3, **options, watchers=[lambda record: seen.append(record.passes)])
    assert (seen, found.passes) == ([4, 5, 6], 7)
    assert np.array_equal(found.held_out, expected.held_out)
    again = dnmf.select_graph_weight(BLOCKS, 3, **options, watchers=[Stop()])
    assert np.array_equal(again.held_out, expected.held_out)
    with pytest.raises(dnmf.DnmfError, match=r"has graph_weights=\[0.0, \[2.0, 5.0\]\] and not \[0.0, 6.0\]"):
        dnmf.select_graph_weight(BLOCKS, 3, **(options | {"graph_weights": [0, 6]}))
    with pytest.raises(dnmf.DnmfError, match=r"The survey in .* has .* and not .*; repeat its options"):
        dnmf.select_rank(BLOCKS, [3], n_runs=1, cv=2, store=tmp_path / "survey.zarr")


def test_smooth_curves_are_predicted_better_with_their_graph():
    survey = dnmf.select_graph_weight(V, 3, [0, 10], graph_H=CHAIN, loss="kullback-leibler", max_passes=15)
    assert survey.suggest() == 10
    assert list(survey.table()) == ["weight", "held_out", "held_out_se"]
    assert "held-out error at rank 3" in repr(survey)


def test_a_survey_of_ranks_takes_a_graph(tmp_path):
    options = {"n_runs": 2, "cv": 2, "graph_H": CHAIN, "max_passes": 4, "store": tmp_path / "survey.zarr"}
    survey = dnmf.select_rank(BLOCKS, [2, 3], **options, graph_weight=5.0)
    plain = dnmf.select_rank(BLOCKS, [2, 3], n_runs=2, cv=2, max_passes=4, solver="hals")
    assert (np.array(survey.held_out) < np.array(plain.held_out)).all()
    with pytest.raises(dnmf.DnmfError, match="survey"):
        dnmf.select_rank(BLOCKS, [2, 3], **(options | {"graph_H": 2 * CHAIN + dnmf.graphs.knn(CURVES.T, 2)}))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, r"No graph to choose a weight of; give graph_W or graph_H \(--graph-W, --graph-H\)\."),
        ({"graph_H": CHAIN, "graph_weights": [1, -1]}, r"graph_weights=\[1, -1\] is not allowed; give numbers"),
        ({"graph_H": CHAIN, "graph_weights": [1, (1, 1)]}, r"is not allowed; give numbers of at least 0, or pairs"),
        ({"graph_H": CHAIN, "graph_weights": 3}, r"graph_weights=3 is not allowed; give numbers"),
        ({"graph_H": CHAIN, "cv": 1}, r"cv=1 is not allowed; give the number of folds, at least 2\."),
        ({"graph_H": CHAIN, "fixed_H": np.ones((1, 90))}, r"fixed_H is not for the choice of a graph's weight"),
        ({"graph_H": CHAIN, "l1_H": np.ones((1, 90))}, r"l1_H is not for the choice of a graph's weight"),
        ({"graph_H": CHAIN, "n_runs": 3}, r"n_runs is not for the choice of a graph's weight; leave it out\."),
        ({"graph_H": CHAIN, "solver": "minibatch"}, r"solver='minibatch' is not for the choice"),
    ],
)
def test_bad_requests_are_refused(options, sentence):
    with pytest.raises(dnmf.DnmfError, match=sentence):
        dnmf.select_graph_weight(V, 3, **options)


class SeePlan(dnmf.Watcher):
    def started(self, plan, passes, max_passes):
        self.plan = plan


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
def test_the_planned_memory_is_not_far_above_what_is_held(loss):
    columns, rank, models, watcher = 60_000, 4, 6, SeePlan()
    wide = np.random.default_rng(0).random((20, columns), np.float32)
    options = {"graph_H": dnmf.graphs.chain(columns), "max_passes": 3, "tol": 0, "threads": 1, "loss": loss}

    def survey():
        dnmf.select_graph_weight(wide, rank, [0, 1, 2], cv=2, memory_limit="4GB", watchers=[watcher], **options)

    survey()  # compiles
    tracemalloc.start()
    try:
        survey()
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held < watcher.plan.peak_bytes - RUNTIME_BYTES < 5 * held
    # Two H of every model that are merged into a third, H̃ᵀ, and the H of a trial.
    assert dict(watcher.plan.terms)[f"for the factor of all {columns} columns"] == 5 * models * rank * columns * 4


def test_a_survey_of_zeros_chooses_no_weight():
    survey = dnmf.select_graph_weight(np.zeros((6, 20)), 1, [0, 1], graph_H=dnmf.graphs.chain(20), max_passes=2)
    assert np.isnan(survey.held_out).all()
    assert np.isnan(survey.table()["held_out"]).all()
    with pytest.raises(DataError, match="No fold holds out an entry that is not 0"):
        survey.suggest()
