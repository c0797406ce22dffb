"""Figures of runs and surveys for notebooks, drawn with matplotlib and unknown to pyplot."""

from dnmf.inspection.figures.canvas import new_figure
from dnmf.inspection.figures.run import plot_components, plot_history, plot_images
from dnmf.inspection.figures.survey import plot_consensus, plot_silhouettes, plot_survey

__all__ = [
    "new_figure",
    "plot_components",
    "plot_consensus",
    "plot_history",
    "plot_images",
    "plot_silhouettes",
    "plot_survey",
]
