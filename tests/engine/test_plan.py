"""The plan is a pure function of sizes: it keeps its limit, or raises an error with remedies."""

import dataclasses
import re

import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import dnmf
from dnmf.checks import parse_bytes
from dnmf.conversion import convert
from dnmf.engine.plan import (
    FEW_GROUPS,
    LARGE_GROUP_BYTES,
    MANY_GROUPS,
    RUNTIME_BYTES,
    Load,
    amount,
    count_groups,
    enough,
    group_bounds,
    make_plan,
    memory_terms,
    peak_bytes,
)
from dnmf.errors import BudgetError
from dnmf.sources import Layout, open_matrix
from dnmf.sources.bounds import even_bounds


def layout(rows=2000, columns=10**6, width=5000, dtype="float32", **options):
    dtype = np.dtype(dtype)
    given = {
        "shape": (rows, columns),
        "dtype": dtype,
        "bounds": even_bounds(columns, width),
        "transposed": False,
        "read_bytes": rows * width * dtype.itemsize,
        "stored_bytes": rows * columns * dtype.itemsize,
        "sparse": False,
        "on_disk": True,
        "kind": "Zarr array",
    }
    return Layout(**(given | options))


sizes = st.builds(
    layout,
    rows=st.integers(1, 10**5),
    columns=st.integers(1, 10**6),
    width=st.integers(1000, 10**5),
    dtype=st.sampled_from(["uint8", "float32", "float64"]),
    sparse=st.booleans(),
)


@given(sizes, st.integers(1, 100), st.integers(1, 16), st.integers(10**6, 10**11))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_a_plan_keeps_its_limit_or_is_refused(layout, rank, threads, limit):
    least = peak_bytes(layout, rank, 1, share=0)
    try:
        plan = make_plan(layout, rank, limit, threads)
    except BudgetError:
        assert least > limit
        return
    assert RUNTIME_BYTES < plan.peak_bytes <= plan.limit_bytes == limit
    assert 1 <= plan.threads <= threads
    assert plan.peak_bytes == peak_bytes(layout, rank, plan.threads, float(plan.factor_in_memory))


@given(sizes, st.integers(1, 100), st.integers(1, 16))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_neither_threads_nor_memory_nor_rank_change_the_blocks_and_the_groups(layout, rank, threads):
    least = peak_bytes(layout, rank, 1, share=0)
    plans = [make_plan(layout, rank, least, threads), make_plan(layout, 1, 10**12, 1)]
    cut = {(plan.blocks, plan.block_columns, plan.panel_columns, plan.groups, plan.bytes_per_pass) for plan in plans}
    assert len(cut) == 1


@given(sizes, st.integers(1, 50))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_more_of_anything_needs_more(layout, rank):
    base = peak_bytes(layout, rank, 2, share=0)
    assert (peak_bytes(layout, rank, 3, share=0) > base) == (count_groups(layout) > 2)
    assert peak_bytes(layout, rank + 1, 2, share=0) > base
    assert peak_bytes(layout, rank, 2, share=1) > base


def test_the_long_factor_leaves_memory_before_a_thread_is_given_up():
    shape = layout(rows=100, columns=10**7, width=10**5)
    all_in, spilled = (peak_bytes(shape, 20, 4, share=place) for place in (True, False))
    plan = make_plan(shape, 20, all_in, 4)
    assert (plan.factor_in_memory, plan.threads) == (True, 4)
    plan = make_plan(shape, 20, all_in - 1, 4)
    assert (plan.factor_in_memory, plan.threads) == (False, 4)
    plan = make_plan(shape, 20, spilled - 1, 4)
    assert (plan.factor_in_memory, plan.threads) == (False, 3)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_refusal_says_what_was_given_what_is_needed_and_what_to_do(transposed):
    shape = layout(transposed=transposed)
    with pytest.raises(BudgetError) as caught:
        make_plan(shape, 20, 10**8, 4)
    sentence = str(caught.value)
    assert sentence.startswith("memory_limit is 100 MB, and rank 20 on this matrix needs ")
    assert f"for a block of 5000 {'rows' if transposed else 'columns'} of V" in sentence
    needed = parse_bytes("needed", re.search(r"Raise memory_limit .* to at least ([0-9.e+]+ [kMGT]?B)", sentence)[1])
    assert make_plan(shape, 20, needed, 4).threads == 1
    assert isinstance(caught.value, MemoryError)


