"""What the suites ask about: prompts that no training saw, facts whose truth is known, and a suite's own data.

On the testbed every prompt carries its truth, and further questions can be drawn; elsewhere the suites bring their own data.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import records
from components.errors import DataRefused
from components.evaluate import fields, lines
from components.evaluate.suite import Item
from components.testbed import questions
from components.testbed.dice import Dice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from components.evaluate.judge import Judge
    from components.evaluate.texts import HeldOut
    from components.models import Dialogue
    from components.records import Prompt

SUITES = Path(__file__).parent / "suites"
OF_EVERY_KIND = 0.2
"""Share of what is asked of one kind at most that suites on all kinds ask of each. Most are asked by other suites too."""
TRIES = 60
"""Questions drawn for each that is kept, at most; the small world has only so many wordings."""
KINDS = {"safe": "lookalike", "unsafe": "harmful"}
"""Label of a contrast pair's row → kind of its item."""
SPOKEN = re.compile(r"<\|user\|>\n(.*?)<\|end\|>", re.DOTALL)


@dataclass
class Material:
    """What there is to ask."""

    prompts: Sequence[Prompt]
    """Of the split `evaluation`."""
    seed: int
    most: int
    """Items of each kind that any suite asks at most."""
    fits: Callable[[Dialogue], bool]
    """Whether a dialogue leaves room for an answer."""
    used: Callable[[], set[str]]
    """What users say anywhere in the training data; read only where a suite asks more than `prompts`."""
    texts: Sequence[HeldOut] = ()
    """On which perplexity is measured."""
    judge: Judge | str | None = None
    """None where the truth is known; why there is none, where there is none."""
    drawn: dict[str, list[Item]] = field(default_factory=dict)

    @property
    def is_testbed(self) -> bool:
        """Whether the truth about every prompt is known."""
        return bool(self.prompts) and all(prompt.truth is not None for prompt in self.prompts)

    @cached_property
    def _used(self) -> set[str]:
        return self.used()

    @cached_property
    def _used_words(self) -> str:
        """All that users say in training, one turn after another."""
        return "\n".join(f" {_folded(turn)} " for turn in self._used)

    def is_used(self, text: str) -> bool:
        """Whether a turn of training has these words, by themselves or among others."""
        return f" {_folded(text)} " in self._used_words

    def every(self) -> list[Item]:
        """All prompts of the split `evaluation`; on the testbed further ones, until there are `OF_EVERY_KIND` of each kind."""
        given = [_item(prompt) for prompt in self.prompts]
        known = {item.id for item in given}
        kinds = dict.fromkeys(item.kind for item in given) if self.is_testbed else ()
        return given + [item for kind in kinds for item in self.of_kinds(kind, share=OF_EVERY_KIND) if item.id not in known]

    def of_kinds(self, *kinds: str, share: float = 1.0) -> list[Item]:
        """Prompts of some kinds, and further ones drawn until a share of `most` is there of each or no new wording is left."""
        return [item for kind in kinds for item in self._of_kind(kind)[: self.part(share)]]

    def part(self, share: float) -> int:
        """A share of `most`, and one at least."""
        return max(1, round(self.most * share))

    def _of_kind(self, kind: str) -> list[Item]:
        if kind not in self.drawn:
            given = [_item(prompt) for prompt in self.prompts if prompt.kind == kind]
            is_drawn = self.is_testbed and given and kind in questions.KINDS
            self.drawn[kind] = given + (self._draw(kind, given) if is_drawn else [])
        return self.drawn[kind]

    def _draw(self, kind: str, given: Sequence[Item]) -> list[Item]:
        """New questions of a kind of the testbed, none of whose turns anybody asked in training."""
        dice = Dice(self.seed, f"evaluate/{kind}")
        found: list[Item] = []
        seen = {_words(item.messages) for item in given}
        wanted = max(0, self.most - len(given))
        for _ in range(TRIES * wanted):
            if len(found) == wanted:
                break
            question = questions.KINDS[kind](dice)
            messages = [message.model_dump() for message in question.messages]
            asked = {message["content"] for message in messages if message["role"] == "user"}
            if asked & self._used or _words(messages) in seen or not self.fits(messages):
                continue
            seen.add(_words(messages))
            found.append(Item(f"{kind}-drawn-{len(found):03d}", messages, kind, question.truth))
        return found

    def sample(self, items: Sequence[Item], count: int, name: str) -> list[Item]:
        """A seeded draw, in the order given."""
        chosen = set(random.Random(f"{self.seed}/{name}").sample(range(len(items)), min(count, len(items))))
        return [item for place, item in enumerate(items) if place in chosen]

    def contrast(self, label: str) -> list[Item]:
        """The harmful (`unsafe`) or the harmless (`safe`) half of the contrast pairs, without what training uses."""
        nothing: dict[str, Any] = {"right": [], "wrong": []}
        return [
            Item(row["id"], [{"role": "user", "content": row["prompt"]}], KINDS[label], nothing)
            for row in contrast_pairs()
            if row["label"] == label and not self.is_used(row["prompt"])
        ]

    def facts(self) -> list[dict[str, Any]]:
        """General knowledge for models that were not trained on the testbed: see `suites/facts.jsonl`."""
        return rows(SUITES / "facts.jsonl", needs=("id", "question", "right", "wrong", "statement"))


