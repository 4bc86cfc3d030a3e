"""Accuracy, intervals, calibration and correlation against values worked out by hand."""

from __future__ import annotations

import pytest

from components.reward import quality


def test_wilson_interval_equals_published_value():
    """81 of 263: 0.2553 to 0.3662, Newcombe 1998, https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<857, table I."""
    assert quality.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_interval_stays_within_0_and_1():
    """Newcombe 1998: 0 of 20 gives 0 to 0.1611, 1 of 29 gives 0.0061 to 0.1718."""
    assert quality.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert quality.wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_equal_scores_are_not_right():
    """Right, wrong, right, equal."""
    assert quality.ranked_right([2.0, 3.0, -0.5, 0.0], [0.75, 0.25, 0.125, 0.25]) == 2


def test_brier_weighs_pairs_by_labels():
    """(0.75 - 0.5)² = 0.0625 once, (0.25 - 0.75)² = 0.25 three times: 0.8125 / 4."""
    assert quality.brier([0.75, 0.25], [0.5, 0.75], [1, 3]) == 0.203125


def test_calibration_error_equals_hand_computed_value():
    """Bins of a half; each pair both ways.

    Above ½: 0.75 (2 labels, share 0.5) and 0.625 (3 labels, share 1): |1.5 + 1.875 - 1 - 3| = 0.625.
    Below ½ the mirror image, 0.625. Together 1.25 / 10 labels.
    """
    assert quality.calibration_error([0.75, 0.625], [0.5, 1.0], [2, 3], bins=2) == 0.125


def test_calibration_error_does_not_depend_on_the_order_within_a_pair():
    one = quality.calibration_error([0.9, 0.3], [1.0, 0.25], [2, 4])
    other = quality.calibration_error([0.1, 0.3], [0.0, 0.25], [2, 4])

    assert one == pytest.approx(other)


def test_correlation_equals_hand_computed_value():
    """Deviations (-2, 0, 2) and (-3, 1, 2): 10 / √(8 * 14)."""
    assert quality.correlation([3.0, 5.0, 7.0], [2.0, 6.0, 7.0]) == pytest.approx(10 / 112**0.5)


def test_correlation_of_something_that_does_not_vary_is_none():
    assert quality.correlation([3.0, 5.0, 7.0], [2.0, 2.0, 2.0]) is None
    assert quality.correlation([3.0, 5.0], [2.0, 6.0]) is None
