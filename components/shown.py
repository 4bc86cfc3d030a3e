"""Which tables of people may be shown beside those that were shown before, so that nobody learns more by comparing. Pure.

1. Where fewer than k people came or went since tables were shown, none is shown: the difference would say who.
2. A table is left out where other cells of it are hidden than when it was shown before. A cell of 4 that was hidden and now
   shows 5, among cells that did not move, tells an attacker who knows the total what it was; the other way round too.

What it does not cover: differences of three or more shown sets of people.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from components import disclosure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

Pattern = dict[str, bool]
"""Cell → whether its count is shown. A crossing has one entry, for the whole."""
POOL = "pool"
FILE = "pools.json"
"""In an artifact of what was shown."""
LEFT_OUT = "an earlier release hid other cells of this table; the two beside each other could give a small count away"


@dataclass(frozen=True)
class Shown:
    """What was given away of a set of people."""

    people: list[str]
    """Digests of whom the tables count: of all of a person that they count, so that who changes a value leaves as one and comes
    as another."""
    tables: dict[str, Pattern] = field(default_factory=dict)
    """Tables that were shown, by name."""
    of: str = POOL
    """Who they are."""
    key: str = ""
    """Which key the digests were made with, `identitykey.name_of`."""

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)


def read(kept: Iterable[Any]) -> list[Shown]:
    """What was kept. Before there were patterns, only the people were."""
    return [Shown(each) if isinstance(each, list) else Shown(**each) for each in kept]


def by_key(people: Collection[Mapping[str, str]], keys: Iterable[str]) -> dict[str, list[str]]:
    """Key → the digests of people by it, in order.

    Args:
        people: Key → digest by it, of each person.
        keys: Their names.
    """
    return {key: sorted(person[key] for person in people) for key in keys}


def changed(now: Mapping[str, Pattern], before: Sequence[Shown]) -> list[str]:
    """Tables that hide other cells than they did before."""
    return sorted(name for name, cells in now.items() if any(each.tables.get(name, cells) != cells for each in before))


def too_close(people: Mapping[str, Sequence[str]], before: Sequence[Shown], *, k: int) -> str:
    """Why nothing of some people may be shown beside what was shown before; empty where it may.

    Args:
        people: Key → their digests by it.
        before: What was shown.
        k: Fewest people who may come or go together.
    """
    if any(each.key not in people for each in before):
        return (
            "an earlier release kept digests of its people by another PLUMBLINE_IDENTITY_KEY, so that nobody can tell how many "
            "came or went since. Set that key again"
        )
    if any(disclosure.differs_too_little(each.people, people[each.key], k=k) for each in before):
        return (
            f"fewer than {k} people came or went since a release that showed this; the difference would tell who they are, or "
            "how they label. It is shown again once the pool has moved further"
        )
    return ""
