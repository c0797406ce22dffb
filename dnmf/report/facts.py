"""The facts of a run that a page shows, gathered before it is written: reads of the factors, and at most one of V."""

import dataclasses
from typing import Any

import numpy as np

from dnmf.checkpoint import Store
from dnmf.inspection.numbers import shortened
from dnmf.inspection.profiles import Profile
from dnmf.inspection.summary import ComponentView, image_axis, other, profile_along, view_components
from dnmf.run.residuals import Residuals
from dnmf.run.result import Result
from dnmf.settings import Settings
from dnmf.sources.base import Axis

# The most components that are shown one by one, and the most numbers of all of their images together.
MOST = 48
# The most pixels along the longer side of an image in the hierarchy of layers.
LAYER_SIDE = 32
IMAGE_NUMBERS = 500_000


@dataclasses.dataclass(frozen=True, slots=True)
class RunFacts:
    """The facts of a run.

    Attributes
    ----------
    result, store
        The run, and its store if it has one.
    view, profiles
        Its components along the axis of the features, and the profiles of the factors along both axes.
    residuals
        The residuals of V, or a sentence that explains why they are not known.
    layers
        The components of every layer along the axis of the factor that is a product of layers; none for one layer.
    """

    result: Result
    store: Store | None
    view: ComponentView
    profiles: dict[Axis, Profile]
    residuals: Residuals | str
    layers: tuple[ComponentView, ...] = ()

    @property
    def rank(self) -> int:
        """Number of components."""
        return self.result.settings.rank

    @property
    def header(self) -> dict[str, Any]:
        """Header of the store, empty without one."""
        return {} if self.store is None else dict(self.store.header)

    @property
    def settings(self) -> Settings:
        """Settings of the whole run, also where the result is one of its layers."""
        return Settings.from_options(self.header["settings"]) if self.header else self.result.settings

    @property
    def location(self) -> str | None:
        """Location of the matrix, if it is known."""
        found = self.header.get("location")
        return None if found is None else str(found)

    @property
    def weights(self) -> str | None:
        """Location of the weights, if there are any and it is known."""
        return (self.header.get("weights") or {}).get("location")

    def name(self, axis: Axis, place: int) -> str:
        """Return the name of a row or a column, or its number."""
        names = self.result.names.rows if axis == "rows" else self.result.names.columns
        return f"#{place}" if names is None else shortened(str(names[place]))


def gather_facts(
    result: Result, axis: Axis | None, shape: tuple[int, ...] | None, n: int, residuals: Residuals | str
) -> RunFacts:
    """Return the facts of a run; the factors are read part by part."""
    axis, found, _ = image_axis(result, axis, shape)
    numbers = IMAGE_NUMBERS / (min(MOST, result.settings.rank) * (3 if found and len(found) == 3 else 1))
    view = view_components(result, axis, shape, n, MOST, side=int(np.clip(np.sqrt(numbers), 8, 128)))
    profiles = {view.axis: view.profile, other(view.axis): profile_along(result, other(view.axis))}
    store = None if result.store is None else Store.open(result.store)
    along: Axis = "rows" if result.settings.layered == "W" else "columns"
    found = found if along == axis else None
    layers = (view_components(layer, along, found, n, layer.rank, side=LAYER_SIDE) for layer in result.layers)
    return RunFacts(result, store, view, profiles, residuals, tuple(layers))
