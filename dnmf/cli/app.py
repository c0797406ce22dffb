"""The command line. Results go to stdout, messages to stderr."""

import sys
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np

from dnmf import api
from dnmf.checkpoint import Store, is_store, read_names
from dnmf.checkpoint.header import describe
from dnmf.cli import demo as demonstration
from dnmf.cli.commands import consensus, export, graph_weight, rank, report, spectra, top
from dnmf.cli.configs import cluster_config
from dnmf.cli.exit import Commands
from dnmf.cli.joining import again, matrix_argument
from dnmf.cli.lines import summary
from dnmf.cli.options import (
    ARRAYS,
    cluster_options,
    data_options,
    given,
    json_option,
    matrix_options,
    option,
    parse_sizes,
    setting_options,
)
from dnmf.cli.terminal import chosen_cluster, notify, print_result, stoppable, watching
from dnmf.conversion import Compressor, convert
from dnmf.engine.plan import amount
from dnmf.errors import DataError
from dnmf.inspection.figures import plot_images
from dnmf.preprocessing import prepare
from dnmf.run.open import plan_of
from dnmf.settings import ADJUSTABLE, OPTIONS, Settings
from dnmf.sources import open_matrix
from dnmf.sources.addresses import NotInPlace
from dnmf.sources.base import Axis
from dnmf.sources.joining import join_in, parts_described
from dnmf.storage.durable import explained
from dnmf.storage.paths import absolute
from dnmf.survey import is_survey
from dnmf.survey.api import load_survey


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dnmf", prog_name="dnmf")
def main() -> None:
    """Factorise non-negative matrices that do not fit into memory: V ≈ WH.

    MATRIX is the path or URL of a Zarr array or group, or the path of a folder of 10x counts, or of an .h5ad, .h5,
    .loom, .nc, .npy, .npz, .mat, .mtx, .csv, .tsv, .txt, .parquet, .svm, .tif or .hdr (ENVI) file. Two colons and a
    name select a part of it, as in data.h5ad::layers/counts, file.h5::group/dataset, file.nc::variable,
    counts.csv::gene (names of the rows) and ratings.csv::user,film,stars (a list of entries); numbers without a header
    are read with their type and shape, as in raw.bin::float32,2000x1000. Of an array of several axes, those of the rows
    and of the columns are chosen as in stack.zarr::(t)x(y,x) or stack.zarr::(0)x(1,2). Several
    matrices, or a pattern in quotes such as 'runs/*.h5ad', are joined to one.
    """


main.add_command(top)
main.add_command(rank)
main.add_command(consensus)
main.add_command(graph_weight)
main.add_command(export)
main.add_command(report)
main.add_command(spectra)
main.add_command(cluster_config)


@main.command()
@matrix_argument()
@click.option("--rank", type=int, required=True, help="Number of components.")
@option("--store", help="Path or URL for checkpoints and factors, such as s3://bucket/run.zarr.", group="Store")
@option("--overwrite", is_flag=True, help="Replace an existing store and start a new run.", group="Store")
@matrix_options
@data_options("weights", "graph_W", "graph_H", *ARRAYS)
@setting_options(*OPTIONS)
@json_option("Write one JSON object per pass to stdout.")
@cluster_options
def fit(
    matrix: Any,
    rank: int,
    store: str | None,
    overwrite: bool,
    steps: tuple[str, ...],
    samples: Axis,
    as_json: bool,
    where: dict[str, Any],
    **options: Any,
) -> None:
    """Factorise MATRIX, or several that are joined.

    `dnmf --help` describes what MATRIX may be.
    """
    if isinstance(matrix, str) and is_survey(matrix):
        raise DataError(f"{matrix} is a survey of ranks, not a matrix; `dnmf info {matrix}` names its matrix.")
    unsaved = store is None
    with stoppable(store) as cancel, watching(as_json, unsaved) as watchers, chosen_cluster(**where) as client:
        chosen = given(options)
        chosen |= {name: read_array(chosen[name]) for name in ARRAYS if name in chosen}
        limit = options["memory_limit"]
        result = api.factorize(
            prepare(matrix, steps, samples=samples, client=client, memory_limit=limit, cancel=cancel),
            rank,
            store=store,
            overwrite=overwrite,
            watchers=watchers,
            progress=False,
            cancel=cancel,
            client=client,
            **chosen,
        )
        print_result(result, as_json)


