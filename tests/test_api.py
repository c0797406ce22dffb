"""What comes back from the functions people call."""

import dataclasses

import dask.array as da
import numpy as np
import pytest
from strategies import SOURCES, low_rank

import dnmf


def test_the_result_is_as_promised(tmp_path):
    V = SOURCES["dask, uneven grid"](low_rank(30, 200, 3), tmp_path)
    result = dnmf.factorize(V, 3, solver="hals", init="random", max_passes=4, tol=0)
    assert isinstance(result.W, np.ndarray)
    assert isinstance(result.H, da.Array)
    assert result.H.chunks == ((3,), V.chunks[1])
    assert not result.converged
    assert result.verdict.startswith("The 4 passes allowed were spent")
    record = result.history[-1]
    names = ["passes", "loss", "relative_error", "optimality", "seconds", "bytes_read", "solver"]
    assert [field.name for field in dataclasses.fields(record)] == names
    assert (record.passes, record.bytes_read, record.solver) == (4, 4 * 30 * 200 * 8, "hals")
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.loss = 0
    np.testing.assert_allclose(result.W @ result.H.compute(), (result.W @ result.H).compute())


def test_float32_and_small_integers_stay_single():
    for dtype, expected in [("float32", "float32"), ("uint8", "float32"), ("int64", "float64"), ("bool", "float32")]:
        result = dnmf.factorize((low_rank(10, 30, 2) * 3).astype(dtype), 2, max_passes=2)
        assert (result.W.dtype, result.H.dtype) == (expected, expected)


def test_a_run_stops_where_it_has_converged():
    rng = np.random.default_rng(0)
    result = dnmf.factorize(rng.random((10, 2)) @ rng.random((2, 50)), 2, init="random", tol=1e-3)
    assert result.converged
    assert result.history[-1].optimality <= 1e-3 < result.history[-2].optimality
    assert result.verdict.startswith("Converged: the next pass promises")


def test_a_divergence_stops_only_where_a_pass_has_shown_its_decrease():
    rng = np.random.default_rng(0)
    V = rng.poisson(rng.gamma(1.0, 1.0, (40, 3)) @ rng.gamma(1.0, 1.0, (3, 300))) + 5.0
    result = dnmf.factorize(V, 3, loss="kullback-leibler", tol=0.5)  # more than a single pass can promise
    losses = [record.loss for record in result.history]
    assert len(losses) == 2
    assert (losses[0] - losses[1]) / losses[1] <= 0.5


def test_a_run_stops_when_its_seconds_are_spent():
    result = dnmf.factorize(low_rank(10, 30, 2), 2, init="random", max_seconds=0, tol=0)
    assert result.passes == 1
    assert result.verdict.startswith("The 0 seconds allowed were spent after pass 1")


def test_every_pass_can_be_watched_and_the_run_left():
    seen = []
    for result in dnmf.iterate(low_rank(10, 30, 2), 2, init="random", tol=0):
        seen.append(result)
        if result.passes == 5:
            break
    whole = dnmf.factorize(low_rank(10, 30, 2), 2, init="random", max_passes=5, tol=0)
    assert [result.passes for result in seen] == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(seen[-1].H, whole.H)
    assert seen[0].loss > seen[-1].loss
    assert seen[0].verdict == "Running: 1 passes were made."


def test_watchers_are_notified_in_order(tmp_path):
    calls = []

    class Diary(dnmf.Watcher):
        def started(self, plan, passes, max_passes):
            calls.append(("started", passes, max_passes))

        def passed(self, record):
            calls.append(("passed", record.passes))

        def saved(self, passes, store):
            calls.append(("saved", passes))

        def stopped(self, verdict):
            calls.append(("stopped", verdict.converged))

    dnmf.factorize(
        low_rank(10, 30, 2),
        2,
        init="random",
        max_passes=3,
        tol=0,
        checkpoint_every=2,
        store=tmp_path / "r.zarr",
        watchers=[Diary()],
    )
    passes = [("passed", 1), ("passed", 2), ("saved", 2), ("passed", 3), ("saved", 3)]
    assert calls == [("started", 0, 3), *passes, ("stopped", False)]


