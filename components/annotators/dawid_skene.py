"""Dawid and Skene's model: every item has one true class, every annotator a table of how often they take one for another.

Both models run on sparse products: with A the (items x annotator-and-label) matrix of counts, the E step is A times the
log confusions and the M step its transpose times the posteriors. So an iteration costs two passes over the labels.

Source: Dawid and Skene 1979, https://doi.org/10.2307/2346806
What it does not cover: items that are easier for some annotators than for others, and classes that are a matter of taste.
Where most annotators share an error, that error is the truth it finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.special import expit, logit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from components.annotators.labels import Labels

CERTAIN = 8.0
"""Log-odds of what is known."""
PAIR_PRIOR = np.array([0.7, 0.1, 0.2])
"""How an annotator of whom nothing is known takes a pair whose first answer is better: first, tie, second."""


@dataclass(frozen=True)
class Classes:
    """Truth of items with any number of classes."""

    posterior: NDArray[np.float64]
    """(items, classes) probabilities."""
    confusion: NDArray[np.float64]
    """(annotators, classes, classes): true, said."""
    iterations: int


def dawid_skene(
    items: NDArray[np.int32],
    annotators: NDArray[np.int32],
    said: NDArray[np.int32],
    *,
    prior_labels: float = 0.0,
    iterations: int = 100,
    tolerance: float = 1e-5,
) -> Classes:
    """Posterior of every item's class by expectation-maximisation, from majority vote on.

        E: log T[i, k] = log p[k] + Σ_l log C[a_l, k, y_l] + const
        M: C[a, k, y] ∝ m c̄[k, y] + Σ_{l: a_l = a, y_l = y} T[i_l, k],  p[k] ∝ Σ_i T[i, k]

    Args:
        items: (L,) item of each label, 0 to n - 1.
        annotators: (L,) annotator of each label, 0 to m - 1.
        said: (L,) class of each label, 0 to K - 1.
        prior_labels: m, how many labels the pool's average table c̄ counts for in everybody's. 0 is the plain model.
        iterations: At most.
        tolerance: Stop once no posterior moved by more than this.

    Returns:
        The classes' posteriors and everybody's confusion.
    """
    classes, people = int(said.max()) + 1, int(annotators.max()) + 1
    counts = sparse.csr_matrix(
        (np.ones(len(items), np.float32), (items, annotators.astype(np.int64) * classes + said)),
        shape=(int(items.max()) + 1, people * classes),
    )
    back = counts.T.tocsr()
    votes = sparse.csr_matrix(np.tile(np.eye(classes, dtype=np.float32), (people, 1)))
    posterior = np.asarray((counts @ votes).todense(), dtype=np.float32)
    posterior /= posterior.sum(axis=1, keepdims=True)
    confusion = np.zeros((people, classes, classes))
    done, moved = 0, np.inf
    while done < iterations and moved >= tolerance:
        done += 1
        confusion = _confusion(back @ posterior, people, classes, prior_labels)
        log_prior = np.log(np.maximum(posterior.mean(axis=0), 1e-10))
        log_table = np.log(np.maximum(confusion, 1e-10)).transpose(0, 2, 1).reshape(people * classes, classes)
        scores = counts @ log_table.astype(np.float32) + log_prior.astype(np.float32)
        scores -= scores.max(axis=1, keepdims=True)
        fresh = np.exp(scores)
        fresh /= fresh.sum(axis=1, keepdims=True)
        moved = float(np.abs(fresh - posterior).max())
        posterior = fresh
    return Classes(posterior.astype(np.float64), confusion, done)


def _confusion(found: NDArray[np.float32], people: int, classes: int, prior_labels: float) -> NDArray[np.float64]:
    table = found.astype(np.float64).reshape(people, classes, classes).transpose(0, 2, 1)
    if prior_labels:
        pool = table.sum(axis=0)
        table = table + prior_labels * pool / np.maximum(pool.sum(axis=1, keepdims=True), 1e-10)
    return np.asarray(table / np.maximum(table.sum(axis=2, keepdims=True), 1e-10))


@dataclass(frozen=True)
class Preferences:
    """Which answer of each pair is better, and how everybody labels."""

    log_odds: NDArray[np.float64]
    """(P,) of the pair's first response being the better one."""
    evidence: NDArray[np.float64]
    """(L,) what each label added to its pair's log-odds, in the order of the pair. 0 for labels that were not used."""
    tables: NDArray[np.float64]
    """(J, 2, 3): better one shown first or second; said first, tie or second."""
    iterations: int

    @property
    def posterior(self) -> NDArray[np.float64]:
        """(P,) probability that the first response is the better one."""
        return np.asarray(expit(self.log_odds))


