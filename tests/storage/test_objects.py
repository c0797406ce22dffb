"""Stores and matrices behind a URL: the same protocol as on a disk, whatever the object store does."""

import json
import subprocess
import sys
import uuid

import boto3
import numpy as np
import pytest
import zarr
from objects import BUCKET, SECRETS, Proxy, keys, reached_at, s3
from runs import assert_same_bits, interrupt_at, matrix, stored

import dnmf
from dnmf.checkpoint import Store
from dnmf.conversion import convert
from dnmf.errors import DataError, DiskError, DnmfError, Interrupted, MissingExtraError, StoreError
from dnmf.storage.objects import zarr_store
from dnmf.storage.open_location import location_at

V = matrix(24, 120)
OPTIONS = {"rank": 3, "max_passes": 9, "checkpoint_every": 3, "tol": 0, "init": "random"}


@pytest.fixture(scope="module")
def address():
    with s3() as found:
        yield found


@pytest.fixture(params=["s3", "memory"])
def root(request, address):
    """Return a URL below which nothing lies."""
    name = uuid.uuid4().hex
    return f"s3://{BUCKET}/{name}" if request.param == "s3" else f"memory://{name}"


@pytest.fixture(scope="module")
def expected():
    return dnmf.factorize(V, client="threads", **OPTIONS)


@pytest.fixture
def through(address):
    """Reach S3 through a proxy that fails as a function says."""
    proxies = []

    def reach(fault):
        proxy = Proxy(address, fault).__enter__()
        environment = reached_at(proxy.address)
        environment.__enter__()
        proxies.append((environment, proxy))
        return proxy

    yield reach
    for environment, proxy in proxies:
        environment.__exit__(None, None, None)
        proxy.__exit__()


def test_the_objects_below_a_url(root):
    place = location_at(root)
    place.create("a/b/one", b"1")
    place.replace("a/two", b"22")
    place.replace("a/two", b"222")
    assert place.read("a/two") == place.read("a/two", 3) == b"222"
    with pytest.raises(ValueError, match="a/two has 3 bytes"):
        place.read("a/two", 2)
    assert sorted(place.names()) == ["a"]
    assert sorted(place.names("a")) == ["b", "two"]
    assert sorted(place.files("a")) == ["b/one", "two"]
    assert place.names("none") == place.files("none") == []
    with pytest.raises(FileExistsError):
        place.create("a/two", b"mine")
    place.publish("a", "c")
    place.remove("a/two")
    place.remove("never there")
    assert sorted(place.files()) == ["a/b/one", "c/b/one", "c/two"]
    place.remove_tree("a")
    assert place.names() == ["c"]
    assert place.read("c/two") == b"222"
    with pytest.raises(FileNotFoundError):
        place.read("a/two")


def test_a_run_with_a_store_far_away_gives_the_same_bits_and_is_resumed(root, expected):
    store = f"{root}/run.zarr"
    with pytest.raises(Interrupted):
        dnmf.factorize(V, store=store, **OPTIONS, **interrupt_at(5))
    assert dnmf.load(store).passes == 5
    result = dnmf.resume(store, V)
    assert_same_bits(result, expected)
    assert result.store == store
    assert_same_bits(dnmf.load(store), expected)
    entries = location_at(store).names()
    assert sorted(entries) == ["H", "W", "checkpoints", "commits", "zarr.json"]
    finished = zarr.open_group(zarr_store(store), mode="r")
    np.testing.assert_array_equal(finished["W"][...], expected.W)
    np.testing.assert_array_equal(finished["H"][...], np.asarray(expected.H))
    assert len(location_at(store).names("checkpoints")) == 2


