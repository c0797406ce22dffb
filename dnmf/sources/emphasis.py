"""The weights of the matrices of a join, applied exactly: by the scale of V.

A β-divergence is homogeneous: d(λv, λy) = λ^β d(v, y) (Févotte & Idier 2011, section 2.1). So the divergence of a
matrix has the weight w if V and WH are multiplied by λ = w^(1/β): the last step of its preparation. The factors of a
run are those of the scaled V, and a `Result` divides them by λ.
"""

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError, SettingsError
from dnmf.kernels.preparation.steps import WEIGHT, Step
from dnmf.settings import Settings
from dnmf.sources.base import Axis, Source
from dnmf.sources.joining import join_in
from dnmf.sources.prepared import Prepared
from dnmf.sources.weighted import WeightedSource, steps_of


def emphasised(source: Source, settings: Settings) -> Source:
    """Return a join whose matrices have the weights that it was given with; any other source is returned unchanged.

    Raises
    ------
    SettingsError
        If the loss does not depend on the scale of V, or the factor along the axis of the join has a penalty.
    """
    values = source.values if isinstance(source, WeightedSource) else source
    join = join_in(values)
    if join is None or join.collection.weights is None or any(step.name == WEIGHT for step in steps_of(source)):
        return source
    axis: Axis = join.collection.axis
    _check(settings, axis)
    lengths = [one.layout.user_shape[0 if axis == "rows" else 1] for one in join.sources]
    factors = np.repeat(np.array(join.collection.weights) ** (1 / settings.beta), lengths)
    scaled = Prepared(join, (*steps_of(source), Step(WEIGHT, axis, factors=factors)))
    return WeightedSource(scaled, source.weights) if isinstance(source, WeightedSource) else scaled


def check_unweighted(source: Source, what: str) -> None:
    """Raise DataError if a join has weights that would not be applied."""
    join = join_in(source.values if isinstance(source, WeightedSource) else source)
    if join is not None and join.collection.weights is not None:
        raise DataError(f"V is a join with weights={list(join.collection.weights)}, and {what}; join it without them.")


def scale_along(steps: tuple[Step, ...], axis: Axis) -> NDArray[np.float64] | None:
    """Return the factors by which V was scaled along an axis, or None.

    >>> scale_along((Step(WEIGHT, "rows", factors=np.array([1.0, 2.0])),), "rows").tolist()
    [1.0, 2.0]
    """
    found = [step.factors for step in steps if step.name == WEIGHT and step.along == axis]
    return found[0] if found else None


def _check(settings: Settings, axis: Axis) -> None:
    """Raise SettingsError if the scale of V cannot express weights."""
    name = "W" if axis == "rows" else "H"
    instead = "give weights of the entries instead, as weights=[np.full(V.shape, 2.0) for V in matrices]."
    if settings.beta == 0:
        raise SettingsError(
            "loss='itakura-saito' does not depend on the scale of V, by which the weights of joined matrices are "
            f"expressed; {instead}"
        )
    if getattr(settings, f"l1_{name}") or getattr(settings, f"l2_{name}"):
        raise SettingsError(
            f"The weights of joined matrices are expressed by the scale of {name}, which its penalty would change; "
            f"leave out l1_{name} and l2_{name}, or {instead}"
        )
