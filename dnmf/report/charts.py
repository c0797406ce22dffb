"""Charts as SVG: their colours are classes of the page, so that they follow light and dark.

A chart says what it shows in its `aria-label`, and where its points are in `data-points`, as x, y and words: the page's
script lets a finger, a mouse or the arrow keys read them.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dnmf.inspection.html import Markup, join, tag
from dnmf.inspection.numbers import labels, number

# Where a point lies in a chart, and its words.
Point = tuple[float, float, str]
WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 78, 14, 14, 42
# A curve has no more points than this.
POINTS = 300


class Series(NamedTuple):
    """A curve: its words, its points, and the half lengths of its error bars where it has some."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    bars: Sequence[float] | None = None


class Mark(NamedTuple):
    """A line across a chart, at a value of y, or of x if `upright`, with its words."""

    at: float
    words: str
    upright: bool = False


class Scale:
    """From values to places in a chart, linear or logarithmic."""

    def __init__(self, low: float, high: float, start: float, stop: float, log: bool = False) -> None:
        self.log = log
        self.low, self.high = (math.log10(low), math.log10(high)) if log else (low, high)
        if self.high - self.low < 1e-12 * max(abs(self.low), abs(self.high), 1e-300):
            room = 0.5 if log else abs(self.high) * 0.05 or 0.5
            self.low, self.high = self.low - room, self.high + room
        self.start, self.stop = start, stop

    def __call__(self, value: float) -> float:
        place = math.log10(value) if self.log else value
        part = (place - self.low) / (self.high - self.low)
        return round(self.start + min(max(part, -0.1), 1.1) * (self.stop - self.start), 1)

    def ticks(self, most: int = 5, whole: bool = False) -> list[float]:
        """Return values at which the axis is labelled."""
        if self.log and self.high - self.low >= 1:
            step = max(1, math.ceil((self.high - self.low) / most))
            return [10.0**power for power in range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1, step)]
        low, high = (10**self.low, 10**self.high) if self.log else (self.low, self.high)
        return round_numbers(low, high, most, whole)


