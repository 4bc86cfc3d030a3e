"""The story of `reward`: pairs from labels, a head and an adapter trained on them, and how far to trust the result."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components import models, records, rewardmodel
from components.errors import DataRefused
from components.reward import groups, quality, train
from components.reward.pairs import Pair, divided, golden_pairs, label_weights, labelled_pairs
from components.rewardmodel import Card

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.context import Context
    from components.reward.config import Settings
    from components.reward.train import Ranker

GOLDEN_SPLITS = ("held_out", "evaluation")
"""Golden pairs of these prompts were never trained on."""


def run(context: Context[Settings]) -> None:
    """Train the reward model and the held-out judge, and publish them with their cards."""
    models.seed_everything(context.seed)
    labelled = _pairs(context)
    judge, judge_tokens = _taught(context, labelled.judging, artifact="judge_adapter")
    ranker, tokens = _taught(context, labelled.training, artifact="reward_adapter")
    train.account(context, ranker, tokens + judge_tokens)
    held_out = _of(ranker, context, labelled.held_out, "held_out_pairs")
    _measure_held_out(context, ranker, held_out)
    _measure_groups(context, ranker, held_out)
    _measure_golden(context, ranker, _of(ranker, context, labelled.golden, "golden_pairs"))
    decided = [pair for pair in held_out if pair.decided]
    if decided:
        _accuracy(context, judge, decided, name="judge_accuracy")


@dataclass(frozen=True)
class _Pairs:
    """What the step learns from and is measured on. No golden pair is trained on."""

    training: list[Pair]
    judging: list[Pair]
    held_out: list[Pair]
    """Labels of all annotators; of prompts that neither model is trained on."""
    golden: list[Pair]


def _taught(context: Context[Settings], pairs: Sequence[Pair], *, artifact: str) -> tuple[Ranker, int]:
    """A reward model trained on pairs and published; and the tokens that it read.

    Raises:
        DataRefused: There is nothing to train on.
    """
    judges = artifact == "judge_adapter"
    ranker = train.load(context)
    training = _of(ranker, context, pairs, "judge_training_pairs" if judges else "training_pairs")
    if not training:
        message = (
            f"comparisons.jsonl has no comparison of a prompt of split `train` for {artifact} that fits the base model's "
            "context. Give labels of at least two annotators, or a base model with a longer context."
        )
        raise DataRefused(message)
    epochs = context.config.judge_epochs if judges else context.config.epochs
    tokens = train.fit(ranker, training, context, epochs=epochs, curve="judge_loss" if judges else "loss")
    mean, std = _scale(ranker, training)
    card = Card(
        base_digest=context.input_digests.get("base_model", ""),
        tokenizer_digest=rewardmodel.tokenizer_digest(ranker.tokenizer),
        mean=mean,
        std=std,
        loss="bradley-terry",
        train_pairs=len(training),
        start_from=context.config.start_from,
    )
    _publish(context, ranker, card, artifact)
    return ranker, tokens


def _pairs(context: Context[Settings]) -> _Pairs:
    """All labelled pairs but the golden ones, by the weights of `annotators`; and golden pairs of prompts not trained on."""
    prompts = {prompt.id: prompt for prompt in records.read(context.inputs["prompts"] / "prompts.jsonl", records.Prompt)}
    comparisons = list(records.read(context.inputs["comparisons"] / "comparisons.jsonl", records.Comparison))
    table = context.inputs["golden"] / "golden.jsonl"
    golden = list(records.read(table, records.GoldenPair)) if table.is_file() else []
    unseen = [pair for pair in golden_pairs(golden, prompts) if pair.prompt.split in GOLDEN_SPLITS]
    weights = label_weights(context.inputs["label_weights"])
    apart = {records.pair_id(pair.prompt_id, pair.responses) for pair in golden}

    def of(labels: Sequence[records.Comparison], split: str) -> list[Pair]:
        found = labelled_pairs(labels, prompts, weights=weights, kept_apart=apart)
        return [pair for pair in found if pair.prompt.split == split]

    training, judging = divided(comparisons, judge_share=context.config.judge_share)
    return _Pairs(of(training, "train"), of(judging, "train"), of(comparisons, "held_out"), unseen)


def _of(ranker: Ranker, context: Context[Settings], pairs: Sequence[Pair], name: str) -> list[Pair]:
    """The pairs that fit the context, with how many don't."""
    fitting = [pair for pair in pairs if train.fits(ranker, pair)]
    if len(fitting) < len(pairs):
        if context.config.long_dialogues == "refuse":
            message = (
                f"{len(pairs) - len(fitting)} of {len(pairs)} {name.replace('_', ' ')} are longer than the context of "
                f"{ranker.context_tokens} tokens. Set reward.long_dialogues to leave_out, or take another base model."
            )
            raise DataRefused(message)
        context.gap(f"{name}_left_out", f"{len(pairs) - len(fitting)} of {len(pairs)} are longer than the context")
    context.measure(name, len(fitting), unit="pairs")
    return fitting