def test_the_plan_promises_less_than_it_is_allowed(tmp_path):
    matrix = SOURCES["zarr"](low_rank(30, 200, 3), tmp_path)
    plans = [dnmf.plan(matrix, 3, memory_limit=limit, threads=n) for limit in ("200MB", "2GB") for n in (1, 4)]
    for plan in plans:
        assert plan.peak_bytes <= plan.limit_bytes
        assert (plan.blocks, plan.groups, plan.bytes_per_pass) == (5, 5, 30 * 200 * 8)


@pytest.mark.parametrize("init", ["nndsvd", "nndsvda", "nndsvdar"])
def test_singular_vectors_start_where_scikit_learn_does(init):
    from sklearn.decomposition._nmf import _initialize_nmf

    rng = np.random.default_rng(0)
    V = (rng.random((30, 4)) * [8, 4, 2, 1]) @ rng.random((4, 100)) + 1e-3 * rng.random((30, 100))
    W, H = _initialize_nmf(V, 4, init=init, random_state=0)
    start = next(dnmf.iterate(V, 4, init=init, solver="als", tol=0))
    expected = next(dnmf.iterate(V, 4, init=(W, H), solver="als", tol=0))
    assert start.passes == 2
    # One exact pass from either start gives one error: for nndsvdar, up to its noise.
    assert start.relative_error == pytest.approx(expected.relative_error, rel=1e-3 if init != "nndsvdar" else 0.05)


def test_results_and_surveys_are_shown_in_a_line():
    survey = dnmf.select_rank(low_rank(20, 40, 2), [2, 3], n_runs=2, cv=0)
    assert repr(survey) == f"<dnmf.RankSurvey: ranks 2, 3, 4 models, {survey.passes} passes. {survey.suggest()}>"
    assert repr(survey.consensus(2, low_rank(20, 40, 2))).startswith("<dnmf.Result: W (20, 2), H (2, 40), ")
    assert "array" not in repr(survey.models)


def test_an_unknown_name_of_the_package_is_known_to_python():
    with pytest.raises(AttributeError, match="module 'dnmf' has no attribute 'factorise'") as caught:
        dnmf.factorise  # noqa: B018 - Python proposes a similar name from these two
    assert (caught.value.name, caught.value.obj) == ("factorise", dnmf)


def test_the_classes_of_what_is_returned_are_public():
    V = low_rank(12, 30, 3)
    result, survey = dnmf.factorize(V, 2, max_passes=2), dnmf.select_rank(V, [1, 2], n_runs=2, cv=2)
    weights = dnmf.select_graph_weight(V, 2, [0, 1], graph_H=dnmf.graphs.chain(30), max_passes=3)
    counts = np.random.default_rng(0).poisson(5.0, (12, 30))
    likelihood = dnmf.likelihood(dnmf.factorize(counts, 2, loss="kullback-leibler", max_passes=3), counts)
    made = {
        dnmf.Component: result.components()[0],
        dnmf.RankSurvey: survey,
        dnmf.Suggestion: survey.suggest(),
        dnmf.ConsensusResult: survey.consensus(2, V=V),
        dnmf.WeightSurvey: weights,
        dnmf.Likelihood: likelihood,
        dnmf.Plan: dnmf.plan(V, 2),
        dnmf.Record: result.history[0],
    }
    assert {public: type(value) for public, value in made.items()} == {public: public for public in made}
    assert survey.table()["held_out"][1] == pytest.approx(survey.held_out[1].mean())
    assert weights.table()["held_out"] == pytest.approx(weights.held_out.mean(axis=1))


def test_the_name_of_an_earlier_version_is_proposed_again():
    with pytest.raises(dnmf.DnmfError, match=r"'keep' is not known\. Did you mean 'keep_checkpoints'"):
        dnmf.factorize(low_rank(12, 30, 3), 2, keep=3)
