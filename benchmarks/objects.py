"""The cost of an object store through obstore and through fsspec: processor time of this process, and seconds.

    python benchmarks/objects.py [--url s3://bucket/folder] [--chunks 10] [--rounds 3]

Without a URL, moto serves an S3 on this machine in a separate process: the seconds include those of moto, the processor
time is that of the client alone. Needs obstore, s3fs and moto[server].
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import numpy as np
import zarr
from zarr.storage import FsspecStore

from dnmf.storage.objects import zarr_store

PORT = 5057
SMALL = 200


@contextmanager
def served() -> Iterator[str]:
    """Serve S3 on this machine, and yield a URL in it."""
    import boto3

    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update({**keys, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}"})
    command = "from moto.server import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", command, "-p", str(PORT), "-H", "127.0.0.1"], stderr=subprocess.DEVNULL
    ) as server:
        try:
            boto3.client("s3").create_bucket(Bucket="bucket")
            yield "s3://bucket/benchmark"
        finally:
            server.kill()


def cost(act: Callable[[], None]) -> tuple[float, float]:
    """Return the processor seconds of this process, and the seconds, of an action."""
    used, start = time.process_time(), time.perf_counter()
    act()
    return time.process_time() - used, time.perf_counter() - start


def measure(store: object, chunks: int) -> dict[str, tuple[float, float]]:
    """Write and read chunks of 16 MB, and small ones."""
    part = np.random.default_rng(0).random((2000, 2000), np.float32)
    plain = {"dtype": "f4", "compressors": None, "overwrite": True}
    large = zarr.create_array(store, name="large", shape=(2000, 2000 * chunks), chunks=part.shape, **plain)
    small = zarr.create_array(store, name="small", shape=(SMALL,), chunks=(1,), **plain)

    def write() -> None:
        for index in range(chunks):
            large[:, index * 2000 : (index + 1) * 2000] = part

    def read() -> None:
        for index in range(chunks):
            large[:, index * 2000 : (index + 1) * 2000]

    def both() -> None:
        small[...] = 1.0
        small[...]

    return {"write": cost(write), "read": cost(read), "small": cost(both)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a folder in an object store that may be written to")
    parser.add_argument("--chunks", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with served() if options.url is None else contextmanager(lambda: iter([options.url]))() as url:
        stores = {"obstore": zarr_store(f"{url}/obstore"), "fsspec": FsspecStore.from_url(f"{url}/fsspec")}
        found = {name: [] for name in stores}
        for _ in range(options.rounds):
            for name, store in stores.items():
                found[name].append(measure(store, options.chunks))
    size = options.chunks * 0.016
    for act, unit, amount in (("write", "GB", size), ("read", "GB", size), ("small", "1000 objects", 2 * SMALL / 1000)):
        rows = {name: [median(row[act][i] / amount for row in rows) for i in (0, 1)] for name, rows in found.items()}
        costs = ", ".join(f"{name} {used:.2f} s of processor, {spent:.2f} s" for name, (used, spent) in rows.items())
        print(f"{act} 1 {unit}: {costs}; processor, ratio {rows['fsspec'][0] / rows['obstore'][0]:.2f}")


if __name__ == "__main__":
    main()
