"""The sections on what a run found: its components, how much each carries, how sparse they are, and what is left."""

from functools import partial

import numpy as np

from dnmf.inspection.html import Markup, join, tag
from dnmf.inspection.numbers import number, percent, shortened
from dnmf.inspection.profiles import Runs
from dnmf.inspection.summary import POINTS, image
from dnmf.report.charts import Mark, Series, bar_chart, histogram, line_chart, small_curve
from dnmf.report.facts import Account, in_runs
from dnmf.report.images import picture
from dnmf.report.page import Section, figure, more, note, paragraphs, table
from dnmf.run.residuals import Residuals, Spread, Tops, relative
from dnmf.sources.base import Axis

# Up to so many components are told by a bar each, more by a curve.
BARS = 24


def components(account: Account) -> Section:
    """Show the components along the features, and where they are at work along the other axis."""
    shown = [account.components[k] for k in account.kept]
    draw = {"images": _image, "names": _tops, "curves": _curve}[account.look]
    heads = [tag("h3", one.name, tag("span", percent(one.share))) for one in shown]
    cards = [
        figure(one.name, join([head, draw(account, k)]))
        for one, head, k in zip(shown, heads, account.kept, strict=True)
    ]
    parts = [paragraphs(_introduction(account))]
    parts.append(tag("div", *cards, class_="parts tight" if account.look == "images" else "parts"))
    parts.append(_activity(account))
    return Section("components", "Components", join(parts))


def _introduction(account: Account) -> str:
    count, axis = len(account.kept), account.features
    which = "The components" if count == account.rank else f"The {count} of {account.rank} components that carry most"
    size = account.along[axis].size
    if account.look == "images":
        how = "as images, each to its own scale"
        how += ", made smaller by means" if account.smaller else ""
    elif account.look == "names":
        how = f"by their strongest {axis}; beside each, the part of the component's sum that it has"
    else:
        runs = f", the largest entry of every run of up to {Runs(size, POINTS).longest:,}" if in_runs(size) else ""
        how = f"as curves over the {size:,} {axis}{runs}, each to its own scale"
    return f"{which}, {how}. The percentage is the part of WH that a component carries."


def _image(account: Account, k: int) -> Markup:
    assert account.shape is not None
    values = image(account.along[account.features].means[k], account.shape, account.side)
    return picture(values, f"Component {account.components[k].name} as an image")


def _curve(account: Account, k: int) -> Markup:
    one = account.components[k]
    values = account.along[account.features].most[k]
    places = ", ".join(account.name(account.features, int(place)) for place, _ in one.top[:3])
    words = tag("figcaption", f"strongest: {places}" if places else "0 everywhere")
    return join([small_curve(values.tolist(), f"{one.name} over the {account.features}", k % 6), words])


def _tops(account: Account, k: int) -> Markup:
    one = account.components[k]
    if not one.top:
        return note("No feature is above 0.")
    most = one.top[0][1]
    rows = []
    for name, weight in one.top:
        told = account.name(account.features, name) if isinstance(name, int) else name
        bar = tag("rect", width=f"{100 * weight / most:.1f}%", height=9, rx=2, class_=f"s{k % 6} fill")
        drawn = tag("svg", bar, aria_hidden="true", height=9)
        value = tag("td", percent(weight), data_value=repr(float(weight)))
        rows.append(tag("tr", tag("th", shortened(told), scope="row", title=shortened(told)), tag("td", drawn), value))
    caption = tag("caption", f"Strongest {account.features} of {one.name}", hidden=True)
    return tag("table", caption, tag("tbody", *rows), class_="tops")


def _activity(account: Account) -> Markup:
    """Show where along the other axis the components are at work."""
    axis = account.others
    means = account.along[axis].means[account.kept]
    tops = means.max(axis=1, keepdims=True)
    alt = f"Heat map: {len(account.kept)} components from top to bottom, {axis} from left to right"
    heat = tag("div", picture(means / np.where(tops > 0, tops, 1), alt, 1.0), class_="heat")
    size = account.along[axis].size
    runs = f" in runs of up to {Runs(size, POINTS).longest:,}, by the mean" if in_runs(size) else ""
    first, last = account.components[account.kept[0]].name, account.components[account.kept[-1]].name
    caption = (
        f"From left to right the {size:,} {axis}{runs}; from top to bottom {first} to {last}, each from 0 to its own "
        "largest."
    )
    return figure("activity", join([heat, legend("0", "most")]), caption, f"Where along the {axis} they are at work")


def legend(low: str, high: str) -> Markup:
    """Return the colours of a heat map from the lowest to the highest."""
    steps = np.linspace(0, 1, 64)[None, :]
    return tag("div", low, picture(steps, "", 1.0), high, class_="scale")


