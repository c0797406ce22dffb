"""The update of W in parts of its rows: the bits do not depend on the threads, nor the results on the parts."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.registry import make_rule
from dnmf.kernels.rule import Model
from dnmf.settings import Settings

OPTIONS = [
    {"solver": "hals", "l1_W": 0.1, "l2_W": 0.2},
    {"solver": "als"},
    {"solver": "mu"},
    {"rows_W": "simplex"},
    {"upper_W": 0.8, "columns_H": "simplex"},
    {"missing": "nan", "l1_W": 0.1},
    {"loss": "kullback-leibler", "solver": "cd"},
    {"loss": 0.5, "solver": "mu", "l2_W": 0.1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_parts_of_w_are_updated_on_any_number_of_threads(options, monkeypatch):
    rng = np.random.default_rng(0)
    V, W, H = rng.random((23, 50)) + 0.1, rng.random((23, 3)), rng.random((3, 50))
    if "missing" in options:
        V[rng.random(V.shape) < 0.2] = np.nan
    rule = make_rule(Settings(rank=3, **options))
    stats = rule.zero(*W.shape)
    stats.norms.append(rule.entries.square_sum(V, V.dtype, Scratch()))
    rule.visit(V, H, Model.of(W), stats, Scratch(), fresh=False)
    whole = rule.finish(W, stats)
    for module in ("quadratic.rule", "quadratic.weighted", "divergence.rule"):
        monkeypatch.setattr(f"dnmf.kernels.{module}.PART_ROWS", 5)
    parts = rule.finish(W, stats)
    with ThreadPoolExecutor(3) as pool:
        threaded = rule.finish(W, stats, pool.map)
    np.testing.assert_array_equal(threaded.W, parts.W)
    assert (threaded.loss, threaded.optimality) == (parts.loss, parts.optimality)
    np.testing.assert_allclose(parts.W, whole.W, rtol=1e-10, atol=1e-14)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)
    assert parts.optimality == pytest.approx(whole.optimality, rel=1e-10)
