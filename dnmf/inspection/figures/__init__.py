"""Pictures of runs and of surveys, for notebooks.

They are figures of matplotlib that know nothing of pyplot: save them, or let a notebook show them.
"""

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
