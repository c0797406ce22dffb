"""Blocks that are not what their source promises: the right factors, or a sentence that names the block.

The kernels index without bounds, so a wrong block that reached one would end in invented numbers or a dead interpreter.
"""

import ast
import functools
import itertools
import re
import warnings
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
import sparse
from sklearn.exceptions import ConvergenceWarning

import dnmf
from dnmf import NMF, MiniBatchNMF
from dnmf.conversion import convert
from dnmf.errors import DataError, DnmfError
from dnmf.preprocessing import clip, unit_variance
from dnmf.run.residuals import measure_residuals
from dnmf.sources import open_matrix
from dnmf.sources.base import Layout, SharedSource
from dnmf.sources.identity import fingerprint

HEIGHT, WIDTH, BLOCKS = 8, 15, 3
SHAPE = (HEIGHT * BLOCKS, WIDTH)
# small integers, which every dtype holds exactly
V = np.random.default_rng(0).integers(1, 10, SHAPE).astype(float)
LOSSES = [(2, "hals"), (2, "mu"), (2, "als"), (2, "minibatch"), (1, "newton"), (1, "cd"), (1, "mu"), (0, "mu")]
LOSSES += [(0.5, "mu"), (3, "mu")]


def broken(change, form="csr"):
    """Return a fault: a block whose parts as CSR or CSC are changed in place, which SciPy does not see."""

    def make(block):
        matrix = sp.csr_array(block) if form == "csr" else sp.csc_array(block)
        data, indices, indptr = change(matrix.data.copy(), matrix.indices.copy(), matrix.indptr.copy())
        matrix.data, matrix.indices, matrix.indptr = data, indices, indptr
        return matrix

    return make


def put(place, value):
    """Return the change that sets an index."""

    def change(data, indices, indptr):
        indices[place] = value
        return data, indices, indptr

    return change


def starts(place, by):
    """Return the change that moves a start."""

    def change(data, indices, indptr):
        indptr[place] += by
        return data, indices, indptr

    return change


def doubled(data, indices, indptr):
    """Store every entry as two halves."""
    return np.repeat(data / 2, 2), np.repeat(indices, 2), 2 * indptr


def turned(data, indices, indptr):
    """Reverse the entries of every row."""
    order = np.concatenate([np.arange(a, b)[::-1] for a, b in itertools.pairwise(indptr)])
    return data[order], indices[order], indptr


