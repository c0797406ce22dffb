"""Tables on stdout: the components of a result, and the figures of a survey."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dnmf.inspection.components import Component
from dnmf.inspection.numbers import percent, shortened
from dnmf.survey import RankSurvey
from dnmf.survey.criteria import HEADS, figure

# Columns of a survey that a narrow terminal omits, in this order.
OPTIONAL = ("dispersion", "sparsity_W", "sparsity_H", "loss", "passes", "seconds", "cophenetic", "mae", "held_out_se")


def show_components(components: Sequence[Component]) -> None:
    """Print the strongest features of components on stdout: a table on a terminal, else a line for each."""
    console = Console()
    if not console.is_terminal:
        for component in components:
            line = ", ".join(f"{name} {weight}" for name, weight in features_of(component))
            text = Text(f"{component.name}  {percent(component.share)}  {line}")
            console.print(text, highlight=False, soft_wrap=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("component", style="bold", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("strongest features, each with its part of the component")
    for component in components:
        features = [
            Text.assemble(shortened(name, 40), (f" {weight}", "dim"), no_wrap=True, overflow="ellipsis")
            for name, weight in features_of(component)
        ]
        table.add_row(component.name, percent(component.share), Columns(features or ["none above 0"], padding=(0, 2)))
    console.print(table)


def features_of(component: Component) -> list[tuple[str, str]]:
    """Return names and weights of the features of a component, with control characters escaped."""
    return [
        (f"#{name}" if isinstance(name, int) else printable(name), percent(weight)) for name, weight in component.top
    ]


def printable(name: str) -> str:
    r"""Return a name with control characters escaped.

    >>> print(printable("CD3\x1b[2J é"))
    CD3\x1b[2J é
    """
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)


def fitting(cells: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """Return the names of the columns of a survey that fit into the width of a terminal.

    >>> fitting({"rank": ["2"], "relative_error": ["0.25"], "loss": ["17.5"], "dispersion": ["1"]}, 20)
    ['rank', 'relative_error', 'loss']
    """
    shown = {name: max(len(HEADS[name]), *map(len, column)) + 2 for name, column in cells.items()}
    for name in OPTIONAL:
        if sum(shown.values()) > width and (name != "loss" or "relative_error" in shown):
            shown.pop(name, None)
    return list(shown)


def show_survey(survey: RankSurvey) -> None:
    """Print the figures of a survey for every rank, and the suggested rank."""
    console = Console()
    if not console.is_terminal:
        print(survey)
        return
    figures, found = survey.table(), survey.suggest()
    known = [name for name in HEADS if any(value is not None for value in figures[name])]
    cells = {name: [figure(value) for value in figures[name]] for name in known}
    shown = fitting(cells, console.width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in shown:
        table.add_column(HEADS[name], justify="right", no_wrap=True)
    for index, rank in enumerate(survey.ranks):
        style = "bold green" if rank == found.rank else ""
        table.add_row(*(cells[name][index] for name in shown), style=style)
    console.print(table)
    if omitted := [HEADS[name] for name in known if name not in shown]:
        text = f"A wider terminal also shows {', '.join(omitted)}; --json shows everything."
        console.print(Text(text, style="dim"))
    console.print(Text(str(found)))
    console.print(Text(f"{survey.passes} passes, {survey.seconds:.1f} s.", style="dim"))
