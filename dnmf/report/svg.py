"""Draw charts as SVG whose colours are classes of the page, so that they follow light and dark.

Every drawing describes itself in `aria-label`. The attribute `data-points` lists the place and the text of its points,
which the script of the page shows for a mouse, a finger or the arrow keys.
"""

import functools
import json
import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from dnmf.errors import seen
from dnmf.inspection.charts import MARKED, BarChart, Chart, HeatMap, Histogram, LineChart, Mark, Series, SilhouetteChart
from dnmf.inspection.numbers import labels, number
from dnmf.report.images import picture, smaller

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 78, 14, 14, 42
# The most points of a curve, lines of a heat map, clusters of silhouettes, and bars of a cluster.
POINTS, LINES, CLUSTERS, BARS = 300, 240, 40, 50
# Width of a character, and the longest name of a bar.
CHARACTER, LONGEST = 7.2, 24


class Scale:
    """Map values to pixels, linearly or by their logarithms."""

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
        """Return the values at which the axis is labelled."""
        if self.log and self.high - self.low >= 1:
            step = max(1, math.ceil((self.high - self.low) / most))
            return [10.0**power for power in range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1, step)]
        low, high = (10**self.low, 10**self.high) if self.log else (self.low, self.high)
        return round_numbers(low, high, most, whole)


