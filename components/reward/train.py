"""Training of the reward model: LoRA and head on the frozen base, AdamW, linear warm-up and decay. Resumes exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from components import checkpoints, models, rewardmodel
from components.errors import ModelRefused
from components.reward import losses
from components.rewardmodel import ScoreHead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft import PeftModel
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from components.context import Context
    from components.reward.config import Settings
    from components.reward.pairs import Pair
    from components.rewardmodel import Answered

ADAPTER = "reward"
WEIGHED_PAIRS = 256
"""Pairs on which the likelihood's weight starts."""


@dataclass(frozen=True)
class Ranker:
    """A reward model in training."""

    model: PeftModel
    head: ScoreHead
    tokenizer: PreTrainedTokenizerBase
    context_tokens: int


def load(context: Context[Settings]) -> Ranker:
    """The frozen base with a trainable adapter and a head at zero."""
    settings = context.config
    base = models.load_base(context.inputs["base_model"])
    if settings.start_from == "sft":
        model = models.load_adapter(base, context.inputs["sft_adapter"], name=ADAPTER, trainable=True)
    else:
        model = models.new_adapter(base, name=ADAPTER, rank=settings.lora_rank, alpha=settings.lora_alpha)
    head = ScoreHead(int(base.config.hidden_size)).to(base.device)
    models.quicken(model)
    tokenizer = models.load_tokenizer(context.inputs["base_model"])
    return Ranker(model, head, tokenizer, int(base.config.max_position_embeddings))


def fit(ranker: Ranker, pairs: Sequence[Pair], context: Context[Settings], *, epochs: int, curve: str) -> int:
    """Train adapter and head in place on all labels of the pairs; returns the tokens that were read.

    Args:
        ranker: What is trained.
        pairs: What from.
        context: Settings, checkpoints, and the notebook.
        epochs: Passes over the pairs.
        curve: Name of the loss's curve, and of the folder of checkpoints.

    Raises:
        ModelRefused: The loss is not finite.
    """
    settings = context.config
    folder = context.checkpoints / curve
    total = epochs * math.ceil(len(pairs) / settings.batch_pairs)
    texts = [_encoded(ranker, pair) for pair in pairs]
    _weigh_likelihood(ranker, pairs, texts)
    optimizer, parameters = _optimizer(ranker, settings)
    state = checkpoints.resume(folder, parameters, optimizer=optimizer) or {"done": 0, "tokens": 0, "series": []}
    tokens = int(state["tokens"])
    series = [(int(at), float(loss)) for at, loss in state["series"]]
    for update in range(int(state["done"]), total):
        rows = _draw(update, len(pairs), settings.batch_pairs, seed=context.seed)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _schedule(update, total, settings.warm_up)
        loss = _step(ranker, [pairs[row] for row in rows], [texts[row] for row in rows], optimizer, settings)
        tokens += sum(len(text) for row in rows for text in texts[row])
        series.append((update + 1, loss))
        if (update + 1) % settings.checkpoint_every == 0:
            state = {"done": update + 1, "tokens": tokens, "series": series}
            checkpoints.save(folder, parameters, optimizer=optimizer, state=state)
        if (update + 1) % 10 == 0 or update + 1 == total:
            context.progress(update + 1, total, f"{curve} {loss:.3f}")
    for at, loss in series:
        context.track(at, **{curve: loss})
    return tokens


def fits(ranker: Ranker, pair: Pair) -> bool:
    """Whether both answers, with the prompt, fit the base model's context."""
    return max(len(text) for text in _encoded(ranker, pair)) <= ranker.context_tokens


def scores(ranker: Ranker, pairs: Sequence[Pair]) -> list[tuple[float, float]]:
    """Raw scores of the first and the second answer of each pair."""
    sequences = [text for pair in pairs for text in _encoded(ranker, pair)]
    found = rewardmodel.score(ranker.model, ranker.head, sequences, pad=ranker.tokenizer.pad_token_id)
    return list(zip(found[::2], found[1::2], strict=True))


def chance(difference: float) -> float:
    """Bradley–Terry's probability that the first answer is preferred, from the difference of scores."""
    return 0.5 * (1 + math.tanh(difference / 2))