UNSOUND = {
    "beyond": put(5, 205),
    "just beyond": put(3, SHAPE[0]),
    "far beyond": put(0, 2**31 - 1),
    "negative": put(2, -3),
    "lowest": put(0, -(2**31)),
    "falling": starts(2, 25),
    "ends late": starts(-1, 7),
    "begins late": starts(0, 2),
    "negative start": starts(1, -40),
    "few starts": lambda data, indices, indptr: (data, indices, indptr[:-2]),
    "many starts": lambda data, indices, indptr: (data, indices, np.append(indptr, indptr[-1])),
    "few indices": lambda data, indices, indptr: (data, indices[:-4], indptr),
    "few values": lambda data, indices, indptr: (data[:-4], indices, indptr),
    "indices of floats": lambda data, indices, indptr: (data, indices + 0.5, indptr),
}
UNUSUAL = {
    "doubled": doubled,
    "reversed": turned,
    "room at the end": lambda data, indices, indptr: (np.append(data, [7.0] * 9), np.append(indices, [99] * 9), indptr),
    "long indices": lambda data, indices, indptr: (data, indices.astype(np.int64), indptr.astype(np.int64)),
    "mixed indices": lambda data, indices, indptr: (data, indices, indptr.astype(np.int64)),
    "swapped bytes": lambda data, indices, indptr: (data, indices.astype(">i4"), indptr.astype(">i4")),
    "short indices": lambda data, indices, indptr: (data, indices.astype(np.uint8), indptr),
}
WRONG = {
    "short": lambda block: block[:5],
    "one row short": lambda block: block[:-1],
    "empty": lambda block: block[:0],
    "long": lambda block: np.vstack([block, block[:3]]),
    "twice as long": lambda block: np.vstack([block, block]),
    "wide": lambda block: np.hstack([block, block]),
    "narrow": lambda block: block[:, :-2],
    "one column": lambda block: block.sum(axis=1, keepdims=True),
    "transposed": lambda block: block.T,
    "flat": lambda block: block[0],
    "deep": lambda block: block[None],
    "a number": lambda block: block.sum(),
    "complex": lambda block: block + 0j,
    "objects": lambda block: block.astype(object),
    "texts": lambda block: block.astype(str),
    "long doubles": lambda block: block.astype(np.longdouble),
    "short CSR": lambda block: sp.csr_array(block[:5]),
    "long CSC": lambda block: sp.csc_matrix(np.vstack([block, block])),
    "wide CSR": lambda block: sp.csr_matrix(np.hstack([block, block])),
    "complex CSR": lambda block: sp.csr_array(block + 0j),
    "short COO": lambda block: sparse.COO.from_numpy(block[:5]),
    "masked": lambda block: np.ma.masked_greater(block, 8),
    **{f"CSR, {name}": broken(change) for name, change in UNSOUND.items()},
    **{f"CSC, {name}": broken(change, "csc") for name, change in UNSOUND.items()},
}
RIGHT = {
    "dense": lambda block: block,
    "CSR": sp.csr_array,
    "CSC": sp.csc_matrix,
    "SciPy COO": sp.coo_array,
    "LIL": sp.lil_array,
    "COO": sparse.COO.from_numpy,
    "float32": lambda block: block.astype(np.float32),
    "int64": lambda block: block.astype(np.int64),
    "uint8": lambda block: block.astype(np.uint8),
    "swapped floats": lambda block: block.astype(">f8"),
    "Fortran": np.asfortranarray,
    "backward": lambda block: block[::-1].copy()[::-1],
    "nothing masked": lambda block: np.ma.masked_array(block),
    "half precision": lambda block: block.astype(np.float16),
    **{f"CSR, {name}": broken(change) for name, change in UNUSUAL.items()},
    **{f"CSC, {name}": broken(change, "csc") for name, change in UNUSUAL.items()},
}
FORMS = {"dense": np.asarray, "CSR": sp.csr_array, "CSC": sp.csc_array, "COO": sparse.COO.from_numpy}


def across(block):
    """Return the transpose, where there is one, without a look at the parts of a sparse matrix."""
    if sp.issparse(block) and block.format in ("csr", "csc"):
        turned = (sp.csc_array if block.format == "csr" else sp.csr_array)(block.shape[::-1])
        turned.data, turned.indices, turned.indptr = block.data, block.indices, block.indptr
        return turned
    return block.T if block.ndim == 2 else block


class Given(SharedSource):
    """A source as people write them: blocks of rows, read as the columns of the transpose."""

    def __init__(self, blocks, sparse_blocks):
        bounds = tuple(range(0, SHAPE[0] + 1, HEIGHT))
        self.layout = Layout(
            SHAPE[::-1], np.dtype(float), bounds, True, 8 * V.size, 8 * V.size, sparse_blocks, False, "mine"
        )
        self.blocks = blocks

    def read(self, block, scratch):
        return across(self.blocks[block])

    def expect(self, block):
        pass


def blocks_with(fault, at, form, values=V):
    """Return the blocks of rows in a form, and one with a fault."""
    cut = [values[first : first + HEIGHT] for first in range(0, SHAPE[0], HEIGHT)]
    return [fault(block) if number == at else FORMS[form](block) for number, block in enumerate(cut)]


def lazy(fault, at, form, values=V):
    """Return the blocks as a Dask array that declares the right shapes."""
    made = [dask.delayed(lambda block=block: block)() for block in blocks_with(fault, at, form, values)]
    return da.concatenate([da.from_delayed(part, shape=(HEIGHT, WIDTH), dtype=float) for part in made])


SOURCES = {
    **{f"Dask, {form}": lambda fault, at, form=form: lazy(fault, at, form) for form in FORMS},
    "given, dense": lambda fault, at: Given(blocks_with(fault, at, "dense"), False),
    "given, CSR": lambda fault, at: Given(blocks_with(fault, at, "CSR"), True),
    "prepared": lambda fault, at: clip(lazy(fault, at, "dense")),
    "prepared, given": lambda fault, at: clip(Given(blocks_with(fault, at, "CSC"), True)),
}
IN_MEMORY = ("CSR", "CSC")


