"""Tables of some of the people of whom tables are shown already, and which rows these may have. Pure.

Whoever subtracts a table of some people from that of all has a table of the others, so both sides count. A value has a row of
its own where its cell of all people is shown and at least k people of either side have it. All other values share one row.
Where that one counts fewer than k people on a side, a further value goes into it, whatever it counts: one that says little, or
else the first by name. So no row is hidden, and each of them counts at least k people on either side.

Then an attacker is played who reads all these tables at once, knows which values lie in which others (countries in regions) and
solves the equations: whatever number below k stands in a cell, it has to be possible that it is k more or less, as far as that
was possible before. Where it is not, further values lose their row. `tests/components/reward/test_parts.py` attacks too.

What it does not cover: see components/disclosure.py.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array

from components.disclosure import VAGUE, Table, blocks_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Rows = dict[str, list[str]]
"""Table → values that have a row of their own."""
Cell = tuple[str, str, bool]
"""Table, value, and whether it counts those who are some of the people."""


@dataclass(frozen=True)
class Known:
    """A table of all people that is shown."""

    values: Sequence[str]
    """Person by person; of several tables in the same order."""
    k: int
    """Fewest people in a cell that is shown."""
    hidden: frozenset[str]
    """Values whose cell does not show."""

    def of(self, people: Sequence[bool]) -> Counter[str]:
        """Value → how many of these people have it."""
        return Counter(itertools.compress(self.values, people))


def rows(tables: Mapping[str, Known], is_some: Sequence[bool]) -> Rows:
    """Which values have a row of their own in tables of some people, beside the tables of all that are shown.

    Args:
        tables: Those of all people, by name.
        is_some: Person by person, whether the new tables count them.
    """
    attacker = _Attacker(tables, is_some)
    large = {name: _large(table, is_some) for name, table in tables.items()}
    if not attacker.learns(large):
        return {name: sorted(values) for name, values in large.items()}
    settled: Rows = {}
    for name in sorted(tables, key=lambda name: (len(set(tables[name].values)), name)):
        own = large[name]
        while own and attacker.learns(settled | {name: own}):
            own = own[1:]
        settled[name] = own
    return {name: sorted(values) for name, values in settled.items()}


def _large(table: Known, is_some: Sequence[bool]) -> list[str]:
    """The values with enough people on either side, but for one that the rest needs; the first to lose their row, first."""
    some, others = table.of(is_some), table.of([not one for one in is_some])
    values = set(table.values)
    large = [
        value
        for value in sorted(values - table.hidden, key=lambda value: (value not in VAGUE, value))
        if min(some[value], others[value]) >= table.k
    ]
    rest = values - set(large)
    if rest and min(sum(side[value] for value in rest) for side in (some, others)) < table.k:
        return large[1:]
    return large


class _Attacker:
    """Reads tables of all and of some people, and solves for a cell."""

    def __init__(self, tables: Mapping[str, Known], is_some: Sequence[bool]) -> None:
        self._tables = tables
        self._sides = {True: list(is_some), False: [not one for one in is_some]}
        self._counts = {(name, side): table.of(self._sides[side]) for name, table in tables.items() for side in (True, False)}
        cells = [(name, value, side) for name, side in self._counts for value in sorted(set(tables[name].values))]
        self._place: dict[Cell, int] = {cell: place for place, cell in enumerate(cells)}
        self._equations = [*self._of_totals(), *self._of_blocks()]
        at = [(row, place, sign) for row, (signs, _) in enumerate(self._equations) for place, sign in signs.items()]
        columns = tuple(zip(*at, strict=True)) or ((), (), ())
        self._matrix = coo_array((columns[2], (columns[0], columns[1])), shape=(len(self._equations), len(cells))).tocsr()
        self._sums = [total for _, total in self._equations]
        self._before = {wanted: self._range(wanted, {}) for wanted in self._small()}

    def learns(self, rows_: Rows) -> bool:
        """Whether tables with these rows tell more of a small number than that it is one of k + 1."""
        own = {(name, value) for name, values in rows_.items() for value in values}
        return any(
            self._range(wanted, rows_) < min(self._tables[wanted[0][0]].k, before)
            for wanted, before in self._before.items()
            if wanted[0][:2] not in own
        )

    def _small(self) -> list[tuple[Cell, ...]]:
        """Cells that count fewer than k people, of one side or, where all of them are hidden, of both together."""
        found: list[tuple[Cell, ...]] = []
        for name, table in self._tables.items():
            for value in sorted(set(table.values)):
                sides = [(name, value, side) for side in (True, False)]
                counts = [self._counts[name, side][value] for _, _, side in sides]
                found += [(cell,) for cell, count in zip(sides, counts, strict=True) if count < table.k]
                if value in table.hidden and sum(counts) < table.k:
                    found.append(tuple(sides))
        return found

    def _range(self, wanted: tuple[Cell, ...], rows_: Rows) -> int:
        """How far apart the least and the greatest possible number of people in some cells are."""
        bounds: list[tuple[float, float | None]] = [(0, None)] * len(self._place)
        for name, values in rows_.items():
            for value in values:
                count = self._counts[name, True][value]
                bounds[self._place[name, value, True]] = (count, count)
        objective = np.zeros(len(self._place))
        objective[[self._place[cell] for cell in wanted]] = 1
        ends = [linprog(sign * objective, A_eq=self._matrix, b_eq=self._sums, bounds=bounds) for sign in (1, -1)]
        return round(-ends[1].fun - ends[0].fun)

    def _of_totals(self) -> Iterable[tuple[dict[int, int], int]]:
        """How many people there are of either side, and with each value whose cell of all people is shown."""
        for name, table in self._tables.items():
            values = sorted(set(table.values))
            for side, people in self._sides.items():
                yield {self._place[name, value, side]: 1 for value in values}, sum(people)
            for value in values:
                if value not in table.hidden:
                    both = {self._place[name, value, side]: 1 for side in self._sides}
                    yield both, sum(self._counts[name, side][value] for side in self._sides)

    def _of_blocks(self) -> Iterable[tuple[dict[int, int], int]]:
        """Values of one table whose people are, of a side, those of some values of another."""
        for (one, first), (other, second) in itertools.combinations(self._tables.items(), 2):
            for side, people in self._sides.items():
                pair = (Table(list(itertools.compress(table.values, people)), table.k) for table in (first, second))
                for ours, theirs in blocks_of(*pair):
                    equal = {self._place[one, value, side]: 1 for value in ours}
                    yield equal | {self._place[other, value, side]: -1 for value in theirs}, 0
