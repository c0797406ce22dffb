"""Processes in a poor state: streams that are closed or full, no home, no working folder, no memory, a fork."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from runs import assert_same_bits, matrix, stored

import dnmf
from dnmf import entry
from dnmf.cli import streams
from dnmf.cli.app import main
from dnmf.engine import SpillFolder
from dnmf.errors import DiskError

FIT = ["--rank", "3", "--max-passes", "6", "--tol", "0", "--checkpoint-every", "4", "--solver", "hals"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("V") / "V.zarr", matrix(), (24, 7))


@pytest.fixture(scope="module")
def finished(path, tmp_path_factory):
    store = tmp_path_factory.mktemp("finished") / "s"
    dnmf.factorize(path, 3, max_passes=3, store=store)
    return str(store)


class Ended:
    """What a command that was run in this process, with streams of a kind, has written and ended with."""

    def __init__(self, monkeypatch, *command, out="kept", err="kept", encoding="utf-8"):
        kept, streams = {name: io.BytesIO() for name in ("out", "err")}, []
        with contextlib.ExitStack() as stack, monkeypatch.context() as patch:
            for name, kind in (("out", out), ("err", err)):
                stream = None if kind == "closed" else io.TextIOWrapper(self.binary(kind, kept[name]), encoding)
                streams.append(stream)  # it closes what is beneath it when nobody has it any more
                patch.setattr(sys, f"std{name}", stream)
                if kind != "kept" and stream is not None:
                    stack.enter_context(contextlib.suppress(OSError))
                    stack.callback(stream.close)
            with pytest.raises(SystemExit) as ended:
                main([str(word) for word in command], prog_name="dnmf")
        self.code = ended.value.code or 0
        given = "utf-8" if encoding == "ascii" else encoding  # click takes ASCII for a mistake
        self.out, self.err = (kept[name].getvalue().decode(given) for name in ("out", "err"))

    def binary(self, kind, kept):
        if kind == "kept":
            return kept
        if kind == "full":
            return open("/dev/full", "wb")
        reading, writing = os.pipe()
        os.close(reading)
        return open(writing, "wb")


@pytest.fixture
def ended(monkeypatch):
    return lambda *command, **streams: Ended(monkeypatch, *command, **streams)


@pytest.mark.parametrize(
    ("out", "err", "as_json", "code"),
    [
        ("kept", "kept", True, 0),
        ("full", "kept", True, 1),
        ("full", "kept", False, 0),
        ("a pipe nobody reads", "kept", True, 1),
        ("closed", "kept", True, 1),
        ("closed", "closed", False, 0),
        ("kept", "full", True, 0),
        ("kept", "full", False, 0),
        ("kept", "a pipe nobody reads", False, 0),
        ("full", "full", True, 1),
    ],
)
def test_a_run_is_made_whoever_hears_of_it(out, err, as_json, code, ended, path, tmp_path):
    found = ended("fit", path, *FIT, "--store", tmp_path / "s", *["--json"][: int(as_json)], out=out, err=err)
    assert found.code == code
    assert_same_bits(dnmf.load(tmp_path / "s"), dnmf.factorize(path, 3, max_passes=6, tol=0, solver="hals"))
    lines = [json.loads(line)["passes"] for line in found.out.splitlines()]
    assert lines == (list(range(lines[0], 7)) if out == "kept" and as_json else [])
    assert ("dnmf: stdout could not be written" in found.err) == (
        code == 1 and out != "a pipe nobody reads" and err == "kept"
    )
    assert "Traceback" not in found.err


def commands(path, finished):
    return {
        "help": ["--help"],
        "version": ["--version"],
        "info of a matrix": ["info", path, "--rank", "2"],
        "info of a run": ["info", finished],
        "top": ["top", finished],
        "top as JSON": ["top", finished, "--json"],
        "rank": ["rank", path, "--ranks", "2:3", "--n-runs", "2", "--cv", "2"],
        "a wrong option": ["fit", path, "--nonsense"],
        "a wrong path": ["info", "/none/é.zarr"],
    }


@pytest.mark.parametrize("name", commands("", ""))
def test_every_command_ends_by_its_own_number_on_poor_streams(name, ended, path, finished):
    command = commands(path, finished)[name]
    plain, narrow = ended(*command), ended(*command, encoding="latin-1")
    assert (plain.code, narrow.code) == (2, 2) if "wrong" in name else (0, 0)
    assert ended(*command, encoding="ascii").code == plain.code
    for whole, written in ((plain.out, narrow.out), (plain.err, narrow.err)):
        if "rank" not in name:  # that says how long it took
            assert written == whole.encode("latin-1", "backslashreplace").decode("latin-1")
    assert "±" in narrow.out or name != "rank"
    for kind in ("full", "a pipe nobody reads", "closed"):
        assert ended(*command, out=kind).code == max(1, plain.code)
        assert ended(*command, err=kind).code == plain.code


def test_a_path_of_bytes_that_are_no_text_can_be_told(ended, tmp_path):
    place = os.fsdecode(os.fsencode(tmp_path) + b"/V\xe9.npy")
    np.save(place, np.eye(3))
    found = ended("info", place)
    assert (found.code, found.err) == (0, "")
    assert "V\\udce9.npy" in found.out


def python(*words, **options):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=100, check=False, **options)


def test_no_file_of_a_run_takes_the_number_of_a_closed_stream(path, tmp_path):
    command = [sys.executable, "-m", "dnmf", "fit", path, *FIT, "--json", "--store", str(tmp_path / "s")]
    ended = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], check=False, timeout=100)
    assert ended.returncode == 1
    assert dnmf.load(tmp_path / "s").passes == 6


@pytest.mark.parametrize("package", ["numba", "zarr", "rich"])
def test_ctrl_c_while_packages_are_imported_ends_quietly(package, tmp_path):
    (tmp_path / f"{package}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time\n")
    found = [os.fspath(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    ended = python("-m", "dnmf", "top", "nowhere.zarr", env={**os.environ, "PYTHONPATH": os.pathsep.join(found)})
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["python", "-m", "dnmf", "info"], True),
        (["python", "-X", "dev", "-m", "dnmf"], True),
        (["python", "-mdnmf"], True),
        (["python", "-m", "pytest", "dnmf"], False),
        (["python", "/usr/bin/dnmf", "info"], True),
        (["python", "mine.py", "-m", "dnmf"], False),
        (["python"], False),
    ],
)
def test_only_the_command_itself_sees_to_signals(words, expected, monkeypatch):
    as_module = any(word.startswith("-m") for word in words) and "mine.py" not in words
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr(sys, "argv", ["-m", *words[-1:]] if as_module else words[1:] or [""])
    assert entry.is_command() == expected


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_stops_a_run_at_a_checkpoint(number, path, tmp_path, ended, monkeypatch):
    sent = monkeypatch_passes(monkeypatch, 3, lambda: os.kill(os.getpid(), number))
    found = ended("fit", path, *FIT, "--store", tmp_path / "s")
    assert sent
    assert found.code == 128 + number
    now, then = (
        found.err.index("Saving the results so far, then stopping."),
        found.err.index("resume with: dnmf resume"),
    )
    assert now < found.err.index("checkpoint after pass 3") < then
    assert ("Press Ctrl-C again to stop at once, without saving." in found.err) == (number == signal.SIGINT)
    assert ("Received" in found.err) == (number != signal.SIGINT)
    assert dnmf.load(tmp_path / "s").passes == 3


class Interrupting(io.RawIOBase):
    """A stream that is interrupted in its first write, so that its buffer is locked while the signal is handled."""

    def __init__(self, descriptor):
        self.descriptor, self.whole = descriptor, False

    def writable(self):
        return True

    def fileno(self):
        return self.descriptor

    def write(self, data):
        if not self.whole:
            self.whole = True
            os.kill(os.getpid(), signal.SIGUSR1)
        return os.write(self.descriptor, data)


def test_a_message_about_a_signal_appears_though_the_signal_interrupts_a_message(tmp_path, monkeypatch):
    with open(tmp_path / "err", "wb") as file:
        stream = io.TextIOWrapper(io.BufferedWriter(Interrupting(file.fileno())), line_buffering=True)
        monkeypatch.setattr(sys, "stderr", stream)
        before = signal.signal(signal.SIGUSR1, lambda number, frame: streams.notify_from_handler("Stopping."))
        try:
            streams.notify("pass 3")
        finally:
            signal.signal(signal.SIGUSR1, before)
            monkeypatch.undo()
    assert {"Stopping.", "pass 3"} <= set((tmp_path / "err").read_text().splitlines())


def test_a_hang_up_that_is_ignored_stops_nothing(path, tmp_path, ended, monkeypatch):
    """As by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        sent = monkeypatch_passes(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGHUP))
        assert ended("fit", path, *FIT, "--store", tmp_path / "s").code == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert sent
    assert dnmf.load(tmp_path / "s").passes == 6


