"""The commands rank, graph-weight, consensus and report."""

import dataclasses
import json
from typing import Any, get_args

import click

import dnmf
from dnmf.choices import DENSITY_THRESHOLD, NEIGHBOURS, Axis
from dnmf.cli.joining import again, matrix_argument, prepared
from dnmf.cli.options import (
    Command,
    PathOrUrl,
    cluster_options,
    data_options,
    given,
    json_option,
    matrix_options,
    moved_matrix,
    option,
    parse_sizes,
    setting_options,
)
from dnmf.cli.streams import notify
from dnmf.cli.terminal import chosen_cluster, print_result, stoppable, watching
from dnmf.settings import OPTIONS


class Ranks(click.ParamType):  # type: ignore[type-arg]  # it takes none before click 8.4
    """Ranks given as text: `2:30` with both ends, `2:30:4` in steps, `2,4,8`."""

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
            self.fail(f"{value!r} is not a list of ranks; give 2:30, 2:30:4 or 2,4,8.", param, ctx)
        return ranks


# Options of a run that a survey does not have.
OF_A_RUN = ("n_runs", "max_seconds", "target_weight", "layer_weights", "layered")
HOLDOUT = "Entries to hold out: bicross, speckled, auto, or a .npy or .npz file of pairs or of a mask."


@click.command(cls=Command)
@matrix_argument()
@click.option("--ranks", type=Ranks(), required=True, help="Ranks to try: 2:30, 2:30:4 or 2,4,8.")
@click.option("--n-runs", "n_runs", type=int, default=10, show_default=True, help="Random starts per rank.")
@click.option("--cv", type=int, default=5, show_default=True, help="Folds to hold out; 0 for none.")
@click.option("--holdout", default="auto", show_default=True, help=HOLDOUT)
@option(
    "--store", type=PathOrUrl(), help="Path or URL of the survey; a stopped survey resumes from there.", group="Store"
)
@option("--overwrite", is_flag=True, help="Replace an existing survey and start a new one.", group="Store")
@matrix_options
@data_options("weights", "graph_W", "graph_H")
@setting_options(*(name for name in OPTIONS if name not in OF_A_RUN))
@json_option("Write one JSON object per pass and per rank to stdout.")
@cluster_options
def rank(
    matrix: Any,
    store: str | None,
    steps: tuple[str, ...],
    samples: Axis | None,
    as_json: bool,
    where: dict[str, Any],
    **options: Any,
) -> None:
    """Choose the rank of MATRIX in a few passes.

    Many ranks, starts and folds are fitted together and share every read of MATRIX.
    """
    unsaved = store is None
    with (
        stoppable(store, replaces=options["overwrite"], survey=True) as cancel,
        watching(as_json, cancel, unsaved) as watchers,
        chosen_cluster(cancel, **where) as client,
    ):
        limit = options["memory_limit"]
        V = prepared(matrix, steps, samples, client=client, memory_limit=limit, cancel=cancel)
        shown: dict[str, Any] = {"watchers": watchers, "progress": False}
        survey = dnmf.select_rank(V, store=store, **shown, cancel=cancel, client=client, **given(options))
    if as_json:
        columns = survey.table()
        for index in range(len(survey.ranks)):
            click.echo(json.dumps({name: column[index] for name, column in columns.items()}, allow_nan=False))
        click.echo(json.dumps({"suggested": survey.suggest().rank, "reason": str(survey.suggest())}))
    else:
        from dnmf.cli.tables import show_survey

        show_survey(survey)


