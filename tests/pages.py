"""Pages whose code runs: their blocks, and how to run them."""

import re
import shlex
from typing import Any

from click.testing import CliRunner

from dnmf.cli import main


def blocks(page: str, *languages: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of a page in some languages, in order: language and text."""
    return re.findall(rf"^```({'|'.join(languages)})\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def run_python(page: str) -> dict[str, Any]:
    """Run the Python of a page as one program, and return its names."""
    names: dict[str, Any] = {}
    for _, block in blocks(page, "python"):
        exec(block, names)
    return names


def run_commands(page: str) -> int:
    """Run the commands of a page that are of dnmf, and return how many there were."""
    commands = [line for _, block in blocks(page, "console") for line in block.splitlines() if line.startswith("dnmf ")]
    for command in commands:
        ended = CliRunner().invoke(main, shlex.split(command)[1:])
        assert ended.exit_code == 0, f"{command}: {ended.output}"
    return len(commands)
