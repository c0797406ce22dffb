"""Kinds of faults: each draws a case from a seeded generator, and returns its outcome."""

import contextlib
import errno
import io
import os
import random
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import broken_files
from broken_files import OPERATIONS, Fault, Operations, counting
from broken_objects import ANSWERS, Proxy, served
from scenes import (
    LOST,
    NAMES,
    OTHER,
    SAME,
    SENTENCE,
    SOURCES,
    WORKS,
    WRONG,
    Account,
    Reported,
    Scene,
    Stage,
    Verdict,
    account_of,
    begin,
    checkpoints_of,
    files_of,
    go_on,
    interrupted,
    is_clear,
    judge,
    load,
    only,
    write_files,
)

import dnmf
import dnmf.run.run
from dnmf.checkpoint import Store

NUMBERS = (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EACCES, errno.ESTALE)
FOREVER = 10**9
Case = tuple[str, Verdict]


def turn(rng: random.Random, count: int) -> int:
    """Draw a number from 1 to count."""
    return rng.randrange(max(count, 1)) + 1


def counts_of(stage: Stage, scene: Scene, folder: Callable[[Any], str]) -> Any:
    """Return the number of operations of each kind in a scene without a fault, and its report."""

    def make() -> Any:
        stage.expected(scene)
        store, reported = stage.new_store(scene), Reported()
        with counting(folder(store)) as counts:
            account = account_of(lambda reported: begin(scene, stage.V(scene), store, reported), reported)
        assert account.end == "done", account.text
        stage.sweep(store)
        return counts, reported

    return stage.once(("counts", scene, folder.__name__), make)


def below_store(store: Any) -> str:
    return str(store)


def drawn_fault(rng: random.Random, counts: Any, acts: dict[str, tuple[str, ...]], times: tuple[int, ...]) -> Fault:
    """Draw a fault: an operation that happens, the kind of fault, and the time."""
    act = rng.choice(list(acts))
    operation = rng.choice([name for name in acts[act] if counts[name]] or ["open"])
    first = turn(rng, counts[operation])
    return Fault(operation, act, first, rng.choice(times), rng.choice(NUMBERS))


def with_files(stage: Stage, rng: random.Random, acts: dict[str, tuple[str, ...]], times: tuple[int, ...]) -> Case:
    """Inject a fault into the file operations of a store, in a new or a resumed run."""
    scene = Scene(rng.choice(WORKS), rng.choice(SOURCES), "disk")
    counts, _ = counts_of(stage, scene, below_store)
    fault, V, store = drawn_fault(rng, counts, acts, times), stage.V(scene), stage.new_store(scene)
    later = rng.random() < 0.3
    if later:
        interrupted(scene, V, store, 3)
    with Operations(store, fault):
        account = account_of(lambda reported: (go_on if later else begin)(scene, V, store, reported))
    words = (
        f"{scene}; {fault.act} {fault.operation} {fault.first}, {fault.times} times, {errno.errorcode[fault.number]}"
    )
    verdict = judge(scene, V, store, account, stage.expected(scene))
    stage.sweep(store)
    return f"{words}{', in going on' if later else ''}", verdict


def failed(stage: Stage, rng: random.Random) -> Case:
    """Make file operations fail."""
    return with_files(stage, rng, {"fail": OPERATIONS}, (1, 1, 3, FOREVER))


def cut(stage: Stage, rng: random.Random) -> Case:
    """Cut reads and writes short, and tear writes."""
    return with_files(stage, rng, {"cut": ("read", "write"), "tear": ("write",)}, (1, 3, FOREVER))


def delayed(stage: Stage, rng: random.Random) -> Case:
    """Delay file operations."""
    return with_files(stage, rng, {"delay": OPERATIONS}, (1, 5))


def killed(stage: Stage, rng: random.Random) -> Case:
    """Kill the process at a file operation of the store, in a new or a resumed run."""
    scene = Scene(rng.choice(WORKS), rng.choice(SOURCES), "disk")
    counts, _ = counts_of(stage, scene, below_store)
    fault = drawn_fault(rng, counts, {"kill": OPERATIONS, "tear and kill": ("write",)}, (1,))
    V, store, later = stage.V(scene), stage.new_store(scene), rng.random() < 0.3
    if later:
        interrupted(scene, V, store, 3)

    def act(reported: Reported) -> Any:
        with Operations(store, fault):
            return (go_on if later else begin)(scene, V, store, reported)

    account, _ = in_child(act)
    verdict = judge(scene, V, store, account, stage.expected(scene))
    stage.sweep(store)
    return f"{scene}; {fault.act} at {fault.operation} {fault.first}{', in going on' if later else ''}", verdict


