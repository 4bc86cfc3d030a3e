"""Try the weights of a release folder, exactly as somebody would load them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from components import models
from components.errors import ModelRefused

if TYPE_CHECKING:
    from pathlib import Path


MERGED = "model"
"""Folder of the merged weights."""


def prompts(samples: Path, count: int) -> list[list[dict[str, str]]]:
    """The first `count` dialogues of an evaluation's sample, each waiting for an answer."""
    lines = samples.read_text(encoding="utf-8").split("\n")[:count]
    return [json.loads(line)["messages"] for line in lines if line]


def merge(release: Path) -> None:
    """Write the folder `model`: base and adapter as one, with tokenizer and generation settings, as any server loads it."""
    base = models.load_base(release / "base_model")
    policy = models.load_adapter(base, release / "policy_adapter", name="policy")
    policy.merge_and_unload().save_pretrained(release / MERGED, safe_serialization=True)
    models.load_tokenizer(release / "base_model").save_pretrained(release / MERGED)


def answer(release: Path, dialogues: list[list[dict[str, str]]], *, max_tokens: int) -> list[str]:
    """Greedy answers of the release's policy.

    Raises:
        ModelRefused: The weights don't load, or an answer is empty.
    """
    model = models.load_base(release / MERGED)
    tokenizer = models.load_tokenizer(release / MERGED)
    settings: dict[str, Any] = {"max_new_tokens": max_tokens, "temperature": 0.0, "seed": 0, "batch_size": 8}
    answers = models.generate(model, tokenizer, dialogues, **settings)
    silent = sum(not text.strip() for text in answers)
    if silent:
        message = f"The deployed weights gave no answer to {silent} of {len(answers)} smoke prompts. The release was not made."
        raise ModelRefused(message)
    return answers
