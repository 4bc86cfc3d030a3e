"""How good scores are as predictions of preferences. Plain numbers in, plain numbers out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Z_95 = 1.959963984540054


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Ends of the 95 % Wilson score interval of a share.

        (k + z²/2 ± z √(k (n - k) / n + z²/4)) / (n + z²)

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953
    """
    middle = (successes + Z_95**2 / 2) / (n + Z_95**2)
    half = Z_95 * math.sqrt(successes * (n - successes) / n + Z_95**2 / 4) / (n + Z_95**2)
    return max(0.0, middle - half), min(1.0, middle + half)


def ranked_right(differences: Sequence[float], shares: Sequence[float]) -> int:
    """How many decided pairs have the preferred answer scored higher. Equal scores are wrong.

    Args:
        differences: Score of the first less score of the second answer, by pair.
        shares: Share of labels that prefer the first, never 0.5.
    """
    return sum(
        (difference > 0) == (share > 0.5) and difference != 0 for difference, share in zip(differences, shares, strict=True)
    )


def brier(probabilities: Sequence[float], shares: Sequence[float], labels: Sequence[float]) -> float:
    """Mean squared distance of the predicted probability from each label (1, 0, or 0.5 for the share of a tie).

    A pair's labels are represented by their share, so disagreement within a pair is not counted against the model.
    """
    squares = ((p - share) ** 2 * n for p, share, n in zip(probabilities, shares, labels, strict=True))
    return sum(squares) / sum(labels)


def calibration_error(
    probabilities: Sequence[float], shares: Sequence[float], labels: Sequence[float], *, bins: int = 10
) -> float:
    """Expected calibration error over equal-width bins, weighted by labels.

        Σ_b n_b |mean predicted_b - mean share_b| / Σ_b n_b

    Each pair is counted both ways round (p and 1 - p), so the order of a pair's answers has no influence.
    Does not cover: errors that cancel within a bin. Source: Naeini et al. 2015, https://doi.org/10.1609/aaai.v29i1.9602
    """
    sums = _binned(probabilities, shares, labels, bins)
    return sum(abs(predicted - found) for predicted, found, _ in sums) / sum(n for *_, n in sums)


def _binned(probabilities: Sequence[float], shares: Sequence[float], labels: Sequence[float], bins: int) -> list[list[float]]:
    """Σ predicted, Σ found and labels of each bin, each pair both ways round."""
    sums = [[0.0, 0.0, 0.0] for _ in range(bins)]
    for p, share, n in zip(probabilities, shares, labels, strict=True):
        for predicted, found in ((p, share), (1 - p, 1 - share)):
            row = sums[min(int(predicted * bins), bins - 1)]
            row[0] += n * predicted
            row[1] += n * found
            row[2] += n
    return sums


def reliability(
    probabilities: Sequence[float], shares: Sequence[float], labels: Sequence[float], *, bins: int = 10
) -> list[dict[str, float]]:
    """The points of a reliability plot: of each equal-width bin that is not empty, what was predicted and what was found.

    Each pair is counted both ways round, as in `calibration_error`, so the plot is symmetric about one half.
    """
    sums = _binned(probabilities, shares, labels, bins)
    return [
        {"predicted": round(predicted / n, 4), "found": round(found / n, 4), "labels": round(n, 2)}
        for predicted, found, n in sums
        if n
    ]


def paired_correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Correlation of two differences whose sign is arbitrary, since the order of a pair's answers is.

        Σ x y / √(Σ x² Σ y²)

    None where one side is always 0 or there are fewer than three.
    """
    scale = math.sqrt(sum(x * x for x in xs) * sum(y * y for y in ys))
    return sum(x * y for x, y in zip(xs, ys, strict=True)) / scale if len(xs) > 2 and scale > 0 else None


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Pearson's correlation; None where one side does not vary or there are fewer than three."""
    if len(xs) < 3:
        return None
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    dx, dy = [x - mean_x for x in xs], [y - mean_y for y in ys]
    scale = math.sqrt(sum(d * d for d in dx) * sum(d * d for d in dy))
    return sum(a * b for a, b in zip(dx, dy, strict=True)) / scale if scale > 0 else None