def in_child(act: Callable[[Reported], Any], errors: Path | None = None) -> tuple[Account, int]:
    """Call a function in a child process, and return its outcome and its exit code, or minus the signal."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            reported = Reported()
            reported.pipe = writing
            if errors is not None:
                os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            account = account_of(act, reported)
            os.write(writing, f"{account.end} {account.text}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        lines_of_child = pipe.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    saved = [int(found) for found in re.findall(r"^saved (\d+)$", lines_of_child, re.MULTILINE)]
    rest = re.sub(r"^saved \d+\n", "", lines_of_child, flags=re.MULTILINE)
    end, _, text = rest.partition(" ")
    return Account(end or "killed", text, saved), code


def reads(stage: Stage, rng: random.Random) -> Case:
    """Make reads of V fail."""
    scene = Scene(rng.choice(WORKS), rng.choice(SOURCES[1:]), rng.choice(("disk", "memory", "none")))
    V, store = stage.V(scene), stage.new_store(scene)

    def below_V(store: Any) -> str:
        return str(V)

    counts, _ = counts_of(stage, scene, below_V)
    kinds = {"fail": ("open", "read", "stat", "listdir"), "cut": ("read",)}
    fault = drawn_fault(rng, counts, kinds, (1, 3, FOREVER))
    with Operations(str(V), fault):
        account = account_of(lambda reported: begin(scene, V, store, reported))
    verdict = judge(scene, V, store, account, stage.expected(scene))
    stage.sweep(store)
    return f"{scene}; {fault.act} {fault.operation} {fault.first}, {errno.errorcode[fault.number]}", verdict


def changed(stage: Stage, rng: random.Random) -> Case:
    """Change V in the middle of a run, and restore it before the run is resumed."""
    scene = Scene(rng.choice(WORKS), rng.choice(SOURCES[1:]), rng.choice(("disk", "memory", "none")))
    _, whole = counts_of(stage, scene, below_store)
    origin, store = Path(stage.V(scene)), stage.new_store(scene)
    kept = origin.with_name("kept")
    move = shutil.copytree if origin.is_dir() else shutil.copyfile
    move(origin, kept)
    event = rng.choice(("block", "pass"))
    number = turn(rng, whole.blocks if event == "block" else whole.passes)
    words, act = drawn_change(rng, origin)
    account = account_of(lambda reported: begin(scene, origin, store, reported), Reported(event, number, act))
    expected = stage.expected(scene)
    if account.end == "done" and account.text != expected and event == "block":
        expected = so_from_the_start(scene, origin, expected)
    remove(origin)
    kept.rename(origin)
    verdict = judge(scene, origin, store, account, expected)
    stage.sweep(store)
    return f"{scene}; {words} at {event} {number}", verdict


def so_from_the_start(scene: Scene, origin: Path, expected: str) -> str:
    """Return the digest of a run on the changed V: correct for a run that has not read the changed part before."""
    account = account_of(lambda reported: begin(scene, origin, None, reported))
    return account.text if account.end == "done" else expected


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def drawn_change(rng: random.Random, origin: Path) -> tuple[str, Callable[[], None]]:
    """Draw a change of a file of V, or of all of them."""
    files = sorted(path for path in origin.rglob("*") if path.is_file()) if origin.is_dir() else [origin]
    chosen = rng.choice([path for path in files if path.name != "zarr.json"])
    content, kind = chosen.read_bytes(), rng.choice(("all gone", "gone", "flipped", "negative", "cut", "empty"))
    place = rng.randrange(len(content) * 8)
    name = chosen.relative_to(origin.parent)

    def write(content: bytes) -> None:
        chosen.write_bytes(content)

    acts: dict[str, Callable[[], None]] = {
        "all gone": lambda: remove(origin),
        "gone": lambda: chosen.unlink(missing_ok=True),
        "flipped": lambda: write(flipped(content, place)),
        "negative": lambda: write(flipped(content, place // 32 * 32 + 31)),
        "cut": lambda: write(content[: place // 8]),
        "empty": lambda: write(b""),
    }
    return f"{name}: {kind} at bit {place}", acts[kind]


def flipped(content: bytes, bit: int) -> bytes:
    """Return bytes with one bit flipped; one byte if they are empty."""
    changed = bytearray(content or b"\0")
    changed[min(bit // 8, len(changed) - 1)] ^= 1 << bit % 8
    return bytes(changed)


def requests(stage: Stage, rng: random.Random) -> Case:
    """Make requests to S3 fail, for the store and for V."""
    proxy = stage.once("proxy", lambda: stage.once("exits", contextlib.ExitStack).enter_context(served()))
    scene = Scene(rng.choice(WORKS), rng.choice(("array", "s3")), "s3")
    V = stage.V(scene)
    count = stage.once(("requests", scene), lambda: count_requests(stage, scene, proxy))
    expected, store = stage.expected(scene), stage.new_store(scene)
    answer, first, times = rng.choice(ANSWERS), turn(rng, count), rng.choice((1, 1, 2, 4))
    proxy.set(answer, first, times)
    account = account_of(lambda reported: begin(scene, V, store, reported))
    proxy.set("", 0, 0)
    return f"{scene}; {answer} to request {first}, {times} times", judge(scene, V, store, account, expected)


def count_requests(stage: Stage, scene: Scene, proxy: Proxy) -> int:
    """Return the number of requests of a scene without a fault."""
    proxy.set("", 0, 0)
    account = account_of(lambda reported: begin(scene, stage.V(scene), stage.new_store(scene), reported))
    assert account.end == "done", account.text
    return proxy.counts


def signalled(stage: Stage, rng: random.Random) -> Case:
    """Send SIGINT or SIGTERM to a command at an event, or at a file operation of its store."""
    scene = Scene(rng.choice(WORKS), "zarr", rng.choice(("disk", "disk", "none")))
    V, store, number = stage.V(scene), stage.new_store(scene), rng.choice((signal.SIGINT, signal.SIGTERM))
    counts, whole = counts_of(stage, scene, below_store)
    most = {"start": 1, "block": whole.blocks, "pass": whole.passes, "checkpoint": len(whole.saved_passes), "end": 1}
    events = [name for name, count in most.items() if count] + (["publish", "operation"] if store else [])
    event = rng.choice(events)
    first = turn(rng, most.get(event, 2))
    fault = drawn_fault(rng, counts, {"signal": OPERATIONS}, (1,))
    fault = Fault(fault.operation, "signal", fault.first, 1, number)
    errors, command = stage.folder / "stderr", command_of(scene, V, store)

    def act(reported: Reported) -> Any:
        reported._event, reported._number, reported._act = event, first, lambda: os.kill(os.getpid(), number)
        with contextlib.ExitStack() as stack:
            stack.enter_context(watched_by(reported))
            if event == "publish":
                stack.enter_context(before_publishing(reported._act))
            if event == "operation":
                stack.enter_context(Operations(store, fault))
            sys.stdout = io.StringIO()
            run_command(command)

    account, code = in_child(act, errors)
    output = errors.read_text()
    account = account_of_command(account, code, output, scene, store)
    verdict = judge(scene, V, store, account, stage.expected(scene))
    stage.sweep(store)
    where = f"{fault.operation} {fault.first}" if event == "operation" else f"{event} {first}"
    return f"{scene}; {signal.Signals(number).name} at {where}", verdict


def command_of(scene: Scene, V: str, store: Any) -> list[str]:
    """Return the command line of a scene."""
    options = {**scene.options()}
    words = ["rank", V] if scene.is_survey else ["fit", V]
    if scene.is_survey:
        options["ranks"] = ",".join(map(str, options["ranks"]))
        options["runs"] = options.pop("n_runs")
    words += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return [*words, "--json", *([] if store is None else ["--store", str(store)])]


def run_command(command: list[str]) -> None:
    """Run a command like the command line, and exit with its code."""
    from dnmf.cli.app import main

    try:
        main(command)
    except SystemExit as ended:
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else int(ended.code is not None))


@contextlib.contextmanager
def watched_by(watcher: dnmf.Watcher) -> Iterator[None]:
    """Add a watcher to all runs."""
    real = dnmf.run.run.Run.__init__

    def begun(run: Any, *given: Any, **options: Any) -> None:
        real(run, *given, **options)
        run.watchers.append(watcher)

    with mock.patch.object(dnmf.run.run.Run, "__init__", begun):
        yield


@contextlib.contextmanager
def before_publishing(act: Callable[[], None]) -> Iterator[None]:
    """Call a function before factors are published."""
    real = Store.publish

    def publish(store: Store) -> None:
        act()
        real(store)

    with mock.patch.object(Store, "publish", publish):
        yield


def account_of_command(account: Account, code: int, output: str, scene: Scene, store: Any) -> Account:
    """Return how a command ended, from its exit code and its stderr."""
    if "Traceback" in output or account.end == "other":
        return Account("other", output + account.text, account.saved)
    if code in (0, -signal.SIGINT, -signal.SIGTERM):
        return Account("killed", f"exit code {code}", account.saved)  # and its store is to be gone on with
    lines = [line for line in output.splitlines() if line.strip()]
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM) and not any("Stopped" in line for line in lines):
        return Account("other", f"exit code {code} without a message: {output}", account.saved)
    return Account("sentence", f"exit code {code}: {' '.join(lines)}.", account.saved)


def damaged(stage: Stage, rng: random.Random) -> Case:
    """Damage one file of a finished or interrupted store before it is read or resumed."""
    scene = Scene(rng.choice(WORKS), rng.choice(("array", "zarr")), rng.choice(("disk", "disk", "memory")))
    passes, use = rng.choice((0, 2)), rng.choice(("load", "resume", "report"))
    files = stage.once(("files", scene, passes), lambda: files_to_damage(stage, scene, passes))
    name = rng.choice(sorted(files))
    kind, place = rng.choice(("flipped", "flipped", "cut", "empty", "gone")), rng.randrange(len(files[name]) * 8 or 1)
    bad = dict(files)
    if kind == "gone":
        del bad[name]
    else:
        bad[name] = {"flipped": flipped(files[name], place), "cut": files[name][: place // 8], "empty": b""}[kind]
    if kind == "gone" and "commits/" in name:  # only records define checkpoints
        files = bad
    store = stage.new_store(scene)
    write_files(store, bad)
    short = re.sub(r"-[0-9a-f]{12}", "", name)
    words = f"{scene}; {'finished' if passes == 0 else 'interrupted'}, {short} {kind} at bit {place}, {use}"
    try:
        return words, used(stage, scene, store, files, passes, name, use)
    finally:
        stage.sweep(store)


def files_to_damage(stage: Stage, scene: Scene, passes: int) -> dict[str, bytes]:
    """Return the files of a store; 0 passes mean a finished one."""
    store = stage.new_store(scene)
    interrupted(scene, stage.V(scene), store, passes)
    files = files_of(store)
    stage.sweep(store)
    return files


def used(stage: Stage, scene: Scene, store: Any, files: dict[str, bytes], passes: int, name: str, use: str) -> Verdict:
    """Return the outcome of using a damaged store."""
    header = name in ("zarr.json", "spent.json")
    V, expected, whole = stage.V(scene), stage.expected(scene), checkpoints_of(files)
    if use == "resume":
        again = account_of(lambda reported: go_on(scene, V, store, reported))
        if again.end == "done" and whole and (again.begun_at or 0) < whole[-1] and not again.warned:
            return Verdict(LOST, f"went on from {again.begun_at} without a word, and {whole[-1]} was saved")
        if again.end == "done":
            return Verdict(SAME if again.text == expected else WRONG, "in going on")
    elif use == "load":
        found: list[Any] = []
        again = account_of(lambda _: found.append(load(scene, store)) or found[0])
        if again.end == "done" and not scene.is_survey and scene.source == "array":
            names = found[0].names.rows
            if list(names if names is not None else NAMES) != NAMES or (names is None and not again.warned):
                return Verdict(WRONG, f"the names {names}")
        if again.end == "done":
            return loaded(stage, scene, files, again, expected, passes)
    else:
        again, page = reported_on(stage, store, V)
        if again.end == "done":
            _, expected = stage.once(("page", scene, passes, len(files)), lambda: report_on_files(stage, files, V))
            old = name == "spent.json" or (whole and f"/{whole[-1]:06d}" not in name and name.count("/"))
            same = page == expected or old
            return Verdict(SAME if same else SENTENCE if again.warned else WRONG, f"the page; {again.warned}")
    if again.end == "other" or not is_clear(again.text):
        return Verdict(OTHER, again.text)
    if not scene.is_survey and not header and len(whole) > 1:
        return Verdict(LOST, again.text)
    return Verdict(SENTENCE, again.text)


def reported_on(stage: Stage, store: Any, V: Any) -> tuple[Account, str]:
    """Return how the report on a store ended, and its page without the store's name."""
    page = stage.folder / "page.html"
    account = account_of(lambda _: dnmf.write_report(store, page, V, overwrite=True, threads=1))
    text = page.read_text() if account.end == "done" else ""
    page.unlink(missing_ok=True)
    return account, text.replace(str(store), "store").replace(str(store).rpartition("/")[2], "store")


