"""The record of a checkpoint: what lies where, and that it is true."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Self

from dnmf.watch import Record

FORMAT = 1
GROUP = re.compile(r"checkpoints/[0-9]{6,18}-[0-9a-f]{12}")
# What a method knows beside the factors: numbers in the state, and an array.
GUIDE = "guide"
GUIDE_PARTS = ("ahead", "probes", "bold", "sums")
GUIDE_NUMBERS = ("columns", "refused", "damping", "step", "bound")
STATE = {"norms", "loss", "relative_error", "optimality", GUIDE}
RECORD = {field.name for field in dataclasses.fields(Record)}


@dataclasses.dataclass(frozen=True, slots=True)
class Commit:
    """What a commit record says.

    Attributes
    ----------
    passes
        Reads of V when the checkpoint was made.
    group
        Where its factors lie in the store.
    digests
        Of every chunk of W and of H, and of the guide where there is one.
    state
        Numbers of the state: norms, loss, relative error, optimality, and those of the guide.
    history
        One mapping a pass.
    verdict
        Why the run stopped and whether it had converged; None for a checkpoint on the way.
    """

    passes: int
    group: str
    digests: dict[str, list[str]]
    state: dict[str, Any]
    history: list[dict[str, Any]]
    verdict: dict[str, Any] | None

    def to_bytes(self) -> bytes:
        """Return the record as strict JSON with a digest of itself, the inverse of `from_bytes`."""
        return sealed({"format": FORMAT, **dataclasses.asdict(self)})

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read a record; raise ValueError if a bit of it is not what was written."""
        read = unsealed(content)
        del read["format"]
        commit = cls(**read)
        commit._check()
        return commit

    def _check(self) -> None:
        """Raise ValueError for what no run writes: anybody can seal a record."""
        sound = (
            isinstance(self.passes, int)
            and isinstance(self.group, str)
            and GROUP.fullmatch(self.group)
            and {"W", "H"} <= set(self.digests) <= {"W", "H", GUIDE}
            and all(isinstance(text, str) for texts in self.digests.values() for text in texts)
            and set(self.state) <= STATE
            and isinstance(self.state["norms"], list)
            and all(_is_number(norm) for norm in self.state["norms"])
            and all(_is_number(value) for name, value in self.state.items() if name not in ("norms", GUIDE))
            and _is_guide(self.state.get(GUIDE), GUIDE in self.digests)
            and all(set(record) == RECORD and _is_number(record["passes"]) for record in self.history)
            and (self.verdict is None or set(self.verdict) == {"sentence", "converged"})
        )
        if not sound:
            raise ValueError("the record is none that a run writes")


def _is_guide(given: Any, stored: bool) -> bool:
    """Say whether numbers are those of a guide: none at all, or all, and an array of as many columns as they say."""
    if given is None:
        return not stored
    if not isinstance(given, dict) or set(given) != {*GUIDE_PARTS, *GUIDE_NUMBERS}:
        return False
    counts = [given[name] for name in (*GUIDE_PARTS, "columns", "refused")]
    if not all(type(count) is int and count >= 0 for count in counts):
        return False
    wide = sum(given[name] for name in GUIDE_PARTS)
    sound = all(type(given[name]) is float for name in ("damping", "step", "bound"))
    return sound and given["columns"] == wide and stored == (wide > 0)


def _is_number(given: object) -> bool:
    return given is None or (isinstance(given, (int, float)) and not isinstance(given, bool))


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return strict JSON with a digest of itself."""
    return json.dumps({**content, "seal": _seal(content)}, allow_nan=False).encode()


def unsealed(content: bytes) -> dict[str, Any]:
    """Return what was sealed; raise ValueError if a bit of it is not what was written."""
    read = json.loads(content)
    if not isinstance(read, dict) or read.pop("seal", None) != _seal(read):
        raise ValueError("the record is not what was written")
    return read


def _seal(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
