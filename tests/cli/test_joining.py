"""Several matrices on the command line."""

import numpy as np
import pytest
from click.testing import CliRunner
from joins import batches, frame, written

import dnmf
from dnmf.cli.app import main

pytestmark = pytest.mark.filterwarnings("always::dnmf.errors.DataWarning")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def paths(tmp_path):
    return written(batches(), tmp_path)


def test_info_describes_a_join_and_its_matrices(paths, tmp_path):
    shown = run("info", tmp_path / "run*.h5ad", "--rank", 2)
    assert shown.exit_code == 0, shown.output
    assert "88 × 21, float32, 3 matrices joined along their rows (AnnData X in HDF5)" in shown.stdout
    assert "run3          17 × 25, 4 of 25 columns dropped" in shown.stdout
    assert "warning: 21 columns are in all 3 matrices" in shown.stderr
    shown = run("info", *paths, "--join", "outer", "--keys", "a,b,c")
    assert "b             41 × 21, lacks 5 columns of others" in shown.stdout
    assert not shown.stderr


def test_a_run_of_a_pattern_is_resumed_described_and_projected(paths, tmp_path):
    store, out = tmp_path / "run.zarr", tmp_path / "W.zarr"
    made = run("fit", tmp_path / "run*.h5ad", "--rank", 2, "--store", store, "--max-passes", 2, "--tol", 0)
    assert made.exit_code == 0, made.output
    assert "3 matrices joined along their rows: " in run("info", store).stdout
    assert run("resume", store, "--max-passes", 3).exit_code == 0
    again = run("resume", store, "--max-passes", 4, *(word for path in paths for word in ("--matrix", path)))
    assert again.exit_code == 0, again.output
    assert dnmf.load(store).passes == 4
    assert run("transform", store, *paths, "--out", out).exit_code == 0
    assert run("convert", *paths, tmp_path / "V.zarr").exit_code == 0
    assert run("info", tmp_path / "V.zarr").stdout.count("88 × 21") == 1


def test_modalities_have_weights(tmp_path):
    paths = written([frame(40, [f"g{j}" for j in range(30)], 0), frame(40, list("pqr"), 1)], tmp_path)
    way = ("--along", "columns", "--matrix-weights", "1,10", "--keys", "rna,adt")
    made = run("fit", *paths, *way, "--rank", 2, "--store", tmp_path / "run.zarr", "--max-passes", 5)
    assert made.exit_code == 0, made.output
    source = dnmf.concat(paths, axis="columns", keys=["rna", "adt"], weights=[1, 10])
    np.testing.assert_array_equal(dnmf.load(tmp_path / "run.zarr").H, dnmf.factorize(source, 2, max_passes=5).H)
    chosen = run("rank", *paths, *way, "--ranks", "1,2", "--n-runs", 1, "--cv", 0)
    assert chosen.exit_code == 0, chosen.output
    refused = run("fit", *paths, "--along", "columns", "--matrix-weights", "1,x", "--rank", 2)
    assert refused.exit_code == 2
    assert "'1,x' is not a list of numbers" in refused.output