def report_on_files(stage: Stage, files: dict[str, bytes], V: Any) -> tuple[Account, str]:
    """Return the same of a store that is not damaged."""
    store = stage.new_store(Scene("", "", "disk"))
    write_files(store, files)
    try:
        return reported_on(stage, store, V)
    finally:
        stage.sweep(store)


def loaded(
    stage: Stage, scene: Scene, files: dict[str, bytes], account: Account, expected: str, passes: int
) -> Verdict:
    """Check that the newest checkpoint was loaded, or an older one with a warning."""
    if scene.is_survey:
        return Verdict(SAME if account.text == expected else WRONG, "the loaded factors")
    newest, *older = [
        stage.once(("loaded", scene, passes, number), lambda number=number: load_whole(stage, scene, files, number))
        for number in reversed(checkpoints_of(files))
    ]
    if account.text == newest:
        return Verdict(SAME)
    if account.text in older:
        return Verdict(SENTENCE if account.warned else LOST, f"an older checkpoint was taken; {account.warned}")
    return Verdict(WRONG, "the loaded factors")


def load_whole(stage: Stage, scene: Scene, files: dict[str, bytes], passes: int) -> str:
    """Return the digest of a checkpoint that is not damaged."""
    store = stage.new_store(scene)
    write_files(store, only(files, passes))
    account = account_of(lambda _: load(scene, store))
    stage.sweep(store)
    assert account.end == "done", account.text
    return account.text


