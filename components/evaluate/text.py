"""What can be said of an answer from its words alone. Pure."""

from __future__ import annotations

from itertools import pairwise


def repetition(answer: str) -> float:
    """Share of an answer's neighbouring word pairs that occurred in it before; 0 for an answer of fewer than two words."""
    pairs = list(pairwise(answer.lower().split()))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0