def monkeypatch_passes(monkeypatch, passes, act):
    """Do something when the plain lines of a run have come to a pass; return what shows that it was done."""
    from dnmf.run.progress import Lines

    told, done = Lines.passed, []

    def passed(lines, record):
        told(lines, record)
        if record.passes == passes:
            done.append(passes)
            act()

    monkeypatch.setattr(Lines, "passed", passed)
    return done


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 8.00 GiB"), RuntimeError("can't start new thread")], ids=str
)
def test_what_the_system_refuses_is_a_sentence_and_costs_no_pass(error, path, tmp_path, ended, monkeypatch):
    def fail():
        raise error

    monkeypatch_passes(monkeypatch, 3, fail)
    found = ended("fit", path, *FIT, "--store", tmp_path / "s")
    assert found.code == 1
    assert found.err.splitlines()[-1].startswith("dnmf: The system ")
    assert "ulimit" in found.err
    assert "Traceback" not in found.err
    assert dnmf.load(tmp_path / "s").passes == 3


def test_where_no_thread_can_be_started_it_is_not_the_matrix_that_is_wrong(path, ended, monkeypatch):
    def refuse(*given, **options):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("zarr.open", refuse)  # it starts one for its own loop
        found = ended("info", path)
    assert found.code == 1
    assert "no more threads" in found.err
    assert "is not a Zarr" not in found.err


