"""A small form of the faults of benchmarks/faults.py: none ends in a wrong answer, a loss, a hang or a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = str(Path(__file__).parent.parent / "benchmarks" / "faults.py")
IN_PROCESS = ["fails", "cut", "delayed", "damaged"]
WITH_CHILDREN = ["killed", "signal"]


def rows(text):
    """Return the rows of the table in what the script has written, by the kind of fault."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    heads, *found = [line for line in lines if line[0] != "---"]
    return {kind: dict(zip(heads[1:], map(int, figures), strict=True)) for kind, *figures in found}


def run(count, seed, kinds):
    command = [sys.executable, SCRIPT, str(count), "--seed", str(seed), "--kinds", *kinds]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("count", "kinds"), [(60, ["file", "changes", "damaged"]), (20, ["killed", "signal"])], ids=str)
def test_faults_end_in_the_same_bits_or_a_clear_sentence(count, kinds):
    ended = run(count, 0, kinds)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    whole = rows(ended.stdout)["all"]
    assert whole["cases"] == whole["same bits"] + whole["clear sentence"] == count
    assert whole["same bits"] > 0
    assert whole["clear sentence"] > 0
