"""The matrix of a command, which may be several that are joined."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, get_args

import click

import dnmf
from dnmf.choices import Axis, Join
from dnmf.cli.options import Function, PathOrUrl, option
from dnmf.errors import no_effect

# The options that state how matrices are joined, by the parameters of `dnmf.concat`.
WAYS = {
    "along": ("axis", click.Choice(get_args(Axis)), "Axis to join several matrices along; by default rows."),
    "join": ("join", click.Choice(get_args(Join)), "Names to keep along the other axis: inner (default) or outer."),
    "keys": ("keys", str, "Labels of the matrices, separated by commas; by default the names of their files."),
    "matrix_weights": ("weights", str, "Weights of the matrices in the loss, separated by commas."),
}


def matrix_argument(name: str = "matrix") -> Callable[[Function], Function]:
    """Give a command the argument for one or several matrices, which it gets as one, and the options that join them."""

    def add(function: Function) -> Function:
        @functools.wraps(function)
        def gathered(**options: Any) -> Any:
            way = {parameter: options.pop(flag) for flag, (parameter, _, _) in WAYS.items()}
            return function(**{**options, name: joined(options[name], way)})

        command: Function = gathered
        for flag, (_, kind, text) in reversed(WAYS.items()):
            metavar = {"keys": "A,B,…", "matrix_weights": "1,2,…"}.get(flag)
            flags = f"--{flag.replace('_', '-')}"
            command = option(flags, flag, type=kind, metavar=metavar, help=text, group="Data")(command)
        return click.argument(name, nargs=-1, required=True, type=PathOrUrl())(command)

    return add


def joined(given: Sequence[str], way: dict[str, Any]) -> Any:
    """Return the only matrix as it was given, or several as one."""
    from dnmf.sources.collection import is_pattern

    way = {parameter: value for parameter, value in way.items() if value is not None}
    if len(given) == 1 and not is_pattern(given[0]):
        for flag, (parameter, _, _) in WAYS.items():
            if parameter in way:
                raise no_effect(f"--{flag.replace('_', '-')}", way[parameter], "several matrices", "one")
        return given[0]
    if "keys" in way:
        way["keys"] = way["keys"].split(",")
    if "weights" in way:
        way["weights"] = numbers(way["weights"])
    return dnmf.concat(list(given), **way)


def prepared(matrix: Any, steps: Sequence[str], samples: Axis | None, **options: Any) -> Any:
    """Return a matrix with steps of preprocessing along the axis of its samples."""
    if samples is not None and not steps:
        raise no_effect("--samples", samples, "steps of --prepare")
    return dnmf.preprocessing.prepare(matrix, steps, samples=samples or "rows", **options)


def numbers(text: str) -> list[float]:
    """Return numbers that are separated by commas.

    >>> numbers("1,2.5")
    [1.0, 2.5]
    """
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers; give weights such as 1,5.") from None


def again(given: Sequence[str]) -> Any:
    """Return the matrices of a stored run that are given again: None, an address, or a list."""
    return None if not given else given[0] if len(given) == 1 else list(given)
