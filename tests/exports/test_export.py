"""The factors in the files and objects of others: what is in them is what the result has, named and in order."""

import csv
import dataclasses
import importlib
import sys

import anndata
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from click.testing import CliRunner
from runs import factors, matrix, stored

import dnmf
import dnmf.exports.factors
import dnmf.run.result
from dnmf.cli.app import main
from dnmf.errors import DataError, DiskError, MissingExtraError, SettingsError, StoreError
from dnmf.inspection.components import Part

EXPORT = importlib.import_module("dnmf.exports.factors")  # the function has the name of its module
V = matrix()
CELLS = [f"cell {row}" for row in range(24)]
GENES = [f"gène {column}" for column in range(60)]
AWKWARD = ['"', "a,b", "two\nlines", "car\rriage", "", "=1+1", "na\0ught", " é ", "\u2028", "'"]
CUTS = {"columns": (24, 7), "rows": (5, 60)}
NAMED = {"row_names": CELLS, "column_names": GENES}
FORMATS = ("csv", "parquet", "h5ad")


def fit(tmp_path, cut="columns", **options):
    path = stored(tmp_path / "V.zarr", V, CUTS[cut])
    return dnmf.factorize(path, 3, max_passes=3, store=tmp_path / "run.zarr", overwrite=True, **options)


def tables(path, format):
    """Return both tables of an export as frames."""
    if format == "h5ad":
        adata = anndata.read_h5ad(path)
        names = [f"NMF_{k + 1}" for k in range(3)]
        return {
            "W": pd.DataFrame(adata.obsm["X_nmf"], adata.obs_names, names),
            "H": pd.DataFrame(adata.varm["NMF"], adata.var_names, names),
        }
    if format == "parquet":
        return {name: pd.read_parquet(path / f"{name}.parquet").set_index(label) for name, label in LABELS.items()}
    return {name: pd.read_csv(path / f"{name}.csv", index_col=label) for name, label in LABELS.items()}


LABELS = {"W": "row", "H": "column"}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("cut", CUTS)
def test_tables_hold_the_factors_and_the_names_to_the_last_bit(format, cut, tmp_path, monkeypatch):
    for module, size in ((dnmf.run.factors, "PART_NUMBERS"), (EXPORT, "TEXT_NUMBERS"), (EXPORT, "GROUP_NUMBERS")):
        monkeypatch.setattr(module, size, 30)
    result = fit(tmp_path, cut, **NAMED)
    for given in (result, tmp_path / "run.zarr"):
        path = dnmf.export(given, tmp_path / "out", format=format, overwrite=True)
        found = tables(path, format)
        for name, whole, names in (("W", result.W, CELLS), ("H", result.H.T, GENES)):
            assert found[name].index.tolist() == names
            assert found[name].columns.tolist() == ["NMF_1", "NMF_2", "NMF_3"]
            assert np.array_equal(found[name].to_numpy(np.float32), np.asarray(whole))


@pytest.mark.parametrize("format", FORMATS)
def test_rows_and_columns_without_names_are_counted_from_0(format, tmp_path):
    found = tables(dnmf.export(fit(tmp_path), tmp_path / "out", format=format), format)
    kind = str if format == "h5ad" else int
    assert found["W"].index.tolist() == [kind(place) for place in range(24)]
    assert found["H"].index.tolist() == [kind(place) for place in range(60)]


def test_awkward_names_come_back_from_tables_as_they_are(tmp_path):
    names = AWKWARD + GENES[len(AWKWARD) :]
    result = fit(tmp_path, column_names=names)
    with open(dnmf.export(result, tmp_path / "text") / "H.csv", encoding="utf-8", newline="") as file:
        assert [line[0] for line in csv.reader(file)] == ["column", *names]
    found = pyarrow.parquet.read_table(dnmf.export(result, tmp_path / "arrow", format="parquet") / "H.parquet")
    assert found["column"].to_pylist() == names
    with pytest.raises(
        DataError, match="A name contains the character NUL, which HDF5 cannot store; export as parquet"
    ):
        dnmf.export(result, tmp_path / "out.h5ad")
    assert not (tmp_path / "out.h5ad").exists()


def test_parquet_has_a_row_group_for_each_part(tmp_path, monkeypatch):
    monkeypatch.setattr(EXPORT, "GROUP_NUMBERS", 30)
    path = dnmf.export(fit(tmp_path), tmp_path / "out", format="parquet")
    assert pyarrow.parquet.ParquetFile(path / "H.parquet").num_row_groups == 6


def test_an_h5ad_has_no_x_and_describes_the_run(tmp_path):
    result = fit(tmp_path, **NAMED)
    adata = anndata.read_h5ad(dnmf.export(result, tmp_path / "out.h5ad"))
    assert adata.X is None
    assert adata.uns["nmf"]["verdict"] == result.verdict
    assert adata.uns["nmf"]["version"] == dnmf.__version__


