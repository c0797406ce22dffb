"""Checks of the values of options: they return the value to keep, or raise SettingsError."""

import functools
import math
import numbers
import re
from collections.abc import Sequence
from dataclasses import Field
from types import UnionType
from typing import Any, get_args

from dnmf.errors import SettingsError, unknown

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
UNITS |= {f"{unit}i": 2 ** (10 * power) for power, unit in enumerate("kmgt", start=1)}

# Whole numbers are below this: a seed has 64 bits.
MOST = 2**64


def parse_bytes(name: str, given: object) -> int:
    """Return a number of bytes, given as a number or as a text with a unit.

    >>> parse_bytes("limit", "1.5 GB"), parse_bytes("limit", "512MiB"), parse_bytes("limit", 1e6)
    (1500000000, 536870912, 1000000)
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[+]?[0-9]+)?)\s*([kmgt]?i?)b?\s*", str(given).lower())
    try:
        count = int(float(match[1]) * UNITS[match[2]]) if match else 0
    except (KeyError, ValueError, OverflowError):
        count = 0
    if count < 1 or isinstance(given, bool):
        raise SettingsError(
            f"{name}={given!r} is not an amount of memory; give bytes, or a text such as '1GB' or '512MiB'."
        )
    return count


def check(of: Field[Any], given: Any) -> Any:
    """Check a value of an option by its own check, or else by that of its type."""
    kind, about = kind_of(of), of.metadata
    if about["check"]:
        return about["check"](of.name, given)
    if kind is int:
        return integer(of.name, given, about.get("least", 1), about.get("largest", MOST - 1))
    if kind is bool:
        return boolean(of.name, given, "True or False" if of.default is not None else "True, False or None")
    return nonnegative(of.name, given) if kind is float else choice(of.name, given, kind)


@functools.cache
def kind_of(of: Field[Any]) -> Any:
    """Return the type of an option without None: bool, int, float, a `Literal` or a union."""
    return get_args(of.type)[0] if isinstance(of.type, UnionType) else of.type


def integer(name: str, given: Any, least: int, largest: int = MOST - 1) -> int:
    """Return a whole number within bounds as an int."""
    if not _is_number(given) or not least <= given <= largest or int(given) != given:
        most = " and below 2⁶⁴" if largest == MOST - 1 else f" and at most {largest}"
        bound = most if _is_number(given) and given > largest else ""
        raise SettingsError(f"{name}={given!r} is not allowed; give a whole number of at least {least}{bound}.")
    return int(given)


def nonnegative(name: str, given: Any) -> float:
    """Return a finite number of at least 0 as a float."""
    if not _is_number(given) or not 0 <= given < math.inf:
        raise SettingsError(f"{name}={given!r} is not allowed; give a finite number of at least 0.")
    return float(given)


def positive(name: str, given: Any) -> float:
    """Return a finite number above 0 as a float."""
    if not _is_number(given) or not 0 < given < math.inf:
        raise SettingsError(f"{name}={given!r} is not allowed; give a finite number above 0.")
    return float(given)


def penalty(name: str, given: Any) -> float | tuple[float, ...]:
    """Return a finite number of at least 0, or one for every component.

    >>> penalty("l1_H", 0.5), penalty("l1_H", [1, 0])
    (0.5, (1.0, 0.0))
    """
    if isinstance(given, (list, tuple)) or getattr(given, "ndim", 0) == 1:
        return tuple(nonnegative(name, one) for one in given)
    return nonnegative(name, given)


def ranks(name: str, given: Any) -> tuple[int, ...]:
    """Return the ranks of layers, none of which is larger than the one before; none for a single factorisation.

    >>> ranks("rank", [100, 49, 25])
    (100, 49, 25)
    """
    name = "rank" if name == "layers" else name
    layers = tuple(integer(name, one, 1, MOST - 1) for one in given)
    if len(layers) == 1:
        raise SettingsError(
            f"{name}={list(layers)} has one layer; give {name}={layers[0]}, or the ranks of several layers."
        )
    if list(layers) != sorted(layers, reverse=True):
        raise SettingsError(
            f"{name}={list(layers)} grows from one layer to the next; give ranks that fall, as {name}=[100, 49, 25]."
        )
    return layers


def layer_weights(name: str, given: Any) -> tuple[float, ...] | str | None:
    """Return the weights of layers, `"greedy"` or None.

    >>> layer_weights("layer_weights", [1, 0.5])
    (1.0, 0.5)
    """
    if given is None or (isinstance(given, str) and given == "greedy"):
        return given
    weights = penalty(name, given) if not isinstance(given, str) else 0.0
    if not isinstance(weights, tuple) or not all(weights):
        raise SettingsError(f"{name}={given!r} is not allowed; give 'greedy', or a number above 0 for every layer.")
    return weights


def check_layers(settings: Any, penalties: Sequence[str]) -> None:
    """Raise SettingsError if options with a number for every layer, or every component, do not fit the ranks."""
    layers, given = settings.layers, settings.layer_weights
    if not layers and (given is not None or settings.layered != "W"):
        name = "layered" if given is None else "layer_weights"
        raise SettingsError(f"{name} is for several layers; give their ranks, as rank=[100, 49, 25], or leave it out.")
    wanted = {"layer_weights": len(layers), **dict.fromkeys(penalties, len(layers) or settings.rank)}
    of, each = (list(layers), "layer") if layers else (settings.rank, "component")
    for name, count in wanted.items():
        numbers_ = getattr(settings, name)
        if isinstance(numbers_, tuple) and len(numbers_) != count:
            raise SettingsError(
                f"{name} has {len(numbers_)} numbers, and rank={of}; give one, or one for every {each}."
            )


def pair(name: str, given: Any) -> float | tuple[float, ...]:
    """Return a finite number of at least 0, or one for W and one for H.

    >>> pair("graph_weight", 1), pair("graph_weight", [0.5, 2])
    (1.0, (0.5, 2.0))
    """
    numbers_ = penalty(name, given)
    if isinstance(numbers_, tuple) and len(numbers_) != 2:
        raise SettingsError(f"{name} has {len(numbers_)} numbers; give one, or one for W and one for H.")
    return numbers_


def fraction(name: str, given: Any) -> float:
    """Return a number in (0, 1] as a float."""
    if not 0 < nonnegative(name, given) <= 1:
        raise SettingsError(f"{name}={given!r} is not allowed; give a number above 0 and at most 1.")
    return float(given)


def boolean(name: str, given: Any, allowed: str) -> bool:
    """Return True or False as a bool."""
    if given not in (True, False):
        raise SettingsError(f"{name}={given!r} is not allowed; give {allowed}.")
    return bool(given)


def choice(name: str, given: Any, choices: Any) -> str:
    """Return one of the names of a `Literal`."""
    if not isinstance(given, str) or given not in get_args(choices):
        raise unknown(name, given, get_args(choices))
    return given


def _is_number(given: object) -> bool:
    return type(given) in (int, float) or (isinstance(given, numbers.Real) and not isinstance(given, bool))
