"""Errors for unknown and missing arguments of a command, with the argument that is meant."""

import click

from dnmf.aliases import OPTION_ALIASES
from dnmf.settings import FIELDS

# For commands on the store of a run, to which the store of a survey and a rank may be given.
OF_A_SURVEY = (
    "Of a survey, write the consensus of a rank as a store, by dnmf consensus SURVEY --rank RANK --store PATH, or give "
    "the store of the best run of a rank, in the folder best of the survey."
)
KEPT = "A run keeps its own options; start a new one with dnmf fit."
SHOWN = "Progress is shown in a terminal; --json prints a line for each pass."


def explained(error: click.MissingParameter | click.NoSuchOption, ctx: click.Context) -> click.UsageError:
    """Return an error for the arguments of a command that names those that are meant or missing."""
    arguments = [one for one in ctx.command.params if isinstance(one, click.Argument)]
    if isinstance(error, click.NoSuchOption):
        return unknown_flag(error, ctx, {one.name for one in arguments})
    wanted = [one.human_readable_name for one in arguments if one.required]
    if len(wanted) < 2 or not isinstance(error.param, click.Argument):
        return error
    return click.UsageError(f"An argument is missing; give {' and '.join(wanted)}.", ctx)


def unknown_flag(error: click.NoSuchOption, ctx: click.Context, arguments: set[str | None]) -> click.NoSuchOption:
    """Return the error for an unknown option of a command, with the one that has its meaning there."""
    flags = [flag for parameter in ctx.command.get_params(ctx) for flag in parameter.opts]
    given = error.option_name.lstrip("-").replace("-", "_")
    meant = [flag_of(name) for name in OPTION_ALIASES.get(given, (given,))]
    advice = ""
    if known := [flag for flag in meant if flag in flags]:
        advice = f"Did you mean {known[0]!r}?"
    elif ctx.info_name == "resume" and any(flag_of(name) in meant for name in FIELDS):
        advice = KEPT
    elif "--rank" in meant and "store" in arguments:
        advice = OF_A_SURVEY
    elif "--progress" in meant:
        advice = SHOWN
    if advice:
        return click.NoSuchOption(error.option_name, f"{error.message} {advice}", ctx=ctx)
    near = [name for name in error.possibilities or () if name != "--overwrite"]  # it replaces a store
    return click.NoSuchOption(error.option_name, error.message, near, ctx)


def flag_of(name: str) -> str:
    """Return the option of a command with a name.

    >>> flag_of("l1_W"), flag_of("n")
    ('--l1-W', '-n')
    """
    return ("--" if len(name) > 1 else "-") + name.replace("_", "-")
