"""What a command may replace: only what dnmf wrote, and never an input; and drafts of commands that were killed."""

import os
import signal
import subprocess
import sys
import uuid

import numpy as np
import pandas
import pytest
import scipy.sparse as sp
import zarr
from click.testing import CliRunner
from runs import matrix, stored

import dnmf
from dnmf.checkpoint.targets import appearing
from dnmf.cli.app import main
from dnmf.conversion import convert
from dnmf.errors import StoreError
from dnmf.storage import drafts
from dnmf.storage.open_location import location_at

V = matrix(24, 60)
OPTIONS = {"rank": 3, "max_passes": 3, "tol": 0, "init": "random"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Return the folder of all tests that leave it as it is."""
    return filled(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def folder(tmp_path):
    return filled(tmp_path)


def filled(tmp_path):
    """Fill a folder with a matrix, the store of a run on it, a survey, and things of somebody else."""
    stored(tmp_path / "V.zarr", V, (24, 15))
    dnmf.factorize(tmp_path / "V.zarr", store=tmp_path / "run.zarr", **OPTIONS)
    dnmf.select_rank(V, [2], n_runs=1, cv=0, store=tmp_path / "survey.zarr")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear").write_text("me")
    np.save(tmp_path / "W.npy", V)
    stored(tmp_path / "notes.zarr", V, (24, 15), attributes={"units": "counts"})
    stored(tmp_path / "more.zarr", V, (24, 15))
    (tmp_path / "more.zarr" / "c" / "readme").write_text("mine")
    zarr.create_group(tmp_path / "group.zarr").create_array("X", data=V)
    zarr.create_array(tmp_path / "two.zarr", data=V, zarr_format=2)
    return tmp_path


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def by_convert(folder, target):
    convert(folder / "V.zarr", target, overwrite=True)


def by_transform(folder, target):
    dnmf.transform(folder / "run.zarr", folder / "V.zarr", out=target, overwrite=True)


def by_export(folder, target):
    dnmf.export(folder / "run.zarr", target, overwrite=True)


def by_report(folder, target):
    dnmf.write_report(folder / "run.zarr", target, overwrite=True)


def by_factorize(folder, target):
    dnmf.factorize(folder / "V.zarr", store=target, overwrite=True, **OPTIONS)


def by_select_rank(folder, target):
    dnmf.select_rank(str(folder / "V.zarr"), [2], n_runs=1, cv=0, store=target, overwrite=True)


WRITERS = [by_convert, by_transform, by_export, by_report, by_factorize, by_select_rank]
FOREIGN = ["letters", "W.npy", "notes.zarr", "more.zarr", "group.zarr", "two.zarr"]


@pytest.mark.parametrize("name", [*FOREIGN, "survey.zarr", "run.zarr"])
@pytest.mark.parametrize("write", [by_convert, by_transform], ids=["convert", "transform"])
def test_a_matrix_or_a_factor_replaces_nothing_that_dnmf_does_not_write_as_one(write, name, shared):
    folder, before = shared, content(shared)
    with pytest.raises(StoreError, match=r"is not overwritten; delete it, or give another path|is an input itself"):
        write(folder, folder / name)
    assert content(folder) == before
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("write", WRITERS[2:])
def test_nor_do_tables_pages_and_stores(write, name, shared):
    folder, before = shared, content(shared)
    with pytest.raises(StoreError):
        write(folder, folder / name)
    assert content(folder) == before


@pytest.mark.parametrize("write", WRITERS)
def test_no_input_is_replaced_nor_what_holds_it_nor_anything_in_it(write, folder, monkeypatch):
    (folder / "link").symlink_to(folder / "V.zarr")
    (folder / "elsewhere").symlink_to(folder)
    monkeypatch.chdir(folder / "letters")
    before = content(folder)
    targets = ["V.zarr", "V.zarr/new", "V.zarr/c/new", ".", "link", "link/new", "elsewhere", "elsewhere/V.zarr/new"]
    for target in (*targets, "../V.zarr", "../letters/../V.zarr", ".."):
        place = target if target.startswith("..") else folder / target
        with pytest.raises(StoreError, match=r"is an input itself|(lies in|contains) an input, |is not a report"):
            write(folder, place)
        assert content(folder) == before, target


@pytest.mark.parametrize("write", WRITERS[1:4])
def test_the_store_of_the_run_is_an_input_too(write, shared):
    folder, before = shared, content(shared)
    for target in ("run.zarr", "run.zarr/new", "run.zarr/W"):
        with pytest.raises(StoreError, match=r"is an input itself|lies in an input, |is not a report"):
            write(folder, folder / target)
    assert content(folder) == before


@pytest.mark.parametrize("write", WRITERS[:2])
def test_a_link_is_not_replaced(write, folder):
    convert(folder / "V.zarr", folder / "old.zarr")
    (folder / "link").symlink_to(folder / "old.zarr")
    with pytest.raises(StoreError, match="is a link; give the path that it leads to"):
        write(folder, folder / "link")
    assert (folder / "link").is_symlink()


@pytest.mark.parametrize("kind", ["dense", "named", "sparse", "sparse named", "factor", "plain", "empty"])
def test_what_dnmf_writes_is_replaced(kind, folder):
    target = folder / "old.zarr"
    if kind == "factor":
        by_transform(folder, target)
    elif kind == "plain":
        stored(target, V, (24, 15))
    elif kind == "empty":
        target.mkdir()
    else:
        sp.save_npz(folder / "S.npz", sp.csr_array(V))
        (folder / "S.csv").write_text("r,c,v\na,x,1.5\na,y,2.0\nb,x,3.0\n")
        origins = {
            "dense": folder / "W.npy",
            "named": pandas.DataFrame(V, index=[f"row {row}" for row in range(24)]),
            "sparse": folder / "S.npz",
            "sparse named": f"{folder / 'S.csv'}::r,c,v",
        }
        convert(origins[kind], target)
    by_convert(folder, target)
    np.testing.assert_array_equal(zarr.open_array(target, mode="r")[...], V)


def test_in_a_bucket_nothing_is_replaced_that_dnmf_does_not_write(folder):
    root = f"memory://{uuid.uuid4().hex}"
    location_at(root).replace("letters/dear", b"me")
    for target in (root, f"{root}/letters"):
        for write in WRITERS[:2]:
            with pytest.raises(StoreError, match="is not overwritten; delete it, or give another path"):
                write(folder, target)
    convert(folder / "V.zarr", f"{root}/V.zarr")
    convert(folder / "V.zarr", f"{root}/V.zarr", chunks=(24, 20), overwrite=True)
    with pytest.raises(StoreError, match="contains an input"):
        convert(f"{root}/V.zarr", root, overwrite=True)
    with pytest.raises(StoreError, match="lies in an input"):
        dnmf.factorize(f"{root}/V.zarr", store=f"{root}/V.zarr/run", **OPTIONS)
    dnmf.factorize(f"{root}/V.zarr", store=f"{root}/run.zarr", **OPTIONS)
    with pytest.raises(StoreError, match="is an input itself"):
        dnmf.transform(f"{root}/run.zarr", V, out=f"{root}/run.zarr", overwrite=True)
    assert location_at(root).read("letters/dear") == b"me"
    assert dnmf.load(f"{root}/run.zarr").passes == 3


def test_what_came_to_the_target_meanwhile_stays(folder):
    def write():
        with appearing(folder / "new.zarr") as draft:
            zarr.create_array(draft, data=V)
            (folder / "new.zarr").mkdir()
            (folder / "new.zarr" / "mine").write_text("mine")

    with pytest.raises(StoreError, match="already exists"):
        write()
    assert (folder / "new.zarr" / "mine").read_text() == "mine"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_what_cannot_take_its_place_leaves_what_was_there_whole(folder, monkeypatch):
    convert(folder / "V.zarr", folder / "old.zarr")
    before, real = content(folder), os.rename

    def rename(origin, target):
        if str(target).endswith("old.zarr") and len(os.listdir(folder)) > len(before):
            raise OSError(5, "Input/output error")
        if str(target).endswith("old.zarr") and not (folder / "old.zarr").exists() and not failed:
            failed.append(target)
            raise OSError(5, "Input/output error")
        real(origin, target)

    failed = []
    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(StoreError, match="what was there before is whole"):
        convert(folder / "V.zarr", folder / "old.zarr", chunks=(24, 20), overwrite=True)
    assert failed
    assert content(folder) == before


@pytest.mark.parametrize("length", [200, 255])
def test_a_name_may_be_as_long_as_the_file_system_allows(length, folder):
    convert(folder / "V.zarr", folder / ("V" * length))
    assert dnmf.write_report(folder / "run.zarr", folder / ("p" * length)).exists()
    assert dnmf.export(folder / "run.zarr", folder / ("e" * length)).exists()
    dnmf.transform(folder / "run.zarr", folder / ("V" * length), out=folder / ("f" * length))
    with pytest.raises(StoreError, match=r"File name too long.*Give a shorter name"):
        convert(folder / "V.zarr", folder / ("V" * 256))


WAITING = """
import sys
import dnmf.storage.durable as durable
from dnmf.cli.app import main
def wait(path):
    print("here", flush=True)
    sys.stdin.readline()
durable.sync = durable.sync_tree = wait
main()
"""
COMMANDS = {
    "convert": ["convert", "V.zarr", "new"],
    "transform": ["transform", "run.zarr", "V.zarr", "--out", "new"],
    "export": ["export", "run.zarr", "--out", "new"],
    "report": ["report", "run.zarr", "-o", "new", "--no-residuals"],
}


def ended(folder, command, number):
    """Send a signal to a command that has written its draft; return its exit code and what it said."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, *command], cwd=folder, stdin=-1, stdout=-1, stderr=-1
    ) as child:
        for line in child.stdout:
            if line == b"here\n":
                break
        child.send_signal(number)
        said = child.communicate()[1].decode()
    return child.returncode, said


