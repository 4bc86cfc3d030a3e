"""One PPO update: what a batch of answers earned, and several passes that make the better ones likelier.

Shapes: B sequences, T response tokens.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from components.errors import ModelRefused
from components.ppo import actors as acting
from components.ppo import losses, passes, rewards
from components.ppo.advantages import gae, whiten
from components.sequences import at_least_float32, spread, token_logprobs
from components.share import ALONE, Share

if TYPE_CHECKING:
    from torch import Tensor

    from components.ppo.actors import Actors
    from components.ppo.config import Settings
    from components.ppo.rollout import Rollout


METRICS = ("policy_loss", "value_loss", "clip_fraction", "approx_kl_nats")
"""What `improve` says about its passes, averaged over response tokens."""


@dataclass(frozen=True)
class Experience:
    """A batch of answers and what they were worth."""

    rollout: Rollout
    states: Tensor
    """(B, T, H + 1) what the value head reads, of the answers that are this process's."""
    values: Tensor
    """(B, T) values when the answers were sampled. [reward]"""
    returns: Tensor
    """(B, T) what they should have been. [reward]"""
    advantages: Tensor
    """(B, T) whitened over the response tokens of the batch."""
    metrics: dict[str, float]
    share: Share = ALONE
    """Whose answers `states` and `entering` hold; all else is of all answers."""
    entering: Tensor | None = None
    """(B, P + T, H) what enters the layers that train, of the same answers; None where every pass computes it."""


def optimizer_of(actors: Actors, settings: Settings) -> torch.optim.Optimizer:
    """AdamW over the policy's adapter, the value head and its adapter, each with the peak of its learning rate."""
    groups: list[dict[str, object]] = [
        {"params": [*actors.adapter_parameters().values()], "peak": settings.learning_rate},
        {"params": [*actors.value_head.parameters()], "peak": settings.value_learning_rate},
    ]
    if actors.value_parameters():
        groups.append({"params": [*actors.value_parameters().values()], "peak": settings.learning_rate})
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)


@torch.no_grad()
def appraise(actors: Actors, rollout: Rollout, settings: Settings, *, kl_coef: float, share: Share = ALONE) -> Experience:
    """Score the answers, charge them for their distance to the reference, and estimate advantages.

    Raises:
        ModelRefused: A score is not finite.
    """
    rows = share.of(torch.arange(len(rollout.responses), device=rollout.responses.device))
    mine = rollout if share.ranks == 1 else rollout.rows(rows)
    most = math.ceil(len(rollout.responses) / share.ranks)
    own_raw, states = acting.judged(actors, mine, actors.reward, at_once=settings.micro_batch, most=most)
    if actors.value_parameters():
        _, states = acting.judged(actors, mine, actors.values, at_once=settings.micro_batch, most=most)
    raw = share.whole(own_raw, rows, (len(rollout.responses),))
    is_response = rollout.is_response
    scores = rewards.normalised(raw, mean=actors.reward.card.mean, std=actors.reward.card.std, clip=settings.reward_clip)
    paid = rewards.with_eos_penalty(scores, rollout.has_eos, penalty=settings.eos_penalty)
    reference, entering = _by_reference(actors, mine, settings, most=most, keep=actors.lowest > 0)
    kl = {name: share.whole(part, rows, is_response.shape) for name, part in _estimates(mine, reference).items()}
    each = rewards.token_rewards(paid, kl[settings.kl_estimator], is_response, kl_coef=kl_coef)
    values = share.whole(spread(actors.value_head(states[mine.is_response]), mine.is_response), rows, is_response.shape)
    advantages = gae(each, values, discount=settings.discount, gae_lambda=settings.gae_lambda)
    return Experience(
        rollout=rollout,
        states=states,
        values=values,
        returns=(advantages + values) * is_response,
        advantages=whiten(advantages, is_response),
        metrics=_earned(rollout, scores, each, kl),
        share=share,
        entering=None if entering is None else _as_wide(entering, rollout, rows),
    )


