"""What the command info prints: facts about a matrix, a run, or a survey."""

from typing import Any

import click

from dnmf.checkpoint import Store, is_store, read_names
from dnmf.checkpoint.description import describe_run
from dnmf.cli.lines import summary
from dnmf.cli.streams import notify
from dnmf.engine.plan import amount
from dnmf.errors import SettingsError, no_effect
from dnmf.run.open import open_for, plan_of
from dnmf.settings import Settings
from dnmf.sources import open_matrix
from dnmf.sources.addresses import NotInPlace
from dnmf.sources.joining import join_in, parts_described
from dnmf.survey import is_survey, survey_facts


def describe(path: Any, rank: int | list[int] | None, **options: Any) -> None:
    """Print facts about a matrix, a run or a survey; with a rank, also the plan of a run with these options."""
    for name, value in options.items():
        if rank is None and value is not None:
            raise no_effect(name, value, "the plan of a run (--rank)")
    of_results = isinstance(path, str) and (is_store(path) or is_survey(path))
    if of_results and rank is not None:
        raise SettingsError(f"--rank plans a run on a matrix, and {path} holds results; give the matrix, or no --rank.")
    if of_results and is_store(path):
        click.echo(describe_store(path))
        return
    if of_results:
        click.echo(summary(path, survey_facts(path)))
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
        settings = Settings.from_options({"rank": rank, **options})
        layout = open_for(path, settings).layout if settings.layers else layout
        planned = str(plan_of(layout, settings)).splitlines()
        click.echo("\n".join(["", f"A run at rank {rank}", *(f"  {line}" for line in planned[1:])]))


def shortly(names: Any) -> str:
    """Return the first three of a list of names.

    >>> shortly(["a", "b", "c", "d"])
    'a, b, c, …'
    """
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def describe_store(path: str) -> str:
    """Return a description of the run in a store."""
    store = Store.open(path)
    rows = describe_run(store.header, store.newest())
    shape = store.header["fingerprint"]["shape"]
    names = read_names(store.place, (shape[0], shape[1]))
    if names:
        state = rows.pop("state")
        rows["names"] = " and ".join(axis for axis in ("rows", "columns") if getattr(names, axis) is not None)
        rows["state"] = state
    return summary(path, rows)
