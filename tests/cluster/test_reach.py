"""Addresses where no scheduler answers."""

import contextlib
import json
import os
import signal
import socket
import threading

import dask
import numpy as np
import pytest
from click.testing import CliRunner

import dnmf
from dnmf.cli.app import main
from dnmf.errors import ClusterError, Interrupted, SettingsError


@pytest.fixture
def server():
    """Start a server that accepts connections, sends each of them some bytes and keeps it open; return its address.

    After each of them it calls a function.
    """
    sockets = []

    def start(answer, accepts=lambda: None):
        listener = socket.create_server(("127.0.0.1", 0))
        sockets.append(listener)

        def serve():
            while True:
                try:
                    accepted, _ = listener.accept()
                except OSError:
                    return
                sockets.append(accepted)
                accepted.sendall(answer)
                accepts()

        threading.Thread(target=serve, daemon=True).start()
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)  # ends the wait for a connection
        each.close()


def refused(matrix, address, error=ClusterError):
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), pytest.raises(error) as raised:
        dnmf.factorize(matrix, 2, client=address)
    return str(raised.value)


def test_a_server_that_accepts_and_is_silent_is_given_up(server):
    address = server(b"")
    message = refused([[1.0, 2.0], [3.0, 4.0]], address)
    assert message.startswith(f"{address} did not answer as a scheduler within 1 s; give the address that a scheduler")
    assert message.endswith("not that of its dashboard.")


def test_a_web_server_is_not_taken_for_a_lack_of_memory(server):
    address = server(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + bytes(64))
    message = refused([[1.0, 2.0], [3.0, 4.0]], address)
    assert f"The server at {address} is not a Dask scheduler" in message
    assert "memory" not in message


@pytest.mark.parametrize("content", ["", "{}", "[]", json.dumps({"id": 1})])
def test_a_scheduler_file_without_an_address_is_refused(content, tmp_path):
    from dnmf.engine.cluster.launch import in_scheduler_file

    path = tmp_path / "scheduler.json"
    path.write_text(content)
    with (
        pytest.raises(SettingsError, match=r"scheduler.json has no address of a scheduler .*give the file that"),
        in_scheduler_file(path),
    ):
        pass


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


# Longer than a test may take.
PATIENT = {"distributed.comm.timeouts.connect": "1h"}


def test_a_run_that_waits_for_a_scheduler_is_cancelled(server):
    cancel = threading.Event()
    with dask.config.set(PATIENT), pytest.raises(Interrupted):
        dnmf.factorize(np.eye(4), 2, client=server(b"", cancel.set), cancel=cancel)


@pytest.fixture
def own_ctrl_c():
    """Raise KeyboardInterrupt at Ctrl-C, as Python does: importing dask_jobqueue changes that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("own_ctrl_c")
def test_ctrl_c_ends_the_wait_for_a_scheduler(server):
    with dask.config.set(PATIENT), pytest.raises(KeyboardInterrupt):
        dnmf.factorize(np.eye(4), 2, client=server(b"", interrupt))


@pytest.mark.parametrize("choice", ["--scheduler", "--scheduler-file"])
@pytest.mark.parametrize(
    ("store", "message"),
    [
        ([], "Stopped. Nothing is saved; to save checkpoints, repeat: dnmf fit V.npy --rank 2 "),
        (["--store", "run.zarr"], "Stopped before the first pass; to start again, repeat: dnmf fit V.npy --rank 2 "),
    ],
)
def test_a_command_that_waits_for_a_scheduler_ends_with_the_usual_message(
    store, message, choice, server, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    np.save("V.npy", np.eye(4))
    address = server(b"", interrupt)
    (tmp_path / "scheduler.json").write_text(json.dumps({"address": address}))
    where = address if choice == "--scheduler" else "scheduler.json"
    with dask.config.set(PATIENT):
        ended = CliRunner().invoke(main, ["fit", "V.npy", "--rank", "2", choice, where, *store])
    assert ended.exit_code == 130
    assert message in ended.stderr
    assert not (tmp_path / "run.zarr").exists()


@pytest.mark.parametrize("overwrite", [["--overwrite"], []])
def test_a_run_that_is_stopped_before_it_begins_claims_no_results_of_an_earlier_one(
    overwrite, server, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    np.save("V.npy", np.eye(4))
    before = dnmf.factorize("V.npy", 1, store="run.zarr")
    where = ["--scheduler", server(b"", interrupt), "--store", "run.zarr", *overwrite]
    with dask.config.set(PATIENT):
        ended = CliRunner().invoke(main, ["fit", "V.npy", "--rank", "2", *where])
    assert ended.exit_code == 130
    assert "are saved" not in ended.stderr
    assert "Stopped before the first pass, and run.zarr is as it was; to start again, repeat" in ended.stderr
    np.testing.assert_array_equal(dnmf.load("run.zarr").W, before.W)


def test_a_survey_that_is_stopped_before_it_begins_claims_no_results_of_an_earlier_one(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("V.npy", np.random.default_rng(0).random((12, 20)))
    command = ["rank", "V.npy", "--ranks", "1,2", "--n-runs", "2", "--cv", "0", "--store", "survey.zarr"]
    assert CliRunner().invoke(main, command).exit_code == 0
    with dask.config.set(PATIENT):
        ended = CliRunner().invoke(main, [*command, "--overwrite", "--scheduler", server(b"", interrupt)])
    assert ended.exit_code == 130
    assert (
        "Stopped before the first pass, and survey.zarr is as it was; to start again, repeat: dnmf rank" in ended.stderr
    )
    assert "are saved" not in ended.stderr