def product(result):
    return np.asarray(result.W) @ np.asarray(result.H)


def estimated(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X)


def fitted(X, loss, solver):
    solver = solver if solver != "minibatch" else "auto"
    model = NMF(2, solver=solver, beta_loss=loss, init="random", random_state=0, max_iter=3, tol=0)
    return np.asarray(estimated(model, X).components_)


def batched(X, loss, solver):
    model = MiniBatchNMF(2, beta_loss=loss, init="random", random_state=0, max_iter=2, batch_size=HEIGHT)
    return estimated(model, X).components_


def updated(X, loss, solver):
    model = MiniBatchNMF(2, beta_loss=loss, init="random", random_state=0, batch_size=HEIGHT)
    return model.partial_fit(X).components_


def solved(X, loss, solver):
    return np.asarray(fit_of(loss).transform(X))


def fit_of(loss, known={}):  # noqa: B006 - one fit for each loss
    if loss not in known:
        known[loss] = estimated(NMF(2, solver="mu", beta_loss=loss, random_state=0, max_iter=3, tol=0), V)
    return known[loss]


def transformed(X, loss, solver):
    return np.asarray(dnmf.transform(known_result(loss), X))


def known_result(loss, known={}):  # noqa: B006 - one run for each loss
    if loss not in known:
        known[loss] = dnmf.factorize(Given(blocks_with(np.asarray, 0, "dense"), False), 2, loss=loss, max_passes=2)
    return known[loss]


def factorized(X, loss, solver):
    return product(dnmf.factorize(X, 2, loss=loss, solver=solver, init="random", max_passes=3, tol=0))


def surveyed(X, loss, solver):
    solver = solver if solver != "minibatch" else "hals"
    survey = dnmf.select_rank(X, [2], n_runs=2, cv=0, loss=loss, solver=solver, init="random", max_passes=2)
    return product(survey.best(2))


OF_SOURCES = {"factorize": factorized, "transform": transformed, "select_rank": surveyed}
OF_ARRAYS = {"fit": fitted, "fit in batches": batched, "partial_fit": updated, "estimator's transform": solved}


def chosen(*names):
    """Return a loss, a solver and a block drawn by the names of a case."""
    generator = np.random.default_rng([*"".join(names).encode()])
    return *LOSSES[generator.integers(len(LOSSES))], int(generator.integers(BLOCKS))


def drawn(faults, count, *names):
    """Return some of the faults, drawn by the names of a case: all cases together have each many times."""
    generator = np.random.default_rng([*"".join(names).encode()])
    return [list(faults.items())[place] for place in generator.permutation(len(faults))[:count]]


CALLS = [(entry, source) for entry in OF_SOURCES for source in SOURCES]
CALLS += [(entry, source) for entry in OF_ARRAYS for source in SOURCES if source.startswith("Dask")]


@pytest.mark.parametrize(("entry", "source"), CALLS)
def test_a_wrong_block_is_refused_by_name(entry, source):
    call = {**OF_SOURCES, **OF_ARRAYS}[entry]
    for name, fault in drawn(WRONG, 20, entry, source):
        loss, solver, at = chosen(entry, source, name)
        with pytest.raises(DnmfError) as caught:
            call(SOURCES[source](fault, at), loss, solver)
        # a masked entry is NaN in what is read, where a source of one's own gives it
        place = rf"block {at} \(rows {at * HEIGHT} to|chunk \({at}, 0\)|V\[\d+, \d+\] is nan"
        assert re.search(place, str(caught.value)), (name, str(caught.value))


@pytest.mark.parametrize(("entry", "source"), CALLS)
def test_a_block_of_another_kind_gives_the_factors_of_the_matrix(entry, source):
    call = {**OF_SOURCES, **OF_ARRAYS}[entry]
    expected = {}
    for name, fault in drawn(RIGHT, 9, entry, source):
        loss, solver, at = chosen(entry, source, name)
        solver = "hals" if solver == "minibatch" else solver  # whose batches go by the bytes of a block
        if (loss, solver) not in expected:
            expected[loss, solver] = (
                call(Given(blocks_with(np.asarray, 0, "dense"), False), loss, solver)
                if (entry in OF_SOURCES)
                else call(da.from_array(V, chunks=(HEIGHT, WIDTH)), loss, solver)
            )
        found = call(SOURCES[source](fault, at), loss, solver)
        close = 1e-2 if name in ("float32", "uint8", "half precision") else 1e-6  # all may be in single precision
        np.testing.assert_allclose(
            found, expected[loss, solver], rtol=close, atol=close, err_msg=f"{name} {loss} {solver}"
        )