def _scale(ranker: Ranker, pairs: Sequence[Pair]) -> tuple[float, float]:
    """Mean and standard deviation of the scores of the training answers.

    Raises:
        ModelRefused: A score is not finite.
    """
    scores = [score for pair in train.scores(ranker, pairs) for score in pair]
    return statistics.fmean(scores), statistics.pstdev(scores) or 1.0


def _publish(context: Context[Settings], ranker: Ranker, card: Card, artifact: str) -> None:
    folder = context.output(artifact)
    models.save_adapter(ranker.model, folder, name=train.ADAPTER)
    ranker.head.save(folder / rewardmodel.HEAD)
    card.write(folder)
    if artifact != "reward_adapter":
        return
    context.measure("score_mean", card.mean, unit="raw score")
    context.measure("score_std", card.std, unit="raw score")
    context.tag(
        "reward_adapter",
        base_digest=card.base_digest,
        preference_digest=context.input_digests.get("comparisons", ""),
        label_weights_digest=context.input_digests.get("label_weights", ""),
        state="active",
    )


def _measure_held_out(context: Context[Settings], ranker: Ranker, pairs: Sequence[Pair]) -> None:
    """Accuracy, calibration, and what the scores go with, on comparisons of held-out prompts."""
    decided = [pair for pair in pairs if pair.decided]
    if not decided:
        for name in ("accuracy", "calibration_error", "brier", "score_length_correlation"):
            context.gap(name, "no comparison of a prompt of split `held_out` prefers one answer")
        return
    _accuracy(context, ranker, decided, name="accuracy")
    context.tag("reward_adapter", accuracy=f"{context.measurements['accuracy'].value:.4f}")
    found = train.scores(ranker, pairs)
    chances = [train.chance(first - second) for first, second in found]
    shares, labels = [pair.share for pair in pairs], [pair.counts for pair in pairs]
    total = sum(pair.labels for pair in pairs)
    context.measure("calibration_error", quality.calibration_error(chances, shares, labels), unit="probability", n=total)
    context.measure("brier", quality.brier(chances, shares, labels), unit="squared probability", n=total)
    lengths = [float(len(text.split())) for pair in pairs for text in pair.responses]
    correlation = quality.correlation([score for pair in found for score in pair], lengths)
    if correlation is None:
        context.gap("score_length_correlation", "scores or lengths don't vary")
    else:
        context.measure("score_length_correlation", correlation, unit="correlation", n=len(lengths))


def _measure_groups(context: Context[Settings], ranker: Ranker, pairs: Sequence[Pair]) -> None:
    """How well it ranks the held-out labels of each group of annotators, where groups are large enough."""
    scores = train.scores(ranker, pairs)
    differences = {  # a labelled pair's first response sorts first
        records.pair_id(pair.prompt.id, pair.responses): first - second
        for pair, (first, second) in zip(pairs, scores, strict=True)
    }
    comparisons = records.read(context.inputs["comparisons"] / "comparisons.jsonl", records.Comparison)
    found = groups.accuracy_by_group(comparisons, differences, groups.read(context.inputs["label_weights"]))
    if found:
        context.fact("accuracy_by_group", found)
    else:
        context.gap(
            "accuracy_by_group", "no group of annotators is large enough to be shown, or labelled enough held-out pairs"
        )


def _measure_golden(context: Context[Settings], ranker: Ranker, pairs: Sequence[Pair]) -> None:
    """Accuracy where the better answer is known, overall, by prompt kind and by length."""
    if not pairs:
        context.gap("golden_accuracy", "there are no golden pairs of prompts of the splits held_out and evaluation")
        return
    _accuracy(context, ranker, pairs, name="golden_accuracy")


def _accuracy(context: Context[Settings], ranker: Ranker, pairs: Sequence[Pair], *, name: str) -> None:
    """Share of decided pairs ranked right, with its interval; as facts by prompt kind and by length difference."""
    differences = [first - second for first, second in train.scores(ranker, pairs)]
    right = quality.ranked_right(differences, [pair.share for pair in pairs])
    low, high = quality.wilson(right, len(pairs))
    context.measure(name, right / len(pairs), unit="share of pairs", n=len(pairs), low=low, high=high)
    context.fact(f"{name}_by_kind", _by([pair.prompt.kind for pair in pairs], differences, pairs))
    context.fact(f"{name}_by_agreement", _by([pair.agreement for pair in pairs], differences, pairs))
    context.fact(f"{name}_by_length", _by([pair.longer for pair in pairs], differences, pairs))


def _by(groups: Sequence[str], differences: Sequence[float], pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """Group → share ranked right, and of how many."""
    table: dict[str, dict[str, float]] = {}
    for group in sorted(set(groups)):
        rows = [row for row, found in enumerate(groups) if found == group]
        right = quality.ranked_right([differences[row] for row in rows], [pairs[row].share for row in rows])
        table[group] = {"accuracy": right / len(rows), "pairs": len(rows)}
    return table
