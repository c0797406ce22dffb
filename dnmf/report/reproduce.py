"""The commands that resume a run, repeat it, and take its factors."""

import dataclasses
import shlex
from typing import Any

from dnmf.kernels.preparation.steps import WEIGHT
from dnmf.report.facts import RunFacts
from dnmf.settings import Settings

# Settings that the commands name by themselves, and those that do not change the factors.
OMITTED = (
    "rank",
    "layers",
    "memory_limit",
    "threads",
    "checkpoint_every",
    "keep_checkpoints",
    "n_fixed_W",
    "n_fixed_H",
)
# The store of a repeated run.
AGAIN = "again.zarr"


def commands(run: RunFacts) -> dict[str, list[str]]:
    """Return the commands and calls by their headings."""
    settings, where, weights = run.settings, run.location, run.weights
    if origin := run.header.get("saved"):
        return consensus_commands(run, origin)
    rank = list(settings.layers) or settings.rank
    repeat = ["dnmf", "fit", where or "V.zarr", *flag("rank", rank), *flags(settings)]
    repeat += ["--weights", weights] if weights else []
    call = python_call(where, rank, changed(settings), weights)
    again = {"Repeat it, to the same bits on the same kind of machine": [shlex.join([*repeat, "--store", AGAIN]), call]}
    if run.store is None:
        return again
    path = str(run.store)
    if "saved" in run.header:
        return again | take_commands(path)
    passes = max(2 * run.result.passes, settings.max_passes)
    resume = ["dnmf", "resume", path, *([] if where else ["--matrix", "V.zarr"]), "--max-passes", str(passes)]
    return {
        "Resume from the newest checkpoint": [
            shlex.join(resume),
            f"result = dnmf.resume({path!r}{'' if where else ', V'}, max_passes={passes})",
        ],
        **again,
        **take_commands(path),
    }


def take_commands(path: str) -> dict[str, list[str]]:
    """Return the commands and calls that take the factors in a store."""
    call = f"result = dnmf.load({path!r})\nresult.W, result.H, result.top(5)"
    return {"Take the factors": [call, shlex.join(["dnmf", "export", path, "--out", "tables"])]}


def consensus_commands(run: RunFacts, origin: dict[str, Any]) -> dict[str, list[str]]:
    """Return the commands and calls that make a consensus again, and take its factors."""
    survey, options = origin["survey"], {name: origin[name] for name in ("density_threshold", "neighbours")}
    given = "" if run.location else ", V"
    known = "survey" if survey is None else f"dnmf.load_survey({survey!r})"
    arguments = "".join(f", {name}={value:g}" for name, value in options.items())
    again = [f"{known}.consensus({run.rank}{given}{arguments}).save({AGAIN!r})"]
    if survey is not None:
        words = ["dnmf", "consensus", survey, "--rank", str(run.rank), "--store", AGAIN]
        words += [word for name, value in options.items() for word in flag(name, f"{value:g}")]
        again.insert(0, shlex.join([*words, *([] if run.location else ["--matrix", "V.zarr"])]))
    return {"Make the consensus again": again, **take_commands(str(run.store))}


def missing(run: RunFacts) -> list[str]:
    """Return what has to be given again to repeat a run, since the store does not hold it."""
    coupled = run.header.get("coupled", {})
    gaps = {
        "the run began with given factors, or given columns of W; give them again": run.header.get("given"),
        "the matrix was prepared; give it prepared by the same steps": [
            step for step in run.result.steps if step.name != WEIGHT
        ],
        "the weights were given in memory; give them again": run.header.get("weights") and not run.weights,
        f"the objective has other data; give them again: {', '.join(coupled)}": coupled,
        "the location of the matrix is not known; put it in place of V": not run.location,
    }
    return [text for text, holds in gaps.items() if holds]


def python_call(where: str | None, rank: int | list[int], given: dict[str, Any], weights: str | None) -> str:
    """Return the call that repeats a run.

    >>> python_call("V.zarr", 3, {"seed": 1}, None)
    "dnmf.factorize('V.zarr', rank=3, seed=1, store='again.zarr')"
    """
    options = {"rank": rank, **given, **({"weights": weights} if weights else {}), "store": AGAIN}
    arguments = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"dnmf.factorize({'V' if where is None else repr(where)}, {arguments})"


def changed(settings: Settings) -> dict[str, Any]:
    """Return the settings that differ from their defaults and change the factors.

    >>> changed(Settings(rank=3, seed=7))
    {'seed': 7}
    """
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    options = settings.to_options()
    return {name: options[name] for name in options if name not in OMITTED and options[name] != defaults[name]}


def flags(settings: Settings) -> list[str]:
    """Return the settings that differ from their defaults as flags of the command line.

    >>> flags(Settings(rank=3, seed=7))
    ['--seed', '7']
    """
    return [word for name, value in changed(settings).items() for word in flag(name, value)]


def flag(name: str, value: Any) -> list[str]:
    """Return a setting as a flag of the command line.

    >>> flag("l1_W", 0.5), flag("l1_H", [0.5, 1.0]), flag("extrapolate", False)
    (['--l1-W', '0.5'], ['--l1-H', '0.5,1.0'], ['--no-extrapolate'])
    """
    words = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{words}" if value else f"--no-{words}"]
    if isinstance(value, list):
        return [f"--{words}", ",".join(map(str, value))]
    return [f"--{words}", str(value)]
