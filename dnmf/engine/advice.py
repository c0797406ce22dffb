"""Advice on plans that take much memory or time: other options, or V rewritten by `dnmf convert`."""

import dataclasses
import math
from typing import NamedTuple

from dnmf.engine.memory import RUNTIME_BYTES, Load, amount, enough, memory_terms, peak_bytes
from dnmf.errors import SettingsError
from dnmf.sources.addresses import convert_command
from dnmf.sources.base import Layout
from dnmf.sources.bounds import NARROWEST, default_chunks, even_bounds

# To rewrite V is advised if that saves the first factor of time or the second one of memory, and other options if they
# save the third one.
MUCH, MORE, SOME = 5, 3, 1.5


class Request(NamedTuple):
    """What a plan is made for: rank, memory limit in bytes, threads, workers of a cluster, and the load of the run."""

    rank: int
    limit: int
    threads: int
    workers: int
    load: Load

    def peak(self, layout: Layout, threads: int, share: float) -> int:
        """Return the peak memory in bytes."""
        return peak_bytes(layout, self.rank, threads, share, self.load)

    def fit(self, layout: Layout) -> tuple[int, float, int]:
        """Return the threads, the share of the long factor in memory, and the peak memory in bytes.

        To keep the limit, the long factor leaves memory before a thread is given up.
        """
        used, share = self.threads, 1 / max(self.workers, 1)
        peak = self.peak(layout, used, share)
        if peak > self.limit:
            share = 0.0
            peak = self.peak(layout, used, share)
        while used > 1 and peak > self.limit:
            used -= 1
            peak = self.peak(layout, used, share)
        return used, share, peak

    def rewritten(self, layout: Layout, least: bool = False) -> float:
        """Return the peak memory in bytes on V with another layout, with one thread if it is to be the least possible.

        It is infinite where the run needs the layout that V has.
        """
        try:
            other = self._replace(load=self.load.on(layout))
        except SettingsError:
            return math.inf
        return other.peak(layout, 1, 0.0) if least else other.fit(layout)[2]


def advice_on(layout: Layout, request: Request, peak: int) -> str:
    """Return the advice to rewrite V, if that takes much less memory or time than a plan that takes `peak` bytes."""
    streamed, other = _axes(layout)
    if layout.shape[0] > MUCH * layout.shape[1] and peak > SOME * RUNTIME_BYTES:  # which no plan does without
        longer = recut(layout, along_other=True)
        then = request.rewritten(longer)
        if peak - RUNTIME_BYTES > MORE * (then - RUNTIME_BYTES):
            return (
                f"V is cut along its shorter axis; cut along the longer one by `{_command(layout, other)}` it needs "
                f"{enough(then)}"
            )
    if layout.reads > MUCH:
        then = request.rewritten(recut(layout))
        return (
            f"each chunk of V is read {layout.reads} times in a pass; rewritten by `{_command(layout, streamed)}` V is "
            f"read once, and needs {enough(then)}"
        )
    if layout.sparse or MORE * layout.widest > layout.shape[1]:
        return ""
    wider = min(recut(layout).widest, layout.shape[1])
    if MORE * layout.widest <= wider <= NARROWEST:
        return (
            f"V is read in blocks of {layout.widest} {streamed}, and to add each of them to the sums over the "
            f"{layout.shape[0]} {other} takes longer than its products; rewritten by `{_command(layout, streamed)}` it "
            f"is read in blocks of {wider}"
        )
    return ""


def less_with(layout: Layout, request: Request, threads: int, peak: int) -> str:
    """Return what a plan of `peak` bytes would need with one thread, or without a sketch, where that is much less."""
    found = {}
    if peak <= SOME * RUNTIME_BYTES:  # which no plan does without
        return ""
    if threads > 1:
        found["threads=1 (--threads 1)"] = request._replace(threads=1)
    if request.load.lighter is not None:
        found[request.load.lighter[0]] = request._replace(threads=threads, load=request.load.lighter[1])
    sizes = {options: other.fit(layout)[2] for options, other in found.items()}
    return ", ".join(f"{enough(size)} with {options}" for options, size in sizes.items() if SOME * size < peak)


def refusal(layout: Layout, request: Request) -> str:
    """Return the message for a run that does not fit: the terms of its memory, and the remedies that help."""
    rank, limit, load = request.rank, request.limit, request.load
    terms = memory_terms(layout, rank, 1, 0.0, load)
    peak = sum(terms.values())
    listed = ", ".join(f"{amount(size)} {purpose}" for purpose, size in terms.items() if size)
    more = "Take larger workers" if request.workers else "Raise memory_limit (--memory-limit)"
    last = [f"{more} to at least {enough(peak)}", *_remedies(layout, request)]
    lower = next(
        (r for r in range(rank - 1, 0, -1) if peak_bytes(layout, r, 1, 0.0, load.at_most(r, rank)) <= limit), 0
    )
    if lower:
        last.append(f"take a rank of {lower} or lower")
    end = f", or {last.pop()}" if len(last) > 1 else ""
    return (
        f"{'a worker may use' if request.workers else 'memory_limit is'} {amount(limit)}, and rank {rank} on this "
        f"matrix needs {enough(peak)} with one thread: {listed}. {', '.join(last)}{end}."
    )


def _remedies(layout: Layout, request: Request) -> list[str]:
    """Return the options, and the ways to rewrite V, by which a run fits, with the memory that it needs then."""
    (streamed, other), ways = _axes(layout), list[str]()
    smaller, longer = (request.rewritten(recut(layout, along_other=along), least=True) for along in (False, True))
    if smaller <= request.limit:
        ways.append(f"cut V into smaller blocks with `{_command(layout, streamed)}`, which needs {enough(smaller)}")
    elif layout.shape[0] > layout.shape[1] and longer <= request.limit:
        ways.append(
            f"cut V along its longer axis with `{_command(layout, other)}`, which needs {enough(longer)}, since the "
            f"factor of the {other} is held whole and that is the long one"
        )
    if request.load.lighter is not None:
        options, load = request.load.lighter
        size = peak_bytes(layout, request.rank, 1, 0.0, load)
        if size <= request.limit:
            ways.append(f"give {options}, which needs {enough(size)}")
    return ways


def recut(layout: Layout, *, along_other: bool = False) -> Layout:
    """Return the layout of a matrix as `dnmf convert` would cut it along the same axis, or along the other one."""
    rows, columns = layout.shape[::-1] if along_other else layout.shape
    by_rows = layout.transposed != along_other
    user_shape = (columns, rows) if by_rows else (rows, columns)
    chunks = default_chunks(user_shape, layout.dtype.itemsize, "rows" if by_rows else "columns")
    width = chunks[0 if by_rows else 1]
    part = rows * width / (layout.shape[0] * layout.widest)
    weights, prepared = (math.ceil(size * part) for size in (layout.weights_bytes, layout.prepared_bytes))
    read = layout.read_bytes if layout.sparse else rows * width * layout.dtype.itemsize + weights + prepared
    return dataclasses.replace(
        layout,
        shape=(rows, columns),
        bounds=even_bounds(columns, width),
        transposed=by_rows,
        read_bytes=read,
        weights_bytes=weights,
        prepared_bytes=prepared,
        held_bytes=0,
        reads=1,
        on_disk=True,
    )


def _axes(layout: Layout) -> tuple[str, str]:
    """Return the axis that is streamed, and the other one."""
    return ("rows", "columns") if layout.transposed else ("columns", "rows")


def _command(layout: Layout, by: str) -> str:
    """Return the command that cuts V along an axis."""
    return f"dnmf convert --by {by}" if layout.location is None else convert_command(layout.location, by)
