"""Labels as arrays. One row a label; one row a pair of responses, whatever order it was shown in.

Letters: L labels, P pairs, J annotators, F features. A pair's first response is the one that sorts first as text; a label's
`choice` is in the order shown (0 first, 1 tie, 2 second), and `is_swapped` says that the order shown was the other one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from components import records
from components.annotators import wording
from components.errors import DataRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

CHOICES = {"first": 0, "tie": 1, "second": 2}
NOBODY = -1
FIRST, TIE, SECOND = 0, 1, 2


@dataclass(frozen=True)
class Labels:
    """All labels of a data version."""

    ids: list[str]
    """(L,) comparison ids."""
    repeats: list[str]
    """Comparison ids of labels that somebody gave to a pair once more. `validate` keeps them only where they say the same;
    nobody agrees with others, or is right, twice by it, so they stand in no other field."""
    pair: NDArray[np.int32]
    """(L,) row of the pair."""
    annotator: NDArray[np.int32]
    """(L,) row of the annotator; `NOBODY` where the source does not say."""
    choice: NDArray[np.int8]
    """(L,) 0 first shown, 1 tie, 2 second shown."""
    is_swapped: NDArray[np.bool_]
    """(L,) whether the pair's first response was shown second."""
    strength: NDArray[np.int8]
    """(L,) 1 to 3; 0 where there is none."""
    seconds: NDArray[np.float32]
    """(L,) time taken; NaN where unknown."""
    labelled_at: NDArray[np.float64]
    """(L,) seconds since 1970; NaN where unknown."""
    guideline: NDArray[np.int16]
    """(L,) row in `guidelines`; -1 where unknown."""
    pairs: list[str]
    """(P,) ids of pairs, `components.records.pair_id`."""
    sides: NDArray[np.int32]
    """(P, 2) number of each response; the same prompt and text have the same number."""
    features: NDArray[np.float32]
    """(P, F) feature of the first response less that of the second. Agreement only where the prompt states an opinion."""
    words: NDArray[np.float32]
    """(P,) words of both responses."""
    known: NDArray[np.float64]
    """(P,) 1 where the first is known to be better, 0 where the second is, NaN where nobody knows."""
    annotators: list[str]
    """(J,) pseudonyms."""
    guidelines: list[str]
    criteria: dict[str, tuple[NDArray[np.int32], NDArray[np.int8]]]
    """Criterion → rows of labels that judge it, and what they chose."""
    models: dict[str, int]
    """Source model → how often one of its responses was shown."""
    decodings: dict[str, int]
    """How responses were drawn → how often one drawn so was shown."""

    @property
    def chosen(self) -> NDArray[np.int8]:
        """(L,) the choice as if the pair's first response had been shown first."""
        return np.where(self.is_swapped, 2 - self.choice, self.choice).astype(np.int8)

    @property
    def has_annotator(self) -> NDArray[np.bool_]:
        """(L,) whether the source says who labelled."""
        return self.annotator != NOBODY


@dataclass
class _Numbers:
    """Names → numbers in order of appearance."""

    known: dict[Any, int] = field(default_factory=dict)

    def of(self, name: Any) -> int:
        return self.known.setdefault(name, len(self.known))


@dataclass
class _Columns:
    ids: list[str] = field(default_factory=list)
    repeats: list[str] = field(default_factory=list)
    given: set[tuple[int, int]] = field(default_factory=set)
    """Pair and annotator of every label so far."""
    rows: list[tuple[int, int, int, bool, int, float, float, int]] = field(default_factory=list)
    seen: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """Pairs by their texts: a million digests take longer than a million look-ups."""
    pairs: dict[str, int] = field(default_factory=dict)
    sides: list[tuple[int, int]] = field(default_factory=list)
    features: list[tuple[float, ...]] = field(default_factory=list)
    of_answer: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)
    words: list[float] = field(default_factory=list)
    answers: _Numbers = field(default_factory=_Numbers)
    annotators: _Numbers = field(default_factory=_Numbers)
    guidelines: _Numbers = field(default_factory=_Numbers)
    criteria: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    models: Counter[str] = field(default_factory=Counter)
    decodings: Counter[str] = field(default_factory=Counter)


