"""Matrices of every scale: the factors are right and their error is the one reported, or one sentence refuses them."""

import re

import numpy as np
import pytest
import scipy.sparse as sp

import dnmf
from dnmf.errors import DataError

SCALES = {
    "float64": [1e-300, 1e-200, 1e-162, 1e-140, 1e-100, 1e-60, 1e-30, 1e30, 1e60, 1e80, 1e140, 1e200, 1e300],
    "float32": [1e-40, 1e-37, 1e-34, 1e-30, 1e-25, 1e-15, 1e15, 1e19, 1e25, 1e30, 1e34, 1e37],
}
WAYS = {
    "default": {},
    "hals": {"solver": "hals", "init": "random"},
    "als, nndsvda": {"solver": "als", "init": "nndsvda"},
    "als, spa": {"solver": "als", "init": "spa"},
    "hals, spa_rows": {"solver": "hals", "init": "spa_rows"},
    "volume": {"volume_W": 0.1},
    "minibatch": {"solver": "minibatch"},
    "newton": {"loss": 1},
    "mu": {"loss": 1, "solver": "mu", "init": "random"},
    "Itakura–Saito": {"loss": 0},
    "3": {"loss": 3},
    "weights": {"weights": np.ones((30, 40))},
    "runs": {"n_runs": 2, "init": "random"},
}
REFUSED = "root mean square of V is .* V by|sums of such numbers leave the range"


def planted(dtype, scale):
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        return np.array((rng.random((30, 3)) @ rng.random((3, 40))) * np.longdouble(scale), dtype=dtype)


def error_of(V, W, H, scale):
    """‖V − WH‖/‖V‖ in extended precision, whose exponents are wide enough for all scales."""
    wide = V.astype(np.longdouble) / np.longdouble(scale)
    Y = (W.astype(np.longdouble) / np.longdouble(scale)) @ H.astype(np.longdouble)
    return float(np.sqrt(((wide - Y) ** 2).sum() / (wide**2).sum()))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("dtype", "scale"), [(dtype, scale) for dtype in SCALES for scale in SCALES[dtype]])
def test_factors_of_a_tiny_or_huge_matrix_are_right_or_refused(dtype, scale, way):
    V = planted(dtype, scale)
    expected = dnmf.factorize(planted(dtype, 1.0), 3, max_passes=15, **way)
    bound = 2 * error_of(planted(dtype, 1.0), np.asarray(expected.W), np.asarray(expected.H), 1.0) + 1e-3
    try:
        result = dnmf.factorize(V, 3, max_passes=15, **way)
    except DataError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert re.search(REFUSED, refusal)
        assert not 1e-15 <= scale <= 1e15
        return
    found = error_of(V, np.asarray(result.W), np.asarray(result.H), scale)
    assert found <= bound
    # The loss is known to a few roundings of ‖V‖², and the error to their root; minibatch subtracts running sums.
    known = (3 if way.get("solver") == "minibatch" else 2) * float(np.sqrt(np.finfo(dtype).eps))
    assert result.relative_error is None or result.relative_error == pytest.approx(found, abs=known)


@pytest.mark.parametrize("scale", [1e-200, 1e-100, 1e-30, 1e30, 1e100])
@pytest.mark.parametrize("solver", ["cd", "mu", "auto"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_estimators_too(scale, solver, form):
    V = planted("float64", scale)
    model = dnmf.NMF(3, solver=solver, max_iter=4000, tol=1e-2)
    if not 1e-110 < scale < 1e50:
        with pytest.raises(DataError, match=REFUSED.replace("V", "X")):
            model.fit_transform(form(V))
        return
    W = model.fit_transform(form(V))
    # The square of a sparse residual is a difference of sums of the size of ‖V‖².
    known = 1e-7 if form is np.asarray else 3 * float(np.sqrt(np.finfo(V.dtype).eps)) * np.linalg.norm(V / scale)
    assert model.reconstruction_err_ / scale == pytest.approx(
        np.linalg.norm(V / scale - (W / scale) @ model.components_), rel=1e-6, abs=known
    )


def test_a_survey_refuses_what_a_run_refuses():
    for options in ({}, {"loss": 1}, {"init": "random"}):
        with pytest.raises(DataError, match=REFUSED):
            dnmf.select_rank(planted("float64", 1e-170), [2, 3], **options)


def test_zeros_are_no_tiny_numbers():
    assert not np.asarray(dnmf.factorize(np.zeros((30, 40)), 3).H).any()