def _earned(rollout: Rollout, scores: Tensor, each: Tensor, kl: dict[str, Tensor]) -> dict[str, float]:
    """What an update says about its answers: (B,) scores, (B, T) rewards and estimates of the KL, as means over answers."""
    is_response = rollout.is_response
    return {
        "reward": float(scores.mean()),
        "entropy_nats": float(losses.response_mean(rollout.entropies, is_response)),
        "reward_after_penalties": float(each.sum(dim=1).mean()),
        "kl_k1_nats": float((kl["k1"] * is_response).sum(dim=1).mean()),
        "kl_k3_nats": float((kl["k3"] * is_response).sum(dim=1).mean()),
        "response_tokens": float(is_response.sum(dim=1).float().mean()),
        "share_without_eos": float((~rollout.has_eos).float().mean()),
    }


@torch.no_grad()
def divergence(actors: Actors, rollout: Rollout, settings: Settings) -> dict[str, Tensor]:
    """Estimator → (B, T) estimates of KL(policy ‖ reference) of each response token, in nats."""
    return _estimates(rollout, _by_reference(actors, rollout, settings)[0])


def _estimates(rollout: Rollout, reference: Tensor) -> dict[str, Tensor]:
    return {"k1": rewards.kl_k1(rollout.logprobs, reference), "k3": rewards.kl_k3(rollout.logprobs, reference)}


def _by_reference(
    actors: Actors, rollout: Rollout, settings: Settings, *, most: int = 0, keep: bool = False
) -> tuple[Tensor, Tensor | None]:
    """(B, T) log-probabilities by the reference; and (B, P + T, H) what enters the layers that train, where it is to be kept.

    Below those the reference is the policy, whatever that has learnt.
    """

    def read(answers: Rollout) -> tuple[Tensor, ...]:
        if keep:
            logits, states = acting.response_logits_and_states(actors.model, answers)
        else:
            logits, states = acting.response_logits(actors.model, answers), None
        found = token_logprobs(logits, answers.responses[answers.is_response], temperature=settings.temperature)
        by_answer = spread(found, answers.is_response)
        if states is None:
            return (by_answer,)
        prompt_tokens = answers.prompts.shape[1]
        return by_answer, states[:, :prompt_tokens].flip(1), states[:, prompt_tokens:]

    with actors.acting(acting.REFERENCE):
        reference, *kept = passes.in_passes(rollout, read, at_once=settings.micro_batch, most=most, alone=actors.is_whole)
    return reference, torch.cat([kept[0].flip(1), kept[1]], dim=1) if kept else None


def improve(
    actors: Actors, experience: Experience, settings: Settings, *, optimizer: torch.optim.Optimizer, seed: int
) -> dict[str, float]:
    """Several passes of shuffled minibatches over the answers; returns the metrics' means over the optimiser steps.

    Raises:
        ModelRefused: The loss is not finite.
        ConfigRefused: Memory is short. The message has the `micro_batch` that fits.
    """
    found: list[dict[str, float]] = []
    shuffle = torch.Generator().manual_seed(seed)
    with actors.acting(acting.POLICY):
        for _ in range(settings.epochs):
            for rows in torch.randperm(len(experience.values), generator=shuffle).split(settings.minibatch):
                found.append(_within_memory(actors, experience, rows.to(experience.values.device), settings))
                experience.share.add_gradients(actors.trainable().values())
                _descend(optimizer, settings.gradient_clip)
    return {name: sum(metrics[name] for metrics in found) / len(found) for name in found[0]}


def _within_memory(actors: Actors, experience: Experience, rows: Tensor, settings: Settings) -> dict[str, float]:
    mine = experience.share.of(rows)

    def trial(longest_first: Tensor) -> None:
        _loss(actors, experience, longest_first, settings)[0].backward()

    return passes.within(
        lambda: _accumulate(actors, experience, rows, settings),
        rollout=experience.rollout,
        rows=mine,
        answers=settings.micro_batch or len(mine),
        trial=None if experience.share.sharded else trial,
    )


