"""Figures: they show the given numbers, and are unknown to pyplot."""

import pickle
import sys

import numpy as np
import pytest

from dnmf.errors import DataError, MissingExtraError
from dnmf.inspection.figures import new_figure, plot_consensus, plot_images, plot_silhouettes, plot_survey

TABLE = {
    "rank": [4, 2, 3],
    "held_out": [0.2, 0.5, 0.3],
    "held_out_se": [0.01, None, 0.02],
    "relative_error": [0.1, 0.4, 0.2],
    "stability": [0.5, 1.0, float("nan")],
}


def curves(axes):
    """Return the curves of a panel by their words, without the mark of the suggested rank."""
    bars = {bar.get_label(): bar.lines[0] for bar in axes.containers}
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith(("_", "suggested"))}
    return {name: line.get_xydata().tolist() for name, line in (lines | bars).items()}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_a_survey_has_its_curves_in_four_panels_sorted_by_rank():
    held_out, fit, stable, columns = plot_survey(TABLE, suggested=3).axes
    assert curves(held_out) == {"mean ± one standard error": [[2, 0.5], [3, 0.3], [4, 0.2]]}
    assert curves(fit) == {"best run": [[2, 0.4], [3, 0.2], [4, 0.1]]}
    assert curves(stable) == {"worst cluster": [[2, 1.0], [4, 0.5]]}
    assert (curves(columns), texts(columns)) == ({}, ["not measured"])
    assert "suggested rank 3" in held_out.get_legend_handles_labels()[1]


def test_a_survey_is_drawn_into_axes_that_are_given():
    figure = new_figure(8, 6)
    axes = figure.subplots(1, 4)
    assert plot_survey(TABLE, axes) is figure
    with pytest.raises(DataError, match="a survey has 4 panels"):
        plot_survey(TABLE, axes[:2])


@pytest.mark.parametrize("table", [{}, {"rank": []}, {"rank": [2, 3], "held_out": [0.1]}])
def test_an_incomplete_table_is_refused(table):
    with pytest.raises(DataError, match="rank"):
        plot_survey(table)


def test_a_consensus_is_drawn_in_the_order_given():
    C = np.array([[1.0, 0.1, 0.9], [0.1, 1.0, 0.2], [0.9, 0.2, 1.0]])
    drawn = plot_consensus(C, [0, 2, 1]).axes[0].images[0].get_array()
    np.testing.assert_array_equal(drawn, C[[0, 2, 1]][:, [0, 2, 1]])
    with pytest.raises(DataError, match="square"):
        plot_consensus(C[:2])


def test_silhouettes_are_drawn_cluster_by_cluster_without_dropped_components():
    axes = plot_silhouettes([[0.9, -0.2], [0.4, np.nan]], [[0, 1], [0, -1]]).axes[0]
    assert sorted(bar.get_width() for bar in axes.patches) == [-0.2, 0.4, 0.9]
    assert axes.get_xlim()[0] < -0.2
    with pytest.raises(DataError, match="one label for each"):
        plot_silhouettes([0.1], [0, 1])


def test_a_notebook_shows_a_figure_that_pyplot_does_not_know():
    figure = plot_survey(TABLE)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert pickle.loads(pickle.dumps(figure))._repr_png_().startswith(b"\x89PNG")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_a_missing_matplotlib_is_reported_with_the_command_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dnmf\[plot\]'"):
        plot_survey(TABLE)


@pytest.mark.parametrize("scale", [1e-300, 1e-35, 1.0, 1e35])
def test_images_of_any_scale_are_as_bright(scale):
    image = scale * np.linspace(0, 1, 12).reshape(2, 2, 3)
    shown = plot_images([image]).axes[0].images[0].get_array()
    np.testing.assert_allclose(np.asarray(shown), np.linspace(0, 1, 12).reshape(2, 2, 3), rtol=1e-12)
