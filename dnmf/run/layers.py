"""The results of several layers, whose factors are stacked in a run and in its store."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from dnmf.engine.factor import MappedFactor, Rows
from dnmf.kernels.blocks.tiles import Float

R = TypeVar("R")


def with_layers(result: R, figures: Sequence[tuple[float, float | None]], mixings: Sequence[Float]) -> R:
    """Return the result of the last layer, with those of all, of a result whose factors are stacked.

    Parameters
    ----------
    result
        A result.
    figures
        Loss and relative error of every layer.
    mixings
        The matrices between the layers, as the layers of W have them; without any, the result is returned unchanged.
    """
    if not mixings:
        return result
    whole: Any = result
    found, stop = list[Any](), 0
    turned = [mixing.T if whole.settings.layered == "H" else mixing for mixing in mixings]
    for index, ((loss, error), mixing) in enumerate(zip(figures, [None, *turned], strict=True)):
        settings = whole.settings.of_layer(index)
        start, stop = stop, stop + settings.rank
        layer = dataclasses.replace(
            whole,
            settings=settings,
            history=(dataclasses.replace(whole.history[-1], loss=loss, relative_error=error),),
            short=np.ascontiguousarray(whole.short[:, start:stop]),
            long=MappedFactor(whole.long, Rows(start, stop)),
            mixing=mixing,
        )
        found.append(layer)
    last: R = dataclasses.replace(found[-1], settings=whole.settings, history=whole.history, layers=tuple(found))
    return last
