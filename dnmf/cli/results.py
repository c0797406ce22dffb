"""The commands on the result of a run: top, export, spectra, predict and recommend."""

import csv
import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from typing import Any, get_args

import click

import dnmf
from dnmf.choices import Axis, By, Format, Units
from dnmf.cli.options import (
    Command,
    PathOrUrl,
    cluster_options,
    json_option,
    layer_of,
    layer_option,
    option,
    setting_options,
)
from dnmf.cli.streams import notify
from dnmf.cli.terminal import chosen_cluster, watching
from dnmf.errors import no_effect, seen


@click.command(cls=Command)
@click.argument("store", type=PathOrUrl())
@click.option("-n", type=click.IntRange(min=1), default=10, show_default=True, help="Features of each component.")
@click.option(
    "--axis",
    type=click.Choice(get_args(Axis)),
    help="Axis of the features; by default columns, or rows if only the rows have names.",
)
@click.option(
    "--by",
    type=click.Choice(get_args(By)),
    default="weight",
    show_default=True,
    help="Features that are strong, or strong in one component and weak in the others.",
)
@layer_option
@json_option("Write one JSON object per component to stdout.")
def top(store: str, n: int, axis: Axis | None, by: By, layer: int | None, as_json: bool) -> None:
    """Show the strongest features of the components in STORE.

    Of several layers, show what each component of the last one is made of, unless --layer chooses one.

    The share of a component is its part of the sum of WH; the figure next to a feature is its part of the sum of the
    component. Neither depends on the scale of W and H.
    """
    from dnmf.cli.tables import show_components
    from dnmf.run.stored import whole_checkpoint

    whole = layer is None and axis is None and by == "weight" and not as_json
    if whole and (found := whole_checkpoint(lambda: dnmf.load(store))).layers:
        click.echo("\n".join(map(str, found.hierarchy(n))))
        return
    components = whole_checkpoint(lambda: loaded(layer_of(store, layer)).components(n, axis, by=by))
    if as_json:
        for component in components:
            click.echo(json.dumps(dataclasses.asdict(component), allow_nan=False))
    else:
        show_components(components)


@click.command(cls=Command)
@click.argument("store", type=PathOrUrl())
@click.option(
    "-o",
    "--out",
    type=PathOrUrl(),
    required=True,
    help="Path of the new .h5ad file, or of the new folder of two tables.",
)
@click.option("--format", type=click.Choice(get_args(Format)), help="By default h5ad if --out ends in .h5ad, else csv.")
@click.option("--overwrite", is_flag=True, help="Replace an existing export.")
@layer_option
def export(store: str, out: str, format: Format | None, overwrite: bool, layer: int | None) -> None:
    """Write the factors in STORE for other programs.

    csv and parquet make a folder of two tables: W has a row for each row of the matrix, and H, transposed, one for each
    column. h5ad makes an AnnData with W in obsm and H in varm. All include the names of rows and columns.
    """
    notify(f"The factors are in {dnmf.export(layer_of(store, layer), out, format=format, overwrite=overwrite)}.")


@click.command(cls=Command)
@click.argument("store", type=PathOrUrl())
@click.argument("matrix", type=PathOrUrl(), required=False)
@click.option("-o", "--out", type=PathOrUrl(), required=True, help="Path of the new .csv file.")
@click.option("--units", type=click.Choice(get_args(Units)), default="counts", show_default=True, help="Units.")
@click.option("--total", type=float, help="Sum to which every sample is scaled first.  [default: 1e6]")
@click.option("--no-total", is_flag=True, help="Take the samples as they are.")
@click.option("--axis", type=click.Choice(get_args(Axis)), help="Axis of the features; see dnmf top.")
@click.option("--overwrite", is_flag=True, help="Replace existing spectra.")
@setting_options("memory_limit", "threads")
@cluster_options
def spectra(
    store: str,
    matrix: str | None,
    out: str,
    total: float | None,
    no_total: bool,
    overwrite: bool,
    where: dict[str, Any],
    **options: Any,
) -> None:
    """Write the components in STORE in the units of MATRIX.

    MATRIX has the same samples and any features. It is regressed on the usages of the components, as in cNMF: counts
    per million by non-negative least squares, or z-scores by least squares. Without it, the matrix of the run is taken,
    before its preparation.
    """
    from dnmf.exports.table import free_table, write_table

    if no_total and total is not None:
        raise no_effect("--total", total, "samples that are scaled", "--no-total")
    free_table(out, overwrite)
    with watching(False) as watchers, chosen_cluster(**where) as client:
        scale = None if no_total else 1e6 if total is None else total
        found = dnmf.spectra(store, matrix, total=scale, watchers=watchers, progress=False, client=client, **options)
    notify(f"The spectra of {len(found.columns)} components are in {write_table(found, out, overwrite)}.")


