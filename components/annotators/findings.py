"""From checks to proposals: which p-values count when so many were taken, and what each means in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from components.annotators.accuracy import Accuracy
    from components.annotators.copying import Alike
    from components.annotators.detectors import Check

KINDS = ("copying", "too fast", "one-sided", "length-follower", "agreement-follower", "inverted", "drifting", "random")
"""What an annotator is named for, the more specific first."""
HABITS = {"position": "one-sided", "length": "length-follower", "agreement": "agreement-follower"}


@dataclass(frozen=True)
class Proposal:
    """To leave somebody's labels out."""

    annotator: int
    kind: str
    """The most specific of `kinds`."""
    kinds: tuple[str, ...]
    statistic: float
    p: float
    threshold: float
    """p-values up to this count, at the stated false discovery rate."""
    reason: str


def threshold(p: NDArray[np.float64], *, rate: float) -> float:
    """The largest p-value that counts, so that the expected share of false ones among those that count is at most `rate`.

        the largest p_(k) with p_(k) ≤ k rate / m, 0 where there is none

    Holds where tests are independent or depend on each other positively; how often honest people are named in fact is measured
    by `make bench NAME=annotators`. Source: Benjamini and Hochberg 1995, https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
    """
    ordered = np.sort(p[~np.isnan(p)])
    m = len(ordered)
    if not m:
        return 0.0
    limits = np.arange(1, m + 1) * rate / m
    passing = np.flatnonzero(ordered <= limits)
    return float(ordered[passing[-1]]) if len(passing) else 0.0


def copied(alike: Alike, names: Sequence[str], *, rate: float) -> list[Proposal]:
    """Who labels like somebody else. Couples are a family of tests of their own: there are far more of them."""
    limit = threshold(alike.p, rate=rate)
    found: dict[int, Proposal] = {}
    for row in np.argsort(alike.p, kind="stable"):
        if alike.p[row] > limit or limit == 0.0:
            break
        later, earlier = int(alike.later[row]), int(alike.earlier[row])
        if later in found or earlier in found:
            continue
        reason = (
            f"gave the same label as {names[earlier]}, later, on {alike.same[row]:.0f} of {alike.shared[row]} shared pairs; "
            f"{alike.expected[row]:.1f} are expected of people who judge by themselves (z = {alike.z[row]:.1f})"
        )
        found[later] = Proposal(later, "copying", ("copying",), float(alike.z[row]), float(alike.p[row]), limit, reason)
    return list(found.values())


def proposals(checks: Mapping[str, Check], found: Accuracy, *, rate: float) -> list[Proposal]:
    """Whom the checks name, one proposal a person.

    A person is one test, however many checks there are: the smallest of the p-values times how many were taken (Bonferroni).
    The rate is then of people. Over single checks it would not be: somebody who fails five would buy others a higher limit.
    """
    p = np.stack([check.p for check in checks.values()])
    taken = (~np.isnan(p)).sum(axis=0)
    smallest = np.where(taken > 0, np.nan_to_num(p, nan=1.0).min(axis=0) * taken, np.nan)
    limit = threshold(smallest, rate=rate)
    made = []
    for who in np.flatnonzero(smallest <= limit).tolist() if limit else []:
        hits = [check for check in checks.values() if check.p[who] * taken[who] <= limit]
        made.append(_proposal(who, hits, found, limit / taken[who]))
    return made


def _proposal(who: int, hits: Sequence[Check], found: Accuracy, limit: float) -> Proposal:
    named = sorted(((_kind(check, who, found), check) for check in hits), key=lambda each: KINDS.index(each[0]))
    kind, check = named[0]
    reason = "; ".join(dict.fromkeys(_reason(each, who) for _, each in named))
    kinds = tuple(dict.fromkeys(name for name, _ in named))
    return Proposal(who, kind, kinds, float(check.statistic[who]), float(check.p[who]), limit, reason)


def _kind(check: Check, who: int, found: Accuracy) -> str:
    if check.name in HABITS:
        return HABITS[check.name]
    if check.name == "speed":
        return "too fast"
    if check.name == "drift":
        return "drifting"
    return "inverted" if found.high[who] < 0.5 else "random"


def _reason(check: Check, who: int) -> str:
    value = {name: float(column[who]) for name, column in check.shown.items()}
    if check.name in HABITS:
        did = {"position": "took the answer shown first", "length": "took the longer answer"}.get(
            check.name, "took the answer that agrees with whoever asks"
        )
        return (
            f"{did} on {value['followed']:.0f} of {value['of']:.0f} pairs, the pool on {value['pool_share']:.0%}; beyond what "
            f"quality explains by z = {check.statistic[who]:.1f}"
        )
    if check.name == "speed":
        return f"gave {value['fast']:.0f} of {value['of']:.0f} labels faster than anybody can read both answers"
    if check.name == "drift":
        return (
            f"is right on about {value['before']:.0%} of the first {value['labels_before']:.0f} decided pairs and on "
            f"{value['after']:.0%} of the later ones"
        )
    if check.name == "care":
        return (
            f"labels clear pairs little otherwise than close ones (z = {check.statistic[who]:.1f} beside the pool); is right "
            f"on about {value['accuracy']:.0%} of pairs"
        )
    return (
        f"is right on {value['accuracy']:.0%} of pairs (95 % interval {value['low']:.0%} to {value['high']:.0%}), as known "
        f"pairs and others' labels tell; the low end of the pool is {value['limit']:.0%}"
    )