def workers(stage: Stage, rng: random.Random) -> Case:
    """Make file operations of one of two workers fail, delay them or kill it: those of its store, or of V."""
    client = client_of(stage)
    scene = Scene(rng.choice(("sketch", "hals", "newton", "n_runs=3")), rng.choice(("zarr", "npy")), "disk")
    V, expected, store = stage.V(scene), stage.expected(scene), stage.new_store(scene)
    of_V = rng.random() < 0.5
    counts = stage.once(("worker", scene, of_V), lambda: counts_of_worker(stage, scene, client, of_V))
    acts = {"fail": OPERATIONS, "delay": OPERATIONS, "kill": OPERATIONS}
    fault, folder = drawn_fault(rng, counts, acts, (1, 3, FOREVER)), str(V if of_V else store)
    client.run(broken_files.break_worker, folder, fault, workers=[sorted(client.scheduler_info()["workers"])[0]])
    account = account_of(lambda reported: begin(scene, V, store, reported, client=client))
    client.run(broken_files.break_worker, folder, None, on_error="ignore")
    verdict = judge(scene, V, store, account, expected)
    stage.sweep(store)
    where = f"{fault.operation} {fault.first}, {fault.times} times, of {'V' if of_V else 'its store'}"
    return f"{scene}; {fault.act} at {where}, {errno.errorcode[fault.number]}", verdict


