"""The story of `reward`: pairs from labels, a head and an adapter trained on them, and how far to trust the result."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components import models, records, rewardmodel
from components.errors import DataRefused
from components.pairs import Pair, divided, golden_pairs, label_weights, labelled_pairs
from components.reward import against, carryover, gaming, groups, losses, people, quality, train, votes
from components.rewardmodel import Card

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.context import Context
    from components.reward.config import Settings
    from components.reward.train import Cost, Ranker
    from components.reward.votes import Votes

GOLDEN_SPLITS = ("held_out", "evaluation")
"""Golden pairs of these prompts were never trained on."""


def run(context: Context[Settings]) -> None:
    """Train the reward model and the held-out judge, and publish them with their cards."""
    models.seed_everything(context.seed)
    labelled = _pairs(context)
    carryover.measure(context, labelled.golden)
    judge, judge_cost, _ = _taught(context, labelled.judging, artifact="judge_adapter")
    ranker, cost, learnt_from = _taught(context, labelled.training, artifact="reward_adapter")
    train.account(context, ranker, [judge_cost, cost])
    people.measure(context, people.trained_by(labelled.counting, learnt_from))
    held_out = _of(ranker, context, labelled.held_out, "held_out_pairs")
    _measure_held_out(context, ranker, held_out)
    _measure_groups(context, ranker, held_out)
    golden = _of(ranker, context, labelled.golden, "golden_pairs")
    _measure_golden(context, ranker, golden)
    gaming.measure(context, ranker, [*held_out, *golden])
    against.measure(context, ranker, held_out)
    decided = [pair for pair in held_out if pair.decided]
    if decided:
        _accuracy(context, judge, decided, name="judge_accuracy")


@dataclass(frozen=True)
class _Pairs:
    """What the step learns from and is measured on. No golden pair is trained on."""

    training: Votes
    judging: Votes
    held_out: list[Pair]
    """Labels of all annotators; of prompts that neither model is trained on."""
    golden: list[Pair]
    counting: list[records.Comparison]
    """Labels of the reward model's side that have a weight, be their pairs trained on or not."""


def _taught(context: Context[Settings], labelled: Votes, *, artifact: str) -> tuple[Ranker, Cost, list[Pair]]:
    """A reward model trained on pairs and published; what it read, and the pairs that fit the context.

    Raises:
        DataRefused: There is nothing to train on.
    """
    settings = context.config
    judges = artifact == "judge_adapter"
    ranker = train.load(context, groups=len(labelled.groups))
    training = _of(ranker, context, labelled.pairs, "judge_training_pairs" if judges else "training_pairs")
    if not training:
        message = (
            f"comparisons.jsonl has no comparison of a prompt of split `train` for {artifact} that fits the base model's "
            "context. Give labels of at least two annotators, or a base model with a longer context."
        )
        raise DataRefused(message)
    labelled = labelled.only(training)
    epochs = settings.judge_epochs if judges else settings.epochs
    cost = train.fit(ranker, labelled, context, epochs=epochs, curve="judge_loss" if judges else "loss")
    mean, std = _scale(ranker, training)
    card = Card(
        base_digest=context.input_digests.get("base_model", ""),
        tokenizer_digest=rewardmodel.tokenizer_digest(ranker.tokenizer),
        mean=mean,
        std=std,
        loss="bradley-terry" if settings.ties == "half" else "rao-kupper",
        train_pairs=len(training),
        start_from=settings.start_from,
        judge_share=settings.judge_share,
        heads=settings.heads,
        caution=settings.caution,
        stakeholders=settings.stakeholders,
        aggregation=ranker.head.aggregation,
    )
    _publish(context, ranker, card, artifact)
    if not judges:
        _say_choices(context, ranker, labelled)
    return ranker, cost, training


def _say_choices(context: Context[Settings], ranker: Ranker, labelled: Votes) -> None:
    """What the card needs to tell: whose labels counted how much, what a tie is, whether prompts were shared."""
    settings = context.config
    told = {"aggregation": ranker.head.aggregation} if ranker.head.aggregation else {}
    context.fact("stakeholders", {"choice": settings.stakeholders, "groups": len(labelled.groups)} | told)
    if settings.stakeholders in {"balanced", "worst_group"}:
        context.fact("group_weights", {group: round(weight, 4) for group, weight in sorted(labelled.weights.items())})
    shared = train.shares_prompts(ranker, settings)
    said = "computed once for both answers" if shared else "computed for each answer"
    context.fact("prompts_of_pairs", said)
    if settings.ties == "rao_kupper":
        context.measure("tie_threshold", ranker.threshold, unit="raw score")


