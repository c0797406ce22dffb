"""However a run ends, its passes are saved first, and it can be resumed to the same bits."""

import itertools

import numpy as np
import pytest
from runs import PLAIN, assert_same_bits, matrix, stored

import dnmf
from dnmf.run.watcher import Watcher
from dnmf.sources.formats.zarr_array import ZarrSource

OPTIONS = {"rank": 3, "max_passes": 6, "tol": 0, "checkpoint_every": 4}
MADE = {
    "hals": PLAIN,
    "Kullback-Leibler": {"loss": "kullback-leibler"},
    "several runs": {"n_runs": 3, "init": "random"},
    "mini-batches": {"solver": "minibatch"},
}


class OwnError(Exception):
    """An exception that only these tests raise."""


def failing(method, at, error=OwnError):
    """Return a watcher that raises at the n-th call of a method."""
    count = itertools.count(1)

    def act(self, *told):
        if next(count) == at:
            raise error(method)

    return type("Failing", (Watcher,), {method: act})()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("V") / "V.zarr", matrix(), (24, 7))


@pytest.mark.parametrize("options", MADE.values(), ids=MADE)
@pytest.mark.parametrize(
    ("method", "at", "saved"),
    [
        ("started", 1, 0),
        ("block_read", 5, 0),
        ("block_read", -1, 3),
        ("passed", 3, 3),
        ("passed", 6, 6),
        ("saved", 1, 4),
        ("saved", 2, 6),
        ("stopped", 1, 6),
    ],
)
def test_an_error_of_a_watcher_loses_no_pass(method, at, saved, options, path, tmp_path):
    expected = dnmf.factorize(path, **OPTIONS, **options)
    start = expected.passes - len(expected.history)  # reads of the initialisation
    if method == "passed":
        at -= start
    if at == -1:
        at = 9 * saved + 5
    with pytest.raises(OwnError) as raised:
        dnmf.factorize(path, store=tmp_path / "s", watchers=[failing(method, at)], threads=2, **OPTIONS, **options)
    assert raised.value.args == (method,)
    assert not hasattr(raised.value, "__notes__")
    if saved:
        assert dnmf.load(tmp_path / "s").passes == saved
    assert_same_bits(dnmf.resume(tmp_path / "s"), expected)


@pytest.mark.parametrize("error", [MemoryError, KeyError, SystemExit], ids=lambda error: error.__name__)
def test_an_error_of_any_kind_stays_what_it_is(error, path, tmp_path):
    with pytest.raises(error) as raised:
        dnmf.factorize(path, store=tmp_path / "s", watchers=[failing("passed", 3, error)], **OPTIONS, **PLAIN)
    assert type(raised.value) is error
    assert dnmf.load(tmp_path / "s").passes == 3
    assert_same_bits(dnmf.resume(tmp_path / "s"), dnmf.factorize(path, **OPTIONS, **PLAIN))


@pytest.mark.parametrize("error", [MemoryError, OSError])
def test_a_block_that_cannot_be_read_costs_no_pass_before(error, path, tmp_path, monkeypatch):
    read, count = ZarrSource.read, itertools.count(1)

    def fail(source, block, scratch):
        if next(count) == 3 * 9 + 4:
            raise error("no more")
        return read(source, block, scratch)

    monkeypatch.setattr(ZarrSource, "read", fail)
    with pytest.raises(error, match="no more"):
        dnmf.factorize(path, store=tmp_path / "s", threads=1, **OPTIONS, **PLAIN)
    assert dnmf.load(tmp_path / "s").passes == 3
    assert_same_bits(dnmf.resume(tmp_path / "s"), dnmf.factorize(path, **OPTIONS, **PLAIN))