def test_a_matrix_far_away_is_found_again_by_its_url(address, expected, tmp_path):
    url = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    stored(tmp_path / "V.zarr", V, (24, 30))
    convert(tmp_path / "V.zarr", f"{url}/V.zarr", chunks=(24, 30))
    near = dnmf.factorize(tmp_path / "V.zarr", **OPTIONS)
    with pytest.raises(Interrupted):
        dnmf.factorize(f"{url}/V.zarr", store=f"{url}/run.zarr", **OPTIONS, **interrupt_at(4))
    assert_same_bits(dnmf.resume(f"{url}/run.zarr"), near)
    dnmf.transform(f"{url}/run.zarr", f"{url}/V.zarr", out=f"{url}/new.zarr")
    assert zarr.open_array(zarr_store(f"{url}/new.zarr"), mode="r").shape == (3, 120)
    with pytest.raises(StoreError, match=r"new\.zarr already exists; choose another path or pass overwrite=True"):
        dnmf.transform(f"{url}/run.zarr", f"{url}/V.zarr", out=f"{url}/new.zarr")
    dnmf.transform(f"{url}/run.zarr", f"{url}/V.zarr", out=f"{url}/new.zarr", overwrite=True)
    assert not [key for key in keys() if "draft" in key]


def test_a_store_that_exists_is_not_overwritten_unasked(root):
    store = f"{root}/run.zarr"
    dnmf.factorize(V, store=store, **OPTIONS)
    with pytest.raises(StoreError, match="already exists; resume it, choose another path, or pass overwrite=True"):
        dnmf.factorize(V, store=store, **OPTIONS)
    dnmf.factorize(np.eye(4), 2, store=store, max_passes=3, overwrite=True)
    assert dnmf.load(store).W.shape == (4, 2)
    location_at(f"{root}/letters").replace("dear", b"me")
    with pytest.raises(StoreError, match="is not a store of dnmf, and is not overwritten"):
        dnmf.factorize(V, store=f"{root}/letters", overwrite=True, **OPTIONS)
    with pytest.raises(StoreError, match="does not exist; give the store of a run"):
        dnmf.load(f"{root}/none.zarr")


def test_of_two_runs_on_this_machine_the_second_is_refused(root):
    store = f"{root}/run.zarr"
    steps = dnmf.iterate(V, store=store, **OPTIONS)
    next(steps)
    with pytest.raises(StoreError, match=r"is in use by another run, process \d+ of this machine"):
        dnmf.resume(store, V)
    steps.close()
    assert dnmf.resume(store, V).passes == 9


def test_of_two_runs_on_two_machines_the_first_ends_and_nothing_is_lost(root, expected, monkeypatch):
    store = f"{root}/run.zarr"
    steps = dnmf.iterate(V, store=store, **OPTIONS)
    for _ in range(4):
        next(steps)
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "elsewhere")
        second = Store.open(store, write=True)
    with pytest.raises(StoreError, match=r"Another run took over .*run\.zarr \(on elsewhere\), and this one wrote no"):
        list(steps)
    second.close()
    assert dnmf.load(store).passes == 3
    assert_same_bits(dnmf.resume(store, V), expected)


def test_a_record_that_another_run_has_written_is_not_taken_for_ones_own(root):
    store = f"{root}/run.zarr"
    steps = dnmf.iterate(V, store=store, **OPTIONS)
    for _ in range(2):
        next(steps)
    location_at(store).create("commits/000003.json", b"{}")
    with pytest.raises(StoreError, match="Another run wrote the checkpoint after pass 3"):
        list(steps)
    assert len(location_at(store).names("checkpoints")) == 0


@pytest.mark.parametrize("every", [3, 7])
@pytest.mark.parametrize("fault", ["error", "lose"])
def test_requests_that_fail_change_nothing(fault, every, expected, through):
    store = f"s3://{BUCKET}/{uuid.uuid4().hex}/run.zarr"
    proxy = through(lambda number, method, path: fault if number % every == 0 else None)
    result = dnmf.factorize(V, store=store, **OPTIONS)
    assert_same_bits(result, expected)
    assert_same_bits(dnmf.load(store), expected)
    assert proxy.faults > 5


def test_a_record_whose_reply_was_lost_is_known_as_ones_own(expected, through):
    store = f"s3://{BUCKET}/{uuid.uuid4().hex}/run.zarr"
    lost = []

    def fault(number, method, path):
        if method == "PUT" and "/commits/" in path and path not in lost:
            lost.append(path)
            return "lose"
        return None

    through(fault)
    assert_same_bits(dnmf.factorize(V, store=store, **OPTIONS), expected)
    assert len(lost) == 3


