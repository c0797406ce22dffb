"""What a survey is of, and what it takes of memory.

Frobenius, where a sketch fits:

```
pass 1   a sketch of V, and one of what each fold leaves of it
between  every rank × seed, and every rank × fold, on a sketch
pass 2   all models at once: H, the true loss, a better W; what the folds predict of what was held out
pass 3   the best of every rank once more, whose H is kept
```

Else, or where a solver that makes passes is named, all models start side by side, from a sketch of the scaled V where
one fits, and make their passes together; the folds are models that are not shown some entries.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from dnmf.engine.factor import FlatFactor
from dnmf.engine.plan import Load
from dnmf.errors import BudgetError
from dnmf.inspection.components import sparsity
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.registry import make_rule, sums_per_row
from dnmf.kernels.rule import Rule, Step
from dnmf.settings import Settings
from dnmf.solvers.sketch import PILOT_BYTES, SAMPLE, fits
from dnmf.solvers.state import State
from dnmf.sources.base import Layout
from dnmf.survey.columns import strongest

# Columns of the basis of a sketch, for every component of the largest rank.
WIDTH = 3
# Rounds on a sketch, and random starts for a fold; sweeps over an H that has no values yet.
ROUNDS, FOLD_STARTS, SWEEPS = 200, 3, 20


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What a survey is of.

    Attributes
    ----------
    ranks, seeds
        Every pair is a model.
    folds
        How many there are; 0 for none.
    scheme
        `"bicross"` or `"speckled"`, how they hold out.
    settings
        Of all models, at the largest rank.
    places
        A sample of the columns (s,) on which runs are compared.
    """

    ranks: tuple[int, ...]
    seeds: tuple[int, ...]
    folds: int
    scheme: str
    settings: Settings
    places: Any


# Is told how many models are ready, and of how many.
Told = Callable[[int, int], None]
# Counts the pass that is made within it, for models of these ranks.
Reading = Callable[[Sequence[int]], AbstractContextManager[None]]


def sketchable(settings: Settings, rule: Rule, layout: Layout) -> bool:
    """Say whether the models of a survey can be made on a sketch, and nothing that is asked needs their passes."""
    return fits(rule, layout, settings.rank) and not named_for_passes(settings)


def named_for_passes(settings: Settings) -> str | None:
    """Return the option that asks for passes over V itself, if one does.

    >>> named_for_passes(Settings(rank=2, solver="mu")), named_for_passes(Settings(rank=2, solver="sketch"))
    ('solver', None)
    """
    if settings.solver not in ("auto", "sketch"):
        return "solver"
    return None if settings.init == "auto" else "init"


def survey_load(
    asked: Asked, layout: Layout, rule: Rule, ranks: Sequence[int], folds: Sequence[int], kept: bool
) -> Load:
    """Return what models of some ranks, and folds at some, work with beside V; `kept` says that their H's are kept."""
    speckled = asked.scheme == "speckled"
    hidden = asked.folds * sum(folds)
    rows = sum(ranks) + (hidden if speckled else 0)
    if speckled and folds:
        weighted = make_rule(asked.settings, transposed=layout.transposed, weighted=True)
        sums = asked.folds * sum(sums_per_row(weighted, rank) for rank in folds)
    else:
        sums = hidden
    sums += sum(sums_per_row(rule, rank) for rank in ranks)
    sketches = (1 + asked.folds) * WIDTH * asked.settings.rank
    return Load(
        sums=max(sums, sketches),
        worked=2 * rows + sum(folds),
        held=3 * rows if kept else 0,
        kept=8 * max(rows, sketches),
        extra=SAMPLE * sketches * layout.work_dtype.itemsize + 3 * PILOT_BYTES,
        panels=20 if speckled else 10,
        copies=1 if folds else 0,
    )


def in_batches(models: Sequence[Any], fits: Callable[[Sequence[Any]], bool]) -> Iterator[Sequence[Any]]:
    """Yield models as many at a time as fit the memory, at least one.

    >>> [list(batch) for batch in in_batches([1, 2, 3, 4, 5], lambda models: len(models) < 3)]
    [[1, 2], [3, 4], [5]]
    """
    count = len(models)
    while count > 1 and not fits(models[:count]):
        count = (count + 1) // 2
    for start in range(0, len(models), max(count, 1)):
        yield models[start : start + count]


def fitting(plan: Callable[[Load], Any], load: Load) -> bool:
    """Say whether some work can be planned."""
    try:
        plan(load)
    except BudgetError:
        return False
    return True


def model_piece(step: Step | State, H: Float, sparsity_H: float) -> dict[str, Any]:
    """Return what is kept of a model: W (m, r), its figures, and the strongest component of some columns."""
    wide = step.W.astype(np.float64)
    return {
        "W": step.W,
        "loss": step.loss,
        "relative_error": np.nan if step.relative_error is None else step.relative_error,
        "optimality": step.optimality,
        "labels": strongest(H, np.linalg.norm(wide, axis=0)),
        "sparsity": [float(sparsity(wide.sum(), np.square(wide).sum(), wide.size)), sparsity_H],
    }


def flat(rank: int, layout: Layout) -> FlatFactor:
    """Return an H that is to be found from the start."""
    return FlatFactor(rank, layout.bounds, layout.work_dtype)
