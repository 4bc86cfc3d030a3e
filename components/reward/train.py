"""Training of the reward model: LoRA and head on the frozen base, AdamW, linear warm-up and decay. Resumes exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import softplus

from components import checkpoints, memory, models, packing, rewardmodel
from components.errors import ModelRefused, PlumblineError
from components.memory import Remedy
from components.reward import losses
from components.reward.votes import Counted
from components.rewardmodel import ScoreHead
from components.share import ALONE, Share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft import PeftModel
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from components.context import Context
    from components.pairs import Pair
    from components.reward.config import Settings
    from components.reward.votes import Votes
    from components.rewardmodel import Answered

ADAPTER = "reward"
FIRST_THRESHOLD = 0.5
"""Rao and Kupper's threshold at the start."""
LEAST = 1e-12
UNREADABLE = (PlumblineError, OSError, KeyError, RuntimeError, ValueError)
"""What loading a reward model of an older format may raise, which must not stop a new one."""
REMEDY = Remedy("reward.micro_batch", "the gradient stays the same", "leave out long dialogues, or take a smaller base model")
SCORED_PAIRS = 32
WEIGHED_PAIRS = 256
"""Pairs on which the likelihood's weight starts."""


@dataclass(frozen=True)
class Ranker:
    """A reward model in training."""

    model: PeftModel
    head: ScoreHead
    tokenizer: PreTrainedTokenizerBase
    context_tokens: int
    raw_threshold: Tensor | None
    """Softplus of it is Rao and Kupper's threshold; None where a tie counts half."""
    share: Share = ALONE
    """Of every batch, which pairs this process learns from."""
    at_once: int = 0
    """Pairs that are scored at once; 0 for `SCORED_PAIRS`."""

    @property
    def threshold(self) -> float:
        """The difference of scores below which labels tend to be ties; 0 where a tie counts half."""
        return 0.0 if self.raw_threshold is None else float(softplus(self.raw_threshold.detach()))


@dataclass(frozen=True)
class Cost:
    """What training read."""

    tokens: int
    """That the model computed on; a prompt that two answers share counts once."""
    answer_tokens: int


def load(context: Context[Settings], *, groups: int = 1) -> Ranker:
    """The frozen base with a trainable adapter and a head at zero; or one for each of so many groups, where settings say so."""
    settings = context.config
    share = Share.at(context)
    base = models.load_base(context.inputs["base_model"], parts=share.parts)
    tokenizer = models.load_tokenizer(context.inputs["base_model"])
    models.require_vocabulary(base, tokenizer)
    if settings.start_from == "sft":
        model = models.load_adapter(base, context.inputs["sft_adapter"], name=ADAPTER, trainable=True)
    else:
        model = models.new_adapter(base, name=ADAPTER, rank=settings.lora_rank, alpha=settings.lora_alpha)
    aggregation = settings.aggregation if settings.stakeholders == "head_per_group" else ""
    head = ScoreHead(models.width(base), groups if aggregation else settings.heads, aggregation=aggregation)
    head = head.to(base.device)
    if head.ensemble:
        torch.nn.init.constant_(head.caution, settings.caution)
    raw = torch.tensor(math.log(math.expm1(FIRST_THRESHOLD)), device=base.device) if settings.ties == "rao_kupper" else None
    models.quicken(model)
    longest = models.context_tokens(base)
    threshold = raw if raw is None else raw.requires_grad_()
    return Ranker(model, head, tokenizer, longest, threshold, share, settings.micro_batch)


def fit(ranker: Ranker, votes: Votes, context: Context[Settings], *, epochs: int, curve: str) -> Cost:
    """Train adapter and head in place on all labels of the pairs.

    Args:
        ranker: What is trained.
        votes: Pairs, and what each group of annotators says about them.
        context: Settings, checkpoints, and the notebook.
        epochs: Passes over the pairs.
        curve: Name of the loss's curve, and of the folder of checkpoints.

    Raises:
        ModelRefused: The loss is not finite.
    """
    settings, pairs = context.config, votes.pairs
    folder = context.checkpoints / curve
    total = epochs * math.ceil(len(pairs) / settings.batch_pairs)
    texts = [_encoded(ranker, pair) for pair in pairs]
    _weigh_likelihood(ranker, pairs, texts)
    counted = votes.by_head() if ranker.head.aggregation else votes.counted(heads=settings.heads, seed=context.seed)
    optimizer, parameters = make_optimizer(ranker, settings)
    first: dict[str, Any] = {"done": 0, "tokens": 0, "answers": 0, "series": [], "groups": votes.even}
    state = checkpoints.resume(folder, parameters, optimizer=optimizer) or first
    ranker.share.agree([*ranker.head.parameters(), *parameters.values()])
    series = [(int(at), float(loss)) for at, loss in state["series"]]
    for update in range(int(state["done"]), total):
        rows = _draw(update, len(pairs), settings.batch_pairs, seed=context.seed)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _schedule(update, total, settings.warm_up)
        batch = [texts[row] for row in rows]
        loss, groups = improve(ranker, counted.rows(rows), batch, optimizer, settings, weights=state["groups"])
        state |= {"done": update + 1, "groups": groups}
        state["tokens"] += sum(_read(ranker, two, settings) for two in batch)
        state["answers"] += sum(len(text.answer) for two in batch for text in two)
        series.append((update + 1, loss))
        if (update + 1) % settings.checkpoint_every == 0:
            checkpoints.save(folder, parameters, optimizer=optimizer, state=state | {"series": series})
        if (update + 1) % 10 == 0 or update + 1 == total:
            context.progress(update + 1, total, f"{curve} {loss:.3f}")
    for at, loss in series:
        context.track(at, **{curve: loss})
    votes.weights.update(zip(votes.groups, state["groups"], strict=True))
    if ranker.head.aggregation:
        _settle_typical(ranker, texts)
    return Cost(state["tokens"], state["answers"])


