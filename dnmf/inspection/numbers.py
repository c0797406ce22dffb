"""Format numbers and names for people."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# The least value that is written in a unit on an axis, the unit, and its sign.
UNITS = ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (2e4, 1e3, "k"))


def number(value: Any, digits: int = 4) -> str:
    """Format a number with `digits` significant digits.

    >>> number(0.123456), number(123456), number(1.5e-7), number(2e12), number(None), number(1e-3)
    ('0.1235', '123,456', '1.5·10⁻⁷', '2·10¹²', '–', '0.001')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if value == 0 or 1e-3 <= size < 1e7:
        shown = f"{value:.{digits}g}" if size < 10**digits else f"{value:,.0f}"
        return shown.replace("-", "−")
    first, _, power = f"{value:.{digits - 1}e}".partition("e")
    first = first.rstrip("0").rstrip(".").replace("-", "−")
    raised = f"10{str(int(power)).translate(RAISED)}"
    return raised if first == "1" else f"{first}·{raised}"


def labels(values: Sequence[float]) -> list[str]:
    """Format the ticks of an axis, with as many digits as distinguish them.

    >>> labels([0.1222, 0.12225, 0.1223]), labels([2e6, 4e6]), labels([1e-4, 1e-2]), labels([1496e6, 1497e6])
    (['0.12220', '0.12225', '0.12230'], ['2M', '4M'], ['10⁻⁴', '0.01'], ['1.496G', '1.497G'])
    >>> labels([0.324764, 0.324768])
    ['0.324764', '0.324768']
    """
    most = max((abs(value) for value in values), default=0.0)
    unit, sign = next(((size, sign) for least, size, sign in UNITS if most >= least), (1.0, ""))
    steps = [abs(high - low) for low, high in itertools.pairwise(values) if high != low]
    powers = len(values) > 1 and values[0] > 0 and values[1] >= 9.9 * values[0]
    if powers or (unit == 1 and (most < 1e-3 or min(steps, default=1) < 1e-5)):
        known = steps and most > 0 and not powers
        digits = math.floor(math.log10(most)) - math.floor(math.log10(min(steps) * 1.001)) + 1 if known else 0
        return [number(value, max(digits, 4)) for value in values]
    step = min(steps, default=most or 1.0) / unit
    digits = next((places for places in range(9) if abs(round(step, places) / step - 1) < 1e-6), 9)
    return [f"{value / unit:.{digits}f}{sign if value else ''}".replace("-", "−") for value in values]


def duration(seconds: float) -> str:
    """Format a duration.

    >>> duration(0.0123), duration(75), duration(7300)
    ('12 ms', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def percent(part: float) -> str:
    """Format a part of 1 as a percentage.

    >>> percent(0.3123), percent(0.00031234)
    ('31.2 %', '0.031 %')
    """
    if not math.isfinite(part):
        return number(part)
    return f"{100 * part:.1f} %" if part >= 0.01 or part == 0 else f"{100 * part:.2g} %"


def times(shape: tuple[int, ...]) -> str:
    """Format a shape.

    >>> times((2000, 1000000))
    '2,000 × 1,000,000'
    """
    return " × ".join(f"{size:,}" for size in shape)


def shortened(name: Any, most: int = 80) -> str:
    """Return a text, cut to at most `most` characters.

    >>> shortened("abcdef", 4)
    'abc…'
    """
    whole = str(name)
    return whole if len(whole) <= most else f"{whole[: most - 1]}…"
