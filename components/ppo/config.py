"""Settings of `ppo`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from components.config import Section


class Settings(Section):
    """How the policy is moved towards the reward model. Why each default: docs/ppo.md."""

    updates: int = Field(20, ge=1, le=1_000_000)
    """Rounds of: answer prompts, score the answers, improve the policy. [updates]"""

    rollouts: int = Field(128, ge=2, le=65_536)
    """Answers in one update. [answers]"""

    precision: Literal["auto", "fastest", "float32", "bfloat16"] = "auto"
    """Of the frozen base and what is computed through it; adapters, heads, log-probabilities and sums are float32.
    `auto` is bfloat16 on a GPU that has it, else float32. `fastest` measures which of the two this machine multiplies
    faster, so another machine may compute otherwise. docs/ppo.md, choice 18."""

    max_new_tokens: int = Field(40, ge=1, le=8192)
    """Longest answer. [tokens]"""

    temperature: float = Field(1.0, gt=0, le=10)
    """Of the sampling. Every log-probability is taken at this temperature. docs/ppo.md, choice 3."""

    epochs: int = Field(2, ge=1, le=100)
    """Passes over the answers of one update."""

    minibatch: int = Field(64, ge=1, le=65_536)
    """Answers in one optimiser step. [answers]"""

    micro_batch: int = Field(0, ge=0, le=65_536)
    """Answers that the model reads at once, to learn from them and to score them; gradients add up to those of the whole
    minibatch, exactly. 0: all of them. Lower it where memory is short. [answers]"""

    sample_batch: int = Field(0, ge=0, le=65_536)
    """Answers that are sampled at once; 0: all of an update. The answers are the same. Lower it where memory is short.
    [answers]"""

    upper_share: float = Field(0.5, gt=0, le=1)
    """Share of the base model's layers, counted from the uppermost and rounded up, whose adapter PPO trains. In the layers
    below, the policy stays the SFT policy, and what they make of an answer is computed once. docs/ppo.md, choice 25."""

    learning_rate: float = Field(2e-3, gt=0, le=1)
    """Of the policy's adapter: linear warm-up, then linear towards zero. Half of it does as much where all layers train."""

    value_learning_rate: float = Field(3e-3, gt=0, le=1)
    """The same for the value head."""

    warm_up_updates: int = Field(2, ge=0, le=1_000_000)
    """Updates in which the learning rates rise linearly. [updates]"""

    gradient_clip: float = Field(1.0, gt=0, le=1000)
    """Largest norm of the gradient in one optimiser step, for the policy and for the value head."""

    kl_coef: float = Field(0.05, ge=0, le=1000)
    """Reward removed per nat of KL to the SFT policy. [1/nat] docs/ppo.md, choice 7."""

    kl_target: float = Field(0.0, ge=0, le=1000)
    """KL of an answer that `kl_coef` is steered to, update by update; 0 leaves `kl_coef` fixed. [nats]"""

    kl_horizon: float = Field(2000.0, gt=0, le=1_000_000_000)
    """Answers in which a steered `kl_coef` changes by a fifth at most. [answers]"""

    kl_estimator: Literal["k1", "k3"] = "k1"
    """Estimator of the KL penalty; both are recorded. http://joschu.net/blog/kl-approx.html"""

    reward_clip: float = Field(5.0, gt=0, le=1_000_000)
    """Largest absolute score, in standard deviations of the reward model's training answers."""

    eos_penalty: float = Field(1.0, ge=0, le=1_000_000)
    """Taken from the score of an answer that did not end by itself, in the same unit."""

    discount: float = Field(1.0, ge=0, le=1)
    """γ of generalized advantage estimation. 1: the score counts as much for the first token as for the last."""

    gae_lambda: float = Field(0.8, ge=0, le=1)
    """λ of generalized advantage estimation, https://arxiv.org/abs/1506.02438."""

    clip_range: float = Field(0.2, gt=0, lt=1)
    """ε of the clipped objective, https://arxiv.org/abs/1707.06347 eq. 7."""

    value_clip_range: float = Field(0.5, gt=0, le=1_000_000)
    """How far a value may move in one update. [reward]"""

    entropy_coef: float = Field(0.0, ge=0, le=1000)
    """Weight of the entropy bonus. [1/nat]"""

    value_hidden: int = Field(64, ge=1, le=65_536)
    """Width of the value head."""

    value_adapter: bool = False
    """Whether the value function has a LoRA adapter of its own on the base, which starts as the reward model's and learns with
    the head. Without, the head reads what the reward model knew, which is computed once. With it, every pass over the answers
    costs about twice as much. docs/ppo.md, choice 9."""

    judged_prompts: int = Field(128, ge=1, le=1_000_000)
    """Training prompts on which SFT policy and policy are compared at the end. [prompts]"""

    probe_every: int = Field(5, ge=1, le=1_000_000)
    """Updates between probes of the policy on `judged_prompts`, by the reward model and by the held-out judge. [updates]"""

    probe_distance: float = Field(0.3, gt=0, le=1000)
    """How far the square root of the KL to the SFT policy may move from the last probe's before there is one out of turn: a
    policy that runs away is looked at on its way. docs/ppo.md, choice 19. [√nats]"""

    selection: Literal["judge", "last"] = "judge"
    """Which policy is published: of the probe that the held-out judge scores highest, or the last one."""

    on_alarm: Literal["warn", "raise_kl", "stop"] = "stop"
    """What to do when a probe looks like reward hacking: go on and say so, multiply `kl_coef` by `kl_raise`, or stop."""

    judge_fall: float = Field(0.1, ge=0, le=1000)
    """Alarm: how far the held-out judge's score may fall below its best while the reward rises. [standard deviations]"""

    length_growth: float = Field(2.0, ge=1, le=1000)
    """Alarm: how many times as long as at the start answers may become."""

    disagreement_rise: float = Field(0.75, ge=0, le=1000)
    """Alarm: how far reward model and judge may drift apart. [standard deviations]"""

    misled_rise: float = Field(0.15, ge=0, le=1)
    """Alarm: by which share of all answers agreement with users who are wrong may rise; where nobody knows who is wrong,
    agreement with users."""

    gold_fall: float = Field(0.0, ge=0, le=2)
    """Alarm: how far the mean gold utility, from -1 to 1, may fall below its best while the reward rises, where the truth is
    known, as on the testbed. 0: no such alarm, so that the testbed shows what a monitor finds that knows no truth."""

    kl_raise: float = Field(2.0, gt=1, le=1000)
    """What `kl_coef` is multiplied by on an alarm, where `on_alarm` is `raise_kl`."""

    long_prompts: Literal["refuse", "leave_out"] = "refuse"
    """What to do with prompts that leave no room for `max_new_tokens`: end the step, or go on without them and say so."""

    checkpoint_every: int = Field(5, ge=1, le=1_000_000)
    """Updates between checkpoints. [updates]"""

    sharding: Literal["none", "full"] = "none"
    """Where several processes work on the step: `full` splits the frozen base model over them (FSDP2), so that each holds a
    part of every layer; `none` gives each the whole. docs/decisions/0054-sharding.md"""

    @model_validator(mode="after")
    def _can_be_raised(self) -> Self:
        if self.kl_coef == 0 and (self.kl_target > 0 or self.on_alarm == "raise_kl"):
            what = "kl_target steers it" if self.kl_target > 0 else 'on_alarm = "raise_kl" multiplies it'
            message = f"kl_coef is 0, which stays 0 although {what}. Give a kl_coef above 0 to start from."
            raise ValueError(message)
        return self
