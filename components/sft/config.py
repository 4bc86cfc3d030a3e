"""Settings of `sft`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from components.config import Section


class Settings(Section):
    """Supervised fine-tuning on demonstrations."""

    epochs: float = Field(1.0, gt=0, le=100)
    """Passes over the demonstrations."""

    max_updates: int = Field(5000, ge=1, le=1_000_000)
    """Ends training earlier than `epochs` would. [updates]"""

    batch_size: int = Field(8, ge=1, le=4096)
    """Demonstrations in one update, over all devices."""

    micro_batch: int = Field(0, ge=0, le=4096)
    """Demonstrations that a process reads at once, a divisor of `batch_size`; gradients add up to those of the whole batch. 0:
    all of them. Lower it where memory is short. [demonstrations]"""

    learning_rate: float = Field(3e-3, gt=0, le=1)
    """Peak of the cosine schedule, after a warm-up of 5 % of the updates."""

    rank: int = Field(16, ge=1, le=1024)
    """Rank of the LoRA adapter, https://arxiv.org/abs/2106.09685."""

    alpha: float = Field(32.0, gt=0, le=4096)
    """Scale of the LoRA adapter: its update is multiplied by alpha / rank."""

    context_tokens: int = Field(128, ge=16, le=131072)
    """Longest demonstration; longer ones are left out and counted. At most the base model's context. [tokens]"""

    sharding: Literal["none", "full"] = "none"
    """Where several processes work on the step: `full` splits the frozen base model over them (FSDP2), so that each holds a
    part of every layer; `none` gives each the whole. docs/decisions/0054-sharding.md"""

    @model_validator(mode="after")
    def _divides_the_batch(self) -> Self:
        if self.micro_batch and self.batch_size % self.micro_batch:
            message = f"`micro_batch` is {self.micro_batch}, which does not divide `batch_size`, {self.batch_size}"
            raise ValueError(message)
        return self
