"""The files of cluster_configs/: each is run, or validated against the schema of its system."""

import functools
import inspect
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import check_jsonschema
import dask
import dask_kubernetes.operator
import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from daemons import MARK, Daemons, at_times, free_port
from distributed import Client, LocalCluster, Worker
from runs import assert_same_bits, matrix, stored, until

import dnmf
from dnmf.cli.app import main
from dnmf.engine.cluster import launch
from dnmf.errors import ClusterError, MissingExtraError, SettingsError

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "cluster_configs"
FILES = {path.name: yaml.safe_load(path.read_text()) for path in CONFIGS.glob("*.yaml")}
FORMS = {name: form for name, form in FILES.items() if "cluster" in form}
QUEUES = {
    "slurm.yaml": ["#SBATCH -n 1", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=32G", "#SBATCH -t 04:00:00"],
    "pbs.yaml": ["#PBS -q workq", "#PBS -l select=1:ncpus=8:mem=32GB", "#PBS -l walltime=04:00:00"],
    "sge.yaml": ["#$ -q all.q", "#$ -pe smp 8", "#$ -l mem_free=4G", "#$ -l h_rt=04:00:00"],
    "lsf.yaml": ["#BSUB -n 8", '#BSUB -R "span[hosts=1]"', "#BSUB -M 34360", "#BSUB -W 04:00"],
}
PACKAGES = {**dict.fromkeys(QUEUES, "dask_jobqueue"), "ssh.yaml": "asyncssh", "aws.yaml": "dask_cloudprovider"}
PACKAGES["kubernetes_cluster.yaml"] = "dask_kubernetes"
SMALL = {"cores": 1, "memory": "1GiB"}
OPTIONS = ["--rank", "3", "--max-passes", "6", "--tol", "0"]

# A queue that runs every script at once, given as a file or on stdin.
SUBMIT = """#!/bin/sh
script=$(cat "${1:-/dev/stdin}")
setsid bash -c "$script" </dev/null >/dev/null 2>&1 &
echo "Job <$!> is submitted"
"""
CANCEL = """#!/bin/sh
kill -- "-$1"
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("V") / "V.zarr", matrix(24, 400), (24, 20))


@pytest.fixture(scope="module")
def expected(path):
    return dnmf.factorize(path, 3, max_passes=6, tol=0, client="threads")


@pytest.fixture
def daemons(tmp_path):
    """Processes that find the commands of this environment, and of a test's folder before them."""
    paths = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    with Daemons(tmp_path, PATH=paths, DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="60s") as made:
        yield made


@pytest.fixture
def lacking(monkeypatch):
    """Make a package appear not installed."""

    def lack(package, *users):
        for name in list(sys.modules):
            if name.partition(".")[0] in (package, *users):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Lack(package), *sys.meta_path])

    return lack


