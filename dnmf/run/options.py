"""The options of a run as keywords of functions."""

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any, TypedDict, TypeVar

from dnmf.settings import DATA_OPTIONS, OPTIONS, Factor, Init, Loss, Missing, Solver, Sums

Function = TypeVar("Function", bound=Callable[..., Any])


class Options(TypedDict, total=False):
    """The options of a run as typed keywords; `Settings` describes them."""

    loss: Loss | float
    solver: Solver
    init: Init | tuple[Any, Any]
    extrapolate: bool | None
    forget: float
    shuffle: bool
    sweeps: int | None
    l1_W: Any
    l2_W: Any
    l1_H: Any
    l2_H: Any
    columns_W: Sums
    rows_W: Sums
    columns_H: Sums
    rows_H: Sums
    upper_W: float | None
    upper_H: float | None
    layer_weights: tuple[float, ...] | str | None
    layered: Factor
    graph_weight: float | tuple[float, float]
    target_weight: float
    volume_W: float
    volume_H: float
    missing: Missing
    seed: int
    n_runs: int
    tol: float
    max_passes: int
    max_seconds: float | None
    checkpoint_every: int
    keep_checkpoints: int
    memory_limit: int | str | None
    threads: int | None
    weights: Any
    fixed_W: Any
    fixed_H: Any
    graph_W: Any
    graph_H: Any
    target_W: Any
    target_H: Any
    row_names: Any
    column_names: Any


def shows_options(function: Function) -> Function:
    """Show the options and their defaults in the signature of a function, in place of `**options`."""
    own = [
        p.replace(default=Parameter.empty) if p.name == "rank" else p  # its default only serves a better error
        for p in signature(function).parameters.values()
        if p.kind is not Parameter.VAR_KEYWORD
    ]
    defaults = {name: of.default for name, of in OPTIONS.items()} | dict.fromkeys(DATA_OPTIONS)
    options = [Parameter(name, Parameter.KEYWORD_ONLY, default=default) for name, default in defaults.items()]
    function.__signature__ = Signature([*own, *options])  # type: ignore[attr-defined]
    return function
