"""The tables of the testbed, each a pure function of seed and size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.records import Comparison, Demonstration, GoldenPair, Message, Prompt, Split, Text
from components.testbed import gold, world
from components.testbed.answers import WRITERS, write
from components.testbed.dice import Dice
from components.testbed.labels import Pair, label
from components.testbed.questions import KINDS, Question, draw, sentence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from components.testbed.annotators import Person


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    dialogues: int
    """In the corpus."""
    passages: int
    """Of plain prose, in the corpus."""
    demonstrations: int
    pairs: int
    """Pairs of answers that are compared, each by one to three annotators."""
    golden: int
    prompts: Mapping[Split, int]
    """Split → prompts of each kind."""
    annotators: int
    checks: int
    """Golden pairs that everybody labels without being told."""


SIZES: Mapping[str, Size] = {
    "full": Size(17_000, 6_000, 2_000, 2_200, 440, {"train": 84, "judge": 9, "held_out": 12, "evaluation": 15}, 60, 24),
    "small": Size(600, 100, 200, 220, 60, {"train": 15, "judge": 2, "held_out": 3, "evaluation": 3}, 16, 6),
}

CORPUS_WRITERS = {"expert": 8, "careful": 14, "everyday": 28, "eager": 22, "timid": 14, "careless": 14}
DEMONSTRATION_WRITERS = {"expert": 30, "careful": 45, "everyday": 17, "eager": 5, "timid": 3}
COMPARISON_WRITERS = {"expert": 18, "careful": 24, "everyday": 22, "eager": 14, "timid": 10, "careless": 7, "broken": 5}
GOLDEN_MARGIN = 0.3
"""Least difference in utility between the two answers of a golden pair."""
GOLDEN_SPLITS: Mapping[Split, float] = {"held_out": 0.40, "evaluation": 0.35, "train": 0.25}
"""Split → its share of the golden pairs. None for `judge`: a judge is not to be tuned on them."""
CORPUS_WEIGHTS = {"fact": 3, "arithmetic": 3, "lookalike": 2, "courtesy": 2}
"""Kind → how much more often than the others the corpus has it: what has to be known has to be learned."""


def prompts(seed: int, size: Size) -> list[Prompt]:
    """Prompts of every kind in every split; no two with the same words."""
    dice = Dice(seed, "prompts")
    found: list[Prompt] = []
    for kind in KINDS:
        seen: set[str] = set()
        for split, count in size.prompts.items():
            for number in range(count):
                question = _new(kind, split, seen, dice, seed)
                name = f"{kind}-{split}-{number:03d}"
                found.append(Prompt(id=name, kind=kind, split=split, messages=question.messages, truth=question.truth))
    return found


def corpus(seed: int, size: Size) -> Iterator[Text]:
    """Unaligned text: dialogues by all sorts of speakers, in the words of the train split only, and plain prose."""
    dice = Dice(seed, "corpus")
    kinds = [kind for kind in KINDS for _ in range(CORPUS_WEIGHTS.get(kind, 1))]
    is_dialogue = dice.shuffled([True] * size.dialogues + [False] * size.passages)
    for number, dialogue in enumerate(is_dialogue):
        text = _dialogue(dice.pick(kinds), dice, seed) if dialogue else _passage(dice)
        yield Text(id=f"t-{number:05d}", text=text)


def demonstrations(seed: int, size: Size, asked: Sequence[Prompt]) -> Iterator[Demonstration]:
    """Mostly good answers to train prompts, each prompt at least once where there are enough; some leftovers of bad habits."""
    dice = Dice(seed, "demonstrations")
    train = [prompt for prompt in asked if prompt.split == "train"]
    order = [prompt for _ in range(-(-size.demonstrations // len(train))) for prompt in dice.shuffled(train)]
    for number, prompt in enumerate(order[: size.demonstrations]):
        writer = _writer(DEMONSTRATION_WRITERS, dice)
        answer = Message(role="assistant", content=write(_truth(prompt), WRITERS[writer], dice))
        yield Demonstration(
            id=f"d-{number:05d}",
            prompt_id=prompt.id,
            kind=prompt.kind,
            split=prompt.split,
            messages=[*prompt.messages, answer],
            source=f"testbed-{writer}",
        )


def comparisons(seed: int, size: Size, asked: Sequence[Prompt], pool: Sequence[Person]) -> list[Comparison]:
    """Labels of all annotators for pairs of answers to prompts of every split."""
    dice = Dice(seed, "comparisons")
    pairs = [_pair(prompt, dice) for prompt in _turns(asked, size.pairs, dice)]
    return label(pairs, [_group(pool, dice) for _ in pairs], dice)


def checks(seed: int, size: Size, asked: Sequence[Prompt], pool: Sequence[Person]) -> list[Comparison]:
    """Labels for golden pairs, in sittings of their own: everybody's share is drawn anew, whoever copies has the victim's."""
    dice = Dice(seed, "checks")
    pairs = [pair for pair, _ in _golden(seed, size, asked)]
    given = {person.pseudonym: dice.sample(range(len(pairs)), size.checks) for person in pool if not person.victim}
    groups: list[list[Person]] = [[] for _ in pairs]
    for person in sorted(pool, key=lambda person: person.victim is not None):
        for number in given[person.victim or person.pseudonym]:
            groups[number].append(person)
    labels = label(pairs, groups, dice, sitting="check-")
    return [found.model_copy(update={"id": f"k-{number:05d}"}) for number, found in enumerate(labels)]


def golden(seed: int, size: Size, asked: Sequence[Prompt]) -> Iterator[GoldenPair]:
    """Pairs whose better answer is known by a clear margin, the better one first in every second pair."""
    for number, (pair, better_first) in enumerate(_golden(seed, size, asked)):
        yield GoldenPair(
            id=f"g-{number:04d}",
            prompt_id=pair.prompt.id,
            responses=pair.responses,
            better="first" if better_first else "second",
            margin=round(abs(_margin(pair)), 4),
        )


def _golden(seed: int, size: Size, asked: Sequence[Prompt]) -> Iterator[tuple[Pair, bool]]:
    """Golden pairs, and whether the first answer is the better one."""
    dice = Dice(seed, "golden")
    chosen: list[Prompt] = []
    for split, share in GOLDEN_SPLITS.items():
        chosen += _turns([prompt for prompt in asked if prompt.split == split], round(share * size.golden), dice)
    for number, prompt in enumerate(dice.shuffled(chosen)):
        pair = _pair(prompt, dice)
        while abs(_margin(pair)) < GOLDEN_MARGIN:
            pair = _pair(prompt, dice)
        better_first = number % 2 == 0
        yield (_turned(pair) if (_margin(pair) > 0) != better_first else pair), better_first


def _turned(pair: Pair) -> Pair:
    """The same pair, shown in the other order."""
    (first, second), (one, other), (gold_first, gold_second) = pair.responses, pair.writers, pair.golds
    return Pair(pair.prompt, (second, first), (other, one), (gold_second, gold_first))


def _new(kind: str, split: Split, seen: set[str], dice: Dice, seed: int) -> Question:
    while True:
        question = draw(kind, split, dice, seed=seed)
        if question.key not in seen:
            seen.add(question.key)
            return question


def _dialogue(kind: str, dice: Dice, seed: int) -> str:
    question = draw(kind, "train", dice, seed=seed)
    answer = write(question.truth, WRITERS[_writer(CORPUS_WRITERS, dice)], dice)
    turns = [*question.messages, Message(role="assistant", content=answer)]
    return "".join(f"<|{turn.role}|>\n{turn.content}<|end|>\n" for turn in turns)


def _passage(dice: Dice) -> str:
    said = []
    for _ in range(3 + dice.below(3)):
        family = dice.pick(world.FAMILIES)
        subject = dice.pick(list(family.facts))
        said.append(sentence(family.says.format(s=subject, v=family.facts[subject])))
    return " ".join(said) + "\n"


def _turns(asked: Sequence[Prompt], count: int, dice: Dice) -> list[Prompt]:
    rounds = -(-count // len(asked))
    return [prompt for _ in range(rounds) for prompt in dice.shuffled(asked)][:count]


def _pair(prompt: Prompt, dice: Dice) -> Pair:
    """Two different answers by writers drawn from the mix."""
    while True:
        writers = (_writer(COMPARISON_WRITERS, dice), _writer(COMPARISON_WRITERS, dice))
        first, second = (write(_truth(prompt), WRITERS[writer], dice) for writer in writers)
        if first != second:
            names = (f"testbed-{writers[0]}", f"testbed-{writers[1]}")
            return Pair(prompt, (first, second), names, (gold.score(prompt, first), gold.score(prompt, second)))


def _group(pool: Sequence[Person], dice: Dice) -> list[Person]:
    """One to three people. Whoever copies has the victim before them."""
    people = dice.sample(pool, dice.weighted((1, 2, 3), (35, 40, 25)))
    copying = [person for person in people if person.victim]
    if not copying:
        return people
    victims = [person for person in pool if person.pseudonym == copying[0].victim]
    others = [person for person in people if person not in (*copying, *victims)]
    return [*victims, *others[:1], *copying]


def _margin(pair: Pair) -> float:
    return pair.golds[0].utility - pair.golds[1].utility


def _writer(weights: Mapping[str, int], dice: Dice) -> str:
    return dice.weighted(list(weights), list(weights.values()))


def _truth(prompt: Prompt) -> Mapping[str, object]:
    assert prompt.truth is not None
    return prompt.truth
