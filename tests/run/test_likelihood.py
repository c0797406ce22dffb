"""Likelihood and perplexity of counts, and Kullback–Leibler NMF as probabilistic latent semantic analysis."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp

import dnmf
from dnmf.errors import SettingsError

rng = np.random.default_rng(0)
V = rng.poisson(6 * rng.random((15, 2)) @ rng.random((2, 40))).astype(float)
V[:, 7] = 0
FORMS = {
    "dense": np.asarray,
    "sparse": sp.csc_array,
    "rows": lambda V: da.from_array(V, chunks=(5, -1)),
    "columns": lambda V: da.from_array(V, chunks=(-1, 13)),
}


def expected(Y, axis):
    """Σ v log p by the definition; `axis` is that of the features."""
    sums = Y.sum(axis=axis, keepdims=True)
    p = np.divide(Y, sums, out=np.zeros_like(Y), where=sums > 0)
    return np.where(V > 0, V * np.log(np.where(V > 0, p, 1)), 0).sum()


def plsa(P_feature, P_topic, steps):
    """Expectation and maximisation of Hofmann 1999, for features (m, r) and topics (r, n) of the samples."""
    for _ in range(steps):
        ratio = np.divide(V, P_feature @ P_topic, out=np.zeros_like(V), where=V > 0)
        new = P_feature * (ratio @ P_topic.T), P_topic * (P_feature.T @ ratio)
        P_feature, P_topic = (part / np.maximum(part.sum(axis=0), 1e-300) for part in new)
    return P_feature @ P_topic


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("samples", "axis"), [("columns", 0), ("rows", 1)])
def test_the_likelihood_is_that_of_the_definition(form, samples, axis):
    result = dnmf.factorize(FORMS[form](V), 2, loss="kullback-leibler", max_passes=10)
    found = dnmf.likelihood(result, FORMS[form](V), samples=samples)
    total = expected(np.asarray(result.W) @ np.asarray(result.H), axis)
    assert found.log_likelihood == pytest.approx(total, rel=1e-12)
    assert found.perplexity == pytest.approx(np.exp(-total / V.sum()), rel=1e-12)


def test_the_minimum_of_the_divergence_is_that_of_latent_semantic_analysis():
    result = dnmf.factorize(V, 2, loss="kullback-leibler", columns_W="simplex", tol=1e-12, max_passes=500)
    H = dnmf.transform(result, V, axis="columns")
    np.testing.assert_allclose((result.W @ H).sum(axis=0), V.sum(axis=0), atol=1e-5)
    shares = result.usage("columns")
    np.testing.assert_allclose(shares.sum(axis=1), V.any(axis=0), atol=1e-12)
    ours = dnmf.likelihood(result, V, samples="columns").log_likelihood
    continued = plsa(result.W, shares.T, 500)
    assert ours == pytest.approx(expected(continued, 0), rel=1e-8)
    theirs = max(expected(plsa(rng.random((15, 2)), rng.random((2, 40)), 2000), 0) for _ in range(3))
    assert ours >= theirs - 1e-6 * abs(theirs)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"samples": "row"}, "samples='row' is not known; allowed are 'rows' and 'columns'"), ({}, "needs every entry")],
)
def test_what_has_no_likelihood_is_refused(options, words):
    result = dnmf.factorize(V, 2, missing="nan", max_passes=2)
    with pytest.raises(SettingsError, match=words):
        dnmf.likelihood(result, V, **options)


def test_a_count_that_the_model_excludes_has_an_infinite_perplexity():
    start = np.eye(2), np.array([[1.0, 0.0], [0.0, 1.0]])
    result = dnmf.factorize(np.eye(2), 2, loss="kullback-leibler", init=start, max_passes=1)
    saved = np.array([[1.0, 1.0], [0.0, 1.0]])
    assert dnmf.likelihood(result, np.eye(2)).perplexity == pytest.approx(1)
    assert dnmf.likelihood(result, saved).perplexity == np.inf