@pytest.mark.parametrize("format", FORMATS)
def test_only_an_export_is_replaced_and_only_on_request(format, tmp_path):
    result, out = fit(tmp_path), tmp_path / "out"
    dnmf.export(result, out, format=format)
    with pytest.raises(StoreError, match="already exists; choose another path or pass overwrite=True"):
        dnmf.export(result, out, format=format)
    assert dnmf.export(result, out, format=format, overwrite=True) == out
    mine = out if format == "h5ad" else out / "letters"
    mine.write_text("mine")
    with pytest.raises(
        StoreError, match=f"is not an export as {format}, and only such an export is overwritten; delete it"
    ):
        dnmf.export(result, out, format=format, overwrite=True)
    assert mine.read_text() == "mine"


def test_a_file_that_holds_a_matrix_is_never_replaced(tmp_path):
    result = fit(tmp_path)
    anndata.AnnData(V, uns={"nmf": {}}).write_h5ad(tmp_path / "cells.h5ad")
    for path, why in ((tmp_path / "cells.h5ad", "is not an export as"), (tmp_path / "run.zarr", "is an input")):
        for format in FORMATS:
            with pytest.raises(StoreError, match=why):
                dnmf.export(result, path, format=format, overwrite=True)
    assert anndata.read_h5ad(tmp_path / "cells.h5ad").X.shape == V.shape


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_that_fails_leaves_what_was_there_and_nothing_else(format, tmp_path, monkeypatch):
    result, out = fit(tmp_path), tmp_path / "out"
    dnmf.export(result, out, format=format)
    before = sorted(path.name for path in tmp_path.iterdir())

    def fail(self, axis, most=None):
        yield Part(slice(0, 1), np.zeros((1, 3), np.float32))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dnmf.Result, "parts", fail)
    with pytest.raises(DiskError, match=r"could not be written .* what was there before is whole"):
        dnmf.export(result, out, format=format, overwrite=True)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert tables(out, format)["H"].shape == (60, 3)


def test_exports_that_cannot_be_are_refused_in_sentences(tmp_path):
    result = fit(tmp_path)
    with pytest.raises(SettingsError, match=r"format='cvs' is not known; .* Did you mean 'csv'\?"):
        dnmf.export(result, tmp_path / "out", format="cvs")
    with pytest.raises(SettingsError, match="is a URL, and an export is written on this machine; give a path"):
        dnmf.export(result, "s3://bucket/out")
    with pytest.raises(SettingsError, match="has the suffix of a file, and csv makes a folder of two tables; name"):
        dnmf.export(result, tmp_path / "W.csv")
    with pytest.raises(SettingsError, match="has the suffix of a file"):
        dnmf.export(result, tmp_path / "W.xlsx")


@pytest.mark.parametrize(
    ("format", "package", "extra"), [("parquet", "pyarrow", "tables"), ("h5ad", "anndata", "anndata")]
)
def test_a_package_that_is_missing_is_named_with_its_extra(format, package, extra, tmp_path, monkeypatch):
    plain = importlib.import_module

    def without(name, *given):
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return plain(name, *given)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingExtraError, match=rf"needs the package {package}; .* pip install 'dnmf\[{extra}\]'"):
        dnmf.export(fit(tmp_path), tmp_path / "out", format=format)


def test_pandas_is_named_with_its_extra_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dnmf\[frames\]'"):
        fit(tmp_path).to_frame()


def test_the_command_exports_a_store(tmp_path):
    fit(tmp_path, **NAMED)
    for out, options in (("tables", []), ("columns", ["--format", "parquet"]), ("out.h5ad", [])):
        ended = CliRunner().invoke(main, ["export", f"{tmp_path}/run.zarr", "--out", f"{tmp_path}/{out}", *options])
        assert (ended.exit_code, ended.stdout) == (0, "")
        assert f"The factors are in {tmp_path}/{out}." in ended.stderr
    again = CliRunner().invoke(main, ["export", f"{tmp_path}/run.zarr", "--out", f"{tmp_path}/tables"])
    assert again.exit_code == 2
    assert "already exists" in again.stderr


def cells(X=V, obs=CELLS, var=GENES):
    return anndata.AnnData(X, pd.DataFrame(index=obs), pd.DataFrame(index=var))