def drafts_in(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_ends_a_command_without_a_draft(name, folder):
    number, code = (signal.SIGINT, 130) if name == "export" else (signal.SIGTERM, 143)
    found, said = ended(folder, COMMANDS[name], number)
    assert (found, said.splitlines()[-1], drafts_in(folder)) == (code, "Stopped.", [])
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["convert", "report"])
def test_the_draft_of_a_command_that_was_killed_is_deleted_by_the_next(name, folder, monkeypatch):
    code, _ = ended(folder, COMMANDS[name], signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert drafts_in(folder)
    alive = folder / drafts.draft_name("new")
    other = folder / drafts.draft_name("other")
    alive.write_text("of a command that goes on")
    other.write_text("of another target")
    monkeypatch.chdir(folder)
    assert CliRunner().invoke(main, COMMANDS[name]).exit_code == 0
    assert (folder / "new").exists()
    assert sorted(drafts_in(folder)) == sorted([alive.name, other.name])


def test_the_drafts_of_a_process_that_is_gone_are_known_by_their_names(tmp_path):
    name = drafts.draft_name("V.zarr")
    assert drafts.DRAFT.fullmatch(name)
    assert not drafts.is_abandoned(name, "V.zarr")
    target, machine, process, since, _ = name.removeprefix(".dnmf-").split("-")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = f".dnmf-{target}-{machine}-{gone.pid}-{since}-00000000"
    assert drafts.is_abandoned(dead, "V.zarr")
    assert not drafts.is_abandoned(dead, "W.zarr")
    assert drafts.is_abandoned(f".dnmf-{target}-{machine}-{process}-{int(since) - 100}-00000000", "V.zarr")
    assert not drafts.is_abandoned(f".dnmf-{target}-00000000-{gone.pid}-{since}-00000000", "V.zarr")
    assert not drafts.is_abandoned(".dnmf-convert-abc", "V.zarr")


def test_in_a_bucket_the_draft_of_a_process_that_is_gone_is_swept(folder):
    root = f"memory://{uuid.uuid4().hex}"
    target, machine, *_ = drafts.draft_name("").removeprefix(".dnmf-").split("-")
    left = f".dnmf-{target}-{machine}-{2**30}-1-00000000"
    place = location_at(root)
    place.replace(f"{left}/zarr.json", (folder / "V.zarr" / "zarr.json").read_bytes())
    place.replace(f"{left}/c/0/0", b"half")
    convert(folder / "V.zarr", root)
    place.replace(f"{left}/zarr.json", (folder / "V.zarr" / "zarr.json").read_bytes())
    place.remove("zarr.json")  # as by one that was killed while it copied
    convert(folder / "V.zarr", root, chunks=(24, 20), overwrite=True)
    assert sorted(place.names()) == ["c", "zarr.json"]
    assert len(place.files("c")) == 3
