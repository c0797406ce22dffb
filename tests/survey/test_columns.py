"""Consensus of columns, against SciPy's own cophenetic correlation and cases made by hand."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform

from dnmf.errors import DataError
from dnmf.survey.columns import (
    MOST_COLUMNS,
    consensus_matrix,
    cophenetic,
    dispersion,
    hashed_sample,
    order,
    strongest,
    tree,
)


def noisy_labels(columns=30, runs=8, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 3, columns)
    return true, [np.where(rng.random(columns) < share, rng.integers(0, 3, columns), true) for _ in range(runs)]


def test_columns_are_together_as_often_as_their_labels_are_the_same():
    _, labels = noisy_labels()
    C = consensus_matrix(iter(labels))
    for i, j in ((0, 0), (0, 1), (3, 17)):
        assert C[i, j] == pytest.approx(np.mean([run[i] == run[j] for run in labels]))
    np.testing.assert_array_equal(C, C.T)


def test_the_names_of_the_clusters_do_not_matter():
    _, labels = noisy_labels()
    renamed = [(run + place) % 3 for place, run in enumerate(labels)]
    np.testing.assert_array_equal(consensus_matrix(labels), consensus_matrix(renamed))


def test_the_cophenetic_correlation_is_that_of_scipy():
    C = consensus_matrix(noisy_labels()[1])
    distances = squareform(1 - C.astype(float), checks=False)
    expected = cophenet(linkage(distances, "average"), distances)[0]
    assert cophenetic(C) == pytest.approx(expected)
    assert cophenetic(C, tree(C)) == cophenetic(C)
    assert 0 < cophenetic(C) < 1


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2], [0, 0, 0], [0, 1, 2], [0]])
def test_runs_that_agree_have_all_figures_at_one(labels):
    C = consensus_matrix([labels, labels])
    assert cophenetic(C) == 1
    assert dispersion(C) == 1
    assert sorted(order(C)) == list(range(len(labels)))


def test_runs_that_agree_on_nothing_have_none():
    C = np.full((4, 4), 0.5)
    np.fill_diagonal(C, 1)
    assert cophenetic(C) == 0
    assert dispersion(np.full((4, 4), 0.5)) == 0


def test_the_order_puts_clusters_together():
    true, labels = noisy_labels(share=0.05)
    C = consensus_matrix(labels)
    assert np.count_nonzero(np.diff(true[order(C, tree(C))])) == 2


def test_a_column_of_zeros_belongs_to_no_component():
    H = np.array([[0.0, 2, 1], [0, 1, 5]])
    assert strongest(H, [1, 1]).tolist() == [-1, 0, 1]


def test_how_a_run_shares_the_scale_between_its_factors_does_not_matter():
    rng = np.random.default_rng(0)
    W, H, scale = rng.random((9, 3)), rng.random((3, 40)), np.array([[0.1], [1], [20]])
    one = strongest(H, np.linalg.norm(W, axis=0))
    assert len(set(one)) == 3
    np.testing.assert_array_equal(strongest(scale * H, np.linalg.norm(W / scale.T, axis=0)), one)


@pytest.mark.parametrize("n", [1, 7, 1000, 1001, 10**6 + 3, 10**15])
def test_a_sample_is_sorted_without_repeats_and_depends_on_its_arguments_alone(n):
    sample = hashed_sample(n, 1000, seed=3)
    assert len(sample) == min(n, 1000)
    assert (np.diff(sample) > 0).all()
    assert 0 <= sample[0] <= sample[-1] < n
    np.testing.assert_array_equal(sample, hashed_sample(n, 1000, seed=3))
    if n > 2000:
        assert (sample != hashed_sample(n, 1000, seed=4)).mean() > 0.9


def test_a_sample_is_even():
    taken = np.concatenate([hashed_sample(10000, 1000, seed) for seed in range(50)])
    expected = len(taken) / 10
    for counts in (np.bincount(taken // 1000), np.bincount(taken % 10)):
        assert abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_a_sample_is_the_same_for_good():
    assert hashed_sample(100, 5, seed=1).tolist() == [18, 26, 47, 75, 95]


@pytest.mark.parametrize(("n", "size"), [(0, 10), (10, 0), (10, MOST_COLUMNS + 1)])
def test_samples_that_cannot_be_are_refused(n, size):
    with pytest.raises(DataError, match="give from 1 to 5000"):
        hashed_sample(n, size)


@pytest.mark.parametrize("labels", [[], [[0, 1], [0]], [[[0, 1]]], [[]]])
def test_labels_without_a_consensus_are_refused(labels):
    with pytest.raises(DataError, match="give labels of the same columns"):
        consensus_matrix(labels)