@pytest.mark.parametrize("place", ["x", "./x", "~nobody-of-this-name/x"])
def test_a_path_that_leads_nowhere_is_told(place, path, finished, ended, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        for command in (
            ["fit", place, "--rank", "2"],
            ["fit", path, "--rank", "2", "--store", place],
            ["fit", path, "--rank", "2", "--row-names", place],
            ["resume", place],
            ["info", place],
            ["top", place],
            ["transform", finished, path, "--out", place],
            ["convert", path, place],
            ["export", finished, "--out", place],
            ["report", finished, "-o", place],
            ["rank", path, "--ranks", "2:3", "--store", place],
            ["demo", "--out", place],
        ):
            found = ended(*command)
            assert found.code == 2, command
            assert "give an absolute path" in found.err.splitlines()[-1], command
    finally:
        os.chdir(tmp_path)


def test_a_folder_for_temporary_files_that_cannot_be_written_is_told(monkeypatch):
    monkeypatch.setattr("dnmf.engine.machine.scratch_folder", lambda: "/dev/null")
    with pytest.raises(DiskError, match="set TMPDIR, or temporary-directory"):
        SpillFolder()


@pytest.mark.parametrize("name", ["zarr.json", "names.json", ".lock"])
@pytest.mark.parametrize("command", ["info", "resume", "top"])
def test_nobody_waits_for_a_pipe_in_a_store(name, command, path, tmp_path, ended):
    dnmf.factorize(path, 3, max_passes=2, store=tmp_path / "s")
    (tmp_path / "s" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "s" / name)
    found = ended(command, tmp_path / "s")
    assert found.code == 2
    said = found.err.splitlines()[-1]
    assert "is not a regular file" in said or "is not a store" in said or f"holds the special file {name}" in said


FORK = """
import multiprocessing, os, sys
import numpy as np, dnmf
from distributed import Client, LocalCluster

path, with_client = sys.argv[1], sys.argv[2] == "client"
options = {"rank": 3, "max_passes": 3, "tol": 0, "threads": 2, "solver": "hals"}

def bits(result):
    return np.asarray(result.W).tobytes() + np.asarray(result.H).tobytes()

def child(expected, folder):
    X = np.ones((6, 4))
    assert bits(dnmf.factorize(path, **options)) == expected
    assert np.asarray(dnmf.transform(result, path)).shape == (3, 60)
    assert dnmf.NMF(2).fit_transform(X).shape == (6, 2)
    assert dnmf.select_rank(path, [2, 3], n_runs=2, cv=0, threads=2).ranks == (2, 3)
    for given in (client, cluster) if with_client else ():
        try:
            dnmf.factorize(path, client=given, **options)
        except dnmf.errors.ClusterError as error:
            assert "a child made by fork cannot use its parent's" in str(error)
        else:
            raise AssertionError
    del folder  # it is the parent's

if __name__ == "__main__":
    cluster = client = None
    if with_client:
        cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
        client = Client(cluster)
    result = dnmf.factorize(path, **options)
    folder, expected = dnmf.engine.SpillFolder(), bits(result)
    process = multiprocessing.get_context("fork").Process(target=child, args=(expected, folder))
    process.start()
    process.join()
    assert process.exitcode == 0
    if os.fork() == 0:
        child(expected, folder)
        if not with_client:
            sys.exit()  # what is to be done at the end of a process is done
        os._exit(0)
    assert os.wait()[1] == 0
    assert folder.path.is_dir()
    assert bits(dnmf.factorize(path, **options)) == expected
    if with_client:
        client.close()
        cluster.close()
    print("the same bits")
"""


@pytest.mark.parametrize("kind", ["threads", "client"])
def test_a_child_made_by_fork_works_as_its_parent_did(kind, path, tmp_path):
    script = tmp_path / "fork.py"
    script.write_text(FORK)
    ended = python(str(script), path, kind)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "the same bits"
