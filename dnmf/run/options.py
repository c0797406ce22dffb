"""The options of a run as the functions of the package take and show them."""

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any, TypedDict, TypeVar

from dnmf.settings import BESIDE, Settings

Function = TypeVar("Function", bound=Callable[..., Any])


class Options(TypedDict, total=False):
    """The options of a run; `Settings` describes them."""

    loss: str | float
    solver: str
    init: Any
    extrapolate: bool | None
    forget: float
    shuffle: bool
    weights: Any
    fixed_W: Any
    row_names: Any
    column_names: Any
    missing: str
    sweeps: int | None
    l1_W: float
    l2_W: float
    l1_H: float
    l2_H: float
    seed: int
    n_runs: int
    tol: float
    max_passes: int
    max_seconds: float | None
    checkpoint_every: int
    keep: int
    memory_limit: int | str | None
    threads: int | None


def shows_options(function: Function) -> Function:
    """Let `help` and editors show the options, with their defaults, in place of `**options`."""
    shown = signature(function)
    own = [p for p in shown.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    options = [
        p.replace(kind=Parameter.KEYWORD_ONLY, annotation=Parameter.empty)
        for p in signature(Settings).parameters.values()
        if p.name not in ("rank", "fixed")
    ]
    options += [Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in BESIDE]
    function.__signature__ = Signature([*own, *options])  # type: ignore[attr-defined]
    return function
