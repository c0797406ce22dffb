"""The record of a checkpoint: the group and digests of its factors, and the state of the run."""

import dataclasses
import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from dnmf.errors import seen
from dnmf.solvers.history import Record

FORMAT = 1
GROUP = re.compile(r"checkpoints/[0-9]{6,18}-[0-9a-f]{12}")
# The state of a method besides the factors: numbers in the state, and an array.
GUIDE = "guide"
# The long factor that the next pass starts from, if that is not the one of the state.
TRIAL = "trial"
GUIDE_PARTS = ("pending", "ahead", "probes", "bold", "sums")
GUIDE_NUMBERS = ("columns", "refused", "damping", "step", "bound")
NUMBERS = {"loss", "relative_error", "optimality", "curvature"}
# Matrices between the layers of a deep factorisation: those of the state, and those that the next pass starts from.
MIXINGS = ("mixings", "mixings_trial")
# The loss of one of several runs whose numbers left the range of floats.
INFINITE = "Infinity"
STATE = {"norms", "runs", "anchors", "volume", "parts", GUIDE, *NUMBERS, *MIXINGS}
RECORD = {field.name for field in dataclasses.fields(Record)}
# Figures of a record of the history that may be missing, and those that may not.
COUNTS, FIGURES = ("passes", "bytes_read"), ("loss", "relative_error", "optimality", "seconds")
MOST = 2**63


@dataclasses.dataclass(frozen=True, slots=True)
class Commit:
    """The content of a commit record.

    Attributes
    ----------
    passes
        Reads of V when the checkpoint was made.
    group
        The group of its factors in the store.
    digests
        Digests of every chunk of W and of H, and of the guide and the trial if there are any.
    state
        Numbers of the state: norms, loss, relative error, optimality, and those of the guide; if several models
        advance together, also the loss, relative error, optimality and guide of each.
    history
        One mapping for each pass.
    verdict
        Why the run stopped and whether it had converged; None for a checkpoint of an unfinished run.
    """

    passes: int
    group: str
    digests: dict[str, list[str]]
    state: dict[str, Any]
    history: list[dict[str, Any]]
    verdict: dict[str, Any] | None

    @property
    def finished(self) -> bool:
        """Whether it is the checkpoint of a finished run."""
        return is_finished(self.verdict, self.state)

    def to_bytes(self) -> bytes:
        """Return the record as strict JSON with a digest of itself, the inverse of `from_bytes`."""
        return sealed({"format": FORMAT, **dataclasses.asdict(self)})

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read a record; ValueError if it was changed."""
        read = unsealed(content)
        del read["format"]
        commit = cls(**read)
        commit._check()
        return commit

    def _check(self) -> None:
        """Raise ValueError for content that no run writes: anyone can seal a record."""
        sound = (
            type(self.passes) is int
            and isinstance(self.group, str)
            and GROUP.fullmatch(self.group)
            and {"W", "H"} <= set(self.digests) <= {"W", "H", GUIDE, TRIAL}
            and all(isinstance(text, str) for texts in self.digests.values() for text in texts)
            and set(self.state) <= STATE
            and isinstance(self.state["norms"], list)
            and all(_is_number(norm) for norm in self.state["norms"])
            and all(_is_number(self.state.get(name)) for name in NUMBERS)
            and _are_runs(self.state.get("runs", []), self.state.get("parts", []))
            and isinstance(self.state.get("anchors", []), list)
            and all(type(place) is int and place >= 0 for place in self.state.get("anchors", ()))
            and (self.state.get("volume") is None or _are_two(self.state["volume"]))
            and _are_guides(self.state, GUIDE in self.digests)
            and all(_are_mixings(self.state[name], self.state["parts"]) for name in MIXINGS if name in self.state)
            and all(map(_is_record, self.history))
            and (self.verdict is None or _is_verdict(self.verdict))
        )
        if not sound:
            raise ValueError("the record was not written by a run")


def _are_runs(runs: Any, parts: Any) -> bool:
    """Return whether a list has the losses of several runs, and None for each one that is a part, or for none."""
    if not isinstance(runs, list) or not isinstance(parts, list):
        return False
    if not all(_is_number(loss) or loss == INFINITE for loss in runs):
        return False
    return runs.count(None) in (0, len(parts))


def _are_two(given: Any) -> bool:
    """Return whether a value is a list of two finite numbers."""
    return (
        isinstance(given, list)
        and len(given) == 2
        and all(number is not None and _is_number(number) for number in given)
    )


def is_finished(verdict: Mapping[str, Any] | None, state: Mapping[str, Any], **_: Any) -> bool:
    """Return whether a record has a verdict on one model, chosen from several if there were; layers are one model."""
    return verdict is not None and (not state.get("parts") or "mixings" in state)


def _are_mixings(given: Any, parts: list[dict[str, Any]]) -> bool:
    """Return whether nested lists are finite matrices between layers of these ranks, without negative entries."""
    ranks = [part["rank"] for part in parts]
    try:
        matrices = [np.array(matrix, np.float64) for matrix in given]
    except (TypeError, ValueError):
        return False
    shapes = [matrix.shape for matrix in matrices] == list(itertools.pairwise(ranks))
    return shapes and all(bool(np.all(matrix >= 0) and np.isfinite(matrix).all()) for matrix in matrices)


def _are_guides(state: Mapping[str, Any], stored: bool) -> bool:
    """Return whether the numbers of the guides of the state and its parts are valid and fit the stored array."""
    parts = state.get("parts", [])
    if not isinstance(parts, list) or not all(isinstance(part, dict) and GUIDE in part for part in parts):
        return False
    if not all(set(part) <= {*NUMBERS, GUIDE, "rank"} and all(map(_is_number, _plain(part))) for part in parts):
        return False
    if not all(type(part.get("rank")) is int and part["rank"] > 0 for part in parts):
        return False
    if GUIDE not in state:
        return not stored and not parts
    guides = [state[GUIDE], *(part[GUIDE] for part in parts)]
    return all(map(_is_guide, guides)) and stored == (guide_columns(state) > 0)


def _plain(part: Mapping[str, Any]) -> list[Any]:
    return [value for name, value in part.items() if name != GUIDE]


def guide_columns(state: Mapping[str, Any]) -> int:
    """Return the columns of the guide's array: those of the state and of its parts."""
    return sum(int(one[GUIDE]["columns"]) for one in (state, *state.get("parts", ())))