def preferences(
    labels: Labels, *, is_used: NDArray[np.bool_], prior_labels: float, iterations: int = 60, tolerance: float = 1e-4
) -> Preferences:
    """Dawid and Skene for pairs: two classes (which response is better), three labels, in the order shown.

    Because the tables are in the order shown, a habit of taking the first makes labels say little, without being taken for
    a judgement. Everybody's table starts from the pool's, which counts for `prior_labels` labels; pairs of which the better
    one is known stay as known.

    Args:
        labels: All labels.
        is_used: (L,) labels to learn from. Labels without an annotator are never used.
        prior_labels: Weight of the pool's table.
        iterations: At most.
        tolerance: Stop once no probability moved by more than this.
    """
    rows = np.flatnonzero(is_used & labels.has_annotator)
    people, pairs = len(labels.annotators), len(labels.pairs)
    columns = labels.annotator[rows].astype(np.int64) * 3 + labels.choice[rows]
    sign = np.where(labels.is_swapped[rows], -1.0, 1.0).astype(np.float32)
    signed = sparse.csr_matrix((sign, (labels.pair[rows], columns)), shape=(pairs, 3 * people))
    back = signed.T.tocsr()
    total = np.bincount(columns, minlength=3 * people).reshape(people, 3)
    is_known = ~np.isnan(labels.known)
    fixed = np.where(labels.known[is_known] > 0.5, CERTAIN, -CERTAIN)

    start = np.where(labels.choice[rows] == 1, 0.0, np.where(labels.choice[rows] == 0, 1.0, -1.0)) * sign
    log_odds = np.bincount(labels.pair[rows], weights=start, minlength=pairs)
    log_odds[is_known] = fixed
    tables, table_odds = np.zeros((people, 2, 3)), np.zeros(3 * people)
    done, moved = 0, np.inf
    while done < iterations and moved >= tolerance:
        done += 1
        lean = (back @ (expit(log_odds) - 0.5)).reshape(people, 3)
        tables = _tables(total / 2 + lean, total / 2 - lean, prior_labels)
        table_odds = (np.log(tables[:, 0]) - np.log(tables[:, 1])).ravel()
        fresh = signed @ table_odds
        fresh[is_known] = fixed
        moved = float(np.abs(expit(fresh) - expit(log_odds)).max(initial=0.0))
        log_odds = fresh
    evidence = np.zeros(len(labels.ids))
    evidence[rows] = sign * table_odds[columns]
    return Preferences(np.asarray(log_odds), evidence, tables, done)


def _tables(first: NDArray[np.float64], second: NDArray[np.float64], prior_labels: float) -> NDArray[np.float64]:
    """(J, 2, 3) tables from expected counts, shrunk towards the pool's, which is the same for both orders."""
    pool = first.sum(axis=0) + second.sum(axis=0)[::-1] + 2 * PAIR_PRIOR
    pool = pool / pool.sum()
    counts = np.stack([first + prior_labels / 2 * pool, second + prior_labels / 2 * pool[::-1]], axis=1)
    return np.asarray(counts / counts.sum(axis=2, keepdims=True))


def chance_right(labels: Labels, found: Preferences) -> NDArray[np.float64]:
    """(L,) probability that a label is right as far as *other* labels and known pairs tell; NaN for ties.

    Where a pair is known, that decides. Else a label's own evidence is taken off first; nobody confirms themselves.
    """
    log_odds = found.log_odds[labels.pair] - np.where(np.isnan(labels.known[labels.pair]), found.evidence, 0.0)
    chosen = labels.chosen
    return np.asarray(np.where(chosen == 1, np.nan, expit(np.where(chosen == 0, log_odds, -log_odds))))


def log_odds_of(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds, finite at 0 and 1."""
    return np.asarray(logit(np.clip(probability, 1e-6, 1 - 1e-6)))
