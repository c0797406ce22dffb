"""The options that commands share: those of a run, and those that say where it works."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dnmf.settings import Settings

HELP = {
    "loss": "frobenius, kullback-leibler, itakura-saito, or a number β.",
    "solver": "auto, sketch, newton, hals, als, mu, cd or minibatch.",
    "init": "auto, sketch, random, nndsvd, nndsvda or nndsvdar.",
    "extrapolate": "Begin passes beyond W; by default where solver is auto or sketch.",
    "forget": "What a batch of minibatch leaves of the sums before it.",
    "shuffle": "Take the components in another order in every pass of hals.",
    "sweeps": "Updates of a block in a pass.",
    "l1_W": "L1 penalty on W.",
    "l2_W": "L2 penalty on W.",
    "l1_H": "L1 penalty on H.",
    "l2_H": "L2 penalty on H.",
    "missing": "nan: NaN is missing; zeros: what a sparse matrix does not store is.",
    "seed": "Of everything random.",
    "n_runs": "Random starts, of which the best is kept.",
    "tol": "Relative optimality at which the run has converged.",
    "max_passes": "Reads of V allowed.",
    "max_seconds": "Seconds allowed.",
    "checkpoint_every": "Passes between two checkpoints.",
    "keep": "Checkpoints kept.",
    "memory_limit": "Memory the process may hold, as 1GB; by default 60 % of what it may use.",
    "threads": "Blocks worked on at once.",
}
TYPES = {
    "seed": int,
    "n_runs": int,
    "max_passes": int,
    "checkpoint_every": int,
    "keep": int,
    "threads": int,
    "sweeps": int,
}
SWITCHES = ("extrapolate", "shuffle")
REALS = ("l1_W", "l2_W", "l1_H", "l2_H", "tol", "max_seconds", "forget")

Command = Callable[..., Any]


def run_options(names: tuple[str, ...]) -> Callable[[Command], Command]:
    """Give a command the options of a run, by their names in `Settings`; those that are not given are not passed."""
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}

    def add(command: Command) -> Command:
        for name in reversed(names):
            kind = TYPES.get(name, float if name in REALS else str)
            shown = "" if defaults[name] is None else f"  [default: {defaults[name]}]"
            flag = "--" + name.replace("_", "-")
            if name in SWITCHES:
                flag, kind = f"{flag}/--no-{flag[2:]}", bool
            command = click.option(flag, name, type=kind, default=None, help=HELP[name] + shown)(command)
        command = click.option("--json", "as_json", is_flag=True, help="One JSON object a pass on stdout.")(command)
        return command

    return add


def name_options(command: Command) -> Command:
    """Give a command the options that name rows and columns."""
    for axis in ("column", "row"):
        text = f"What the {axis}s are called: a text file with a name on every line, or a .json file with a list."
        command = click.option(f"--{axis}-names", help=text)(command)
    return command


CLUSTER = {
    "scheduler": (str, "Work on the cluster of this scheduler: tcp://… or tls://…."),
    "tls_ca_file": (click.Path(path_type=Path), "For tls://: the authority's certificate."),
    "tls_cert": (click.Path(path_type=Path), "For tls://: this machine's certificate."),
    "tls_key": (click.Path(path_type=Path), "For tls://: its key."),
    "scheduler_file": (click.Path(path_type=Path), "Work on the cluster whose scheduler wrote this file."),
    "cluster": (click.Path(path_type=Path), "Start the cluster that this file describes; see cluster_configs/."),
    "workers": (int, "Start so many worker processes on this machine."),
    "threads_per_worker": (int, "Threads of each of them."),
    "worker_memory": (str, "Memory of each of them, as 4GB."),
}


def cluster_options(command: Command) -> Command:
    """Give a command the options that say where it is to work; it gets them as one mapping, `where`."""

    @functools.wraps(command)
    def gathered(**given: Any) -> Any:
        where = {name: given.pop(name) for name in CLUSTER}
        return command(where={name: value for name, value in where.items() if value is not None}, **given)

    for name, (kind, text) in reversed(CLUSTER.items()):
        gathered = click.option("--" + name.replace("_", "-"), name, type=kind, default=None, help=text)(gathered)
    return gathered