@click.command(cls=Command)
@click.argument("store", type=PathOrUrl())
@click.argument("pairs", type=click.File(encoding="utf-8-sig"))
def predict(store: str, pairs: Any) -> None:
    """Print the entries of WH at PAIRS, as CSV.

    PAIRS is a CSV table with a header. Its first two columns are rows and columns of the matrix, by name or position;
    the others are printed unchanged.
    """
    try:
        header, *lines = [line for line in csv.reader(pairs) if line] or [[]]
    except (UnicodeDecodeError, csv.Error):
        header, *lines = [[]]
    if any(len(line) < 2 for line in [header, *lines]):
        raise click.BadParameter(
            "PAIRS is not a CSV table with a header, a column of rows and one of columns; give such a table."
        )
    result = dnmf.load(store)
    places = [
        known([line[place] for line in lines], names)
        for place, names in enumerate((result.names.rows, result.names.columns))
    ]
    predictions = dnmf.predict(result, tuple(places))
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow([*header, "prediction"])
    table.writerows([*line, f"{value:.6g}"] for line, value in zip(lines, predictions, strict=True))


@click.command(cls=Command)
@click.argument("store", type=PathOrUrl())
@click.argument("rows", nargs=-1)
@click.option("-n", type=click.IntRange(min=1), default=10, show_default=True, help="Columns for each row.")
@click.option("--axis", type=click.Choice(get_args(Axis)), default="rows", show_default=True, help="Axis of ROWS.")
@option("--exclude", type=PathOrUrl(), help="Matrix of known entries, which are left out.", group="Data")
@json_option("Write one JSON object per row to stdout.")
@setting_options("memory_limit", "threads")
@cluster_options
def recommend(
    store: str, rows: tuple[str, ...], axis: Axis, as_json: bool, where: dict[str, Any], **options: Any
) -> None:
    """Print the columns with the largest entries of WH in ROWS.

    ROWS are names or positions; without them, all rows are taken. Give the matrix of the run as --exclude to leave out
    the entries that it has.
    """
    result = dnmf.load(store)
    names = getattr(result.names, axis)
    wanted = known(rows, names) if rows else None
    with watching(False) as watchers, chosen_cluster(**where) as client:
        shown: dict[str, Any] = {"watchers": watchers, "progress": False}
        best = dnmf.recommend(result, wanted, axis=axis, client=client, **shown, **options)
    labels = rows or (range(len(best)) if names is None else names)
    for label, items in zip(labels, best, strict=True):
        if as_json:
            click.echo(json.dumps({"name": label, "best": items}, allow_nan=False))
        else:
            click.echo(seen(f"{label}  {', '.join(f'{name} {value:.4g}' for name, value in items)}"))


def loaded(given: Any) -> Any:
    """Return a result, loaded from its store if that is given."""
    return dnmf.load(given) if isinstance(given, str) else given


def known(given: Sequence[str], names: Any) -> list[Any]:
    """Return names as they were given, or positions as numbers if there are no names.

    >>> known(["7", "x"], None), known(["7"], ["7", "8"])
    ([7, 'x'], ['7'])
    """
    return [int(one) if names is None and re.fullmatch("-?[0-9]+", one) else one for one in given]
