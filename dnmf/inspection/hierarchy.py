"""The hierarchy of the components of several layers: what each is made of in the layer before."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.inspection.components import Component, component_sums
from dnmf.sources.base import Axis

# The components of the layer before that are listed: their least part of the sum, and their largest number.
LEAST_PART, MOST_PARTS = 0.05, 6


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A component of a layer, and the components of the layer before that it is made of.

    Attributes
    ----------
    layer
        Number of its layer, from 1 on.
    place
        Its place in the layer.
    component
        Its name, share of WH, and strongest features.
    part
        Its part of the sum of the component of the next layer above it; its share of WH in the last layer.
    made_of
        Components of the layer before, the largest part first; those with small parts are left out.
    """

    layer: int
    place: int
    component: Component
    part: float
    made_of: tuple["Node", ...] = ()

    def __str__(self) -> str:
        features = ", ".join(str(name) for name, _ in self.component.top[:5])
        own = f"{self.component.name} of layer {self.layer}, {100 * self.part:.0f} %: {features}"
        below = [f"  {line}" for node in self.made_of for line in str(node).splitlines()]
        return "\n".join([own, *below])


def hierarchy_of(result: Any, n: int) -> list[Node]:
    """Return the components of the last layer with what they are made of; `Result.hierarchy` describes it."""
    axis: Axis = "rows" if result.settings.layered == "W" else "columns"
    components = [layer.components(n, axis) for layer in result.layers]
    parts = parts_of(result, axis)

    def node(layer: int, place: int, part: float) -> Node:
        below: list[Node] = []
        if layer > 0:
            own = parts[layer - 1][:, place]
            order = np.argsort(-own, kind="stable")[:MOST_PARTS]
            below = [node(layer - 1, int(k), float(own[k])) for k in order if own[k] >= LEAST_PART]
        return Node(layer + 1, place, components[layer][place], part, tuple(below))

    last = components[-1]
    order = sorted(range(len(last)), key=lambda k: -last[k].share)
    return [node(len(components) - 1, place, last[place].share) for place in order]


def parts_of(result: Any, axis: Axis) -> Sequence[NDArray[np.float64]]:
    """Return a matrix (r_l−1, r_l) for each layer after the first, with the parts of each component in its column."""
    sums = [component_sums(layer.parts(axis), layer.rank) for layer in result.layers]
    found = []
    for before, after, layer in zip(sums, sums[1:], result.layers[1:], strict=False):
        mixing = layer.mixing if axis == "rows" else layer.mixing.T
        found.append(before[:, None] * mixing / np.where(after > 0, after, 1))
    return found
