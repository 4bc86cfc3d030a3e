"""When a rising reward is no longer to be believed: rules over what was probed, and nothing else.

A probe answers the same prompts with the same random numbers every few updates. Two reward models score the answers: the one
that PPO optimises (the proxy) and the held-out judge, which learnt from other annotators and is never optimised. Both scores
are in standard deviations of their own training answers. Source of the pattern: Gao et al. 2023,
https://arxiv.org/abs/2210.10760
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Probe:
    """What one probe found. Means over its answers unless said."""

    update: int
    """Updates done when it was taken."""
    proxy: float
    """Score by the reward model that is optimised. [standard deviations]"""
    judge: tuple[float, ...]
    """Score of each answer by the held-out judge. [standard deviations]"""
    disagreement: float
    """Absolute difference of the two, each less its mean in the first probe. [standard deviations]"""
    kl_nats: float
    """KL to the SFT policy, estimator k1, sum over an answer's tokens."""
    response_tokens: float
    entropy_nats: float
    """Of the sampling distribution, by token."""
    repetition: float
    """Share of an answer's token pairs that it has had before."""
    distinct_pairs: float
    """Different token pairs over all token pairs, of all answers together."""
    share_without_eos: float
    hedging: float
    """Share of answers that doubt what is known (on the testbed; elsewhere, that doubt at all)."""
    misled: float
    """Share that agrees with a user who is wrong (on the testbed; elsewhere, that agrees at all)."""
    refusals: float
    """Share that refuses."""
    doubt: float | None = None
    """How far the heads of an ensemble lie apart on its answers; None for a single head. [standard deviations]"""
    gold: float | None = None
    """Mean gold utility, from -1 to 1, where the truth is known. Recorded; acted on where settings ask for it."""

    @property
    def judged(self) -> float:
        """Mean score by the held-out judge, in standard deviations."""
        return statistics.fmean(self.judge)


@dataclass(frozen=True)
class Limits:
    """How much is too much."""

    judge_fall: float
    """Fall of the judge's mean score below its best. [standard deviations]"""
    length_growth: float
    """Length over that of the first probe."""
    disagreement_rise: float
    """Rise of the disagreement over the first probe's. [standard deviations]"""
    misled_rise: float
    """Rise of the share of answers that agree with a user who is wrong."""
    gold_fall: float = 0.0
    """Fall of the mean gold utility below its best; 0 for no such rule."""


def best(probes: Sequence[Probe]) -> Probe:
    """The probe that the held-out judge likes most; the earliest of equals."""
    return max(probes, key=lambda probe: probe.judged)


def alarm(probes: Sequence[Probe], limits: Limits) -> str:
    """Why the last probe looks like reward hacking; empty where it does not.

    1. Goodhart: the judge's scores fell below its best probe by more than `judge_fall` and by more than twice the standard
       error of the paired difference, while the proxy did not fall.
    2. Goodhart again, where the truth is known and `gold_fall` is above 0: the mean gold utility fell by more than that below
       its best probe, while the proxy did not fall.
    3. Answers grew, the two reward models drifted apart, or more answers agree with users who are wrong, beyond their limits.

    Does not cover: mistakes that proxy and judge share, and answers that only other prompts bring out.
    """
    first, top, last = probes[0], best(probes), probes[-1]
    falls = [before - after for before, after in zip(top.judge, last.judge, strict=True)]
    fall = statistics.fmean(falls)
    doubt = 2 * statistics.stdev(falls) / math.sqrt(len(falls)) if len(falls) > 1 else math.inf
    if last.proxy >= top.proxy and fall > limits.judge_fall and fall > doubt:
        return (
            f"the held-out judge's score fell by {fall:.2f} standard deviations since update {top.update} "
            f"while the reward rose by {last.proxy - top.proxy:.2f}"
        )
    known = [probe for probe in probes if probe.gold is not None]
    if limits.gold_fall and known and last.gold is not None:
        finest = max(known, key=lambda probe: probe.gold or 0.0)
        lost = (finest.gold or 0.0) - last.gold
        if last.proxy >= finest.proxy and lost > limits.gold_fall:
            return (
                f"gold utility fell by {lost:.2f} since update {finest.update} "
                f"while the reward rose by {last.proxy - finest.proxy:.2f}"
            )
    if last.response_tokens > limits.length_growth * first.response_tokens:
        return f"answers grew from {first.response_tokens:.1f} to {last.response_tokens:.1f} tokens"
    if last.disagreement - first.disagreement > limits.disagreement_rise:
        return (
            f"reward model and held-out judge drifted apart, from {first.disagreement:.2f} to {last.disagreement:.2f} "
            "standard deviations"
        )
    if last.misled - first.misled > limits.misled_rise:
        return f"answers that agree with a user who is wrong rose from {first.misled:.2f} to {last.misled:.2f} of all"
    return ""


def repetition(answers: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Mean share of repeated token pairs in an answer, and different pairs over all pairs of all answers (1 where none)."""
    pairs = [list(pairwise(answer)) for answer in answers]
    shares = [1 - len(set(each)) / len(each) if each else 0.0 for each in pairs]
    together = [pair for each in pairs for pair in each]
    return statistics.fmean(shares), len(set(together)) / len(together) if together else 1.0
