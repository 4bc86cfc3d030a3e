"""Held-out text: what `base` kept out of its training, on which perplexity is measured.

Two tokenizers cut a text at different places, so perplexities per token of each can't be compared. Where models of two base
models are measured, a text begins and ends where a token of both ends: all predict the same characters after the same ones,
and all count the tokens of the model under test.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from components import records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from components.evaluate.panel import Reading

HELD_OUT_PER_MILLE = 20
"""The share of the corpus that `base` does not train on; the test compares the two rules."""
Cut = tuple[list[int], list[int]]
"""Token ids that are given, and those that are to be predicted."""


@dataclass(frozen=True)
class HeldOut:
    """A text as each base model reads it."""

    text: str
    cuts: Mapping[Path, Cut]
    """Folder of the base model → the text in tokens of its own."""
    tokens: int
    """That are to be predicted, by the tokenizer of the model under test."""


def held_out(text_id: str) -> bool:
    """Whether `base` kept a text of the corpus out of its training."""
    return int(hashlib.sha256(text_id.encode()).hexdigest()[:8], 16) % 1000 < HELD_OUT_PER_MILLE


def held_out_texts(corpus: Path, readings: Sequence[Reading], *, most: int) -> list[HeldOut]:
    """The first `most` held-out texts that all can read, or that the first can read where there is none for all.

    Args:
        corpus: The file.
        readings: How the models read; the model under test first.
        most: Texts.
    """
    found = list(islice(_read(corpus, readings), most))
    return found or list(islice(_read(corpus, readings[:1]), most))


def _read(corpus: Path, readings: Sequence[Reading]) -> Iterator[HeldOut]:
    folders = [reading.folder for reading in readings]
    for text in records.read(corpus, records.Text):
        cuts = _cuts(text.text, readings) if held_out(text.id) else None
        if cuts:
            yield HeldOut(text.text, dict(zip(folders, cuts, strict=True)), len(cuts[0][1]))


def _cuts(text: str, readings: Sequence[Reading]) -> list[Cut] | None:
    """A text in each one's tokens, as long as it fits; None where it is too short, or can't be cut for all at one place."""
    if len(readings) == 1:
        ids = readings[0].plain(text)[: readings[0].context_tokens]
        return [(ids[:1], ids[1:])] if len(ids) > 1 else None
    coded = [_with_ends(text, reading) for reading in readings]
    if not all(coded):
        return None
    shared = sorted(set.intersection(*(set(ends) for _, ends in coded)) - {0})
    fitting = [
        at
        for at in shared
        if all(bisect_right(ends, at) <= reading.context_tokens for (_, ends), reading in zip(coded, readings, strict=True))
    ]
    if len(fitting) < 2:
        return None
    first, last = fitting[0], fitting[-1]
    return [
        (ids[: bisect_right(ends, first)], ids[bisect_right(ends, first) : bisect_right(ends, last)]) for ids, ends in coded
    ]


def _with_ends(text: str, reading: Reading) -> tuple[list[int], list[int]]:
    """Token ids, and the character at which each ends; nothing from a tokenizer that doesn't know, or changes the text."""
    tokenizer = reading.tokenizer
    if not tokenizer.is_fast:
        return [], []
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    said = tokenizer.decode(coded["input_ids"], clean_up_tokenization_spaces=False)
    if said.strip() != text.strip():
        return [], []
    return list(coded["input_ids"]), [end for _, end in coded["offset_mapping"]]