def _accumulate(actors: Actors, experience: Experience, rows: Tensor, settings: Settings) -> dict[str, float]:
    """Add up the gradient of the minibatch's loss, and its metrics, over passes of `micro_batch` answers.

    Averages are over the response tokens of the minibatch, so a pass weighs as much as it has of them: the sum is exact
    however lengths differ. Processes add up what each found for its own answers.
    """
    tokens = experience.rollout.is_response[rows].sum()
    total = dict.fromkeys(METRICS, 0.0)
    for part, counts in experience.share.passes(rows, most=settings.micro_batch):
        weight = counts * float(experience.rollout.is_response[part].sum() / tokens)
        loss, metrics = _loss(actors, experience, part, settings)
        if not bool(torch.isfinite(loss)):
            message = f"The PPO loss became {loss.item()}. Run `ppo` again with a lower ppo.learning_rate."
            raise ModelRefused(message)
        (loss * weight).backward()
        total = {name: total[name] + weight * value for name, value in metrics.items()}
    return experience.share.added(total)


def _loss(actors: Actors, experience: Experience, rows: Tensor, settings: Settings) -> tuple[Tensor, dict[str, float]]:
    """Policy and value loss, less the entropy bonus, averaged over the minibatch's response tokens."""
    rollout = experience.rollout.rows(rows)
    is_response = rollout.is_response
    old_values, returns, advantages = (
        part[rows, : is_response.shape[1]] for part in (experience.values, experience.returns, experience.advantages)
    )
    with actors.acting(acting.POLICY) if actors.value_parameters() else nullcontext():
        logits = acting.response_logits(actors.model, rollout, entering=_entering(experience, rows))
    logprobs = spread(token_logprobs(logits, rollout.responses[is_response], temperature=settings.temperature), is_response)
    policy, clipped = losses.policy_loss(
        logprobs, rollout.logprobs, advantages=advantages, is_response=is_response, clip_range=settings.clip_range
    )
    states = _known(actors, experience, rows)
    values = spread(actors.value_head(states[is_response]), is_response)
    value = losses.value_loss(
        values, old_values, returns=returns, is_response=is_response, clip_range=settings.value_clip_range
    )
    moved = losses.response_mean(rewards.kl_k3(rollout.logprobs, logprobs.detach()), is_response)
    metrics = {
        "policy_loss": policy.item(),
        "value_loss": value.item(),
        "clip_fraction": clipped.item(),
        "approx_kl_nats": moved.item(),
    }
    if not settings.entropy_coef:
        return policy + value, metrics
    entropy = losses.entropy(at_least_float32(logits) / settings.temperature).mean()
    return policy + value - settings.entropy_coef * entropy, metrics


def _known(actors: Actors, experience: Experience, rows: Tensor) -> Tensor:
    """(b, t, H + 1) what the value head reads of the rows: anew where it has an adapter, which learns."""
    if actors.value_parameters():
        return acting.known(actors, experience.rollout.rows(rows))
    _, last = experience.rollout.columns(rows)
    return experience.states[rows // experience.share.ranks, :last]


def _as_wide(entering: Tensor, rollout: Rollout, rows: Tensor) -> Tensor:
    """(b, p + t, H) of some rows to (b, P + T, H)."""
    first, last = rollout.columns(rows)
    return torch.nn.functional.pad(entering, (0, 0, first, rollout.responses.shape[1] - last))


def _entering(experience: Experience, rows: Tensor) -> Tensor | None:
    """(b, p + t, H) of the rows, laid out as `Rollout.rows` lays them out."""
    if experience.entering is None:
        return None
    first, last = experience.rollout.columns(rows)
    return experience.entering[rows // experience.share.ranks, first : experience.rollout.prompts.shape[1] + last]


def _descend(optimizer: torch.optim.Optimizer, gradient_clip: float) -> None:
    for group in optimizer.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], gradient_clip)
    optimizer.step()
    optimizer.zero_grad()
