"""Whether a figure is that of a group, or really of one of its members."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def are_several(labels: Iterable[int], *, k: int) -> bool:
    """Whether labels are those of at least k people, none of whom gave more than half.

    A group may be large enough to be shown, and what is said of it rest on one busy member nevertheless.

    Args:
        labels: How many each person gave.
        k: Fewest people of whom anything is shown.
    """
    given = [count for count in labels if count]
    return len(given) >= k and 2 * max(given) <= sum(given)