def shares_prompts(ranker: Ranker, settings: Settings) -> bool:
    """Whether the prompt of a pair is computed once."""
    return settings.share_prompts and packing.possible(ranker.model)


def _read(ranker: Ranker, two: tuple[Answered, Answered], settings: Settings) -> int:
    """Tokens that the model computes on for a pair."""
    first, second = two
    return len(first) + (len(second.answer) if shares_prompts(ranker, settings) else len(second))


def fits(ranker: Ranker, pair: Pair) -> bool:
    """Whether both answers, with the prompt, fit the base model's context."""
    return max(len(text) for text in _encoded(ranker, pair)) <= ranker.context_tokens


def scores(ranker: Ranker, pairs: Sequence[Pair]) -> list[tuple[float, float]]:
    """Raw scores of the first and the second answer of each pair."""
    sequences = [text for pair in pairs for text in _encoded(ranker, pair)]
    found = _scored(ranker, ranker.head, sequences)
    return list(zip(found[::2], found[1::2], strict=True))


def _scored(ranker: Ranker, head: ScoreHead, answered: Sequence[Answered]) -> list[float]:
    """Raw scores by a head on the ranker's adapter, two answers for each of the pairs that are read at once.

    Raises:
        ConfigRefused: Memory is short.
    """
    at_once = ranker.at_once or SCORED_PAIRS

    def score(some: Sequence[Answered], pairs: int) -> list[float]:
        pad = int(ranker.tokenizer.pad_token_id)
        return rewardmodel.score(ranker.model, head, some, pad=pad, batch_size=2 * pairs)

    def trial(pairs: int) -> None:
        score(sorted(answered, key=len, reverse=True)[: 2 * pairs], pairs)

    return memory.within(
        lambda: score(answered, at_once),
        told=lambda: f"{at_once} pairs of up to {max(map(len, answered))} tokens an answer",
        items=at_once,
        trial=None if ranker.share.sharded else trial,
        remedy=REMEDY,
    )


def doubts(ranker: Ranker, pairs: Sequence[Pair]) -> list[float]:
    """Standard deviation of the heads' scores of each answer, in raw scores."""
    pad = int(ranker.tokenizer.pad_token_id)
    found: list[float] = []
    for start in range(0, len(pairs), ranker.at_once or SCORED_PAIRS):
        texts = [text for pair in pairs[start : start + (ranker.at_once or SCORED_PAIRS)] for text in _encoded(ranker, pair)]
        found += rewardmodel.doubt(ranker.model, ranker.head, texts, pad=pad).tolist()
    return found


def _encoded(ranker: Ranker, pair: Pair) -> tuple[Answered, Answered]:
    prompt = [message.model_dump() for message in pair.prompt.messages]
    first, second = (rewardmodel.encode_answer(ranker.tokenizer, prompt, answer) for answer in pair.responses)
    return first, second


@torch.inference_mode()
def _settle_typical(ranker: Ranker, texts: Sequence[tuple[Answered, Answered]]) -> None:
    """Take each group's mean score of the training answers for that of a typical one."""
    total = torch.zeros_like(ranker.head.typical)
    for start in range(0, len(texts), ranker.at_once or SCORED_PAIRS):
        some = [text for two in texts[start : start + (ranker.at_once or SCORED_PAIRS)] for text in two]
        total += rewardmodel.member_scores(ranker.model, ranker.head, some, pad=int(ranker.tokenizer.pad_token_id)).sum(dim=1)
    ranker.head.typical.copy_(total / (2 * len(texts)))


