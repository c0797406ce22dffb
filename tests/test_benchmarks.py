"""Benchmarks run in a small form."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_format_is_measured_in_its_small_form():
    script = str(ROOT / "benchmarks" / "formats.py")
    small = ["--rows", "60", "--columns", "80", "--density", "0.1", "--rank", "2", "--passes", "1", "--warm"]
    ended = subprocess.run([sys.executable, script, *small], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    measured = [line for line in ended.stdout.splitlines() if "GB/s, reading alone" in line]
    assert len(measured) == 18
    assert sum("through h5py" in line for line in measured) == 6
