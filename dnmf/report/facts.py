"""All that a page says of a run, gathered before any of it is written: reads of the factors, and at most one of V."""

import dataclasses

import numpy as np

from dnmf.checkpoint import Commit, Store
from dnmf.inspection.components import Component
from dnmf.inspection.numbers import shortened
from dnmf.inspection.profiles import Profile
from dnmf.inspection.summary import POINTS, Look, along, feature_axis, largest, look_of, other
from dnmf.run.residuals import Residuals
from dnmf.run.result import Result
from dnmf.sources.base import Axis

# Components that are shown one by one, and the colours of all of their images together.
MOST = 48
IMAGE_NUMBERS = 500_000


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """What is known of a run.

    Attributes
    ----------
    result, store
        The run, and where it is kept, if it is.
    features
        The axis that the components are shown along, as the `look` says; images have a `shape` and are drawn with at
        most `side` pixels along their longer side.
    components
        All of them; `kept` are the places of those that are shown one by one.
    along
        The profile of the factor along each axis.
    residuals
        What is left of V, or a sentence that says why that is not known.
    """

    result: Result
    store: Store | None
    features: Axis
    look: Look
    shape: tuple[int, ...] | None
    side: int
    components: list[Component]
    kept: list[int]
    along: dict[Axis, Profile]
    residuals: Residuals | str

    @property
    def rank(self) -> int:
        """Number of components."""
        return self.result.settings.rank

    @property
    def others(self) -> Axis:
        """The axis that the components are not shown along: by custom, the samples."""
        return other(self.features)

    @property
    def smaller(self) -> bool:
        """Whether images are drawn smaller than they are."""
        return self.shape is not None and max(self.shape[:2]) > self.side

    @property
    def commits(self) -> list[Commit]:
        """The checkpoints that are kept, the newest first."""
        return [] if self.store is None else list(self.store.commits())

    def name(self, axis: Axis, place: int) -> str:
        """Return what a row or a column is called."""
        names = self.result.names.rows if axis == "rows" else self.result.names.columns
        return f"#{place}" if names is None else shortened(str(names[place]))


def gather_account(
    result: Result, axis: Axis | None, shape: tuple[int, ...] | None, n: int, residuals: Residuals | str
) -> Account:
    """Read the factors part by part, and return what is to be told of a run."""
    features = feature_axis(result, axis, shape)
    components = result.components(n, features)
    kept = largest([one.share for one in components], MOST)
    numbers = IMAGE_NUMBERS / (len(kept) * (3 if shape and len(shape) == 3 else 1))
    side = int(np.clip(np.sqrt(numbers), 8, 128))
    return Account(
        result=result,
        store=None if result.store is None else Store.open(result.store),
        features=features,
        look=look_of(result, features, shape),
        shape=shape,
        side=side,
        components=components,
        kept=kept,
        along={features: along(result, features, shape, side), other(features): along(result, other(features))},
        residuals=residuals,
    )


def in_runs(size: int) -> bool:
    """Say whether an axis is drawn in runs of several places."""
    return size > POINTS
