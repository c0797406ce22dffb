"""Summaries of a result for notebooks and pages: its facts, and its components along an axis."""

import dataclasses
import functools
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import SettingsError, unknown
from dnmf.inspection.components import Component
from dnmf.inspection.profiles import Pixels, Profile, Runs, check_image, profile
from dnmf.sources.base import Axis

Look = Literal["images", "names", "curves"]
# The most points of a curve, and the most pixels along the longer side of an image.
POINTS, SIDE = 240, 96


@dataclasses.dataclass(frozen=True)  # without slots: the profile is kept
class ComponentView:
    """The components of a result along an axis: as images, by the names of features, or as curves.

    Attributes
    ----------
    result
        The run.
    axis, look, shape
        Axis of the features, how components are drawn along it, and the shape of an image.
    images
        Number of images along the axis, of which the mean is drawn.
    side
        The most pixels along the longer side of an image.
    components, shown
        All components, and the places of those with the largest shares.
    """

    result: Any
    axis: Axis
    look: Look
    shape: tuple[int, ...] | None
    side: int
    components: list[Component]
    shown: list[int]
    images: int = 1

    @functools.cached_property
    def profile(self) -> Profile:
        """The factor along the axis, in the pixels of an image or in runs of places; one read of the factor."""
        pixels = None if self.shape is None else Pixels(self.shape, self.side, self.images)
        return profile_along(self.result, self.axis, pixels)

    @property
    def reduced(self) -> bool:
        """Whether images are drawn smaller than they are."""
        return self.shape is not None and max(self.shape[:2]) > self.side

    def values(self, k: int) -> NDArray[np.float64]:
        """Return the image (h, w) or (h, w, 3) of a component, or its curve (b,)."""
        if self.shape is None:
            return np.asarray(self.profile.most[k])
        return np.asarray(self.profile.means[k].reshape(Pixels(self.shape, self.side).image))


def view_components(
    result: Any, axis: Axis | None, shape: tuple[int, ...] | None, n: int, most: int, side: int = SIDE
) -> ComponentView:
    """Return at most `most` components of a result, with `n` features each; `Result.plot_components` describes them."""
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise SettingsError(f"most={most!r} is not allowed; give a whole number of at least 1.")
    axis, shape, images = image_axis(result, axis, shape)
    look: Look = "curves" if getattr(result.names, axis) is None else "names"
    components = result.components(n, axis)
    shown = largest([component.share for component in components], most)
    return ComponentView(result, axis, "images" if shape else look, shape, side, components, shown, images)


def image_axis(
    result: Any, axis: Axis | None, shape: tuple[int, ...] | None
) -> tuple[Axis, tuple[int, ...] | None, int]:
    """Return the axis to draw components along, the shape of an image on it or None, and the number of images.

    A shape that is not given is that of the array whose axes make the axis of V, if they are several.
    """
    if shape is not None or axis not in (None, *get_args(Axis)):
        return feature_axis(result, axis, shape), shape, 1
    usual = feature_axis(result, axis)
    for candidate in (usual, other(usual)) if axis is None else (usual,):
        sizes = [size for size in (result.row_shape if candidate == "rows" else result.column_shape) if size > 1]
        if len(sizes) > 1:
            last = 3 if len(sizes) > 2 and sizes[-1] == 3 else 2
            return candidate, tuple(sizes[-last:]), int(np.prod(sizes[:-last], dtype=np.int64))
    return usual, None, 1


def feature_axis(result: Any, axis: Axis | None = None, shape: tuple[int, ...] | None = None) -> Axis:
    """Return the axis of the features: the one given, or the one with images, or with names, or else the columns.

    Raises
    ------
    SettingsError
        If `axis` is not the name of an axis, or if the length of no axis, or not of this one, is that of an image.
    """
    if axis not in (None, *get_args(Axis)):
        raise unknown("axis", axis, get_args(Axis))
    usual: Axis = "rows" if result.names.columns is None and result.names.rows is not None else "columns"
    if shape is None:
        return axis or usual
    sizes = dict(zip(("rows", "columns"), result.shape, strict=True))
    check_image(shape, {axis: sizes[axis]} if axis else sizes)
    return axis or (usual if sizes[usual] == int(np.prod(shape)) else other(usual))


def other(axis: Axis) -> Axis:
    """Return the other axis."""
    return "rows" if axis == "columns" else "columns"


def profile_along(result: Any, axis: Axis, pixels: Pixels | None = None) -> Profile:
    """Return the profile of the factor along an axis, in the pixels of an image or in runs of places."""
    size = result.shape[0 if axis == "rows" else 1]
    return profile(result.parts(axis), result.settings.rank, pixels or Runs(size, POINTS))


def largest(shares: list[float], most: int) -> list[int]:
    """Return the places of the largest numbers, at most `most`, in rising order.

    >>> largest([0.1, 0.5, 0.4], 2)
    [1, 2]
    """
    return sorted(sorted(range(len(shares)), key=lambda k: -shares[k])[:most])


def facts(result: Any) -> dict[str, str]:
    """Return the facts of a result in a few lines."""
    rows, columns = result.shape
    settings = result.settings
    lines = {
        "factors": f"W {rows:,} × {settings.rank:,}, H {settings.rank:,} × {columns:,}",
        "loss, solver": f"{settings.loss}, {settings.solver}",
        "passes": str(result.passes),
        "final loss": f"{result.loss:.6g}",
    }
    if result.relative_error is not None:
        lines["relative error"] = f"{result.relative_error:.6g}"
    if result.history:
        lines["optimality"] = f"{result.history[-1].optimality:.3g}"
        lines["time"] = f"{result.history[-1].seconds:.1f} s"
    names = [axis for axis in get_args(Axis) if getattr(result.names, axis) is not None]
    lines |= {"names of": " and ".join(names)} if names else {}
    lines |= {"store": result.store} if result.store else {}
    return {**lines, "state": result.verdict}
