"""The table of rules: which loss goes with which solver, and what they are made of."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

from dnmf.errors import SettingsError
from dnmf.kernels.divergence import Divergence
from dnmf.kernels.model import Model, Rule
from dnmf.kernels.panels import square_sum
from dnmf.kernels.pivoting import PIVOT_SWEEPS, pivot
from dnmf.kernels.quadratic import Quadratic
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.stats import Stats
from dnmf.kernels.tiles import Penalty
from dnmf.kernels.updates import hals, multiplicative
from dnmf.settings import Settings

Maker = Callable[[int, Penalty, Penalty], Rule]

# What `solver="auto"` is for every loss: the one that needs the fewest passes.
BEST = {"frobenius": "hals", "kullback-leibler": "mu"}

RULES: dict[tuple[str, str], tuple[Maker, int]] = {
    ("frobenius", "mu"): (lambda *parts: Quadratic(multiplicative, *parts), 10),
    ("frobenius", "hals"): (lambda *parts: Quadratic(hals, *parts), 4),
    ("frobenius", "als"): (lambda *parts: Quadratic(pivot, *parts), PIVOT_SWEEPS),
    ("kullback-leibler", "mu"): (Divergence, 4),
}


def solver_of(settings: Settings) -> str:
    """Return the solver that the settings name, or the best one for their loss.

    Raises
    ------
    SettingsError
        If solver and loss do not go together.
    """
    solver = BEST[settings.loss] if settings.solver == "auto" else settings.solver
    if (settings.loss, solver) not in RULES:
        fitting = " or ".join(f"solver={name!r}" for loss, name in RULES if loss == settings.loss)
        raise SettingsError(
            f"solver={solver!r} needs a quadratic loss and got loss={settings.loss!r}; "
            f"use {fitting}, or loss='frobenius'."
        )
    return solver


def make_rule(settings: Settings) -> Rule:
    """Return the rule that the settings describe."""
    make, sweeps = RULES[settings.loss, solver_of(settings)]
    return make(
        settings.sweeps or sweeps,
        Penalty(settings.l1_W, settings.l2_W),
        Penalty(settings.l1_H, settings.l2_H),
    )


def warm_up(rule: Rule, dtype: np.dtype[Any], stored: np.dtype[Any], sparse: bool) -> None:
    """Have everything compiled that a pass will call, on a matrix of four entries, so that no pass waits for it."""
    V: Any = np.ones((2, 2), stored)
    for block in [scipy.sparse.csc_array(V)] if sparse else [V, np.asfortranarray(V)]:
        scratch, stats, W = Scratch(), Stats.zero(2, 1), np.ones((2, 1), dtype)
        stats.norms.append(square_sum(block, dtype, scratch))
        rule.visit(block, np.ones((1, 2), dtype), Model.of(W), stats, scratch, fresh=True)
        rule.finish(W, stats)
