"""What of a result is shown to people, wherever that is: components along an axis, and the facts in a few lines."""

from typing import Any, Literal, get_args

import numpy as np

from dnmf.errors import SettingsError, unknown
from dnmf.inspection.figures import plot_components, plot_images
from dnmf.inspection.profiles import Pixels, Profile, Runs, check_image, profile
from dnmf.sources.base import Axis

Look = Literal["images", "names", "curves"]
# A curve has no more points than this; an image no more pixels along its longer side.
POINTS, SIDE = 240, 96


def other(axis: Axis) -> Axis:
    """Return the other axis."""
    return "rows" if axis == "columns" else "columns"


def feature_axis(result: Any, axis: Axis | None = None, shape: tuple[int, ...] | None = None) -> Axis:
    """Return where the features are: where it is said, or where there are images, or names, or else the columns.

    Raises
    ------
    SettingsError
        If `axis` is none, or if no axis, or not the one that is said, is an image of the shape.
    """
    if axis not in (None, *get_args(Axis)):
        raise unknown("axis", axis, get_args(Axis))
    usual: Axis = "rows" if result.names.columns is None and result.names.rows is not None else "columns"
    if shape is None:
        return axis or usual
    sizes = dict(zip(("rows", "columns"), result.shape, strict=True))
    check_image(shape, {axis: sizes[axis]} if axis else sizes)
    return axis or (usual if sizes[usual] == int(np.prod(shape)) else other(usual))


def look_of(result: Any, axis: Axis, shape: tuple[int, ...] | None) -> Look:
    """Return how the components along an axis are best shown."""
    if shape is not None:
        return "images"
    return "curves" if getattr(result.names, axis) is None else "names"


def along(result: Any, axis: Axis, shape: tuple[int, ...] | None = None, side: int = SIDE) -> Profile:
    """Return the profile of the factor along an axis: in the pixels of an image, or in runs of its places."""
    size = result.shape[0 if axis == "rows" else 1]
    bins = Runs(size, POINTS) if shape is None else Pixels(shape, side)
    return profile(result.parts(axis), result.settings.rank, bins)


def image(values: Any, shape: tuple[int, ...], side: int = SIDE) -> Any:
    """Return the bins of one component as the image that they are."""
    return values.reshape(Pixels(shape, side).image)


def draw_components(result: Any, axis: Axis | None, shape: tuple[int, ...] | None, n: int, most: int) -> Any:
    """Return a figure of the components with the largest shares; `Result.plot_components` describes it."""
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise SettingsError(f"most={most!r} is not allowed; give a whole number of at least 1.")
    axis = feature_axis(result, axis, shape)
    told = result.components(n, axis)
    kept = largest([component.share for component in told], most)
    shown = [told[k] for k in kept]
    look = look_of(result, axis, shape)
    if look == "names":
        return plot_components(shown)
    found = along(result, axis, shape)
    if shape is not None:
        titles = [f"{one.name}, {100 * one.share:.1f} %" for one in shown]
        return plot_images([image(found.means[k], shape) for k in kept], titles)
    return plot_components(shown, found.most[kept], found.size, axis if found.size <= POINTS else f"{axis}, in runs")


def largest(shares: list[float], most: int) -> list[int]:
    """Return the places of the largest numbers, as many as may be, in their order.

    >>> largest([0.1, 0.5, 0.4], 2)
    [1, 2]
    """
    return sorted(sorted(range(len(shares)), key=lambda k: -shares[k])[:most])


def facts(result: Any) -> dict[str, str]:
    """Return what there is to know of a result in a few lines."""
    rows, columns = result.shape
    settings = result.settings
    told = {
        "factors": f"W {rows:,} × {settings.rank:,}, H {settings.rank:,} × {columns:,}",
        "loss, solver": f"{settings.loss}, {settings.solver}",
        "passes": str(result.passes),
        "loss after them": f"{result.loss:.6g}",
    }
    if result.relative_error is not None:
        told["relative error"] = f"{result.relative_error:.6g}"
    if result.history:
        told["optimality"] = f"{result.history[-1].optimality:.3g}"
        told["time"] = f"{result.history[-1].seconds:.1f} s"
    names = [axis for axis in get_args(Axis) if getattr(result.names, axis) is not None]
    told |= {"names of": " and ".join(names)} if names else {}
    told |= {"store": result.store} if result.store else {}
    return {**told, "state": result.verdict}
