"""What the pool as a whole prefers besides quality, and so what a reward model would learn from it.

    P(first is taken) = σ(x · β + c s),   s = 1 where the first was shown first, -1 where second

x are differences of the two answers: words (tens), agreement with whoever asks, doubts, formatting. A coefficient is the
log-odds that one unit more is preferred, the others being equal; errors are clustered by annotator, so that a few busy
people don't make an interval short.

On all pairs, a coefficient mixes taste with quality: short answers may be liked because they are better. On pairs of which
the better one is known, the term for being better takes that out; what is left is bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from components.annotators.labels import TIE
from components.annotators.wording import FEATURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from components.annotators.labels import Labels

TERMS = (*FEATURES, "position")
SCALE = np.array([0.1, 1.0, 1.0, 1.0, 1.0])
"""Words are counted in tens."""
RIDGE = 0.1
"""As if coefficients were drawn with a standard deviation of 3 log-odds; however many labels there are, so that it fades."""
STEPS = 25
Z_95 = 1.959963984540054
LEAST_LABELS = 50
LEAST_PEOPLE = 5


@dataclass(frozen=True)
class Taste:
    """A coefficient."""

    value: float
    low: float
    high: float
    """Ends of the 95 % interval. [log-odds]"""
    labels: int
    """That say something about it: the answers differ in it."""


def tastes(labels: Labels, rows: NDArray[np.bool_], *, known_only: bool) -> dict[str, Taste]:
    """Term → coefficient, from the labels `rows` (L,) that are no ties; empty where too few people or labels.

    Terms that never differ are left out.
    """
    use = rows & (labels.choice != TIE) & labels.has_annotator
    known = labels.known[labels.pair]
    if known_only:
        use &= ~np.isnan(known)
    at = np.flatnonzero(use)
    who = labels.annotator[at]
    if len(at) < LEAST_LABELS or len(np.unique(who)) < LEAST_PEOPLE:
        return {}
    columns = np.column_stack([labels.features[labels.pair[at]], np.where(labels.is_swapped[at], -1.0, 1.0)]) * SCALE
    if known_only:
        columns = np.column_stack([columns, 2 * known[at] - 1])
    varies = np.abs(columns).sum(axis=0) > 0
    coefficients, errors = _fit(columns[:, varies], labels.chosen[at] == 0, who)
    names = [name for name, is_there in zip((*TERMS, "better"), varies, strict=False) if is_there]
    counts = (columns[:, varies] != 0).sum(axis=0)
    return {
        name: Taste(float(value), float(value - Z_95 * error), float(value + Z_95 * error), int(count))
        for name, value, error, count in zip(names, coefficients, errors, counts, strict=True)
        if name != "better"
    }


def _fit(
    x: NDArray[np.float64], took_first: NDArray[np.bool_], cluster: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logistic regression without intercept by Newton's method, and standard errors robust to clusters.

    A ridge of `RIDGE` keeps it finite where a term separates the labels. Sandwich: H⁻¹ (Σ_c u_c u_cᵀ) H⁻¹.
    """
    beta = np.zeros(x.shape[1])
    y = took_first.astype(float)
    hessian = np.eye(x.shape[1])
    for _ in range(STEPS):
        chance = expit(x @ beta)
        hessian = (x * (chance * (1 - chance))[:, None]).T @ x + RIDGE * np.eye(x.shape[1])
        step = np.linalg.solve(hessian, x.T @ (y - chance) - RIDGE * beta)
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            break
    scores = x * (y - expit(x @ beta))[:, None]
    clusters = np.stack([np.bincount(cluster, weights=column) for column in scores.T], axis=1)
    people = len(np.unique(cluster))
    inverse = np.linalg.inv(hessian)
    spread = inverse @ (clusters.T @ clusters) @ inverse * people / max(1, people - 1)
    return beta, np.sqrt(np.diag(spread))
