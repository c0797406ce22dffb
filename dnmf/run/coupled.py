"""Graphs, targets and penalties of single entries, as options of a run: checked, and recognised when it is resumed."""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dnmf.checkpoint import Store
from dnmf.engine import SpillFolder
from dnmf.engine.session import memory_of
from dnmf.errors import DataError, StoreError
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.graph import Graph
from dnmf.kernels.penalty import Penalty
from dnmf.settings import PENALTIES, Settings
from dnmf.solvers.coupling import Coupling
from dnmf.sources import Source
from dnmf.sources.addresses import Address
from dnmf.sources.alignment import aligned
from dnmf.sources.base import Layout
from dnmf.sources.graphs import digest_of_graph, located_graph, open_graph
from dnmf.sources.mapped_graph import mapped_graph
from dnmf.sources.names import Names

GRAPHS, TARGETS = ("graph_W", "graph_H"), ("target_W", "target_H")
# Options that are data besides V, and terms of the objective.
COUPLED = (*GRAPHS, *TARGETS)
# Copies of a graph that exist while it is made symmetric.
COPIES = 8
# Why a join with weights is refused.
SCALED = "its weights would scale factors against their graphs, targets and penalties"
Origins = dict[str, dict[str, Any]]


def split_arrays(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide options into those of `Settings` with other data, and penalties that are given as matrices.

    >>> split_arrays({"l1_H": np.ones((1, 4)), "l2_H": 0.5, "rank": 2})
    ({'l2_H': 0.5, 'rank': 2}, {'l1_H': array([[1., 1., 1., 1.]])})
    """
    arrays = {name: options[name] for name in PENALTIES if name in options and np.ndim(options[name]) > 1}
    return {name: value for name, value in options.items() if name not in arrays}, arrays


def given_names(options: Mapping[str, Any]) -> set[str]:
    """Return the names of the graphs, targets and penalty matrices in some options."""
    named = {name for name in COUPLED if options.get(name) is not None}
    return named | split_arrays(options)[1].keys()


def couple(
    options: Mapping[str, Any], settings: Settings, V: Any, layout: Layout, names: Names
) -> tuple[Coupling | None, Origins]:
    """Return the coupling of a run, or None, and the locations and digests of its data by their names.

    Parameters
    ----------
    options
        Of the run.
    settings
        Its settings.
    V
        The matrix as given, which may have graphs.
    layout, names
        Of the matrix.

    Raises
    ------
    DataError
        If a graph or a matrix of penalties does not fit V, or has a value that is not allowed.
    """
    given = {name: options[name] for name in given_names(options)}
    if not given:
        return None, {}
    rows, columns = layout.user_shape
    shapes = {"W": (rows, settings.rank), "H": (settings.rank, columns)}
    axes = {"W": (names.rows, None), "H": (None, names.columns)}
    graphs: dict[str, Graph] = {}
    arrays: dict[str, Float] = {}
    origins: Origins = {}
    for name in sorted(given):
        factor = name[-1]
        if name in GRAPHS:
            located = located_graph(given[name], V)
            size, axis = (rows, "rows") if factor == "W" else (columns, "columns")
            nodes = getattr(layout.names, axis), getattr(names, axis)
            mapped = partial(map_large, limit=memory_of(settings))
            graphs[factor] = open_graph(located, size, name, mapped, nodes)
            digest = digest_of_graph(graphs[factor])
            location = str(Address.of(located)) if isinstance(located, (str, Path)) else None
        else:
            arrays[name] = checked_array(aligned(given[name], axes[factor], name), name, shapes[factor])
            digest, location = _digest(arrays[name]), None
        origins[name] = {"location": location, "digest": digest}
    penalties, constant = {}, 0.0
    for factor in "WH":
        l1, l2 = (arrays.get(f"{kind}_{factor}", 0.0) for kind in ("l1", "l2"))
        penalty, target = Penalty(l1, l2), arrays.get(f"target_{factor}")
        if target is not None:
            pull = pull_of(target, settings.target_weight)
            constant, penalty = constant + least_of(penalty, pull), penalty.plus(pull)
        penalties[factor] = penalty if factor == "H" else _transposed(penalty)
    weights = dict(zip("WH", settings.graph_weights, strict=True))
    graphs = {factor: graph for factor, graph in graphs.items() if weights[factor] > 0}
    if not graphs and not arrays:
        return None, origins
    short, long = "HW" if layout.transposed else "WH"
    coupling = Coupling(
        graphs.get(short), graphs.get(long), weights[short], weights[long], penalties[short], penalties[long], constant
    )
    return coupling, origins


def map_large(source: Source, name: str, moved: bool, limit: int) -> Graph | None:
    """Return the graph of a source that is too large for the memory `limit`, from temporary files; or None.

    To make it symmetric in memory takes some `COPIES` of it.

    Raises
    ------
    DataError
        If it is that large, and its nodes are to be `moved` into another order.
    """
    if not source.layout.sparse or COPIES * source.layout.stored_bytes <= limit:
        return None
    if moved:
        raise DataError(
            f"{name} has other nodes than V or another order of them, and is too large to be reordered in memory; "
            "write it in the order of V, or raise memory_limit."
        )
    folder = SpillFolder()
    return mapped_graph(source, folder.path, name, folder)


def couple_again(
    store: Store, options: Mapping[str, Any], settings: Settings, V: Any, layout: Layout, names: Names
) -> Coupling | None:
    """Return the coupling of a stored run, from the locations of its data or as given again.

    Raises
    ------
    StoreError
        If data were in memory and are not given, or differ from those that the run was started on.
    """
    stored: Origins = store.header.get("coupled") or {}
    again = {name: options[name] for name in given_names(options)}
    for name in again:
        if name not in stored:
            raise StoreError(f"The run in {store} has no {name}; resume it without, or start a new run.")
    for name, origin in stored.items():
        if name not in again and origin["location"] is None:
            raise StoreError(f"The run in {store} was given {name} in memory; give {name}= again to resume it.")
    located = {name: origin["location"] for name, origin in stored.items() if name not in again}
    coupling, origins = couple({**located, **again}, settings, V, layout, names)
    for name, origin in origins.items():
        if origin["digest"] != stored[name]["digest"]:
            raise StoreError(
                f"The run in {store} was started on another {name}; give the one that it was started on, or start a "
                "new run."
            )
    return coupling


def checked_array(given: Any, name: str, shape: tuple[int, int]) -> Float:
    """Return an array of penalties or targets of a factor; a penalty may be that of rows or columns alone.

    Raises
    ------
    DataError
        If its shape does not fit, or a value is negative or not finite; a target may be NaN where there is none.
    """
    array = np.asarray(given)
    fitting = [shape] if name in TARGETS else [shape, (shape[0], 1), (1, shape[1])]
    if array.shape not in fitting:
        allowed = " or ".join(map(str, fitting))
        raise DataError(f"{name} has shape {array.shape}; give an array of shape {allowed}.")
    if array.dtype.kind not in "buif":
        raise DataError(f"{name} has dtype {array.dtype}; give real numbers.")
    array = array.astype(np.float64) if array.dtype != np.float32 else array
    good = np.isfinite(array) & (array >= 0)
    if name in TARGETS:
        good |= np.isnan(array)
    if not good.all():
        bad = tuple(int(i) for i in np.argwhere(~good)[0])
        also = ", or NaN where there is no target" if name in TARGETS else ""
        raise DataError(f"{name}{list(bad)} is {array[bad]:g}; give finite numbers of at least 0{also}.")
    return array


def pull_of(target: Float, weight: float) -> Penalty:
    """Return the penalty ½ τ (x − t)² of a factor, up to a constant.

    >>> penalty = pull_of(np.array([[2.0, np.nan]]), 0.5)
    >>> penalty.l1, penalty.l2
    (array([[-1., -0.]]), array([[0.5, 0. ]]))
    """
    known = np.isfinite(target)
    return Penalty(-weight * np.where(known, target, 0), weight * known.astype(target.dtype))


def least_of(penalty: Penalty, pull: Penalty) -> float:
    """Return the least value of a penalty plus ½ τ (x − t)², where `pull` has l1 = −τ t and l2 = τ.

    >>> least_of(Penalty(), Penalty(np.array([[-2.0]]), np.array([[1.0]])))
    0.0
    >>> least_of(Penalty(l1=np.array([[1.0]])), Penalty(np.array([[-2.0]]), np.array([[1.0]])))
    1.5
    """
    if penalty.none:
        return 0.0
    least, l1 = np.zeros(np.shape(pull.l1)), pull.l1 + penalty.l1
    for sign, (push, bend) in ((1, (pull.l1, pull.l2)), (-1, (np.minimum(l1, 0), pull.l2 + penalty.l2))):
        squares = np.square(push, dtype=np.float64)
        least += (
            0.5
            * sign
            * np.divide(squares, bend, out=np.zeros_like(squares), where=np.broadcast_to(bend > 0, squares.shape))
        )
    return float(np.maximum(least, 0).sum())


def _transposed(penalty: Penalty) -> Penalty:
    return penalty.map(lambda weight: np.ascontiguousarray(weight.T))


def _digest(array: Float) -> str:
    content = np.ascontiguousarray(array).tobytes() + str(array.shape).encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()
