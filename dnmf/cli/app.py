"""The command line. Figures for programs go to stdout, all that is for people to stderr."""

import sys
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np

from dnmf import api
from dnmf.checkpoint import Store, is_store, read_names
from dnmf.checkpoint.telling import told
from dnmf.cli import demo as demonstration
from dnmf.cli.commands import export, rank, report, top
from dnmf.cli.exit import Commands
from dnmf.cli.options import HELP, cluster_options, name_options, run_options
from dnmf.cli.progress import summary
from dnmf.cli.terminal import chosen_cluster, conclude, say, stoppable, watching
from dnmf.convert import COMPRESSORS, convert
from dnmf.engine.plan import amount
from dnmf.inspection.figures import plot_images
from dnmf.preprocessing import NAMED, prepare
from dnmf.run.open import plan_of
from dnmf.settings import ADJUSTABLE, Settings
from dnmf.sources import open_matrix
from dnmf.sources.addresses import NotInPlace
from dnmf.sources.base import Axis
from dnmf.storage.durable import explained
from dnmf.storage.paths import absolute
from dnmf.survey import is_survey
from dnmf.survey.api import load_survey


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dnmf", prog_name="dnmf")
def main() -> None:
    """Factorise non-negative matrices that have outgrown memory: V ≈ WH.

    A MATRIX is the path or URL of a Zarr array or group, or the path of an .h5ad, .h5, .nc, .npy, .npz, .mtx, .csv or
    .parquet file. Two colons and a part name what is meant in it, as data.h5ad::layers/counts, file.h5::group/dataset,
    file.nc::variable, ratings.csv::user,film,stars, and, of numbers without a header, raw.bin::float32,2000x1000.
    """


main.add_command(top)
main.add_command(rank)
main.add_command(export)
main.add_command(report)


@main.command()
@click.argument("matrix")
@click.option("--rank", type=int, required=True, help="Number of components.")
@click.option("--store", help="Where checkpoints and the factors go: a path, or a URL as s3://bucket/run.zarr.")
@click.option("--overwrite", is_flag=True, help="Start anew in a store that exists.")
@click.option("--weights", help="Weights of the entries: whatever MATRIX may be, cut like it.")
@click.option("--prepare", "steps", multiple=True, type=click.Choice(list(NAMED)), help="Prepare MATRIX; repeatable.")
@click.option(
    "--samples", type=click.Choice(["rows", "columns"]), default="rows", help="What --prepare takes as samples."
)
@click.option("--fixed-W", "fixed", type=click.Path(exists=True), help="Known columns of W that stay: a .npy file.")
@name_options
@run_options(tuple(HELP))
@cluster_options
def fit(
    matrix: str,
    rank: int,
    store: str | None,
    overwrite: bool,
    weights: str | None,
    fixed: str | None,
    steps: tuple[str, ...],
    samples: Axis,
    as_json: bool,
    where: dict[str, Any],
    **options: Any,
) -> None:
    """Factorise MATRIX; `dnmf --help` says what that may be."""
    if store is None:
        say("The factors are kept nowhere: give --store to keep them.")
    with stoppable(store) as cancel, watching(as_json) as watchers, chosen_cluster(**where) as client:
        given = {name: value for name, value in options.items() if value is not None}
        given |= {} if weights is None else {"weights": weights}
        given |= {} if fixed is None else {"fixed_W": read_array(fixed)}
        limit = given.get("memory_limit")
        result = api.factorize(
            prepare(matrix, steps, samples=samples, client=client, memory_limit=limit, cancel=cancel),
            rank,
            store=store,
            overwrite=overwrite,
            watchers=watchers,
            cancel=cancel,
            client=client,
            **given,
        )
        conclude(result, as_json)


@main.command()
@click.argument("store")
@click.option("--matrix", help="The matrix, if it is not where it was.")
@name_options
@run_options(ADJUSTABLE)
@cluster_options
def resume(store: str, matrix: str | None, as_json: bool, where: dict[str, Any], **options: Any) -> None:
    """Go on with the run in STORE from its newest checkpoint."""
    with stoppable(store) as cancel, watching(as_json) as watchers, chosen_cluster(**where) as client:
        given = {name: value for name, value in options.items() if value is not None}
        result = api.resume(store, matrix, watchers=watchers, cancel=cancel, client=client, **given)
        conclude(result, as_json)


@main.command()
@click.argument("path")
@click.option("--rank", type=int, help="Show the plan for this rank.")
@click.option("--memory-limit", help=HELP["memory_limit"])
@click.option("--threads", type=int, help=HELP["threads"])
def info(path: str, rank: int | None, memory_limit: str | None, threads: int | None) -> None:
    """Say what PATH is: a matrix, a run, or a survey of ranks.

    With --rank, the plan of a run on the matrix is shown too.
    """
    if is_store(path):
        click.echo(describe_store(path))
        return
    if is_survey(path):
        click.echo(summary(path, load_survey(path).facts()))
        return
    try:
        layout = open_matrix(path).layout
    except NotInPlace as found:
        click.echo(summary(path, found.facts))
        say(str(found))
        return
    rows, columns = layout.user_shape
    facts = {
        "matrix": f"{rows} × {columns}, {layout.dtype}, {layout.kind}",
        "size": amount(layout.stored_bytes),
        "blocks": f"{layout.blocks} of up to {layout.widest} {'rows' if layout.transposed else 'columns'}",
    }
    named = {axis: getattr(layout.names, axis) for axis in ("rows", "columns")}
    facts |= {f"{axis} are": shortly(names) for axis, names in named.items() if names is not None}
    click.echo(summary(path, facts))
    if rank is not None:
        options = {"rank": rank, "memory_limit": memory_limit, "threads": threads}
        click.echo(f"\nA run at rank {rank}\n{plan_of(layout, Settings.from_options(options))}")


