"""Find the client of the cluster that a run uses."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dnmf.errors import ClusterError, SettingsError

# The value of `client=` that uses the threads of this process even if there is a current client.
HERE = "threads"
RUNNING = "give one that is running, and was connected in this process: a child made by fork cannot use its parent's"


@contextmanager
def connected(client: Any, cancel: threading.Event | None = None) -> Iterator[Any]:
    """Yield the client of a cluster, or None for the threads of this process.

    Parameters
    ----------
    client
        None for the current client, if any; a `distributed.Client`; a cluster that has one; the address of a
        scheduler; or `"threads"`.
    cancel
        Event that ends the wait for a scheduler when it is set.

    Raises
    ------
    ClusterError
        If the scheduler does not answer.
    Interrupted
        If the wait was cancelled.
    SettingsError
        If it is none of these.
    """
    if client is None:
        yield current_client()
    elif isinstance(client, str) and client == HERE:
        yield None
    elif isinstance(client, str):
        from dnmf.engine.cluster.launch import at_address

        with at_address(client, None, None, None, cancel) as found:
            yield found
    elif hasattr(client, "scheduler_address") and hasattr(client, "get_client"):
        from distributed import Client

        try:
            own = Client(client, set_as_default=False)  # get_client may return that of the user, which stays open
        except RuntimeError as error:
            raise ClusterError(f"The cluster that client= names cannot be used ({error}); {RUNNING}.") from error
        with own as found:
            yield _checked(found)
    else:
        yield _checked(client)


def current_client() -> Any:
    """Return the current client, or None: also on a worker, whose threads must not wait for their own cluster."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        distributed.get_worker()
    except ValueError:
        pass
    else:
        return None
    try:
        client = distributed.Client.current()
    except ValueError:
        return None
    return None if client.asynchronous else client


def _checked(client: Any) -> Any:
    distributed = sys.modules.get("distributed")
    if distributed is None or not isinstance(client, distributed.Client):
        raise SettingsError(
            f"client={client!r} is not known; give a distributed.Client, a cluster, the address of a scheduler, or "
            f"{HERE!r} for the threads of this process."
        )
    if client.asynchronous:
        raise SettingsError("client is asynchronous; give one that was made without asynchronous=True.")
    if client.status != "running":
        raise ClusterError(f"client is {client.status}; {RUNNING}.")
    return client