class Lack:
    """Blocks the import of a package."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def queue(folder, submit, cancel):
    """Put the two commands of a queue into a folder."""
    for command, script in (submit, SUBMIT), (cancel, CANCEL):
        (folder / command).write_text(script)
        (folder / command).chmod(0o755)


def fit(daemons, path, file, folder):
    """Run `dnmf fit` with a file, and return the result in its store."""
    daemons.run("dnmf", "fit", path, *OPTIONS, "--store", "fit.zarr", "--cluster", file, cwd=folder)
    return dnmf.load(folder / "fit.zarr")


def test_local_workers_give_the_same_bits(daemons, path, expected, tmp_path):
    assert_same_bits(fit(daemons, path, CONFIGS / "local.yaml", tmp_path), expected)


@pytest.mark.parametrize("name", QUEUES)
def test_the_job_script_of_a_queue(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, arguments = launch._maker(FORMS[name])
    with make(**arguments) as cluster:
        lines = cluster.job_script().splitlines()
        inspect.signature(cluster.adapt).bind(**FORMS[name]["adapt"])
    assert set(QUEUES[name]) <= set(lines)
    assert re.search(r"dask_worker tcp://.* --nthreads 8 --memory-limit 32.00GiB .* --lifetime 225m", lines[-1])
    assert (tmp_path / "dnmf-logs").is_dir()


@pytest.mark.skipif(not shutil.which("setsid"), reason="needs setsid, of util-linux")
@pytest.mark.parametrize("name", [name for name in QUEUES if name != "slurm.yaml"])  # which has tests of its own
def test_workers_that_are_jobs_give_the_same_bits(name, daemons, path, expected, tmp_path):
    queue(tmp_path, *(("bsub", "bkill") if name == "lsf.yaml" else ("qsub", "qdel")))
    form = {**FORMS[name], "adapt": {"minimum_jobs": 2, "maximum_jobs": 2}}
    form["arguments"] = {**form["arguments"], **SMALL, "local_directory": str(tmp_path)}
    form["arguments"] |= {"job_script_prologue": ["export TOKEN=a-secret-of-mine"]}
    if name == "pbs.yaml":
        form["arguments"] |= {"security": True, "shared_temp_directory": str(tmp_path)}
    (tmp_path / name).write_text(yaml.safe_dump(form))
    assert_same_bits(fit(daemons, path, name, tmp_path), expected)
    written = [file.read_bytes() for file in (tmp_path / "fit.zarr").rglob("*") if file.is_file()]
    assert not any(b"a-secret-of-mine" in content for content in written)
    assert until(at_times(lambda: not daemons.left()), 20)


@pytest.mark.skipif(not shutil.which("setsid"), reason="needs setsid, of util-linux")
def test_a_job_that_ends_is_replaced(daemons, tmp_path, monkeypatch):
    for name in "PATH", MARK:
        monkeypatch.setenv(name, daemons.environment[name])
    queue(tmp_path, "qsub", "qdel")
    form = {**FORMS["pbs.yaml"], "adapt": {"minimum_jobs": 1, "maximum_jobs": 1}}
    form["arguments"] = {**SMALL, "scheduler_options": {"dashboard_address": ":0"}}
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "100ms"}),
        launch.made(form) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(1, timeout=60)
        (first,) = client.nthreads()
        os.kill(client.run(os.getppid)[first], signal.SIGKILL)  # the nanny, which is the job
        assert until(at_times(lambda: set(client.nthreads()) - {first}))


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_is_missing_is_named_with_its_extra(name, lacking, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package = PACKAGES[name]
    lacking(package)
    extra = launch.EXTRAS[package]
    ended = CliRunner().invoke(main, ["fit", "V.zarr", "--rank", "3", "--cluster", str(CONFIGS / name)])
    assert ended.exit_code == 2
    told = f"needs the package {package.replace('_', '-')}; install it with: pip install 'dnmf[{extra}]'"
    assert told in " ".join(ended.output.split())
    assert extra in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize(
    ("name", "package", "part"),
    [("aws.yaml", "dask_cloudprovider", "aiobotocore"), ("kubernetes_cluster.yaml", "dask_kubernetes", "kr8s")],
)
def test_a_package_that_lacks_a_part_is_named_with_its_extra(name, package, part, lacking):
    lacking(part, package)
    with (
        pytest.raises(MissingExtraError, match=rf"needs the package {package.replace('_', '-')}; .*dnmf\["),
        launch.from_file(CONFIGS / name),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"adapt": {"minimun": 1}}, SettingsError, "adapt='minimun' is not known.*Did you mean 'minimum'"),
        (
            {"cluster": "distributed.SSHCluster", "arguments": {"hosts": ["one", "two"], "host": "one"}},
            SettingsError,
            r"does not take these arguments \(.*'host'",
        ),
        ({"workers": True}, SettingsError, "workers=True is not allowed; give a number"),
        ({"cluster": "dask_jobqueue.SlurmCluster"}, SettingsError, "cannot be imported .*give a class such as"),
        ({"cluster": "dask_jobqueue.slurn.SLURMCluster"}, SettingsError, "cannot be imported .*give a class such as"),
        ({"cluster": "dask_jobqueue.SLURMCluster", "arguments": {**SMALL, "qeue": "q"}}, ClusterError, "qeue"),
    ],
    ids=lambda given: str(given) if isinstance(given, dict) else "",
)
@pytest.mark.filterwarnings("ignore:Exception ignored in. <function Cluster.__del__")  # of one that was half made
def test_a_mistake_in_a_file_ends_in_a_sentence(change, error, sentence, tmp_path):
    local = {"cluster": "distributed.LocalCluster", "arguments": {"n_workers": 0, "dashboard_address": ":0"}}
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump({**local, **change}))
    with pytest.raises(error, match=sentence), launch.from_file(tmp_path / "odd.yaml"):
        pass


@pytest.mark.parametrize("name", FORMS)
def test_the_arguments_are_those_of_the_class(name):
    make, arguments = launch._maker(FORMS[name])
    taken = names(make)
    assert set(arguments) <= taken, sorted(set(arguments) - taken)
    assert set(FORMS[name]) <= set(launch.KEYS)
    assert ("workers" in FORMS[name]) + ("adapt" in FORMS[name]) == (name != "ssh.yaml")


def names(make):
    """Return the keyword arguments of a class, including those that it passes on to others."""
    if not inspect.isclass(make):
        return set(inspect.signature(make).parameters)
    handed = (getattr(make, "job_cls", object), Worker if make is LocalCluster else object)
    makers = [cls.__init__ for of in (make, *handed) for cls in of.__mro__]
    return {name for maker in makers for name in inspect.signature(maker).parameters} - {"self", "args", "kwargs"}


def test_the_kubernetes_form_makes_the_cluster_of_the_other_file():
    spec = FORMS["kubernetes_cluster.yaml"]["arguments"]["custom_cluster_spec"]
    assert yaml.safe_load((ROOT / spec).read_text())["kind"] == "DaskCluster"


# The fields of every Kubernetes object, which the definitions of the operator do not repeat.
OBJECT = {
    "apiVersion": {"const": "kubernetes.dask.org/v1"},
    "metadata": {"properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False},
}


@functools.cache
def definitions():
    """Return the schema of each kind of object that the Dask operator knows; unknown names are errors."""
    kinds = {}
    for file in (Path(dask_kubernetes.operator.__file__).parent / "deployment").rglob("crds/*.yaml"):
        for definition in yaml.safe_load_all(file.read_text()):
            (version,) = definition["spec"]["versions"]
            schema, kind = version["schema"]["openAPIV3Schema"], definition["spec"]["names"]["kind"]
            schema["properties"] |= {**OBJECT, "kind": {"const": kind}}
            kinds[kind] = strict(schema)
    return kinds


def strict(schema):
    """Forbid unknown names in a schema at every depth, except where it allows any."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(part) for name, part in schema.items()}
    if isinstance(made.get("properties"), dict) and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


