"""The loss at the end of a fit, with the W that `transform` gives."""

import dataclasses

import numpy as np

from dnmf.engine import single_threaded_products
from dnmf.estimator.parameters import for_rows
from dnmf.kernels.model import Model
from dnmf.kernels.quadratic import Quadratic, change
from dnmf.kernels.rules import altered, make_rule
from dnmf.kernels.tiles import Float
from dnmf.run import Run
from dnmf.solve import Update
from dnmf.transform import Solve


def measured(run: Run, components: Float) -> float | None:
    """Return the loss without penalties of X and the best W for `components` (r, n_features), in one read.

    None where that needs whole rows of X, and the blocks are parts of them.
    """
    if run.source.layout.transposed:
        rule = make_rule(for_rows(run.settings), transposed=True)
        model = Model.of(np.ascontiguousarray(components.T, run.source.layout.work_dtype))
        with single_threaded_products():
            return max(run.engine.one_pass(Solve(rule, model, kept=False, measured=True)).fit, 0.0)
    return _by_products(run, run.rule) if isinstance(run.rule, Quadratic) else None


def _by_products(run: Run, rule: Quadratic) -> float:
    """Return it from XHᵀ and HHᵀ, which are all that the Frobenius loss needs to solve for W: no row is ever whole."""
    state = run.state
    assert state is not None
    update = Update(altered(rule, sweeps=0), Model.of(state.W), False, state.norms, False, run.source.layout)
    with single_threaded_products():
        stats = run.engine.one_pass(update, state.H)
        alone = dataclasses.replace(rule, penalty_H=rule.penalty_W)
        W = alone.best(np.ascontiguousarray(stats.cross.T), stats.gram).T
        return max(stats.fit + change(state.W, W, stats.cross, stats.gram), 0.0)
