"""The command line. Results go to stdout, messages to stderr."""

from pathlib import Path
from typing import Any, get_args

import click

import dnmf
from dnmf.choices import Axis, Compressor
from dnmf.cli.commands import consensus, graph_weight, rank, report
from dnmf.cli.exit import Commands
from dnmf.cli.joining import again, matrix_argument, prepared
from dnmf.cli.options import (
    ARRAYS,
    RANK,
    PathOrUrl,
    cluster_options,
    data_options,
    given,
    json_option,
    layer_of,
    layer_option,
    matrix_options,
    moved_matrix,
    option,
    parse_sizes,
    setting_options,
)
from dnmf.cli.packaged import cluster_config, examples
from dnmf.cli.results import export, predict, recommend, spectra, top
from dnmf.cli.streams import notify
from dnmf.cli.terminal import chosen_cluster, print_result, stoppable, watching
from dnmf.settings import ADJUSTABLE, OPTIONS


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
main.add_command(predict)
main.add_command(recommend)
main.add_command(cluster_config)
main.add_command(examples)


@main.command()
@matrix_argument()
@click.option("--rank", type=RANK, required=True, help="Number of components, or the ranks of several layers.")
@option(
    "--store",
    type=PathOrUrl(),
    help="Path or URL for checkpoints and factors, such as s3://bucket/run.zarr.",
    group="Store",
)
@option("--overwrite", is_flag=True, help="Replace an existing store and start a new run.", group="Store")
@matrix_options
@data_options("weights", "graph_W", "graph_H", *ARRAYS)
@setting_options(*OPTIONS)
@json_option("Write one JSON object per pass to stdout.")
@cluster_options
def fit(
    matrix: Any,
    rank: int | list[int],
    store: str | None,
    overwrite: bool,
    steps: tuple[str, ...],
    samples: Axis | None,
    as_json: bool,
    where: dict[str, Any],
    **options: Any,
) -> None:
    """Factorise MATRIX, or several that are joined.

    `dnmf --help` describes what MATRIX may be.
    """
    unsaved = store is None
    with (
        stoppable(store, replaces=True) as cancel,
        watching(as_json, cancel, unsaved) as watchers,
        chosen_cluster(cancel, **where) as client,
    ):
        chosen = given(options)
        chosen |= {name: read_array(chosen[name]) for name in ARRAYS if name in chosen}
        limit = options["memory_limit"]
        V = prepared(matrix, steps, samples, client=client, memory_limit=limit, cancel=cancel)
        result = dnmf.factorize(
            V,
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
@click.argument("store", type=PathOrUrl())
@moved_matrix
@data_options("weights", "row_names", "column_names", "graph_W", "graph_H", "target_W", "target_H")
@setting_options(*ADJUSTABLE, defaults=False)
@json_option("Write one JSON object per pass to stdout.")
@cluster_options
def resume(store: str, matrix: tuple[str, ...], as_json: bool, where: dict[str, Any], **options: Any) -> None:
    """Resume the run in STORE from its newest checkpoint.

    Options that are not given keep the values that they have in STORE.
    """
    with stoppable(store) as cancel, watching(as_json, cancel) as watchers, chosen_cluster(cancel, **where) as client:
        chosen = given(options)
        chosen |= {name: read_array(chosen[name]) for name in ARRAYS if name in chosen}
        shown: dict[str, Any] = {"watchers": watchers, "progress": False}
        result = dnmf.resume(store, again(matrix), **shown, cancel=cancel, client=client, **chosen)
        print_result(result, as_json)


@main.command()
@matrix_argument("path")
@click.option("--rank", type=RANK, help="Rank of the run to plan.")
@setting_options("memory_limit", "threads")
def info(path: Any, rank: int | list[int] | None, memory_limit: str | None, threads: int | None) -> None:
    """Describe PATH: a matrix or several, a run, or a survey.

    With --rank, also show the plan of a run on the matrix.
    """
    from dnmf.cli.describe import describe

    describe(path, rank, memory_limit=memory_limit, threads=threads)


@main.command()
@click.argument("store", type=PathOrUrl())
@matrix_argument()
@click.option("-o", "--out", type=PathOrUrl(), required=True, help="Path or URL of the factor, a Zarr array.")
@click.option(
    "--axis",
    type=click.Choice(get_args(Axis)),
    help="rows: W of new rows; columns: H of new columns. By default derived from the shape or the names of MATRIX.",
)
@click.option("--overwrite", is_flag=True, help="Replace a matrix or factor written by dnmf.")
@layer_option
@data_options("weights", "row_names", "column_names")
@option(
    "--edges", type=PathOrUrl(), help="Weights of edges from the new rows or columns to those of the run.", group="Data"
)
@setting_options("memory_limit", "threads")
@cluster_options
def transform(store: str, matrix: Any, out: str, layer: int | None, where: dict[str, Any], **options: Any) -> None:
    """Compute the factor of a new MATRIX by a run in STORE.

    The factor is W of new rows, or H of new columns. The other factor is that of the run; if both have names, it is
    brought into the order of MATRIX.
    """
    with chosen_cluster(**where) as client:
        factor = dnmf.transform(layer_of(store, layer), matrix, out=out, client=client, **options)
    notify(f"The factor, {factor.shape[0]} × {factor.shape[1]}, is in {out}.")


@main.command("convert")
@matrix_argument("origin")
@click.argument("target", type=PathOrUrl())
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
    dnmf.convert(
        origin,
        target,
        chunks=parse_sizes("--chunks", chunks, "2000,1000"),
        by=by,
        compressor=compressor,
        memory_limit=memory_limit,
        overwrite=overwrite,
    )
    notify(f"{target} is written; factorise it with: dnmf fit {target} --rank 20 --store run.zarr")


@main.command("demo")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Folder to write to."
)
@click.option(
    "--step", type=click.IntRange(min=1), default=1, show_default=True, help="Take every n-th patch in both directions."
)
@click.option(
    "--max-passes", type=click.IntRange(min=1), default=8, show_default=True, help="Maximum number of passes."
)
def demo_command(out: Path, step: int, max_passes: int) -> None:
    """Factorise two photographs, and draw their components."""
    from dnmf.cli.demo import run

    run(out, step, max_passes)


def read_array(path: str) -> Any:
    """Return the array in a .npy file."""
    import numpy as np

    try:
        with open(path, "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise click.BadParameter(f"{path} is not a .npy file of numbers; save it with numpy.save.") from error
