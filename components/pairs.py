"""From labels to pairs: what was compared, and what all its labels say together."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.errors import DataRefused
from components.records import pair_id

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from components.records import Comparison, GoldenPair, Prompt

STRONGEST = 3
"""The greatest strength of a preference that a label can state."""
FIRST_SHARE = {"first": 1.0, "tie": 0.5, "second": 0.0}


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, and how the labels fell."""

    prompt: Prompt
    responses: tuple[str, str]
    share: float
    """Share of the labels that prefer the first, by weight; a tie counts half."""
    labels: int
    """That have a weight above 0."""
    weight: float | None = None
    """Sum of the labels' weights; None where nobody weighed them, and each counts 1."""
    ties: float = 0.0
    """Share of the labels that are ties, by weight."""
    strength: float = 0.0
    """Mean strength of the labels that state one, over the greatest there is; 0 where none does."""

    @property
    def counts(self) -> float:
        """How many labels the pair is worth."""
        return float(self.labels) if self.weight is None else self.weight

    @property
    def decided(self) -> bool:
        """Whether one answer has more labels than the other."""
        return self.share != 0.5

    @property
    def agreement(self) -> str:
        """How the labels agree: `unanimous` or `divided`."""
        return "unanimous" if self.share in {0.0, 1.0} else "divided"

    @property
    def longer(self) -> str:
        """What the length says: `preferred longer`, `preferred shorter` or `equal length` (within a fifth)."""
        better, worse = (len(text) for text in (self.responses if self.share > 0.5 else self.responses[::-1]))
        if abs(better - worse) <= 0.2 * max(better, worse):
            return "equal length"
        return "preferred longer" if better > worse else "preferred shorter"


def divided(comparisons: Iterable[Comparison], *, judge_share: float) -> tuple[list[Comparison], list[Comparison]]:
    """The labels that train the reward model, and those that train the held-out judge: of other annotators.

    Annotators go to a side by the order of the digests of their ids, labels that name none by the digest of their pair: more
    labels of the same annotators move nobody. A new annotator may move another one across the cut, so that the share is kept
    however few there are. Does not cover: errors that all annotators share; the judge has learnt those too.
    """
    table = list(comparisons)
    named = sorted({row.annotator for row in table if row.annotator is not None}, key=_digest)
    judges = set(named[: min(max(1, round(judge_share * len(named))), len(named) - 1)])
    sides: tuple[list[Comparison], list[Comparison]] = ([], [])
    for row in table:
        unnamed = row.annotator is None and int(_digest(pair_id(row.prompt_id, row.responses))[:8], 16) < judge_share * 2**32
        sides[unnamed or row.annotator in judges].append(row)
    return sides


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def label_weights(folder: Path) -> dict[str, float]:
    """Comparison id → weight, as `annotators` wrote them."""
    with (folder / "weights.jsonl").open(encoding="utf-8") as lines:
        return {row["comparison"]: float(row["weight"]) for row in map(json.loads, lines)}


def labelled_pairs(
    comparisons: Iterable[Comparison],
    prompts: Mapping[str, Prompt],
    *,
    weights: Mapping[str, float] | None = None,
    kept_apart: Collection[str] = (),
) -> list[Pair]:
    """One pair for each two answers that were compared, whatever the order they were shown in; first seen, first.

    Args:
        comparisons: All labels.
        prompts: By id.
        weights: Comparison id → weight; None counts every label once. Labels of weight 0 are left out, and pairs that have
            no others.
        kept_apart: Ids of pairs (`records.pair_id`) to leave out: the golden ones, which measure annotators and models.

    Raises:
        DataRefused: A comparison names a prompt that does not exist, or has no weight.
    """
    found: dict[tuple[str, tuple[str, str]], list[_Vote]] = {}
    for comparison in comparisons:
        _require(comparison.prompt_id, prompts, where=f"comparison {comparison.id}")
        weight = 1.0 if weights is None else _weight(comparison.id, weights)
        if weight == 0 or (kept_apart and pair_id(comparison.prompt_id, comparison.responses) in kept_apart):
            continue
        first, second = sorted(comparison.responses)
        share = FIRST_SHARE[comparison.label]
        swapped = (first, second) != tuple(comparison.responses)
        key = (comparison.prompt_id, (first, second))
        tie, strength = comparison.label == "tie", comparison.strength
        found.setdefault(key, []).append(_Vote(1 - share if swapped else share, weight, tie=tie, strength=strength))
    return [
        _pair(prompts[prompt], responses, labels, weighed=weights is not None) for (prompt, responses), labels in found.items()
    ]


@dataclass(frozen=True)
class _Vote:
    """One label of a pair."""

    share: float
    """1 where it prefers the pair's first answer, 0 the second, 0.5 a tie."""
    weight: float
    tie: bool
    strength: int | None


def _pair(prompt: Prompt, responses: tuple[str, str], votes: list[_Vote], *, weighed: bool) -> Pair:
    total = sum(vote.weight for vote in votes)
    share = sum(vote.share * vote.weight for vote in votes) / total
    ties = sum(vote.weight for vote in votes if vote.tie) / total
    stated = [(vote.strength / STRONGEST, vote.weight) for vote in votes if vote.strength is not None]
    strength = sum(each * weight for each, weight in stated) / sum(weight for _, weight in stated) if stated else 0.0
    return Pair(prompt, responses, share, len(votes), total if weighed else None, ties, strength)


def _weight(comparison: str, weights: Mapping[str, float]) -> float:
    if comparison not in weights:
        message = f"comparison {comparison} has no weight in label_weights. Run `annotators` again on this data version."
        raise DataRefused(message)
    return weights[comparison]


def golden_pairs(golden: Iterable[GoldenPair], prompts: Mapping[str, Prompt]) -> list[Pair]:
    """Golden pairs as if one label that never errs had been given.

    Raises:
        DataRefused: A golden pair names a prompt that does not exist.
    """
    pairs = []
    for pair in golden:
        _require(pair.prompt_id, prompts, where=f"golden pair {pair.id}")
        pairs.append(Pair(prompts[pair.prompt_id], pair.responses, FIRST_SHARE[pair.better], 1))
    return pairs


def _require(prompt: str, prompts: Mapping[str, Prompt], *, where: str) -> None:
    if prompt not in prompts:
        message = f"{where} names the prompt {prompt!r}, which prompts.jsonl does not have. Add the prompt or remove the row."
        raise DataRefused(message)
