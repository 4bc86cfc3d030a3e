"""Pre-training from scratch: whole texts packed into rows, AdamW, one cosine. Resumes exactly where it was killed."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from components import models

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from components.base.config import Settings

WARM_UP = 0.05
MLP_RATIO = 8 / 3
SAVE_EVERY = 100
"""Updates between checkpoints."""
IGNORED = -100


@dataclass(frozen=True)
class Pretraining:
    """What came of it."""

    model: LlamaForCausalLM
    losses: list[float]
    tokens: int
    """Tokens trained on, padding left out."""


def fresh_model(settings: Settings, *, vocabulary: int, pad: int, end: int) -> LlamaForCausalLM:
    """An untrained Llama with tied embeddings."""
    shape = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=settings.hidden,
        intermediate_size=8 * round(settings.hidden * MLP_RATIO / 8),
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=settings.context_tokens,
        tie_word_embeddings=True,
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=end,
    )
    return LlamaForCausalLM(shape)


def pack(texts: Sequence[Sequence[int]], *, context_tokens: int, end: int, pad: int) -> Tensor:
    """Whole texts, each closed by `end`, packed into rows of `context_tokens`; the rest of a row is padding.

    Returns:
        (rows, context_tokens) token ids. A text longer than a row is cut into rows of its own.
    """
    rows: list[list[int]] = [[]]
    for text in texts:
        closed = [*text] if text and text[-1] == end else [*text, end]
        for start in range(0, len(closed), context_tokens):
            piece = closed[start : start + context_tokens]
            if len(rows[-1]) + len(piece) > context_tokens:
                rows.append([])
            rows[-1].extend(piece)
    return torch.tensor([row + [pad] * (context_tokens - len(row)) for row in rows if row])


def mean_loss(model: Any, rows: Tensor, *, pad: int) -> Tensor:
    """Cross-entropy per next token in nats, averaged over tokens that are not padding."""
    logits = model(input_ids=rows, attention_mask=rows != pad, use_cache=False).logits
    targets = functional.pad(rows[:, 1:], (0, 1), value=pad)  # shifted, so that the far larger logits need no copy
    targets = targets.masked_fill(targets == pad, IGNORED)
    return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def pretrain(
    model: LlamaForCausalLM,
    rows: Tensor,
    settings: Settings,
    *,
    seed: int,
    checkpoints: Path,
    tell: Callable[[int, int, float], None],
) -> Pretraining:
    """Train `model` on packed rows.

    Args:
        model: Trained in place.
        rows: (rows, context_tokens) token ids.
        settings: Batch, epochs, learning rate.
        seed: Of the order of the rows.
        checkpoints: Folder with the last checkpoint, if there is one.
        tell: Called after each update with updates done, updates in all, and the loss.
    """
    pad = int(model.config.pad_token_id)
    total = max(1, min(settings.max_updates, math.ceil(len(rows) * settings.epochs / settings.batch_rows)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01, fused=True)
    losses = _resume(checkpoints, model, optimizer)
    model.train()
    for update in range(len(losses), total):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(update, total)
        batch = rows[_draw(update, len(rows), settings.batch_rows, seed)].to(model.device)
        loss = mean_loss(model, batch, pad=pad)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        tell(update + 1, total, losses[-1])
        if (update + 1) % SAVE_EVERY == 0:
            _save(checkpoints, model, optimizer, losses)
    seen = torch.cat([_draw(update, len(rows), settings.batch_rows, seed) for update in range(total)])
    return Pretraining(model.eval(), losses, int((rows[seen] != pad).sum()))


def _schedule(update: int, total: int) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    warm = max(1, round(WARM_UP * total))
    if update < warm:
        return (update + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (update - warm) / max(1, total - warm)))


def _draw(update: int, rows: int, batch: int, seed: int) -> Tensor:
    """The rows of an update: a fresh permutation each epoch, the same for the same seed wherever one resumes."""
    first, last = update * batch // rows, ((update + 1) * batch - 1) // rows
    order = torch.cat([_order(epoch, rows, seed) for epoch in range(first, last + 1)])
    start = update * batch - first * rows
    return order[start : start + batch]


def _order(epoch: int, rows: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(rows, generator=generator)


def _save(folder: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, losses: list[float]) -> None:
    """Weights, moments and losses, whole or not at all: the JSON names the tensors' file, and is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"weight.{name}": value for name, value in model.named_parameters()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"moment.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    name = f"update-{len(losses)}.safetensors"
    models.save_tensors(folder / name, tensors)
    draft = folder / ".state.draft"
    draft.write_text(json.dumps({"tensors": name, "losses": losses}), encoding="utf-8")
    draft.replace(folder / "state.json")
    for old in folder.glob("update-*.safetensors"):
        if old.name != name:
            old.unlink()


def _resume(folder: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer) -> list[float]:
    """Load the last checkpoint into model and optimizer; the losses so far, none where there is no checkpoint."""
    state_file = folder / "state.json"
    if not state_file.exists():
        return []
    state = json.loads(state_file.read_text(encoding="utf-8"))
    tensors = models.load_tensors(folder / state["tensors"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"weight.{name}"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "moment":
            index, _, part = rest.partition(".")
            moments.setdefault(int(index), {})[part] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    return list(state["losses"])
