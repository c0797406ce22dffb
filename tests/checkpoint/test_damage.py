"""Whatever becomes of the files of a checkpoint: it is noticed and told, and the one before it is used."""

import json
import shutil
import warnings

import numpy as np
import pytest
from runs import assert_same_bits, factors, interrupt_at, matrix, stored

import dnmf
import dnmf.checkpoint.arrays
import dnmf.checkpoint.verify
from dnmf.errors import Interrupted, StoreError, StoreWarning

PASSES = 6


@pytest.fixture(scope="module", params=["columns", "rows"])
def origin(request, tmp_path_factory):
    """Return a folder with a matrix and the store of a run that was interrupted after its third pass."""
    folder = tmp_path_factory.mktemp(request.param)
    V = stored(folder / "V.zarr", matrix(), (24, 15) if request.param == "columns" else (6, 60))
    options = {"max_passes": PASSES, "tol": 0, "init": "random", "checkpoint_every": 2, **interrupt_at(3)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dnmf.checkpoint.arrays, "CHUNK_BYTES", 1)
        with pytest.raises(Interrupted):
            dnmf.factorize(V, 4, store=folder / "run.zarr", **options)
    return folder


@pytest.fixture
def store(origin, tmp_path):
    """Return a store of its own to damage."""
    return shutil.copytree(origin / "run.zarr", tmp_path / "run.zarr")


@pytest.fixture(scope="module")
def whole(origin):
    return dnmf.factorize(origin / "V.zarr", 4, max_passes=PASSES, tol=0, init="random")


def group_of(store, passes):
    return store / json.loads((store / "commits" / f"{passes:06d}.json").read_bytes())["group"]


def flip(path, byte=-3, bit=4):
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


def chunks(folder):
    return sorted(path for path in (folder / "c").rglob("*") if path.is_file())


def long_name(store):
    return max("WH", key=lambda name: len(chunks(group_of(store, 3) / name)))


def short_name(store):
    return "WH".replace(long_name(store), "")


# Each damages the newest checkpoint and returns what the warning must name.


def flip_in_long(store):
    flip(chunks(group_of(store, 3) / long_name(store))[2])
    return f"chunk 2 of {long_name(store)}"


def flip_in_short(store):
    flip(chunks(group_of(store, 3) / short_name(store))[0], byte=5)
    return f"chunk 0 of {short_name(store)}"


def flip_in_checksum(store):
    flip(chunks(group_of(store, 3) / long_name(store))[1], byte=-1)
    return f"chunk 1 of {long_name(store)}"


def miss_a_chunk(store):
    chunks(group_of(store, 3) / long_name(store))[3].unlink()
    return f"chunk 3 of {long_name(store)}"


def truncate_a_chunk(store):
    path = chunks(group_of(store, 3) / long_name(store))[0]
    path.write_bytes(path.read_bytes()[:20])
    return f"chunk 0 of {long_name(store)}"


def swap_chunks(store):
    """Each chunk is whole, with its own checksum: only the digest knows that it is another one."""
    one, other = chunks(group_of(store, 3) / long_name(store))[:2]
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)
    return f"chunk 0 of {long_name(store)}"


def take_an_older_factor(store):
    shutil.rmtree(group_of(store, 3) / "W")
    shutil.copytree(group_of(store, 2) / "W", group_of(store, 3) / "W")
    return "chunk 0 of W"


def lose_a_factor(store):
    shutil.rmtree(group_of(store, 3) / "H")
    return "its factors cannot be opened"


def lose_the_group(store):
    shutil.rmtree(group_of(store, 3))
    return "its factors cannot be opened"


def spoil_the_metadata(store):
    (group_of(store, 3) / "W" / "zarr.json").write_text("{")
    return "its factors cannot be opened"


def truncate_the_record(store):
    path = store / "commits" / "000003.json"
    path.write_bytes(path.read_bytes()[:-40])
    return "its record cannot be read"


def empty_the_record(store):
    (store / "commits" / "000003.json").write_bytes(b"")
    return "its record cannot be read"