@main.command()
@click.argument("store")
@click.argument("matrix")
@click.option("--out", required=True, help="Where the factor goes, as a Zarr array.")
@click.option(
    "--axis",
    type=click.Choice(get_args(Axis)),
    help="rows: W of new rows; columns: H of new columns. By default what the shape, or the names, of MATRIX allow.",
)
@click.option("--weights", help="Weights of the entries: whatever MATRIX may be, cut like it.")
@click.option("--overwrite", is_flag=True, help="Replace a matrix or factor that dnmf wrote there.")
@name_options
@click.option("--memory-limit", help=HELP["memory_limit"])
@click.option("--threads", type=int, help=HELP["threads"])
@cluster_options
def transform(store: str, matrix: str, out: str, where: dict[str, Any], **options: Any) -> None:
    """Find the factor of a new MATRIX from the run in STORE.

    It is W of new rows, or H of new columns. The other factor is held as the run left it; where both have names, it
    follows the order of MATRIX.
    """
    with chosen_cluster(**where) as client:
        factor = api.transform(store, matrix, out=out, client=client, **options)
    say(f"The factor, {factor.shape[0]} × {factor.shape[1]}, is in {out}.")


@main.command("convert")
@click.argument("origin")
@click.argument("target")
@click.option("--chunks", help="Rows and columns of a chunk, as 2000,1000.")
@click.option("--by", type=click.Choice(["rows", "columns"]), help="The axis to cut along; CSR or CSC where sparse.")
@click.option("--compressor", default="auto", help=f"{', '.join(COMPRESSORS)}.", show_default=True)
@click.option("--memory-limit", default="1GB", show_default=True, help="Memory that may be held.")
@click.option("--overwrite", is_flag=True, help="Replace a matrix or factor that dnmf wrote there.")
def convert_command(
    origin: str, target: str, chunks: str | None, by: Any, compressor: str, memory_limit: str, overwrite: bool
) -> None:
    """Write ORIGIN anew in Zarr as TARGET, which is read fast.

    What is dense becomes an array, and what is sparse a CSR or CSC matrix as in AnnData.
    """
    with click.progressbar(length=1000, label="convert", file=sys.stderr) as bar:
        convert(
            origin,
            target,
            chunks=parse_chunks(chunks),
            by=by,
            compressor=compressor,
            memory_limit=memory_limit,
            overwrite=overwrite,
            on_progress=lambda done, total: bar.update(1000 * done // total - bar.pos),
        )
    say(f"{target} is written; factorise it with: dnmf fit {target} --rank 20 --store run.zarr")


@main.command("demo")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--step", type=int, default=1, help="Take every so-manieth patch only.")
@click.option("--max-passes", type=int, default=8, show_default=True)
def demo_command(folder: Path, step: int, max_passes: int) -> None:
    """Factorise the patches of two photographs, and draw the parts."""
    with explained(f"The folder {folder}"):
        absolute(folder).mkdir(parents=True, exist_ok=True)
    matrix, store, picture = folder / "patches.zarr", folder / "run.zarr", folder / "parts.png"
    say("Cutting two photographs into 16 × 16 colour patches …")
    rows, columns = demonstration.write_patches(matrix, step)
    stored, as_floats = amount(rows * columns), amount(4 * rows * columns)
    rank, limit = demonstration.RANK, demonstration.MEMORY_LIMIT
    say(f"{matrix} holds {rows} × {columns} numbers: {stored} as they are, {as_floats} as float32.")
    say(f"Factorised at rank {rank} in {limit} of memory, as by")
    say(f"  dnmf fit {matrix} --rank {rank} --memory-limit {limit} --max-passes {max_passes} --store {store}")
    with stoppable(store) as cancel, watching(False) as watchers:
        result = api.factorize(
            str(matrix),
            rank,
            store=store,
            overwrite=store.exists(),
            max_passes=max_passes,
            memory_limit=limit,
            watchers=watchers,
            cancel=cancel,
        )
        conclude(result)
    patch = demonstration.PATCH
    parts = [part.reshape(patch, patch, 3) for part in result.W.T]
    plot_images(parts, title=f"{rank} parts of two photographs").savefig(picture, dpi=120)
    say(f"The parts are drawn in {picture}.")


def shortly(names: Any) -> str:
    """Return the first of some names.

    >>> shortly(["a", "b", "c", "d"])
    'a, b, c, …'
    """
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def read_array(path: str) -> Any:
    """Return the array in a .npy file."""
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise click.BadParameter(f"{path} is no .npy file of numbers ({error}).") from error


def describe_store(path: str) -> str:
    """Return what there is to know of a store."""
    store = Store.open(path)
    rows = told(store.header, store.newest())
    shape = store.header["fingerprint"]["shape"]
    names = read_names(store.place, (shape[0], shape[1]))
    if names:
        given = {"rows": names.rows, "columns": names.columns}
        state = rows.pop("state")
        rows["names"] = " and ".join(axis for axis, texts in given.items() if texts is not None)
        rows["state"] = state
    return summary(path, rows)


def parse_chunks(text: str | None) -> tuple[int, int] | None:
    """Return the chunk that a text names.

    >>> parse_chunks("2000,1000")
    (2000, 1000)
    """
    if text is None:
        return None
    try:
        rows, columns = (int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} names no chunk; give rows and columns, as 2000,1000.") from None
    return rows, columns