def _weigh_likelihood(ranker: Ranker, pairs: Sequence[Pair], texts: Sequence[tuple[Answered, Answered]]) -> None:
    """Start the head from what the likelihood of an answer alone says about the labels of some pairs."""
    some = range(min(len(pairs), WEIGHED_PAIRS))
    bare = ScoreHead(ranker.head.weight.shape[-1]).to(ranker.head.weight.device)
    torch.nn.init.ones_(bare.likelihood_weight)
    answered = [text for row in some for text in texts[row]]
    nats = _scored(ranker, bare, answered)
    found = torch.tensor(nats, dtype=torch.float64)
    differences = found[::2] - found[1::2]
    scale = max(1.0, float(differences.square().mean().sqrt()))
    share = torch.tensor([pairs[row].share for row in some], dtype=torch.float64)
    labels = torch.tensor([pairs[row].counts for row in some], dtype=torch.float64)
    torch.nn.init.constant_(ranker.head.likelihood_scale, scale)
    torch.nn.init.constant_(ranker.head.likelihood_weight, losses.best_weight(differences / scale, share=share, labels=labels))


def make_optimizer(ranker: Ranker, settings: Settings) -> tuple[torch.optim.Optimizer, dict[str, Tensor]]:
    """AdamW over adapter and head, each with its learning rate; and what it trains, by name."""
    adapter = {f"adapter.{name}": value for name, value in ranker.model.named_parameters() if value.requires_grad}
    head = {f"head.{name}": value for name, value in ranker.head.named_parameters() if value.requires_grad}
    if ranker.raw_threshold is not None:
        head["threshold"] = ranker.raw_threshold
    groups = [
        {"params": list(adapter.values()), "peak": settings.learning_rate},
        {"params": list(head.values()), "peak": settings.head_learning_rate},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay), adapter | head


def improve(
    ranker: Ranker,
    counted: Counted,
    texts: Sequence[tuple[Answered, Answered]],
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    *,
    weights: Sequence[float],
) -> tuple[float, list[float]]:
    """One update on a batch of pairs; its loss by the labels, and the groups' weights after it.

    Each process learns from its share of the pairs. What a pair weighs is known from the labels of the whole batch, so
    gradients add up to those of one process.
    """
    at_once = settings.micro_batch or len(texts)

    def trial(pairs: int) -> None:
        longest_first = sorted(texts, key=lambda two: -max(map(len, two)))
        _scores(ranker, longest_first[:pairs], settings).sum().backward()

    told = memory.within(
        lambda: _accumulate(ranker, counted, texts, settings, weights=weights),
        told=lambda: f"{at_once} pairs of up to {max(len(text) for two in texts for text in two)} tokens an answer",
        items=at_once,
        trial=None if ranker.share.sharded else trial,
        remedy=REMEDY,
    )
    for group in optimizer.param_groups:
        ranker.share.add_gradients(group["params"])
        torch.nn.utils.clip_grad_norm_(group["params"], settings.gradient_clip)
    optimizer.step()
    optimizer.zero_grad()
    if settings.stakeholders != "worst_group":
        return told["loss"], list(weights)
    found = torch.tensor([told[str(group)] for group in range(len(weights))], dtype=torch.float64)
    moved = losses.worse_groups_first(torch.tensor(weights, dtype=torch.float64), found, step=settings.group_step)
    return told["loss"], moved.tolist()


def _accumulate(
    ranker: Ranker,
    counted: Counted,
    texts: Sequence[tuple[Answered, Answered]],
    settings: Settings,
    *,
    weights: Sequence[float],
) -> dict[str, float]:
    """Add up the gradient of a batch over passes of `micro_batch` pairs; the loss, and by group what its weight moves by.

    Raises:
        ModelRefused: The loss is not finite.
    """
    total = dict.fromkeys(("loss", *(str(group) for group in range(len(weights)))), 0.0)
    for rows, is_counted in ranker.share.passes(torch.arange(len(texts)), most=settings.micro_batch):
        by_group, pull = _losses(ranker, counted, texts, settings, rows=rows.tolist() if is_counted else [0])
        amount = counted.amount.to(by_group.device)
        loss = is_counted * (by_group * _importance(amount, weights, settings)).sum(dim=1).mean()
        (loss + is_counted * settings.centring * pull).backward()
        total["loss"] += float(loss.item())
        for group, value in enumerate((is_counted * by_group.detach() * amount).mean(dim=0).tolist()):
            total[str(group)] += value
    told = ranker.share.added(total)
    if not math.isfinite(told["loss"]):
        message = f"The loss of the reward model became {told['loss']}. Run `reward` again with a lower reward.learning_rate."
        raise ModelRefused(message)
    return told