@pytest.mark.parametrize("form", IN_MEMORY)
@pytest.mark.parametrize("entry", [*OF_SOURCES, *OF_ARRAYS])
def test_a_damaged_matrix_in_memory_is_refused_and_an_unusual_one_is_taken(entry, form):
    call = {**OF_SOURCES, **OF_ARRAYS}[entry]
    make = {"CSR": sp.csr_array, "CSC": sp.csc_array}[form]
    for name, change in UNSOUND.items():
        loss, solver, _ = chosen(entry, form, name)
        with pytest.raises(DataError, match=r"^[VX] is a damaged sparse matrix: .*; build it again from its entries"):
            call(broken(change, form.lower())(V), loss, solver)
    for name, change in UNUSUAL.items():
        loss, solver, _ = chosen(entry, form, name)
        expected = call(make(V), loss, solver)
        np.testing.assert_allclose(
            call(broken(change, form.lower())(V), loss, solver), expected, rtol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("loss", [2, 1, 0.5])
def test_wrong_weights_are_refused_by_name(loss, prepare):
    weights = V / 10
    values = da.from_array(V, chunks=(HEIGHT, WIDTH))
    for name in ("short", "long", "wide", "narrow", "transposed", "flat", "complex", "wide CSR", "CSR, beyond"):
        given = lazy(WRONG[name], 1, "dense", weights)
        with pytest.raises(DataError, match=r"chunk \(1, 0\) of the Dask array, in block 1 \(rows 8 to 15\)"):
            dnmf.factorize(clip(values) if prepare else values, 2, loss=loss, weights=given, max_passes=2)
        mine = Given(blocks_with(WRONG[name], 1, "dense", weights), False)
        with pytest.raises(DataError, match=r"block 1 \(rows 8 to 15\) of weights"):
            dnmf.factorize(values, 2, loss=loss, weights=mine, max_passes=2)
    with pytest.raises(DataError, match=r"^weights is a damaged sparse matrix"):
        dnmf.factorize(values, 2, loss=loss, weights=broken(put(5, 205))(weights), max_passes=2)
    with pytest.raises(DataError, match=r"^weights is a masked array"):
        dnmf.factorize(values, 2, loss=loss, weights=np.ma.masked_greater(weights, 0.8), max_passes=2)
    expected = product(dnmf.factorize(values, 2, loss=loss, weights=weights, max_passes=3))
    for name in ("CSR", "COO", "CSC, reversed", "CSR, doubled", "nothing masked"):
        given = lazy(RIGHT[name], 1, "dense", weights)
        found = product(dnmf.factorize(values, 2, loss=loss, weights=given, max_passes=3))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("source", ["Dask, dense", "Dask, CSR", "given, CSR", "given, dense"])
def test_a_wrong_block_is_not_converted_measured_or_remembered(source, tmp_path):
    right = SOURCES[source](RIGHT["dense"], 1)
    result = dnmf.factorize(right, 2, max_passes=2, store=tmp_path / "run.zarr")
    for name in ("short", "long", "wide", "transposed", "complex", "short CSR", "CSR, beyond", "CSC, falling"):
        wrong = SOURCES[source](WRONG[name], 1)
        for call, *given in (
            (convert, wrong, tmp_path / "V.zarr"),
            (unit_variance, wrong),
            (functools.partial(dnmf.resume, max_passes=4), tmp_path / "run.zarr", wrong),
            (measure_residuals, result, wrong),
        ):
            with pytest.raises(DataError, match=r"block 1 \(rows 8 to 15\)"):
                call(*given)
        with pytest.raises(DataError, match=r"block 1 \(rows 8 to 15\)"):
            list(dnmf.iterate(wrong, 2, max_passes=2))
        with pytest.raises(DataError, match=r"block 0 \(rows 0 to 7\)"):
            fingerprint(open_matrix(SOURCES[source](WRONG[name], 0)))


@pytest.mark.parametrize("loss", [2, 1])
def test_every_chunk_of_a_block_is_compared_and_may_be_of_another_kind(loss):
    def grid(fault, at):
        tiles = [V[:8, :7], V[:8, 7:], V[8:, :7], V[8:, 7:]]
        made = [fault(tile) if number == at else tile for number, tile in enumerate(tiles)]
        parts = [da.from_delayed(dask.delayed(tile), tiles[k].shape, float) for k, tile in enumerate(made)]
        return da.block([parts[:2], parts[2:]])

    expected = product(dnmf.factorize(grid(np.asarray, 0), 2, loss=loss, solver="mu", init="random", max_passes=3))
    for at, place in enumerate(["(0, 0)", "(0, 1)", "(1, 0)", "(1, 1)"]):
        for name in ("short", "long", "wide", "narrow", "one column", "flat", "complex", "CSR, beyond", "short COO"):
            with pytest.raises(DataError, match=f"chunk {re.escape(place)} of the Dask array, in block"):
                dnmf.factorize(grid(WRONG[name], at), 2, loss=loss, solver="mu", init="random", max_passes=3)
        for name in ("CSR", "CSC", "COO", "float32", "int64"):
            found = product(
                dnmf.factorize(grid(RIGHT[name], at), 2, loss=loss, solver="mu", init="random", max_passes=3)
            )
            np.testing.assert_allclose(found, expected, rtol=1e-3 if name == "float32" else 1e-6)


def test_a_block_that_changes_during_a_run_is_found():
    blocks = blocks_with(sp.csr_array, 1, "CSR")
    source = Given(blocks, True)
    steps = dnmf.iterate(source, 2, loss=1, init="random", max_passes=9, tol=0)
    next(steps)
    blocks[1].indices[4] = 10**6
    with pytest.raises(
        DataError, match=r"block 1 \(rows 8 to 15\) of V is a damaged sparse matrix: an index is 1000000"
    ):
        list(steps)


def test_the_shape_declared_is_mended_as_the_sentence_says():
    short = da.from_array(V, chunks=(HEIGHT, WIDTH)).map_blocks(lambda block: block[:5], dtype=float)
    with pytest.raises(
        DataError, match=r"has shape \(5, 15\), and \(8, 15\) was declared for it; .*chunks= of map_blocks"
    ):
        dnmf.factorize(short, 2)
    kept = np.concatenate([V[first : first + 5] for first in range(0, SHAPE[0], HEIGHT)])
    expected = dnmf.factorize(da.from_array(kept, chunks=(5, WIDTH)), 2, max_passes=3).loss
    assert dnmf.factorize(short.compute_chunk_sizes(), 2, max_passes=3).loss == expected


def test_blocks_of_floats_after_one_of_integers_keep_their_fractions(tmp_path):
    halves = V + 0.5
    mixed = lazy(lambda block: (block - 0.5).astype(int), 0, "dense", halves)
    expected = halves.copy()
    expected[:HEIGHT] -= 0.5
    convert(mixed, tmp_path / "V.zarr")
    found = dnmf.factorize(tmp_path / "V.zarr", 2, max_passes=3, init="random", solver="hals").loss
    assert found == pytest.approx(dnmf.factorize(expected, 2, max_passes=3, init="random", solver="hals").loss)
    counted = da.concatenate([da.from_delayed(dask.delayed(part), part.shape, int) for part in (V.astype(int), halves)])
    with pytest.raises(DataError, match=r"block 1 \(rows 24 to 47\) of V has dtype float64, and the first block int64"):
        convert(counted, tmp_path / "counted.zarr")


def test_reads_of_blocks_go_through_the_door():
    package = Path(dnmf.__file__).parent
    for path in package.rglob("*.py"):
        if path.name == "blocks.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value)
            scratch = len(node.args) == 2 and "cratch" in ast.unparse(node.args[1])
            if node.func.attr == "read" and scratch:  # a source may read itself
                own = owner in ("self", "self.boxes") or owner.startswith("here(self.")
                assert own, f"{path.name}:{node.lineno} reads {owner}"
            if node.func.attr == "part" and "kernels" not in path.parts:
                assert owner == "self", f"{path.name}:{node.lineno} sends parts of {owner}"