def amounts_of(sentence):
    """Return the memory that an error message asks for, and its terms by purpose, in bytes."""
    needed, listed = re.search(r"needs ([0-9.e+]+ [kMGT]?B) with one thread: (.*?)\. ", sentence).groups()
    terms = re.findall(r"([0-9.e+]+ [kMGT]?B) (for [^,]*(?:, held whole)?)", listed)
    return parse_bytes("needed", needed), {purpose: parse_bytes(purpose, size) for size, purpose in terms}


loads = st.builds(
    Load,
    sums=st.integers(1, 500),
    worked=st.integers(1, 200),
    held=st.integers(0, 200),
    kept=st.integers(1, 800),
    extra=st.integers(0, 10**8),
    graphs=st.integers(0, 10**8),
    panels=st.integers(0, 20),
    copies=st.integers(0, 1),
    base=st.none(),
    start=st.just(""),
    lighter=st.none(),
    again=st.none(),
)
sketches = loads.map(
    lambda load: load._replace(sums=load.sums + 7, kept=load.kept + 9, extra=11, base=load, start="for the sketch of V")
)


@given(sizes, st.integers(1, 100), loads | sketches, st.integers(0, 10**8), st.integers(0, 10**7))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_the_terms_of_a_refusal_add_up_to_what_is_needed(layout, rank, load, weights, held):
    layout = dataclasses.replace(layout, read_bytes=layout.read_bytes + weights, weights_bytes=weights, held_bytes=held)
    with pytest.raises(BudgetError) as caught:
        make_plan(layout, rank, 10**6, 4, load=load)
    needed, terms = amounts_of(str(caught.value))
    peak = peak_bytes(layout, rank, 1, 0, load)
    assert peak <= needed <= 1.01 * peak
    assert sum(terms.values()) == pytest.approx(peak, rel=6e-3)
    known = {purpose: size for purpose, size in memory_terms(layout, rank, 1, 0, load).items() if size}
    assert terms == {purpose: pytest.approx(size, rel=6e-3, abs=1) for purpose, size in known.items()}


def ways_out(layout, rank, limit, load=None):
    with pytest.raises(BudgetError) as caught:
        make_plan(layout, rank, limit, 4, load=load)
    return str(caught.value)


def test_a_refusal_advises_smaller_blocks_where_they_fit():
    shape = layout(width=50000)
    sentence = ways_out(shape, 20, 300 * 10**6)
    assert "cut V into smaller blocks with `dnmf convert --by columns`" in sentence
    assert "longer axis" not in sentence
    smaller = layout(width=2000)
    assert make_plan(smaller, 20, 300 * 10**6, 1).peak_bytes <= 300 * 10**6


def test_a_refusal_advises_the_other_axis_where_the_factor_held_whole_is_the_long_one():
    shape = layout(rows=10**6, columns=500, width=25, transposed=True)
    sentence = ways_out(shape, 20, 400 * 10**6)
    assert "cut V along its longer axis with `dnmf convert --by columns`" in sentence
    assert "smaller blocks" not in sentence
    assert make_plan(layout(rows=500, columns=10**6, width=8000), 20, 400 * 10**6, 1).threads == 1


def test_a_plan_advises_the_longer_axis_where_that_takes_a_fifth_of_the_memory():
    short = make_plan(layout(rows=10**6, columns=500, width=25, transposed=True), 20, 10**11, 1)
    line = str(short).splitlines()[-1]
    assert line.startswith(
        "advice      V is cut along its shorter axis; cut along the longer one by `dnmf convert --by columns`"
    )
    longer = make_plan(layout(rows=500, columns=10**6, width=8388), 20, 10**11, 1)
    assert longer.advice == ""
    assert 5 * (longer.peak_bytes - RUNTIME_BYTES) < short.peak_bytes - RUNTIME_BYTES
    assert line.endswith(f"it needs {enough(longer.peak_bytes)}")


def test_a_small_matrix_is_not_planned_again_for_advice():
    def again(other):
        raise AssertionError("planned again")

    load = Load.plain(5)._replace(again=again)
    small = make_plan(layout(rows=500, columns=20, width=20), 5, 10**11, 1, load=load)
    assert small.peak_bytes < 1.1 * RUNTIME_BYTES
    assert small.advice == ""
    with pytest.raises(AssertionError, match="planned again"):
        make_plan(layout(rows=10**6, columns=500, width=25), 5, 10**11, 1, load=load)


def test_a_refusal_advises_a_lower_rank_that_fits():
    shape = layout(rows=50000, columns=60000, width=80)
    limit = 500 * 10**6
    lower = int(re.search(r"take a rank of (\d+) or lower", ways_out(shape, 100, limit))[1])
    assert 1 < lower < 100
    assert make_plan(shape, lower, limit, 1).threads == 1


