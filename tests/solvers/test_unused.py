"""Options that have no effect: every one that a run accepts changes its factors, and the others are refused."""

import itertools

import numpy as np
import pytest
from strategies import low_rank

import dnmf
from dnmf.errors import DataWarning, SettingsError

V = low_rank(20, 300, 3) + 0.01
LOSSES = {"frobenius": ["auto", "sketch", "hals", "als", "mu", "cd", "pg", "minibatch"]}
LOSSES |= {"kullback-leibler": ["auto", "newton", "mu", "cd"], "itakura-saito": ["auto", "mu"]}
RUNS = [(loss, solver, {}) for loss, solvers in LOSSES.items() for solver in solvers]
RUNS += [("frobenius", solver, {"weights": V}) for solver in ("auto", "hals", "als", "mu", "cd", "pg")]
RUNS += [("frobenius", "hals", {name: np.eye(20)[:, ::-1]}) for name in ("graph_W",)]
RUNS += [("frobenius", "hals", {"target_W": np.ones((20, 3))}), ("frobenius", "hals", {"rank": [3, 2]})]
OPTIONS = {"forget": 0.5, "shuffle": True, "sweeps": 1, "graph_weight": 3.0, "target_weight": 2.0}


def factors(loss, solver, more, **options):
    """Return the bits of the factors after some passes, or None if the options are refused."""
    options = {"rank": 3, "init": "random", "max_passes": 4, "tol": 0, **more, **options}
    try:
        result = dnmf.factorize(V, loss=loss, solver=solver, **options)
    except SettingsError as error:
        return None if "has no effect: it is for" in str(error) else pytest.fail(str(error))
    return np.asarray(result.W).tobytes() + np.asarray(result.H).tobytes()


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(("loss", "solver", "more"), RUNS, ids=lambda given: str(given)[:20])
def test_an_option_that_is_accepted_changes_the_factors(loss, solver, more, name):
    assert factors(loss, solver, more, **{name: OPTIONS[name]}) != factors(loss, solver, more)


@pytest.mark.parametrize(("loss", "solver", "more"), RUNS, ids=lambda given: str(given)[:20])
def test_extrapolation_is_what_was_asked_for_or_refused(loss, solver, more):
    on, off, chosen = (factors(loss, solver, more, extrapolate=how) for how in (True, False, None))
    assert on != off
    assert chosen in (on, off)


def test_an_option_is_accepted_with_what_it_is_for():
    accepted = {
        (solver, name) for solver, name in itertools.product(LOSSES["frobenius"], OPTIONS) if is_accepted(solver, name)
    }
    assert {solver for solver, name in accepted if name == "forget"} == {"minibatch"}
    assert {solver for solver, name in accepted if name == "shuffle"} == {"auto", "sketch", "hals", "cd", "minibatch"}
    assert {solver for solver, name in accepted if name == "sweeps"} == {*LOSSES["frobenius"]} - {"als"}
    assert {name for _, name in accepted} == {"forget", "shuffle", "sweeps"}


def is_accepted(solver, name):
    return factors("frobenius", solver, {}, **{name: OPTIONS[name]}) is not None


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"forget": 0.5, "solver": "hals"},
            "forget=0.5 has no effect: it is for solver='minibatch'; got solver='hals'",
        ),
        ({"sweeps": 2, "solver": "als"}, "sweeps=2 has no effect: it is for every solver but 'als'; got solver='als'"),
        ({"shuffle": True, "missing": "nan"}, "shuffle=True .* every entry of V; got .* missing entries"),
        ({"extrapolate": False, "loss": 1}, r"extrapolate=False .* got solver='newton' \(by solver='auto'\)"),
        (
            {"keep_checkpoints": 5},
            r"keep_checkpoints=5 has no effect: it is for a store \(--store\); got none. Leave keep_checkpoints out",
        ),
        ({"overwrite": True}, r"overwrite=True has no effect: it is for a store \(--store\); got none"),
    ],
)
def test_the_error_names_what_the_option_is_for(given, sentence):
    read = []
    with pytest.raises(SettingsError, match=sentence):
        dnmf.factorize(V, 3, **given, watchers=[read.append])
    assert not read


def test_a_stored_run_with_such_an_option_is_resumed(tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr("dnmf.run.open.check_used", lambda *given: None)
        dnmf.factorize(V, 3, solver="hals", forget=0.5, max_passes=2, tol=0, store=tmp_path / "run.zarr")
    assert dnmf.resume(tmp_path / "run.zarr", V, max_passes=3).passes == 3


def test_a_parameter_of_scikit_learn_that_its_solver_ignores_causes_a_warning():
    with pytest.warns(DataWarning, match=r"shuffle=True has no effect: .* got solver='mu'"):
        dnmf.NMF(3, solver="mu", shuffle=True, tol=0, max_iter=2).fit(V)
    with pytest.raises(SettingsError, match=r"graph_weight=3\.0 has no effect"):
        dnmf.NMF(3, graph_weight=3.0, tol=0, max_iter=2).fit(V)


LARGE = low_rank(60, 80, 3)


@pytest.mark.parametrize("given", [{"sweeps": 2}, {"extrapolate": True}])
def test_a_survey_on_a_sketch_has_no_passes_to_choose(given):
    with pytest.raises(SettingsError, match=r"no effect: it is for models that make passes .*got models on a sketch"):
        dnmf.select_rank(LARGE, [2, 3], n_runs=2, cv=0, **given)
    assert dnmf.select_rank(LARGE, [2, 3], n_runs=2, cv=0, solver="hals", max_passes=2, **given).ranks == (2, 3)


def test_a_survey_refuses_what_none_of_its_models_uses():
    with pytest.raises(SettingsError, match=r"forget=0\.5 has no effect: it is for solver='minibatch'"):
        dnmf.select_rank(LARGE, [2, 3], n_runs=2, cv=0, forget=0.5)
    with pytest.raises(SettingsError, match=r"shuffle=True has no effect: .* missing entries"):
        dnmf.select_graph_weight(LARGE, 2, graph_H=dnmf.graphs.chain(80), shuffle=True, max_passes=2)
    with pytest.raises(SettingsError, match="overwrite=True has no effect"):
        dnmf.transform(dnmf.factorize(LARGE, 2, max_passes=2), LARGE[:5], overwrite=True)
