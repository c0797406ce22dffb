"""The criteria of a survey for each rank, as the rows of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnmf.survey.columns import cophenetic, dispersion
from dnmf.survey.fold_errors import mean_and_error

# The columns that are printed, with their heads.
HEADS = {
    "rank": "rank",
    "relative_error": "error",
    "loss": "loss",
    "held_out": "held out",
    "held_out_se": "± SE",
    "rmse": "RMSE",
    "mae": "MAE",
    "stability": "stability",
    "cophenetic": "cophenetic",
    "dispersion": "dispersion",
    "sparsity_W": "sparsity W",
    "sparsity_H": "sparsity H",
    "passes": "passes",
    "seconds": "seconds",
}


def row_of(survey: Any, index: int, rank: int) -> dict[str, Any]:
    """Return the criteria of a rank, the one with this index; `RankSurvey.table` describes them."""
    models, held = survey.models_of(rank), mean_and_error(survey.held_out)
    best = min(models, key=lambda model: model.loss)
    found = survey.stability(rank)
    C = survey.connectivity(rank) if len(models) > 1 and len(survey.places) > 1 else None
    sparsity = best.sparsity[::-1] if survey._transposed else best.sparsity
    passes, seconds = survey._costs.of(rank) or (None, None)
    return {
        "rank": rank,
        "loss": best.loss,
        "loss_median": float(np.median([model.loss for model in models])),
        "relative_error": known(best.relative_error),
        "relative_error_median": known(float(np.median([model.relative_error for model in models]))),
        "explained": known(1 - best.relative_error**2),
        "held_out": known(held[0][index]),
        "held_out_se": known(held[1][index]),
        **errors_of(survey, index),
        "stability": None if found is None else found.least,
        "stability_mean": None if found is None else found.mean,
        "cophenetic": None if C is None else cophenetic(C),
        "dispersion": None if C is None else dispersion(C),
        "sparsity_W": sparsity[0],
        "sparsity_H": sparsity[1],
        "passes": passes,
        "seconds": seconds,
    }


def errors_of(survey: Any, index: int) -> dict[str, float | None]:
    """Return the errors of the predictions in the units of V, None where every entry counts alike."""
    partly = survey.settings.missing != "none" or survey._header.get("weights") or survey.holdout == "given"
    sizes = {"rmse": survey.rmse, "mae": survey.mae} if partly else {}
    return {name: known(mean_and_error(sizes[name])[0][index]) if partly else None for name in ("rmse", "mae")}


def lines_of(table: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the columns of a table that are known as aligned lines of text, below a line of heads."""
    shown = [name for name in HEADS if any(value is not None for value in table[name])]
    columns = [[HEADS[name], *map(figure, table[name])] for name in shown]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in zip(*columns, strict=True)
    ]


def figure(value: Any) -> str:
    """Format a value of the table.

    >>> figure(0.123456789), figure(3), figure(None)
    ('0.12346', '3', '–')
    """
    return "–" if value is None else str(value) if isinstance(value, int) else f"{value:.5g}"


def known(value: float) -> float | None:
    """Return a number, or None for NaN."""
    return None if np.isnan(value) else float(value)
