"""Steps that prepare a block before it is factorised: functions of single entries, and factors along an axis.

All of them map 0 to 0, so that a sparse block stays as sparse as it is. A step along the axis that a block holds in
parts was fitted to all of V before; one along the other axis computes its factors from the block.
"""

import base64
import binascii
import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import scipy.sparse

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block, panels
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.kernels.preparation.moments import Moments


def by_variance(moments: Moments, total: float) -> Vector:
    """Return 1/σ with the standard deviation σ of a population, and 1 for constant entries."""
    variance = moments.squares / np.maximum(moments.count, 1)
    rounding = (moments.count * np.finfo(np.float64).eps * moments.mean) ** 2
    return np.where(variance > rounding, 1 / np.sqrt(variance), 1)


def by_documents(moments: Moments, total: float) -> Vector:
    """Return the smooth inverse document frequency, ln((1 + n) / (1 + df)) + 1."""
    return np.asarray(np.log((1 + moments.count) / (1 + moments.nonzero)) + 1)


def by_total(moments: Moments, total: float) -> Vector:
    """Return the factors with which the sums are `total`."""
    return np.asarray(total / (moments.mean * moments.count))


def by_length(moments: Moments, total: float) -> Vector:
    """Return the factors with which the Euclidean lengths are 1."""
    return np.asarray(1 / np.sqrt(moments.squares + moments.count * moments.mean**2))


def clip(values: Float) -> None:
    """Replace entries below 0 by 0, in place."""
    np.maximum(values, 0, out=values)


def log1p(values: Float) -> None:
    """Replace entries above 0 by ln(1 + x), in place; others stay, and are reported when V is checked."""
    np.log1p(values, out=values, where=values > 0)


def sublinear(values: Float) -> None:
    """Replace entries above 0 by 1 + ln x, in place."""
    positive = values > 0
    np.log(values, out=values, where=positive)
    np.add(values, 1, out=values, where=positive)


ENTRYWISE: Mapping[str, Callable[[Float], None]] = {"clip": clip, "log1p": log1p, "sublinear": sublinear}
ALONG: Mapping[str, Callable[[Moments, float], Vector]] = {
    "variance": by_variance,
    "idf": by_documents,
    "total": by_total,
    "length": by_length,
}
AXES = ("rows", "columns")
# A step with given factors along either axis: the weights of joined matrices.
WEIGHT = "weight"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step of a preparation.

    Attributes
    ----------
    name
        One of `ENTRYWISE`, or of `ALONG`, or `WEIGHT`.
    along
        `"rows"` or `"columns"` of the user's V, each of which has a factor; None for a function of single entries.
    total
        The sums after a step of that name.
    factors
        The factors of a step that was fitted to all of V; None where they are computed from every block.

    Examples
    --------
    >>> step = Step("idf", "columns", factors=np.array([1.0, 2.5]))
    >>> Step.from_json(step.to_json()) == step
    True
    """

    name: str
    along: str | None = None
    total: float = 1.0
    factors: Vector | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the step in its JSON form, with its factors to the last bit."""
        values: dict[str, Any] = {"name": self.name, "along": self.along, "total": self.total, "factors": None}
        if self.factors is not None:
            packed = self.factors.astype("<f8").tobytes()
            values["factors"] = base64.b64encode(packed).decode()
            values["digest"] = hashlib.blake2b(packed, digest_size=16).hexdigest()
        return values

    @classmethod
    def from_json(cls, form: Any) -> Self:
        """Rebuild a step from its JSON form; ValueError if it is not valid."""
        if not isinstance(form, dict) or form.keys() - {"digest"} != {"name", "along", "total", "factors"}:
            raise ValueError("a step has other fields than name, along, total and factors")
        name, along, total, factors = (form[key] for key in ("name", "along", "total", "factors"))
        known = (name in ENTRYWISE and along is None) or (name in (*ALONG, WEIGHT) and along in AXES)
        if not isinstance(name, str) or not known:
            raise ValueError(f"there is no step {str(name)[:40]!r} along {str(along)[:40]!r}")
        if not isinstance(total, float) or not 0 < total < math.inf:
            raise ValueError(f"the total of a step is {str(total)[:40]!r}, and must be a positive float")
        if factors is None and name == WEIGHT:
            raise ValueError("the weights have no factors")
        if factors is None:
            return cls(name, along, total)
        try:
            packed = base64.b64decode(factors, validate=True)
            values = np.frombuffer(packed, "<f8").astype(np.float64)
        except (TypeError, ValueError, binascii.Error) as error:
            raise ValueError(f"the factors of a step cannot be read ({error})") from error
        if hashlib.blake2b(packed, digest_size=16).hexdigest() != form.get("digest"):
            raise ValueError("the factors of a step do not match their digest")
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError("the factors of a step are not positive and finite")
        return cls(name, along, total, values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.name, self.along, self.total))

    def fitted(self, moments: Moments) -> Self:
        """Return the step with the factors for the moments of all of V."""
        return dataclasses.replace(self, factors=factors_of(self, moments))


def factors_of(step: Step, moments: Moments) -> Vector:
    """Return the factors of a step, 1 where a factor is not positive and finite."""
    with np.errstate(all="ignore"):
        factors = ALONG[step.name](moments, step.total)
    return np.where(np.isfinite(factors) & (factors > 0), factors, 1.0)


def prepare(
    V: Block, steps: Sequence[Step], dtype: np.dtype[Any], scratch: Scratch, place: slice, streamed: str
) -> Block:
    """Return a block (m, w) after all steps, in another dtype and a buffer of the thread; the block itself stays.

    `place` has the columns of the block, and `streamed` the axis of the user's V that they are.
    """
    if scipy.sparse.issparse(V):
        room = scipy.sparse.csc_array(V.shape, dtype=dtype)
        room.data, room.indices, room.indptr = V.data.astype(dtype), V.indices, V.indptr
    else:
        by_rows = V.strides[1] <= V.strides[0]
        room = scratch.array("prepared", V.shape if by_rows else V.shape[::-1], dtype)
        room = room if by_rows else room.T
    for columns, panel in panels(room, room.dtype, scratch, narrow=True):
        if not panel.sparse:
            np.copyto(panel.values, V[:, columns], casting="unsafe")
        for step in steps:
            if step.along is None:
                ENTRYWISE[step.name](panel.values)
            elif step.factors is not None and step.along == streamed:
                panel.scale_columns(step.factors[place][columns].astype(dtype))
            elif step.factors is not None:
                panel.scale_rows(step.factors.astype(dtype))
            else:
                panel.scale_columns(factors_of(step, Moments(*panel.moments(0))).astype(dtype))
    return room
