"""The workers of a cluster: who is there, what they have, what they see."""

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
from dnmf.engine.cluster.tasks import VERSION
from dnmf.errors import ClusterError, ClusterWarning, DnmfError, Interrupted, warn

# Seconds between two looks at whether the run was asked to stop, and at the workers.
POLL_S, CHECK_S = 0.1, 1.0
# Seconds that a run which was asked to stop waits for the workers that hold its factors.
STOP_TIMEOUT_S = 10.0
# Seconds without a result after which the scheduler is nudged.
WAKE_S = 5.0
# How often a worker that cannot be reached is tried; each try takes `distributed.comm.timeouts.connect`.
RETRIES = 3
# Seconds without any worker after which a warning is given, and a cluster that was started here is asked for its
# workers again; and how often that is done before somebody has to look into it.
ALONE, CALLS = 60.0, 5

A = TypeVar("A")


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What a worker has: bytes of memory it may use, threads, what multiplies; and sees of what it was asked to."""

    memory: int
    threads: int
    multiplier: str
    sight: Any


class Workers:
    """The workers behind a client.

    Parameters
    ----------
    client
        A client of the cluster that is connected and not asynchronous.
    on_change
        Called with the number of workers and the address of the dashboard, whenever the number has changed.
    cancelled
        Once this is set, whoever waits for workers gets `Interrupted`.
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
        self._looked = -CHECK_S
        self._alone: float | None = None
        self._told, self._calls = False, 0

    def prepare(self, sight: Callable[[], Any] | None = None) -> dict[str, Seen]:
        """Wait for a worker, set up all there are and will be, and return what each that is there has and sees.

        Raises
        ------
        ClusterError
            If a worker has no dnmf or another version of it, or cannot be reached.
        """
        with self.explained():
            # An adaptive cluster starts workers for those who wait for a result, and keeps one that holds it.
            asked = self.client.submit(tasks.hold, None, pure=False)
            self._ask(partial(self.client.register_plugin, tasks.OneThreadedProducts()))
            seen = self._each_sees(sight)
            del asked
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
        return {worker: Seen(*found[1:]) for worker, found in seen.items()}

    def look(self, sight: Callable[[], Any]) -> dict[str, Any]:
        """Return what each worker sees, or the error that it met."""
        with self.explained():
            seen = self._each_sees(sight)
        return {worker: found if isinstance(found, Exception) else found[-1] for worker, found in seen.items()}

    def _each_sees(self, sight: Callable[[], Any] | None) -> dict[str, Any]:
        """Ask all workers; one that goes away meanwhile has nothing to say, and one that is slow is asked again."""
        packed, tries = tasks.pack(sight), 1
        while True:
            answers = self._ask(partial(self.client.run, tasks.look, packed, on_error="return"))
            seen = {worker: found for worker, found in answers.items() if not isinstance(found, CommClosedError)}
            late = any(took_too_long(found) for found in seen.values())
            if seen and not (late and tries < RETRIES):
                return seen
            tries += late

    def _ask(self, question: Callable[[], A]) -> A:
        """Ask once there is a worker, and again where one went away, or could not be reached, before it answered."""
        tries = 0
        while True:
            while not self.slots():
                self.check()
                self.cancelled.wait(POLL_S)
            try:
                return question()
            except OSError as error:
                self.check()
                self._looked = -CHECK_S
                tries += not isinstance(error, CommClosedError)
                if tries == RETRIES:
                    raise unreached(error) from error

    def nudge(self, since: float) -> float:
        """Wake the scheduler where nothing has come since so long; return the time to wait from.

        Tasks without dependencies may wait in a queue of the scheduler, and leave it when another task ends or is given
        up. When a worker is lost with what the tasks on the others were waiting for, no other task ends, and none would
        leave the queue (seen in distributed 2026.8). So one is made to be given up.
        """
        if time.monotonic() - since < WAKE_S:
            return since
        self.client.submit(tasks.hold, None, pure=False).release()
        return time.monotonic()

    def gather(self, futures: Sequence[Future]) -> list[Any]:
        """Return results, however long workers take to come; but not where the run was asked to stop and none is left.

        Raises
        ------
        ClusterError
            If the scheduler is lost, or nobody is left to make the results and the run is to end.
        """
        alone: float | None = None
        ended = queue.SimpleQueue[Future]()

        def look() -> None:
            nonlocal alone
            if self.client.status != "running":
                raise lost()
            ending = self.ending or self.cancelled.is_set()
            alone = None if self.slots() or not ending else alone or time.monotonic()
            if alone is not None and time.monotonic() - alone > STOP_TIMEOUT_S:
                raise ClusterError(
                    "The run was asked to stop, and no worker is left to tell how far it has come. Resume it from its "
                    "store, from the checkpoint before."
                )

        for future in futures:
            future.add_done_callback(ended.put)
        remaining, since = len(futures), time.monotonic()
        while remaining:
            with contextlib.suppress(queue.Empty):
                ended.get(timeout=CHECK_S)
                remaining, since = remaining - 1, time.monotonic()
                continue
            since = self.nudge(since)
            look()
        return self.bring(futures, look)

    def bring(self, futures: Sequence[Future], look: Callable[[], None]) -> list[Any]:
        """Return results that are made, or made again where their worker is lost before they are here.

        Where no worker is left, that may be never: so `look` is called at times, and raises where it is not to be
        waited for.
        """
        fetch, seconds = partial(self.client.gather, list(futures), asynchronous=True), CHECK_S
        while True:
            try:
                return list(self.client.sync(fetch, callback_timeout=seconds))
            except TimeoutError:
                if any(future.status == "error" for future in futures):
                    raise  # it is what a task ended with
                look()
                seconds *= 2  # what is large may need longer to come

    def slots(self, threads: int = 2**31) -> int:
        """Return how many tasks run at once where a worker runs so many at most; the scheduler is asked at times."""
        if time.monotonic() - self._looked > CHECK_S:
            self._threads = self.client.nthreads()
            self._looked = time.monotonic()
            if len(self._threads) != self.count:
                self.count = len(self._threads)
                self.on_change(self.count, self.client.dashboard_link)
            self._look_after()
        return sum(min(count, threads) for count in self._threads.values())

    def _look_after(self) -> None:
        """Tell a person where there has been no worker for long, and start again those that this process started."""
        now = time.monotonic()
        if self.count or self._alone is None:
            self._alone, self._told = None if self.count else now, False
        elif now - self._alone > ALONE:
            self._alone, self._calls = now, self._calls + 1
            coming = start_again(self.client.cluster) if self._calls <= CALLS else 0
            if not self._told:
                self._told = True
                warn(
                    f"The cluster has had no worker for {ALONE:g} seconds, and the run waits for one. "
                    + (f"Its {coming} workers are started again." if coming else self._remedy()),
                    ClusterWarning,
                )

    def _remedy(self) -> str:
        address = self.client.scheduler.address if self.client.scheduler else "its address"
        return (
            f"Start workers for the scheduler at {address}, or interrupt the run and resume it from its store; what is "
            "not in a checkpoint is lost then."
        )

    def check(self) -> None:
        """Raise Interrupted if the run was asked to stop, and ClusterError if the scheduler is lost."""
        if self.cancelled.is_set():
            raise Interrupted("The run was asked to stop.")
        if self.client.status != "running":
            raise lost()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what an act on a lost scheduler ends in into a sentence."""
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
    """Return the error for a scheduler that has gone."""
    return ClusterError(
        "The scheduler of the cluster was lost, and with it what the workers held. Start a cluster again and resume "
        "the run from its store; a run without a store begins anew."
    )


def took_too_long(answer: Any) -> TypeGuard[OSError]:
    """Return whether distributed gave up connecting; what a worker meets itself is of a more precise class."""
    return type(answer) is OSError


def unreached(error: OSError) -> ClusterError:
    """Return the error for a worker that the scheduler knows and nobody can connect to."""
    return ClusterError(
        f"A worker cannot be reached ({error}); see that the scheduler and this machine can open connections to every "
        "worker, or close the workers that no longer answer."
    )
