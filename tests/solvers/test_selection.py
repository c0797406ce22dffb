"""The recipe of a run depends on its settings and on the size and kind of the matrix."""

import dataclasses

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp

from dnmf.errors import SettingsError
from dnmf.settings import Settings
from dnmf.solvers.iteration import after_extrapolated, after_plain, after_second_order
from dnmf.solvers.selection import SKETCH_SWEEPS, resolve
from dnmf.solvers.sketch import corrected
from dnmf.solvers.sketch.effort import FULL_EFFORT, Effort
from dnmf.sources import open_matrix

LARGE = open_matrix(np.ones((1000, 1000))).layout
TINY = open_matrix(np.ones((100, 200))).layout
STORED = dataclasses.replace(TINY, on_disk=True, in_memory=False)
LAZY = open_matrix(da.ones((100, 200), chunks=(-1, 50))).layout
SMALL = open_matrix(np.ones((10, 200))).layout
SPARSE = open_matrix(sp.eye_array(100, 200, format="csc")).layout
MIDDLE = open_matrix(np.ones((300, 400))).layout
NARROW = open_matrix(np.ones((10, 20000))).layout
EMPTY = open_matrix(sp.eye_array(300, 400, format="csc")).layout


@pytest.mark.parametrize(
    ("options", "layout", "solver", "init", "follow"),
    [
        ({}, LARGE, "sketch", "sketch", after_extrapolated),
        ({}, MIDDLE, "sketch", "sketch", after_extrapolated),
        ({}, TINY, "sketch", "direct", after_extrapolated),
        ({}, STORED, "sketch", "sketch", after_extrapolated),
        ({}, LAZY, "sketch", "sketch", after_extrapolated),
        ({}, SMALL, "sketch", "direct", after_extrapolated),
        ({}, SPARSE, "sketch", "direct", after_extrapolated),
        ({}, NARROW, "sketch", "random", after_extrapolated),
        ({}, EMPTY, "sketch", "random", after_extrapolated),
        ({"solver": "sketch"}, SPARSE, "sketch", "sketch", after_extrapolated),
        ({"missing": "nan"}, LARGE, "sketch", "random", after_extrapolated),
        ({"solver": "hals"}, LARGE, "hals", "sketch", after_plain),
        ({"solver": "hals", "extrapolate": True}, LARGE, "hals", "sketch", after_extrapolated),
        ({"solver": "mu"}, LARGE, "mu", "random", after_plain),
        ({"init": "nndsvd"}, LARGE, "sketch", "nndsvd", after_extrapolated),
        ({"loss": "kullback-leibler"}, LARGE, "newton", "sketch", after_second_order),
        ({"loss": "kullback-leibler", "n_fixed_W": 1}, LARGE, "newton", "random", after_second_order),
        ({"loss": 0.5}, LARGE, "mu", "sketch", after_extrapolated),
        ({"loss": "kullback-leibler"}, NARROW, "newton", "sketch", after_second_order),
        ({"loss": "kullback-leibler", "rank": 9}, SMALL, "newton", "sketch", after_second_order),
        ({"loss": "kullback-leibler", "rank": 10}, SMALL, "newton", "random", after_second_order),
        ({"loss": "kullback-leibler", "solver": "newton"}, SMALL, "newton", "random", after_second_order),
    ],
)
def test_auto_is_decided(options, layout, solver, init, follow):
    recipe = resolve(Settings(**{"rank": 3} | options), layout)
    assert (recipe.solver, recipe.init, recipe.follow) == (solver, init, follow)


def test_a_sketch_alternates_with_passes_where_it_is_smaller_than_the_matrix():
    assert resolve(Settings(rank=3), LARGE).method is corrected
    assert resolve(Settings(rank=3), LARGE).rule.sweeps == SKETCH_SWEEPS
    assert resolve(Settings(rank=3, sweeps=2), LARGE).rule.sweeps == 2
    assert resolve(Settings(rank=3), STORED).method is corrected
    assert resolve(Settings(rank=3), MIDDLE).method is corrected
    assert resolve(Settings(rank=3, solver="sketch"), SPARSE).method is corrected
    for layout in (TINY, SMALL, SPARSE, NARROW, EMPTY):
        assert resolve(Settings(rank=3), layout).method is not corrected


def test_the_settings_are_kept_as_they_were_given():
    settings = Settings(rank=3, n_runs=2)
    assert resolve(settings, LARGE).settings is settings


@pytest.mark.parametrize(
    ("options", "layout", "words"),
    [
        ({"missing": "zeros"}, LARGE, "missing='zeros' takes"),
        ({"missing": "nan"}, SPARSE, "missing='nan' needs a dense V"),
        ({"init": "nndsvd", "rank": 11}, SMALL, r"more than min\(m, n\)=10"),
        ({"init": "sketch"}, SMALL, "for matrices of more than 15 rows"),
        ({"init": "sketch", "rank": 10, "loss": "kullback-leibler"}, SMALL, "for matrices of more than 10 rows"),
        ({"solver": "minibatch", "missing": "nan"}, LARGE, "needs every entry of V"),
        ({"solver": "mu", "n_runs": 2, "init": "nndsvd"}, LARGE, "makes one run"),
        ({"loss": "kullback-leibler", "solver": "hals"}, LARGE, "needs loss='frobenius'"),
    ],
)
def test_options_that_do_not_go_together_are_an_error(options, layout, words):
    with pytest.raises(SettingsError, match=words):
        resolve(Settings(**{"rank": 3} | options), layout)


def test_less_is_computed_on_a_surrogate_where_a_pass_costs_little():
    settings, stored = Settings(rank=3, tol=1e-5), dataclasses.replace(LARGE, on_disk=True, in_memory=False)
    full = dataclasses.replace(FULL_EFFORT, tolerance=1e-5)
    for given, layout in ((settings, stored), (settings.replace({"init": "sketch"}), LARGE)):
        assert Effort.of_start(layout, given) == full
        assert Effort.of_correction(layout, given) == FULL_EFFORT
    dense, sparse = (Effort.of_start(layout, settings) for layout in (LARGE, SPARSE))
    assert sparse.starts < dense.starts < full.starts
    assert dense.trial_size < sparse.trial_size < full.trial_size
    assert dense.pilot_rounds == sparse.pilot_rounds < full.pilot_rounds
    assert (dense.singular, sparse.singular, full.singular) == (False, True, False)
    assert dense.tolerance == Effort.of_correction(LARGE, settings).tolerance == 1e-5
    assert Effort.of_correction(SPARSE, settings) == FULL_EFFORT
