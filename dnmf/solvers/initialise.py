"""Where a run starts: random factors, those of a singular value decomposition, or given ones."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from dnmf.engine import single_threaded_products
from dnmf.engine.factor import ArrayFactor, MappedFactor, RandomFactor
from dnmf.errors import DataError, SettingsError
from dnmf.kernels.blocks.tiles import Float
from dnmf.settings import Settings
from dnmf.solvers.bundle import bundle
from dnmf.solvers.iteration import PassContext
from dnmf.solvers.sketch import sketched
from dnmf.solvers.spectral import spectral_state
from dnmf.solvers.state import State
from dnmf.sources.alignment import aligned, aligned_factors
from dnmf.sources.base import Layout
from dnmf.sources.names import NO_NAMES, Names


def initial_state(context: PassContext, settings: Settings, given: tuple[Float, Float] | None, init: str) -> State:
    """Return the state that a run starts from.

    Parameters
    ----------
    context
        What V is read with, where the initialisation needs it.
    settings
        Rank and seed.
    given
        W (m, r) and H (r, n) as streamed, checked, in place of an initialisation.
    init
        The name of the initialisation.
    """
    layout = context.engine.source.layout
    dtype = layout.work_dtype
    if given is not None:
        W, H = given
        return State(0, np.ascontiguousarray(W, dtype), ArrayFactor(H.astype(dtype, copy=False), layout.bounds))
    if init == "random":
        seeds = range(settings.seed, settings.seed + settings.n_runs)
        states = [random_state(settings.replace({"seed": seed}), layout) for seed in seeds]
        return states[0] if len(states) == 1 else bundle(states)
    if init == "sketch":
        with single_threaded_products():
            return sketched(context, settings)
    return spectral_state(context, settings)


def random_state(settings: Settings, layout: Layout) -> State:
    """Draw both factors as |N(0, 1)|.

    The scale, which scikit-learn takes from the mean of V, is found column by column in the first pass, where
    every column of H is scaled to fit its column of V best: it needs no read of its own.
    """
    W = np.abs(np.random.default_rng(settings.seed).standard_normal((layout.shape[0], settings.rank)))
    H = RandomFactor(settings.rank, layout.bounds, layout.work_dtype, settings.seed)
    return State(0, W.astype(layout.work_dtype), H)


def check_fixed(given: ArrayLike, shape: tuple[int, int], names: Names = NO_NAMES) -> Float:
    """Return given columns (m, f) of W, checked, in the order of the names of V's rows where both have names."""
    columns = np.asarray(aligned(given, (names.rows, None), "fixed_W"))
    if columns.ndim != 2 or len(columns) != shape[0]:
        raise DataError(f"fixed_W has shape {columns.shape}; V {shape} needs ({shape[0]}, components that are known).")
    _check_factor("fixed_W", columns, "")
    return columns


@dataclasses.dataclass(frozen=True, slots=True)
class FirstRows:
    """Makes a block of H whose first rows are given."""

    rows: Float
    bounds: tuple[int, ...]

    def __call__(self, block: int, H: Float) -> Float:
        """Return the block with its given rows in their place."""
        H[: len(self.rows)] = self.rows[:, self.bounds[block] : self.bounds[block + 1]]
        return H


def hold_fixed(state: State, fixed: Float, layout: Layout) -> State:
    """Return a state whose first components have the given columns (m, f) of the user's W."""
    count, dtype = fixed.shape[1], layout.work_dtype
    if state.parts:
        return bundle([hold_fixed(part, fixed, layout) for part in state.parts])
    if layout.transposed:
        first = FirstRows(np.ascontiguousarray(fixed.T, dtype), layout.bounds)
        return dataclasses.replace(state, H=MappedFactor(state.H, first))
    W = state.W.copy()
    W[:, :count] = fixed
    return dataclasses.replace(state, W=W)


def check_given(
    given: tuple[ArrayLike, ArrayLike], shape: tuple[int, int], rank: int, names: Names = NO_NAMES
) -> tuple[Float, Float]:
    """Return given factors W (m, rank) and H (rank, n) as arrays, or raise DataError for the first that is wrong.

    Where they have names, they come in the order of those of V, and the components of H in the order of W's.
    """
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise SettingsError(f"init={given!r} is not known; give a name, or the two factors as a tuple (W, H).")
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
    """Raise DataError for the first entry of a given factor that no factor can have."""
    if array.dtype.kind not in "buif":
        raise DataError(f"{name}{where} has dtype {array.dtype}; give real numbers.")
    if not np.isfinite(array).all() or (array < 0).any():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(array) | (array < 0))[0])
        raise DataError(f"{name}{list(bad)}{where} is {array[bad]:g}; give finite numbers of at least 0.")
