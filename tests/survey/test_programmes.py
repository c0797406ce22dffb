"""The consensus of a survey as a result and as a store, against NumPy and the files of others."""

import anndata
import numpy as np
import pytest
from click.testing import CliRunner
from runs import factors, stored

import dnmf
from dnmf.cli.app import main
from dnmf.errors import SettingsError, StoreError

RNG = np.random.default_rng(0)
TRUE = RNG.random((40, 3)) ** 4
V = TRUE @ RNG.random((3, 150)) ** 3 + 0.01 * RNG.random((40, 150))
GENES = [f"gene {j}" for j in range(150)]


def run(*arguments):
    ended = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return ended.exit_code, ended.stdout, ended.stderr


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """Return the path of a survey of a matrix on a disk, whose columns have names."""
    folder = tmp_path_factory.mktemp("survey")
    path = stored(folder / "V.zarr", V, (40, 30))
    options = {"n_runs": 4, "cv": 0, "column_names": GENES}
    dnmf.select_rank(path, [2, 3], store=folder / "survey.zarr", **options)
    return folder / "survey.zarr"


def loss_of(V, W, H, options):
    """Return the objective, as in the docstring of `Settings`."""
    R = W @ H
    fit = (V * np.log(V / R) - V + R).sum() if "loss" in options else 0.5 * ((V - R) ** 2).sum()
    return fit + options.get("l1_H", 0) * H.sum() + options.get("l2_W", 0) / 2 * (W**2).sum()


@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"loss": "kullback-leibler", "max_passes": 6}, {"l1_H": 0.1, "l2_W": 0.2}, {"missing": "nan"}],
    ids=str,
)
def test_a_consensus_has_the_loss_of_its_factors_measured_in_one_read(options, tall):
    matrix = np.ascontiguousarray(V.T) if tall else V
    survey = dnmf.select_rank(matrix, [3], n_runs=3, cv=0, **options)
    found = survey.consensus(3, matrix)
    W, H = factors(found)
    assert found.loss == pytest.approx(loss_of(matrix, W, H, options), rel=1e-9)
    if "loss" not in options:
        error = np.linalg.norm(matrix - W @ H) / np.linalg.norm(matrix)
        assert found.relative_error == pytest.approx(error, rel=1e-9)
        assert error < 1.1 * survey.best(3).relative_error
    assert (found.passes, len(found.history), found.dropped) == (survey.passes + 1, 1, 0)
    np.testing.assert_allclose(dnmf.transform(found, matrix), W if tall else H, rtol=1e-6, atol=1e-8)


def test_components_sum_to_one_unless_penalties_depend_on_their_scale():
    plain = dnmf.select_rank(V, [3], n_runs=3, cv=0).consensus(3, V)
    np.testing.assert_allclose(plain.W.sum(axis=0), 1, rtol=1e-6)
    survey = dnmf.select_rank(V, [3], n_runs=3, cv=0, l2_W=0.1, l2_H=0.1)
    found = survey.consensus(3, V)
    lengths = np.array([np.linalg.norm(model.W, axis=0) for model in survey.models_of(3)])
    expected = [np.median(lengths[found.clusters.labels == k]) for k in range(3)]
    np.testing.assert_allclose(np.linalg.norm(found.W, axis=0), expected, rtol=1e-6)
    assert found.loss < 1.01 * survey.best(3).loss


