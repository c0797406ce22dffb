"""Addresses where no scheduler answers."""

import contextlib
import json
import socket
import threading

import dask
import pytest

import dnmf
from dnmf.errors import ClusterError, SettingsError


@pytest.fixture
def server():
    """Start a server that accepts connections, sends each of them some bytes and keeps it open; return its address."""
    sockets = []

    def start(answer):
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