def round_numbers(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Return about `most` round numbers from low to high.

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


class Drawing:
    """The shapes of an SVG element, and its points for readers."""

    def __init__(self, left: float = LEFT) -> None:
        self.left = left
        self.shapes: list[Markup] = []
        self.points: list[tuple[float, float, str]] = []

    def path(self, d: str, css: str) -> None:
        """Add a path."""
        self.shapes.append(Markup('<path d="{}" class="{}"/>').format(d, css))

    def text(self, text: str, x: float, y: float, css: str = "start") -> None:
        """Add a text."""
        self.shapes.append(Markup('<text x="{}" y="{}" class="{}">{}</text>').format(x, y, css, seen(text)))

    def rect(self, x: float, y: float, width: float, height: float, css: str) -> None:
        """Add a bar."""
        shape = Markup('<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" rx="2" class="{} fill"/>')
        self.shapes.append(shape.format(x, y, round(width, 1), round(height, 2), css))

    def point(self, x: float, y: float, text: str) -> None:
        """Add a point that readers can step to."""
        self.points.append((round(x, 1), round(y, 1), text))

    def svg(self, height: float, label: str, width: float = WIDTH, rows: bool = False) -> Markup:
        """Return the element; `rows` says that its points follow from top to bottom."""
        points = Markup(' data-points="{}"').format(json.dumps(self.points, ensure_ascii=False)) if self.points else ""
        return Markup('<svg viewBox="0 0 {:g} {:g}" role="img" aria-label="{}"{}{} class="chart">{}</svg>').format(
            width, height, seen(label), points, Markup(" data-rows") if rows else "", Markup().join(self.shapes)
        )

    def frame(self, x: Scale, y: Scale, chart: Chart, whole: bool) -> None:
        """Add the axes with their ticks and labels."""
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        ticks = y.ticks()
        for value, text in zip(ticks, labels(ticks), strict=True):
            self.path(f"M{self.left} {y(value)}H{right}", "grid")
            self.text(text, self.left - 7, y(value) + 4, "end")
        ticks = x.ticks(6, whole)
        for value, text in zip(ticks, labels(ticks), strict=True):
            self.text(text, x(value), bottom + 17, "middle")
        self.path(f"M{self.left} {bottom}H{right}", "axis")
        self.text(chart.xlabel, (self.left + right) / 2, HEIGHT - 7, "middle soft")
        turned = Markup('<text transform="translate(11 {}) rotate(-90)" class="middle soft">{}</text>')
        self.shapes.append(turned.format((TOP + bottom) / 2, chart.ylabel))

    def mark(self, mark: Mark, x: Scale, y: Scale, top: float) -> None:
        """Add a dashed line with its label."""
        if mark.vertical:
            half = len(mark.label) * CHARACTER / 2
            self.path(f"M{x(mark.at)} {top}V{HEIGHT - BOTTOM}", "dash")
            self.text(mark.label, min(max(x(mark.at), self.left + half), WIDTH - half), top - 4, "middle mark")
            return
        self.path(f"M{self.left} {y(mark.at)}H{WIDTH - RIGHT}", "dash")
        # At the left: curves come near the values they are to reach at their right end.
        self.text(mark.label, self.left + 8, y(mark.at) - 5, "mark")

    def curve(self, places: Sequence[tuple[float, float]], colour: int, base: float | None) -> None:
        """Add a curve, with the area down to `base` or, without one, with few points marked."""
        if not places:
            return
        css, path = f"s{colour % 6}", "M" + "L".join(f"{a:g} {b:g}" for a, b in places)
        if base is not None:
            self.path(f"{path}L{places[-1][0]:g} {base:g}L{places[0][0]:g} {base:g}Z", f"{css} fill faint")
        self.path(path, f"{css} line")
        if base is None and len(places) <= MARKED:
            self.shapes += [Markup('<circle cx="{}" cy="{}" r="3" class="{} fill"/>').format(*at, css) for at in places]

    def legend(self, names: Sequence[str]) -> None:
        """Add the names of curves above the chart."""
        x = float(self.left + 8)
        for colour, name in enumerate(names):
            self.rect(x, 0, 10, 10, f"s{colour}")
            self.text(name, round(x + 14, 1), 10)
            x += 30 + 8.5 * len(name)


def left_of(y: Scale) -> float:
    """Return the place of a vertical axis that leaves room for its label and the widest number next to it."""
    return max(LEFT, 32 + CHARACTER * max(map(len, labels(y.ticks())), default=0))


@functools.singledispatch
def draw(chart: Chart) -> Markup:
    """Return a chart as an element of a page."""
    raise TypeError(f"{type(chart).__name__} cannot be drawn")


@draw.register
def _line_chart(chart: LineChart) -> Markup:
    series = [_drawable(one, chart.log) for one in chart.series]
    xs = [x for one in series for x in one.x] + [mark.at for mark in chart.marks if mark.vertical]
    ys = [y for one in series for y in one.y] + [mark.at for mark in chart.marks if not mark.vertical]
    ys += [y + sign * error for one in series for _, y, error in _bars(one) for sign in (-1, 1)]
    if not xs or not ys:
        return _empty(chart)
    names = [one.name for one in series] if len(series) > 1 else []
    top = TOP + 18 * bool(names) + 12 * any(mark.vertical for mark in chart.marks)
    low = min(0.0, *ys) if chart.filled else min(ys)
    y = Scale(low, max(ys), HEIGHT - BOTTOM - 4, top + 4, chart.log)
    drawing = Drawing(left_of(y))
    x = Scale(min(xs), max(xs), drawing.left + 6, WIDTH - RIGHT - 6)
    drawing.frame(x, y, chart, chart.whole)
    for mark in chart.marks:
        drawing.mark(mark, x, y, top)
    for colour, one in enumerate(series):
        prefix, places = f"{one.name}: " if names else "", [(x(a), y(b)) for a, b in zip(one.x, one.y, strict=True)]
        drawing.curve(places, colour, y(low) if chart.filled else None)
        for a, b, error in _bars(one):
            drawing.path(f"M{x(a)} {y(b - error)}V{y(b + error)}", f"s{colour} line bar")
        for place, a, b in zip(places, one.x, one.y, strict=True):
            drawing.point(*place, f"{chart.xlabel} {number(a)}: {prefix}{number(b)}")
    drawing.points.sort()
    drawing.legend(names)
    return drawing.svg(HEIGHT, chart.alt)


def _bars(series: Series) -> list[tuple[float, float, float]]:
    """Return the points of a curve with the half lengths of their error bars."""
    return [] if series.errors is None else list(zip(series.x, series.y, series.errors, strict=True))


def _drawable(series: Series, log: bool) -> Series:
    """Return the points of a curve that can be drawn, a part of them where there are many."""
    kept = [i for i, y in enumerate(series.y) if math.isfinite(y) and (y > 0 or not log)]
    kept = [kept[place] for place in _thin(len(kept), POINTS)] if kept else []
    errors = None if series.errors is None else [series.errors[i] for i in kept]
    return Series(series.name, [float(series.x[i]) for i in kept], [float(series.y[i]) for i in kept], errors)


@draw.register
def _bar_chart(chart: BarChart) -> Markup:
    left = min(40 + 0.35 * WIDTH, 16 + CHARACTER * min(max(map(len, chart.names), default=0), LONGEST))
    line, top = 22, 6
    height = top + line * len(chart.names) + 30
    x = Scale(0, chart.most, left, WIDTH - 62)
    drawing = Drawing()
    for place, (name, value, text) in enumerate(zip(chart.names, chart.values, chart.texts, strict=True)):
        y, end = top + line * place, x(value)
        drawing.text(name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…", left - 8, y + 15, "end")
        drawing.rect(left, y + 3, max(end - left, 0.5), line - 7, "s0")
        drawing.text(text, end + 6, y + 15)
        drawing.point(end, y + line / 2, f"{name}: {text}")
    drawing.text(chart.xlabel, (left + WIDTH - 62) / 2, height - 8, "middle soft")
    return drawing.svg(height, chart.alt, rows=True)


@draw.register
def _histogram(chart: Histogram) -> Markup:
    if not sum(chart.counts):
        return _empty(chart)
    top, bottom = TOP + 12 * bool(chart.marks), HEIGHT - BOTTOM
    y = Scale(0, max(chart.counts), bottom, top + 4)
    drawing = Drawing(left_of(y))
    x = Scale(chart.edges[0], chart.edges[-1], drawing.left + 6, WIDTH - RIGHT - 6)
    drawing.frame(x, y, chart, whole=False)
    for low, high, count in zip(chart.edges[:-1], chart.edges[1:], chart.counts, strict=True):
        drawing.rect(x(low), y(count), max(x(high) - x(low) - 1, 0.5), bottom - y(count), "s0")
        drawing.point((x(low) + x(high)) / 2, y(count), f"{number(low)} to {number(high)}: {count:,}")
    for mark in chart.marks:
        drawing.mark(mark, x, y, top)
    return drawing.svg(HEIGHT, chart.alt)


@draw.register
def _silhouettes(chart: SilhouetteChart) -> Markup:
    clusters = [values[_thin(len(values), BARS)].tolist() for values in chart.clusters[:CLUSTERS]]
    if not clusters or chart.mean is None:
        return _empty(chart)
    bar = float(np.clip(260 / (len(clusters) * (max(map(len, clusters)) + 1)), 1.2, 12))
    x = Scale(min(0.0, *(values[-1] for values in clusters)), 1.0, 44, WIDTH - 16)
    drawing, y = Drawing(), 26.0
    for colour, (name, values) in enumerate(zip(chart.names, clusters, strict=False)):
        drawing.text(name, 34, round(y + bar * len(values) / 2 + 4, 1), "end")
        for value in values:
            start, stop = sorted((x(0), x(value)))
            drawing.rect(start, round(y, 1), max(stop - start, 0.5), bar * 0.9, f"s{colour % 6}")
            drawing.point(stop, y + bar / 2, f"cluster {name}: {number(value)}")
            y += bar
        y += max(bar, 3)
    y = round(y, 1)
    for value in x.ticks():
        drawing.text(number(value), x(value), y + 16, "middle")
    drawing.path(f"M{x(0)} 20V{y}", "axis")
    drawing.path(f"M{x(chart.mean)} 20V{y}", "dash")
    drawing.text(f"mean {chart.mean:.2f}", x(chart.mean) - 5, 16, "end mark")
    drawing.text(chart.xlabel, WIDTH / 2, y + 36, "middle soft")
    return drawing.svg(round(y + 44), chart.alt, rows=True)


def _thin(count: int, most: int) -> list[int]:
    """Return at most `most` places out of `count`, evenly spaced, with the first and the last."""
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(count, most)).round())]


@draw.register
def _heat_map(chart: HeatMap) -> Markup:
    low, high = chart.ends
    colours = picture(np.linspace(0, 1, 64)[None, :], "", 1.0)
    scale = Markup('<div class="scale">{}{}{}</div>').format(low, colours, high)
    css = "square" if chart.values.shape[0] == chart.values.shape[1] else "heat"
    heat = picture(smaller(chart.values, LINES), chart.alt, 1.0)
    return Markup('<div class="{}">{}</div>{}').format(css, heat, scale)


def small_curve(values: Sequence[float], label: str, colour: int = 0) -> Markup:
    """Return a filled curve without axes."""
    x, y = Scale(0, max(len(values) - 1, 1), 2, 298), Scale(0, max([*values, 1e-300]), 88, 4)
    drawing = Drawing()
    drawing.path("M2 88.5H298", "axis")
    drawing.curve([(x(place), y(value)) for place, value in enumerate(values)], colour, 88)
    return drawing.svg(92, label, width=300)


def _empty(chart: Chart) -> Markup:
    drawing = Drawing()
    drawing.text("nothing to show", WIDTH / 2, 44, "middle soft")
    return drawing.svg(80, chart.alt)
