"""One frozen base in memory and what is switched on it: policy, reference, reward model, held-out judge; and a value head.

Shapes: B sequences, T response tokens, N response tokens in all, V vocabulary, H hidden size.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from components import layers, models, packing, rewardmodel
from components.ppo import passes
from components.rewardmodel import Answered, Card, ScoreHead
from components.sequences import answer_logits, at_least_float32, entering_states

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from components.ppo.config import Settings
    from components.ppo.rollout import Rollout

POLICY, REFERENCE, REWARD, JUDGE, VALUE = "policy", "reference", "reward", "judge", "value"


class ValueHead(nn.Module):
    """Expected reward to come, from what the reward model knew. A small network whose output starts at 0.

    The likelihood so far is one number beside H numbers of state; times √H it weighs as much as all of them together.
    """

    def __init__(self, states: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(states + 1, hidden)
        self.outer = nn.Linear(hidden, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, known: Tensor) -> Tensor:
        """(..., H + 1) states and likelihoods so far to (...) values."""
        states, nats = known[..., :-1], known[..., -1:]
        scaled = torch.cat([states, math.sqrt(states.shape[-1]) * nats], dim=-1)
        return self.outer(torch.tanh(self.inner(scaled))).squeeze(-1)


@dataclass(frozen=True)
class Scorer:
    """A reward model: its adapter on the base, its head and its card."""

    adapter: str
    head: ScoreHead
    card: Card


@dataclass(frozen=True)
class Actors:
    """Everything that answers, scores or judges during PPO."""

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    reward: Scorer
    """What PPO optimises."""
    judge: Scorer
    """Learnt from other annotators; watches, and is never optimised."""
    value_head: ValueHead
    context_tokens: int
    is_whole: bool = True
    """Whether this process has all of the base, and can call it by itself."""
    frozen: frozenset[str] = frozenset()
    """Names of what the policy's adapter has in lower layers, which stay the reference's."""
    lowest: int = 0
    """Number of the lowest layer that is computed where the states that enter it are known; 0: these are not kept."""

    @contextmanager
    def acting(self, adapter: str) -> Iterator[PeftModel]:
        """The model with one adapter switched on, until another is. What is trained takes gradients while any of it is on."""
        self.model.set_adapter(adapter)
        for parameter in self.model.parameters():
            parameter.requires_grad_(requires_grad=False)
        for parameter in (*self.adapter_parameters().values(), *self.value_parameters().values()):
            parameter.requires_grad_(adapter in {POLICY, VALUE})
        yield self.model

    def adapter_parameters(self) -> dict[str, Tensor]:
        """What is trained of the policy's adapter, by name."""
        named = self.model.named_parameters()
        return {name: value for name, value in named if f".{POLICY}." in name and name not in self.frozen}

    def value_parameters(self) -> dict[str, Tensor]:
        """The value function's adapter, by name; nothing where it has none."""
        return {name: value for name, value in self.model.named_parameters() if f".{VALUE}." in name}

    def trainable(self) -> dict[str, Tensor]:
        """What PPO changes, by name: the policy's adapter, the value head, and its adapter where it has one."""
        head = {f"value_head.{name}": value for name, value in self.value_head.named_parameters()}
        return self.adapter_parameters() | head | self.value_parameters()

    @property
    def values(self) -> Scorer:
        """By which the value head reads answers: the reward model, with the value function's adapter where it has one."""
        return replace(self.reward, adapter=VALUE if VALUE in self.model.peft_config else REWARD)


def load(
    inputs: Mapping[str, Path], *, base_digest: str, settings: Settings, parts: int = 1, upper_share: float | None = None
) -> Actors:
    """The base once, with four adapters: the policy starts as a copy of the reference.

    Args:
        inputs: Folders of base model and adapters.
        base_digest: Of the base model; empty where nobody knows it.
        settings: Of `ppo`.
        parts: Into how many the base is split.
        upper_share: In place of the setting.

    Raises:
        ModelRefused: The reward model belongs to another base model or tokenizer, or a folder holds no such model.
    """
    tokenizer = models.load_tokenizer(inputs["base_model"])
    cards = {REWARD: Card.read(inputs["reward_adapter"]), JUDGE: Card.read(inputs["judge_adapter"])}
    for card in cards.values():
        card.require(base_digest=base_digest, tokenizer_digest=rewardmodel.tokenizer_digest(tokenizer))
    base = models.load_base(inputs["base_model"], as_type=models.precision(settings.precision), parts=parts)
    models.require_vocabulary(base, tokenizer)
    model = models.load_adapter(base, inputs["sft_adapter"], name=REFERENCE)
    scorers = {}
    for name, card in cards.items():
        model = models.load_adapter(model, inputs[f"{name}_adapter"], name=name)
        head = models.freeze(ScoreHead.load(inputs[f"{name}_adapter"] / rewardmodel.HEAD)).to(base.device)
        scorers[name] = Scorer(name, head, card)
    if settings.value_adapter:
        model = models.load_adapter(model, inputs["reward_adapter"], name=VALUE, trainable=True)
    model = models.quicken(models.load_adapter(model, inputs["sft_adapter"], name=POLICY, trainable=True))
    width = models.width(base)
    value_head = ValueHead(width, settings.value_hidden).to(base.device)
    context_tokens = models.context_tokens(base)
    frozen, lowest = _lower(model.eval(), upper_share or settings.upper_share, whole=parts == 1)
    return Actors(model, tokenizer, scorers[REWARD], scorers[JUDGE], value_head, context_tokens, parts == 1, frozen, lowest)


