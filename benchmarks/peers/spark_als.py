"""Spark's ALS with `nonnegative=True`: every entry of V a rating, without regularisation, from its own start."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
from peers.job import Job, Step
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession

VERSION = f"Spark {pyspark.__version__}"
LIMITS_ITSELF = True  # Java is given its heap
LENGTHS = (1, 3, 10, 30)


def write_rows(job: Job, path: str) -> None:
    """Write the rows of V as lists, a few thousand at a time."""
    V = job.matrix()
    schema = pa.schema([("user", pa.int32()), ("values", pa.list_(pa.float32()))])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, len(V), 2000):
            panel = np.asarray(V[start : start + 2000])
            offsets = np.arange(0, panel.size + 1, panel.shape[1], dtype=np.int32)
            values = pa.ListArray.from_arrays(offsets, pa.array(panel.ravel()))
            users = pa.array(np.arange(start, start + len(panel), dtype=np.int32))
            writer.write_table(pa.table([users, values], schema=schema))


def prepare(job: Job) -> Any:
    """Start Spark on this machine, and load the ratings."""
    heap = f"{(job.limit or 6 * 2**30) // 2**20}m"
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    path = str(Path(job.out) / "V.parquet")
    write_rows(job, path)
    builder = SparkSession.builder.master(f"local[{job.threads}]").config("spark.driver.memory", heap)
    builder = builder.config("spark.ui.enabled", "false").config("spark.local.dir", job.out)
    session = builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session.read.parquet(path).selectExpr("user", "posexplode(values) as (item, rating)")


def factor(frame: Any) -> np.ndarray:
    """Return a factor with its rows in order."""
    return np.array([row.features for row in frame.orderBy("id").collect()], np.float32)


def steps(job: Job, ratings: Any) -> Iterator[Step]:
    """Yield the factors of runs of each length, all from the start of one seed."""
    begun = time.monotonic()
    for length in LENGTHS:
        start = time.perf_counter()
        model = ALS(rank=job.rank, maxIter=length, regParam=0.0, nonnegative=True, seed=0).fit(ratings)
        seconds = time.perf_counter() - start
        yield Step(length, factor(model.userFactors), factor(model.itemFactors).T, seconds)
        if time.monotonic() - begun > job.seconds:
            return
