"""The description of a run in a few lines, from its store."""

from collections.abc import Mapping
from typing import Any

from dnmf.checkpoint.commit import Commit
from dnmf.sources.collection import shown_location
from dnmf.sources.unfolding import Unfolding


def describe_run(header: Mapping[str, Any], commit: Commit | None) -> dict[str, str]:
    """Describe a run in a few lines, from its header and its newest commit.

    >>> describe_run({"fingerprint": {"shape": [3, 4]}, "location": None, "settings": {"rank": 2, "loss": "frobenius",
    ...     "solver": "auto"}}, None)["matrix"]
    '3 × 4, given in memory'
    """
    settings, shape = header["settings"], header["fingerprint"]["shape"]
    rows = {
        "matrix": f"{shape[0]} × {shape[1]}, {shown_location(header['location']) or 'given in memory'}",
        "rank": ", ".join(map(str, settings.get("layers") or [settings["rank"]])),
        "loss, solver": f"{settings['loss']}, {settings['solver']}",
    }
    if "seed" in settings:
        rows["seed"] = str(settings["seed"])
    if header.get("unfolded"):
        rows["array"] = str(Unfolding.from_json(header["unfolded"], shape))
    if header.get("prepared"):
        rows["prepared by"] = ", ".join(step["name"] for step in header["prepared"])
    if commit is None:
        return {**rows, "state": "no checkpoint yet; dnmf resume starts the run again"}
    last = commit.history[-1] if commit.history else {}
    rows["passes"] = str(commit.passes)
    figures = {"loss": "loss", "error": "relative_error", "optimality": "optimality", "seconds": "seconds"}
    rows |= {label: f"{last[name]:.6g}" for label, name in figures.items() if last.get(name) is not None}
    rows["state"] = commit.verdict["sentence"] if commit.verdict else "not finished; dnmf resume continues it"
    return rows