def _lower(model: PeftModel, upper_share: float, *, whole: bool) -> tuple[frozenset[str], int]:
    """Names of what the policy has in layers that don't train; how many of these can be left out, none where FSDP2 splits."""
    base = model.get_base_model()
    found = layers.of(base)
    lower = found[: len(found) - math.ceil(upper_share * len(found))]
    inside = {id(parameter) for layer in lower for parameter in layer.parameters()}
    frozen = frozenset(name for name, value in model.named_parameters() if id(value) in inside and f".{POLICY}." in name)
    can_be_left_out = whole and packing.possible(model) and layers.split(base, len(lower))
    return frozen, len(lower) if can_be_left_out else 0


def response_logits(model: PeftModel, rollout: Rollout, *, entering: Tensor | None = None) -> Tensor:
    """(N, V) logits from which each response token was or would be sampled, under the active adapter; row after row.

    `entering` are (B, P + T, H) states that enter the upper layers, where these are known.
    """
    given = rollout.prompts, rollout.is_prompt, rollout.responses, rollout.is_response
    return answer_logits(model, *given, entering=entering)


def response_logits_and_states(model: PeftModel, rollout: Rollout) -> tuple[Tensor, Tensor]:
    """The same, and the (B, P + T, H) states that entered the upper layers, 0 on padding."""
    return entering_states(model, rollout.prompts, rollout.is_prompt, rollout.responses, rollout.is_response)


def known(actors: Actors, rollout: Rollout) -> Tensor:
    """(B, T, H + 1) what the value head reads before each response token, in float32 at least; takes gradients."""
    with actors.acting(actors.values.adapter):
        _, found = rewardmodel.judge(
            actors.model,
            actors.values.head,
            rollout.prompts,
            rollout.is_prompt,
            answers=rollout.responses,
            is_answer=rollout.is_response,
        )
    return at_least_float32(found)


@torch.no_grad()
def judged(actors: Actors, rollout: Rollout, scorer: Scorer, *, at_once: int = 0, most: int = 0) -> tuple[Tensor, Tensor]:
    """What a reward model says; `at_once` and `most` as in `passes.in_passes`.

    Returns:
        (B,) raw scores of the whole answers; (B, T, H + 1) float32, what was known before each response token, which the
        value head reads.

    Raises:
        ModelRefused: A score is not finite.
        ConfigRefused: Memory is short.
    """

    def read(answers: Rollout) -> tuple[Tensor, Tensor]:
        return rewardmodel.judge(
            actors.model,
            scorer.head,
            answers.prompts,
            answers.is_prompt,
            answers=answers.responses,
            is_answer=answers.is_response,
        )

    with actors.acting(scorer.adapter):
        scores, states = passes.in_passes(rollout, read, at_once=at_once, most=most, alone=actors.is_whole)
    rewardmodel.require_finite(scores)
    return scores, states.float()


def doubt(actors: Actors, rollout: Rollout, scorer: Scorer, *, at_once: int = 0) -> float | None:
    """Mean standard deviation of an ensemble's heads over whole answers, in its score's unit; None for a single head."""
    if not scorer.head.ensemble:
        return None

    def read(answers: Rollout) -> tuple[Tensor]:
        answered = [
            Answered(prompt[is_prompt].tolist(), answer[is_answer].tolist())
            for prompt, is_prompt, answer, is_answer in zip(
                answers.prompts, answers.is_prompt, answers.responses, answers.is_response, strict=True
            )
        ]
        return (rewardmodel.doubt(actors.model, scorer.head, answered, pad=int(actors.tokenizer.pad_token_id)),)

    with actors.acting(scorer.adapter):
        (found,) = passes.in_passes(rollout, read, at_once=at_once, alone=actors.is_whole)
    return float(found.mean()) / scorer.card.std
