"""How the people who labelled compare with the population that they should stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components import disclosure

if TYPE_CHECKING:
    from collections.abc import Mapping


def of(
    cells: Mapping[str, int | None], people: int, *, k: int, target: Mapping[str, float]
) -> dict[str, dict[str, float | None]]:
    """Value → share of the people, of the target population, and standardised difference, for cells that are shown.

        d = (p - t) / sqrt((p (1 - p) + t (1 - t)) / 2)

    Shares are of all `people`, and rounded only when d is known. With its count a share tells how many people there are, which
    gives no hidden cell away: what is hidden is chosen for a reader who knows that. Source: Austin 2009,
    https://doi.org/10.1080/03610910902859574

    Args:
        cells: Value → how many have it; None where hidden.
        people: How many there are.
        k: Fewest people in a cell that is shown.
        target: Value → its share in the declared target population.
    """
    return {
        value: {"share": disclosure.rate(count / people, people, k=k)} | _against(count / people, target.get(value))
        for value, count in cells.items()
        if count is not None
    }


def _against(share: float, wanted: float | None) -> dict[str, float | None]:
    """A share of the target population, and the standardised difference from it."""
    if wanted is None:
        return {}
    spread = ((share * (1 - share) + wanted * (1 - wanted)) / 2) ** 0.5
    return {"target": wanted} | ({"difference": round((share - wanted) / spread, 2)} if spread else {})
