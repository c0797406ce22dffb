"""What a store says of its run, in a few lines for people."""

from collections.abc import Mapping
from typing import Any

from dnmf.checkpoint.commit import Commit


def told(header: Mapping[str, Any], commit: Commit | None) -> dict[str, str]:
    """Return what there is to know of a run from its header and its newest commit.

    >>> told({"fingerprint": {"shape": [3, 4]}, "location": None, "settings": {"rank": 2, "loss": "frobenius",
    ...     "solver": "auto"}}, None)["matrix"]
    '3 × 4, given in memory'
    """
    settings, shape = header["settings"], header["fingerprint"]["shape"]
    rows = {
        "matrix": f"{shape[0]} × {shape[1]}, {header['location'] or 'given in memory'}",
        "rank": str(settings["rank"]),
        "loss, solver": f"{settings['loss']}, {settings['solver']}",
    }
    if header.get("prepared"):
        rows["prepared by"] = ", ".join(step["name"] for step in header["prepared"])
    if commit is None:
        return {**rows, "state": "no checkpoint yet; dnmf resume starts the run again"}
    last = commit.history[-1] if commit.history else {}
    rows["passes"] = str(commit.passes)
    rows |= {name.replace("_", " "): f"{last[name]:.6g}" for name in ("loss", "optimality", "seconds") if name in last}
    rows["state"] = commit.verdict["sentence"] if commit.verdict else "not finished; dnmf resume goes on"
    return rows
