"""Of how many people a figure is."""

from __future__ import annotations

import pytest

from components.contributors import are_several


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([6, 6, 6, 6, 6], True),
        ([12, 3, 3, 3, 3], True),
        ([13, 3, 3, 3, 3], False),
        ([6, 6, 6, 6, 0], False),
        ([30, 0, 0, 0, 0], False),
        ([], False),
    ],
)
def test_a_figure_of_a_group_takes_five_people_and_none_with_more_than_half(labels, expected):
    """12 of 24 are half; 13 of 25 are more."""
    assert are_several(labels, k=5) is expected
