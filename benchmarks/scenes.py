"""Targets of faults: small runs and surveys on small matrices, and their bits without a fault."""

import contextlib
import functools
import hashlib
import itertools
import os
import shutil
import tempfile
import threading
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from broken_objects import BUCKET

import dnmf
from dnmf.errors import DnmfError, StoreWarning
from dnmf.storage.objects import zarr_store
from dnmf.storage.open_location import location_at

ROWS, COLUMNS, WIDTH, RANK = 16, 48, 8, 2
FLAGS = {"max_passes": 4, "tol": 0.0, "threads": 1}
LOSS = {"loss": "kullback-leibler"}
RUNS: dict[str, dict[str, Any]] = {
    "sketch": {},
    "hals": {"solver": "hals"},
    "als": {"solver": "als"},
    "mu": {"solver": "mu", **LOSS},
    "newton": LOSS,
    "minibatch": {"solver": "minibatch"},
    "n_runs=3": {"n_runs": 3},
    "n_runs=3, hals": {"n_runs": 3, "solver": "hals", "init": "random"},
}
SURVEYS: dict[str, dict[str, Any]] = {
    "survey": {"ranks": [1, 2], "n_runs": 2, "cv": 2},
    "survey, hals": {"ranks": [1, 2], "n_runs": 2, "cv": 0, "solver": "hals"},
}
WORKS = (*RUNS, *SURVEYS)
SOURCES = ("array", "zarr", "zarr, compressed", "npy", "h5ad")
# The outcomes of a case; the last four are faults of dnmf.
SAME, SENTENCE, WRONG, LOST, HANG, OTHER = OUTCOMES = (
    "same bits",
    "clear sentence",
    "wrong answer",
    "lost checkpoint",
    "hang",
    "other exception",
)
NAMES = [f"feature {number}" for number in range(ROWS)]


@dataclass(frozen=True)
class Scene:
    """A run or a survey on a kind of matrix, with a kind of store."""

    work: str
    source: str
    store: str

    @property
    def is_survey(self) -> bool:
        return self.work in SURVEYS

    def options(self) -> dict[str, Any]:
        """Return the options of the call."""
        if self.is_survey:
            return {**FLAGS, "checkpoint_every": 2, **SURVEYS[self.work]}
        return {**FLAGS, "checkpoint_every": 1 if "zarr" in self.source else 2, "rank": RANK, **RUNS[self.work]}

    def __str__(self) -> str:
        return f"{self.work}, V: {self.source}, store: {self.store}"


class Reported(dnmf.Watcher):
    """Record the events of a run, and call a function at one of them."""

    def __init__(self, event: str = "", number: int = 0, act: Callable[[], None] = lambda: None) -> None:
        self.saved_passes: list[int] = []
        self.begun_at: int | None = None
        self.blocks = self.passes = 0
        self._event, self._number, self._act = event, number, act
        self.pipe: int | None = None

    def started(self, plan: Any, passes: int, max_passes: int) -> None:
        """Record the first pass of the run."""
        self.begun_at = passes if self.begun_at is None else self.begun_at
        self._come("start", 1)

    def block_read(self, count: int) -> None:
        """Count a block."""
        self.blocks += 1
        self._come("block", self.blocks)

    def passed(self, record: Any) -> None:
        """Count a pass."""
        self.passes += 1
        self._come("pass", self.passes)

    def saved(self, passes: int, store: str) -> None:
        """Record a checkpoint, and write it to the pipe if there is one."""
        self.saved_passes.append(passes)
        if self.pipe is not None:
            os.write(self.pipe, f"saved {passes}\n".encode())
        self._come("checkpoint", len(self.saved_passes))

    def stopped(self, verdict: Any) -> None:
        """Record the end."""
        self._come("end", 1)

    def _come(self, event: str, number: int) -> None:
        if (event, number) == (self._event, self._number):
            self._act()


@dataclass
class Account:
    """How a call ended: `end` is "done", "sentence", "other" or "killed"; `saved` are the passes of its checkpoints."""

    end: str
    text: str = ""
    saved: Sequence[int] = ()
    begun_at: int | None = None
    warned: Sequence[str] = ()


class Verdict(NamedTuple):
    """The outcome of a case, and why."""

    outcome: str
    why: str = ""


def account_of(act: Callable[[Reported], Any], reported: Reported | None = None) -> Account:
    """Return how a call ended; the text of a finished one is the digest of its result."""
    reported = reported or Reported()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            end, text = "done", digest(act(reported))
        except DnmfError as error:
            end, text = "sentence", f"{type(error).__name__}: {error}"
        except Exception:
            end, text = "other", traceback.format_exc()
    warned = [str(warning.message) for warning in caught if issubclass(warning.category, StoreWarning)]
    return Account(end, text, reported.saved_passes, reported.begun_at, warned)


