"""Settings of `reward`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from components.config import Section


class Settings(Section):
    """How the reward model is trained."""

    start_from: Literal["sft", "base"] = "sft"
    """Where the LoRA adapter starts: `sft` continues from the SFT adapter, `base` from no change."""

    epochs: int = Field(2, ge=1, le=100)
    """Passes over the training pairs."""

    judge_share: float = Field(0.5, gt=0, lt=1)
    """Share of the annotators whose labels train the held-out judge and nothing else; at least one annotator on each side.
    Labels without an annotator are divided by the pair they belong to."""

    judge_epochs: int = Field(1, ge=1, le=100)
    """Passes over the judge's training pairs."""

    batch_pairs: int = Field(16, ge=1, le=4096)
    """Pairs in one update. [pairs]"""

    micro_batch: int = Field(0, ge=0, le=4096)
    """Pairs that the model reads at once, to learn from them and to score them; gradients add up to those of the whole batch,
    exactly. 0: all of a batch. Lower it where memory is short. [pairs]"""

    learning_rate: float = Field(1e-3, gt=0, le=1)
    """Peak of the adapter's learning rate: linear warm-up, then linear to zero."""

    head_learning_rate: float = Field(1e-3, gt=0, le=1)
    """The same for the scalar head, which starts from zero."""

    warm_up: float = Field(0.1, ge=0, le=1)
    """Share of the updates in which the learning rate rises."""

    weight_decay: float = Field(0.01, ge=0, le=1)
    """Decoupled weight decay of AdamW."""

    centring: float = Field(0.01, ge=0, le=1)
    """Weight of the squared sum of a pair's two scores, which keeps scores around zero.
    https://arxiv.org/abs/2312.09244"""

    ties: Literal["half", "rao_kupper"] = "half"
    """What a tie says: half a preference for each answer, or an outcome of its own with a learned threshold,
    https://doi.org/10.2307/2282923."""

    strength_margin: float = Field(0.0, ge=0, le=100)
    """Lead in score that a label of the greatest strength asks for; weaker ones ask for less, labels without one for none.
    https://arxiv.org/abs/2307.09288"""

    heads: int = Field(1, ge=1, le=64)
    """Heads on the one adapter, each trained on a bootstrap sample of the pairs. More than one is an ensemble: how far its
    scores lie apart is how unsure it is."""

    caution: float = Field(0.0, ge=0, le=100)
    """k: an ensemble's score is the heads' mean less k standard deviations of theirs. Does nothing where `heads` is 1."""

    stakeholders: Literal["all", "balanced", "worst_group", "head_per_group"] = "all"
    """Whose labels count how much: every label alike, every group of annotators alike, or most the group that the model
    ranks worst (group DRO), https://arxiv.org/abs/1911.08731; or every group has a head of its own. The choice is in the reward
    model's card."""

    aggregation: Literal["mean", "maximin", "nash"] = "mean"
    """How the scores of the groups' heads become one where `stakeholders` is `head_per_group`: their mean, the least of them,
    or the mean logarithm of the chance that a group prefers the answer to a typical one. Does nothing otherwise."""

    stakeholder_attribute: str = Field("region", min_length=1, max_length=100)
    """Which attribute of annotators makes the groups; whoever is in no group large enough to be shown is in one of its own."""

    group_step: float = Field(0.05, gt=0, le=100)
    """How fast weight moves to the worst group where `stakeholders` is `worst_group`. [1/nat, by update]"""

    share_prompts: bool = True
    """Compute the prompt of a pair once for both answers, where the base model's attention allows it.
    The result is the same."""

    lora_rank: int = Field(16, ge=1, le=1024)
    """Rank of the adapter where `start_from` is `base`; the SFT adapter's own rank otherwise."""

    lora_alpha: float = Field(32.0, gt=0, le=4096)
    """Scale of the adapter where `start_from` is `base`."""

    gradient_clip: float = Field(1.0, gt=0, le=1000)
    """Largest norm of the gradient in one update."""

    long_dialogues: Literal["refuse", "leave_out"] = "refuse"
    """What to do with dialogues longer than the base model's context: end the step, or go on without them and say so."""

    carryover_prompts: int = Field(128, ge=1, le=100_000)
    """Unseen prompts to which the SFT policies of the old and the new base model answer, where the base model changed: the
    reward model of the old one scores both before a new one is trained. [prompts]"""

    carryover_tokens: int = Field(40, ge=1, le=8192)
    """Longest answer to them. [tokens]"""

    @model_validator(mode="after")
    def _heads_are_groups_or_samples(self) -> Settings:
        if self.stakeholders == "head_per_group" and self.heads > 1:
            message = (
                "`heads` must be 1 where `stakeholders` is head_per_group: each group has one head, and none is an ensemble"
            )
            raise ValueError(message)
        return self

    checkpoint_every: int = Field(50, ge=1, le=1_000_000)
    """Updates between checkpoints. [updates]"""

    sharding: Literal["none", "full"] = "none"
    """Where several processes work on the step: `full` splits the frozen base model over them (FSDP2), so that each holds a
    part of every layer; `none` gives each the whole. docs/decisions/0054-sharding.md"""
