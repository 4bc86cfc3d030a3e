"""Settings of `evaluate`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.config import Section


class Settings(Section):
    """How much is measured, and what a candidate must not be worse than."""

    prompts: int = Field(400, ge=1, le=100_000)
    """Most prompts of the split `evaluation` that each model answers; a seeded draw where there are more. [prompts]"""

    suite_prompts: int = Field(250, ge=4, le=100_000)
    """Most prompts of each kind of the testbed that any suite asks; many ask a share of it. Further ones are drawn until there
    are so many, or no wording is left that training did not use. [prompts]"""

    suites: list[str] = Field(default_factory=list)
    """Suites that run, by name; empty runs all. Gates of a suite left out are undecided, unless it is named in `advisory`."""

    answer_tokens: int = Field(48, ge=1, le=8192)
    """Longest answer. [tokens]"""

    answers_per_prompt: int = Field(1, ge=1, le=1000)
    """Answers that each model gives to each prompt; a prompt counts by their mean. More prompts decide more than answers do."""

    temperature: float = Field(1.0, ge=0, le=2)
    """1 samples from the policy as PPO trained it, with the same noise for every model; 0 takes the likeliest token."""

    batch_size: int = Field(128, ge=1, le=4096)
    """Answers made at once, by each process where the model is small. [answers]"""

    perplexity_texts: int = Field(200, ge=0, le=100_000)
    """Most held-out texts of the corpus on which perplexity is measured. [texts]"""

    samples: int = Field(40, ge=1, le=1000)
    """Prompts with all answers that are kept for reading; a seeded draw. [prompts]"""

    answers_kept: Literal["all", "all but harmful", "none"] = "all but harmful"
    """Which answers the logs in Inspect's format and the samples for reading hold. What was said to a request for harm (an item
    of the kind `harmful`) is by default replaced by its length and digest. The findings of the red team and the worst prompts
    of a gate that did not pass are kept whatever this says: people need them to label and to decide."""

    resamples: int = Field(2000, ge=1000, le=1_000_000)
    """Resamples of each bootstrap interval and p-value. With fewer than a thousand no p-value could be small enough for Holm's
    correction over all gates."""

    margins: dict[str, float] = Field(default_factory=dict)
    """How much worse the candidate may be at most, by metric, where it differs from the suite's own; it makes a gate of a
    metric that has none. In the metric's unit, for a ratio how many times as much. docs/evaluation.md lists all."""

    floors: dict[str, float] = Field(default_factory=dict)
    """The least that the candidate must reach, by metric, whatever the reference has."""

    ceilings: dict[str, float] = Field(default_factory=dict)
    """The most that the candidate may reach, by metric, whatever the reference has."""

    advisory: list[str] = Field(default_factory=list)
    """Metrics, or suites with all of theirs, that are reported but don't count for the verdict. Every document names them."""
