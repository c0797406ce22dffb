"""Checks of the header and the pieces of a survey, which may come from anywhere."""

import itertools
from collections.abc import Mapping
from typing import Any

from dnmf.checkpoint.header import SURVEY, SURVEY_FIELDS, absent, attributes_of, checked_header, fault_in, is_count
from dnmf.settings import MOST_RUNS
from dnmf.storage.location import Location
from dnmf.survey.columns import MOST_COLUMNS

# The arrays of a piece by the first word of its name, with their numbers of axes.
ARRAYS: dict[str, dict[str, int]] = {
    "sketch": {"left": 2, "sample": 2, "norms": 1, "beyond": 0},
    "fit": {"W": 2, "loss": 0},
    "model": {"W": 2, "loss": 0, "relative_error": 0, "optimality": 0, "labels": 1, "sparsity": 1},
    "held": {"error": 0},
    "finished": {"seed": 0},
    "weights": {"errors": 2, "passes": 0},
}
# Arrays that a piece may lack, since an earlier dnmf did not make them.
OPTIONAL: dict[str, dict[str, int]] = {"held": {"rmse": 0, "mae": 0}, "sketch": {"weights": 1, "even": 1}}
SCHEMES = ("bicross", "speckled", "given")


def read_survey_header(place: Location) -> dict[str, Any]:
    """Return the header of the store of a survey, checked.

    Raises
    ------
    StoreError
        If there is no survey, if a newer version of dnmf wrote it, or if the header is not valid.
    """
    header = attributes_of(place, SURVEY)
    if header is None:
        raise absent(place, "a survey", "give the store of a survey, as made by `dnmf rank --store`")
    return checked_header(place, header, "survey", _fault_of)


def _fault_of(header: Mapping[str, Any]) -> str | None:
    """Return the fault in the header of a survey, or None."""
    fault = fault_in(header, SURVEY_FIELDS)
    if fault:
        return fault
    ranks, most = header["ranks"], min(header["fingerprint"]["shape"])
    if not isinstance(ranks, list) or not ranks or not all(is_count(rank, most + 1) for rank in ranks):
        return f"ranks is {str(ranks)[:60]}"
    if any(after <= before for before, after in itertools.pairwise(ranks)) or ranks[-1] != header["settings"]["rank"]:
        return f"ranks is {str(ranks)[:60]}"
    given = header["holdout"] == "given"
    sound = {
        "n_runs": is_count(header["n_runs"], MOST_RUNS + 1),
        "cv": header["cv"] == 0 or (is_count(header["cv"], MOST_RUNS + 1) and header["cv"] > (0 if given else 1)),
        "sample": is_count(header["sample"], MOST_COLUMNS + 1),
        "holdout": header["holdout"] in SCHEMES and (isinstance(header.get("held"), str) or not given),
    }
    wrong = [name for name, good in sound.items() if not good]
    return f"{wrong[0]} is {str(header[wrong[0]])[:60]!r}" if wrong else None


def fault_of_piece(name: str, piece: Mapping[str, Any]) -> str | None:
    """Return the fault of a piece with this name, or None.

    >>> import numpy as np
    >>> fault_of_piece("held-3-0", {"error": np.float64(0.5)}), fault_of_piece("held-3-0", {"errpr": np.float64(0.5)})
    (None, 'no numbers called error')
    """
    kind, *numbers = name.split("-")
    optional = {array: axes for array, axes in OPTIONAL.get(kind, {}).items() if array in piece}
    for array, axes in (ARRAYS[kind] | optional).items():
        found = piece.get(array)
        if found is None or found.dtype.kind not in "iuf" or found.ndim != axes:
            return f"no numbers called {array}"
    if "W" in piece and piece["W"].shape[1] != int(numbers[0]):
        return f"W with {piece['W'].shape[1]} columns"
    if "sparsity" in piece and piece["sparsity"].shape != (2,):
        return f"sparsity of shape {piece['sparsity'].shape}"
    return None
