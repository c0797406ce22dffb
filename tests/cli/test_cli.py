"""The command line: output, exit codes, and how a run is stopped and resumed."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from strategies import SOURCES, low_rank

import dnmf
from dnmf.cli.app import main
from dnmf.errors import Interrupted
from dnmf.settings import OPTIONS, Group


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def matrix(tmp_path):
    return SOURCES["zarr"](low_rank(30, 200, 3), tmp_path)


def test_fit_writes_one_json_object_a_pass_on_stdout_and_nothing_else(matrix, tmp_path):
    ended = run(
        "fit",
        matrix,
        "--rank",
        3,
        "--max-passes",
        4,
        "--tol",
        0,
        "--init",
        "random",
        "--store",
        tmp_path / "run.zarr",
        "--json",
    )
    assert ended.exit_code == 0, ended.output
    records = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [record["passes"] for record in records] == [1, 2, 3, 4]
    history = dnmf.load(tmp_path / "run.zarr").history
    assert records == [record.to_dict() for record in history]


def test_fit_prints_messages_on_stderr(matrix, tmp_path):
    ended = run("fit", matrix, "--rank", 3, "--max-passes", 4, "--tol", 0, "--store", tmp_path / "run.zarr")
    assert ended.stdout == ""
    assert "pass    4  loss" in ended.stderr
    assert "The 4 passes allowed were spent" in ended.stderr
    assert f"W and H are in {tmp_path / 'run.zarr'}" in ended.stderr


def test_fit_warns_that_nothing_is_saved_without_a_store(matrix, tmp_path):
    message = "Results will not be saved; add --store PATH."
    told = run("fit", matrix, "--rank", 3, "--max-passes", 2).stderr
    assert message in told
    assert f"repeat: dnmf fit {matrix} --rank 3 --max-passes 2 --store run.zarr\n" in told
    assert message not in run("fit", matrix, "--rank", 3, "--max-passes", 2, "--store", tmp_path / "run.zarr").stderr
    assert message not in run("fit", matrix, "--rank", 3, "--solver", "hasl").stderr
    assert message not in run("fit", tmp_path / "none.zarr", "--rank", 3).stderr


@pytest.mark.parametrize(
    ("command", "function", "store"),
    [("fit --rank 3", "factorize", "run.zarr"), ("rank --ranks 2:4", "select_rank", "survey.zarr")],
)
def test_a_run_without_a_store_that_is_stopped_prints_the_command_with_a_store(command, function, store, monkeypatch):
    def interrupted(*given, **options):
        os.kill(os.getpid(), signal.SIGINT)
        raise Interrupted

    monkeypatch.setattr(dnmf, function, interrupted)
    name, *options = command.split()
    ended = run(name, "my V.npy", *options)
    assert ended.exit_code == 130
    assert f"repeat: dnmf {name} 'my V.npy' {' '.join(options)} --store {store}\n" in ended.stderr


def test_a_survey_is_not_taken_for_a_matrix(matrix, tmp_path):
    dnmf.select_rank(matrix, [2, 3], n_runs=2, cv=0, store=tmp_path / "survey.zarr")
    ended = run("fit", tmp_path / "survey.zarr", "--rank", 3)
    assert ended.exit_code == 2
    assert "survey.zarr is a survey of ranks, not a matrix" in ended.stderr


def test_the_plan_of_a_run_does_not_repeat_the_matrix(matrix):
    described = run("info", matrix, "--rank", 3).stdout
    assert described.count("30 × 200") == 1
    assert "A run at rank 3\n  blocks " in described


def test_a_terminal_shows_one_bar(matrix):
    hide_cursor = "\x1b[?25l"
    arguments = ["fit", str(matrix), "--rank", "3", "--max-passes", "2"]
    ended = CliRunner(env={"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm"}).invoke(main, arguments)
    assert ended.stderr.count(hide_cursor) == 1


def test_options_reach_the_run(matrix, tmp_path):
    options = {
        "loss": "kullback-leibler",
        "solver": "mu",
        "l1_W": 0.5,
        "l2_H": 0.25,
        "seed": 3,
        "threads": 1,
        "keep_checkpoints": 1,
    }
    flags = [part for name, value in options.items() for part in ("--" + name.replace("_", "-"), value)]
    run(
        "fit", matrix, "--rank", 3, "--max-passes", 3, "--store", tmp_path / "run.zarr", "--memory-limit", "1GB", *flags
    )
    settings = dnmf.load(tmp_path / "run.zarr").settings
    assert {name: getattr(settings, name) for name in options} == options
    assert settings.memory_limit == 10**9


@pytest.mark.parametrize(
    "options",
    [["--init", "random"], ["--solver", "sketch"], ["--loss", "kullback-leibler"], ["--solver", "mu"]],
    ids=str,
)
def test_fit_prints_the_spread_of_the_losses_of_several_runs(options, tmp_path):
    matrix, on_sketch = SOURCES["zarr"](low_rank(60, 200, 3) + 0.1, tmp_path), "sketch" in options
    command = ["fit", matrix, "--rank", 3, "--n-runs", 4, "--max-passes", 4, "--store", tmp_path / "run.zarr", *options]
    ended = run(*command, "--json")
    assert ended.exit_code == 0, ended.output
    result = dnmf.load(tmp_path / "run.zarr")
    *records, spread = map(json.loads, ended.stdout.splitlines())
    assert records == [record.to_dict() for record in result.history]
    assert spread["runs"] == list(result.runs)
    assert len(spread["runs"]) == 4
    assert [spread[name] for name in ("least", "median", "largest")] == [
        pytest.approx(f(result.runs)) for f in (min, np.median, max)
    ]
    assert spread["on_sketch"] == on_sketch
    where = " on the sketch" if on_sketch else ""
    line = f"The best of 4 runs, whose losses{where} are from {min(result.runs):.6e} to {max(result.runs):.6e}, "
    assert line in ended.stderr
    assert line in run("resume", tmp_path / "run.zarr", "--max-passes", 6).stderr
    if "kullback-leibler" in options:
        longer = run("fit", matrix, "--rank", 3, "--n-runs", 4, "--max-passes", 6, *options).stderr
        assert "in the median, each after its own last pass." in longer
    assert "each after its own last pass" not in ended.stderr  # all of them made four passes
    assert "runs" not in run("fit", matrix, "--rank", 3, "--max-passes", 2).output


def test_rank_has_a_line_for_each_rank_and_one_for_the_suggestion(matrix):
    command = ["rank", matrix, "--ranks", "2:4", "--n-runs", 2, "--cv", 2]
    plain = run(*command)
    assert plain.exit_code == 0, plain.output
    head, *lines = plain.stdout.splitlines()
    assert head.split()[0] == "rank"
    assert head.split()[-2:] == ["passes", "seconds"]
    assert [line.split()[0] for line in lines[:3]] == ["2", "3", "4"]
    *passes, two, three, four, found = map(json.loads, run(*command, "--json").stdout.splitlines())
    assert [record["passes"] for record in passes] == [2, 3]
    assert [row["rank"] for row in (two, three, four)] == [2, 3, 4]
    assert {row["passes"] for row in (two, three, four)} == {3}
    assert all(row["seconds"] > 0 for row in (two, three, four))
    assert found["suggested"] in (2, 3, 4)


@pytest.mark.parametrize("width", [160, 80, 40])
def test_a_narrow_terminal_shows_whole_figures_of_fewer_columns(width, matrix, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    shown = run("rank", matrix, "--ranks", "2:4", "--n-runs", 2, "--cv", 2).stdout
    assert "held out" in shown
    assert "…" not in shown
    assert ("A wider terminal also shows" in shown) == (width < 160)


def test_resume_continues_a_run_and_info_describes_it(matrix, tmp_path):
    store = tmp_path / "run.zarr"
    run("fit", matrix, "--rank", 3, "--max-passes", 4, "--tol", 0, "--store", store)
    ended = run("resume", store, "--max-passes", 6)
    assert ended.exit_code == 0, ended.output
    assert "The run resumes after pass 4" in ended.stderr
    described = run("info", store).stdout
    assert re.search(r"passes +6\n", described)
    assert "The 6 passes allowed were spent" in described


def test_info_describes_a_survey(matrix, tmp_path):
    store = tmp_path / "survey.zarr"
    run("rank", matrix, "--ranks", "2:4", "--n-runs", 2, "--cv", 0, "--store", store)
    described = run("info", store)
    assert described.stderr == ""
    assert "models        6, 2 runs of each rank" in described.stdout
    assert str(dnmf.load_survey(store).suggest()) in described.stdout


def test_a_survey_in_place_of_a_run_is_refused_with_the_path_of_its_runs(matrix, tmp_path):
    store = tmp_path / "survey.zarr"
    run("rank", matrix, "--ranks", "2:4", "--n-runs", 2, "--cv", 0, "--store", store)
    ended = run("top", store)
    assert ended.exit_code == 2
    assert f"{store} is a survey of ranks" in ended.stderr
    assert run("top", store / "best" / "rank-004.zarr").exit_code == 0


@pytest.mark.parametrize("command", ["info", "top", "report -o page.html", "consensus --rank 3 --store c.zarr"])
def test_a_survey_of_graph_weights_is_named_with_the_function_that_reads_it(command, matrix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("graph.npy", dnmf.graphs.chain(200).toarray())
    run("graph-weight", matrix, "--rank", 3, "--graph-H", "graph.npy", "--max-passes", 2, "--store", "w.zarr")
    name, *options = command.split()
    ended = run(name, "w.zarr", *options)
    shown = ended.stdout if name == "info" else ended.stderr
    assert "a survey of graph weights; repeat select_graph_weight (dnmf graph-weight) with the same" in shown
    assert ended.exit_code == (0 if name == "info" else 2)


def test_info_describes_a_survey_that_is_not_finished(matrix, tmp_path):
    store = tmp_path / "survey.zarr"

    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dnmf.select_rank(matrix, [2, 3], n_runs=2, solver="hals", store=store, watchers=stop)
    described = run("info", store)
    assert (described.exit_code, described.stderr) == (0, "")
    assert re.search(r"rank +2, 3\n", described.stdout)
    assert f"The survey in {store} is not finished" in described.stdout


def test_info_shows_the_plan(matrix):
    shown = run("info", matrix, "--rank", 3, "--memory-limit", "1GB").stdout
    assert "30 × 200, float64, Zarr array" in shown
    assert "at most, of 1 GB allowed" in shown


def test_transform_writes_the_factor_of_new_data(matrix, tmp_path):
    run("fit", matrix, "--rank", 3, "--max-passes", 4, "--store", tmp_path / "run.zarr")
    ended = run("transform", tmp_path / "run.zarr", matrix, "--out", tmp_path / "H.zarr")
    assert ended.exit_code == 0, ended.output
    expected = dnmf.transform(tmp_path / "run.zarr", matrix)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "H.zarr", mode="r")[...], expected.compute())
    again = run("transform", tmp_path / "run.zarr", matrix, "--out", tmp_path / "H.zarr")
    assert again.exit_code == 2
    assert "already exists; choose another path or pass overwrite=True" in again.stderr


@pytest.mark.parametrize("kind", ["zarr", "zarr, rows", "npy", "npy Fortran"])
@pytest.mark.parametrize("flags", [(), ("--chunks", "30,70"), ("--chunks", "7,200", "--compressor", "zstd")])
def test_convert_rewrites_a_matrix_whole(kind, flags, tmp_path):
    V = low_rank(30, 200, 3)
    ended = run("convert", SOURCES[kind](V, tmp_path), tmp_path / "new.zarr", "--memory-limit", "20kB", *flags)
    assert ended.exit_code == 0, ended.output
    array = zarr.open_array(tmp_path / "new.zarr", mode="r")
    np.testing.assert_array_equal(array[...], V)
    assert array.chunks == {(): (30, 200), "30,70": (30, 70), "7,200": (7, 200)}[flags[1] if flags else ()]
    assert run("convert", tmp_path / "new.zarr", tmp_path / "new.zarr").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "nowhere.zarr", "--rank", "2"], "nowhere.zarr does not exist"),
        (["fit", "MATRIX", "--rank", "0"], "dnmf: rank=0 is not allowed"),
        (["fit", "MATRIX", "--rank", "2", "--solver", "hasl"], "Did you mean 'hals'?"),
        (["fit", "MATRIX"], "Missing option '--rank'"),
        (["fit", "MATRIX", "-k", "2"], "Did you mean '--rank'?"),
        (["fit", "MATRIX", "--rank", "2", "--random-state", "1"], "Did you mean '--seed'?"),
        (["fit", "MATRIX", "--rank", "2", "--tool", "1"], "Did you mean one of: '--store', '--tol'?"),
        (["factorize", "MATRIX"], "No such command 'factorize'. Did you mean 'fit'?"),
        (["rank", "MATRIX", "--ranks", "6:2"], "'6:2' is not a list of ranks"),
        (["fit", "MATRIX", "--rank", "2", "--memory-limit", "1MB"], "dnmf: memory_limit is 1 MB"),
        (["resume", "nowhere.zarr"], "does not exist; give the store of a run"),
        (["info", "nowhere.zarr"], "nowhere.zarr does not exist"),
        (["fit", "MATRIX", "--rank", 3, "--workers", 0], "0 is not in the range x>=1"),
        (["convert", "MATRIX", "new.zarr", "--compressor", "zst"], "Did you mean 'zstd'?"),
        (["fit", "MATRIX", "--rank", 3, "--threads-per-worker", 2], "are those of new workers; give --workers too"),
        (["fit", "MATRIX", "--rank", 3, "--verbose"], "Progress is shown in a terminal"),
        (
            ["convert", "MATRIX", "new.zarr", "--chunks", "wide"],
            "for --chunks: 'wide' is not a shape; give sizes such as 2000,1000",
        ),
    ],
)
def test_mistakes_end_in_a_message_and_exit_code_2(arguments, message, matrix):
    ended = run(*[matrix if argument == "MATRIX" else argument for argument in arguments])
    assert ended.exit_code == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.output


def test_no_mistyped_option_is_taken_for_the_one_that_replaces_a_store(matrix):
    assert "--overwrite" not in run("fit", matrix, "--rank", 2, "--overwrit").stderr


def test_a_plan_is_for_a_matrix_and_not_for_a_run(matrix, tmp_path):
    run("fit", matrix, "--rank", 2, "--store", tmp_path / "run.zarr")
    ended = run("info", tmp_path / "run.zarr", "--rank", 3)
    assert ended.exit_code == 2
    assert "holds results; give the matrix" in ended.stderr


def test_a_run_is_resumed_with_weights_that_have_moved(matrix, tmp_path):
    weights = np.random.default_rng(0).random((30, 200))
    there, moved = SOURCES["zarr"](weights, tmp_path), tmp_path / "moved.zarr"
    given = ["--weights", there, "--tol", 0, "--store", tmp_path / "run.zarr"]
    assert run("fit", matrix, "--rank", 2, "--max-passes", 2, *given).exit_code == 0
    Path(there).rename(moved)
    refused = run("resume", tmp_path / "run.zarr", "--max-passes", 4)
    assert refused.exit_code == 2
    assert "or weights (--weights)" in refused.stderr
    resumed = run("resume", tmp_path / "run.zarr", "--weights", moved, "--max-passes", 4)
    assert resumed.exit_code == 0, resumed.stderr
    whole = dnmf.factorize(matrix, 2, weights=weights, max_passes=4, tol=0)
    np.testing.assert_array_equal(dnmf.load(tmp_path / "run.zarr").W, np.asarray(whole.W))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_run_with_a_checkpoint_and_the_command_to_resume(number, code, tmp_path):
    V = np.asfortranarray(low_rank(2000, 10000, 3, dtype="float32"))
    matrix, store = tmp_path / "V.npy", tmp_path / "run.zarr"
    np.save(matrix, V)
    command = [sys.executable, "-m", "dnmf", "fit", matrix, "--rank", "3", "--max-passes", "100000", "--tol", "0"]
    command += ["--store", store, "--checkpoint-every", "100000", "--json"]
    with subprocess.Popen(list(map(str, command)), stdout=-1, stderr=-1, text=True) as child:
        child.stdout.readline()
        child.stdout.readline()
        child.send_signal(number)
        _, messages = child.communicate()
    assert child.returncode == code
    assert f"resume with: dnmf resume {store}" in messages
    result = dnmf.load(store)
    assert result.passes >= 2
    whole = dnmf.factorize(matrix, 3, max_passes=result.passes + 1, tol=0)
    np.testing.assert_array_equal(dnmf.resume(store, max_passes=result.passes + 1).W, np.asarray(whole.W))


def test_the_demo_runs_in_a_small_form(tmp_path):
    ended = run("demo", "--out", tmp_path / "demo", "--step", 8, "--max-passes", 3)
    assert ended.exit_code == 0, ended.output
    assert zarr.open_array(tmp_path / "demo" / "patches.zarr", mode="r").shape == (768, 52 * 79 * 2)
    assert (tmp_path / "demo" / "parts.png").read_bytes().startswith(b"\x89PNG")
    assert dnmf.load(tmp_path / "demo" / "run.zarr").passes == 3


def test_the_help_lists_options_in_groups():
    shown = CliRunner().invoke(main, ["fit", "--help"], terminal_width=80).output
    titles = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == [f"{group}:" for group in ("Options", *get_args(Group), "Cluster")]
    assert max(map(len, shown.splitlines())) <= 80
    for name in OPTIONS:
        assert f"  --{name.replace('_', '-')} " in shown


def test_a_warning_is_one_plain_line(matrix):
    command = [sys.executable, "-m", "dnmf", "fit", matrix, "--rank", "3", "--max-passes", "2", "--l1-W", "1"]
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    lines = [line for line in ended.stderr.splitlines() if "has no effect" in line]
    assert len(lines) == 1
    assert lines[0].startswith("warning: A penalty of W alone has no effect: ")
    assert "DataWarning" not in ended.stderr


def test_the_help_describes_every_command_in_a_whole_sentence():
    shown = CliRunner().invoke(main, ["--help"], terminal_width=78).output
    lines = shown.partition("Commands:\n")[2].splitlines()
    assert len(lines) == len(main.commands)
    assert all(line.endswith(".") and not line.endswith("..") for line in lines)


def test_the_version_is_printed():
    assert run("--version").stdout == f"dnmf, version {dnmf.__version__}\n"


def test_missing_weighted_and_fixed_parts_are_given_by_options(tmp_path):
    V = low_rank(20, 60, 3)
    M = np.random.default_rng(0).random(V.shape) < 0.8
    known = np.random.default_rng(1).random((20, 2))
    for name, array in (("V", V), ("holes", np.where(M, V, np.nan)), ("M", 1.0 * M), ("known", known)):
        np.save(tmp_path / f"{name}.npy", array)
    options = ["--rank", "3", "--max-passes", "4", "--tol", "0", "--loss", "0.5", "--fixed-W", tmp_path / "known.npy"]
    for matrix, name, value in (("holes", "missing", "nan"), ("V", "weights", tmp_path / "M.npy")):
        more = [f"--{name}", value]
        command = ["fit", tmp_path / f"{matrix}.npy", *options, *more, "--store", tmp_path / f"{matrix}.zarr"]
        ended = CliRunner().invoke(main, [str(word) for word in command])
        assert ended.exit_code == 0, ended.output
        found = dnmf.load(tmp_path / f"{matrix}.zarr")
        options_of_run = {"loss": 0.5, "fixed_W": known, "max_passes": 4, "tol": 0, name: value}
        expected = dnmf.factorize(tmp_path / f"{matrix}.npy", 3, **options_of_run)
        np.testing.assert_array_equal(np.asarray(found.W), np.asarray(expected.W))
        np.testing.assert_array_equal(np.asarray(found.W)[:, :2], known)
    ended = CliRunner().invoke(main, ["resume", str(tmp_path / "V.zarr"), "--max-passes", "6"])
    assert ended.exit_code == 0, ended.output
    (tmp_path / "text.npy").write_text("no numbers")
    command = ["fit", tmp_path / "V.npy", "--rank", "3", "--fixed-W", tmp_path / "text.npy"]
    assert "is not a .npy file of numbers" in CliRunner().invoke(main, [str(word) for word in command]).output


def test_a_graph_is_an_option_of_fit_resume_transform_and_a_survey(matrix, tmp_path):
    import scipy.sparse as sp

    graph, store = tmp_path / "A.npz", tmp_path / "run.zarr"
    sp.save_npz(graph, sp.csc_array(dnmf.graphs.chain(200)))
    np.save(tmp_path / "T.npy", np.ones((3, 200)))
    common = ["--graph-H", graph, "--tol", 0, "--solver", "hals", "--init", "random"]
    options = [*common, "--graph-weight", "1,4", "--target-H", tmp_path / "T.npy", "--l1-W", "0.1,0,0.2"]
    ended = run("fit", matrix, "--rank", 3, *options, "--max-passes", 3, "--store", store)
    assert ended.exit_code == 0, ended.output
    assert run("resume", store, "--max-passes", 5).exit_code == 2  # the target was in memory
    ended = run("resume", store, "--max-passes", 5, "--target-H", tmp_path / "T.npy")
    assert ended.exit_code == 0, ended.output
    python = {
        "graph_H": dnmf.graphs.chain(200),
        "graph_weight": 4,
        "target_H": np.ones((3, 200)),
        "l1_W": [0.1, 0, 0.2],
    }
    expected = dnmf.factorize(matrix, 3, **python, solver="hals", init="random", tol=0, max_passes=5)
    assert dnmf.load(store).loss == expected.loss
    np.save(tmp_path / "new.npy", np.ones((30, 2)))
    sp.save_npz(tmp_path / "edges.npz", sp.csr_array(np.ones((2, 200))))
    ended = run(
        "transform", store, tmp_path / "new.npy", "--edges", tmp_path / "edges.npz", "--out", tmp_path / "H.zarr"
    )
    assert ended.exit_code == 0, ended.output
    ended = run(
        "graph-weight",
        matrix,
        "--rank",
        3,
        "--graph-weights",
        "0,2:1",
        "--cv",
        2,
        *common[:2],
        "--max-passes",
        2,
        "--store",
        tmp_path / "weights.zarr",
    )
    assert ended.exit_code == 0, ended.output
    assert "held-out error at rank 3" in ended.stdout
    assert (tmp_path / "weights.zarr" / "pieces" / "weights.npz").exists()
    assert "suggested" in ended.stdout


def test_help_and_completion_import_no_slow_package():
    code = "import sys, dnmf.cli.app; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert loaded & {"dask", "distributed", "numba", "numpy", "pandas", "rich", "scipy", "sklearn", "zarr"} == set()
