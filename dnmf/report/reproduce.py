"""The section on what to do next: resume the run, repeat it, take its factors."""

import dataclasses
import shlex
from typing import Any

from dnmf.inspection.html import Markup, join, tag
from dnmf.report.convergence import location
from dnmf.report.facts import Account
from dnmf.report.page import Section, command, note
from dnmf.settings import Settings

# What is told otherwise, and settings that do not change what comes out.
ELSEWHERE = ("rank", "memory_limit", "threads", "checkpoint_every", "keep", "fixed")


def going_on(account: Account) -> Section:
    """Say how to resume the run, to repeat it, and to take its factors."""
    where, weights = location(account), weights_of(account)
    parts = [*resuming(account, where), *repeating(account, where, weights)]
    gaps = "; ".join(missing(account, where, weights))
    if gaps:
        parts.append(note(f"To repeat it: {gaps}."))
    if account.store is not None:
        path = str(account.store)
        parts += [
            tag("h3", "Take the factors"),
            command(f"result = dnmf.load({path!r})\nresult.W, result.H, result.top(5)"),
            command(shlex.join(["dnmf", "export", path, "--out", "tables"])),
        ]
    return Section("again", "Resume or repeat", join(parts))


def resuming(account: Account, where: str | None) -> list[Markup]:
    """Return how to go on from the newest checkpoint, if there is one."""
    if account.store is None:
        return []
    path, matrix = str(account.store), [] if where else ["--matrix", "V.zarr"]
    passes = max(2 * account.result.passes, account.result.settings.max_passes)
    return [
        tag("h3", "Go on from the newest checkpoint"),
        command(shlex.join(["dnmf", "resume", path, *matrix, "--max-passes", str(passes)])),
        command(f"result = dnmf.resume({path!r}{'' if where else ', V'}, max_passes={passes})"),
    ]


def repeating(account: Account, where: str | None, weights: str | None) -> list[Markup]:
    """Return how to make the run again."""
    settings = account.result.settings
    known = ["--weights", weights] if weights else []
    words = ["dnmf", "fit", where or "V.zarr", "--rank", str(account.rank), *flags(settings), *known]
    return [
        tag("h3", "Repeat it, to the same bits on the same kind of machine"),
        command(shlex.join([*words, "--store", "again.zarr"])),
        command(python_call(where, account.rank, different(settings), weights)),
    ]


def missing(account: Account, where: str | None, weights: str | None) -> list[str]:
    """Return what the store does not know, and has to be given again."""
    header: Any = {} if account.store is None else account.store.header
    told = {
        "the run began with factors, or columns of W, that were given: give them again": header.get("given"),
        "the matrix was prepared: give it prepared by the same steps": account.result.steps,
        "its weights were given in memory: give them again": header.get("weights") and not weights,
        "the place of the matrix is not known: put it where V stands": not where,
    }
    return [words for words, holds in told.items() if holds]


def weights_of(account: Account) -> str | None:
    """Return where the weights lie, if there are some and that is known."""
    found = None if account.store is None else account.store.header.get("weights")
    return found.get("location") if found else None


def python_call(where: str | None, rank: int, given: dict[str, Any], weights: str | None) -> str:
    """Return the call that repeats a run.

    >>> python_call("V.zarr", 3, {"seed": 1}, None)
    "dnmf.factorize('V.zarr', rank=3, seed=1, store='again.zarr')"
    """
    options = {"rank": rank, **given, **({"weights": weights} if weights else {}), "store": "again.zarr"}
    told = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"dnmf.factorize({'V' if where is None else repr(where)}, {told})"


def different(settings: Settings) -> dict[str, Any]:
    """Return the settings that are not what they are by default, of those that a run is repeated by.

    >>> different(Settings(rank=3, seed=7))
    {'seed': 7}
    """
    usual = {field.name: field.default for field in dataclasses.fields(Settings)}
    options = settings.to_options()
    return {name: options[name] for name in options if name not in ELSEWHERE and options[name] != usual[name]}


def flags(settings: Settings) -> list[str]:
    """Return settings as the command line takes them, but for those that are what they are by default.

    >>> flags(Settings(rank=3, seed=7))
    ['--seed', '7']
    """
    return [word for name, value in different(settings).items() for word in flag(name, value)]


def flag(name: str, value: Any) -> list[str]:
    """Return a setting as the command line takes it.

    >>> flag("l1_W", 0.5), flag("extrapolate", False)
    (['--l1-W', '0.5'], ['--no-extrapolate'])
    """
    words = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{words}" if value else f"--no-{words}"]
    return [f"--{words}", str(value)]
