"""How the simulated annotators label pairs of answers, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from components.records import Comparison, Label, Prompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from components.testbed import gold
    from components.testbed.annotators import Person
    from components.testbed.dice import Dice

FIRST_DAY = datetime(2026, 2, 2, 8, tzinfo=UTC)
WORK_DAYS = 100
"""From the first day to the last."""
SECOND_GUIDELINE = datetime(2026, 4, 1, tzinfo=UTC)
GUIDELINES = {
    "v1": {"since": "2026-02-02T00:00:00Z", "until": "2026-04-01T00:00:00Z"},
    "v2": {"since": "2026-04-01T00:00:00Z", "until": None},
}
"""When each version of the rating guideline is in force, until the moment before."""
SESSION_LABELS = 12
TIE_WIDTH = 0.1
"""Answers that seem closer than this are called equal. [gold utility]"""
Choice = tuple[Label, int | None]
"""Label and strength."""
FLIPPED: dict[Label, Label] = {"first": "second", "second": "first", "tie": "tie"}


@dataclass(frozen=True)
class Pair:
    """Two answers to a prompt, in the order shown, with what is true of them."""

    prompt: Prompt
    responses: tuple[str, str]
    writers: tuple[str, str]
    golds: tuple[gold.Gold, gold.Gold]


@dataclass(frozen=True)
class Visit:
    """When somebody labels a pair."""

    done_at: datetime
    seconds: float
    """Time taken."""
    session: str
    is_late: bool
    """In the second half of that person's work."""


def label(pairs: Sequence[Pair], assigned: Sequence[Sequence[Person]], dice: Dice, *, sitting: str = "") -> list[Comparison]:
    """All labels, in the order in which they were given.

    Args:
        pairs: What to label.
        assigned: For each pair, who labels it. A copying person stands after the one that is copied.
        dice: Chance.
        sitting: Put before the number of each session.
    """
    visits = _visits(pairs, assigned, dice, sitting)
    found: list[Comparison] = []
    for number, (pair, group) in enumerate(zip(pairs, assigned, strict=True)):
        given: dict[str, Choice] = {}
        for person in group:
            visit = visits[number, person.pseudonym]
            choice = given[person.victim] if person.victim else _choice(pair, person, visit, dice)
            given[person.pseudonym] = choice
            found.append(_comparison(pair, person, visit, choice, dice))
    found.sort(key=lambda comparison: (comparison.labelled_at or "", comparison.annotator or "", comparison.prompt_id))
    return [comparison.model_copy(update={"id": f"c-{number:05d}"}) for number, comparison in enumerate(found)]


def _visits(
    pairs: Sequence[Pair], assigned: Sequence[Sequence[Person]], dice: Dice, sitting: str
) -> dict[tuple[int, str], Visit]:
    """(number of the pair, pseudonym) → visit. Whoever copies comes some hours after the one that is copied."""
    work: dict[str, list[int]] = {}
    people: dict[str, Person] = {}
    for number, group in enumerate(assigned):
        for person in group:
            work.setdefault(person.pseudonym, []).append(number)
            people[person.pseudonym] = person
    visits: dict[tuple[int, str], Visit] = {}
    for name, numbers in sorted(work.items(), key=lambda item: people[item[0]].victim is not None):
        person = people[name]
        words = [sum(known.words for known in pairs[number].golds) for number in numbers]
        diary = (
            (_copy(visits[number, person.victim], name) for number in numbers)
            if person.victim
            else _diary(person, words, dice, sitting)
        )
        visits |= {(number, name): visit for number, visit in zip(numbers, diary, strict=True)}
    return visits


def _diary(person: Person, words: Sequence[int], dice: Dice, sitting: str) -> Iterator[Visit]:
    """A visit for each pair, given its length: sessions of a dozen, spread evenly over the working time."""
    sessions = -(-len(words) // SESSION_LABELS)
    now = FIRST_DAY
    for number, length in enumerate(words):
        session, place = divmod(number, SESSION_LABELS)
        if place == 0:
            now = FIRST_DAY + timedelta(days=session * WORK_DAYS // sessions, seconds=dice.below(5 * 3600))
        seconds = _seconds(person, length, dice)
        now += timedelta(seconds=round(seconds) + 1 + dice.below(5))
        yield Visit(now, seconds, f"{person.pseudonym}-{sitting}{session + 1:02d}", is_late=2 * number >= len(words))


def _seconds(person: Person, words: int, dice: Dice) -> float:
    if person.role == "hasty":
        return round(dice.between(0.8, 2.0), 1)
    return round(person.seconds * dice.between(0.5, 1.5) * (0.5 + words / 50), 1)


def _copy(visit: Visit, name: str) -> Visit:
    session = name + visit.session[len(name) :]
    return Visit(visit.done_at + timedelta(hours=7), round(0.6 * visit.seconds, 1), session, is_late=visit.is_late)


def _choice(pair: Pair, person: Person, visit: Visit, dice: Dice) -> Choice:
    if person.role in {"random", "hasty"} or (person.role == "drifting" and visit.is_late):
        return dice.weighted(("first", "second", "tie"), (45, 45, 10)), 1 + dice.below(3)
    if person.role == "one_sided":
        return ("first" if dice.chance(0.95) else "second"), 1 + dice.below(2)
    if person.role == "long":
        return _compared(pair.golds[0].words - pair.golds[1].words + dice.normal(0.4))
    difference = _worth(pair.golds[0], person) - _worth(pair.golds[1], person) + dice.normal(person.noise)
    if person.role == "flattered":
        difference += 3.0 * ((pair.golds[0].agrees is True) - (pair.golds[1].agrees is True))
    chosen, strength = _compared(difference)
    return (FLIPPED[chosen] if person.role == "inverted" else chosen), strength


def _worth(known: gold.Gold, person: Person) -> float:
    return (
        known.utility
        + person.likes_length * known.words / 10
        + person.likes_agreement * (known.agrees is True)
        - person.dislikes_doubt * known.hedges
    )


def _compared(difference: float) -> Choice:
    size = abs(difference)
    if size < TIE_WIDTH:
        return "tie", None
    return ("first" if difference > 0 else "second"), 1 + (size > 0.6) + (size > 1.3)


def _comparison(pair: Pair, person: Person, visit: Visit, choice: Choice, dice: Dice) -> Comparison:
    label, strength = choice
    return Comparison(
        id="c",
        prompt_id=pair.prompt.id,
        responses=pair.responses,
        label=label,
        strength=None if label == "tie" else strength,
        criteria=_criteria(pair, label, dice) if dice.chance(0.25) else {},
        annotator=person.pseudonym,
        seconds_taken=visit.seconds,
        labelled_at=visit.done_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        guideline="v1" if visit.done_at < SECOND_GUIDELINE else "v2",
        session=visit.session,
        response_models=pair.writers,
    )


def _criteria(pair: Pair, label: Label, dice: Dice) -> dict[str, Label]:
    first, second = pair.golds
    brief = _compared((second.pads - first.pads) + dice.normal(0.2))[0]
    truthful = _compared((first.correct is True) - (second.correct is True) + dice.normal(0.2))[0]
    return {"brief": brief, "helpful": label, "honest": truthful}