def test_a_refusal_advises_nothing_but_more_memory_where_nothing_else_helps():
    sentence = ways_out(layout(), 2, 50 * 10**6)
    assert re.search(r"Raise memory_limit \(--memory-limit\) to at least [0-9.]+ MB\.$", sentence)


def test_a_plan_counts_lists_and_weights_on_every_thread():
    shape, load = layout(rows=500, columns=60000, width=4000), Load.plain(10, 66)
    one, three = (peak_bytes(shape, 10, threads, 0, load) for threads in (1, 3))
    listed = load._replace(panels=10)
    # ten arrays of 2 MiB, less the columns that do not fill a vector
    more = peak_bytes(shape, 10, 3, 0, listed) - three
    assert 3 * 10 * 1.8 * 2**20 < more <= 3 * 10 * 2 * 2**20
    assert peak_bytes(shape, 10, 1, 0, listed) - one == more / 3
    weighted = dataclasses.replace(shape, read_bytes=2 * shape.read_bytes, weights_bytes=shape.read_bytes)
    assert peak_bytes(weighted, 10, 3, 0, load) - three == 3 * shape.read_bytes


@given(st.integers(1, 5000), st.integers(1, 5000))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_groups_are_of_almost_one_size_and_hold_every_block_in_order(blocks, groups):
    groups = min(blocks, groups)
    found = group_bounds(blocks, groups)
    assert [block for group in found for block in group] == list(range(blocks))
    assert max(map(len, found)) - min(map(len, found)) <= 1
    assert len(found) == groups


def test_groups_are_as_many_as_blocks_or_enough_or_as_large_as_they_may_be():
    assert count_groups(layout(columns=10**5, width=5000)) == 20
    assert count_groups(layout(rows=10, columns=10**6, width=1000)) == FEW_GROUPS
    assert count_groups(layout()) == MANY_GROUPS
    large = layout(rows=10000, columns=10**7, width=1000)
    assert large.stored_bytes / count_groups(large) <= LARGE_GROUP_BYTES


@pytest.mark.parametrize(("rows", "columns", "groups"), [(65536, 400, 16), (65537, 400, 4), (10**6, 128, 1)])
def test_a_group_has_the_columns_of_a_panel_where_these_are_many_bytes(rows, columns, groups):
    assert count_groups(layout(rows=rows, columns=columns, width=4)) == groups


def test_more_threads_than_groups_need_no_more():
    tall = layout(rows=10**6, columns=500, width=32)
    assert peak_bytes(tall, 20, 4, share=0) == peak_bytes(tall, 20, 16, share=0)


def test_a_sparse_matrix_is_not_planned_as_if_its_panels_were_dense():
    starts = np.arange(10**6 + 1, dtype=np.int32)
    V = sp.csc_array((np.ones(10**6, np.float32), starts[:-1], starts), shape=(10**6, 10**6))
    sparse = open_matrix(V).layout
    dense = dataclasses.replace(sparse, sparse=False)
    assert peak_bytes(sparse, 2, 1, share=1) + 8 * 10**8 < peak_bytes(dense, 2, 1, share=1)


def test_a_plan_is_written_for_people():
    lines = str(make_plan(layout(), 20, 10**9, 2)).splitlines()
    assert lines[0] == "matrix      2000 × 1000000, float32, Zarr array"
    assert lines[1].startswith("blocks      200 of up to 5000 columns, in panels of 1024")
    assert lines[2] == "tasks       64 a pass, 2 at once"
    assert re.fullmatch(r"memory      \S+ MB at most, of 1 GB allowed; the long factor (in memory|on disk)", lines[3])
    assert lines[4] == "            190 MB for the interpreter"
    assert lines[-1] == "one pass    reads 8 GB"


@given(sizes, st.integers(1, 100), loads | sketches, st.integers(1, 8))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_a_plan_shows_all_terms_of_its_memory(layout, rank, load, threads):
    plan = make_plan(layout, rank, 10**15, threads, load=load)
    assert sum(size for _, size in plan.terms) == plan.peak_bytes
    shown = [line.strip() for line in str(plan).splitlines() if re.match(r"            \S+ [kMGT]?B for", line)]
    assert shown == [f"{amount(size)} {purpose}" for purpose, size in plan.terms]