@pytest.mark.parametrize("name", ["kubernetes.yaml", "kubernetes_job.yaml"])
def test_the_operator_takes_the_kubernetes_objects(name):
    manifest = FILES[name]
    schema = definitions()[manifest["kind"]]
    jsonschema.validate(manifest, schema)
    for written, typo in ("replicas", "replica"), ("mountPath", "mountpath"), ("targetPort", "targetport"):
        odd = json.loads(json.dumps(manifest).replace(f'"{written}"', f'"{typo}"'))
        errors = jsonschema.Draft202012Validator(schema).iter_errors(odd)
        assert any(f"'{typo}' was unexpected" in error.message for error in errors)


@pytest.mark.parametrize("name", ["kubernetes.yaml", "kubernetes_job.yaml"])
def test_the_kubernetes_service_finds_its_scheduler(name):
    manifest, ports = FILES[name], {}
    spec = manifest["spec"]["cluster"]["spec"] if name == "kubernetes_job.yaml" else manifest["spec"]
    for port in container(spec["scheduler"])["ports"]:
        ports[port["name"]] = port["containerPort"]
    service = spec["scheduler"]["service"]
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == ports
    assert service["selector"]["dask.org/cluster-name"] == manifest["metadata"]["name"]
    for part in spec["worker"], *([manifest["spec"]["job"]] if name == "kubernetes_job.yaml" else []):
        mounted = {mount["name"] for mount in container(part)["volumeMounts"]}
        assert mounted == {volume["name"] for volume in part["spec"]["volumes"]}


def container(part):
    (only,) = part["spec"]["containers"]
    return only


def test_the_commands_of_the_kubernetes_job_give_the_same_bits(daemons, path, expected, tmp_path):
    spec, port = FILES["kubernetes_job.yaml"]["spec"], free_port()
    address = f"tcp://127.0.0.1:{port}"
    daemons.environment |= {"DASK_SCHEDULER_ADDRESS": address, "DASK_WORKER_NAME": "dnmf-worker-1"}
    parts = {"$(DASK_WORKER_NAME)": "dnmf-worker-1", ":8788": ":0"}
    scheduler = container(spec["cluster"]["spec"]["scheduler"])["args"]
    daemons.start(*scheduler, "--port", str(port), "--dashboard-address", ":0", "--host", "127.0.0.1")
    daemons.start(*[parts.get(word, word) for word in container(spec["cluster"]["spec"]["worker"])["args"]])
    job = container(spec["job"])
    given = {variable["name"]: variable["value"] for variable in job["env"]}
    daemons.environment |= {**given, "MATRIX": path, "STORE": f"{tmp_path}/fit.zarr", "RANK": "3"}
    daemons.environment |= {"OPTIONS": "--max-passes 6 --tol 0"}
    assert set(re.findall(r"\$([A-Z_]+)", job["args"][0])) == {*given, "DASK_SCHEDULER_ADDRESS"}
    for _ in "fit", "resume":
        daemons.run(*job["command"], *job["args"])
        assert_same_bits(dnmf.load(tmp_path / "fit.zarr"), expected)


