"""The simulated annotators: who they say they are, and what they really are, which only tests may know."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from components.records import Annotator
from components.testbed.dice import Dice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Role = Literal["sound", "inverted", "random", "one_sided", "long", "flattered", "copying", "hasty", "drifting"]

BAD_ROLES: tuple[Role, ...] = ("inverted", "random", "one_sided", "long", "flattered", "copying", "hasty", "drifting")
"""What a bad annotator does: prefers the worse answer; throws dice; always takes the first; always takes the longer;
always takes the one that agrees with the user; repeats a colleague's label; clicks within two seconds; works well until
the middle of the time and throws dice from then on."""

DEMOGRAPHICS: Mapping[str, Sequence[tuple[str, float]]] = {
    "age_band": (("18-29", 28), ("30-39", 30), ("40-49", 18), ("50-59", 12), ("60+", 7), ("prefer not to say", 5)),
    "gender": (("woman", 46), ("man", 44), ("non-binary", 4), ("prefer not to say", 6)),
    "region": (("Africa", 20), ("Asia", 28), ("Europe", 26), ("Latin America", 10), ("North America", 16)),
    "first_language": (("English", 45), ("Hindi", 13), ("Spanish", 12), ("Swahili", 10), ("German", 8), ("other", 12)),
    "education": (("school", 22), ("vocational", 20), ("bachelor", 36), ("master or higher", 17), ("prefer not to say", 5)),
    "expertise": (("none", 52), ("language", 14), ("science", 12), ("health", 8), ("law", 6), ("computing", 8)),
}
"""Attribute → values with their weight."""


@dataclass(frozen=True)
class Person:
    """An annotator's record, and the truth behind it."""

    annotator: Annotator
    role: Role
    noise: float
    """Standard deviation of the error in each judgement. [gold utility]"""
    likes_length: float
    """How much ten words more are worth. [gold utility]"""
    likes_agreement: float
    """How much being agreed with is worth. [gold utility]"""
    dislikes_doubt: float
    """How much a hedge costs beyond the guideline. [gold utility]"""
    seconds: float
    """Typical time for one comparison."""
    victim: str | None = None
    """Whom a copying annotator copies."""

    @property
    def pseudonym(self) -> str:
        """The annotator's only name."""
        return self.annotator.pseudonym


def people(seed: int, count: int = 60, *, bad: Sequence[Role] | None = None) -> list[Person]:
    """The pool, with these bad roles; by default one of each, as long as they are at most a seventh of the pool."""
    dice = Dice(seed, "annotators")
    bad = BAD_ROLES[: min(len(BAD_ROLES), count // 7)] if bad is None else bad
    sound_ones: list[Role] = ["sound"] * (count - len(bad))
    roles = dice.shuffled([*bad, *sound_ones])
    names = [pseudonym(seed, number) for number in range(count)]
    sound = [name for name, role in zip(names, roles, strict=True) if role == "sound"]
    victim = dice.pick(sound)
    return [_person(name, role, victim, dice) for name, role in zip(names, roles, strict=True)]


def roles(seed: int, count: int = 60) -> dict[str, Role]:
    """Pseudonym → what the annotator really is: the known truth for tests of annotator auditing."""
    return {person.pseudonym: person.role for person in people(seed, count)}


def pseudonym(seed: int, number: int) -> str:
    """A name that says nothing about its owner."""
    return "ann-" + hashlib.sha256(f"{seed}/annotator/{number}".encode()).hexdigest()[:10]


def target_population() -> dict[str, dict[str, float]]:
    """Shares of groups in the simulated population that the pool was drawn from, those who prefer not to say left out."""
    target = {}
    for attribute, values in DEMOGRAPHICS.items():
        said = {value: weight for value, weight in values if value != "prefer not to say"}
        target[attribute] = {value: round(weight / sum(said.values()), 4) for value, weight in said.items()}
    return target


def _person(name: str, role: Role, victim: str, dice: Dice) -> Person:
    return Person(
        annotator=_record(name, dice),
        role=role,
        noise=round(dice.between(0.25, 0.8), 3),
        likes_length=round(dice.normal(0.08) + 0.05, 3),
        likes_agreement=round(dice.normal(0.12) + 0.12, 3),
        dislikes_doubt=round(dice.normal(0.08) + 0.05, 3),
        seconds=round(dice.between(14.0, 45.0), 1),
        victim=victim if role == "copying" else None,
    )


def _record(name: str, dice: Dice) -> Annotator:
    day = 1 + dice.below(28)
    platform = dice.weighted(("in-house", "crowd-a", "crowd-b"), (20, 50, 30))
    return Annotator(
        pseudonym=name,
        kind="simulated",
        demographics={
            attribute: dice.weighted([value for value, _ in values], [weight for _, weight in values])
            for attribute, values in DEMOGRAPHICS.items()
        },
        guidelines=["v1", "v2"],
        platform=platform,
        pay_band="16-20 EUR/hour" if platform == "in-house" else dice.pick(("10-12 EUR/hour", "12-16 EUR/hour")),
        lawful_basis="none needed: simulated",
        consent_reference=f"simulated-consent-{name}",
        consented_at=f"2026-01-{day:02d}T09:00:00Z",
        retained_until=f"2029-01-{day:02d}T00:00:00Z",
    )
