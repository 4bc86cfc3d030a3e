"""What a typical member of this pool says of a pair, given what the others say of it: the yardstick of care, habits and drift.

Whoever is right on a clear pair and unsure on a close one reads; whoever is as sure on both does not, however often right.
So labels are looked at with their strength, and pairs by how clear they are to others:

    side  = the response that the others' labels, or the known answer, favour
    clear = min(|log-odds|, 4) / 2 + side · (the others' mean signed strength, weighted by their accuracy)

Labels fall into contexts by `clear` (known pairs apart) and outcomes: with the side or against it by strength, or a tie. The
pool's table P(outcome | context) says what is typical. A blind labeller has the same outcomes in every context and takes
either side alike:

    care = log P(outcome | context) - log P_blind(outcome), less its mean in the context

Nobody's own label is part of what others say of the pair. What it does not cover: a pool of which most don't read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from components.annotators.accuracy import summed
from components.annotators.labels import TIE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from components.annotators.accuracy import Accuracy
    from components.annotators.dawid_skene import Preferences
    from components.annotators.labels import Labels

UNKNOWN_CONTEXTS, KNOWN_CONTEXTS = 6, 3
STRONGEST = 3
OUTCOMES = np.array([0, 1, 2, 3, -1, -2, -3])
"""Signed strength: with the side, a tie, against it."""
MOST_LOG_ODDS = 4.0
PRIOR = 0.5
"""Labels of each outcome in each context before any was counted."""


@dataclass(frozen=True)
class Typical:
    """(L,) each, for every label what it says and what a typical member of the pool would."""

    said: NDArray[np.float64]
    """Signed strength in the order of the pair: 1 to 3 for its first response, -1 to -3 for its second, 0 for a tie."""
    expected: NDArray[np.float64]
    """Mean of `said` in the pool, given what others say of the pair."""
    square: NDArray[np.float64]
    """Mean of its square."""
    care: NDArray[np.float64]
    """Above 0 where the label is more typical than blind, beside others of its context; mean 0 in the pool."""
    care_variance: NDArray[np.float64]
    blind_care: NDArray[np.float64]
    """Mean of the care of a blind labeller in the context, below 0."""


def typical(labels: Labels, found: Preferences, judged: Accuracy, *, is_used: NDArray[np.bool_]) -> Typical:
    """Compare every label with what is typical of the pool.

    Args:
        labels: All labels.
        found: What is known of the pairs.
        judged: Everybody's accuracy.
        is_used: (L,) labels that are part of what others say.
    """
    known = ~np.isnan(labels.known[labels.pair])
    log_odds = found.log_odds[labels.pair] - np.where(known, 0.0, found.evidence)
    side = np.where(log_odds >= 0, 1.0, -1.0)
    said = (1 - labels.chosen.astype(np.float64)) * np.clip(labels.strength, 1, STRONGEST)
    clear = np.minimum(np.abs(log_odds), MOST_LOG_ODDS) / 2 + side * _others(labels, said, judged, is_used)
    context = np.where(
        known, UNKNOWN_CONTEXTS + _ranked(clear, known, KNOWN_CONTEXTS), _ranked(clear, ~known, UNKNOWN_CONTEXTS)
    )
    outcome = np.where(labels.choice == TIE, 0, np.where(said * side > 0, np.abs(said), STRONGEST + np.abs(said))).astype(int)
    table = _table(context[labels.has_annotator], outcome[labels.has_annotator])
    blind = _blind(table)
    ratio = np.log(table) - np.log(blind)
    mean = (table * ratio).sum(axis=1)
    return Typical(
        said=said,
        expected=(table @ OUTCOMES)[context] * side,
        square=(table @ OUTCOMES**2)[context],
        care=(ratio - mean[:, None])[context, outcome],
        care_variance=((table * ratio**2).sum(axis=1) - mean**2)[context],
        blind_care=(ratio @ blind - mean)[context],
    )


def _others(labels: Labels, said: NDArray[np.float64], judged: Accuracy, is_used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(L,) mean signed strength of the other labels of a label's pair, with half a label of 0, so that one does not decide."""
    weight = np.append(np.clip(2 * judged.value - 1, 0.0, 1.0), 0.0)[labels.annotator] * is_used  # NOBODY is the last
    pairs = len(labels.pairs)
    top, bottom = summed(labels.pair, weight * said, pairs), summed(labels.pair, weight, pairs)
    return np.asarray((top[labels.pair] - weight * said) / (bottom[labels.pair] - weight + 0.5))


def _ranked(clear: NDArray[np.float64], which: NDArray[np.bool_], contexts: int) -> NDArray[np.int64]:
    """(L,) contexts of equal size among the labels `which`, the least clear first."""
    if not which.any():
        return np.zeros(len(clear), np.int64)
    return np.searchsorted(np.quantile(clear[which], np.arange(1, contexts) / contexts), clear)


def _table(context: NDArray[np.int64], outcome: NDArray[np.int64]) -> NDArray[np.float64]:
    """(contexts, outcomes) chances."""
    contexts, outcomes = UNKNOWN_CONTEXTS + KNOWN_CONTEXTS, len(OUTCOMES)
    counts = np.bincount(context * outcomes + outcome, minlength=contexts * outcomes).reshape(contexts, outcomes) + PRIOR
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def _blind(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """(outcomes,) chances of somebody who ties and feels sure as often as the pool, and takes either side alike."""
    overall = table.mean(axis=0)
    either = (overall[1 : 1 + STRONGEST] + overall[1 + STRONGEST :]) / 2
    return np.concatenate([overall[:1], either, either])