def digest(found: Any) -> str:
    """Return a digest of all numbers of a result or a survey, except times."""
    sums = hashlib.blake2b(digest_size=12)
    for part in numbers(found):
        sums.update(np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return sums.hexdigest()


def numbers(found: Any) -> Iterator[Any]:
    """Yield the numbers of a result or a survey; a page has none."""
    if isinstance(found, Path):
        return
    if isinstance(found, dnmf.Result):
        yield from (np.asarray(found.W), np.asarray(found.H), found.verdict, found.converged)
        for record in found.history:
            yield (record.passes, record.loss, record.relative_error, record.optimality, record.solver)
        return
    yield from (np.asarray(found.held_out), found.holdout, found.ranks, found.places)
    for model in found.models:
        yield from (model.rank, model.seed, model.W, model.loss, model.relative_error, model.optimality, model.labels)
    for rank in found.ranks:
        best = found.best(rank)
        yield from (np.asarray(best.W), np.asarray(best.H), best.loss)


@functools.cache
def matrix() -> Any:
    """Return a small matrix."""
    rng = np.random.default_rng(3)
    V = rng.gamma(1.0, 1.0, (ROWS, 3)) @ rng.gamma(1.0, 1.0, (3, COLUMNS)) + 0.1 * rng.random((ROWS, COLUMNS))
    return V.astype(np.float32)


@dataclass
class Stage:
    """A folder in which cases are tried one after another, with a cache between them."""

    folder: Path
    known: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return the cached value of a key, or compute it."""
        if key not in self.known:
            self.known[key] = make()
        return self.known[key]

    def V(self, scene: Scene) -> Any:
        """Return the matrix of a scene, as passed to a call."""
        if scene.source == "array":
            return matrix()
        return self.once(("V", scene.source), lambda: write_matrix(self.folder, scene.source))

    def new_store(self, scene: Scene) -> Any:
        """Return the path or URL of a store that does not exist yet."""
        name = uuid.uuid4().hex
        places = {"disk": str(self.folder / name), "memory": f"memory://{name}", "s3": f"s3://{BUCKET}/{name}"}
        return places.get(scene.store)

    def expected(self, scene: Scene) -> str:
        """Return the digest of a scene without a fault."""
        quiet = Scene(scene.work, scene.source, "none")

        def make() -> str:
            account = account_of(lambda reported: begin(quiet, self.V(quiet), None, reported))
            assert account.end == "done", account.text
            return account.text

        return str(self.once(("expected", quiet), make))

    def sweep(self, store: Any) -> None:
        """Delete a store."""
        if store is not None and "://" not in str(store):
            shutil.rmtree(store, ignore_errors=True)
        elif store is not None:
            location_at(store).remove_tree("")


def write_matrix(folder: Path, source: str) -> str:
    """Write the matrix in a format, and return its path or URL."""
    V, path = matrix(), folder / f"V-{source.replace(', ', '-')}"
    if source.startswith("zarr"):
        compressors = "auto" if "compressed" in source else None
        array = zarr.create_array(path, shape=V.shape, chunks=(ROWS, WIDTH), dtype=V.dtype, compressors=compressors)
        array[...] = V
        return str(path)
    if source == "s3":
        url = f"s3://{BUCKET}/V.zarr"
        array = zarr.create_array(zarr_store(url), shape=V.shape, chunks=(ROWS, WIDTH), dtype=V.dtype)
        array[...] = V
        return url
    path = path.with_suffix(f".{source}")
    if source == "npy":
        np.save(path, np.asfortranarray(V))
    else:
        import anndata
        import pandas as pd

        obs, var = (pd.DataFrame(index=[f"{name}{i}" for i in range(n)]) for name, n in (("o", ROWS), ("v", COLUMNS)))
        anndata.AnnData(V, obs, var).write_h5ad(path)
    return str(path)


def begin(scene: Scene, V: Any, store: Any, reported: Reported, client: Any = "threads", **more: Any) -> Any:
    """Start a run or a survey; a survey that was started before continues."""
    call = dnmf.select_rank if scene.is_survey else dnmf.factorize
    names = {"row_names": NAMES} if scene.source == "array" and not scene.is_survey else {}
    return call(V, store=store, watchers=[reported], client=client, **scene.options(), **names, **more)


def go_on(scene: Scene, V: Any, store: Any, reported: Reported) -> Any:
    """Resume a run or a survey."""
    if scene.is_survey:
        return begin(scene, V, store, reported)
    return dnmf.resume(store, V, watchers=[reported], client="threads")


def load(scene: Scene, store: Any) -> Any:
    """Load the factors of a store."""
    return (dnmf.load_survey if scene.is_survey else dnmf.load)(store)


def judge(scene: Scene, V: Any, store: Any, account: Account, expected: str) -> Verdict:
    """Return the outcome of a run that met a fault, from its report and from resuming it."""
    if account.end == "other":
        return Verdict(OTHER, account.text)
    if account.end == "sentence" and not is_clear(account.text):
        return Verdict(OTHER, f"no clear sentence: {account.text}")
    if account.end == "done" and account.text != expected:
        return Verdict(WRONG, "the returned result")
    ended = SAME if account.end in ("done", "killed") else SENTENCE
    if store is None:
        return Verdict(ended, account.text)
    if account.end == "done":
        kept = account_of(lambda _: load(scene, store))
        if (kept.end, kept.text) != ("done", expected):
            return Verdict(WRONG if kept.end == "done" else LOST, f"the kept checkpoint: {kept.text}")
        if not scene.is_survey and published(store) != published_in(load(scene, store)):
            return Verdict(WRONG, "the published factors")
        return Verdict(SAME)
    return gone_on(scene, V, store, account, expected, ended)


def gone_on(scene: Scene, V: Any, store: Any, account: Account, expected: str, ended: str) -> Verdict:
    """Return the outcome of resuming a run without a fault."""
    again = account_of(lambda reported: go_on(scene, V, store, reported))
    if again.end == "sentence" and not account.saved and is_clear(again.text):
        again = account_of(lambda reported: begin(scene, V, store, reported))
        if again.end == "sentence" and is_clear(again.text):
            again = account_of(lambda reported: begin(scene, V, store, reported, overwrite=True))
    if again.end == "other":
        return Verdict(OTHER, f"{account.text}\nin going on: {again.text}")
    if again.end == "sentence":
        return Verdict(LOST, f"{account.text}\nin going on: {again.text}")
    if account.saved and not scene.is_survey and (again.begun_at or 0) < max(account.saved):
        return Verdict(LOST, f"went on from {again.begun_at}, and {max(account.saved)} was saved; {again.warned}")
    if again.text != expected:
        return Verdict(WRONG, f"{account.text}\nother bits in going on, from {again.begun_at}")
    return Verdict(ended, account.text)


def published(store: Any) -> list[bytes]:
    """Return the bytes of the factors at the top of a store."""
    where = zarr_store(str(store)) if "://" in str(store) else store
    group = zarr.open_group(where, mode="r")
    return [np.asarray(group[name][...]).tobytes() for name in "WH"]


def published_in(result: Any) -> list[bytes]:
    """Return the bytes of the factors of a result."""
    return [np.ascontiguousarray(factor).tobytes() for factor in (result.W, np.asarray(result.H))]


def is_clear(text: str) -> bool:
    """Return whether an error is one complete line, without a memory address or a secret."""
    strange = ("\n", "Traceback", "object at 0x", "AKID", "errno")
    return len(text) > 40 and text.rstrip()[-1] in ".…)" and not any(word in text for word in strange)


@contextlib.contextmanager
def staged(folder: str | None = None) -> Iterator[Stage]:
    """Yield a stage in its own folder, where reads are retried without waiting."""
    from dnmf.storage import retries

    before, retries.wait = retries.wait, lambda seconds: None
    name = tempfile.mkdtemp(prefix="faults-", dir=folder)
    try:
        yield Stage(Path(name))
    finally:
        retries.wait = before
        shutil.rmtree(name, ignore_errors=True)


def files_of(store: Any) -> dict[str, bytes]:
    """Return the content of every file of a store except its lock."""
    place = location_at(store)
    return {name: place.read(name) for name in place.files() if name != ".lock"}


def write_files(store: Any, files: dict[str, bytes]) -> None:
    """Write a store from the content of its files."""
    place = location_at(store)
    for name, content in files.items():
        if "://" not in str(store):
            (Path(store) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(store) / name).write_bytes(content)
        else:
            place.replace(name, content)


def interrupted(scene: Scene, V: Any, store: Any, passes: int) -> None:
    """Make a store of a run or survey that was interrupted after a number of passes; 0 is never."""
    cancel = threading.Event()
    with contextlib.suppress(dnmf.errors.Interrupted):
        begin(scene, V, store, Reported("pass", passes, cancel.set), cancel=cancel)


def checkpoints_of(files: dict[str, bytes]) -> list[int]:
    """Return the passes of the checkpoints of a run, from the names of its files; the newest last."""
    names = (name.partition("/") for name in files)
    return sorted(int(rest.removesuffix(".json")) for top, _, rest in names if top == "commits")


def only(files: dict[str, bytes], passes: int) -> dict[str, bytes]:
    """Return the files of a run without those of checkpoints after a pass."""
    later = [f"{number:06d}" for number in checkpoints_of(files) if number > passes]
    tops = [f"{folder}/{number}" for folder, number in itertools.product(("commits", "checkpoints"), later)]
    return {name: content for name, content in files.items() if not any(name.startswith(top) for top in tops)}