def _encoded(ranker: Ranker, pair: Pair) -> tuple[Answered, Answered]:
    prompt = [message.model_dump() for message in pair.prompt.messages]
    first, second = (rewardmodel.encode_answer(ranker.tokenizer, prompt, answer) for answer in pair.responses)
    return first, second


def _weigh_likelihood(ranker: Ranker, pairs: Sequence[Pair], texts: Sequence[tuple[Answered, Answered]]) -> None:
    """Start the head from what the likelihood of an answer alone says about the labels of some pairs."""
    some = range(min(len(pairs), WEIGHED_PAIRS))
    bare = ScoreHead(len(ranker.head.weight)).to(ranker.head.weight.device)
    torch.nn.init.ones_(bare.likelihood_weight)
    answered = [text for row in some for text in texts[row]]
    nats = rewardmodel.score(ranker.model, bare, answered, pad=int(ranker.tokenizer.pad_token_id))
    found = torch.tensor(nats, dtype=torch.float64)
    differences = found[::2] - found[1::2]
    scale = max(1.0, float(differences.square().mean().sqrt()))
    share = torch.tensor([pairs[row].share for row in some], dtype=torch.float64)
    labels = torch.tensor([pairs[row].counts for row in some], dtype=torch.float64)
    torch.nn.init.constant_(ranker.head.likelihood_scale, scale)
    torch.nn.init.constant_(ranker.head.likelihood_weight, losses.best_weight(differences / scale, share=share, labels=labels))


def _optimizer(ranker: Ranker, settings: Settings) -> tuple[torch.optim.Optimizer, dict[str, Tensor]]:
    adapter = {f"adapter.{name}": value for name, value in ranker.model.named_parameters() if value.requires_grad}
    head = {f"head.{name}": value for name, value in ranker.head.named_parameters() if value.requires_grad}
    groups = [
        {"params": list(adapter.values()), "peak": settings.learning_rate},
        {"params": list(head.values()), "peak": settings.head_learning_rate},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay), adapter | head


def _step(
    ranker: Ranker,
    pairs: Sequence[Pair],
    texts: Sequence[tuple[Answered, Answered]],
    optimizer: torch.optim.Optimizer,
    settings: Settings,
) -> float:
    """One update on a batch of pairs; returns its Bradley–Terry loss."""
    pad = int(ranker.tokenizer.pad_token_id)
    found = rewardmodel.scores_of(ranker.model, ranker.head, [text for pair in texts for text in pair], pad=pad)
    first, second = found[::2], found[1::2]
    share = torch.tensor([pair.share for pair in pairs], device=found.device)
    labels = torch.tensor([pair.counts for pair in pairs], device=found.device)
    loss = losses.bradley_terry(first, second, share=share, labels=labels)
    if not bool(torch.isfinite(loss)):
        message = f"The loss of the reward model became {loss.item()}. Run `reward` again with a lower reward.learning_rate."
        raise ModelRefused(message)
    (loss + settings.centring * losses.centring(first, second)).backward()
    for group in optimizer.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], settings.gradient_clip)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.item())


def _schedule(update: int, total: int, warm_up: float) -> float:
    """Share of the peak learning rate: rises linearly during the warm-up, falls linearly to zero after it."""
    rising = max(1, round(warm_up * total))
    return min((update + 1) / rising, (total - update) / max(1, total - rising))


def _draw(update: int, rows: int, batch: int, *, seed: int) -> list[int]:
    """Rows of an update: every epoch is a permutation of its own, the same wherever training resumes."""
    epoch, part = divmod(update, math.ceil(rows / batch))
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(1_000_003 * seed + epoch))
    return [int(row) for row in order[part * batch : (part + 1) * batch]]


def account(context: Context[Settings], ranker: Ranker, tokens: int) -> None:
    """What training cost: 2 FLOP a parameter and token forwards, 2 backwards, 2 a trained parameter for its gradient."""
    every = models.parameter_count(ranker.model)
    trained = models.parameter_count(ranker.model, trainable=True)
    context.measure("training_tokens", tokens, unit="tokens")
    context.measure("trained_parameters", trained + models.parameter_count(ranker.head), unit="parameters")
    context.measure("flop", (4 * every + 2 * trained) * tokens, unit="FLOP")
