"""Settings of the alignment: by which method the policy learns from preferences, whatever step carries it out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.config import Section


class Settings(Section):
    """How the SFT policy is moved towards what people prefer, in the pipeline's position `ppo`."""

    method: Literal["ppo", "dpo"] = "ppo"
    """`ppo` optimises the reward model; `dpo` learns from the pairs directly, https://arxiv.org/abs/2305.18290. Data, lineage,
    monitor and gates are the same. docs/ppo.md, choice 22."""

    dpo_beta: float = Field(0.1, gt=0, le=100)
    """β of DPO: how dear it is to leave the SFT policy. [1/nat]"""

    dpo_epochs: int = Field(1, ge=1, le=100)
    """DPO's passes over the pairs."""

    dpo_batch_pairs: int = Field(32, ge=1, le=4096)
    """Pairs in one update of DPO, over all devices. [pairs]"""

    dpo_learning_rate: float = Field(5e-4, gt=0, le=1)
    """Peak of DPO's learning rate: linear warm-up over 5 % of the updates, then linear to zero."""

    accept_reward_state: str = Field("", pattern=r"^$|^[^:]{2,}: .{10,}$")
    """`NAME: REASON` of whoever answers for using a reward model that is stale or revoked. Empty: such a one is refused.
    The evidence keeps it."""
