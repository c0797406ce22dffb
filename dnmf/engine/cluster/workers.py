"""The workers of a cluster: their number, resources and files, and their results."""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard, TypeVar

from distributed import Client, Future
from distributed.comm import CommClosedError

from dnmf.engine.cluster import tasks
from dnmf.engine.cluster.launch import start_again
from dnmf.engine.cluster.reach import POLL_S
from dnmf.engine.cluster.tasks import VERSION
from dnmf.errors import ClusterError, ClusterWarning, DnmfError, Interrupted, warn

# Seconds between two checks of the workers.
CHECK_S = 1.0
# Seconds that a cancelled run waits for workers, which hold its factors.
STOP_TIMEOUT_S = 10.0
# Seconds without a result after which the scheduler is woken.
WAKE_S = 5.0
# Attempts to reach a worker; each takes `distributed.comm.timeouts.connect`.
RETRIES = 3
# Seconds without any worker after which a warning is given and the workers of a cluster that was started here are
# restarted, and the number of such restarts.
ALONE_S, RESTARTS = 60.0, 5

A = TypeVar("A")


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker: bytes of memory that it may use, threads, name of its BLAS, and the result of the probe."""

    memory: int
    threads: int
    multiplier: str
    probe: Any


class Workers:
    """The workers behind a client.

    Parameters
    ----------
    client
        A client of the cluster, connected and not asynchronous.
    on_change
        Called with the number of workers and the address of the dashboard whenever the number changes.
    cancelled
        Once this is set, waiting for workers raises `Interrupted`.
    """

    def __init__(
        self,
        client: Client,
        on_change: Callable[[int, str], None] = lambda count, link: None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.client = client
        self.on_change, self.cancelled = on_change, cancelled or threading.Event()
        self.count, self.ending = -1, False
        self._threads: dict[str, int] = {}
        self._checked = -CHECK_S
        self._alone: float | None = None
        self._warned, self._restarts = False, 0

    def prepare(self, probe: Callable[[], Any] | None = None) -> dict[str, WorkerInfo]:
        """Wait for a worker, register the plugin on current and future ones, and return the resources of each.

        Raises
        ------
        ClusterError
            If a worker lacks dnmf, has another version of it, or cannot be reached.
        """
        with self.explained():
            # An adaptive cluster starts a worker for a result that is waited for, and keeps the one that holds it.
            held = self.client.submit(tasks.hold, None, pure=False)
            self._retry(partial(self.client.register_plugin, tasks.OneThreadedProducts()))
            seen = self._probe_all(probe)
            del held
        for worker, found in seen.items():
            if took_too_long(found):
                raise unreached(found)
            if isinstance(found, Exception):
                raise ClusterError(
                    f"The worker {worker} cannot run dnmf ({type(found).__name__}: {found}); install dnmf "
                    f"{VERSION} where the workers run, with the same versions of its packages as here."
                )
            if found[0] != VERSION:
                raise ClusterError(
                    f"The worker {worker} has dnmf {found[0]}, and this is {VERSION}; install one version on all."
                )
        return {worker: WorkerInfo(*found[1:]) for worker, found in seen.items()}

    def probe(self, probe: Callable[[], Any]) -> dict[str, Any]:
        """Run a probe on all workers, and return the result of each, or its exception."""
        with self.explained():
            seen = self._probe_all(probe)
        return {worker: found if isinstance(found, Exception) else found[-1] for worker, found in seen.items()}

    def _probe_all(self, probe: Callable[[], Any] | None) -> dict[str, Any]:
        """Run a probe on all workers; leave out those that are lost meanwhile, and try slow ones again."""
        packed, tries = tasks.pack(probe), 1
        while True:
            answers = self._retry(partial(self.client.run, tasks.describe_worker, packed, on_error="return"))
            seen = {worker: found for worker, found in answers.items() if not isinstance(found, CommClosedError)}
            late = any(took_too_long(found) for found in seen.values())
            if seen and not (late and tries < RETRIES):
                return seen
            tries += late

    def _retry(self, call: Callable[[], A]) -> A:
        """Call a function once there is a worker, and again if a worker was lost or not reached during the call."""
        tries = 0
        while True:
            while not self.slots():
                self.check()
                self.cancelled.wait(POLL_S)
            try:
                return call()
            except OSError as error:
                self.check()
                self._checked = -CHECK_S
                tries += not isinstance(error, CommClosedError)
                if tries == RETRIES:
                    raise unreached(error) from error

    def wake(self, since: float) -> float:
        """Wake the scheduler if no result has come since a time; return the time to wait from.

        The scheduler queues tasks without dependencies, and releases them when another task ends. If a worker is lost
        with the dependencies of all other tasks, none of them ends, and none would leave the queue (distributed
        2026.8). So a task is submitted and released.
        """
        if time.monotonic() - since < WAKE_S:
            return since
        self.client.submit(tasks.hold, None, pure=False).release()
        return time.monotonic()

    def gather(self, futures: Sequence[Future]) -> list[Any]:
        """Return results, waiting for workers if necessary.

        Raises
        ------
        ClusterError
            If the scheduler is lost, or the run is to end and has no worker left.
        """
        alone: float | None = None
        ended = queue.SimpleQueue[Future]()

        def check() -> None:
            nonlocal alone
            if self.client.status != "running":
                raise lost()
            ending = self.ending or self.cancelled.is_set()
            alone = None if self.slots() or not ending else alone or time.monotonic()
            if alone is not None and time.monotonic() - alone > STOP_TIMEOUT_S:
                raise ClusterError(
                    "The run was asked to stop, and no worker is left that holds its factors. Resume it from the last "
                    "checkpoint in its store."
                )

        for future in futures:
            future.add_done_callback(ended.put)
        remaining, since = len(futures), time.monotonic()
        while remaining:
            with contextlib.suppress(queue.Empty):
                ended.get(timeout=CHECK_S)
                remaining, since = remaining - 1, time.monotonic()
                continue
            since = self.wake(since)
            check()
        return self.bring(futures, check)

    @contextmanager
    def ended_with(self, futures: Sequence[Future]) -> Iterator[None]:
        """Cancel tasks if the context ends with an error, and wait until those that have begun have ended."""
        try:
            yield
        except BaseException:
            if self.client.status == "running":
                with contextlib.suppress(OSError, TimeoutError):
                    self.client.cancel(list(futures))
                    self.client.run(tasks.wait_for_end, [future.key for future in futures], on_error="ignore")
            raise

    def bring(self, futures: Sequence[Future], check: Callable[[], None]) -> list[Any]:
        """Return results that are finished, or that are computed again because their worker was lost.

        Without workers this may take forever, so `check` is called from time to time; it may raise.
        """
        # Where the time ends, the coroutines by which distributed waits for each result go on. With errors="raise" they
        # would raise once the futures are released, which is then logged as "Task exception was never retrieved".
        fetch = partial(self.client.gather, list(futures), errors="skip", asynchronous=True)
        seconds = CHECK_S
        while True:
            with contextlib.suppress(TimeoutError):
                found = list(self.client.sync(fetch, callback_timeout=seconds))
                if len(found) == len(futures):
                    return found
            for future in futures:
                if future.status in ("error", "cancelled"):
                    future.result()  # raises
            check()
            seconds *= 2  # a large result takes longer to transfer

    def slots(self, threads: int = 2**31) -> int:
        """Return how many tasks run at once, at most `threads` on a worker; update the workers from time to time."""
        if time.monotonic() - self._checked > CHECK_S:
            self._threads = self.client.nthreads()
            self._checked = time.monotonic()
            if len(self._threads) != self.count:
                self.count = len(self._threads)
                self.on_change(self.count, self.client.dashboard_link)
            self._look_after()
        return sum(min(count, threads) for count in self._threads.values())

    def _look_after(self) -> None:
        """Warn if there has been no worker for long, and restart those that this process started."""
        now = time.monotonic()
        if self.count or self._alone is None:
            self._alone, self._warned = None if self.count else now, False
        elif now - self._alone > ALONE_S:
            self._alone, self._restarts = now, self._restarts + 1
            coming = start_again(self.client.cluster) if self._restarts <= RESTARTS else 0
            if not self._warned:
                self._warned = True
                warn(
                    f"The cluster has had no worker for {ALONE_S:g} seconds, and the run waits for one. "
                    + (f"Its {coming} workers are started again." if coming else self._remedy()),
                    ClusterWarning,
                )

    def _remedy(self) -> str:
        address = self.client.scheduler.address if self.client.scheduler else "its address"
        return (
            f"Start workers for the scheduler at {address}, or interrupt the run and resume it from its store; passes "
            "after the last checkpoint are lost then."
        )

    def check(self) -> None:
        """Raise Interrupted if the run was asked to stop, and ClusterError if the scheduler is lost."""
        if self.cancelled.is_set():
            raise Interrupted("The run was asked to stop.")
        if self.client.status != "running":
            raise lost()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the exceptions of a lost scheduler into a ClusterError."""
        try:
            yield
        except DnmfError:
            raise
        except (asyncio.CancelledError, concurrent.futures.CancelledError) as error:
            raise lost() from error
        except (OSError, RuntimeError) as error:
            if self.client.status != "running":
                raise lost() from error
            raise


def lost() -> ClusterError:
    """Return the error for a lost scheduler."""
    return ClusterError(
        "The scheduler of the cluster was lost, and with it the factors on the workers. Start a cluster again and "
        "resume the run from its store; a run without a store must be started again."
    )


def took_too_long(answer: Any) -> TypeGuard[OSError]:
    """Return whether distributed gave up connecting; exceptions on a worker are of more precise classes."""
    return type(answer) is OSError


def unreached(error: OSError) -> ClusterError:
    """Return the error for a worker of the scheduler that cannot be reached."""
    return ClusterError(
        f"A worker cannot be reached ({error}); see that the scheduler and this machine can open connections to every "
        "worker, or close the workers that no longer answer."
    )
