"""What a table about people may show: small cells hidden, and enough besides that they can't be worked out.

Rules (obligations, section 11.5): a cell is hidden where it counts fewer than k people, zero included unless the list of
values was fixed in advance; with it, larger cells are hidden until no total gives one away, be it that of all people or that
of another table (a region is the total of its countries). Crossings show whole, where every cell counts k people and neither
margin hides any, or not at all. The exact total is taken to be known: tables that show whole add up to it, and a share with
its count gives it. Rates are shown only where their group is, and rounded. What holds between releases: shown.py.
Tables of some of these people, beside those of all: components/reward/parts.py.
`tests/components/annotators/test_disclosure.py` plays the attacker.

What it does not cover: k-anonymity is not anonymity. Who knows a lot about a group may still learn something about a member.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SMALLEST = 5
"""Fewest people in any cell that shows; settings may ask for more, never for fewer."""
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


@dataclass(frozen=True)
class Table:
    """An attribute of all people, before anything is hidden."""

    values: Sequence[str]
    """Person by person; of several tables in the same order."""
    k: int
    """Fewest people in a cell that is shown."""
    fixed: tuple[str, ...] = ()
    """Values that the attribute's definition lists; only these show a zero."""
    is_finding: bool = False
    """Whether it is what the audit found, and no trait: that nobody was excluded tells nothing of anybody."""

    @property
    def counts(self) -> dict[str, int]:
        """Value → people."""
        return dict.fromkeys(self.fixed, 0) | Counter(self.values)

    def shown(self, hidden: set[str]) -> Margin:
        """The margin without these cells."""
        counts = dict(sorted(self.counts.items()))
        cells = {value: HIDDEN if value in hidden else count for value, count in counts.items()}
        return Margin(cells, rounded_down(len(self.values), k=self.k), self.k, len(hidden))


def margin(counts: Mapping[str, int], *, k: int, fixed: Iterable[str] = ()) -> Margin:
    """A one-way table that stands alone.

    Args:
        counts: Value → people. "prefer not to say" is a value like others.
        k: Fewest people in a cell that is shown.
        fixed: Values that the attribute's definition lists; only these show a zero.
    """
    listed = set(fixed)
    table = Table(list(Counter(counts).elements()), k, (*fixed, *counts))
    hidden = hide({value: count for value, count in counts.items() if count or value not in listed}, k=k)
    return table.shown(set(table.counts) if _is_homogeneous(counts) else hidden)


def together(tables: Mapping[str, Table]) -> dict[str, Margin]:
    """One-way tables of the same people, none of which gives away what another hides.

    The people of some values of one table may be those of some values of another, and somebody who reads both may know:
    countries lie in regions. Then the cells of the one have the total of the other. The coarser table comes first; in the
    finer one as much more is hidden as such totals ask for, and all of it where that is not enough.
    """
    settled: dict[str, _Settled] = {}
    for name in sorted(tables, key=lambda name: (len(tables[name].counts), name)):
        settled[name] = _beside(tables[name], list(settled.values()))
    return {name: table.shown(settled[name].hidden) for name, table in tables.items()}


@dataclass(frozen=True)
class _Settled:
    """A table of which it is clear what it hides."""

    table: Table
    hidden: set[str]
    groups: list[set[str]]
    """Values whose people, together, have a known number."""


def _beside(table: Table, others: Sequence[_Settled]) -> _Settled:
    """What a table hides beside others that are settled; small totals first, for they protect larger ones too."""
    counts = Counter(table.values)
    beside = [(other, blocks_of(table, other.table)) for other in others if other.hidden < other.table.counts.keys()]
    known = [group for other, blocks in beside for group in _known(blocks, other.hidden, other.groups)]
    parts = sorted((group for group in known if group != set(counts)), key=len)
    groups = [*parts, set(counts)]
    is_telling = _is_homogeneous(counts) and not table.is_finding
    hidden = set(table.counts) if is_telling else {value for value, count in counts.items() if count < table.k}
    grown: set[str] = set()
    while hidden != grown:
        grown = set(hidden)
        for group in groups:
            hidden |= hide({value: counts[value] for value in group}, k=table.k, besides=hidden & group)
    is_safe = all(_is_enough(counts, hidden & group, k=table.k) for group in parts) and not any(
        _gives_away(other, [(theirs, ours) for ours, theirs in blocks], hidden, groups) for other, blocks in beside
    )
    return _Settled(table, hidden if is_safe else set(table.counts), groups)


