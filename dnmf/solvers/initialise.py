"""The first state of a run: random factors, those of a sketch, singular vectors or pure columns, or given ones."""

import dataclasses
import reprlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dnmf.engine import single_threaded_products
from dnmf.engine.factor import ArrayFactor, MappedFactor, RandomFactor, Scaled
from dnmf.errors import DataError, SettingsError
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.quadratic.volume import divide_by_sums
from dnmf.kernels.registry import within
from dnmf.settings import Settings
from dnmf.solvers.bundle import bundle
from dnmf.solvers.direct import direct_state
from dnmf.solvers.iteration import PassContext
from dnmf.solvers.separable import separable_state
from dnmf.solvers.shared_scale import sharing
from dnmf.solvers.sketch import sketched
from dnmf.solvers.spectral import spectral_state
from dnmf.solvers.state import State
from dnmf.sources.alignment import aligned, aligned_factors
from dnmf.sources.base import Layout
from dnmf.sources.names import NO_NAMES, Names

# Factor up to which random entries of solver "minibatch" are in the scale that penalties need.
NEAR = 4.0


def initial_state(context: PassContext, settings: Settings, given: tuple[Float, Float] | None, init: str) -> State:
    """Return the first state of a run.

    Parameters
    ----------
    context
        The means to read V, if the initialisation needs it.
    settings
        Rank, seed and number of runs.
    given
        Checked factors W (m, r) and H (r, n), as streamed, to start from instead; or None.
    init
        Name of the initialisation.
    """
    state = _initial_state(context, settings, given, init)
    if given is None and (init in ("random", "spa", "spa_rows") or isinstance(context.rule, Divergence)):
        shared = sharing(context, state)[0]
        # Batches of a first epoch may differ much, and components that penalties make 0 are lost: change a far W alone.
        near = settings.solver == "minibatch" and NEAR * shared.W.sum() > state.W.sum() > shared.W.sum() / NEAR
        state = state if near else shared
    if isinstance(context.rule, Quadratic) and context.rule.volume is not None and context.rule.volume.sums:
        return with_sums(state)
    return state


def with_sums(state: State) -> State:
    """Return the state with columns of W that sum to 1, and the same product WH."""
    X = np.ascontiguousarray(state.W.T, np.float64)
    sums = divide_by_sums(X)
    W = np.ascontiguousarray(X.T, state.W.dtype)
    return dataclasses.replace(state, W=W, H=MappedFactor(state.H, Scaled(sums)))


def _initial_state(context: PassContext, settings: Settings, given: tuple[Float, Float] | None, init: str) -> State:
    """Return the first state, in any scale."""
    layout = context.layout
    dtype = layout.work_dtype
    if given is not None:
        W, H = given
        return State(0, np.ascontiguousarray(W, dtype), ArrayFactor(H.astype(dtype, copy=False), layout.bounds))
    if init == "random" and settings.n_runs == 1:
        return random_state(settings, layout)
    if init == "random":
        seeds = range(settings.seed, settings.seed + settings.n_runs)
        return bundle([random_state(settings.replace({"seed": seed}), layout) for seed in seeds])
    if init == "direct":
        return direct_state(context, settings)
    if init == "sketch":
        with single_threaded_products():
            return sketched(context, settings)
    if init.startswith("spa"):
        return separable_state(context, settings, columns=(init == "spa") != layout.transposed)
    return spectral_state(context, settings)


def random_state(settings: Settings, layout: Layout) -> State:
    """Return factors with |N(0, 1)| entries.

    The first pass scales every column of H to fit its column of V best. So the mean of V, from which scikit-learn takes
    the scale, need not be read before. Where a constraint sets the scale of H, that of W is not known: W is 0, and the
    first pass finds the W that fits the random H.
    """
    W = np.abs(np.random.default_rng(settings.seed).standard_normal((layout.shape[0], settings.rank)))
    W = W * 0 if not within(settings, "H").free else within(settings, "W").begin(W.T).T
    H = RandomFactor(settings.rank, layout.bounds, layout.work_dtype, settings.seed)
    return State(0, W.astype(layout.work_dtype), H)


