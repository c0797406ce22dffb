"""The graphs of chains, grids and nearest neighbours."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import dnmf


@pytest.mark.parametrize("shape", [(7,), (4, 5), (2, 3, 4), (1, 6)])
def test_points_of_a_grid_are_joined_at_distance_one(shape):
    places = np.array(list(np.ndindex(*shape)))
    np.testing.assert_array_equal(dnmf.graphs.grid(shape).toarray(), cdist(places, places, "cityblock") == 1)


def test_nearest_neighbours_are_those_by_all_distances():
    points = np.random.default_rng(0).random((40, 3))
    order = np.argsort(cdist(points, points) + 9 * np.eye(40), axis=1)[:, :4]
    expected = np.zeros((40, 40))
    np.put_along_axis(expected, order, 1, axis=1)
    np.testing.assert_array_equal(dnmf.graphs.knn(points, 4).toarray(), np.maximum(expected, expected.T))


def test_neighbours_of_a_result_are_those_of_its_factor():
    result = dnmf.factorize(np.random.default_rng(0).random((12, 30)), 3, max_passes=3)
    expected = dnmf.graphs.knn(np.asarray(result.H).T, 5)
    assert (dnmf.graphs.knn(result, 5) != expected).nnz == 0
    assert dnmf.graphs.knn(result, 5, axis="rows").shape == (12, 12)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: dnmf.graphs.grid((0, 3)), r"The shape \(0, 3\) is not that of a grid"),
        (lambda: dnmf.graphs.chain(1), r"The shape \(1,\) is not that of a grid"),
        (lambda: dnmf.graphs.knn(np.ones((4, 2)), 4), r"k=4 is not allowed; give a whole number from 1 to 3\."),
        (lambda: dnmf.graphs.knn(np.full((4, 2), np.nan), 2), r"a matrix of finite numbers"),
    ],
)
def test_bad_arguments_are_refused(make, sentence):
    with pytest.raises(dnmf.DnmfError, match=sentence):
        make()
