"""Run the code of Markdown pages."""

import io
import re
import shlex
import sys
from contextlib import redirect_stdout
from decimal import Decimal
from typing import Any

from click.testing import CliRunner

from dnmf.cli.app import main

DECIMALS = re.compile(r"\d+\.\d+(?:e[+-]?\d+)?")


def run(page: str, *languages: str) -> dict[str, Any]:
    """Run the Python of a page as one program, and its commands of dnmf in between; return the program's names.

    Both languages, `python` and `console`, are run by default. With `text`, blocks of text are compared with the output
    of the code before them.
    """
    names: dict[str, Any] = {}
    printed = ""
    wanted = "|".join(languages or ("python", "console"))
    for language, block in re.findall(rf"^```({wanted})\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        if language == "text":
            assert_printed(block, printed)
            continue
        with redirect_stdout(io.StringIO()) as output:
            exec(block, names) if language == "python" else run_commands(block)
        printed = output.getvalue()
        sys.stdout.write(printed)
    return names


def run_commands(block: str) -> None:
    """Run the commands of dnmf in a block, and print their output."""
    for command in filter(lambda line: line.startswith("dnmf "), block.splitlines()):
        ended = CliRunner().invoke(main, shlex.split(command)[1:])
        assert ended.exit_code == 0, f"{command}: {ended.output}"
        print(ended.stdout, end="")


def assert_printed(shown: str, printed: str) -> None:
    """Compare words and whole numbers exactly, and other numbers to a unit of their last digit: BLAS may differ.

    The longest numbers of both have equally many digits: others may have lost zeros at their end.
    """
    assert DECIMALS.sub("#", printed).split() == DECIMALS.sub("#", shown).split()
    assert digits_in(printed) == digits_in(shown), f"numbers have {digits_in(printed)} decimals in {printed}"
    for number, found in zip(DECIMALS.findall(shown), DECIMALS.findall(printed), strict=True):
        unit = 10.0 ** Decimal(number).as_tuple().exponent
        assert abs(float(number) - float(found)) < 1.01 * unit, f"{found} was printed, and {number} is shown"


def digits_in(text: str) -> int:
    """Return the largest number of decimals of the numbers in a text."""
    return max((len(number.partition("e")[0].partition(".")[2]) for number in DECIMALS.findall(text)), default=0)