class Fixed(NamedTuple):
    """Known columns (m, f) of W and rows (g, n) of H, of the first components; None where nothing is known."""

    W: Float | None = None
    H: Float | None = None

    def __bool__(self) -> bool:
        return self.W is not None or self.H is not None


NOT_FIXED = Fixed()


def check_fixed(fixed_W: Any, fixed_H: Any, shape: tuple[int, int], names: Names = NO_NAMES) -> Fixed:
    """Return given columns of W and rows of H, in the order of the names of V if both have names.

    Raises
    ------
    DataError
        If a shape does not fit, or an entry is negative or not finite.
    """
    return Fixed(
        _known("fixed_W", fixed_W, shape, f"({shape[0]}, number of fixed components)", (names.rows, None)),
        _known("fixed_H", fixed_H, shape, f"(number of fixed components, {shape[1]})", (None, names.columns)),
    )


def _known(name: str, given: Any, shape: tuple[int, int], needs: str, names: tuple[Any, Any]) -> Float | None:
    """Return the known components of a factor, which fit V along one axis."""
    if given is None:
        return None
    array, axis = np.asarray(aligned(given, names, name)), int(name == "fixed_H")
    if array.ndim != 2 or array.shape[axis] != shape[axis]:
        raise DataError(f"{name} has shape {array.shape}; V {shape} needs {needs}.")
    _check_factor(name, array, "")
    return array


@dataclasses.dataclass(frozen=True, slots=True)
class FirstRows:
    """Sets the first rows of a block of H, for a `MappedFactor`."""

    rows: Float
    bounds: tuple[int, ...]

    def __call__(self, block: int, H: Float) -> Float:
        """Return the block with its first rows set."""
        H[: len(self.rows)] = self.rows[:, self.bounds[block] : self.bounds[block + 1]]
        return H


def hold_fixed(state: State, fixed: Fixed, layout: Layout) -> State:
    """Return the state with the first components of the user's factors set to the known ones."""
    if state.parts:
        return bundle([hold_fixed(part, fixed, layout) for part in state.parts])
    short, long = fixed.W, fixed.H
    if layout.transposed:
        short, long = (None if known is None else known.T for known in (fixed.H, fixed.W))
    if short is not None:
        W = state.W.copy()
        W[:, : short.shape[1]] = short
        if not W[:, short.shape[1] :].any():  # in the scale of the known ones
            W[:, short.shape[1] :] = short.mean(axis=1, keepdims=True)
        state = dataclasses.replace(state, W=W)
    if long is not None:
        first = FirstRows(np.ascontiguousarray(long, layout.work_dtype), layout.bounds)
        state = dataclasses.replace(state, H=MappedFactor(state.H, first))
    return state


def check_given(
    given: tuple[ArrayLike, ArrayLike], shape: tuple[int, int], rank: int, names: Names = NO_NAMES
) -> tuple[Float, Float]:
    """Return given factors W (m, rank) and H (rank, n) as arrays.

    If they have names, they are brought into the order of V's names, and the components of H into the order of W's.

    Raises
    ------
    DataError
        If a shape does not fit, or an entry is negative or not finite.
    """
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise SettingsError(
            f"init={reprlib.repr(given)} is not known; give a name, or the two factors as a tuple (W, H)."
        )
    factors = []
    W, H = aligned_factors(*given, names, " in init")
    for name, factor, wanted in (("W", W, (shape[0], rank)), ("H", H, (rank, shape[1]))):
        array = np.asarray(factor)
        if array.shape != wanted:
            raise DataError(f"{name} in init has shape {array.shape}; at rank {rank}, V {shape} needs {wanted}.")
        _check_factor(name, array, " in init")
        factors.append(array)
    return factors[0], factors[1]


def _check_factor(name: str, array: Float, where: str) -> None:
    """Raise DataError for the first entry of a given factor that is negative or not finite."""
    if array.dtype.kind not in "buif":
        raise DataError(f"{name}{where} has dtype {array.dtype}; give real numbers.")
    if not np.isfinite(array).all() or (array < 0).any():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(array) | (array < 0))[0])
        raise DataError(f"{name}{list(bad)}{where} is {array[bad]:g}; give finite numbers of at least 0.")
