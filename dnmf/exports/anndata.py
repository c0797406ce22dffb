"""Export of factors into an AnnData."""

import dataclasses
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.kernels.floats import own_errors
from dnmf.run.arrays import whole
from dnmf.run.result import Result
from dnmf.run.stored import fitted_of, stored_result
from dnmf.solvers.history import Record
from dnmf.sources.names import only_suffixes

# Keys of W in obsm, of Hᵀ in varm and of the description in uns.
PLACES = ("X_nmf", "NMF", "nmf")
NEEDED = ("obs_names", "var_names", "obsm", "varm", "uns")


@own_errors
def write_anndata(adata: Any, fitted: Result | str | Path, *, key_added: str | None = None) -> None:
    """Write the factors of a V with cells as rows and genes as columns into an AnnData, backed or in memory.

    W (cells, r) becomes `adata.obsm["X_nmf"]` and Hᵀ (genes, r) becomes `adata.varm["NMF"]`, as arrays in memory.
    `adata.uns["nmf"]` describes the run: `params`, `history`, `verdict`, `converged`, `shares` of the components, and
    the `version` of dnmf.

    Parameters
    ----------
    adata
        AnnData of the same cells and genes in the same order.
    fitted
        A result, or the path or URL of a store.
    key_added
        Key to use for all three, as in scanpy.

    Raises
    ------
    DataError
        If `adata` is not an AnnData, or its cells or genes differ from those of the result in number, names or order.
        Nothing is written then.

    Examples
    --------
    >>> import dnmf, numpy as np
    >>> class AnnData:
    ...     obs_names, var_names = ["one", "two", "three"], ["CD3E", "CD19", "LYZ", "NKG7"]
    ...     obsm, varm, uns = {}, {}, {}
    >>> write_anndata(AnnData, dnmf.factorize(np.ones((3, 4)), rank=2))
    >>> AnnData.obsm["X_nmf"].shape, AnnData.varm["NMF"].shape, AnnData.uns["nmf"]["params"]["rank"]
    ((3, 2), (4, 2), 2)
    """
    fitted = fitted_of(fitted)
    result = fitted if isinstance(fitted, Result) else stored_result(fitted)
    check_names(adata, result)
    cells, genes, about = PLACES if key_added is None else (key_added,) * 3
    adata.obsm[cells], adata.varm[genes] = whole(result, "rows"), whole(result, "columns")
    adata.uns[about] = describe(result)


def describe(result: Result) -> dict[str, Any]:
    """Return a description of a run, in types that a file of AnnData can store, which exclude None."""
    columns = {
        field.name: [getattr(record, field.name) for record in result.history] for field in dataclasses.fields(Record)
    }
    return {
        "params": {name: value for name, value in result.settings.to_options().items() if value is not None},
        "history": {name: np.array(values) for name, values in columns.items() if None not in values},
        "verdict": result.verdict,
        "converged": result.converged,
        "shares": np.array([component.share for component in result.components(1)]),
        "version": version("dnmf"),
    }


def check_names(adata: Any, result: Result) -> None:
    """Raise DataError unless an AnnData has the cells and genes of a result, in the same order."""
    if missing := [name for name in NEEDED if not hasattr(adata, name)]:
        kind = f"{type(adata).__module__}.{type(adata).__qualname__}"
        raise DataError(f"adata is a {kind}, which has no {missing[0]}; give an AnnData.")
    found, shape = (len(adata.obs_names), len(adata.var_names)), result.shape
    fitted = f"adata has {found[0]} cells and {found[1]} genes, and V had {shape[0]} rows and {shape[1]} columns"
    if found != shape and found == shape[::-1]:
        raise DataError(
            f"{fitted}: genes were its rows. Factorise a V with cells as rows, as adata.X has them, or give adata.T."
        )
    if found != shape:
        raise DataError(f"{fitted}; give the adata, or the part of it, that was factorised.")
    compare("obs_names", adata.obs_names, result.names.rows, "row", "adata[result.names.rows]")
    compare("var_names", adata.var_names, result.names.columns, "column", "adata[:, result.names.columns]")


def compare(name: str, found: Any, expected: NDArray[Any] | None, axis: str, ordered: str) -> None:
    """Raise DataError if names differ from those of the result, or are in another order."""
    texts = [str(text) for text in found]
    if expected is None or texts == expected.tolist():
        return
    place = next(place for place, text in enumerate(texts) if text != expected[place])
    if sorted(texts) == sorted(expected):
        advice = f"They are the same in another order: give {ordered}"
    elif only_suffixes(texts, expected.tolist()):
        advice = (
            f"They differ only by the suffix that make_unique adds: factorise adata after adata.{name}_make_unique(), "
            f"or set adata.{name} = result.names.{axis}s"
        )
    else:
        advice = "Give the adata that was factorised"
    raise DataError(
        f"adata.{name}[{place}] is {texts[place]!r}, and {axis} {place} of the result is {expected[place]!r}. {advice}."
    )
