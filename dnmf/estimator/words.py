"""The names of the options of a run as parameters of an estimator, in errors and warnings."""

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from dnmf.errors import IN_WORDS, DnmfError

P = ParamSpec("P")
R = TypeVar("R")

# Names of options, as patterns where they are also words, and of parameters. A path is not changed.
PARAMETERS = {
    "fixed_W and fixed_H": "fixed_components",
    "neither fixed_W nor fixed_H": "no fixed_components",
    "fixed_H": "fixed_components",
    "n_fixed_H": "len(fixed_components)",
    "loss(?==)": "beta_loss",
    "max_passes": "max_iter",
    "rank(?==)": "n_components",
    "seed(?==)": "random_state",
    "l1_W or l2_W": "alpha_W",
    "l1_H or l2_H": "alpha_H",
    "l[12]_W(?!=)": "alpha_W",
    "l[12]_H(?!=)": "alpha_H",
    r"V(?!-|\.\w+\b(?![\[(]))": "X",  # V, V[0, 1] and V.astype(…), but not V.zarr
}
WORDS = re.compile("|".join(rf"(?<![\w/.=-])({pattern})(?![\w/])" for pattern in PARAMETERS))


def own_words(function: Callable[P, R]) -> Callable[P, R]:
    """Run a method of an estimator, whose errors and warnings name its parameters."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        words = IN_WORDS.set(in_parameters)
        try:
            return function(*args, **kwargs)
        except DnmfError as error:
            error.args = tuple(in_parameters(part) if isinstance(part, str) else part for part in error.args)
            raise
        finally:
            IN_WORDS.reset(words)

    return run


def in_parameters(message: str) -> str:
    """Return a message with the names of parameters for those of options.

    >>> in_parameters("fixed_H has 4 rows, and rank=3; give V to the run in /data/rank=3/V.zarr.")
    'fixed_components has 4 rows, and n_components=3; give X to the run in /data/rank=3/V.zarr.'
    """
    names = list(PARAMETERS.values())
    return WORDS.sub(lambda found: names[(found.lastindex or 1) - 1], message)
