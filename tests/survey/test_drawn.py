"""Columns that are drawn from all of them: the same for any blocks, and their weighted sums are those of all."""

import itertools

import numpy as np
import pytest

from dnmf.survey import drawn
from dnmf.survey.drawn import Drawn

COLUMNS, STRIDE = 6000, 40


def few_columns(rng):
    S = np.zeros((3, COLUMNS))
    S[:, -20:] = rng.random((3, 20))
    return S


def scales(rng):
    return rng.random((3, COLUMNS)) * 10.0 ** rng.uniform(-6, 6, COLUMNS)


def even(rng):
    return rng.random((3, COLUMNS))


@pytest.fixture(autouse=True)
def heavy(monkeypatch):
    monkeypatch.setattr(drawn, "HEAVY", 200)
    monkeypatch.setattr(drawn, "MOST", 300)


@pytest.mark.parametrize("make", [few_columns, scales, even])
def test_weighted_squares_are_those_of_all_columns(make):
    S = make(np.random.default_rng(0))
    columns, weights, _ = Drawn.of(S, np.arange(COLUMNS), STRIDE).weighted(STRIDE)
    assert len(weights) <= 200 + COLUMNS // STRIDE + 1
    np.testing.assert_allclose((columns * weights) @ columns.T, S @ S.T, rtol=0.15)


@pytest.mark.parametrize("make", [few_columns, scales, even])
def test_no_cut_into_blocks_changes_the_sample(make):
    S = make(np.random.default_rng(1))
    whole = Drawn.of(S, np.arange(COLUMNS), STRIDE).weighted(STRIDE)
    cuts = [0, 1, 700, 701, 3000, COLUMNS]
    total = Drawn.zero(3, S.dtype)
    for start, stop in itertools.pairwise(cuts):
        total = total.add(Drawn.of(S[:, start:stop], np.arange(start, stop), STRIDE))
    for one, other in zip(whole, total.weighted(STRIDE), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_column_stands_for_itself_where_all_are_in_the_sample():
    S = scales(np.random.default_rng(2))
    columns, weights, even = Drawn.of(S, np.arange(COLUMNS), 1).weighted(1)
    np.testing.assert_array_equal(columns, S)
    assert even.all()
    assert (weights == 1).all()


def test_zeros_and_no_columns_are_samples_too():
    columns, weights, _ = Drawn.of(np.zeros((3, COLUMNS)), np.arange(COLUMNS), STRIDE).weighted(STRIDE)
    assert not columns.any()
    np.testing.assert_allclose(weights, STRIDE)
    assert len(Drawn.of(np.zeros((3, 0)), np.arange(0), STRIDE).weighted(STRIDE)[1]) == 0
