"""Zarr stores in ZIP files are read as those in folders, or refused with the reason."""

import os
import zipfile

import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from formats import CELLS, anndata_zarr, read_back, zipped
from strategies import low_rank

import dnmf
from dnmf.conversion import convert
from dnmf.errors import DataError
from dnmf.sources import open_matrix

V = low_rank(30, 200, 3)


def written_by_zarr(folder):
    with zarr.storage.ZipStore(folder / "V.zarr.zip", mode="w") as store:
        group = zarr.create_group(store)
        group.create_array("a/V", data=V, chunks=(10, 50))
        group.create_array("twice", data=2 * V, chunks=(30, 40))
    return folder / "V.zarr.zip"


def test_arrays_are_those_that_zarr_wrote(tmp_path):
    place = written_by_zarr(tmp_path)
    with pytest.raises(DataError, match=r"give one of its arrays: a/V, twice; as \S+V\.zarr\.zip::a/V"):
        open_matrix(place)
    with zarr.storage.ZipStore(place, mode="r") as store:
        group = zarr.open_group(store, mode="r")
        for part, expected in (("a/V", V), ("twice", 2 * V)):
            for given in (f"{place}::{part}", group[part]):
                source = open_matrix(given)
                np.testing.assert_array_equal(read_back(source), expected)
                assert source.layout.location == f"{place}::{part}"
        assert open_matrix(group["a"]).layout.location == f"{place}::a"
    dnmf.factorize(f"{place}::a/V", 2, max_passes=2, tol=0, store=tmp_path / "run.zarr")
    assert dnmf.resume(tmp_path / "run.zarr", max_passes=3).passes == 3
    convert(f"{place}::twice", tmp_path / "twice.zarr")
    np.testing.assert_array_equal(read_back(open_matrix(tmp_path / "twice.zarr")), 2 * V)


def test_an_annotated_store_has_its_names(tmp_path):
    place = zipped(anndata_zarr(sp.csr_matrix, "::layers/counts"))(V, tmp_path)
    assert place.endswith("anndata.zarr.zip::layers/counts")
    assert open_matrix(place).layout.names.rows.tolist() == CELLS
    result = dnmf.factorize(place, 2, max_passes=2)
    assert result.names.rows.tolist() == CELLS


def test_other_zip_files_are_refused(tmp_path):
    place = written_by_zarr(tmp_path)
    with zipfile.ZipFile(place) as archive:
        archive.extractall(tmp_path / "unpacked" / "V.zarr")
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as archive:
        for folder, _, files in os.walk(tmp_path / "unpacked"):
            for name in files:
                path = os.path.join(folder, name)
                archive.write(path, os.path.relpath(path, tmp_path / "unpacked"))
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr("readme.txt", "no matrix")
    (tmp_path / "damaged.zip").write_bytes(place.read_bytes()[:-30])
    for name, sentence in (
        ("inner.zip", r"has no Zarr store at its root; its store is in the folder V\.zarr: zip the content"),
        ("texts.zip", "has no Zarr store at its root; give a ZIP file with a Zarr store, or unpack it"),
        ("damaged.zip", "is not a readable ZIP file"),
    ):
        for run in (open_matrix, lambda given: convert(given, tmp_path / "target.zarr")):
            with pytest.raises(DataError, match=sentence):
                run(tmp_path / name)
