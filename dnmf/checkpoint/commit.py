"""The record of a checkpoint: what lies where, and that it is true."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self

FORMAT = 1


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
        Of every chunk of W and of H.
    state
        Numbers of the state: norms, loss, relative error, optimality.
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
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        return json.dumps(content | {"seal": _seal(content)}, allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read a record; raise ValueError if a bit of it is not what was written."""
        read = json.loads(content)
        if not isinstance(read, dict) or read.pop("seal", None) != _seal(read):
            raise ValueError("the record is not what was written")
        del read["format"]
        return cls(**read)


def _seal(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
