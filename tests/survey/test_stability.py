"""Components matched over runs, against scikit-learn, brute force and cases made by hand."""

import itertools

import numpy as np
import pytest
from components import noisy_runs
from sklearn.metrics import silhouette_samples

from dnmf.errors import DataError
from dnmf.inspection.components import sparsity
from dnmf.survey.stability import cosines, silhouettes, stability


def objective(gram, labels):
    """How near all components are to the directions of their clusters."""
    return sum(np.sqrt(gram[np.ix_(own, own)].sum()) for own in (np.flatnonzero(labels == k) for k in set(labels)))


def test_components_are_matched_in_any_order_and_scale():
    runs, orders = noisy_runs()
    found = stability(runs)
    names = {tuple(pair) for pair in zip(found.labels.ravel(), orders.ravel(), strict=True)}
    assert len(names) == 4, "each cluster holds one true component, and each component is in one cluster"
    assert all(sorted(row) == [0, 1, 2, 3] for row in found.labels.tolist())
    assert found.least > 0.9


def test_the_order_of_the_runs_and_the_dtype_do_not_matter():
    runs, _ = noisy_runs(noise=0.6)
    one, other = stability(runs), stability([run.astype(np.float32) for run in runs[::-1]])
    np.testing.assert_allclose(np.sort(one.clusters), np.sort(other.clusters), atol=1e-6)
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_match_is_nearly_as_good_as_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    runs = [rng.random((6, 3)) for _ in range(3)]
    gram = cosines(runs)
    every = itertools.product(itertools.permutations(range(3)), repeat=2)
    best = max(objective(gram, np.array([0, 1, 2, *one, *two])) for one, two in every)
    assert objective(gram, stability(runs).labels.ravel()) >= 0.99 * best


def test_silhouettes_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    points, labels = rng.random((30, 5)), rng.integers(0, 4, 30)
    labels[0] = 9  # alone in its cluster
    expected = silhouette_samples(points, labels, metric="cosine")
    length = np.linalg.norm(points, axis=1)
    np.testing.assert_allclose(silhouettes(1 - points @ points.T / np.outer(length, length), labels), expected)


def test_the_figures_of_a_rank_are_means_of_silhouettes():
    found = stability(noisy_runs(noise=1.0)[0])
    for cluster in range(4):
        assert found.clusters[cluster] == pytest.approx(found.silhouettes[found.labels == cluster].mean())
    assert found.least == found.clusters.min()
    assert found.mean == pytest.approx(found.silhouettes.mean())


def test_a_component_that_is_zero_is_like_no_other():
    W = np.eye(4)[:, :3]
    W[:, 1] = 0
    found = stability([W, W, W[:, ::-1]])
    assert sorted(found.clusters.round(6).tolist()) == [0, 1, 1]
    assert stability([np.zeros((4, 2))] * 2).least == 0


def test_one_component_is_judged_by_its_distance_alone():
    assert stability([np.ones((5, 1)), np.full((5, 1), 3.0)]).least == pytest.approx(1)
    assert stability([np.eye(2)[:, :1], np.eye(2)[:, 1:]]).least == pytest.approx(0)


@pytest.mark.parametrize("scale", [1e-30, 1e-200, 1e200])
def test_the_scale_does_not_matter_even_where_squares_leave_the_range_of_floats(scale):
    runs, _ = noisy_runs()
    np.testing.assert_allclose(cosines([scale * run for run in runs]), cosines(runs), atol=1e-12)


@pytest.mark.parametrize("runs", [[], [np.eye(3)], [np.eye(3), np.eye(4)], [np.ones(3), np.ones(3)]])
def test_what_cannot_be_matched_is_refused(runs):
    with pytest.raises(DataError, match="give two or more factors"):
        stability(runs)


def test_sparsity_is_that_of_hoyer_from_sums_by_blocks():
    rng = np.random.default_rng(0)
    X = rng.random((50, 4)) * (rng.random((50, 4)) < [0.1, 0.5, 1, 1])
    X[:, 3] = 2
    blocks = [X[:20], X[20:]]
    found = sparsity(sum(abs(b).sum(axis=0) for b in blocks), sum((b**2).sum(axis=0) for b in blocks), 50)
    expected = (np.sqrt(50) - np.linalg.norm(X, 1, axis=0) / np.linalg.norm(X, axis=0)) / (np.sqrt(50) - 1)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found[3] == pytest.approx(0)
    assert sparsity(0, 0, 50) == sparsity(3.0, 9.0, 1) == 1