def _pairs(context: Context[Settings]) -> _Pairs:
    """All labelled pairs but the golden ones, by the weights of `annotators`; and golden pairs of prompts not trained on."""
    prompts = {prompt.id: prompt for prompt in records.read(context.inputs["prompts"] / "prompts.jsonl", records.Prompt)}
    comparisons = list(records.read(context.inputs["comparisons"] / "comparisons.jsonl", records.Comparison))
    table = context.inputs["golden"] / "golden.jsonl"
    golden = list(records.read(table, records.GoldenPair)) if table.is_file() else []
    unseen = [pair for pair in golden_pairs(golden, prompts) if pair.prompt.split in GOLDEN_SPLITS]
    weights = label_weights(context.inputs["label_weights"])
    kept_apart = {records.pair_id(pair.prompt_id, pair.responses) for pair in golden}

    def of(labels: Sequence[records.Comparison], split: str) -> list[Pair]:
        found = labelled_pairs(labels, prompts, weights=weights, kept_apart=kept_apart)
        return [pair for pair in found if pair.prompt.split == split]

    training, judging = divided(comparisons, judge_share=context.config.judge_share)
    group_of: dict[str, str] = {}
    if context.config.stakeholders != "all":
        known = groups.read(context.inputs["label_weights"])
        group_of = votes.groups_of(known, context.config.stakeholder_attribute)

    def counted(labels: Sequence[records.Comparison]) -> Votes:
        together = of(labels, "train")
        if not group_of:
            return votes.of_everybody(together)
        apart = {group: of(those, "train") for group, those in votes.split(labels, group_of).items()}
        return votes.of_groups(together, {group: found for group, found in apart.items() if found})

    counting = [label for label in training if weights[label.id] > 0]
    return _Pairs(counted(training), counted(judging), of(comparisons, "held_out"), unseen, counting)


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
        for name in ("accuracy", "calibration_error", "brier", "log_loss", "score_length_correlation"):
            context.gap(name, "no comparison of a prompt of split `held_out` prefers one answer")
        return
    _accuracy(context, ranker, decided, name="accuracy")
    context.tag("reward_adapter", accuracy=f"{context.measurements['accuracy'].value:.4f}")
    found = train.scores(ranker, pairs)
    chances = [losses.expected_share(first - second, ranker.threshold) for first, second in found]
    shares, labels = [pair.share for pair in pairs], [pair.counts for pair in pairs]
    total = sum(pair.labels for pair in pairs)
    context.measure("calibration_error", quality.calibration_error(chances, shares, labels), unit="probability", n=total)
    context.fact("reliability", quality.reliability(chances, shares, labels))
    context.measure("brier", quality.brier(chances, shares, labels), unit="squared probability", n=total)
    differences = [first - second for first, second in found]
    context.measure("log_loss", train.log_loss(ranker, differences, pairs), unit="nats per label", n=total)
    _measure_doubt(context, ranker, pairs)
    lengths = [float(len(text.split())) for pair in pairs for text in pair.responses]
    correlation = quality.correlation([score for pair in found for score in pair], lengths)
    if correlation is None:
        context.gap("score_length_correlation", "scores or lengths don't vary")
    else:
        context.measure("score_length_correlation", correlation, unit="correlation", n=len(lengths))


def _measure_doubt(context: Context[Settings], ranker: Ranker, pairs: Sequence[Pair]) -> None:
    """How far the heads of an ensemble lie apart, as a share of the spread of its scores."""
    if not ranker.head.ensemble:
        return
    doubts = train.doubts(ranker, pairs)
    mean = statistics.fmean(doubts) / context.measurements["score_std"].value
    context.measure("ensemble_std", mean, unit="standard deviations", n=2 * len(pairs))


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
            "accuracy_by_group", "of no group of annotators that may be shown, enough people labelled enough held-out pairs"
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