def read(path: Path, *, opinions: Mapping[str, bool], golden: Iterable[records.GoldenPair]) -> Labels:
    """The labels of a file that `validate` accepted; so rows are not checked again, which a million rows would feel.

    Args:
        path: comparisons.jsonl.
        opinions: Prompt id → whether the prompt states an opinion.
        golden: Pairs of which the better one is known.

    Raises:
        DataRefused: A comparison names a prompt that does not exist.
    """
    columns = _Columns()
    with path.open("rb") as lines:
        for line in lines:
            _add(columns, orjson.loads(line), opinions)
    known = np.full(len(columns.pairs), np.nan)
    for pair in golden:
        row = columns.pairs.get(records.pair_id(pair.prompt_id, pair.responses))
        if row is not None:
            is_first = (pair.better == "first") == (pair.responses[0] <= pair.responses[1])
            known[row] = float(is_first)
    return _labels(columns, known)


def _add(columns: _Columns, row: Mapping[str, Any], opinions: Mapping[str, bool]) -> None:
    prompt, responses = row["prompt_id"], row["responses"]
    if prompt not in opinions:
        message = f"comparison {row['id']} names the prompt {prompt!r}, which prompts.jsonl does not have. Mend the row."
        raise DataRefused(message)
    first, second = responses if responses[0] <= responses[1] else (responses[1], responses[0])
    pair = columns.seen.get((prompt, first, second))
    if pair is None:
        pair = columns.seen[prompt, first, second] = len(columns.seen)
        columns.pairs[records.pair_id(prompt, responses)] = pair
        _describe(columns, prompt, (first, second), has_opinion=opinions[prompt])
    who = NOBODY if row["annotator"] is None else columns.annotators.of(row["annotator"])
    if (pair, who) in columns.given:
        columns.repeats.append(row["id"])
        return
    if who != NOBODY:
        columns.given.add((pair, who))
    at = row.get("labelled_at")
    columns.rows.append(
        (
            pair,
            who,
            CHOICES[row["label"]],
            responses[0] != first,
            row.get("strength") or 0,
            np.nan if row.get("seconds_taken") is None else row["seconds_taken"],
            np.nan if at is None else datetime.fromisoformat(at).timestamp(),
            -1 if row.get("guideline") is None else columns.guidelines.of(row["guideline"]),
        )
    )
    for criterion, label in (row.get("criteria") or {}).items():
        columns.criteria.setdefault(criterion, []).append((len(columns.ids), CHOICES[label]))
    for model in row.get("response_models") or ():
        columns.models[model] += 1
    for decoding in row.get("response_decodings") or ():
        columns.decodings[decoding] += 1
    columns.ids.append(row["id"])


def _describe(columns: _Columns, prompt: str, responses: tuple[str, str], *, has_opinion: bool) -> None:
    first, second = (_features(columns, text) for text in responses)
    difference = [one - other for one, other in zip(first, second, strict=True)]
    difference[1] *= has_opinion
    columns.features.append(tuple(difference))
    columns.words.append(first[0] + second[0])
    columns.sides.append((columns.answers.of((prompt, responses[0])), columns.answers.of((prompt, responses[1]))))


def _features(columns: _Columns, text: str) -> tuple[float, float, float, float]:
    found = columns.of_answer.get(text)
    if found is None:
        found = columns.of_answer[text] = wording.features(text)
    return found


def _labels(columns: _Columns, known: NDArray[np.float64]) -> Labels:
    pair, annotator, choice, swapped, strength, seconds, at, guideline = (
        zip(*columns.rows, strict=True) if columns.rows else ((),) * 8
    )
    return Labels(
        ids=columns.ids,
        repeats=columns.repeats,
        pair=np.array(pair, dtype=np.int32),
        annotator=np.array(annotator, dtype=np.int32),
        choice=np.array(choice, dtype=np.int8),
        is_swapped=np.array(swapped, dtype=bool),
        strength=np.array(strength, dtype=np.int8),
        seconds=np.array(seconds, dtype=np.float32),
        labelled_at=np.array(at, dtype=np.float64),
        guideline=np.array(guideline, dtype=np.int16),
        pairs=list(columns.pairs),
        sides=np.array(columns.sides, dtype=np.int32).reshape(-1, 2),
        features=np.array(columns.features, dtype=np.float32).reshape(-1, len(wording.FEATURES)),
        words=np.array(columns.words, dtype=np.float32),
        known=known,
        annotators=list(columns.annotators.known),
        guidelines=list(columns.guidelines.known),
        criteria={
            name: (np.array([row for row, _ in rows], np.int32), np.array([label for _, label in rows], np.int8))
            for name, rows in sorted(columns.criteria.items())
        },
        models=dict(sorted(columns.models.items())),
        decodings=dict(sorted(columns.decodings.items())),
    )
