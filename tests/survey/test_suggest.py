"""The suggested rank, and the sentences that explain it."""

import math

import numpy as np
import pytest
import scipy.stats

from dnmf.errors import DataError
from dnmf.survey.suggest import suggest

RANKS = [2, 3, 4, 5]
STABLE = [1.0, 0.98, 0.95, 0.3]


def test_the_smallest_rank_within_one_standard_error_is_named():
    found = suggest(RANKS, [9, 4.1, 4, 4.2], [0.5, 0.5, 0.2, 0.5])
    assert (found.rank, found.agree) == (3, True)
    assert found.reason == (
        "Rank 3 is the smallest whose held-out error, 4.1, is within one standard error (0.5) of the least, "
        "4 at rank 4. The held-out error has an elbow at rank 3: it falls by 54% to it, and by less than 5% at every "
        "larger rank."
    )
    assert suggest(RANKS, [9, 4.1, 4, 4.2], [0.05] * 4).rank == 4


def test_a_single_fold_that_is_hard_to_predict_moves_no_rank():
    folds = np.array([[700, 700, 700, 700, 700], [61, 200, 60, 61, 61], [63, 110, 61, 62, 63], [65, 100, 62, 62, 62]])
    spread = folds.std(axis=1, ddof=1) / np.sqrt(5)
    assert suggest(RANKS, folds.mean(axis=1), spread).rank == 3


def test_folds_that_are_hard_at_every_rank_hide_no_difference_between_ranks():
    hard = np.array([1.0, 3.0, 9.0, 2.0])
    folds = np.array([9 * hard, 1.2 * hard + 0.1, hard, 1.001 * hard])
    means, spreads = folds.mean(axis=1), scipy.stats.sem(folds, axis=1)
    assert suggest(RANKS, means, spreads).rank == 3
    found = suggest(RANKS, folds)
    assert found.rank == 4
    assert means[1] - means[2] > scipy.stats.sem(folds[1] - folds[2])


def test_a_rank_within_one_standard_error_of_the_difference_is_named():
    folds = np.array([[9.0, 9.1, 9.2], [1.0, 1.3, 0.9], [0.9, 1.0, 1.1], [2.0, 2.1, 2.2]])
    found = suggest(RANKS, folds)
    error = scipy.stats.sem(folds[1] - folds[2])
    assert 0.02 < folds[1].mean() - folds[2].mean() < error
    assert found.rank == 3
    assert f"is within one standard error of the difference ({error:.2g}) of the least, 1 at rank 4" in found.reason
    assert suggest(RANKS[::-1], folds[::-1]) == found


def test_a_single_fold_has_no_standard_error():
    found = suggest(RANKS, np.array([[9], [4.1], [4], [4.2]]))
    assert found.rank == 4
    assert "no standard error is known" in found.reason


def test_the_ranks_may_come_in_any_order():
    assert suggest([5, 3, 2, 4], [4.2, 4.1, 9, 4], [0.5, 0.5, 0.5, 0.2]) == suggest(
        RANKS, [9, 4.1, 4, 4.2], [0.5, 0.5, 0.2, 0.5]
    )


def test_errors_within_two_percent_are_equal_and_an_elbow_is_a_criterion():
    found = suggest([1, 2, 3, 4, 5, 6], [200, 92, 4.6, 4.57, 4.56, 4.54], [0.001] * 6)
    assert (found.rank, found.agree) == (3, True)
    assert "is within 2% (0.091) of the least, 4.54 at rank 6" in found.reason
    assert "an elbow at rank 3: it falls by 95% to it" in found.reason
    gradual = suggest([1, 2, 3, 4, 5, 6], [10, 9, 8.2, 7.5, 6.9, 6.4], [0.001] * 6)
    assert "elbow" not in gradual.reason


def test_a_small_or_a_high_fall_of_the_cophenetic_correlation_is_none():
    assert suggest(RANKS, [9, 4.1, 4, 4.2], cophenetic=[0.998, 0.981, 0.995, 0.97]).rank == 4
    assert "cophenetic" not in suggest(RANKS, [9, 4.1, 4, 4.2], cophenetic=[0.998, 0.981, 0.995, 0.97]).reason


def test_without_a_standard_error_the_least_error_is_named():
    for spread in (None, [math.nan] * 4, [None] * 4):
        found = suggest(RANKS, [9, 4.1, 4, 4.2], spread)
        assert found.rank == 4
        assert "no standard error is known" in found.reason


def test_criteria_that_agree_are_listed_together():
    found = suggest(RANKS, [9, 5, 4, 3.9], [0.2] * 4, STABLE, [1, 0.99, 0.98, 0.8])
    assert (found.rank, found.agree) == (4, True)
    assert "largest whose components are stable over the runs (silhouette 0.95" in found.reason
    assert "falls most after rank 4, from 0.980 to 0.800 at rank 5" in found.reason
    assert "disagree" not in found.reason


def test_criteria_that_disagree_are_explained_with_advice():
    found = suggest(RANKS, [9, 5, 4, 3], [0.1] * 4, STABLE, [1, 0.9, 0.89, 0.88])
    assert (found.rank, found.agree) == (5, False)
    assert "The criteria disagree: they suggest the ranks 2, 4 and 5." in found.reason
    assert "The components of rank 5 are not stable (silhouette 0.30)." in found.reason
    assert "take rank 5 to predict or to fill in" in found.reason
    assert found.reason.endswith("Rank 5 is the largest that was tried: try larger ones.")


def test_without_held_out_error_the_largest_stable_rank_is_named():
    found = suggest(RANKS, stability=STABLE)
    assert (found.rank, found.agree) == (4, True)
    assert found.reason.startswith("There is no held-out error. Rank 4 is the largest")
    found = suggest(RANKS, [None] * 4, stability=STABLE, cophenetic=[1, 0.9, 0.9, 0.9])
    assert (found.rank, found.agree) == (4, False)
    assert "hold out entries to settle it" in found.reason


def test_where_no_rank_is_stable_the_most_stable_one_is_named():
    found = suggest(RANKS, stability=[0.7, 0.4, 0.1, -0.3])
    assert found.rank == 2
    assert "At no rank are the components stable" in found.reason
    assert suggest(RANKS, stability=[0.7, 0.65, 0.1, -0.3], bar=0.6).rank == 3


def test_where_nothing_is_known_that_is_said():
    for given in ({}, {"error": [math.nan] * 4, "cophenetic": [0.9, 0.95, 0.95, 0.949]}):
        found = suggest(RANKS, **given)
        assert (found.rank, found.agree) == (None, False)
        assert found.reason.startswith("No criterion distinguishes the ranks")


def test_ranks_that_failed_are_passed_over():
    assert suggest(RANKS, [9, math.inf, 4, None], [0.1] * 4).rank == 4


@pytest.mark.parametrize(
    ("ranks", "error"), [([], None), ([2, 2], None), ([2, 3], [1.0])], ids=["none", "twice", "short"]
)
def test_what_is_no_table_is_refused(ranks, error):
    with pytest.raises(DataError, match="give every rank once"):
        suggest(ranks, error)