def test_docker_compose_takes_the_file():
    place = Path(check_jsonschema.__file__).parent / "builtin_schemas/vendor/compose-spec.json"
    schema = json.loads(place.read_text())
    jsonschema.validate(FILES["docker-compose.yaml"], schema)
    for written, typo in ("depends_on", "depend_on"), ("replicas", "replica"), ("dockerfile", "docker_file"):
        odd = json.loads(json.dumps(FILES["docker-compose.yaml"]).replace(f'"{written}"', f'"{typo}"'))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(odd, schema)


def test_the_compose_file_opens_ports_to_this_machine_alone():
    services = FILES["docker-compose.yaml"]["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    for service in services.values():
        assert (CONFIGS / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert set(service.get("depends_on", [])) <= set(services)


def test_the_commands_of_the_compose_file_give_the_same_bits(daemons, path, expected, tmp_path):
    services, port = FILES["docker-compose.yaml"]["services"], free_port()
    shutil.copytree(path, tmp_path / "V.zarr")
    places = {"scheduler:8786": f"127.0.0.1:{port}", "8786": str(port), ":8787": ":0", "/data/": f"{tmp_path}/"}

    def command(name):
        return [
            re.sub("scheduler:8786|^8786|:8787|/data/", lambda m: places[m[0]], w) for w in services[name]["command"]
        ]

    daemons.start(*command("scheduler"), "--host", "127.0.0.1")
    for _ in range(services["worker"]["deploy"]["replicas"]):
        daemons.start(*command("worker"))
    daemons.run(*command("fit"), *OPTIONS)
    assert_same_bits(dnmf.load(tmp_path / "fit.zarr"), expected)


def test_the_dockerfile_copies_and_starts_what_there_is():
    lines = [line for line in (CONFIGS / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    words = [line.split() for line in lines]
    assert {line[0] for line in words} <= {"FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "CMD"}
    assert lines[0].startswith("FROM python:3.12-slim")
    copied = {source for line in words if line[0] == "COPY" for source in line[1:-1]}
    assert all((ROOT / source).exists() for source in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"}
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert needed | {pattern.split("/")[1] for pattern in wheel["include"]} == copied
    (extra,) = re.findall(r"/src\[(.*?)\]", "\n".join(lines))
    assert extra in project["project"]["optional-dependencies"]
    (start,) = [json.loads(line.removeprefix("CMD")) for line in lines if line.startswith("CMD")]
    assert (Path(sys.executable).parent / start[0]).exists()


README = (CONFIGS / "README.md").read_text()


def test_every_file_has_its_commands_in_the_readme():
    told = set(re.findall(r"[\w-]+\.(?:yaml|sbatch)|Dockerfile", README))
    assert {path.name for path in CONFIGS.iterdir()} - {"README.md"} <= told
    assert all((CONFIGS / name).exists() for name in re.findall(r"cluster_configs/([\w.-]+)", README))


def test_the_commands_of_the_readme_are_commands_of_dnmf():
    lines = [line for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("dnmf ")]
    assert len(commands) >= 8
    for name, *given in commands:
        main.commands[name].make_context(name, given)


def test_the_command_prints_every_file():
    listed = re.findall(r"^([\w-]+)  +(\w.+)$", CliRunner().invoke(main, ["cluster-config"]).stdout, re.MULTILINE)
    assert {name for name, _ in listed} == {path.stem for path in CONFIGS.iterdir()}
    assert all(len(purpose.split()) > 1 for _, purpose in listed)
    for path in CONFIGS.iterdir():
        assert CliRunner().invoke(main, ["cluster-config", path.name]).stdout == path.read_text()
        assert CliRunner().invoke(main, ["cluster-config", path.stem]).stdout == path.read_text()


def test_the_command_writes_a_new_file_and_refuses_unknown_names(tmp_path):
    copy = tmp_path / "ssh.yaml"
    assert CliRunner().invoke(main, ["cluster-config", "ssh", "-o", str(copy)]).exit_code == 0
    assert copy.read_bytes() == (CONFIGS / "ssh.yaml").read_bytes()
    again = CliRunner().invoke(main, ["cluster-config", "local", "-o", str(copy)])
    assert (again.exit_code, copy.read_bytes()) == (2, (CONFIGS / "ssh.yaml").read_bytes())
    assert "ssh.yaml already exists" in again.stderr
    assert "Did you mean 'slurm'?" in CliRunner().invoke(main, ["cluster-config", "slum"]).stderr


def test_bash_can_read_the_scripts():
    for script in CONFIGS / "slurm_runner.sbatch", ROOT / ".ci/run":
        subprocess.run(["bash", "-n", script], check=True)
