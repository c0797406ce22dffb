"""Options that have no effect in a run: the table of those that some solvers, losses or data use."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from dnmf.errors import DataWarning, no_effect, warn
from dnmf.kernels.quadratic.block_pivoting import pivot
from dnmf.kernels.quadratic.row_updates import Shuffled
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.settings import FIELDS
from dnmf.solvers.iteration import after_second_order
from dnmf.solvers.selection import Recipe
from dnmf.solvers.sketch import corrected


class Use(NamedTuple):
    """What an option is for.

    Attributes
    ----------
    users
        The other options that it goes with.
    holds
        Whether it has an effect with a recipe and the names of what was given in addition to the options.
    of_solver
        Whether these are a solver and a loss.
    """

    users: str
    holds: Callable[[Recipe, Collection[str]], bool]
    of_solver: bool = False


def extrapolates(recipe: Recipe) -> bool | None:
    """Return whether the method extrapolates W whatever the option is, or None if that decides."""
    if recipe.settings.layers:
        return None
    if recipe.batches:
        return False
    sketched = recipe.method is corrected and recipe.settings.n_runs == 1
    return True if sketched or recipe.follow is after_second_order else None


def shuffles(recipe: Recipe) -> bool:
    """Return whether a rule updates the components in a random order."""
    return recipe.settings.greedy or (isinstance(recipe.rule, Quadratic) and isinstance(recipe.rule.update, Shuffled))


def sweeps(recipe: Recipe) -> bool:
    """Return whether a rule makes a number of updates of H, which one that solves for it does not."""
    return recipe.settings.greedy or not (isinstance(recipe.rule, Quadratic) and recipe.rule.update is pivot)


# Not `seed`, which programs give with any start; nor `checkpoint_every`, which limits the lineage of H on a cluster.
USES = {
    "extrapolate": Use(
        "solver='hals', 'als', 'cd', 'pg' and 'mu'",
        lambda recipe, given: extrapolates(recipe) in (None, recipe.settings.extrapolate),
        True,
    ),
    "forget": Use("solver='minibatch'", lambda recipe, given: recipe.batches, True),
    "shuffle": Use(
        "solver='auto', 'sketch', 'hals', 'cd' and 'minibatch' with loss='frobenius' and every entry of V",
        lambda recipe, given: shuffles(recipe),
        True,
    ),
    "sweeps": Use("every solver but 'als'", lambda recipe, given: sweeps(recipe), True),
    "graph_weight": Use("graph_W and graph_H", lambda recipe, given: bool({"graph_W", "graph_H"} & {*given})),
    "target_weight": Use("target_W and target_H", lambda recipe, given: bool({"target_W", "target_H"} & {*given})),
    "keep_checkpoints": Use("a store (--store)", lambda recipe, given: "store" in given),
}


def check_used(recipe: Recipe, given: Collection[str] = (), tolerated: Collection[str] = ()) -> None:
    """Check that every option with another value than its default has an effect.

    Parameters
    ----------
    recipe
        Of the run.
    given
        Names of what was given in addition to the options: graphs, targets and `"store"`.
    tolerated
        Names of options that cause a warning instead.

    Raises
    ------
    SettingsError
        For the first option without an effect.
    """
    settings = recipe.settings
    for name, use in USES.items():
        value = getattr(settings, name)
        if value == FIELDS[name].default or use.holds(recipe, given):
            continue
        error = no_effect(name, value, use.users, chosen(recipe) if use.of_solver else "none")
        if name not in tolerated:
            raise error
        warn(str(error), DataWarning)


def check_overwrite(target: object, overwrite: bool, users: str = "a store (--store)") -> None:
    """Raise SettingsError if nothing is written that could be overwritten."""
    if overwrite and target is None:
        raise no_effect("overwrite", overwrite, users)


def chosen(recipe: Recipe) -> str:
    """Describe the solver and the loss of a run."""
    by: Any = f" (by solver={recipe.settings.solver!r})" if recipe.settings.solver != recipe.solver else ""
    entries = "" if recipe.rule.entries.all else ", and weights or missing entries"
    return f"solver={recipe.solver!r}{by}, loss={recipe.settings.loss!r}{entries}"