@pytest.mark.parametrize("cut", CUTS)
def test_an_anndata_is_filled_and_can_be_saved(cut, tmp_path):
    result, adata = fit(tmp_path, cut, **NAMED), cells()
    dnmf.write_anndata(adata, tmp_path / "run.zarr")
    adata.write_h5ad(tmp_path / "cells.h5ad")
    found = anndata.read_h5ad(tmp_path / "cells.h5ad")
    W, H = factors(result)
    assert np.array_equal(found.obsm["X_nmf"], W)
    assert np.array_equal(found.varm["NMF"], H.T)
    about = found.uns["nmf"]
    assert about["params"]["rank"] == 3
    assert "memory_limit" not in about["params"]
    assert about["history"]["loss"].tolist() == [record.loss for record in result.history]
    assert about["history"]["solver"].tolist() == [record.solver for record in result.history]
    assert about["shares"].sum() == pytest.approx(1)
    assert (about["verdict"], bool(about["converged"])) == (result.verdict, result.converged)


def test_a_file_in_backed_mode_is_filled_and_its_x_is_left_alone(tmp_path):
    cells().write_h5ad(tmp_path / "cells.h5ad")
    adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r+")
    dnmf.write_anndata(adata, fit(tmp_path), key_added="parts")
    adata.write_h5ad()
    adata.file.close()
    found = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert found.obsm["parts"].shape == (24, 3)
    assert found.varm["parts"].shape == (60, 3)
    assert found.uns["parts"]["params"]["rank"] == 3
    assert np.array_equal(found.X, V)


def test_figures_that_a_loss_does_not_have_are_left_out(tmp_path):
    result, adata = fit(tmp_path), cells()
    history = tuple(dataclasses.replace(record, relative_error=None) for record in result.history)
    dnmf.write_anndata(adata, dataclasses.replace(result, history=history))
    assert "relative_error" not in adata.uns["nmf"]["history"]
    adata.write_h5ad(tmp_path / "cells.h5ad")


def test_the_factors_in_an_anndata_are_its_own(tmp_path):
    result, adata = fit(tmp_path), cells()
    before = [factor.copy() for factor in factors(result)]
    dnmf.write_anndata(adata, result)
    adata.obsm["X_nmf"][:] = adata.varm["NMF"][:] = -1
    for one, other in zip(factors(result), before, strict=True):
        assert np.array_equal(one, other)


STRANGE = {
    "genes as rows": (lambda: cells(V.T, GENES, CELLS), r"genes were its rows\. Factorise a V with cells as rows"),
    "fewer genes": (lambda: cells(V[:, 1:], var=GENES[1:]), r"adata has 24 cells and 59 genes, and V had 24 rows and"),
    "another order of cells": (
        lambda: cells(obs=CELLS[::-1]),
        r"obs_names\[0\] is 'cell 23', and row 0 of the result is 'cell 0'\. They are the same in another order: give "
        r"adata\[result\.names\.rows\]",
    ),
    "other genes": (
        lambda: cells(var=[*GENES[:-1], "other"]),
        r"var_names\[59\] is 'other', and column 59 of the result is 'gène 59'\. Give the adata that was factorised",
    ),
    "no adata": (lambda: V, r"adata is a numpy\.ndarray, which has no obs_names; give an AnnData"),
}


@pytest.mark.parametrize(("make", "sentence"), STRANGE.values(), ids=STRANGE)
def test_an_anndata_of_something_else_is_refused_and_left_alone(make, sentence, tmp_path):
    adata = make()
    with pytest.raises(DataError, match=sentence):
        dnmf.write_anndata(adata, fit(tmp_path, **NAMED))
    assert not hasattr(adata, "uns") or not (adata.uns or list(adata.obsm) or list(adata.varm))


def test_the_advice_about_another_order_works(tmp_path):
    result, adata = fit(tmp_path, **NAMED), cells(obs=CELLS[::-1])
    ordered = adata[result.names.rows].copy()
    dnmf.write_anndata(ordered, result)
    assert np.array_equal(ordered.obsm["X_nmf"], result.W)


def test_the_factors_of_some_genes_are_written_to_all_and_the_others_are_0():
    chosen = np.arange(60) % 3 == 1
    result = dnmf.factorize(cells()[:, chosen].copy(), 3, max_passes=3)
    for adata in (cells(), cells()[:, ::-1].copy()):
        dnmf.write_anndata(adata, result)
        assert np.array_equal(adata[:, result.names.columns].varm["NMF"], result.H.T)
        assert not adata[:, np.array(GENES)[~chosen]].varm["NMF"].any()
        assert np.array_equal(adata.obsm["X_nmf"], result.W)


def test_a_gene_that_adata_has_twice_is_refused():
    result = dnmf.factorize(cells()[:, 1:].copy(), 3, max_passes=3)
    with pytest.warns(UserWarning, match="names are not unique"):
        adata = anndata.AnnData(V, pd.DataFrame(index=CELLS), pd.DataFrame(index=[GENES[5], *GENES[1:]]))
    with pytest.raises(DataError, match="2 genes of adata have the name 'gène 5', and V had one"):
        dnmf.write_anndata(adata, result)
    assert not adata.varm