def test_a_store_that_is_full_ends_in_a_sentence_and_what_was_there_is_whole(expected, through):
    store = f"s3://{BUCKET}/{uuid.uuid4().hex}/run.zarr"
    full = []
    through(lambda number, method, path: "full" if full and method in ("PUT", "POST", "DELETE") else None)

    class Fill(dnmf.Watcher):
        def passed(self, record):
            if record.passes == 4:
                full.append(True)

    with pytest.raises(DiskError, match=r"could not be written .*QuotaExceeded.*Free some room there") as caught:
        dnmf.factorize(V, store=store, watchers=[Fill()], **OPTIONS)
    assert SECRETS["AWS_ACCESS_KEY_ID"] not in str(caught.value)
    assert dnmf.load(store).passes == 3
    full.clear()
    assert_same_bits(dnmf.resume(store, V), expected)


def once(method, wanted, fault):
    """Return a function that makes something of the first request of a method whose path has a part."""
    seen = []

    def make(number, verb, path):
        if verb == method and wanted in path and not seen:
            seen.append(path)
            return fault
        return None

    return make


@pytest.mark.parametrize("fault", ["denied", "missing"])
@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        ("GET", "commits/000009.json"),
        ("GET", "commits/000005.json"),
        ("GET", "H/c/0/0"),
        ("GET", "run.zarr/zarr.json"),
    ],
)
def test_one_answer_that_is_wrong_changes_nothing(method, wanted, fault, expected, through):
    store = f"s3://{BUCKET}/{uuid.uuid4().hex}/run.zarr"
    with pytest.raises(Interrupted):
        dnmf.factorize(V, store=store, **OPTIONS, **interrupt_at(5))
    proxy = through(once(method, wanted, fault))
    assert_same_bits(dnmf.resume(store, V), expected)
    assert_same_bits(dnmf.load(store), expected)
    assert proxy.faults == 1
    finished = zarr.open_group(zarr_store(store), mode="r")
    np.testing.assert_array_equal(finished["W"][...], expected.W)


@pytest.mark.parametrize("wanted", ["commits/", "H/", "prefix="])
def test_a_store_that_lets_nobody_read_ends_in_a_sentence_without_secrets(wanted, expected, through):
    store = f"s3://{BUCKET}/{uuid.uuid4().hex}/run.zarr"
    with pytest.raises(Interrupted):
        dnmf.factorize(V, store=store, **OPTIONS, **interrupt_at(5))
    before = keys(store.removeprefix(f"s3://{BUCKET}/"))
    closed = [True]
    through(lambda number, method, path: "denied" if closed and wanted in path and method in ("GET", "HEAD") else None)
    for use in (dnmf.load, lambda path: dnmf.resume(path, V)):
        with pytest.raises(StoreError, match=r"could not be .*Check that place and its permissions") as caught:
            use(store)
        said = f"{caught.value} {caught.value.__cause__}"
        assert not any(secret in said for secret in SECRETS.values())
        assert "Debug source" not in said
        assert len(said) < 800
    closed.clear()
    assert keys(store.removeprefix(f"s3://{BUCKET}/")) == before
    assert_same_bits(dnmf.resume(store, V), expected)


@pytest.mark.parametrize("wanted", ["pieces/held", ".lock"])
def test_a_survey_that_cannot_be_read_or_written_ends_in_a_sentence_without_secrets(wanted, through):
    store, asked = f"s3://{BUCKET}/{uuid.uuid4().hex}/survey.zarr", {"ranks": [2, 3], "n_runs": 1, "cv": 2}
    closed = []
    through(lambda number, method, path: "denied" if closed and wanted in path else None)
    expected = dnmf.select_rank(V, store=store, **asked).held_out
    closed.append(True)
    for use in (dnmf.load_survey, lambda path: dnmf.select_rank(V, store=path, **asked)):
        if use is dnmf.load_survey and wanted == ".lock":
            continue
        with pytest.raises(StoreError, match="Check that place and its permissions") as caught:
            use(store)
        assert not any(secret in str(caught.value) for secret in SECRETS.values())
        assert len(str(caught.value)) < 800
    closed.clear()
    np.testing.assert_array_equal(dnmf.load_survey(store).held_out, expected)


DRIVER = """
import sys
import dnmf, numpy as np
class Wait(dnmf.Watcher):
    def passed(self, record):
        if record.passes == 5:
            print("here", flush=True)
            sys.stdin.readline()
options = {"max_passes": 9, "checkpoint_every": 3, "tol": 0, "init": "random"}
dnmf.factorize(np.load(sys.argv[1]), 3, store=sys.argv[2], watchers=[Wait()], **options)
"""


