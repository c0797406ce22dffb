"""Connect to a scheduler that may not answer, or that is another server."""

import asyncio
import gc
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dask
from dask.utils import parse_timedelta

from dnmf.errors import ClusterError, Interrupted, SettingsError

# Seconds between two checks whether the run was cancelled.
POLL_S = 0.1
PRINTED = "give the address that a scheduler prints when it starts, as tcp://10.0.0.1:8786 or tls://10.0.0.1:8786"


def address_in(path: Path) -> str:
    """Return the address of a scheduler in the file that it writes; SettingsError if there is none."""
    try:
        return str(json.loads(path.read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{path} has no address of a scheduler ({type(error).__name__}: {error}); give the file that "
            "`dask scheduler --scheduler-file` writes."
        ) from error


@contextmanager
def reached(
    place: str, address: str, security: Any, make: Callable[[], Any], cancel: threading.Event | None = None
) -> Iterator[Any]:
    """Yield a new client of the scheduler at an address, and close it at the end.

    Parameters
    ----------
    place
        What was given: the address, or the file that has it.
    address
        Address of the scheduler.
    security
        `distributed.Security` of the connection.
    make
        Makes the client.
    cancel
        Event that ends the wait for an answer when it is set.

    Raises
    ------
    ClusterError
        If there is no answer, or not that of a scheduler.
    Interrupted
        If the wait was cancelled.
    """
    failed: ClusterError | None = None
    try:
        _await_answer(address, security, cancel)
        client = make()
    except TimeoutError:
        failed = ClusterError(
            f"{place} did not answer as a scheduler within {_patience():g} s; {PRINTED}, not that of its dashboard."
        )
    except (OSError, ValueError, RuntimeError) as error:
        failed = ClusterError(
            f"The scheduler at {place} could not be reached ({error}); {PRINTED}, and see that a firewall lets this "
            "machine through."
        )
    except MemoryError:  # the first bytes of an answer are taken for its length
        failed = ClusterError(f"The server at {place} is not a Dask scheduler; {PRINTED}, not that of its dashboard.")
    except TypeError as error:
        if "ssl_context" not in str(error):
            raise
        failed = ClusterError(
            f"The scheduler at {place} speaks TLS, and this process has no certificate for it; give --tls-ca-file, "
            "--tls-cert and --tls-key, or set distributed.comm.tls in Dask's configuration."
        )
    if failed is not None:
        # A failed client closes itself when it is collected. If another one starts its thread at that time, both wait
        # for one lock forever (distributed 2026.8); so collect it here.
        gc.collect()
        raise failed
    with client:
        yield client


def _await_answer(address: str, security: Any, cancel: threading.Event | None) -> None:
    """Wait until a scheduler has answered: a client has no time limit for that once it is connected."""
    if address.startswith("inproc://"):
        return
    begun: Future[Callable[[], object]] = Future()
    with ThreadPoolExecutor(1) as thread:  # this one may have a loop that runs, as in a notebook
        answer = thread.submit(asyncio.run, _answered(address, security, begun))
        try:
            while not wait([answer], POLL_S).done:
                if cancel is not None and cancel.is_set():
                    raise Interrupted("The run was asked to stop.")
        except BaseException:  # or a signal: leave the executor without the rest of the time
            stop = begun.result()
            with suppress(RuntimeError):  # it has ended by itself
                stop()
            raise
        answer.result()


async def _answered(address: str, security: Any, begun: "Future[Callable[[], object]]") -> None:
    """Wait for an answer, after a function that stops this is put into `begun`."""
    from distributed.comm import connect

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    begun.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
    options = security.get_connection_args("client")
    async with asyncio.timeout(_patience() + 1):  # a connection that is refused ends after the patience itself
        comm = await connect(address, **options)
    comm.abort()


def _patience() -> float:
    """Return the seconds to wait for a connection."""
    return float(parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"), default="seconds"))