def test_a_consensus_is_written_as_a_store_that_the_commands_read(survey, tmp_path):
    store = tmp_path / "consensus.zarr"
    code, _, told = run("consensus", survey, "--rank", 3, "--store", store)
    assert code == 0, told
    assert f"W and H are in {store}" in told
    found = dnmf.load_survey(survey).consensus(3)
    loaded = dnmf.load(store)
    for one, other in zip(factors(loaded), factors(found), strict=True):
        np.testing.assert_array_equal(one, other)
    assert loaded.verdict == found.verdict == found.clusters.sentence
    assert "The consensus of 4 runs at rank 3: 0 of 12 components were dropped" in run("info", store)[1]
    assert "gene" in run("top", store)[1]
    assert run("export", store, "-o", tmp_path / "c.h5ad")[0] == 0
    adata = anndata.read_h5ad(tmp_path / "c.h5ad")
    np.testing.assert_array_equal(adata.varm["NMF"], np.asarray(found.H).T)
    assert adata.var_names.tolist() == GENES
    np.save(tmp_path / "new.npy", V[:2])
    assert run("transform", store, tmp_path / "new.npy", "-o", tmp_path / "W.zarr")[0] == 0
    assert run("report", store, "-o", tmp_path / "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text()
    assert f"dnmf consensus {survey} --rank 3" in page
    assert "dnmf resume" not in page
    assert "They take a read of V" not in page
    assert "already exists" in run("consensus", survey, "--rank", 3, "--store", store)[2]
    assert run("consensus", survey, "--rank", 2, "--store", store, "--overwrite")[0] == 0
    assert dnmf.load(store).rank == 2


def test_the_store_of_a_consensus_is_not_resumed_and_its_factors_start_a_run(survey, tmp_path):
    store = dnmf.load_survey(survey).consensus(3).save(tmp_path / "consensus.zarr")
    with pytest.raises(StoreError, match=r"a saved result and no run to resume; .* init=dnmf\.load\('"):
        dnmf.resume(store)
    again = dnmf.factorize(V, 3, init=dnmf.load(store), max_passes=3, column_names=GENES)
    assert again.loss <= dnmf.load(store).loss


@pytest.mark.parametrize("command", ["top", "export"])
def test_a_survey_points_to_its_consensus(command, survey, tmp_path):
    out = ["-o", tmp_path / "out"] if command == "export" else []
    if command == "top":
        code, _, told = run("top", survey, "--rank", 3)
        assert code == 2
        assert "dnmf consensus SURVEY --rank RANK --store PATH" in told
    code, _, told = run(command, survey, *out)
    assert code == 2
    assert f"dnmf consensus {survey} --rank RANK --store PATH" in told


@pytest.mark.parametrize(
    "call",
    [
        lambda survey, path: dnmf.export(survey, path / "out"),
        lambda survey, path: dnmf.transform(survey, V),
        lambda survey, path: dnmf.write_anndata(anndata.AnnData(V), survey),
        lambda survey, path: dnmf.predict(survey, [(0, 0)]),
    ],
    ids=["export", "transform", "write_anndata", "predict"],
)
def test_functions_of_a_result_refuse_a_survey_with_a_sentence(call, survey, tmp_path):
    with pytest.raises(SettingsError, match=r"RankSurvey; give a Result.*survey\.consensus\(rank\)"):
        call(dnmf.load_survey(survey), tmp_path)


def test_the_matrix_of_a_consensus_is_that_of_the_survey(survey):
    with pytest.raises(StoreError, match="is of a matrix with a digest of its first block of"):
        dnmf.select_rank(V, [2], n_runs=2, cv=0).consensus(2, V + 1)
    with pytest.raises(StoreError, match="survey was given its weights in memory; give weights again"):
        dnmf.select_rank(V, [2], n_runs=2, cv=0, max_passes=3, weights=np.ones(V.shape)).consensus(2, V)


def test_a_consensus_does_not_overwrite_its_survey(survey):
    found = dnmf.load_survey(survey).consensus(2)
    for path in (survey, survey / "consensus.zarr"):
        with pytest.raises(StoreError, match="input"):
            found.save(path, overwrite=True)


def test_the_pipeline_of_cnmf_can_be_typed(tmp_path):
    np.save(tmp_path / "V.npy", V.T)
    for name, texts in (("genes", [f"g{i}" for i in range(40)]), ("cells", [f"c{i}" for i in range(150)])):
        (tmp_path / f"{name}.txt").write_text("\n".join(texts))
    named = ["--row-names", tmp_path / "cells.txt", "--column-names", tmp_path / "genes.txt"]
    options = ["--ranks", "3", "--n-runs", 3, "--cv", 0, "--prepare", "unit-variance", *named]
    code, _, told = run("rank", tmp_path / "V.npy", *options, "--store", tmp_path / "survey.zarr")
    assert code == 0, told
    assert run("consensus", tmp_path / "survey.zarr", "--rank", 3, "--store", tmp_path / "c.zarr")[0] == 0
    result = dnmf.load(tmp_path / "c.zarr")
    assert (result.names.rows[7], result.names.columns[7]) == ("c7", "g7")
    assert dnmf.load_survey(tmp_path / "survey.zarr").best(3).names.columns[39] == "g39"
    scaled = V.T / V.T.std(axis=0)
    W, H = factors(result)
    error = np.linalg.norm(scaled - W @ H) / np.linalg.norm(scaled)
    assert result.relative_error == pytest.approx(error, rel=1e-6)
