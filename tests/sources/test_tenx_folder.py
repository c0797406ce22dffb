"""Folders of counts of 10x Genomics are read as the `.h5` of the same run, or refused with the file to look at."""

import gzip
import shutil

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from click.testing import CliRunner
from formats import CELLS, GENES, quiet, read_back, tenx, tenx_folder
from strategies import low_rank

import dnmf
from dnmf.cli.app import main
from dnmf.conversion import convert
from dnmf.errors import DataError
from dnmf.sources import open_matrix
from dnmf.sources.names import Names

V = np.random.default_rng(0).poisson(low_rank(30, 200, 3)).astype("f4")


@pytest.mark.parametrize("feature", ["features.tsv", "genes.tsv"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_is_the_matrix_of_the_h5_of_the_same_run(feature, packed, tmp_path):
    folder = tenx_folder("", feature, packed)(V, tmp_path)
    found, expected = (open_matrix(given) for given in (folder, tenx(V, tmp_path)))
    np.testing.assert_array_equal(read_back(found), read_back(expected))
    for axis in ("rows", "columns"):
        assert getattr(found.layout.names, axis).tolist() == getattr(expected.layout.names, axis).tolist()
    convert(folder, tmp_path / "V.zarr", by="rows")
    again = open_matrix(tmp_path / "V.zarr")
    np.testing.assert_array_equal(read_back(again), V)
    assert again.layout.names.columns.tolist() == GENES


def test_one_of_several_samples_is_given_by_its_prefix(tmp_path):
    for sample, shift in (("GSM1_a_", 0), ("GSM2_b_", 1), ("", 2)):
        folder = tenx_folder(sample, packed=shift > 0)(V + shift, tmp_path)
    sentence = r"holds the counts of 3 samples; give one of its prefixes: matrix.mtx, GSM1_a, GSM2_b; as \S+::"
    with pytest.raises(DataError, match=sentence):
        open_matrix(folder)
    with pytest.raises(DataError, match="holds no counts with the prefix GSM3; give one of its prefixes"):
        open_matrix(f"{folder}::GSM3")
    (folder / "GSM1_a.matrix.mtx").touch()
    with pytest.raises(DataError, match=r"no counts with the prefix GSM1_a; .* prefixes: matrix.mtx, GSM1_a., GSM1_a_"):
        open_matrix(f"{folder}::GSM1_a")
    (folder / "GSM1_a.matrix.mtx").unlink()
    for part, shift in (("GSM1_a", 0), ("GSM2_b_", 1), ("matrix.mtx", 2), ("GSM2_b_matrix.mtx.gz", 1)):
        np.testing.assert_array_equal(read_back(open_matrix(f"{folder}::{part}")), V + shift)
    shown = CliRunner().invoke(main, ["info", str(folder)])
    assert shown.exit_code == 0
    assert "matrix.mtx, GSM1_a, GSM2_b" in shown.stdout


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.tsv.gz").write_bytes(gzip.compress(text.encode()))


def without(name):
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            without("barcodes.tsv.gz"),
            r"without barcodes\.tsv \(compressed or not\); add it, or give \S+matrix\.mtx",
        ),
        (without("features.tsv.gz"), r"without features\.tsv, genes\.tsv or peaks\.bed"),
        (without("matrix.mtx.gz"), r"without matrix\.mtx \(compressed or not\); add it\."),
        (lambda folder: write(folder, barcodes="a\nb\n"), "has 200 lines and .* 2, and .* has 200 rows and 30 columns"),
        (
            lambda folder: write(
                folder,
                barcodes="\n".join(GENES),
                features="\n".join(CELLS),
            ),
            "They are those of its transpose: write it as features × barcodes",
        ),
        (lambda folder: write(folder, genes="a\tb\n"), r"holds features\.tsv\.gz and genes\.tsv\.gz, which may differ"),
        (lambda folder: write(folder, features="a\tb\nc\n"), r"The names in \S+features\.tsv\.gz cannot be read"),
        (
            lambda folder: (
                scipy.io.mmwrite(folder / "matrix.mtx.gz", V.T)
                or shutil.move(folder / "matrix.mtx.gz.mtx", folder / "matrix.mtx.gz")
            ),
            "is not a list of coordinates",
        ),
    ],
)
def test_a_folder_that_is_incomplete_is_refused(spoil, sentence, tmp_path):
    folder = tenx_folder()(V, tmp_path)
    spoil(folder)
    for run in (open_matrix, lambda given: convert(given, tmp_path / "target.zarr")):
        with pytest.raises(DataError, match=sentence):
            run(folder)


