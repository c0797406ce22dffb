"""The long factors that exist at once are those of the plan, and no term of a plan is negative."""

import itertools
import weakref

import dask.array as da
import numpy as np
import pytest

import dnmf
from dnmf.engine.factor import MemoryFactor
from dnmf.engine.memory import memory_terms
from dnmf.errors import SettingsError
from dnmf.run.open import settings_of
from dnmf.solvers.selection import resolve
from dnmf.sources import Layout, open_matrix
from dnmf.sources.bounds import even_bounds

COLUMNS, RANK = 3000, 5


class Alive:
    """Counts the bytes of the arrays in memory factors, as long as anything refers to them, and their maximum."""

    def __init__(self):
        self.sizes, self.most = {}, 0

    def add(self, array):
        while array.base is not None:
            array = array.base
        key = id(array)
        if key not in self.sizes:
            self.sizes[key] = array.nbytes
            weakref.finalize(array, self.sizes.pop, key)
        self.most = max(self.most, sum(self.sizes.values()))

    def rows(self):
        """Return the most bytes as rows of a factor in float32."""
        return self.most / (4 * COLUMNS)


@pytest.fixture
def alive(monkeypatch):
    found, write = Alive(), MemoryFactor.write

    def counting(self, block, H):
        found.add(H)
        write(self, block, H)

    monkeypatch.setattr(MemoryFactor, "write", counting)
    return found


def noisy():
    rng = np.random.default_rng(0)
    V = rng.random((40, RANK)) @ rng.random((RANK, COLUMNS)) + 0.3 * rng.random((40, COLUMNS))
    return da.from_array(V.astype(np.float32), chunks=(40, 100))


def planned(V, **options):
    """Return the rows of long factors that the plan of a run has."""
    return resolve(settings_of(options), open_matrix(V).layout).load.held


RUNS = [
    {"solver": "sketch"},
    {"solver": "sketch", "n_runs": 3},
    {"solver": "sketch", "init": "random", "n_runs": 6},
    {"loss": "kullback-leibler"},
    {"loss": "kullback-leibler", "n_runs": 2},
    {"loss": "kullback-leibler", "n_runs": 6},
    {"solver": "hals", "init": "random", "n_runs": 3},
    {"init": "nndsvda"},
    {"init": "spa"},
    {"rank": [5, 3, 2]},
    {"rank": [5, 3, 2], "solver": "hals", "init": "random"},
    {"rank": [5, 3, 2], "layer_weights": "greedy"},
    {"rank": [5, 3, 2], "layer_weights": "greedy", "solver": "hals", "init": "random"},
    {"rank": [5, 4, 4], "layer_weights": "greedy", "solver": "hals", "init": "random"},
]


@pytest.mark.parametrize("stored", [False, True], ids=["lazy", "eager"])
@pytest.mark.parametrize("options", RUNS, ids=str)
def test_the_long_factors_of_a_run_are_those_of_its_plan(options, stored, alive, tmp_path):
    V = noisy()
    store = tmp_path / "run.zarr" if stored else None
    options = {"rank": RANK, "max_passes": 7, "tol": 0, **options}
    result = dnmf.factorize(V, store=store, threads=1, client="threads", **options)
    assert result.passes == 7 + ("layer_weights" in options)  # the layers after the first one are measured in a pass
    assert 2 * RANK <= alive.rows() <= planned(V, **options)


def layout_of(shape, on_disk=True, sparse=False):
    rows, columns = shape
    width = max(1, columns // 100)
    return Layout(
        shape=shape,
        dtype=np.dtype(np.float32),
        bounds=even_bounds(columns, width),
        transposed=False,
        read_bytes=4 * rows * width,
        stored_bytes=4 * rows * columns,
        sparse=sparse,
        on_disk=on_disk,
        kind="Zarr array",
    )


LOSSES = {
    "frobenius": ["auto", "sketch", "hals", "als", "pg", "mu", "minibatch"],
    "kullback-leibler": ["auto", "cd", "newton", "mu"],
    "itakura-saito": ["auto", "mu"],
}
INITS = ["auto", "random", "sketch", "nndsvda", "spa"]
SHAPES = [(2000, 10**7), (10**6, 500), (300, 400)]


def loads_of(loss, solver, init, n_runs, rank, **layers):
    """Yield the layouts on which a run with these options is possible, each with its load."""
    for shape, sparse in itertools.product(SHAPES, [False, True]):
        layout = layout_of(shape, sparse=sparse)
        options = {"rank": rank, "loss": loss, "solver": solver, "init": init, "n_runs": n_runs, **layers}
        try:
            yield layout, resolve(settings_of(options), layout).load
        except SettingsError:
            continue


def bounded(layout, load):
    """Assert that the terms of a load are not negative, for it and for the loads that a plan compares it with."""
    for one in [load, load.at_most(3, 20), load.on(layout), *([load.lighter[1]] if load.lighter else [])]:
        for threads, share in ((1, 0.0), (1, 1.0), (8, 1.0)):
            terms = memory_terms(layout, 20, threads, share, one)
            assert min(terms.values()) >= 0, terms


@pytest.mark.parametrize("n_runs", [1, 2, 4, 10])
@pytest.mark.parametrize(("loss", "solver"), [(loss, solver) for loss, found in LOSSES.items() for solver in found])
def test_no_term_of_a_plan_is_negative(loss, solver, n_runs):
    found = 0
    for init in INITS:
        for layout, load in loads_of(loss, solver, init, n_runs, 20):
            bounded(layout, load)
            found += 1
            chosen = init in ("auto", "sketch") and loss == "frobenius"  # by the surrogate
            if n_runs > 1 and not chosen:  # H and the next H of all runs, in a pass
                assert load.held >= 2 * n_runs * 20
                assert load.worked >= n_runs * 20
    assert found or (solver == "minibatch" and n_runs > 1)


@pytest.mark.parametrize("layers", [{}, {"layer_weights": "greedy"}], ids=["joint", "greedy"])
@pytest.mark.parametrize(("solver", "init"), [("auto", "auto"), ("hals", "random"), ("sketch", "sketch")])
def test_no_term_of_a_plan_of_layers_is_negative(solver, init, layers):
    found = list(loads_of("frobenius", solver, init, 1, [20, 10, 4], **layers))
    assert found
    for layout, load in found:
        bounded(layout, load)
        assert load.on(layout)[:6] == load[:6]
        least = 2 * 34  # H and the next H of all layers
        assert load.held >= least
        assert load.lighter is None or load.lighter[1].held >= least


def test_the_plan_of_several_runs_is_not_less_than_that_of_the_base_of_a_sketch():
    V = da.zeros((2000, 10**7), chunks=(2000, 5000), dtype="f4")
    plan = dnmf.plan(V, 20, loss="kullback-leibler", n_runs=10, memory_limit="100GB", client="threads")
    assert min(size for _, size in plan.terms) > 0
    assert plan.peak_bytes > 16e9
    within = dnmf.plan(V, 20, loss="kullback-leibler", n_runs=10, memory_limit="10GB", client="threads")
    assert not within.factor_in_memory


def test_the_models_of_a_bundle_have_all_of_the_load_many_times():
    layout = layout_of((2000, 10**6))
    load = resolve(settings_of({"rank": 20, "solver": "sketch", "init": "random"}), layout).load
    assert load.base is not None
    bounded(layout, load.times(5))
    assert load.times(5).base.held >= 5 * load.base.held
