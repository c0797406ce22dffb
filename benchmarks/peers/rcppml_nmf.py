"""RcppML: alternating least squares in C++ for R, from Debian's package `r-cran-rcppml`.

It takes no start, so a separate run of every length from one seed gives the factors; R measures the seconds of the run.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from peers.job import Job, Step

LENGTHS = (1, 2, 4, 7, 12, 20, 35, 60, 100)
VERSION_OF = 'cat(as.character(packageVersion("RcppML")))'

# R reads V once and then, for every line of its input, runs so many iterations and writes W · diag(d) and H.
SCRIPT = """
suppressMessages({library(Matrix); library(RcppML)})
given <- commandArgs(TRUE)
folder <- given[1]; rank <- as.integer(given[2]); size <- as.integer(given[4:5])
setRcppMLthreads(as.integer(given[3]))
get <- function(name, kind) {
  path <- file.path(folder, name)
  readBin(path, kind, file.size(path) / if (kind == "integer") 4 else 8)
}
x <- get("x", "double")
V <- if (given[6] == "dense") matrix(x, size[1], size[2]) else
  new("dgCMatrix", i = get("i", "integer"), p = get("p", "integer"), x = x, Dim = size)
invisible(nmf(V[1:min(20, size[1]), ], 1, maxit = 1, verbose = FALSE))
cat("ready\\n"); flush(stdout())
input <- file("stdin", "r")
while (length(line <- readLines(input, 1)) > 0) {
  begin <- proc.time()[["elapsed"]]
  found <- nmf(V, rank, tol = 0, maxit = as.integer(line), verbose = FALSE, seed = 1)
  seconds <- proc.time()[["elapsed"]] - begin
  writeBin(as.vector(found$w %*% diag(found$d, rank)), file.path(folder, "W"))
  writeBin(as.vector(found$h), file.path(folder, "H"))
  cat(seconds, "\\n"); flush(stdout())
}
"""


def version() -> str:
    """Return the version of RcppML."""
    if shutil.which("Rscript") is None:
        raise RuntimeError("R is not installed")
    done = subprocess.run(["Rscript", "-e", VERSION_OF], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError("RcppML is not installed")
    return done.stdout


VERSION = f"RcppML {version()}"


def prepare(job: Job) -> Any:
    """Write V for R, and start R."""
    V = job.matrix()
    folder, kind = Path(job.out), "dense"
    if sp.issparse(V):
        V, kind = V.tocsc(), "sparse"
        V.indices.astype(np.int32).tofile(folder / "i")
        V.indptr.astype(np.int32).tofile(folder / "p")
    (V.data if kind == "sparse" else V.T.ravel()).astype(np.float64).tofile(folder / "x")
    script = folder / "nmf.R"
    script.write_text(SCRIPT)
    words = [str(word) for word in (folder, job.rank, job.threads, *V.shape, kind)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    child = subprocess.Popen(["Rscript", str(script), *words], **pipes)
    if child.stdout.readline() != "ready\n":
        raise RuntimeError("R ended before it had read V")
    return child, V.shape


def steps(job: Job, prepared: Any) -> Iterator[Step]:
    """Yield the factors of runs of each length, all from one seed, until a run takes as long as the job may."""
    child, (rows, columns) = prepared
    begun = time.monotonic()
    with child:
        for length in LENGTHS:
            child.stdin.write(f"{length}\n")
            child.stdin.flush()
            seconds = child.stdout.readline()
            if not seconds:
                raise RuntimeError("R ended")
            W = np.fromfile(f"{job.out}/W").reshape(job.rank, rows).T
            H = np.fromfile(f"{job.out}/H").reshape(columns, job.rank).T
            yield Step(length, W, H, float(seconds))
            if time.monotonic() - begun > 3 * job.seconds:
                break
        child.stdin.close()
