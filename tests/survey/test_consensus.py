"""Consensus factors, against the steps of cNMF written out."""

import numpy as np
import pytest
from components import noisy_runs
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import euclidean_distances

from dnmf.errors import DataError, SettingsError
from dnmf.survey.consensus import consensus


def textbook(runs, rank, threshold=0.5):
    """The steps of Kotliar et al. 2019 with components as rows: density, filter, k-means, medians that sum to one."""
    points = np.hstack(runs).T
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    neighbours = int(0.3 * len(points) / rank)
    nearest = np.sort(euclidean_distances(points), axis=1)[:, 1 : neighbours + 1]
    density = nearest.sum(axis=1) / neighbours
    kept = points[density < threshold]
    labels = KMeans(rank, n_init=10, random_state=1).fit_predict(kept)
    middle = np.array([np.median(kept[labels == k], axis=0) for k in range(rank)])
    return density, (middle / middle.sum(axis=1, keepdims=True)).T


def with_outliers():
    runs, _ = noisy_runs(runs=10, noise=0.2)
    rng = np.random.default_rng(1)
    for run, column in ((2, 1), (6, 3)):
        runs[run][:, column] = rng.random(40)
    return runs


def same_columns(one, other):
    return all(np.isclose(other, column[:, None], atol=1e-10).all(axis=0).any() for column in one.T)


def test_the_consensus_is_that_of_the_textbook():
    runs = with_outliers()
    density, components = textbook(runs, 4)
    found = consensus(runs)
    np.testing.assert_allclose(found.densities.ravel(), density, atol=1e-7)
    assert same_columns(found.components, components)
    assert same_columns(components, found.components)


def test_outliers_are_dropped_and_counted():
    found = consensus(with_outliers())
    assert np.argwhere(found.labels == -1).tolist() == [[2, 1], [6, 3]]
    assert found.dropped == 2
    assert np.isnan(found.silhouettes[2, 1])
    assert "rank 4: 2 of 40 components were dropped, those with a mean distance of 0.5 or more" in found.sentence
    assert consensus(with_outliers(), density_threshold=1.5).dropped == 0


def test_the_largest_cluster_comes_first_and_components_sum_to_one():
    found = consensus(with_outliers())
    assert (np.diff(np.bincount(found.labels[found.labels >= 0])) <= 0).all()
    np.testing.assert_allclose(found.components.sum(axis=0), 1)


def test_the_order_of_the_runs_does_not_matter_and_the_same_seed_gives_the_same_bits():
    runs = with_outliers()
    one, again, other = consensus(runs, seed=2**63), consensus(runs, seed=2**63), consensus(runs[::-1])
    assert np.array_equal(one.components, again.components)
    assert same_columns(one.components, other.components)


def test_more_rows_than_a_panel_change_nothing():
    runs = with_outliers()
    tall = [np.vstack([run, np.zeros((9000, 4))]) for run in runs]
    np.testing.assert_allclose(consensus(tall).components[:40], consensus(runs).components, atol=1e-12)


def test_components_that_are_zero_are_dropped_always():
    runs, _ = noisy_runs(runs=6)
    runs[0][:, 2] = runs[1][:, 2] = 0
    found = consensus(runs, density_threshold=10)
    assert np.argwhere(found.labels == -1).tolist() == [[0, 2], [1, 2]]
    assert np.isinf(found.densities[0, 2])
    assert np.isfinite(found.components).all()


def test_one_component_is_its_median():
    found = consensus([np.array([[1.0], [3.0]])] * 3)
    np.testing.assert_allclose(found.components, [[0.25], [0.75]])


def test_runs_that_have_nothing_in_common_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match=r"of 6 components are not outliers.*raise density_threshold"):
        consensus([rng.random((40, 3)) * (rng.random((40, 3)) < 0.1) for _ in range(2)])
    with pytest.raises(DataError, match=r"6 of 6 components.*fewer than 3 of them are different"):
        consensus([np.ones((4, 3))] * 2)


@pytest.mark.parametrize("name", ["density_threshold", "neighbours"])
def test_options_below_zero_are_refused(name):
    with pytest.raises(SettingsError, match=f"{name}=0 is not allowed"):
        consensus(noisy_runs()[0], **{name: 0})
