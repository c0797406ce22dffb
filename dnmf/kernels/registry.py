"""The table of solvers: the rule of every solver and loss."""

import dataclasses
import functools
import math
from typing import Any, cast

import numpy as np
import scipy.sparse

from dnmf.errors import SettingsError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.digests import digests_of
from dnmf.kernels.blocks.entries import Entries, Weighted
from dnmf.kernels.constraint import FREE, Constraint
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.block_pivoting import pivot
from dnmf.kernels.quadratic.column_pivoting import PIVOT_SWEEPS
from dnmf.kernels.quadratic.projected_gradient import STEPS, accelerated
from dnmf.kernels.quadratic.row_updates import RowUpdate, Shuffled, hals, multiplicative
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.quadratic.volume import Volume
from dnmf.kernels.quadratic.weighted import WeightedQuadratic
from dnmf.kernels.rule import Model, Rule
from dnmf.settings import Settings

# Solvers of the Frobenius loss, with the sweeps over H in a visit. Cyclic coordinate descent is HALS.
QUADRATIC: dict[str, tuple[RowUpdate, int]] = {
    "sketch": (hals, 4),
    "hals": (hals, 4),
    "cd": (hals, 4),
    "als": (pivot, PIVOT_SWEEPS),
    "mu": (multiplicative, 10),
    "pg": (accelerated, STEPS),
    "minibatch": (hals, 8),
}
# Solvers of the other losses, likewise.
DIVERGENT = {"newton": 6, "mu": 4, "cd": 4}


def solvers_for(beta: float) -> list[str]:
    """Return the solvers for a loss, the default first."""
    if beta == 2:
        return list(QUADRATIC)
    return ["newton", "mu", "cd"] if beta == 1 else ["mu"]


def solvers_named(beta: float) -> str:
    """Return advice on the solvers for a loss.

    >>> solvers_named(1)
    "for this loss, give solver='auto', 'newton', 'mu' or 'cd'"
    """
    names = [repr(name) for name in ["auto", *solvers_for(beta)]]
    return f"for this loss, give solver={', '.join(names[:-1])} or {names[-1]}"


def solver_of(settings: Settings) -> str:
    """Return the solver of the settings, or the default for their loss.

    Raises
    ------
    SettingsError
        If solver and loss do not go together.
    """
    fitting = solvers_for(settings.beta)
    solver = fitting[0] if settings.solver == "auto" else settings.solver
    if solver not in fitting:
        losses = {"cd": "'frobenius' or 'kullback-leibler'", "newton": "'kullback-leibler'"}.get(solver, "'frobenius'")
        raise SettingsError(
            f"solver={solver!r} needs loss={losses}, and got loss={settings.loss!r}; {solvers_named(settings.beta)}."
        )
    return solver


def make_rule(settings: Settings, *, transposed: bool = False, weighted: bool = False) -> Rule:
    """Return the rule of the settings, for a matrix that is streamed as its transpose or not."""
    solver, beta = solver_of(settings), settings.beta
    entries = Entries(settings.missing, weighted, positive=beta <= 0, dense=beta not in (1, 2), beta=beta)
    of = settings.swapped() if transposed else settings
    held = of.n_fixed_W, of.n_fixed_H
    penalties = penalty_of(of.l1_W, of.l2_W, within(of, "W")), penalty_of(of.l1_H, of.l2_H, within(of, "H"))
    if beta == 2 and entries.all:
        update, sweeps = QUADRATIC[solver]
        if settings.shuffle and update is hals:
            update = Shuffled(update, settings.seed)
        volume = Volume(of.volume_W, sums=within(of, "H").free) if of.volume_W else None
        return Quadratic(update, settings.sweeps or sweeps, *penalties, *held, volume=volume)
    if beta == 2 and solver != "mu":
        sweeps, projected = settings.sweeps or QUADRATIC[solver][1], solver == "pg"
        return WeightedQuadratic(sweeps, *penalties, entries, *held, projected=projected)
    sweeps = settings.sweeps or (QUADRATIC[solver][1] if beta == 2 else DIVERGENT[solver])
    return Divergence(beta, solver in ("cd", "newton"), sweeps, *penalties, entries, *held)