class Weights(click.ParamType):  # type: ignore[type-arg]  # as Ranks
    """Weights given as text: `0,1,3.5`, or with pairs for W and H, `0,1:3`."""

    name = "weights"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[Any]:
        """Return the weights."""
        try:
            pairs = [tuple(float(number) for number in part.split(":")) for part in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of weights; give them as 0,1,3, or 0,1:3 for W and H.", param, ctx)
        return [pair[0] if len(pair) == 1 else pair for pair in pairs]


NOT_OF_WEIGHTS = (*OF_A_RUN, "graph_weight", "init")


@click.command("graph-weight", cls=Command)
@click.argument("matrix", type=PathOrUrl())
@click.option("--rank", type=int, required=True, help="Number of components.")
@click.option(
    "--graph-weights",
    type=Weights(),
    default="0,0.3,1,3,10",
    show_default=True,
    help="Weights to try; with pairs for W and H, as 0,1:3.",
)
@click.option("--cv", type=int, default=3, show_default=True, help="Folds to hold out.")
@option(
    "--store", type=PathOrUrl(), help="Path or URL of the survey; a stopped survey resumes from there.", group="Store"
)
@option(
    "--overwrite", is_flag=True, default=None, help="Replace an existing survey and start a new one.", group="Store"
)
@data_options("graph_W", "graph_H")
@setting_options(*(name for name in OPTIONS if name not in NOT_OF_WEIGHTS))
@json_option("Write one JSON object per pass and per weight to stdout.")
@cluster_options
def graph_weight(matrix: str, rank: int, as_json: bool, where: dict[str, Any], **options: Any) -> None:
    """Choose the weight of a graph by the error held out.

    Some entries of MATRIX are hidden from the models of every weight, which predict them. The models of all weights and
    folds share every read of MATRIX.
    """
    from dnmf.survey.weights import shown_weight

    with watching(as_json) as watchers, chosen_cluster(**where) as client:
        survey = dnmf.select_graph_weight(matrix, rank, watchers=watchers, client=client, **given(options))
    if as_json:
        for row in zip(*survey.table().values(), strict=True):
            click.echo(json.dumps(dict(zip(survey.table(), row, strict=True)), allow_nan=False))
        click.echo(json.dumps({"suggested": survey.suggest()}))
    else:
        click.echo(f"{survey}\nsuggested  {shown_weight(survey.suggest())}")


@click.command(cls=Command)
@click.argument("survey", type=PathOrUrl())
@click.option("--rank", type=int, required=True, help="Rank of the survey.")
@option("--store", type=PathOrUrl(), required=True, help="Path or URL of the store to write.", group="Store")
@option("--overwrite", is_flag=True, help="Replace an existing store.", group="Store")
@click.option(
    "--density-threshold",
    type=float,
    default=DENSITY_THRESHOLD,
    show_default=True,
    help="Least mean distance of an outlier to its nearest neighbours.",
)
@click.option(
    "--neighbours", type=float, default=NEIGHBOURS, show_default=True, help="Number of neighbours, per run of a rank."
)
@moved_matrix
@option("--weights", type=PathOrUrl(), help="The weights, if they have moved.", group="Data")
@setting_options("memory_limit", "threads")
@cluster_options
def consensus(
    survey: str, rank: int, store: str, overwrite: bool, matrix: tuple[str, ...], where: dict[str, Any], **options: Any
) -> None:
    """Write the consensus of a rank in SURVEY as a store.

    The components that the runs have in common are the medians of clusters without outliers, as in cNMF. One read of
    the matrix finds the other factor. top, export, transform, info and report take the store like that of a run.
    """
    from dnmf.checkpoint.targets import check_new

    check_new(store, overwrite, [survey, *matrix])
    with watching(False) as watchers, chosen_cluster(**where) as client:
        shown: dict[str, Any] = {"watchers": watchers, "progress": False}
        found = dnmf.load_survey(survey).consensus(rank, again(matrix), **shown, client=client, **options)
    found.save(store, overwrite=overwrite)
    print_result(dataclasses.replace(found, store=store))


@click.command(cls=Command)
@click.argument("store", type=PathOrUrl())
@click.option("-o", "--out", "path", type=PathOrUrl(), required=True, help="Path of the HTML file.")
@click.option("--title", help="Title of the page.")
@click.option("--shape", metavar="SIZES", help="Show components as images of this shape: 28x28, or 16x16x3 in colour.")
@click.option("--axis", type=click.Choice(get_args(Axis)), help="Axis of the features; see dnmf top.")
@click.option("-n", type=click.IntRange(1, 50), default=8, show_default=True, help="Features of each component.")
@click.option("--residuals/--no-residuals", default=True, help="Read the matrix once for residuals by row and column.")
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
@moved_matrix
@option("--weights", type=PathOrUrl(), help="The weights, if they have moved.", group="Data")
@setting_options("memory_limit", "threads")
@cluster_options
def report(
    store: str, path: str, shape: str | None, matrix: tuple[str, ...], where: dict[str, Any], **options: Any
) -> None:
    """Write a report on the run or survey in STORE.

    The report is one HTML file. It shows the options of the run, the loss and optimality by pass, time and bytes read,
    the components with their shares and sparsity, the residuals by row and column, the checkpoints, and how to resume
    or repeat the run.
    """
    sizes = parse_sizes("--shape", shape, "28x28 or 16x16x3")
    with watching(False) as watchers, chosen_cluster(**where) as client:
        shown: dict[str, Any] = {"watchers": watchers, "progress": False}
        written = dnmf.write_report(store, path, again(matrix), shape=sizes, **shown, client=client, **options)
    notify(f"The report is {written}.")
