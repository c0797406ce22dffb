"""The files for Slurm in cluster_configs/, with a Slurm of one node that is this machine."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from daemons import Daemons, at_times, free_port
from runs import assert_same_bits, matrix, stored, until

import dnmf

CONFIGS = Path(__file__).parents[2] / "cluster_configs"
PLACES = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
MISSING = [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "srun") if not shutil.which(name, path=PLACES)]

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}, of slurm-wlm and munge"),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, as slurmd does"),
]

# More resources are declared than the machine has, so that the jobs of the tests fit; nothing is bound or confined.
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=64 RealMemory=512000
PartitionName=normal Nodes={host} Default=YES MaxTime=INFINITE
"""


@pytest.fixture(scope="module")
def slurm():
    """A Slurm of one node, whose name is that of this machine."""
    with tempfile.TemporaryDirectory(prefix="slurm") as name:  # the path of a socket has to be short
        folder, host = Path(name), socket.gethostname().partition(".")[0]
        conf = folder / "slurm.conf"
        conf.write_text(CONF.format(folder=folder, host=host, controller=free_port(), node=free_port()))
        version = subprocess.run(["slurmd", "-V"], env={"PATH": PLACES}, capture_output=True, text=True).stdout.split()[
            1
        ]
        if version >= "23.11":  # those before it look for cgroups only where they are told to use them
            (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        (folder / "key").write_bytes(secrets.token_bytes(128))
        (folder / "key").chmod(0o400)
        (folder / "state").mkdir()
        path = f"{Path(sys.executable).parent}:{PLACES}"
        with Daemons(folder, SLURM_CONF=str(conf), PATH=path) as daemons:
            where = [f"--{file}-file={folder}/{file}" for file in ("key", "pid", "log", "seed")]
            daemons.start("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *where)
            assert until((folder / "munge.socket").exists, 10), daemons.logs()
            daemons.start("slurmctld", "-D")
            daemons.start("slurmd", "-D")
            assert until(at_times(lambda: nodes(daemons) == "idle"), 20), daemons.logs()
            yield daemons
            daemons.run("scancel", "--user=root")
            assert until(no_job(daemons), 20), daemons.logs()


def nodes(daemons):
    """Return the state of the one node, or nothing while the controller does not answer."""
    command = ["sinfo", "--noheader", "--format=%T"]
    return subprocess.run(command, env=daemons.environment, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("V") / "V.zarr", matrix(24, 400), (24, 20))


def options(passes):
    return ["--rank", "3", "--max-passes", str(passes), "--tol", "0"]


def expected(path, passes):
    return dnmf.factorize(path, 3, max_passes=passes, tol=0, client="threads")


def sbatch(slurm, folder, *arguments, workers=1):
    """Put the batch script in the queue, with tasks that fit; return the number of the job."""
    small = [f"--ntasks={workers}", "--cpus-per-task=1", "--mem-per-cpu=1500M", "--parsable", f"--output={folder}/log"]
    return slurm.run("sbatch", *small, CONFIGS / "slurm_runner.sbatch", *map(str, arguments), cwd=folder).strip()


def job(slurm, number):
    """Return the properties of a job as a dictionary."""
    told = slurm.run("scontrol", "show", "job", number, "--oneliner")
    return dict(fact.split("=", 1) for fact in told.split() if "=" in fact)


def over(slurm, number):
    """Return the condition that a job is over, for good."""
    return at_times(lambda: job(slurm, number)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED"))


def no_job(slurm):
    """Return the condition that there is no job."""
    return at_times(lambda: not slurm.run("squeue", "--noheader"))


def test_workers_are_jobs_for_the_time_of_a_run(slurm, path, tmp_path):
    form = yaml.safe_load((CONFIGS / "slurm.yaml").read_text())
    form["arguments"] |= {"cores": 1, "memory": "1500MiB", "local_directory": str(tmp_path)}
    form["adapt"] = {"minimum_jobs": 2, "maximum_jobs": 2}
    (tmp_path / "slurm.yaml").write_text(yaml.safe_dump(form))
    command = ["dnmf", "fit", path, *options(6), "--store", "fit.zarr", "--cluster", "slurm.yaml"]
    slurm.run(*command, cwd=tmp_path)
    assert_same_bits(dnmf.load(tmp_path / "fit.zarr"), expected(path, 6))
    assert until(no_job(slurm), 20)
    assert list((tmp_path / "dnmf-logs").glob("dask-worker-*.err"))


def test_one_job_can_be_the_whole_cluster(slurm, path, tmp_path):
    number = sbatch(slurm, tmp_path, "fit", path, *options(6), "--store", "fit.zarr", workers=2)
    assert until(over(slurm, number)), slurm.logs()
    assert job(slurm, number)["JobState"] == "COMPLETED", (tmp_path / "log").read_text()
    assert_same_bits(dnmf.load(tmp_path / "fit.zarr"), expected(path, 6))
    assert not list(tmp_path.glob("dnmf-*.json"))


def test_jobs_that_come_again_go_on_where_they_were(slurm, path, tmp_path):
    acts = {
        "requeued by Slurm": ["scontrol", "requeue"],
        "at the end of its time": ["scancel", "--batch", "--signal=USR1"],
    }
    numbers = {}
    for name in acts:  # at the same time, as each waits for Slurm more than it works
        (tmp_path / name).mkdir()
        arguments = ["fit", path, *options(60), "--checkpoint-every", "2", "--store", "fit.zarr"]
        numbers[name] = sbatch(slurm, tmp_path / name, *arguments)

    def commits(name):
        return sorted(path.name for path in (tmp_path / name / "fit.zarr/commits").glob("*.json"))

    def interrupted():  # each as soon as it has begun, long before its end
        for name in [name for name in acts if len(commits(name)) > 1]:
            slurm.run(*acts.pop(name), numbers[name])
        return not acts

    reached = {}

    def put_back():
        for name in [name for name in numbers if name not in reached]:
            if job(slurm, numbers[name])["Restarts"] == "1":
                reached[name] = commits(name)[-1]
        return len(reached) == len(numbers)

    assert until(interrupted), slurm.logs()
    assert until(at_times(put_back)), slurm.logs()
    assert max(reached.values()) < "000060.json"
    for name, number in numbers.items():
        assert until(over(slurm, number), 90), slurm.logs()
        assert job(slurm, number)["JobState"] == "COMPLETED", (tmp_path / name / "log").read_text()
        assert_same_bits(dnmf.load(tmp_path / name / "fit.zarr"), expected(path, 60))


def test_a_job_ends_with_its_run(slurm, tmp_path):
    number = sbatch(slurm, tmp_path, "fit", tmp_path / "none.zarr", *options(6), "--store", "fit.zarr")
    assert until(over(slurm, number)), slurm.logs()
    assert (job(slurm, number)["JobState"], job(slurm, number)["ExitCode"]) == ("FAILED", "2:0")
    assert "none.zarr" in (tmp_path / "log").read_text()


def test_a_job_ends_with_its_workers(slurm, path, tmp_path):
    arguments = ["fit", path, *options(2000), "--checkpoint-every", "2", "--store", "fit.zarr"]
    number = sbatch(slurm, tmp_path, *arguments)
    assert until(at_times(lambda: list((tmp_path / "fit.zarr/commits").glob("*.json")))), slurm.logs()
    slurm.run("scancel", f"{number}.0")
    assert until(over(slurm, number)), (tmp_path / "log").read_text()
    assert job(slurm, number)["JobState"] == "FAILED"


def test_slurm_takes_the_directives(slurm, tmp_path):
    script = CONFIGS / "slurm_runner.sbatch"
    slurm.run("sbatch", "--test-only", script, "fit", cwd=tmp_path)
    odd = tmp_path / "odd.sbatch"
    odd.write_text(script.read_text().replace("--requeue", "--requeu-it"))
    with pytest.raises(AssertionError, match="unrecognized option '--requeu-it'"):
        slurm.run("sbatch", "--test-only", odd, "fit", cwd=tmp_path)
