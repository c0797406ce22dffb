"""The commands that look at a finished run: what its components are made of, and its factors for other programs."""

import dataclasses
import json
from typing import get_args

import click

import dnmf
from dnmf.sources.layout import Axis
from dnmf.terminal import show_components


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
