"""Mistakes of a new user of the commands: each ends with one sentence that says what is allowed and what to do."""

import numpy as np
import pytest
from click.testing import CliRunner
from strategies import low_rank

import dnmf
from dnmf.cli.app import main


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def mistake(*arguments):
    """Return what a command prints about a mistake."""
    ended = run(*arguments)
    assert ended.exit_code == 2, ended.output
    assert ended.stdout == ""
    return ended.stderr


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a matrix, a run of it, one of two layers, and a survey."""
    monkeypatch.chdir(tmp_path)
    V = low_rank(30, 40, 3)
    np.save("V.npy", V)
    for store, rank in (("run.zarr", 2), ("layers.zarr", [3, 2])):
        dnmf.factorize("V.npy", rank, max_passes=2, tol=0, store=store)
    dnmf.select_rank("V.npy", [1, 2], n_runs=2, cv=0, store="survey.zarr")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("fit V.npy --rank 2 --samples columns", "--samples='columns' has no effect: it is for steps of --prepare"),
        ("rank V.npy --ranks 1,2 --samples rows", "--samples='rows' has no effect: it is for steps of --prepare"),
        ("fit V.npy --rank 2 --forget 0.5 --solver hals", "forget=0.5 has no effect: it is for solver='minibatch'"),
        ("fit V.npy --rank 2 --overwrite", "overwrite=True has no effect: it is for a store (--store)"),
        ("info V.npy --memory-limit 1GB", "memory_limit='1GB' has no effect: it is for the plan of a run (--rank)"),
        ("info run.zarr --threads 2", "threads=2 has no effect: it is for the plan of a run (--rank)"),
        ("report survey.zarr -o r.html --shape 5x8", "shape=(5, 8) has no effect: it is for the report of a run"),
        ("report survey.zarr -o r.html --matrix V.npy", "V='V.npy' has no effect: it is for the report of a run"),
        (
            "spectra run.zarr -o s.csv --no-total --total 5",
            "--total=5.0 has no effect: it is for samples that are scaled",
        ),
    ],
)
def test_an_option_without_an_effect_is_refused(command, sentence, folder):
    assert mistake(*command.split()).startswith(f"dnmf: {sentence}")
    assert not (folder / "r.html").exists()


def test_the_features_of_layers_are_chosen_as_asked(folder):
    plain, chosen = (run("top", "layers.zarr", *more).stdout for more in ((), ("--by", "specificity")))
    assert plain
    assert plain != chosen == run("top", "layers.zarr", "--layer", 2, "--by", "specificity").stdout


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            "report run.zarr -o r.pdf",
            "path='r.pdf' ends in .pdf, and a report is an HTML page; give a path that ends in",
        ),
        (
            "report survey.zarr -o r.PNG",
            "path='r.PNG' ends in .PNG, and a report is an HTML page; give a path that ends",
        ),
        ("export run.zarr -o W.csv", "path='W.csv' has the suffix of a file, and csv makes a folder of two tables;"),
        ("export run.zarr -o W.csv --format h5ad", "path='W.csv' has the suffix of a table, and h5ad makes one .h5ad"),
        ("export run.zarr -o W.h5ad --format csv", "path='W.h5ad' has the suffix of a file, and csv makes a folder of"),
        ("transform run.zarr V.npy --axis rows -o W.npy", "{}/W.npy has the name of a file, and dnmf writes a folder"),
        ("convert V.npy V.h5ad", "{}/V.h5ad has the name of a file, and dnmf writes a folder in the format Zarr; give"),
        ("fit V.npy --rank 2 --store run.csv.gz", "{}/run.csv.gz has the name of a file, and dnmf writes a folder in"),
        ("rank V.npy --ranks 1,2 --cv 0 --store s.h5", "{}/s.h5 has the name of a file, and dnmf writes a folder in"),
    ],
)
def test_a_path_of_another_format_than_is_written_is_refused(command, sentence, folder):
    before = sorted(folder.iterdir())
    assert mistake(*command.split()).splitlines()[-1].startswith(f"dnmf: {sentence.format(folder)}")
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("name", ["r.html", "r.HTM", "r"])
def test_a_report_is_a_page(name, folder):
    assert run("report", "run.zarr", "-o", name, "--no-residuals").exit_code == 0
    assert (folder / name).read_bytes().startswith(b"<!doctype html>")


@pytest.fixture
def files(folder):
    """The folder with some files that are not what they should be."""
    (folder / "empty.npy").write_bytes(b"")
    (folder / "text.csv").write_text("a,b\nx,y\n")
    (folder / "pairs.csv").write_text("row,column\n1,2\n-1,0\n")
    np.savez("several.npz", a=np.ones(3))
    np.save("one.npy", np.ones(5))
    return folder


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            "fit V.npy --rank 2 --fixed-W empty.npy",
            "Error: Invalid value: empty.npy is not a .npy file of numbers; save",
        ),
        (
            "fit V.npy --rank 2 --fixed-W several.npz",
            "Error: Invalid value: several.npz is not a .npy file of numbers;",
        ),
        (
            "fit one.npy --rank 2",
            "dnmf: {}/one.npy has 1 dimension(s), shape (5,); it must be a matrix, as that of resh",
        ),
        (
            "fit run.zarr --rank 2",
            "dnmf: {}/run.zarr is the store of a run, not a matrix; `dnmf info {}/run.zarr` names",
        ),
        (
            "fit survey.zarr --rank 2",
            "dnmf: {}/survey.zarr is a survey of ranks, not a matrix; `dnmf info {}/survey.zarr",
        ),
        ("fit V.npy --rank 2 --store=", "dnmf: The path is an empty text; give the path or the URL of a folder."),
        ("rank V.npy --ranks 1,2 --store V.npy", "dnmf: {}/V.npy is an input itself; give another path."),
        (
            "rank V.npy --ranks 1,2 --store text.csv",
            "dnmf: {}/text.csv already exists and is not a survey; choose another",
        ),
        (
            "resume run.zarr --rank 3",
            "Error: No such option '--rank'. A run keeps its own options; start a new one with",
        ),
        (
            "resume run.zarr --loss 1",
            "Error: No such option '--loss'. A run keeps its own options; start a new one with",
        ),
        (
            "predict run.zarr V.npy",
            "Error: Invalid value: PAIRS is not a CSV table with a header, a column of rows and",
        ),
        ("predict run.zarr empty.npy", "Error: Invalid value: PAIRS is not a CSV table with a header, a column of"),
        (
            "predict run.zarr text.csv",
            "dnmf: row 'x' is a name, and the rows of V have none; give positions from 0 to 29",
        ),
        ("predict run.zarr pairs.csv", "dnmf: row -1 is not in V, which has 30 rows; give positions from 0 to 29."),
        ("convert V.npy", "Error: An argument is missing; give ORIGIN and TARGET."),
        ("transform run.zarr -o W", "Error: An argument is missing; give STORE and MATRIX."),
        ("fit V.npy --rank 2 --along rows", "dnmf: --along='rows' has no effect: it is for several matrices; got one."),
        (
            "info V.npy --matrix-weights 2",
            "dnmf: --matrix-weights='2' has no effect: it is for several matrices; got one.",
        ),
        ("demo --step 0", "Error: Invalid value for '--step': 0 is not in the range x>=1."),
        ("examples -o new", "dnmf: --out='new' has no effect: it is for the examples whose NAMES are given; got none."),
        ("cluster-config -o new", "dnmf: --out='new' has no effect: it is for the file whose NAME is given; got none."),
    ],
)
def test_a_mistake_ends_with_one_sentence(command, sentence, files):
    assert mistake(*command.split()).splitlines()[-1].startswith(sentence.format(files, files))


def test_the_factors_in_the_store_of_a_run_are_matrices(folder):
    assert run("info", "run.zarr::W").exit_code == 0


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("fit W.npy --rank 2", "V.npy"),
        ("info survy.zarr", "survey.zarr"),
        ("resume runs.zarr", "run.zarr"),
        ("consensus surveys.zarr --rank 2 --store c.zarr", "survey.zarr"),
    ],
)
def test_a_path_that_does_not_exist_is_compared_with_its_neighbours(command, meant, folder):
    message = mistake(*command.split())
    assert " does not exist; give the " in message
    assert message.endswith(f" Did you mean {meant!r}?\n")
    assert "Did you mean" not in mistake("info", "elsewhere/V.npy")