def _gives_away(other: _Settled, blocks: Blocks, hidden: set[str], groups: list[set[str]]) -> bool:
    """Whether a settled table hides too little beside one with these hidden cells and known groups."""
    counts, everybody = Counter(other.table.values), set(other.table.values)
    known = [group for group in _known(blocks, hidden, groups) if group != everybody]
    return not all(_is_enough(counts, other.hidden & group, k=other.table.k) for group in known)


Blocks = list[tuple[set[str], set[str]]]
"""Values of one table and of another that the same people have, as few as can be in each block."""


def blocks_of(first: Table, second: Table) -> Blocks:
    """The least blocks of two tables of the same people."""
    blocks: Blocks = []
    for one, other in sorted(set(zip(first.values, second.values, strict=True))):
        touched = [block for block in blocks if one in block[0] or other in block[1]]
        blocks = [block for block in blocks if block not in touched]
        blocks.append(({one}.union(*(ours for ours, _ in touched)), {other}.union(*(theirs for _, theirs in touched))))
    return blocks


def _known(blocks: Blocks, hidden: set[str], groups: Sequence[set[str]]) -> list[set[str]]:
    """Values of the blocks' first table whose total the second one gives, which hides some and has known groups itself."""
    found = [ours for ours, theirs in blocks if not theirs & hidden]
    for group in groups:
        touched = [block for block in blocks if block[1] & hidden & group]
        if touched and all(theirs <= group for _, theirs in touched):
            found.append(set().union(*(ours for ours, _ in touched)))
    return found


def _is_homogeneous(counts: Mapping[str, int]) -> bool:
    """Everybody has the same value: to show it tells the value of each."""
    return max(counts.values(), default=0) == sum(counts.values()) > 0


def crossing(
    counts: Mapping[tuple[str, str], int], *, k: int, margins: Sequence[Margin] = ()
) -> dict[tuple[str, str], int] | None:
    """A two-way table, shown only where each of its cells counts at least k people and its margins hide none; else None."""
    if any(margin.hidden for margin in margins):
        return None
    firsts = {first for first, _ in counts}
    seconds = {second for _, second in counts}
    full = {pair: counts.get(pair, 0) for pair in itertools.product(sorted(firsts), sorted(seconds))}
    return full if full and min(full.values()) >= k else None


def hide(counts: Mapping[str, int], *, k: int, besides: Iterable[str] = ()) -> set[str]:
    """Values whose counts are hidden, where the total is known; those `besides` are, whatever they count.

    Primary: counts below k. Complementary: as soon as there is one, a cell that is large enough by itself is hidden too, and
    more of these while the hidden cells count fewer than 2 k people together. Two things that look simpler leak: without a
    large cell among the hidden ones, a sum near its bound pins small cells down (three hidden cells of 12 people are 4, 4, 4
    where k is 5); and were the large cell the smallest one, an attacker would know that no shown cell is smaller. So it is a
    cell of no particular group where there is one ("other", "prefer not to say"), else the first by name.
    """
    hidden = {value for value, count in counts.items() if count < k} | set(besides)
    waiting = sorted(counts.keys() - hidden, key=lambda value: (value not in VAGUE, value))
    while waiting and not _is_enough(counts, hidden, k=k):
        hidden.add(waiting.pop(0))
    return hidden


def _is_enough(counts: Mapping[str, int], hidden: set[str], *, k: int) -> bool:
    """Whether hidden cells whose total is known protect each other: none, or one of k among at least two of 2 k people."""
    if not hidden:
        return True
    people = [counts[value] for value in hidden]
    return len(people) > 1 and max(people) >= k and sum(people) >= 2 * k


def rounded_down(people: int, *, k: int) -> int:
    """How many people, to a multiple of k."""
    return people // k * k


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
        before: Digests of the people in that release.
        now: Those of this one.
        k: Fewest people who may come or go together.
    """
    moved = len(set(before) ^ set(now))
    return moved if 0 < moved < k else 0