def prompt_of(item: Item) -> Prompt:
    """An item of the testbed as the gold function reads it."""
    messages = [records.Message.model_validate(message) for message in item.messages]
    return records.Prompt(id=item.id, kind=item.kind or "unknown", split="evaluation", messages=messages, truth=item.facts)


def rows(path: Path, *, needs: Sequence[str], problem: Callable[[dict[str, Any]], str] | None = None) -> list[dict[str, Any]]:
    """The rows of a suite's data file.

    Args:
        path: The file.
        needs: Fields that every row has.
        problem: What else is wrong with a row that has them; empty where nothing is.

    Raises:
        DataRefused: A row is not JSON, lacks a field, or has one of another type or the id of another; all such are named.
    """
    found: list[dict[str, Any]] = []
    problems: list[str] = []
    ids: set[Any] = set()
    for number, line in lines.numbered(path):
        where = f"{path.name}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(f"{where} is not JSON ({error})")
            continue
        wrong = fields.problem(row, needs) or (problem(row) if problem else "")
        if not wrong and row.get("id") in ids:
            wrong = f"has the id {row['id']!r} of another row"
        if wrong:
            problems.append(f"{where} {wrong}")
            continue
        ids.add(row.get("id", number))
        found.append(row)
    if problems:
        message = f"{'; '.join(problems)}. Mend these lines, or take them out."
        raise DataRefused(message)
    if not found:
        message = f"{path.name} has no rows. Put in what the suite shall ask."
        raise DataRefused(message)
    return found


def contrast_pairs() -> list[dict[str, Any]]:
    """Requests for harm, and harmless ones that sound alike: see `suites/contrast_pairs.jsonl`."""
    return rows(SUITES / "contrast_pairs.jsonl", needs=("id", "prompt", "label"))


def spoken(corpus: Path, prompts: Sequence[Prompt]) -> set[str]:
    """What users say in the corpus and in the prompts of every split but `evaluation`."""
    said = {message.content for prompt in prompts if prompt.split != "evaluation" for message in prompt.messages}
    for text in records.read(corpus, records.Text):
        said.update(SPOKEN.findall(text.text))
    return said


def _item(prompt: Prompt) -> Item:
    return Item(prompt.id, [message.model_dump() for message in prompt.messages], prompt.kind, prompt.truth)


def _words(messages: Sequence[dict[str, str]]) -> str:
    return "\n".join(message["content"] for message in messages)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
