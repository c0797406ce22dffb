"""The request of a survey, and the memory that it takes.

With the Frobenius loss, if a sketch fits:

```
pass 1   a sketch of V, and a sketch of the entries that each fold leaves
between  every rank × seed, and every rank × fold, on a sketch
pass 2   all models at once: H, the true loss, a better W; the predictions of the folds for the held-out entries
pass 3   the best run of every rank once more, to keep its H
```

Otherwise, or with a solver that makes passes, all models make their passes together, from a sketch of the scaled V if
one fits; the folds are models from which some entries are hidden.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from dnmf.engine.factor import OnesFactor
from dnmf.engine.plan import Load
from dnmf.errors import BudgetError
from dnmf.inspection.components import sparsity
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.registry import sums_per_row
from dnmf.kernels.rule import Rule, Step
from dnmf.settings import Settings
from dnmf.solvers.selection import rule_of
from dnmf.solvers.sketch import PILOT_BYTES, SAMPLE, fits
from dnmf.solvers.state import State
from dnmf.sources.base import Layout
from dnmf.survey.columns import strongest
from dnmf.survey.drawn import MOST
from dnmf.survey.holdout import Fold, Listed, Speckles

# Columns of the basis of a sketch for each component of the largest rank.
WIDTH = 3
# Rounds on a sketch, random starts of a fold, and sweeps over an H that starts from a constant.
ROUNDS, FOLD_STARTS, SWEEPS = 200, 3, 20
# Sums of tasks with the columns that are drawn by their squares, which wait to be added up.
PENDING = 4


@dataclasses.dataclass(frozen=True, slots=True)
class SurveyRequest:
    """The models of a survey and how they are compared.

    Attributes
    ----------
    ranks, seeds
        Every pair is a model.
    folds
        Number of folds, 0 for none.
    scheme
        How folds hold out entries, `"bicross"`, `"speckled"` or `"given"`.
    settings
        Settings of all models, at the largest rank.
    places
        Sample of the columns (s,) on which runs are compared.
    held
        The entries held out if they were given, with the scheme `"given"`.
    """

    ranks: tuple[int, ...]
    seeds: tuple[int, ...]
    folds: int
    scheme: str
    settings: Settings
    places: Any
    held: Listed | None = None

    def fold(self, index: int) -> Fold:
        """Return the entries that a fold holds out, if it holds out single entries."""
        return self.held or Speckles(self.settings.seed, index, self.folds)


# Called with the number of models that are ready, and of all models.
Ready = Callable[[int, int], None]
# A context in which one pass is made and counted, for models of these ranks.
Counted = Callable[[Sequence[int]], AbstractContextManager[None]]


def sketchable(settings: Settings, rule: Rule, layout: Layout) -> bool:
    """Return whether the models of a survey can be fitted on a sketch, and no option requires passes over V."""
    return fits(rule, layout, settings.rank) and not option_for_passes(settings)


def option_for_passes(settings: Settings) -> str | None:
    """Return the name of an option that requires passes over V itself, or None.

    >>> option_for_passes(Settings(rank=2, solver="mu")), option_for_passes(Settings(rank=2, solver="sketch"))
    ('solver', None)
    """
    if settings.solver not in ("auto", "sketch"):
        return "solver"
    return None if settings.init == "auto" else "init"


def survey_load(
    request: SurveyRequest, layout: Layout, rule: Rule, ranks: Sequence[int], folds: Sequence[int], kept: bool
) -> Load:
    """Return the load of models of some ranks and of folds at some ranks; `kept` says whether their H are kept."""
    speckled = request.scheme != "bicross"
    hidden = request.folds * sum(folds)
    rows = sum(ranks) + (hidden if speckled else 0)
    if speckled and folds:
        weighted = rule_of(request.settings, layout, weighted=True)
        sums = request.folds * sum(sums_per_row(weighted, rank) for rank in folds)
    else:
        sums = hidden
    sums += sum(sums_per_row(rule, rank) for rank in ranks)
    sketches = (1 + request.folds) * WIDTH * request.settings.rank
    columns = SAMPLE + (PENDING * MOST if layout.shape[1] > SAMPLE else 0)
    return Load(
        sums=max(sums, sketches),
        worked=2 * rows + sum(folds),
        held=3 * rows if kept else 0,
        kept=8 * max(rows, sketches),
        extra=columns * sketches * layout.work_dtype.itemsize + 3 * PILOT_BYTES,
        panels=20 if speckled else 10,
        copies=1 if folds else 0,
    )


def in_batches(models: Sequence[Any], fits: Callable[[Sequence[Any]], bool]) -> Iterator[Sequence[Any]]:
    """Yield batches of models that fit into memory, each with at least one model.

    >>> [list(batch) for batch in in_batches([1, 2, 3, 4, 5], lambda models: len(models) < 3)]
    [[1, 2], [3, 4], [5]]
    """
    count = len(models)
    while count > 1 and not fits(models[:count]):
        count = (count + 1) // 2
    for start in range(0, len(models), max(count, 1)):
        yield models[start : start + count]


def fitting(plan: Callable[[Load], Any], load: Load) -> bool:
    """Return whether a load can be planned within the memory limit."""
    try:
        plan(load)
    except BudgetError:
        return False
    return True


def model_piece(step: Step | State, H: Float, sparsity_H: float) -> dict[str, Any]:
    """Return the piece of a model: W (m, r), its loss, error, optimality and sparsity, and its labels of the sample."""
    wide = step.W.astype(np.float64)
    return {
        "W": step.W,
        "loss": step.loss,
        "relative_error": np.nan if step.relative_error is None else step.relative_error,
        "optimality": step.optimality,
        "labels": strongest(H, np.linalg.norm(wide, axis=0)),
        "sparsity": [float(sparsity(wide.sum(), np.square(wide).sum(), wide.size)), sparsity_H],
    }


def flat(rank: int, layout: Layout) -> OnesFactor:
    """Return a constant H from which a model starts."""
    return OnesFactor(rank, layout.bounds, layout.work_dtype)
