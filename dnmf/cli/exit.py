"""How a command ends: by its sentence, and with a number that programs can read."""

import sys
from typing import Any

import click

from dnmf.cli import entry
from dnmf.cli.streams import unfailing
from dnmf.cli.terminal import ended_by_signals, say
from dnmf.errors import DiskError, DnmfError, exhausted


class Commands(click.Group):
    """Commands whose errors are sentences: exit code 2 for what was given, 1 for what went wrong elsewhere."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line, whose output cannot fail."""
        entry.imported()
        with unfailing():
            return super().main(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and end with its sentence where there is one."""
        try:
            with ended_by_signals():
                return super().invoke(ctx)
        except DnmfError as error:
            say(f"dnmf: {error}")
            sys.exit(1 if isinstance(error, DiskError) else 2)
        except (MemoryError, RuntimeError) as error:
            sentence = exhausted(error)
            if sentence is None:
                raise
            say(f"dnmf: {sentence}")
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)
