"""Components in the units of other data of the same samples, by regression of these data on the usages."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.aliases import names_options
from dnmf.checks import choice
from dnmf.choices import Axis, Units
from dnmf.engine import single_threaded_products
from dnmf.engine.plan import Load
from dnmf.engine.session import open_session
from dnmf.errors import DataError, SettingsError, needed
from dnmf.inspection.components import component_names, component_sums
from dnmf.inspection.summary import feature_axis, other
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block, panels
from dnmf.kernels.blocks.sums import Summable
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.preparation.moments import Moments
from dnmf.kernels.preparation.steps import Step
from dnmf.kernels.quadratic.block_pivoting import pivot
from dnmf.kernels.quadratic.column_pivoting import PIVOT_SWEEPS
from dnmf.preprocessing import add_steps
from dnmf.run.arrays import whole
from dnmf.run.display import showing
from dnmf.run.result import Result
from dnmf.run.stored import fitted_result
from dnmf.run.watcher import Watch
from dnmf.sources import Source, open_matrix
from dnmf.sources.axes import FITTED
from dnmf.sources.names import order_of, warn_of_order

WIDE = np.dtype(np.float64)


@names_options()
@own_errors
@single_threaded_products()
def spectra(
    fitted: Result | str | Path,
    V: Any = None,
    units: Units = "counts",
    *,
    total: float | None = 1e6,
    axis: Axis | None = None,
    memory_limit: int | str | None = None,
    threads: int | None = None,
    watchers: Watch = (),
    progress: bool | None = None,
    client: Any = None,
) -> Any:
    """Return the components in the units of other data of the same samples, as of all genes and not of a selection.

    The data are regressed on the usages, as in cNMF (Kotliar et al. 2019), in one read. With `total`, a V that is cut
    along its features takes one more read for the sums of the samples.

    Parameters
    ----------
    fitted
        A result, or the path or URL of a store.
    V
        Data of the samples of the result and of any features: counts, and not the prepared matrix. None is the matrix
        at the location that the result records, before its preparation.
    units
        `"counts"`: the non-negative spectra S that minimise ‖V − US‖², where the usages U are those of `Result.usage`,
        whose rows sum to 1; the `gene_spectra_tpm` of cNMF. `"z-score"`: the least-squares coefficients of the z-scores
        of every feature on the usages that are not normalised, those of components that sum to 1; its
        `gene_spectra_score`, where features that mark a component are large. A constant feature has coefficients 0.
    total
        Scale every sample to this sum first, by default to counts per million; None leaves V as it is.
    axis
        Axis of the features, as for `Result.components`.
    memory_limit, threads, watchers, progress, client
        As for `factorize`.

    Returns
    -------
    pandas.DataFrame
        A row for each feature, by name or position, and a column for each component, in memory.

    Raises
    ------
    DataError
        If V has other samples, or if it is not given and its location is not known.
    SettingsError
        If an option is not allowed, or if the result is of a V with missing entries.

    Examples
    --------
    >>> import dnmf, numpy as np
    >>> counts = np.array([[4.0, 0, 4, 0], [0, 4, 0, 4], [2, 2, 2, 2]])
    >>> result = dnmf.factorize(counts[:, :2], rank=2, init=(counts[:, :2], np.eye(2)), max_passes=1)
    >>> spectra(result, counts, total=100).round(2).to_numpy().T.tolist()
    [[50.0, 0.0, 50.0, 0.0], [0.0, 50.0, 0.0, 50.0]]
    """
    result, pandas = fitted_result(fitted), needed("pandas", "spectra")
    choice("units", units, Units)
    features = feature_axis(result, axis)
    samples = other(features)
    if total is not None and (
        isinstance(total, bool) or not isinstance(total, (int, float)) or not 0 < total < math.inf
    ):
        raise SettingsError(f"total={total!r} is not allowed; give a finite number above 0, or None.")
    if result.settings.missing != "none":
        raise SettingsError(
            f"The result is of a V with missing={result.settings.missing!r}, and spectra are of data without missing "
            "entries; fit V without missing entries."
        )
    source, order = open_samples(result, V, samples)
    if total is not None:
        source = add_steps(source, [Step("total", samples, float(total))], client, memory_limit)
    U = whole(result, samples).astype(WIDE) * component_sums(result.parts(features), result.rank)
    U = U if order is None else U[order]
    if units == "counts":
        sums = U.sum(axis=1, keepdims=True)
        U /= np.where(sums > 0, sums, 1)
    layout = source.layout
    along = layout.transposed == (samples == "rows")
    work = Regress(U, along, layout.shape[0], layout.bounds)
    settings = result.settings.replace({"memory_limit": memory_limit, "threads": threads})
    rank, size = result.rank, layout.user_shape[0 if features == "rows" else 1]
    load = Load(
        sums=rank + 4 if along else 0,
        worked=rank,
        held=0,
        kept=0,
        extra=WIDE.itemsize * (2 * U.size + 4 * (rank + 4) * size),
        panels=10,
    )
    with showing(watchers, progress) as seen, open_session(client, source, seen.workers) as session:
        plan = session.plan(settings, load)
        seen.started(plan, 0, 1)
        cross, moments = work.totals(session.engine(plan, seen.block_read).one_pass(work))
    found = non_negative(U, cross) if units == "counts" else coefficients(U, cross, moments)
    names = getattr(layout.names, features)
    return pandas.DataFrame(found.T, names, component_names(rank), copy=False)


def open_samples(result: Result, V: Any, samples: Axis) -> tuple[Source, Any]:
    """Open data of the samples of a result; return also the order of the samples of the result in them, or None."""
    given = result.matrix.get("location") if V is None else V
    if given is None:
        raise DataError("The result was of a matrix in memory; give the data of its samples as V.")
    source = open_matrix(given)
    place = 0 if samples == "rows" else 1
    count, known = source.layout.user_shape[place], result.shape[place]
    if count != known:
        raise DataError(f"V has {count} {samples}, and the result is of {known}; give data of the same {samples}.")
    wanted = getattr(source.layout.names, samples)
    order = order_of(wanted, getattr(result.names, samples), samples, FITTED, f"Give data of the same {samples}.")
    warn_of_order((order, None) if samples == "rows" else (None, order), FITTED)
    return source, order


@dataclasses.dataclass(slots=True)
class FeatureSums(Summable):
    """Products of every feature with the usages, and its moments, in parts.

    Where samples are streamed, a single part (g, r) is added up; otherwise there is one part for each block.
    """

    cross: Any
    moments: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Regress:
    """Sum VᵀU of samples × features V and usages U (k, r), and the moments of the features.

    Attributes
    ----------
    usage
        U.
    along
        Whether the samples are streamed.
    rows, bounds
        Number of rows of V as streamed, and bounds of its blocks.
    """

    usage: Float
    along: bool
    rows: int
    bounds: tuple[int, ...]

    def zero(self) -> FeatureSums:
        """Return the sums of no block."""
        if not self.along:
            return FeatureSums([], [])
        return FeatureSums(np.zeros((self.rows, self.usage.shape[1])), Moments.zero(self.rows))

    def visit(self, block: int, V: Block, H: Float | None, sums: FeatureSums, scratch: Scratch) -> None:
        """Check a block, and add it."""
        Entries().square_sum(V, WIDE, scratch)
        for columns, panel in panels(V, WIDE, scratch, narrow=True):
            moments = Moments(*panel.moments(1 if self.along else 0))
            if isinstance(sums.moments, Moments):
                first = self.bounds[block]
                h = np.ascontiguousarray(self.usage[first + columns.start : first + columns.stop].T)
                panel.add_outer(h, sums.cross, scratch)
                sums.moments.take(moments)
            else:
                sums.cross.append(panel.cross(self.usage, scratch).copy())
                sums.moments.append(moments)

    def totals(self, sums: FeatureSums) -> tuple[Float, Moments]:
        """Return UᵀV (r, g) and the moments of the features (g,)."""
        if isinstance(sums.moments, Moments):
            return np.ascontiguousarray(sums.cross.T), sums.moments
        names = [field.name for field in dataclasses.fields(Moments)]
        columns = (np.concatenate([getattr(part, name) for part in sums.moments]) for name in names)
        return np.hstack(sums.cross), Moments(*columns)


def non_negative(U: Float, cross: Float) -> Float:
    """Return the S ≥ 0 (r, g) that minimises ‖V − US‖², from UᵀV (r, g)."""
    S = np.zeros(cross.shape)
    pivot(S, cross, U.T @ U, Penalty(0.0, 0.0), PIVOT_SWEEPS)
    return S


def coefficients(U: Float, cross: Float, moments: Moments) -> Float:
    """Return the least-squares coefficients (r, g) of z-scores on U: (UᵀU)⁺ Uᵀ (V − mean) / σ."""
    variance = moments.squares / moments.count
    rounding = (moments.count * np.finfo(WIDE).eps * moments.mean) ** 2
    varies = variance > rounding
    centred = cross - U.sum(axis=0)[:, None] * moments.mean
    scores = np.divide(centred, np.sqrt(variance), out=np.zeros_like(centred), where=varies)
    return np.asarray(np.linalg.lstsq(U.T @ U, scores)[0])