@main.command()
@click.argument("store")
@option("--matrix", multiple=True, help="The matrix, if it has moved; repeat it for joined ones.", group="Data")
@data_options("row_names", "column_names", "graph_W", "graph_H", "target_W", "target_H")
@setting_options(*ADJUSTABLE, defaults=False)
@json_option("Write one JSON object per pass to stdout.")
@cluster_options
def resume(store: str, matrix: tuple[str, ...], as_json: bool, where: dict[str, Any], **options: Any) -> None:
    """Resume the run in STORE from its newest checkpoint.

    Options that are not given keep the values that they have in STORE.
    """
    with stoppable(store) as cancel, watching(as_json) as watchers, chosen_cluster(**where) as client:
        chosen = given(options)
        chosen |= {name: read_array(chosen[name]) for name in ARRAYS if name in chosen}
        shown: dict[str, Any] = {"watchers": watchers, "progress": False}
        result = api.resume(store, again(matrix), **shown, cancel=cancel, client=client, **chosen)
        print_result(result, as_json)


@main.command()
@matrix_argument("path")
@click.option("--rank", type=int, help="Rank of the run to plan.")
@setting_options("memory_limit", "threads")
def info(path: Any, rank: int | None, memory_limit: str | None, threads: int | None) -> None:
    """Describe PATH: a matrix or several, a run, or a survey.

    With --rank, also show the plan of a run on the matrix.
    """
    if isinstance(path, str) and is_store(path):
        click.echo(describe_store(path))
        return
    if isinstance(path, str) and is_survey(path):
        click.echo(summary(path, load_survey(path).facts()))
        return
    try:
        source = open_matrix(path)
    except NotInPlace as found:
        click.echo(summary(path, found.facts))
        notify(str(found))
        return
    layout, join = source.layout, join_in(source)
    rows, columns = layout.user_shape
    facts = {
        "matrix": f"{rows} × {columns}, {layout.dtype}, {layout.kind}",
        "size": amount(layout.stored_bytes),
        "blocks": f"{layout.blocks} of up to {layout.widest} {'rows' if layout.transposed else 'columns'}",
    }
    named = {axis: getattr(layout.names, axis) for axis in ("rows", "columns")}
    facts |= {f"{axis} are": shortly(names) for axis, names in named.items() if names is not None}
    facts |= {} if join is None else parts_described(join)
    click.echo(summary(path if join is None else "A join", facts))
    if rank is not None:
        settings = Settings.from_options({"rank": rank, "memory_limit": memory_limit, "threads": threads})
        planned = str(plan_of(layout, settings)).splitlines()
        click.echo("\n".join(["", f"A run at rank {rank}", *(f"  {line}" for line in planned[1:])]))


@main.command()
@click.argument("store")
@matrix_argument()
@click.option("-o", "--out", required=True, help="Path or URL of the factor, a Zarr array.")
@click.option(
    "--axis",
    type=click.Choice(get_args(Axis)),
    help="rows: W of new rows; columns: H of new columns. By default derived from the shape or the names of MATRIX.",
)
@click.option("--overwrite", is_flag=True, help="Replace a matrix or factor written by dnmf.")
@data_options("weights", "row_names", "column_names")
@option("--edges", help="Weights of edges from the new rows or columns to those of the run.", group="Data")
@setting_options("memory_limit", "threads")
@cluster_options
def transform(store: str, matrix: Any, out: str, where: dict[str, Any], **options: Any) -> None:
    """Compute the factor of a new MATRIX by a run in STORE.

    The factor is W of new rows, or H of new columns. The other factor is that of the run; if both have names, it is
    brought into the order of MATRIX.
    """
    with chosen_cluster(**where) as client:
        factor = api.transform(store, matrix, out=out, client=client, **options)
    notify(f"The factor, {factor.shape[0]} × {factor.shape[1]}, is in {out}.")


