"""The gallery: every example, in a small form, draws its picture and finds the planted structure."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dnmf.cli.app import main

EXAMPLES = Path(__file__).parent.parent / "examples"
README = (EXAMPLES / "README.md").read_text()
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "gallery")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run an example in this process, check its picture, and return its names."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def run_it(name, *options):
        monkeypatch.setattr("sys.argv", [name, "--out", str(tmp_path), *map(str, options)])
        names = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        assert_picture(tmp_path / f"{name}.png")
        return names

    return run_it


def assert_picture(path):
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size < 60_000


def test_the_bumps_are_recovered(run):
    names = run("bumps", "--size", 1000)
    assert names["correlations"].min() > 0.99
    assert sorted(names["order"]) == [0, 1, 2, 3]
    assert list(names["snapshots"]) == list(names["MOMENTS"])


def test_the_parts_of_digits_rebuild_new_ones_better_than_means_do(run):
    errors = run("parts_of_digits")["errors"]
    assert errors["PCA"] < errors["dnmf"] < 0.3 < errors["k-means"]


def test_a_topic_is_about_one_module(run):
    names = run("topics")
    assert names["share"] > 0.7 > 0.2 > names["chance"]


def test_a_broad_topic_is_made_of_few_narrow_ones(run):
    names = run("topic_hierarchy")
    assert np.mean(names["shares"]) > 0.4
    assert names["result"].relative_error < 1.01 * names["alone"].relative_error


def test_the_notes_have_their_pitches_and_are_written_to_sound(run, tmp_path):
    names = run("notes")
    np.testing.assert_allclose(names["found"], names["PITCHES"], atol=1)
    assert min(names["quality"]) > 8
    assert len(list(tmp_path.glob("*.wav"))) == 6


def test_the_spectra_of_the_smallest_volume_are_nearest_to_the_true_ones(run):
    names = run("hyperspectral", "--size", 64)
    means = {name: angles.mean() for name, angles in names["degrees"].items()}
    assert means["smallest volume"] < 0.5 * means["purest pixels"] < 0.25 * means["plain"]
    assert names["errors"]["smallest volume"] < 0.5 * names["errors"]["purest pixels"]


def test_the_ratings_are_predicted_and_ranked_better_than_by_means(run):
    names = run("recommender", "--size", 3000)
    assert names["errors"]["dnmf"] < 0.9 * names["errors"]["mean of the film"]
    assert names["precision"]["dnmf"][9] > 0.85 > names["precision"]["mean of the film"][9]


def test_the_types_of_dividing_cells_are_recognised(run):
    names = run("gene_programmes", "--size", 600)
    assert names["agreement"]["dnmf"] > 0.95 > names["agreement"]["k-means"]
    assert names["likeness"].min() > 0.9


def test_neighbours_recover_the_maps(run):
    correlations = run("neighbours", "--size", 64)["correlations"]
    assert correlations[10.0] > 0.98 > 0.9 > correlations[0.0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere mapped files count as memory")
def test_the_memory_stays_below_its_limit(tmp_path):
    command = [sys.executable, EXAMPLES / "larger_than_memory.py", "--out", tmp_path, "--size", "400"]
    child = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    size, limit, peak = map(int, re.search(r"V has (\d+) MB.*limit was (\d+) MB.*held (\d+) MB", child.stdout).groups())
    assert peak < limit < size
    assert float(re.search(r"correlations of at least ([\d.]+)", child.stdout)[1]) > 0.99
    assert_picture(tmp_path / "larger_than_memory.png")


def test_the_programmes_of_cells_are_written_back(run, capsys):
    run("cells", "--size", 1000)
    assert "relative error" in capsys.readouterr().out


def test_the_bits_of_a_cluster_are_those_of_threads(run, capsys):
    run("on_a_cluster", "--size", 4000)
    assert "the same bits as on threads: True" in capsys.readouterr().out


def test_a_killed_run_is_resumed_to_the_same_bits(run):
    names = run("resume_after_a_kill")
    assert names["same"]
    assert 0 < names["kept"] <= len(names["reported"]) < names["PASSES"]


@pytest.mark.parametrize("name", NAMES)
def test_the_gallery_shows_every_example(name):
    assert f"python examples/{name}.py" in README
    assert f"](pictures/{name}.png)" in README
    assert f"python examples/{name}.py" in (EXAMPLES / f"{name}.py").read_text()
    assert_picture(EXAMPLES / "pictures" / f"{name}.png")


def test_the_links_of_the_gallery_work():
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (EXAMPLES / link).exists(), link


def test_the_command_lists_the_examples_and_writes_what_they_need(tmp_path):
    listed = re.findall(r"^(\w+)  +(\w.+)$", CliRunner().invoke(main, ["examples"]).stdout, re.MULTILINE)
    assert [name for name, _ in listed] == sorted([*NAMES, "scanpy_users"])
    assert all(len(purpose.split()) > 2 for _, purpose in listed)
    for name in ("topics", "bumps.py"):
        written = CliRunner().invoke(main, ["examples", name, "--out", str(tmp_path)])
        assert written.exit_code == 0, written.output
        assert f"python {tmp_path / name.removesuffix('.py')}.py" in written.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        name: (EXAMPLES / name).read_text() for name in ("topics.py", "bumps.py", "gallery.py")
    }
    CliRunner().invoke(main, ["examples", "scanpy_users", "--out", str(tmp_path / "page")])
    assert {path.name for path in (tmp_path / "page").iterdir()} == {"cells.py", "gallery.py", "scanpy_users.md"}
    (tmp_path / "topics.py").write_text("mine")
    refused = CliRunner().invoke(main, ["examples", "topics", "--out", str(tmp_path)])
    assert (refused.exit_code, (tmp_path / "topics.py").read_text()) == (2, "mine")
    assert "Did you mean 'topics'?" in CliRunner().invoke(main, ["examples", "topic"]).stderr


def test_there_is_a_test_for_every_example():
    tests = Path(__file__).read_text()
    assert [name for name in NAMES if f'"{name}' not in tests] == []
