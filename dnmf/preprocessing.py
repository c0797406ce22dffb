"""Preparation of a matrix: applied to each block when it is read, so that nothing is written.

The functions return a matrix that all functions of dnmf accept as V, including those of this module. A run saves its
preparation in its store, so that `resume` and `transform` apply it to V and to new data. By convention the rows of V
are samples and its columns are features; pass `samples="columns"` for the opposite.

If a preparation needs a statistic of every row (or column) and V is cut along its columns (or rows), V is read once by
the call. If each block holds its rows (or columns) as a whole, the statistics are computed from the block: they cost no
read, and new data have their own.
"""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

from dnmf.aliases import names_options
from dnmf.checks import choice
from dnmf.choices import Axis, Preparation
from dnmf.engine.session import open_session
from dnmf.errors import SettingsError, unknown
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.kernels.preparation.moments import Moments, row_moments
from dnmf.kernels.preparation.steps import Step
from dnmf.settings import Settings
from dnmf.solvers.selection import resolve
from dnmf.sources import Source, open_matrix
from dnmf.sources.prepared import Prepared

__all__ = ["Prepared", "clip", "log_normalize", "prepare", "tfidf", "unit_variance"]

# Rank of a run whose sums have as many numbers for every row of V as the moments.
LIKE_RANK = 4


@names_options()
@own_errors
def unit_variance(
    V: Any, *, samples: Axis = "rows", client: Any = None, memory_limit: int | str | None = None
) -> Prepared:
    """Divide every feature by its standard deviation over the samples, without centring.

    As in scikit-learn's `StandardScaler(with_mean=False)` and in cNMF (Kotliar et al. 2019), this is the population
    standard deviation about the mean, not the root mean square: features are weighted by how much they vary, not by
    how large they are. Constant features do not change.

    Parameters
    ----------
    V
        Matrix (m, n) of any kind that `factorize` takes, or a prepared matrix.
    samples
        Axis of the samples, `"rows"` or `"columns"`; features are along the other axis.
    client
        Where to read V, as in `factorize`.
    memory_limit
        Memory limit of the process while V is read, in bytes or as a text such as `"1GB"`.

    Returns
    -------
    Prepared
        The prepared matrix (m, n).

    Examples
    --------
    >>> import numpy as np, dnmf
    >>> V = np.array([[1.0, 10, 0], [3, 30, 0], [2, 20, 0], [2, 20, 0]])
    >>> dnmf.factorize(unit_variance(V), rank=1).relative_error < 1e-6
    True
    """
    return add_steps(V, _by_variance(samples), client, memory_limit)


@names_options()
@own_errors
def tfidf(
    V: Any,
    *,
    samples: Axis = "rows",
    sublinear: bool = False,
    norm: Literal["l2"] | None = "l2",
    client: Any = None,
    memory_limit: int | str | None = None,
) -> Prepared:
    """Weight counts of terms by inverse document frequency, and scale documents to unit length.

    The weight of a term that is in df of n documents is ln((1 + n) / (1 + df)) + 1, as in scikit-learn's
    `TfidfTransformer` with `smooth_idf=True`.

    Parameters
    ----------
    V, samples, client, memory_limit
        As in `unit_variance`; samples are documents, features are terms.
    sublinear
        Replace a count x by 1 + ln x first. Counts below 1/e would become negative; they raise an error when V is read.
    norm
        `"l2"`, or None to keep the lengths of the documents.

    Examples
    --------
    >>> import scipy.sparse
    >>> counts = scipy.sparse.csr_array([[1, 0, 2], [0, 3, 1], [1, 0, 1]])
    >>> tfidf(counts)
    <Prepared: 3 × 3, float64, SciPy CSR matrix of 6 stored entries, prepared by idf, length>
    """
    return add_steps(V, _by_terms(samples, sublinear, norm), client, memory_limit)


@names_options()
@own_errors
def log_normalize(
    V: Any,
    *,
    total: float = 1e4,
    samples: Axis = "rows",
    client: Any = None,
    memory_limit: int | str | None = None,
) -> Prepared:
    """Scale the counts of every sample to the same total and take ln(1 + x): library-size normalisation.

    Parameters
    ----------
    V, samples, client, memory_limit
        As in `unit_variance`; samples are cells, features are genes.
    total
        Sum of the scaled counts of a sample. Samples without counts remain 0.

    Examples
    --------
    >>> import numpy as np, dnmf
    >>> prepared = log_normalize(np.array([[1, 1], [300, 100]]), total=2)
    >>> result = dnmf.factorize(prepared, rank=2, max_passes=20)
    >>> np.expm1(result.W @ result.H).sum(axis=1).round(3).tolist()
    [2.0, 2.0]
    """
    return add_steps(V, _by_total(samples, total), client, memory_limit)


