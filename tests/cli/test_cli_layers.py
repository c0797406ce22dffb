"""Commands on several layers, from the ranks of a run to the factor of a layer."""

import json

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from runs import matrix, stored

import dnmf
from dnmf.cli.app import main


def run(*arguments):
    ended = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert ended.exit_code == 0, ended.output + ended.stderr
    return ended


def test_layers_are_fitted_described_and_chosen(tmp_path):
    V, new = (stored(tmp_path / name, matrix(dtype=np.float64)[:, part], (24, 20)) for name, part in PARTS.items())
    store = tmp_path / "run.zarr"
    options = ["--layer-weights", "1,0.5", "--max-passes", "6", "--init", "random", "--tol", "0"]
    ended = run("fit", V, "--rank", "4,2", *options, "--store", store)
    result = dnmf.load(store)
    errors = ", ".join(f"{layer.relative_error:.6g}" for layer in result.layers)
    assert f"The relative errors of the layers are {errors}." in ended.stderr
    again = dnmf.factorize(V, [4, 2], layer_weights=(1, 0.5), max_passes=6, init="random", tol=0)
    np.testing.assert_array_equal(again.layers[0].W, result.layers[0].W)
    assert "rank          4, 2" in run("info", store).stdout
    assert "A run at rank [4, 2]" in run("info", V, "--rank", "4,2").stdout
    shown = run("top", store, "-n", "2").stdout
    assert shown.startswith("NMF_")
    assert " of layer 1, " in shown
    lines = run("top", store, "--layer", "1", "--json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == [f"NMF_{k}" for k in (1, 2, 3, 4)]
    run("transform", store, new, "--layer", "1", "--out", tmp_path / "H.zarr")
    found = zarr.open_array(tmp_path / "H.zarr", mode="r")[:]
    np.testing.assert_allclose(found, result.layers[0].transform(matrix(dtype=np.float64)[:, 50:]), atol=1e-12)
    run("export", store, "--layer", "1", "--out", tmp_path / "tables")
    assert (tmp_path / "tables" / "W.csv").read_text().splitlines()[0].endswith("NMF_4")


PARTS = {"V.zarr": slice(0, 50), "new.zarr": slice(50, 60)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rank", "4,x"], "give a number, or the ranks of several layers, as 100,49,25"),
        (["--rank", "2,4"], r"rank=[2, 4] grows from one layer to the next"),
        (["--rank", "4,2", "--layer-weights", "often"], "give greedy, a number, or one for every layer"),
    ],
)
def test_wrong_layers_are_refused(arguments, message, tmp_path):
    V = stored(tmp_path / "V.zarr", matrix(), (24, 20))
    ended = CliRunner().invoke(main, ["fit", V, *arguments])
    assert ended.exit_code != 0
    assert message in " ".join(ended.stderr.split())


def test_a_layer_that_a_run_does_not_have_is_refused(tmp_path):
    result = dnmf.factorize(matrix(), 2, max_passes=2, store=tmp_path / "run.zarr")
    ended = CliRunner().invoke(main, ["top", result.store, "--layer", "1"])
    assert ended.exit_code == 2
    assert "has one layer; leave --layer out" in " ".join(ended.stderr.split())
