"""Floating-point errors, handled independently of the caller's `numpy.seterr`."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def numpy_errors() -> Any:
    """Return a context in which NumPy handles floating-point errors as by default.

    Numbers far below the others underflow to 0 in every factorisation, which is not an error.
    """
    return np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")


def own_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function, or the steps of a generator, within `numpy_errors`.

    >>> with np.errstate(all="raise"):
    ...     float(own_errors(np.exp)(-1000.0))
    0.0
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with numpy_errors():
            return function(*args, **kwargs)

    @functools.wraps(function)
    def steps(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        made = cast(Any, function(*args, **kwargs))
        try:
            while True:
                with numpy_errors():  # not around the yield: the caller works there
                    try:
                        found = next(made)
                    except StopIteration:
                        return
                yield found
        finally:
            with numpy_errors():
                made.close()

    return cast(Callable[P, R], steps) if inspect.isgeneratorfunction(function) else run
