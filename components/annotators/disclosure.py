"""What a table about people may show: small cells hidden, and enough besides that they can't be worked out.

Rules (obligations, section 11.5): a cell is hidden where it counts fewer than k people, zero included unless the list of
values was fixed in advance; with it, larger cells are hidden until the total gives none away. Crossings show whole, where
every cell counts k people, or not at all. Totals are rounded down to a multiple of k. Rates are shown only where their group
is, and rounded. What holds between releases: successive.py.
`tests/components/annotators/test_disclosure.py` plays the attacker.

What it does not cover: k-anonymity is not anonymity. Who knows a lot about a group may still learn something about a member.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from components.records import Annotator

HIDDEN = None
"""In the place of a number that is not shown."""
VAGUE = ("other", "prefer not to say", "not recorded")
"""Values that say least, and are hidden first to protect others."""


@dataclass(frozen=True)
class Margin:
    """Counts by value of one attribute, as they may be shown."""

    cells: dict[str, int | None]
    """Value → people; None where hidden."""
    base: int
    """People, rounded down to a multiple of `k`."""
    k: int
    hidden: int


def margin(counts: Mapping[str, int], *, k: int, fixed: Iterable[str] = ()) -> Margin:
    """A one-way table.

    Args:
        counts: Value → people. "prefer not to say" is a value like others.
        k: Fewest people in a cell that is shown.
        fixed: Values that the attribute's definition lists; only these show a zero.
    """
    listed = set(fixed)
    full = {value: counts.get(value, 0) for value in sorted(listed | counts.keys())}
    total = sum(full.values())
    hidden = hide({value: count for value, count in full.items() if count or value not in listed}, k=k)
    if _is_homogeneous(full.values(), total):
        hidden = set(full)
    cells = {value: HIDDEN if value in hidden else count for value, count in full.items()}
    return Margin(cells, total // k * k, k, len(hidden))


def crossing(counts: Mapping[tuple[str, str], int], *, k: int) -> dict[tuple[str, str], int] | None:
    """A two-way table, shown only where every one of its cells counts at least k people; None otherwise."""
    firsts = {first for first, _ in counts}
    seconds = {second for _, second in counts}
    full = {pair: counts.get(pair, 0) for pair in itertools.product(sorted(firsts), sorted(seconds))}
    return full if full and min(full.values()) >= k else None


def hide(counts: Mapping[str, int], *, k: int) -> set[str]:
    """Values whose counts are hidden, where the total is known.

    Primary: counts below k. Complementary: as soon as there is one, a cell that is large enough by itself is hidden too, and
    more of these while the hidden cells count fewer than 2 k people together. Two things that look simpler leak: without a
    large cell among the hidden ones, a sum near its bound pins small cells down (three hidden cells of 12 people are 4, 4, 4
    where k is 5); and were the large cell the smallest one, an attacker would know that no shown cell is smaller. So it is a
    cell of no particular group where there is one ("other", "prefer not to say"), else the first by name.
    """
    hidden = {value for value, count in counts.items() if count < k}
    waiting = sorted(counts.keys() - hidden, key=lambda value: (value not in VAGUE, value))
    if hidden and waiting:
        hidden.add(waiting.pop(0))
    while hidden and waiting and sum(counts[value] for value in hidden) < 2 * k:
        hidden.add(waiting.pop(0))
    return hidden


def _is_homogeneous(counts: Iterable[int], total: int) -> bool:
    """Everybody has the same value: to show it tells the value of each."""
    return total > 0 and max(counts, default=0) == total


def rate(value: float, people: int, *, k: int) -> float | None:
    """A share or accuracy of a group, to two digits; None where the group is too small, or the digits would give counts away.

    Of fewer than fifty people, shares are rounded to a twentieth: 5.6 % of 18 would be one person.
    """
    if people < k:
        return None
    return round(round(value * 20) / 20, 2) if people < 50 else round(value, 2)


def differs_too_little(before: Sequence[str], now: Sequence[str], *, k: int) -> int:
    """How many people came or went since a release, where that is more than none and fewer than k; else 0.

    Args:
        before: Keyed digests of the people in that release, see `entry`.
        now: Those of this one.
        k: Fewest people who may come or go together.
    """
    moved = len(set(before) ^ set(now))
    return moved if 0 < moved < k else 0


def entry(person: Annotator) -> str:
    """A digest of all of a person that tables count: who changes a value leaves as one and comes as another."""
    counted = person.model_dump(
        include={"pseudonym", "kind", "demographics", "platform", "pay_band", "lawful_basis", "guidelines"}
    )
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()
