"""The new reward model against the one that is active, on the same held-out pairs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from components import models, rewardmodel
from components.reward import quality, train
from components.rewardmodel import Card, ScoreHead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.context import Context, ModelVersion
    from components.pairs import Pair
    from components.reward.train import Ranker

OLD = "old"
NAME = "accuracy_minus_active"


def measure(context: Context[Any], ranker: Ranker, pairs: Sequence[Pair]) -> None:
    """Difference of the accuracies on decided pairs, with its paired 95 % interval; leaves the ranker as it was.

    Does not cover: whether the active version was trained on some of these pairs. Splits are by prompt and fixed by the data,
    so it was not, unless the data version moved a prompt from one split to another.
    """
    active = context.baseline
    decided = [pair for pair in pairs if pair.decided]
    if active is None or not decided:
        context.gap(NAME, "there is no other active reward model" if active is None else "no held-out pair prefers one answer")
        return
    try:
        before = _before(ranker, active, base_digest=context.input_digests.get("base_model", ""))
    except train.UNREADABLE as error:
        context.gap(NAME, f"version {active.version} can't be loaded: {error}")
        _forget(ranker)
        return
    if before is None:
        context.gap(NAME, f"version {active.version} is of another base model or tokenizer; its scores mean nothing here")
        return
    old = [_right(difference, pair) for difference, pair in zip(_differences(before, decided), decided, strict=True)]
    _forget(ranker)
    new = [_right(difference, pair) for difference, pair in zip(_differences(ranker, decided), decided, strict=True)]
    gains = [float(one) - float(other) for one, other in zip(new, old, strict=True)]
    mean = sum(gains) / len(gains)
    spread = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / max(1, len(gains) - 1) / len(gains))
    half = quality.Z_95 * spread
    context.measure(NAME, mean, unit="share of pairs", n=len(gains), low=mean - half, high=mean + half)
    context.fact(
        "compared_with", {"version": active.version, "digest": active.digest, "accuracy": round(sum(old) / len(old), 4)}
    )


def _before(ranker: Ranker, active: ModelVersion, *, base_digest: str) -> Ranker | None:
    """The ranker with the active version's head and adapter; None where that is of another base or tokenizer."""
    card = Card.read(active.path)
    if card.base_digest != base_digest or card.tokenizer_digest != rewardmodel.tokenizer_digest(ranker.tokenizer):
        return None
    head = ScoreHead.load(active.path / rewardmodel.HEAD).to(ranker.head.weight.device)
    models.load_adapter(ranker.model, active.path, name=OLD)
    return replace(ranker, head=head)


def _forget(ranker: Ranker) -> None:
    """Switch the new adapter on, and let the active version's go, as far as it was loaded."""
    ranker.model.set_adapter(train.ADAPTER)
    if OLD in ranker.model.peft_config:
        ranker.model.delete_adapter(OLD)


def _differences(ranker: Ranker, pairs: Sequence[Pair]) -> list[float]:
    return [first - second for first, second in train.scores(ranker, pairs)]


def _right(difference: float, pair: Pair) -> bool:
    return quality.ranked_right([difference], [pair.share]) == 1