def within(settings: Settings, factor: str) -> Constraint:
    """Return the constraint of the columns of Wᵀ or of H, and of their entries."""
    upper = settings.upper_W if factor == "W" else settings.upper_H
    sums = settings.rows_W if factor == "W" else settings.columns_H
    return Constraint(math.inf if upper is None else upper, sums == "simplex")


def penalty_of(l1: float | tuple[float, ...], l2: float | tuple[float, ...], within: Constraint = FREE) -> Penalty:
    """Return the penalty of a factor in the settings: with numbers, or with columns (r, 1) of those of components.

    >>> penalty_of((1.0, 2.0), 0.5).l1.tolist()
    [[1.0], [2.0]]
    """
    first, second = (np.array(given)[:, None] if isinstance(given, tuple) else given for given in (l1, l2))
    return Penalty(first, second, within)


def altered(rule: Rule, **changes: Any) -> Rule:
    """Return a rule with other sweeps or penalties; without sweeps, a visit only adds up and measures."""
    new: Rule = dataclasses.replace(cast(Any, rule), **changes)
    return new


def sums_per_row(rule: Rule, rank: int) -> int:
    """Return the number of numbers, of 8 bytes, that the sums of a pass hold for every row of V as streamed."""
    if isinstance(rule, Divergence):
        curved = rule.with_hessian * rank * (rank + 1) // 2 * np.dtype(rule.hessian_dtype).itemsize
        return (rank if rule.by_totals else 2 * rank + 1) + math.ceil(curved / 8)
    return rank if isinstance(rule, Quadratic) else rank + rank * (rank + 1) // 2 + 1


def warm_up(rule: Rule, dtype: np.dtype[Any], stored: np.dtype[Any], sparse: bool, coupled: bool = False) -> None:
    """Compile the functions of a pass by a visit of a matrix of a few entries, so that no pass waits for it.

    That takes a millisecond even if they are compiled; so the same rule is visited once in a process. A `coupled` run
    has penalties of single entries.
    """
    first = slice(0, 1)
    penalties = {name: getattr(rule, name).components(first) for name in ("penalty_W", "penalty_H")}
    if coupled:
        each = Penalty(np.zeros((1, 2), dtype), np.ones((1, 2), dtype))
        penalties = {name: penalty.plus(each) for name, penalty in penalties.items()}
    rule = altered(rule, **penalties)
    try:
        _visit_once(cast(Any, rule), dtype, stored, sparse)
    except TypeError:  # a rule that cannot be hashed
        _visit_few(rule, dtype, stored, sparse)


def _visit_few(rule: Rule, dtype: np.dtype[Any], stored: np.dtype[Any], sparse: bool) -> None:
    """Make all steps of a pass for a matrix of a few entries."""
    V: Any = np.ones((2, 2), stored)
    matrices = [V] if sparse else [V, np.asfortranarray(V)]
    if isinstance(rule, Divergence) and rule.by_totals and rule.penalty_H.plain and not sparse:
        matrices.append(np.array([[1, 1, 0, 0], [1, 1, 0, 0]], stored))  # columns with few entries take other steps
    for dense in matrices:
        block = scipy.sparse.csc_array(dense) if sparse else dense
        if rule.entries.weighted:
            block = Weighted(block, np.ones((2, 2), dtype))
        scratch, stats, W = Scratch(), rule.zero(2, 1), np.ones((2, 1), dtype)
        digests_of(block)
        stats.norms.append(rule.entries.square_sum(block, dtype, scratch))
        rule.visit(block, np.ones((1, block.shape[1]), dtype), Model.of(W), stats, scratch, fresh=True)
        rule.finish(W, stats)


_visit_once = functools.lru_cache(maxsize=128)(_visit_few)