log_normalise = log_normalize  # the name until 0.5


def clip(V: Any) -> Prepared:
    """Replace entries below 0 by 0. This needs no read.

    Examples
    --------
    >>> import numpy as np, dnmf
    >>> dnmf.factorize(clip(np.array([[1.0, -0.1], [2.0, 0.0]])), rank=1).relative_error < 1e-6
    True
    """
    return add_steps(V, [Step("clip")])


@names_options()
@own_errors
def prepare(
    V: Any,
    names: Sequence[str],
    *,
    samples: Axis = "rows",
    client: Any = None,
    memory_limit: int | str | None = None,
    cancel: threading.Event | None = None,
) -> Any:
    """Apply several functions of this module, with their defaults, as the command line does.

    Parameters
    ----------
    V, samples, client, memory_limit
        As in `unit_variance`.
    names
        `"clip"`, `"log-normalize"`, `"tfidf"`, `"unit-variance"`, in the order in which to apply them.
    cancel
        Event that ends a read with `Interrupted` when it is set.

    Examples
    --------
    >>> import numpy as np
    >>> [step.name for step in prepare(np.ones((3, 4)), ["clip", "log-normalize"]).steps]
    ['clip', 'total', 'log1p']
    """
    steps: list[Step] = []
    for name in names:
        if name not in NAMED:
            raise unknown("preparation", name, NAMED, known_as=ALIASES)
        steps += NAMED[name](samples)
    return add_steps(V, steps, client, memory_limit, cancel) if steps else V


def _by_variance(samples: Axis) -> list[Step]:
    return [Step("variance", _features(samples))]


def _by_terms(samples: Axis, sublinear: bool = False, norm: str | None = "l2") -> list[Step]:
    if norm not in ("l2", None):
        raise SettingsError(f"norm={norm!r} is not allowed; give 'l2' or None.")
    first = [Step("sublinear")] if sublinear else []
    last = [Step("length", samples)] if norm else []
    return [*first, Step("idf", _features(samples)), *last]


def _by_total(samples: Axis, total: float = 1e4) -> list[Step]:
    _features(samples)
    if isinstance(total, bool) or not isinstance(total, (int, float)) or not 0 < total < float("inf"):
        raise SettingsError(f"total={total!r} is not allowed; give a finite number above 0.")
    return [Step("total", samples, float(total)), Step("log1p")]


NAMED: dict[Preparation, Callable[[Axis], list[Step]]] = {
    "clip": lambda samples: [Step("clip")],
    "log-normalize": _by_total,
    "tfidf": _by_terms,
    "unit-variance": _by_variance,
}

# Names of these steps in other packages.
ALIASES = {
    "log1p": "log-normalize",
    "log-normalise": "log-normalize",
    "normalize_total": "log-normalize",
    "scale": "unit-variance",
    "tf-idf": "tfidf",
}


def _features(samples: Axis) -> Axis:
    """Return the axis of the features."""
    return "columns" if choice("samples", samples, Axis) == "rows" else "rows"


def add_steps(
    V: Any,
    steps: Sequence[Step],
    client: Any = None,
    memory_limit: int | str | None = None,
    cancel: threading.Event | None = None,
) -> Prepared:
    """Add steps to a matrix; a step that needs statistics of the whole matrix costs one read."""
    given = open_matrix(V)
    source, made = (given.source, given.steps) if isinstance(given, Prepared) else (given, ())
    held: Axis = "columns" if source.layout.transposed else "rows"
    for step in steps:
        if step.along == held:
            so_far = Prepared(source, made) if made else source
            step = step.fitted(_moments(so_far, client, memory_limit, cancel))
        made = (*made, step)
    return Prepared(source, made)


def _moments(source: Source, client: Any, memory_limit: int | str | None, cancel: threading.Event | None) -> Moments:
    """Return the moments of every row of a matrix as streamed, in one read."""
    settings = Settings.from_options({"rank": LIKE_RANK, "solver": "mu", "memory_limit": memory_limit})
    work = Fit(source.layout.shape[0])
    with open_session(client, source, cancel=cancel) as session:
        plan = session.plan(settings, resolve(settings, source.layout).load)
        return session.engine(plan).one_pass(work)


@dataclasses.dataclass(frozen=True, slots=True)
class Fit:
    """The work of a pass that computes the moments of every row."""

    rows: int

    def zero(self) -> Moments:
        """Return the moments of an empty matrix."""
        return Moments.zero(self.rows)

    def visit(self, block: int, V: Block, H: Float | None, sums: Moments, scratch: Scratch) -> None:
        """Add the moments of a block."""
        sums.take(row_moments(V))
