"""The README: its Python runs, its commands run, and its links point somewhere."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dnmf.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("python"):
        exec(block, names)
    assert names["result"].W.shape == (200, 10)
    assert names["H"].shape == (10, 100)


def test_the_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("V.npy", np.random.default_rng(0).random((50, 400), dtype=np.float32))
    commands = [line for block in blocks("console") for line in block.splitlines() if line.startswith("dnmf ")]
    assert len(commands) >= 6
    for command in commands:
        ended = CliRunner().invoke(main, shlex.split(command)[1:])
        assert ended.exit_code == 0, f"{command}: {ended.output}"


@pytest.mark.parametrize("target", re.findall(r"make ([a-z-]+)", README))
def test_the_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_links_point_somewhere():
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).exists(), link


def test_ci_runs_the_command_of_the_readme():
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()
