"""Export of factors into an AnnData."""

import dataclasses
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.aliases import names_options
from dnmf.errors import DataError
from dnmf.kernels.floats import own_errors
from dnmf.run.arrays import whole
from dnmf.run.result import Result
from dnmf.run.stored import fitted_result
from dnmf.solvers.history import Record
from dnmf.sources.names import only_suffixes

# Keys of W in obsm, of Hᵀ in varm and of the description in uns.
PLACES = ("X_nmf", "NMF", "nmf")
NEEDED = ("obs_names", "var_names", "obsm", "varm", "uns")


@names_options()
@own_errors
def write_anndata(adata: Any, fitted: Result | str | Path, *, key_added: str | None = None) -> None:
    """Write the factors of a V with cells as rows and genes as columns into an AnnData, backed or in memory.

    W (cells, r) becomes `adata.obsm["X_nmf"]` and Hᵀ (genes, r) becomes `adata.varm["NMF"]`, as arrays in memory. If V
    was a selection of the genes, as `adata[:, adata.var.highly_variable]`, the rows of the other genes are 0, as those
    of the loadings of `scanpy.pp.pca` are.
    `adata.uns["nmf"]` describes the run: `params`, `history`, `verdict`, `converged`, `shares` of the components, and
    the `version` of dnmf.

    Parameters
    ----------
    adata
        AnnData of the same cells and genes in the same order, or with more genes, which are found by name.
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
    result = fitted_result(fitted)
    check_axes(adata)
    chosen = selection(adata, result)
    check_names(adata, result, chosen)
    cells, genes, about = PLACES if key_added is None else (key_added,) * 3
    loadings = whole(result, "columns")
    if chosen is not None:
        wide = np.zeros((len(adata.var_names), result.rank), loadings.dtype)
        wide[chosen] = loadings
        loadings = wide
    adata.obsm[cells], adata.varm[genes] = whole(result, "rows"), loadings
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


def check_axes(adata: Any) -> None:
    """Raise DataError unless an object has the parts of an AnnData that are read or written."""
    if missing := [name for name in NEEDED if not hasattr(adata, name)]:
        kind = f"{type(adata).__module__}.{type(adata).__qualname__}"
        raise DataError(f"adata is a {kind}, which has no {missing[0]}; give an AnnData.")


def selection(adata: Any, result: Result) -> NDArray[np.int64] | None:
    """Return the positions in an AnnData of the genes of a result if these are some of its genes, or None.

    Raises
    ------
    DataError
        If the name of such a gene is that of several genes of the AnnData.
    """
    names = result.names.columns
    if names is None or len(adata.var_names) <= result.shape[1] or len(adata.obs_names) != result.shape[0]:
        return None
    texts = [str(text) for text in adata.var_names]
    places = {text: place for place, text in enumerate(texts)}
    wanted = names.tolist()
    if not all(name in places for name in wanted):
        return None
    if len(places) < len(texts):
        counts = Counter(texts)
        name = next((name for name in wanted if counts[name] > 1), None)
        if name is not None:
            raise DataError(
                f"{counts[name]} genes of adata have the name {name!r}, and V had one; call "
                "adata.var_names_make_unique() before V is selected and factorised, or give the part of adata that was "
                "factorised."
            )
    if len(set(wanted)) < len(wanted):
        return None
    return np.array([places[name] for name in wanted], np.int64)


def check_names(adata: Any, result: Result, chosen: NDArray[np.int64] | None = None) -> None:
    """Raise DataError unless an AnnData has the cells and genes of a result, in the same order.

    Genes at the `chosen` positions, if any, have the names of the result.
    """
    if chosen is not None:
        compare("obs_names", adata.obs_names, result.names.rows, "row", "adata[result.names.rows]")
        return
    found, shape = (len(adata.obs_names), len(adata.var_names)), result.shape
    fitted = f"adata has {found[0]} cells and {found[1]} genes, and V had {shape[0]} rows and {shape[1]} columns"
    if found != shape and found == shape[::-1]:
        raise DataError(
            f"{fitted}: genes were its rows. Factorise a V with cells as rows, as adata.X has them, or give adata.T."
        )
    if found != shape:
        raise DataError(
            f"{fitted}; give the adata, or the part of it, that was factorised, or one that has all of its genes by "
            "name."
        )
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
