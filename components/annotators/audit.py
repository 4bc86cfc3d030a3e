"""The audit, from labels to findings: nothing is read or written here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from components.annotators import accuracy, bradley_terry, copying, dawid_skene, detectors, findings
from components.annotators.labels import NOBODY, TIE
from components.annotators.typical import typical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from components.annotators.accuracy import Accuracy
    from components.annotators.config import Settings
    from components.annotators.detectors import Check
    from components.annotators.findings import Proposal
    from components.annotators.labels import Labels
    from components.annotators.typical import Typical


@dataclass(frozen=True)
class Audit:
    """What was found of a pool and its labels."""

    accuracy: Accuracy
    checks: dict[str, Check]
    proposals: list[Proposal]
    excluded: list[int]
    """Annotators whose labels get weight 0."""
    weights: NDArray[np.float64]
    """(L,) from 0 to 1."""
    posterior: NDArray[np.float64]
    """(P,) probability that the first response is better, from the labels that count."""
    golden_right: NDArray[np.int64]
    golden_labels: NDArray[np.int64]
    """(J,) decided labels of known pairs, and how many are right."""
    couples: int
    """Couples of annotators who share enough pairs to be compared."""
    iterations: int


def audit(labels: Labels, settings: Settings, decisions: Mapping[str, str] | None = None) -> Audit:
    """Judge everybody and weigh every label. `decisions`: pseudonym → `exclude` or `keep`, by a person.

    Copying comes first: whoever copies would confirm whoever is copied. Their labels are left out of what others see.
    """
    own = np.ones(len(labels.ids), bool)
    found = dawid_skene.preferences(labels, is_used=own, prior_labels=settings.prior_labels)
    alike = copying.alike(labels, found)
    named = findings.copied(alike, labels.annotators, rate=settings.false_discovery_rate / 2)
    if named:
        own = ~np.isin(labels.annotator, [proposal.annotator for proposal in named])
        found = dawid_skene.preferences(labels, is_used=own, prior_labels=settings.prior_labels)
    right = dawid_skene.chance_right(labels, found)
    likelihood = accuracy.Likelihood(labels.annotator, right, len(labels.annotators))
    judged = accuracy.estimate(likelihood)
    beside = typical(labels, found, judged, is_used=own)
    checks = _checks(labels, right, judged, likelihood, beside, settings)
    copies = {proposal.annotator for proposal in named}
    others = [
        p for p in findings.proposals(checks, judged, rate=settings.false_discovery_rate / 2) if p.annotator not in copies
    ]
    proposals = sorted([*named, *others], key=lambda proposal: labels.annotators[proposal.annotator])
    excluded = _excluded(labels, proposals, settings, decisions or {})
    weights = _weights(labels, judged, excluded, settings)
    is_golden = ~np.isnan(labels.known[labels.pair]) & (labels.choice != TIE) & labels.has_annotator
    is_right = (labels.chosen == 0) == (labels.known[labels.pair] > 0.5)
    return Audit(
        accuracy=judged,
        checks=checks,
        proposals=proposals,
        excluded=excluded,
        weights=weights,
        posterior=_posterior(labels, weights > 0, settings),
        golden_right=_count(labels, is_golden & is_right),
        golden_labels=_count(labels, is_golden),
        couples=len(alike.p),
        iterations=found.iterations,
    )


def _checks(
    labels: Labels,
    right: NDArray[np.float64],
    found: Accuracy,
    likelihood: accuracy.Likelihood,
    beside: Typical,
    settings: Settings,
) -> dict[str, Check]:
    least = settings.least_labels
    made = (
        detectors.accuracy(likelihood, found, least_labels=least),
        detectors.care(labels, beside, found, least_labels=least),
        detectors.position(labels, beside, least_labels=least),
        detectors.length(labels, beside, least_labels=least),
        detectors.agreement(labels, beside, least_labels=least),
        detectors.speed(labels, words_per_second=settings.reading_words_per_second, least_labels=least),
        detectors.drift(labels, right, beside, found, least_labels=least),
    )
    return {check.name: check for check in made}


def _excluded(labels: Labels, proposals: list[Proposal], settings: Settings, decisions: Mapping[str, str]) -> list[int]:
    named = {proposal.annotator for proposal in proposals} if settings.exclusions == "apply" else set()
    decided = {row: decisions[name] for row, name in enumerate(labels.annotators) if name in decisions}
    named |= {row for row, decision in decided.items() if decision == "exclude"}
    return sorted(named - {row for row, decision in decided.items() if decision == "keep"})


def _weights(labels: Labels, found: Accuracy, excluded: list[int], settings: Settings) -> NDArray[np.float64]:
    """(L,) how much better than a coin an annotator is, 2a - 1, where the estimate is shrunk to the pool's median.

    Labels without an annotator and labels of people of whom too little is known count as the pool's median.
    """
    if settings.reliability == "equal":
        weight = np.ones(len(labels.annotators))
        typical = 1.0
    else:
        middle = float(np.median(found.value[found.informed >= 3])) if (found.informed >= 3).any() else 0.75
        shrunk = (found.informed * found.value + settings.prior_labels * middle) / (found.informed + settings.prior_labels)
        weight, typical = np.clip(2 * shrunk - 1, 0.0, 1.0), float(np.clip(2 * middle - 1, 0.05, 1.0))
    weight[excluded] = 0.0
    return np.where(labels.annotator == NOBODY, typical, np.append(weight, typical)[labels.annotator])


def _posterior(labels: Labels, is_used: NDArray[np.bool_], settings: Settings) -> NDArray[np.float64]:
    """(P,) from the labels that count; labels of nobody, or `equal`, as shares with one pseudo-label each way."""
    used = is_used & labels.has_annotator
    share = _share(labels, is_used)
    if settings.reliability == "equal" or not used.any():
        return share
    if settings.reliability == "bradley_terry":
        found = bradley_terry.preferences(labels, is_used=used, prior_labels=settings.prior_labels)
    else:
        found = dawid_skene.preferences(labels, is_used=used, prior_labels=settings.prior_labels).posterior
    has = np.bincount(labels.pair[used], minlength=len(labels.pairs)) > 0
    return np.asarray(np.where(has | ~np.isnan(labels.known), found, share))


def _share(labels: Labels, is_used: NDArray[np.bool_]) -> NDArray[np.float64]:
    value = 1 - labels.chosen[is_used] / 2
    pairs = len(labels.pairs)
    top = np.bincount(labels.pair[is_used], weights=value, minlength=pairs)
    return np.asarray((top + 1) / (np.bincount(labels.pair[is_used], minlength=pairs) + 2))


def _count(labels: Labels, which: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.bincount(labels.annotator[which], minlength=len(labels.annotators))