def client_of(stage: Stage) -> Any:
    """Return the client of a cluster of two workers; a new cluster if a dead worker was not restarted."""
    client = stage.once("client", lambda: stage.once("exits", contextlib.ExitStack).enter_context(two_workers()))
    try:
        client.wait_for_workers(2, timeout=20)
    except TimeoutError:
        del stage.known["client"]
        return client_of(stage)
    return client


def counts_of_worker(stage: Stage, scene: Scene, client: Any, of_V: bool) -> Any:
    """Return the number of operations of each kind on one of the workers."""
    store = stage.new_store(scene)
    client.run(broken_files.count_worker, str(stage.V(scene) if of_V else store))
    account = account_of(lambda reported: begin(scene, stage.V(scene), store, reported, client=client))
    assert account.end == "done", account.text
    found = client.run(broken_files.counted_by_worker)
    stage.sweep(store)
    return found[min(found)]


@contextlib.contextmanager
def two_workers() -> Iterator[Any]:
    """Start a cluster of two processes that can import the modules of this folder."""
    import distributed

    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    with (
        mock.patch.dict(os.environ, {"PYTHONPATH": path}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


# Each kind of fault, and its share of the cases; those that fork come before those that start servers.
KINDS: dict[str, tuple[Callable[[Stage, random.Random], Case], int]] = {
    "file operation fails": (failed, 24),
    "process killed at one": (killed, 20),
    "cut short or torn": (cut, 6),
    "delayed": (delayed, 2),
    "read of V fails": (reads, 8),
    "V changes in a run": (changed, 10),
    "signal to a command": (signalled, 8),
    "damaged store": (damaged, 16),
    "worker of a cluster": (workers, 1),
    "request to S3 fails": (requests, 3),
}


def tried(stage: Stage, kind: str, seed: int, number: int) -> Case:
    """Try the case of a kind with a number; an error in this program counts as a fault of dnmf."""
    rng = random.Random(f"{seed} {kind} {number}")
    try:
        return KINDS[kind][0](stage, rng)
    except Exception:
        return "in judging", Verdict(OTHER, traceback.format_exc())