@main.command("convert")
@matrix_argument("origin")
@click.argument("target")
@click.option("--chunks", metavar="ROWS,COLUMNS", help="Shape of a chunk of a dense matrix, such as 2000,1000.")
@click.option("--by", type=click.Choice(get_args(Axis)), help="Axis to cut along: CSR or CSC if sparse.")
@click.option(
    "--compressor", default="auto", metavar="NAME", help=f"{', '.join(get_args(Compressor))}.", show_default=True
)
@click.option("--memory-limit", default="1GB", metavar="SIZE", show_default=True, help="Memory limit.")
@click.option("--overwrite", is_flag=True, help="Replace a matrix or factor written by dnmf.")
def convert_command(
    origin: Any, target: str, chunks: str | None, by: Any, compressor: Any, memory_limit: str, overwrite: bool
) -> None:
    """Rewrite ORIGIN as Zarr in TARGET, for fast reading.

    A dense matrix becomes an array, a sparse one a CSR or CSC matrix as in AnnData. Several are joined to one.
    """
    with click.progressbar(length=1000, label="convert", file=sys.stderr) as bar:
        convert(
            origin,
            target,
            chunks=parse_sizes(chunks, ",", "2000,1000"),
            by=by,
            compressor=compressor,
            memory_limit=memory_limit,
            overwrite=overwrite,
            on_progress=lambda done, total: bar.update(1000 * done // total - bar.pos),
        )
    notify(f"{target} is written; factorise it with: dnmf fit {target} --rank 20 --store run.zarr")


@main.command("demo")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--step", type=int, default=1, show_default=True, help="Take every n-th patch in both directions.")
@click.option("--max-passes", type=int, default=8, show_default=True)
def demo_command(folder: Path, step: int, max_passes: int) -> None:
    """Factorise two photographs, and draw their components."""
    with explained(f"The folder {folder}"):
        absolute(folder).mkdir(parents=True, exist_ok=True)
    matrix, store, picture = folder / "patches.zarr", folder / "run.zarr", folder / "parts.png"
    notify("Cutting two photographs into 16 × 16 colour patches …")
    rows, columns = demonstration.write_patches(matrix, step)
    stored, as_floats = amount(rows * columns), amount(4 * rows * columns)
    rank, limit = demonstration.RANK, demonstration.MEMORY_LIMIT
    notify(f"{matrix} holds {rows} × {columns} numbers: {stored} as stored, {as_floats} as float32.")
    notify(f"Factorising at rank {rank} within {limit} of memory, as by")
    notify(f"  dnmf fit {matrix} --rank {rank} --memory-limit {limit} --max-passes {max_passes} --store {store}")
    with stoppable(store) as cancel, watching(False) as watchers:
        result = api.factorize(
            str(matrix),
            rank,
            store=store,
            overwrite=store.exists(),
            max_passes=max_passes,
            memory_limit=limit,
            watchers=watchers,
            progress=False,
            cancel=cancel,
        )
        print_result(result)
    patch = demonstration.PATCH
    parts = [part.reshape(patch, patch, 3) for part in result.W.T]
    plot_images(parts, title=f"{rank} parts of two photographs").savefig(picture, dpi=120)
    notify(f"The components are drawn in {picture}.")


def shortly(names: Any) -> str:
    """Return the first three of a list of names.

    >>> shortly(["a", "b", "c", "d"])
    'a, b, c, …'
    """
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def read_array(path: str) -> Any:
    """Return the array in a .npy file."""
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise click.BadParameter(f"{path} is not a .npy file of numbers; save it with numpy.save.") from error


def describe_store(path: str) -> str:
    """Return a description of the run in a store."""
    store = Store.open(path)
    rows = describe(store.header, store.newest())
    shape = store.header["fingerprint"]["shape"]
    names = read_names(store.place, (shape[0], shape[1]))
    if names:
        state = rows.pop("state")
        rows["names"] = " and ".join(axis for axis in ("rows", "columns") if getattr(names, axis) is not None)
        rows["state"] = state
    return summary(path, rows)
