"""The commands beside runs: what components are made of, factors for other programs, and the choice of a rank."""

import dataclasses
import json
from typing import Any, get_args

import click

from dnmf import api
from dnmf.cli.options import HELP, cluster_options, run_options
from dnmf.cli.terminal import chosen_cluster, say, show_components, show_survey, stoppable, watching
from dnmf.exports import factors
from dnmf.exports.factors import Format
from dnmf.report import write_report
from dnmf.run.stored import whole_checkpoint
from dnmf.sources.base import Axis
from dnmf.survey.api import select_rank


@click.command()
@click.argument("store")
@click.option("-n", type=click.IntRange(min=1), default=10, show_default=True, help="Features of each component.")
@click.option(
    "--axis",
    type=click.Choice(get_args(Axis)),
    help="Where the features are; by default columns, but for a run whose rows alone have names.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a component.")
def top(store: str, n: int, axis: Axis | None, as_json: bool) -> None:
    """Show the strongest features of the components in STORE.

    Beside a component is its share, the part of the sum of WH that it carries, and beside a feature the part of its
    component's sum that the feature has: neither depends on the scale that W and H share.
    """
    components = whole_checkpoint(lambda: api.load(store).components(n, axis))
    if as_json:
        for component in components:
            click.echo(json.dumps(dataclasses.asdict(component), allow_nan=False))
    else:
        show_components(components)


@click.command()
@click.argument("store")
@click.option("--out", required=True, help="The folder of two tables, or the .h5ad file, to be written.")
@click.option("--format", type=click.Choice(get_args(Format)), help="By default h5ad where --out ends so, else csv.")
@click.option("--overwrite", is_flag=True, help="Replace what an export has written there before.")
def export(store: str, out: str, format: Format | None, overwrite: bool) -> None:
    """Write the factors in STORE for other programs.

    They go with the names of rows and columns. csv and parquet make a folder of two tables: W has a line for each row
    of the matrix, and H, transposed, one for each column. h5ad makes an AnnData with W in obsm and H in varm.
    """
    say(f"The factors are in {factors.export(store, out, format=format, overwrite=overwrite)}.")


class Ranks(click.ParamType):  # type: ignore[type-arg]  # it takes none before click 8.4
    """Ranks as a text: `2:30` with both ends, `2:30:4` in steps, `2,4,8`."""

    name = "ranks"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Return the ranks."""
        try:
            if ":" in value:
                first, last, *step = (int(part) for part in value.split(":"))
                ranks = list(range(first, last + 1, *step))
            else:
                ranks = [int(part) for part in value.split(",")]
        except (TypeError, ValueError):
            ranks = []
        if not ranks:
            self.fail(f"{value!r} names no ranks; give them as 2:30, as 2:30:4, or as 2,4,8.", param, ctx)
        return ranks


@click.command()
@click.argument("matrix")
@click.option("--ranks", type=Ranks(), required=True, help="The ranks to try: 2:30, 2:30:4 or 2,4,8.")
@click.option("--runs", "n_runs", type=int, default=10, show_default=True, help="Random starts of every rank.")
@click.option("--cv", type=int, default=5, show_default=True, help="Folds that are held out; 0 for none.")
@click.option("--holdout", default="auto", show_default=True, help="What is held out: bicross, speckled or auto.")
@click.option("--store", help="Where the survey is kept, so that it goes on there after a stop.")
@click.option("--overwrite", is_flag=True, help="Start anew in a store that exists.")
@click.option("--weights", help="Weights of the entries: whatever MATRIX may be, cut like it.")
@run_options(tuple(name for name in HELP if name not in ("n_runs", "max_seconds")))
@cluster_options
def rank(matrix: str, store: str | None, as_json: bool, where: dict[str, Any], **given: Any) -> None:
    """Choose the rank of MATRIX in a handful of reads.

    Many ranks, starts and folds are fitted side by side, and measured on the same reads.
    """
    options = {name: value for name, value in given.items() if value is not None}
    with stoppable(store, survey=True) as cancel, watching(as_json) as watchers, chosen_cluster(**where) as client:
        survey = select_rank(matrix, store=store, watchers=watchers, cancel=cancel, client=client, **options)
    if as_json:
        columns = survey.table()
        for index in range(len(survey.ranks)):
            click.echo(json.dumps({name: column[index] for name, column in columns.items()}, allow_nan=False))
        click.echo(json.dumps({"suggested": survey.suggest().rank, "reason": str(survey.suggest())}))
    else:
        show_survey(survey)


@click.command()
@click.argument("store")
@click.option("-o", "--output", "path", required=True, help="The page, an HTML file.")
@click.option("--shape", help="Show components as images, as 28x28, or 16x16x3 with colours.")
@click.option("--axis", type=click.Choice(get_args(Axis)), help="Where the features are; see dnmf top.")
@click.option("-n", type=click.IntRange(1, 50), default=8, show_default=True, help="Features of each component.")
@click.option("--residuals/--no-residuals", default=True, help="Read the matrix once, for residuals by row and column.")
@click.option("--matrix", help="The matrix, if it is not where it was.")
@click.option("--weights", help="Its weights, if they are not where they were.")
@click.option("--title", help="Of the page.")
@click.option("--overwrite", is_flag=True, help="Write a page anew.")
@click.option("--memory-limit", help=HELP["memory_limit"])
@click.option("--threads", type=int, help=HELP["threads"])
@cluster_options
def report(store: str, path: str, shape: str | None, matrix: str | None, where: dict[str, Any], **options: Any) -> None:
    """Write a page about the run, or survey of ranks, in STORE.

    It is one HTML file, to be read in any browser, and shows what was run, loss and optimality by pass, time and bytes,
    the components and how much each contributes, their sparsity, residuals by row and by column, the checkpoints, and
    how to resume or repeat the run.
    """
    sizes = None if shape is None else parse_shape(shape)
    with watching(False) as watchers, chosen_cluster(**where) as client:
        written = write_report(store, path, matrix, shape=sizes, watchers=watchers, client=client, **options)
    say(f"The report is {written}.")


def parse_shape(text: str) -> tuple[int, ...]:
    """Return the shape that a text names.

    >>> parse_shape("16x16x3")
    (16, 16, 3)
    """
    try:
        return tuple(int(part) for part in text.lower().replace("×", "x").split("x"))
    except ValueError:
        raise click.BadParameter(f"{text!r} names no shape; give rows and columns, as 28x28, or 16x16x3.") from None
