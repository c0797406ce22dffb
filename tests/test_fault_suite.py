"""A small form of the faults of benchmarks/faults.py: none ends in a wrong answer, a loss, a hang or a traceback."""

import subprocess
import sys
from pathlib import Path

SCRIPT = str(Path(__file__).parent.parent / "benchmarks" / "faults.py")
# All but those that need a server or a cluster, which tests/checkpoint and tests/cluster have.
KINDS = ["file operation", "process", "cut short", "V", "signal", "damaged"]


def rows(text):
    """Return the rows of the table in what the script has written, by the kind of fault."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    heads, *found = [line for line in lines if line[0] != "---"]
    return {kind: dict(zip(heads[1:], map(int, figures), strict=True)) for kind, *figures in found}


def test_faults_end_in_the_same_bits_or_a_clear_sentence():
    command = [sys.executable, SCRIPT, "64", "--seed", "0", "--kinds", *KINDS]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = rows(ended.stdout)
    assert len(found) == 8
    for row in found.values():
        assert row["cases"] == row["same bits"] + row["clear sentence"] > 0
    assert found["all"]["cases"] == 64
    assert found["all"]["same bits"] > 0
    assert found["all"]["clear sentence"] > 0
