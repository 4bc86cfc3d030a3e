"""Krippendorff's alpha of labels, with bootstrap intervals.

    alpha = 1 - D_o / D_e,   nominal: D_o = Σ_i Σ_{c≠k} n_ic n_ik / (m_i - 1) / n,   D_e = Σ_{c≠k} n_c n_k / (n (n - 1))

over pairs with at least two labels (m_i), n labels in them. 1 is perfect, 0 is what chance gives. Pairs are resampled, in at
most `BLOCKS` random blocks, so that a million labels cost no more than a thousand.

Source: Krippendorff 2011, https://repository.upenn.edu/asc_papers/43. Checked against the worked example there in
`tests/components/annotators/test_agreement.py`.
What it does not cover: whether agreement is right. People who share a bias agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCKS = 1000
LEAST_UNITS = 10
"""Pairs with several labels below which there is no alpha: its interval would be all there is."""


@dataclass(frozen=True)
class Alpha:
    """Agreement on some labels."""

    value: float
    low: float
    high: float
    """Ends of the 95 % percentile interval."""
    pairs: int
    """With at least two labels."""
    labels: int
    """In these pairs."""


def alpha(
    pair: NDArray[np.int32], chosen: NDArray[np.int8], *, classes: int = 3, draws: int = 400, seed: int = 0
) -> Alpha | None:
    """Agreement of labels that chose a class each; None where fewer than `LEAST_UNITS` pairs have two or nothing varies.

    Args:
        pair: (L,) which pair.
        chosen: (L,) which class, whatever the order shown.
        classes: How many classes there are.
        draws: Resamples.
        seed: Of the resamples.
    """
    if not len(pair):
        return None
    counts = np.bincount(pair * classes + chosen, minlength=(int(pair.max()) + 1) * classes).reshape(-1, classes)
    counts = counts[counts.sum(axis=1) >= 2].astype(float)
    if len(counts) < LEAST_UNITS or (counts.sum(axis=0) > 0).sum() < 2:
        return None
    sizes = counts.sum(axis=1)
    apart = (sizes**2 - (counts**2).sum(axis=1)) / (sizes - 1)
    rng = np.random.default_rng(seed)
    rows = np.column_stack([apart, counts])
    blocks = min(BLOCKS, len(rows))
    block = rng.permutation(len(rows)) % blocks
    sums = np.stack([np.bincount(block, weights=column, minlength=blocks) for column in rows.T], axis=1)
    drawn = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws).astype(float) @ sums.astype(float)
    found = _alpha(drawn)
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return Alpha(float(_alpha(rows.sum(axis=0)[None])[0]), float(low), float(high), len(rows), int(sizes.sum()))


def _alpha(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B, 1 + K) sums of disagreement and of classes → (B,) alpha; NaN where one class is all there is."""
    apart, counts = sums[:, 0], sums[:, 1:]
    n = counts.sum(axis=1)
    chance = (n**2 - (counts**2).sum(axis=1)) / np.maximum(n - 1, 1)
    return np.asarray(1 - np.divide(apart, chance, out=np.full(len(sums), np.nan), where=chance > 0))