def contribution(account: Account) -> Section:
    """Show how much of WH each component carries."""
    shares = np.array([one.share for one in account.components])
    order = np.argsort(-shares, kind="stable")
    total = np.cumsum(shares[order])
    need = min(int(np.searchsorted(total, 0.9 - 1e-12)) + 1, account.rank)
    label, values, across = "Share of WH by component", shares[order].tolist(), "part of the sum of WH"
    if account.rank <= BARS:
        names = [account.components[k].name for k in order]
        bars = bar_chart(names, values, label, across, percent, float(shares.max()))
    else:
        bars = line_chart(
            [Series(across, list(range(1, account.rank + 1)), values)], label, "from the largest on", across, area=True
        )
    together = line_chart(
        [Series("share", list(range(1, account.rank + 1)), total.tolist())],
        "Share of the largest components together",
        "components",
        "share",
        marks=[Mark(0.9, "90 %")],
    )
    words = (
        f"A share is the part of the sum of all entries of WH that a component carries; it does not depend on the "
        f"scale that W and H share. {need} of {account.rank} carry 90 %."
    )
    charts = [
        figure("contribution", bars, title="Share"),
        figure("cumulated-share", together, title="The largest together"),
    ]
    return Section(
        "contribution", "How much each contributes", join([paragraphs(words), tag("div", *charts, class_="grid")])
    )


def sparsity(account: Account) -> Section:
    """Show how sparse the factors are, component by component."""
    factors: dict[str, Axis] = {"W": "rows", "H": "columns"}
    names = [account.components[k].name for k in account.kept]
    charts, columns = [], [[(percent(account.components[k].share), account.components[k].share) for k in account.kept]]
    for factor, axis in factors.items():
        found = account.along[axis]
        values = found.sparsity[account.kept].tolist()
        label, across = f"Sparsity of {factor} by component", "Hoyer's sparsity"
        if len(names) <= BARS:
            bars = bar_chart(names, values, label, across, partial(number, digits=3), 1.0)
        else:
            numbers = [k + 1 for k in account.kept]
            bars = line_chart([Series(across, numbers, values)], label, "component", across, area=True)
        charts.append(figure(f"sparsity-{factor}", bars, title=f"{factor}, along the {axis}"))
        zeros = 1 - found.nonzero[account.kept] / found.size
        columns += [[(number(value), value) for value in values], [(percent(part), float(part)) for part in zeros]]
    heads = ("component", "share", "sparsity of W", "zeros in W", "sparsity of H", "zeros in H")
    rows = [(name, *cells) for name, *cells in zip(names, *columns, strict=True)]
    words = "Hoyer's measure: 0 where all entries of a component are the same, 1 where one alone is not 0."
    listed = more("As a table", figure("components", table("Components", heads, rows)))
    return Section("sparsity", "Sparsity", join([paragraphs(words), tag("div", *charts, class_="grid"), listed]))


def residuals(account: Account) -> Section:
    """Show what is left of V, by row and by column."""
    title, found = "Residuals by row and by column", account.residuals
    if isinstance(found, str):
        return Section("residuals", title, note(found))
    beta = account.result.settings.beta
    measure = "‖v − y‖ / ‖v‖" if beta == 2 else "D(v, y) / Σ v^β"
    words = (
        f"V was read once and compared with WH. For a row or a column v with the model's y, the relative residual is "
        f"{measure}; of all of V it is {number(found.relative)}."
    )
    axes: tuple[tuple[Axis, Spread], ...] = (("rows", found.rows), ("columns", found.columns))
    parts = [paragraphs(words), *[_along(account, axis, spread, found) for axis, spread in axes]]
    return Section("residuals", title, join(parts))


def _along(account: Account, axis: Axis, spread: Spread, found: Residuals) -> Markup:
    values = spread.along
    place = [round((k + 0.5) * spread.runs.size / spread.runs.count - 0.5) for k in range(len(values))]
    grouped = spread.runs.longest > 1
    chart = line_chart(
        [Series(axis, place, values.tolist())], f"Relative residual along the {axis}", axis[:-1], "relative residual"
    )
    middle, most = spread.quantile(0.5), spread.quantile(0.9)
    runs = f" The curve shows them in runs of up to {spread.runs.longest:,}." if grouped else ""
    empty = f" {spread.empty:,} {axis} are 0 throughout and not counted." if spread.empty else ""
    words = f"Half of the {axis} are below {number(middle)}, nine tenths below {number(most)}.{runs}{empty}"
    edges, counts = spread.histogram()
    marks = [Mark(middle, "median", upright=True)] if np.isfinite(middle) else []
    bars = histogram(edges, counts, f"Distribution of the relative residual of the {axis}", "relative residual", marks)
    charts = [
        figure(f"residuals-{axis}", chart, title=f"Along the {axis}"),
        figure(f"residuals-{axis}-spread", bars, title="How they are spread"),
    ]
    worst = _named(account, axis, spread.worst, found, f"The worst {axis}", f"worst-{axis}")
    heaviest = _named(account, axis, spread.heaviest, found, f"The {axis} with most of the loss", f"heaviest-{axis}")
    return join(
        [
            tag("h3", axis.capitalize()),
            paragraphs(words),
            tag("div", *charts, class_="grid"),
            tag("div", worst, heaviest, class_="grid"),
        ]
    )


def _named(account: Account, axis: Axis, tops: Tops, found: Residuals, caption: str, name: str) -> Markup:
    whole = float(found.total[0]) or 1.0
    rows = [
        (account.name(axis, int(k)), (number(size), float(size)), (percent(part / whole), float(part / whole)))
        for k, size, part in zip(tops.places, relative(tops.found, found.rows.beta), tops.found[0], strict=True)
    ]
    return figure(name, table(caption, (axis[:-1], "relative residual", "part of the loss"), rows))