def round_numbers(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Return round numbers from low to high, about as many as may be.

    >>> round_numbers(0.0, 1.0, 5), round_numbers(1, 4, 9, whole=True)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [1, 2, 3, 4])
    """
    raw = (high - low) / most
    if not raw > 0 or not math.isfinite(raw):
        return [low]
    unit = 10.0 ** math.floor(math.log10(raw))
    step = unit * next(size for size in (1, 2, 5, 10) if size * unit >= raw * 0.999)
    step = max(1, round(step)) if whole else step
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [place * step if whole else float(f"{place * step:.10g}") for place in range(first, last + 1)]


def line_chart(
    series: Sequence[Series],
    label: str,
    across: str,
    up: str,
    *,
    log: bool = False,
    whole: bool = True,
    marks: Sequence[Mark] = (),
    area: bool = False,
) -> Markup:
    """Return curves over one axis; a logarithmic one leaves out what is not above 0."""
    series = [_thinned(one, log) for one in series]
    xs = [x for one in series for x in one.x] + [mark.at for mark in marks if mark.upright]
    ys = [y for one in series for y in one.y] + [mark.at for mark in marks if not mark.upright]
    ys += [
        y + sign * bar for one in series if one.bars for y, bar in zip(one.y, one.bars, strict=True) for sign in (-1, 1)
    ]
    if not xs or not ys:
        return empty_chart(label)
    low, high = min(ys), max(ys)
    if area:
        low = min(low, 0.0)
    x = Scale(min(xs), max(xs), LEFT + 6, WIDTH - RIGHT - 6)
    legend = [one.name for one in series] if len(series) > 1 else []
    top = TOP + 18 * bool(legend) + 12 * any(mark.upright for mark in marks)
    y = Scale(low, high, HEIGHT - BOTTOM - 4, top + 4, log)
    drawn = [_frame(x, y, across, up, whole), *(_mark(mark, x, y, top) for mark in marks)]
    points: list[Point] = []
    for order, one in enumerate(series):
        places = [(x(a), y(b)) for a, b in zip(one.x, one.y, strict=True)]
        drawn.append(_curve(places, order, area, y(low)))
        if one.bars:
            drawn += [
                tag("path", d=f"M{x(a)} {y(b - bar)}V{y(b + bar)}", class_=f"s{order} line bar")
                for a, b, bar in zip(one.x, one.y, one.bars, strict=True)
            ]
        said = f"{one.name}: " if legend else ""
        points += [
            (*place, f"{across} {number(a)}: {said}{number(b)}")
            for place, a, b in zip(places, one.x, one.y, strict=True)
        ]
    drawn.append(_legend(legend))
    return svg(WIDTH, HEIGHT, label, drawn, sorted(points))


def bar_chart(
    names: Sequence[str], values: Sequence[float], label: str, across: str, write: Callable[[float], str], most: float
) -> Markup:
    """Return bars that lie, from 0 to at most so much, with a name before and a figure behind each."""
    longest = max((len(name) for name in names), default=0)
    left = min(40 + 0.35 * WIDTH, 16 + 7.2 * min(longest, 24))
    line, top = 22, 6
    height = top + line * len(names) + 30
    x = Scale(0, most, left, WIDTH - 62)
    drawn, points = [], []
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        y = top + line * place
        end = x(value)
        shown = name if len(name) <= 24 else f"{name[:23]}…"
        drawn += [
            tag("text", shown, x=left - 8, y=y + 15, class_="end"),
            tag("rect", x=left, y=y + 3, width=max(round(end - left, 1), 0.5), height=line - 7, rx=2, class_="s0 fill"),
            tag("text", write(value), x=end + 6, y=y + 15),
        ]
        points.append((end, float(y + line / 2), f"{name}: {write(value)}"))
    drawn.append(tag("text", across, x=(left + WIDTH - 62) / 2, y=height - 8, class_="middle soft"))
    return svg(WIDTH, height, label, drawn, points, lying=True)


def histogram(
    edges: Sequence[float], counts: Sequence[int], label: str, across: str, marks: Sequence[Mark] = ()
) -> Markup:
    """Return bars that stand, one from each edge to the next."""
    if not sum(counts):
        return empty_chart(label)
    x = Scale(edges[0], edges[-1], LEFT + 6, WIDTH - RIGHT - 6)
    top = TOP + 12 * bool(marks)
    y = Scale(0, max(counts), HEIGHT - BOTTOM, top + 4)
    drawn = [_frame(x, y, across, "how many", whole=False)]
    points = []
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        start, stop, height = x(low), x(high), y(count)
        size = round(HEIGHT - BOTTOM - height, 1)
        drawn.append(
            tag("rect", x=start, y=height, width=max(round(stop - start - 1, 1), 0.5), height=size, class_="s0 fill")
        )
        points.append(((start + stop) / 2, height, f"{number(low)} to {number(high)}: {count:,}"))
    drawn += [_mark(mark, x, y, top) for mark in marks]
    return svg(WIDTH, HEIGHT, label, drawn, points)


def small_curve(values: Sequence[float], label: str, order: int = 0) -> Markup:
    """Return a filled curve without axes."""
    most = max([*values, 1e-300])
    x, y = Scale(0, max(len(values) - 1, 1), 2, 298), Scale(0, most, 88, 4)
    places = [(x(place), y(value)) for place, value in enumerate(values)]
    base = tag("path", d="M2 88.5H298", class_="axis")
    return svg(300, 92, label, [base, _curve(places, order, True, 88)])


def svg(
    width: float,
    height: float,
    label: str,
    drawn: Sequence[Markup],
    points: Sequence[Point] = (),
    *,
    lying: bool = False,
) -> Markup:
    """Return an element that scales to the page; `lying` says that its points follow from top to bottom."""
    told = [[round(a, 1), round(b, 1), words] for a, b, words in points]
    return tag(
        "svg",
        *drawn,
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_label=label,
        data_points=json.dumps(told, ensure_ascii=False) if told else None,
        data_lying=lying,
        class_="chart",
    )


def empty_chart(label: str) -> Markup:
    """Return a chart that says that there is nothing to show."""
    return svg(WIDTH, 80, label, [tag("text", "nothing to show", x=WIDTH / 2, y=44, class_="middle soft")])


def _thinned(one: Series, log: bool) -> Series:
    """Return a curve of what can be drawn, with no more points than a chart has, the first and the last among them."""
    kept = [i for i, y in enumerate(one.y) if y is not None and math.isfinite(y) and (y > 0 or not log)]
    if len(kept) > POINTS:
        kept = [kept[i] for i in np.unique(np.linspace(0, len(kept) - 1, POINTS).round().astype(int))]
    bars = None if one.bars is None else [one.bars[i] or 0.0 for i in kept]
    return Series(one.name, [float(one.x[i]) for i in kept], [float(one.y[i]) for i in kept], bars)


def _curve(places: Sequence[tuple[float, float]], order: int, area: bool, base: float) -> Markup:
    if not places:
        return Markup()
    path = "M" + "L".join(f"{a:g} {b:g}" for a, b in places)
    parts = []
    if area:
        closed = f"{path}L{places[-1][0]:g} {base:g}L{places[0][0]:g} {base:g}Z"
        parts.append(tag("path", d=closed, class_=f"s{order % 6} fill faint"))
    parts.append(tag("path", d=path, class_=f"s{order % 6} line"))
    if len(places) <= 40 and not area:
        parts += [tag("circle", cx=a, cy=b, r=3, class_=f"s{order % 6} fill") for a, b in places]
    return join(parts)


def _frame(x: Scale, y: Scale, across: str, up: str, whole: bool) -> Markup:
    bottom = HEIGHT - BOTTOM
    parts = []
    ticks = y.ticks()
    for value, words in zip(ticks, labels(ticks), strict=True):
        place = y(value)
        parts += [
            tag("path", d=f"M{LEFT} {place}H{WIDTH - RIGHT}", class_="grid"),
            tag("text", words, x=LEFT - 7, y=place + 4, class_="end"),
        ]
    ticks = x.ticks(6, whole)
    for value, words in zip(ticks, labels(ticks), strict=True):
        parts.append(tag("text", words, x=x(value), y=bottom + 17, class_="middle"))
    parts += [
        tag("path", d=f"M{LEFT} {bottom}H{WIDTH - RIGHT}", class_="axis"),
        tag("text", across, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 7, class_="middle soft"),
    ]
    middle = (TOP + bottom) / 2
    parts.append(tag("text", up, x=0, y=0, transform=f"translate(11 {middle}) rotate(-90)", class_="middle soft"))
    return join(parts)


def _mark(mark: Mark, x: Scale, y: Scale, top: float) -> Markup:
    if mark.upright:
        place = x(mark.at)
        words = tag("text", mark.words, x=min(max(place, LEFT + 30), WIDTH - 40), y=top - 4, class_="middle mark")
        return join([tag("path", d=f"M{place} {top}V{HEIGHT - BOTTOM}", class_="dash"), words])
    place = y(mark.at)
    # At the left: curves come near what they are to reach at their right end.
    words = tag("text", mark.words, x=LEFT + 8, y=place - 5, class_="mark")
    return join([tag("path", d=f"M{LEFT} {place}H{WIDTH - RIGHT}", class_="dash"), words])


def _legend(names: Sequence[str]) -> Markup:
    parts, x = [], float(LEFT + 8)
    for order, name in enumerate(names):
        parts += [
            tag("rect", x=x, y=0, width=10, height=10, rx=2, class_=f"s{order} fill"),
            tag("text", name, x=x + 14, y=10),
        ]
        x += 14 + 8.5 * len(name) + 16
    return join(parts)