def _is_guide(given: Any) -> bool:
    """Return whether numbers are those of a guide, with consistent columns."""
    if not isinstance(given, dict):
        return False
    given = {"pending": 0, "losses": [], **given}  # missing in older stores
    if set(given) != {*GUIDE_PARTS, *GUIDE_NUMBERS, "losses"}:
        return False
    losses = given["losses"]
    if not isinstance(losses, list) or not all(type(loss) is float and math.isfinite(loss) for loss in losses):
        return False
    counts = [given[name] for name in (*GUIDE_PARTS, "columns", "refused")]
    if not all(type(count) is int and count >= 0 for count in counts):
        return False
    sound = all(type(given[name]) is float for name in ("damping", "step", "bound"))
    return sound and given["columns"] == sum(given[name] for name in GUIDE_PARTS)


def _is_number(given: object) -> bool:
    """Return whether a value is a finite number, or None."""
    if isinstance(given, float):
        return math.isfinite(given)
    return given is None or (type(given) is int and abs(given) < MOST)


def _is_record(given: Any) -> bool:
    """Return whether a value is the record of a pass in the history."""
    return (
        isinstance(given, dict)
        and set(given) == RECORD
        and all(type(given[name]) is int and 0 <= given[name] < MOST for name in COUNTS)
        and all(_is_number(given[name]) for name in FIGURES)
        and all(given[name] is not None for name in ("loss", "seconds"))
        and _is_text(given["solver"])
    )


def _is_verdict(given: Any) -> bool:
    return set(given) == {"sentence", "converged"} and _is_text(given["sentence"]) and type(given["converged"]) is bool


def _is_text(given: Any) -> bool:
    """Return whether a value is a text without control characters, as dnmf writes them."""
    return isinstance(given, str) and len(given) < 2000 and seen(given) == given


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return strict JSON with a digest of itself."""
    return json.dumps({**content, "seal": seal_of(content)}, allow_nan=False).encode()


def unsealed(content: bytes) -> dict[str, Any]:
    """Return sealed content; ValueError if it was changed."""
    read = json.loads(content)
    if not isinstance(read, dict) or read.pop("seal", None) != seal_of(read):
        raise ValueError("the record was changed after it was written")
    return read


def seal_of(content: Mapping[str, Any]) -> str:
    """Return a digest of plain values."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
