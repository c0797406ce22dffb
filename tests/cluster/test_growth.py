"""The memory that a long run leaves in the scheduler and the driver."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from runs import matrix, stored, until

PASSES = 200
# Dask keeps its last messages to every worker and client; by default more than this test sends.
FEW_MESSAGES = "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH", "10"
# Bytes in 100 passes, about three times what was measured: the scheduler keeps 15 kB of a pass, a `Span` with its
# groups of tasks, and the driver 4 kB, its line of the history. One W that is kept from every pass makes 5 MB.
SCHEDULER_GROWS, DRIVER_GROWS = 4.5e6, 1.5e6


def held(pid):
    """Return the anonymous memory of a process in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell the memory of a process")
@pytest.mark.parametrize("keeps", [True, False], ids=["with a store", "without one"])
def test_scheduler_and_driver_hold_no_more_after_200_passes_than_after_100(keeps, apart, tmp_path, monkeypatch):
    monkeypatch.setenv(*FEW_MESSAGES)
    path, file = stored(tmp_path / "V.zarr", matrix(4000, 80), (4000, 20)), tmp_path / "scheduler.json"
    scheduler = apart("dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    assert until(file.exists)
    for _ in range(2):
        apart("dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--no-nanny")
    command = [
        sys.executable,
        "-m",
        "dnmf",
        "fit",
        path,
        "--rank",
        "3",
        "--max-passes",
        str(PASSES),
        "--tol",
        "0",
        "--init",
        "random",
    ]
    command += ["--checkpoint-every", "5", "--json", "--scheduler-file", str(file)]
    command += ["--store", str(tmp_path / "run.zarr")] if keeps else []
    series = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        for line in driver.stdout:
            if json.loads(line)["passes"] < PASSES:  # it may end before it is looked at after the last one
                series.append((held(scheduler.pid), held(driver.pid)))
    assert driver.returncode == 0
    assert len(series) == PASSES - 1
    for growth, bound in zip(grown(series), (SCHEDULER_GROWS, DRIVER_GROWS), strict=True):
        assert growth < bound


def grown(series):
    """Return the growth of each process over the second half of a run, as the median of ten passes at both ends."""
    middle, end = ([sorted(values)[5] for values in zip(*part, strict=True)] for part in (series[95:105], series[-10:]))
    return [after - before for before, after in zip(middle, end, strict=True)]