def test_regions_are_named_by_their_places(tmp_path):
    folder = tenx_folder()(V, tmp_path)
    (folder / "features.tsv.gz").unlink()
    (folder / "peaks.bed").write_text("".join(f"chr1\t{j}\t{j + 9}\n" for j in range(200)))
    assert open_matrix(folder).layout.names.columns[:2].tolist() == ["chr1:0-9", "chr1:1-10"]
    (folder / "peaks.bed").write_text("chr1 0 9\n" * 200)
    with pytest.raises(DataError, match=r"peaks\.bed is not a readable BED file \(a line has fewer than three fields"):
        open_matrix(folder)


def test_a_longer_one_is_converted(monkeypatch, tmp_path):
    monkeypatch.setattr("dnmf.sources.formats.entry_list.HELD_ENTRIES", 100)
    folder = tenx_folder("A_")(V, tmp_path)
    with pytest.raises(DataError, match=r"with: dnmf convert \S+_bc_matrix filtered_feature_bc_matrix.zarr"):
        dnmf.factorize(folder, 2)
    convert(f"{folder}::A", tmp_path / "V.zarr", memory_limit="1MB")
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.zarr")), V)


def test_a_folder_takes_the_place_of_the_h5_in_transform_and_a_survey_reads_it(tmp_path):
    folder, place = tenx_folder()(V, tmp_path), tenx(V.astype("i4"), tmp_path)
    dnmf.factorize(place, 2, max_passes=3, tol=0, store=tmp_path / "run.zarr")
    found, expected = (np.asarray(dnmf.transform(tmp_path / "run.zarr", given)) for given in (folder, place))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    surveys = [dnmf.select_rank(given, [2, 3], n_runs=2, cv=0) for given in (folder, sp.csc_array(V.astype("f8")))]
    losses = [[survey.best(rank).loss for rank in (2, 3)] for survey in surveys]
    np.testing.assert_allclose(*losses, rtol=1e-9)


def test_a_zarr_folder_and_the_file_itself_are_read_as_before(tmp_path):
    import anndata

    folder = tenx_folder()(V, tmp_path)
    with quiet():
        anndata.AnnData(sp.csr_matrix(V)).write_zarr(tmp_path / "V.zarr")
    shutil.copy(folder / "matrix.mtx.gz", tmp_path / "V.zarr" / "matrix.mtx.gz")
    assert "AnnData" in open_matrix(tmp_path / "V.zarr").layout.kind
    names = {"row_names": folder / "features.tsv.gz", "column_names": str(folder / "barcodes.tsv.gz")}
    result = dnmf.factorize(folder / "matrix.mtx.gz", 1, max_passes=2, **names)
    assert result.names.rows.tolist() == GENES
    assert result.names.columns.tolist() == CELLS
    with pytest.raises(DataError, match=rf"is not a Zarr array .* Or give a folder of counts in it: {folder}\."):
        open_matrix(tmp_path)
    (folder / "genes.txt").write_text("ENSG1\tTP53\nENSG2\tMYC\n")
    (folder / "cut.tsv.gz").write_bytes(gzip.compress(b"a\nb\n")[:-9])
    for name in ("genes.txt", "cut.tsv.gz"):
        with pytest.raises(DataError, match=r"The names in .* cannot be read \("):
            Names.of(folder / name, None)


@pytest.mark.parametrize("name", ["corpus.mm", "V.txt", "V.dat.gz", "V", "V.csv", "V.tsv.gz"])
def test_a_file_is_known_by_the_first_line_of_matrix_market(name, tmp_path):
    scipy.io.mmwrite(tmp_path / "V.mtx", sp.coo_array(V))
    content = (tmp_path / "V.mtx").read_bytes()
    sizes = f"30 200 {np.count_nonzero(V)}".encode()
    assert sizes in content
    content = content.replace(sizes, sizes.ljust(50))  # as gensim writes it
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / name)), V)
    convert(tmp_path / name, tmp_path / "V.zarr")
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "V.zarr")), V)