def test_a_run_that_was_killed_goes_on_from_its_store_far_away(address, expected, tmp_path):
    np.save(tmp_path / "V.npy", V)
    store = f"s3://{BUCKET}/{uuid.uuid4().hex}/run.zarr"
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "V.npy"), store]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as driver:
        assert driver.stdout.readline() == "here\n"
        with pytest.raises(StoreError, match="is in use by another run"):
            dnmf.resume(store, V)
        driver.kill()
    assert f"{store.removeprefix(f's3://{BUCKET}/')}/.lock" in keys()
    assert_same_bits(dnmf.resume(store, V), expected)


def test_a_checkpoint_that_is_damaged_far_away_is_told(root, expected):
    store = f"{root}/run.zarr"
    with pytest.raises(Interrupted):
        dnmf.factorize(V, store=store, **OPTIONS, **interrupt_at(4))
    place = location_at(store)
    chunk = next(name for name in place.files() if "checkpoints/000004-" in name and name.endswith("H/c/0/0"))
    content = bytearray(place.read(chunk))
    content[7] ^= 4
    place.replace(chunk, bytes(content))
    with pytest.warns(dnmf.errors.StoreWarning, match=r"000004\.json in .* is damaged: chunk 0 of H"):
        result = dnmf.resume(store, V)
    assert_same_bits(result, expected)


def test_no_secret_is_written_anywhere(address, tmp_path, capfd):
    url = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    stored(tmp_path / "V.zarr", V, (24, 30))
    convert(tmp_path / "V.zarr", f"{url}/V.zarr")
    dnmf.factorize(f"{url}/V.zarr", store=f"{url}/run.zarr", **OPTIONS)
    client = boto3.client("s3")
    written = b"".join(client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys())
    captured = capfd.readouterr()
    for secret in SECRETS.values():
        assert secret.encode() not in written
        assert secret not in captured.out + captured.err


@pytest.mark.parametrize(
    "url",
    ["s3://key:secret@bucket/V.zarr", "https://host/V.zarr?X-Amz-Signature=secret", "az://c/V.zarr?sig=secret"],
)
def test_a_url_that_tells_a_secret_is_refused_without_telling_it(url):
    for use in (lambda: dnmf.factorize(url, 2), lambda: dnmf.factorize(V, 2, store=url), lambda: dnmf.load(url)):
        with pytest.raises(DnmfError, match="was given with credentials, or a query, in its URL") as caught:
            use()
        assert "secret" not in str(caught.value)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    for scheme, extra in (("s3", "s3"), ("gs", "gs"), ("az", "az")):
        with pytest.raises(MissingExtraError, match=rf"{scheme}:// needs the package obstore.*'dnmf\[{extra}\]'"):
            dnmf.factorize(V, 2, store=f"{scheme}://bucket-{uuid.uuid4().hex}/run.zarr")


def test_a_url_without_a_bucket_is_refused():
    with pytest.raises(DataError, match=r"s3:// names no bucket; give one, as in s3://bucket/run.zarr"):
        dnmf.factorize(V, 2, store="s3://")


def test_what_cannot_be_reached_is_told(address):
    with pytest.raises(DataError, match=r"s3://no-such-bucket/V.zarr is not a Zarr array .*give the path or URL"):
        dnmf.factorize("s3://no-such-bucket/V.zarr", 2)
    with pytest.raises(StoreError, match=r"s3://no-such-bucket/run\.zarr (could not|does not)"):
        dnmf.factorize(V, 2, store="s3://no-such-bucket/run.zarr")


def test_the_header_of_a_store_says_where_v_lies(address, tmp_path):
    url = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    stored(tmp_path / "V.zarr", V, (24, 30))
    convert(tmp_path / "V.zarr", f"{url}/V.zarr")
    dnmf.factorize(f"{url}/V.zarr", store=tmp_path / "run.zarr", **OPTIONS)
    header = json.loads((tmp_path / "run.zarr" / "zarr.json").read_bytes())
    assert header["attributes"]["dnmf"]["location"] == f"{url}/V.zarr"
