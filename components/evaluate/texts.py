"""Held-out text: what `base` kept out of its training, on which perplexity is measured."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from components import records

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

HELD_OUT_PER_MILLE = 20
"""The share of the corpus that `base` does not train on; the test compares the two rules."""


def held_out(text_id: str) -> bool:
    """Whether `base` kept a text of the corpus out of its training."""
    return int(hashlib.sha256(text_id.encode()).hexdigest()[:8], 16) % 1000 < HELD_OUT_PER_MILLE


def held_out_texts(corpus: Path, tokenizer: PreTrainedTokenizerBase, *, most: int, longest: int) -> list[list[int]]:
    """Token ids of the first `most` held-out texts, each cut at `longest` tokens."""
    found: list[list[int]] = []
    for text in records.read(corpus, records.Text):
        if len(found) == most:
            break
        ids = tokenizer(text.text, add_special_tokens=False)["input_ids"][:longest] if held_out(text.id) else []
        if len(ids) > 1:
            found.append(list(ids))
    return found