def _importance(amount: Tensor, weights: Sequence[float], settings: Settings) -> Tensor:
    """(K, G) what each group's mean loss in a batch counts, from how much of its labels the batch has.

    Where groups are weighed against each other, a group that few batches have counts more in these: over all batches each
    counts by its weight. Else those that the batch has share it.
    """
    wanted = torch.tensor(weights, device=amount.device)
    if settings.stakeholders in {"balanced", "worst_group"}:
        return wanted * amount
    heard = wanted * (amount > 0)
    return heard / heard.sum(dim=1, keepdim=True).clamp(min=LEAST)


def _losses(
    ranker: Ranker,
    counted: Counted,
    texts: Sequence[tuple[Answered, Answered]],
    settings: Settings,
    *,
    rows: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """(K, G) part of each group's mean loss, and part of the mean of what centring pulls at, that is these pairs'."""
    on = ranker.head.weight.device
    mine, labels = counted.rows(rows).to(on), counted.labels.sum(dim=1).to(on)
    first, second = _scores(ranker, [texts[row] for row in rows], settings).unbind(dim=-1)
    each = _nats(ranker, (first - second).unsqueeze(-1), mine, margin=settings.strength_margin * mine.strength)
    means = torch.stack([losses.group_losses(*member) for member in zip(each, mine.labels, strict=True)])
    weight = mine.labels.sum(dim=1) / labels.clamp(min=torch.finfo(labels.dtype).tiny)
    return means * weight, losses.centring(first, second) * (len(rows) / len(texts))


def _scores(ranker: Ranker, texts: Sequence[tuple[Answered, Answered]], settings: Settings) -> Tensor:
    """(K, B, 2) raw scores by each head, of both answers of each pair."""
    pad = int(ranker.tokenizer.pad_token_id)
    if shares_prompts(ranker, settings):
        return rewardmodel.pair_scores(ranker.model, ranker.head, texts, pad=pad)
    return rewardmodel.member_scores(ranker.model, ranker.head, [text for two in texts for text in two], pad=pad).unflatten(
        1, (-1, 2)
    )


def _nats(ranker: Ranker, difference: Tensor, counted: Counted, *, margin: Tensor) -> Tensor:
    """(K, B, 1) differences of scores → (K, B, G) loss by label."""
    if ranker.raw_threshold is None:
        return losses.bradley_terry(difference, share=counted.share, margin=margin)
    threshold = softplus(ranker.raw_threshold)
    return losses.rao_kupper(difference, share=counted.share, ties=counted.ties, threshold=threshold, margin=margin)


@torch.no_grad()
def log_loss(ranker: Ranker, differences: Sequence[float], pairs: Sequence[Pair]) -> float:
    """Mean negative log-likelihood of a label in nats, by the model's own chances and without margins."""
    of_pairs = ([float(getattr(pair, name)) for pair in pairs] for name in ("share", "ties", "strength", "counts"))
    on = ranker.head.weight.device
    share, ties, strength, labels = (torch.tensor(column, dtype=torch.float64)[:, None] for column in of_pairs)
    counted = Counted(share, ties, strength, labels[None], labels.mean(dim=0, keepdim=True)).to(on)
    each = _nats(
        ranker, torch.tensor(differences, dtype=torch.float64, device=on)[:, None], counted, margin=torch.zeros(1, device=on)
    )
    return float(losses.group_losses(each, counted.labels[0]).item())


def _schedule(update: int, total: int, warm_up: float) -> float:
    """Share of the peak learning rate: rises linearly during the warm-up, falls linearly to zero after it."""
    rising = max(1, round(warm_up * total))
    return min((update + 1) / rising, (total - update) / max(1, total - rising))


def _draw(update: int, rows: int, batch: int, *, seed: int) -> list[int]:
    """Rows of an update: every epoch is a permutation of its own, the same wherever training resumes."""
    epoch, part = divmod(update, math.ceil(rows / batch))
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(1_000_003 * seed + epoch))
    return [int(row) for row in order[part * batch : (part + 1) * batch]]


def account(context: Context[Settings], ranker: Ranker, costs: Sequence[Cost]) -> None:
    """What training cost, by counted formula: `models.pass_flop`, both ways."""
    tokens, answers = sum(cost.tokens for cost in costs), sum(cost.answer_tokens for cost in costs)
    trained = models.parameter_count(ranker.model, trainable=True)
    context.measure("training_tokens", tokens, unit="tokens")
    context.measure("trained_parameters", trained + models.parameter_count(ranker.head), unit="parameters")
    flop = sum(models.pass_flop(ranker.model, ADAPTER, tokens=tokens, answer_tokens=answers))
    context.measure("flop", flop, unit="FLOP")
