"""The story of `base`: make, copy or fetch the base model, and measure it on text it has not seen."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING

import torch

from components import models, records
from components.base import pretrain, sources, tokenizer
from components.errors import ConfigRefused, DataRefused

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast

    from components.base.config import Settings
    from components.context import Context

HELD_OUT_PER_MILLE = 20
MEASURED_ROWS = 64


def run(context: Context[Settings]) -> None:
    """Publish the base model."""
    version = json.loads((context.inputs["base_version"] / "base_version.json").read_text(encoding="utf-8"))
    target = context.output("base_model")
    if version["source"] == "folder":
        sources.from_folder(version, target)
    elif version["source"] == "hub":
        sources.from_hub(version, target, context.scratch)
    else:
        _from_scratch(context, target)
    _measure(context, target)
    context.fact("source", version)


def _from_scratch(context: Context[Settings], target: Path) -> None:
    settings = context.config
    if settings.hidden % settings.heads:
        message = f"base.heads must divide base.hidden, found {settings.heads} and {settings.hidden}."
        raise ConfigRefused(message)
    training, _ = _texts(context)
    if not training:
        message = "corpus.jsonl has no text to pre-train on. Give a corpus, or a base model with base.source = folder or hub."
        raise DataRefused(message)
    models.seed_everything(context.seed)
    tokens = tokenizer.train(training, vocabulary=settings.vocabulary)
    rows = _rows(tokens, training, settings.context_tokens)
    model = pretrain.fresh_model(settings, vocabulary=len(tokens), pad=tokens.pad_token_id, end=tokens.eos_token_id)
    models.share_out(model)
    model.to(models.device())

    def tell(done: int, total: int, loss: float) -> None:
        if done % 10 == 0 or done == total:
            context.track(done, loss=loss)
            context.progress(done, total, f"loss {loss:.2f}")

    made = pretrain.pretrain(model, rows, settings, seed=context.seed, checkpoints=context.checkpoints, tell=tell)
    made.model.save_pretrained(target, safe_serialization=True)
    tokens.save_pretrained(target)
    context.measure("pretraining_loss", made.losses[-1], unit="nats per token", n=made.tokens)
    context.measure("pretraining_tokens", made.tokens, unit="tokens")
    context.measure("flop", 6 * models.parameter_count(model) * made.tokens, unit="FLOP")


def _texts(context: Context[Settings]) -> tuple[list[str], list[str]]:
    """Training and held-out texts, told apart by a hash of their ids."""
    training: list[str] = []
    held_out: list[str] = []
    for text in records.read(context.inputs["corpus"] / "corpus.jsonl", records.Text):
        place = int(hashlib.sha256(text.id.encode()).hexdigest()[:8], 16) % 1000
        (held_out if place < HELD_OUT_PER_MILLE else training).append(text.text)
    return training, held_out


def _rows(tokens: PreTrainedTokenizerFast, texts: list[str], context_tokens: int) -> torch.Tensor:
    ids = tokens(texts, add_special_tokens=False)["input_ids"]
    return pretrain.pack(ids, context_tokens=context_tokens, end=tokens.eos_token_id, pad=tokens.pad_token_id)


def _measure(context: Context[Settings], folder: Path) -> None:
    """Size, and perplexity on held-out text where there is a corpus."""
    model, tokens = models.load_base(folder), models.load_tokenizer(folder)
    context.measure("parameters", models.parameter_count(model), unit="parameters")
    context.fact("architecture", list(model.config.architectures or []))
    longest = models.context_tokens(model)
    context.fact("context_tokens", longest)
    _, held_out = _texts(context)
    if not held_out:
        context.gap("held_out_perplexity", "the corpus holds no text that was kept apart")
        return
    rows = _rows(tokens, held_out, min(longest, context.config.context_tokens))[:MEASURED_ROWS]
    with torch.inference_mode():
        loss = pretrain.mean_loss(model, rows.to(model.device), pad=tokens.pad_token_id).item()
    context.measure(
        "held_out_perplexity", math.exp(min(loss, 50.0)), unit="perplexity", n=int((rows != tokens.pad_token_id).sum())
    )
