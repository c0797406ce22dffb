"""The labels of an axis are its ticks."""

import pytest

from dnmf.inspection.numbers import labels
from dnmf.report.svg import round_numbers

UNITS = {"k": 1e3, "M": 1e6, "G": 1e9}


def read(label):
    """Return the number in a label."""
    first, _, power = label.partition("·10")
    power = power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return float(first.rstrip("kMG").replace("−", "-")) * UNITS.get(first[-1], 1) * 10.0 ** int(power or 0)


@pytest.mark.parametrize("low", [2e-6, 0.32476, 3.0, 364243.0, 2.5e9])
@pytest.mark.parametrize("part", [1e-6, 1.2e-5, 1e-4, 1e-3, 0.3])
def test_the_labels_of_an_axis_are_its_ticks(low, part):
    ticks = round_numbers(low, low * (1 + part), 5)
    assert [read(label) for label in labels(ticks)] == pytest.approx(ticks, abs=low * part / 1000, rel=0)