def change_a_number_in_the_record(store):
    path = store / "commits" / "000003.json"
    record = json.loads(path.read_bytes())
    record["state"]["norms"][0] += 1
    path.write_text(json.dumps(record))
    return "its record cannot be read"


DAMAGES = [
    flip_in_long,
    flip_in_short,
    flip_in_checksum,
    miss_a_chunk,
    truncate_a_chunk,
    swap_chunks,
    take_an_older_factor,
    lose_a_factor,
    lose_the_group,
    spoil_the_metadata,
    truncate_the_record,
    empty_the_record,
    change_a_number_in_the_record,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_is_used(damage, store, whole):
    named = damage(store)
    with pytest.warns(StoreWarning, match=f"000003.*damaged: {named}.*The one before it is taken"):
        loaded = dnmf.load(store)
    assert loaded.passes == 2
    with pytest.warns(StoreWarning, match=f"000003.*damaged: {named}"):
        result = dnmf.resume(store)
    assert_same_bits(result, whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same_bits(dnmf.load(store), whole)


def test_every_flipped_bit_of_the_metadata_is_noticed_or_does_no_harm(store):
    """One bit of every seventh byte; each byte was tried once."""
    before = factors(dnmf.load(store))
    newest = group_of(store, 3)
    rng = np.random.default_rng(0)
    told = 0
    for path in [newest / "zarr.json", newest / "H" / "zarr.json", store / "commits" / "000003.json"]:
        content = path.read_bytes()
        for place in range(0, len(content), 7):
            flip(path, place, int(rng.integers(8)))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                result = dnmf.load(store)
            if result.passes == 3:
                assert all(np.array_equal(*pair) for pair in zip(factors(result), before, strict=True)), place
            else:
                told += 1
                assert any(issubclass(warning.category, StoreWarning) for warning in caught), place
            path.write_bytes(content)
    assert told > 100


def test_where_all_checkpoints_are_damaged_nothing_is_taken_and_nothing_deleted(store):
    for passes in (2, 3):
        flip(chunks(group_of(store, passes) / "W")[0])
    kept = sorted(path.name for path in (store / "checkpoints").iterdir())
    for use in (dnmf.load, dnmf.resume):
        with pytest.warns(StoreWarning), pytest.raises(StoreError, match="no whole checkpoint"):
            use(store)
    assert sorted(path.name for path in (store / "checkpoints").iterdir()) == kept


def test_an_older_damaged_checkpoint_does_not_matter(store, whole):
    flip(chunks(group_of(store, 2) / "W")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dnmf.load(store).passes == 3
        assert_same_bits(dnmf.resume(store), whole)


def test_factors_of_a_checkpoint_that_is_gone_are_an_error_and_not_zeros(store):
    loaded = dnmf.load(store)
    dnmf.resume(store)
    with pytest.raises(StoreError, match=r"is no longer complete: the run has continued .* Load the store again"):
        factors(loaded)


def test_a_chunk_that_goes_missing_after_the_store_was_opened_is_an_error_and_not_zeros(store):
    loaded = dnmf.load(store)
    chunks(group_of(store, 3) / long_name(store))[1].unlink()
    with pytest.raises(StoreError, match="is no longer complete"):
        factors(loaded)


def test_a_checkpoint_deleted_while_it_is_looked_at_is_no_damage(store, monkeypatch):
    """The run goes on in the meantime: a newer checkpoint is there, and those that were listed are gone."""
    commits, newer = store / "commits", store / "commits" / "000003.json"
    hidden = newer.read_bytes()
    newer.unlink()
    damaged = dnmf.checkpoint.verify.damaged_chunk

    def go_on(*given):
        if not newer.exists():
            newer.write_bytes(hidden)
            shutil.rmtree(group_of(store, 2))
            (commits / "000002.json").unlink()
            return "chunk 0 of W"
        return damaged(*given)

    monkeypatch.setattr(dnmf.checkpoint.verify, "damaged_chunk", go_on)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dnmf.load(store).passes == 3
