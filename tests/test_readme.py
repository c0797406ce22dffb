"""The README: its Python runs, its commands run, and its links point somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest
from pages import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SCANPY = ROOT / "examples" / "scanpy_users.md"
PAGES = ["examples/README.md", "examples/scanpy_users.md", "cluster_configs/README.md", "CONTRIBUTING.md"]


def test_the_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run(README, "python")
    assert names["result"].W.shape == (200, 10)
    assert names["H"].shape == (10, 100)


def test_the_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("V.npy", np.random.default_rng(0).random((50, 400), dtype=np.float32))
    run(README, "console")
    assert Path("factors").exists()
    assert Path("cluster.zarr").exists()


@pytest.mark.parametrize("target", re.findall(r"make ([a-z-]+)", README))
def test_the_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_the_links_point_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(link).exists(), link


def test_ci_runs_the_command_of_the_readme():
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_page_for_users_of_scanpy_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    names = run(SCANPY.read_text())
    tops = [{name for name, _ in top} for top in names["result"].top(5)]
    for genes in names["write_cells"].__globals__["PROGRAMMES"].values():
        assert any(top <= set(genes.split()) for top in tops), f"no component is made of {genes}"
    assert names["adata"].obsm["X_nmf"].shape == (3000, 8)