def test_a_plan_names_the_options_that_need_much_less_with_what_they_need():
    V = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (200_000, 210_000), (0, 0))
    options = {"loss": "kullback-leibler", "solver": "cd", "memory_limit": "100GB", "threads": 1}
    plan = dnmf.plan(V, 20, **options)
    found = re.fullmatch(r'([0-9.]+ [MG]B) with init="random" \(--init random\)', plan.alternatives)
    assert found[1] == enough(dnmf.plan(V, 20, init="random", **options).peak_bytes)
    with pytest.raises(BudgetError) as caught:
        dnmf.plan(V, 20, **{**options, "memory_limit": plan.peak_bytes // 2})
    least = parse_bytes("least", re.search(r"\(--init random\), which needs ([0-9.]+ [MG]B),", str(caught.value))[1])
    assert dnmf.plan(V, 20, init="random", **{**options, "memory_limit": least}).threads == 1
    with pytest.raises(BudgetError):
        dnmf.plan(V, 20, init="random", **{**options, "memory_limit": int(0.99 * least)})
    sketched = dnmf.plan(V, 20, memory_limit="100GB", threads=8)
    words = ("threads=1 (--threads 1)", 'solver="hals", init="random" (--solver hals --init random)')
    for word, less in zip(words, ({"threads": 1}, {"threads": 8, "solver": "hals", "init": "random"}), strict=True):
        size = dnmf.plan(V, 20, memory_limit="100GB", **less).peak_bytes
        assert (f"{enough(size)} with {word}" in sketched.alternatives) == (1.5 * size < sketched.peak_bytes)


def test_the_other_cut_needs_what_is_planned_for_it_once_it_is_written(tmp_path):
    V = np.random.default_rng(0).random((60, 300_000), np.float32)
    wrong = zarr.create_array(tmp_path / "V.zarr", shape=V.shape, chunks=(6, 300_000), dtype="f4", compressors=None)
    wrong[...] = V
    plan = dnmf.plan(tmp_path / "V.zarr", 12, memory_limit="10GB", threads=1)
    command = rf"`dnmf convert {tmp_path}/V.zarr V-by-columns.zarr --by columns` it needs (.*)"
    convert(tmp_path / "V.zarr", tmp_path / "by-columns.zarr", by="columns")
    then = dnmf.plan(tmp_path / "by-columns.zarr", 12, memory_limit="10GB", threads=1)
    assert re.search(command, plan.advice)[1] == enough(then.peak_bytes)
    assert then.advice == ""


def test_a_plan_advises_wider_blocks_where_adding_up_takes_longest():
    narrow = make_plan(layout(rows=10**6, columns=10**6, width=4), 20, 10**12, 1)
    assert narrow.advice == (
        "V is read in blocks of 4 columns, and to add each of them to the sums over the 1000000 rows takes longer than "
        "its products; rewritten by `dnmf convert --by columns` it is read in blocks of 32"
    )
    for wide in (layout(rows=10**6, columns=10**6, width=32), layout(rows=10**6, columns=10**6, width=4, sparse=True)):
        assert make_plan(wide, 20, 10**12, 1).advice == ""


def test_chunks_that_are_read_many_times_are_named():
    plan = make_plan(layout(reads=8), 20, 10**9, 2)
    assert "one pass    reads 8 GB, each chunk 8 times" in str(plan)
    assert "each chunk of V is read 8 times in a pass; rewritten by `dnmf convert --by columns` V is read once" in str(
        plan
    )


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (1000, "1 kB"), (123456, "123 kB"), (8 * 10**9, "8 GB"), (5 * 10**15, "5e+03 TB")]
)
def test_bytes_are_written_with_three_digits(count, words):
    assert amount(count) == words


@pytest.mark.parametrize(
    ("count", "words"), [(999, "999 B"), (1001, "1.01 kB"), (190_169_920, "191 MB"), (999_000_001, "1 GB")]
)
def test_memory_that_is_needed_is_rounded_up(count, words):
    assert enough(count) == words
    assert parse_bytes("enough", words) >= count


def test_a_run_that_needs_the_layout_of_its_matrix_is_not_advised_to_change_it(tmp_path):
    V = zarr.create_array(tmp_path / "V.zarr", shape=(300, 48), chunks=(300, 8), dtype="float32")
    V[...] = np.random.default_rng(0).random(V.shape, np.float32)
    result = dnmf.factorize(tmp_path / "V.zarr", 3, volume_W=0.2, max_passes=2, client="threads")
    np.testing.assert_allclose(np.asarray(result.W).sum(axis=0), 1, rtol=1e-5)
    with pytest.raises(BudgetError) as caught:
        dnmf.factorize(tmp_path / "V.zarr", 3, volume_W=0.2, memory_limit="1MB", client="threads")
    assert "longer axis" not in str(caught.value)
