"""Run the code of Markdown pages."""

import re
import shlex
from typing import Any

from click.testing import CliRunner

from dnmf.cli.app import main


def run(page: str, *languages: str) -> dict[str, Any]:
    """Run the Python of a page as one program, and its commands of dnmf in between; return the program's names.

    Both languages, `python` and `console`, are run by default.
    """
    names: dict[str, Any] = {}
    wanted = "|".join(languages or ("python", "console"))
    for language, block in re.findall(rf"^```({wanted})\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        if language == "python":
            exec(block, names)
            continue
        for command in filter(lambda line: line.startswith("dnmf "), block.splitlines()):
            ended = CliRunner().invoke(main, shlex.split(command)[1:])
            assert ended.exit_code == 0, f"{command}: {ended.output}"
    return names
