"""Benchmarks, in a small form."""

import re
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
    assert len(measured) == 33
    assert sum("by pandas" in line for line in ended.stdout.splitlines()) == 4
    assert sum("through h5py" in line for line in measured) == 8


def test_a_scene_is_unmixed_in_its_small_form():
    script = str(ROOT / "benchmarks" / "unmixing.py")
    small = ["--side", "24", "--weights", "0.2"]
    ended = subprocess.run([sys.executable, script, *small], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = [line.split() for line in ended.stdout.splitlines() if line.endswith((" yes", " NO"))]
    angles = {" ".join(line[:-6]): float(line[-6]) for line in lines}
    assert all(line[-1] == "yes" for line in lines)
    assert angles["volume 0.2"] < angles["spa alone"] < angles["plain"]


def test_an_atlas_is_factorised_in_its_small_form(tmp_path):
    script = str(ROOT / "benchmarks" / "atlas.py")
    small = ["--cells", "1000", "--out", str(tmp_path), "--losses", "frobenius", "--kill"]
    ended = subprocess.run([sys.executable, script, *small], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    (row,) = (line for line in ended.stdout.splitlines() if line.startswith("| frobenius | 1000 |"))
    assert float(row.rstrip(" |").split(", ")[-1]) > 0.8, row
    assert "resumed: same bits" in ended.stdout


def test_the_tables_are_made_in_their_small_form(tmp_path):
    script, out = str(ROOT / "benchmarks" / "tables.py"), tmp_path / "RESULTS.md"
    command = [sys.executable, script, "--small", "dense", "defaults", "larger", "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    text = out.read_text()
    assert "## Dense, in memory" in text
    assert "## Larger than memory" in text
    assert re.search(r"^\| tiny \| 100 × 50 \| 5 \|", text, re.MULTILINE)
    for peer in ("dnmf, hals", "scikit-learn, cd", "dask.array, textbook"):
        rows = [line.split(" | ") for line in text.splitlines() if line.startswith(f"| {peer} |")]
        assert len(rows) == 3, text
        assert rows[2][1] == "finishes", rows[2]


def test_the_measured_lines_of_the_readme_are_in_the_results():
    measured = (ROOT / "README.md").read_text().split("\n## Measured")[1].split("\n## ")[0]
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text().split("\n## Full-size measurements")[1].split("\n## ")[0]
    lines = measured.split("\n- ")[1:]
    assert lines
    for line in lines:
        script = line.split("`")[1]
        assert (ROOT / script.split()[0]).exists(), line
        (full,) = (found for found in results.split("\n- ") if found.startswith(f"`{script}`"))
        numbers = set(re.findall(r"\d[\d.]*\d|\d", line.partition("`: ")[2]))
        assert numbers <= set(re.findall(r"\d[\d.]*\d|\d", full)), line
