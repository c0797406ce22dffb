"""The commands that look at a finished run: what its components are made of, and its factors for other programs."""

import dataclasses
import json
from typing import get_args

import click

import dnmf
from dnmf.export import Format
from dnmf.sources.layout import Axis
from dnmf.terminal import say, show_components


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
    """Show the strongest features of each component of the run in STORE.

    Beside a component is its share, the part of the sum of WH that it carries, and beside a feature the part of its
    component's sum that the feature has: neither depends on the scale that W and H share.
    """
    components = dnmf.load(store).components(n, axis)
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
    """Write the factors of the run in STORE, with their names, for other programs.

    csv and parquet make a folder of two tables: W has a line for each row of the matrix, and H, transposed, one for
    each column. h5ad makes an AnnData with W in obsm and H in varm.
    """
    say(f"The factors are in {dnmf.export(store, out, format=format, overwrite=overwrite)}.")