def test_no_memory_and_no_threads_are_no_damage_of_the_matrix(path, monkeypatch):
    for error in (MemoryError("no more"), RuntimeError("can't start new thread")):

        def fail(*given, error=error, **options):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("zarr.Array.__getitem__", fail)
            patch.setattr("zarr.open", fail)
            with pytest.raises(type(error), match=str(error)):
                dnmf.factorize(path, **OPTIONS)
    with monkeypatch.context() as patch:
        patch.setattr("zarr.open", lambda *given, **options: 1 / 0)
        with pytest.raises(dnmf.DnmfError, match="is not a Zarr array"):
            dnmf.factorize(path, **OPTIONS)


def test_where_saving_fails_too_the_error_has_a_note_of_it(path, tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    class Fail(Watcher):
        def passed(self, record):
            if record.passes == 3:
                monkeypatch.setattr("dnmf.storage.durable.write_once", full)
                raise OwnError

    with pytest.raises(OwnError) as raised:
        dnmf.factorize(path, store=tmp_path / "s", watchers=[Fail()], **OPTIONS, **PLAIN)
    [note] = raised.value.__notes__
    assert "The checkpoint after pass 3 could not be saved" in note
    assert "No space left on device" in note


@pytest.mark.parametrize("how", ["closed", "thrown into", "left"])
def test_leaving_the_loop_over_a_run_loses_no_pass(how, path, tmp_path):
    results = dnmf.iterate(path, store=tmp_path / "s", **OPTIONS, **PLAIN)
    for result in results:
        if result.passes == 3:
            break
    if how == "thrown into":
        with pytest.raises(OwnError):
            results.throw(OwnError())
    elif how == "closed":
        results.close()
    else:
        del results
    assert dnmf.load(tmp_path / "s").passes == 3
    assert_same_bits(dnmf.resume(tmp_path / "s"), dnmf.factorize(path, **OPTIONS, **PLAIN))


def test_factors_beyond_the_range_of_floats_are_not_saved(path, tmp_path, monkeypatch):
    def refuse(state):
        if state.passes == 3:
            raise dnmf.DnmfError("too large")

    monkeypatch.setattr("dnmf.run.run.check_range", refuse)
    with pytest.raises(dnmf.DnmfError, match="too large"):
        dnmf.factorize(path, store=tmp_path / "s", **{**OPTIONS, "checkpoint_every": 2}, **PLAIN)
    assert dnmf.load(tmp_path / "s").passes == 2


@pytest.mark.parametrize(
    ("method", "at"), [("started", 1), ("block_read", 2), ("modelled", 3), ("passed", 1), ("passed", 2), ("stopped", 1)]
)
@pytest.mark.parametrize("options", [{}, {"loss": "kullback-leibler", "max_passes": 6}], ids=["sketch", "side by side"])
def test_a_survey_goes_on_from_an_error_of_a_watcher(method, at, options, tmp_path):
    V = matrix(40, 60)
    if options and method == "modelled":
        method = "passed"
    expected = dnmf.select_rank(V, [2, 3], n_runs=2, cv=2, **options)
    with pytest.raises(OwnError):
        dnmf.select_rank(V, [2, 3], n_runs=2, cv=2, store=tmp_path / "s", watchers=[failing(method, at)], **options)
    again = dnmf.select_rank(V, [2, 3], n_runs=2, cv=2, store=tmp_path / "s", **options)
    columns = again.table(), expected.table()
    for name in columns[0]:
        if name not in ("passes", "seconds"):
            assert columns[0][name] == columns[1][name], name
    for rank in (2, 3):
        assert np.array_equal(np.asarray(again.best(rank).H), np.asarray(expected.best(rank).H))


@pytest.mark.parametrize(("method", "at"), [("started", 1), ("block_read", 1), ("block_read", 9)])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_factor_of_new_data_is_written_whole_or_not_at_all(method, at, threads, path, tmp_path):
    result, out = dnmf.factorize(path, **OPTIONS, **PLAIN), tmp_path / "new" / "H.zarr"
    out.parent.mkdir()
    with pytest.raises(OwnError):
        dnmf.transform(result, path, out=out, threads=threads, watchers=[failing(method, at)])
    assert list(out.parent.iterdir()) == []
