"""Exit codes, errors and warnings of the commands."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from dnmf.cli.options import Command
from dnmf.cli.streams import notify, unfailing
from dnmf.errors import ClusterWarning, DataWarning, DiskError, DnmfError, StoreWarning, did_you_mean, exhausted
from dnmf.storage.zarr_tasks import finish_tasks

# Names of commands in other programs and in Python.
ALIASES = {
    "factorise": "fit",
    "factorize": "fit",
    "inspect": "info",
    "nmf": "fit",
    "plan": "info",
    "run": "fit",
    "select-rank": "rank",
    "select_rank": "rank",
    "survey": "rank",
    "write_report": "report",
}


class Commands(click.Group):
    """Commands that end with the text of an error: exit code 2 for invalid input, 1 for failures of the system."""

    command_class = Command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a command; the error for an unknown one proposes the one that is meant."""
        if args and (name := args[0]) not in self.commands:
            raise click.UsageError(f"No such command {name!r}.{did_you_mean(name, list(self.commands), ALIASES)}", ctx)
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line with output that cannot fail."""
        with unfailing():
            try:
                return super().main(*args, **options)
            finally:
                finish_tasks()

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and turn an error into its text and an exit code."""
        try:
            with plain_warnings():
                return super().invoke(ctx)
        except DnmfError as error:
            notify(f"dnmf: {error}")
            sys.exit(1 if isinstance(error, DiskError) else 2)
        except (MemoryError, RuntimeError) as error:
            advice = exhausted(error)
            if advice is None:
                raise
            notify(f"dnmf: {advice}")
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print the warnings of dnmf as plain lines, without a place in the code."""
    show = warnings.showwarning

    def show_plainly(message: Warning | str, category: type[Warning], *where: Any, **others: Any) -> None:
        if issubclass(category, (StoreWarning, DataWarning, ClusterWarning)):
            notify(f"warning: {message}")
        else:
            show(message, category, *where, **others)

    warnings.showwarning = show_plainly
    try:
        yield
    finally:
        warnings.showwarning = show
