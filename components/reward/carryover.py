"""Before a reward model is retrained for another base model: what the one before makes of what the new base says.

The reward model before, on its own base model, ranks the golden pairs of now, and scores answers of two SFT policies to the
same prompts: of the base that it was trained for, and of the new one. If its scores drift, the new base's answers are not what
it learnt to judge; retraining is then needed, and not only prudent. Nothing of it reaches the new reward model.

Does not cover: how the old adapter would do on the new base's weights. PPO refuses that, whatever it would score.
Why here and so: docs/decisions/0053-carryover.md
"""

from __future__ import annotations

import json
import random
import statistics
from typing import TYPE_CHECKING

from components import models, records, rewardmodel
from components.reward import quality, train
from components.reward.train import Ranker
from components.rewardmodel import Card, ScoreHead

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from components.context import Context, Predecessor
    from components.models import Dialogue
    from components.pairs import Pair
    from components.reward.config import Settings

SPLITS = ("held_out", "evaluation")
NONE = "none: no version for another base model is registered"
DRIFTED = 0.1
"""Evidently's own threshold of the normed Wasserstein distance."""
BATCH = 32


def measure(context: Context[Settings], golden: Sequence[Pair]) -> None:
    """Measure the reward model of the base before, if there is one. Leaves the random numbers as `seed_everything` does."""
    before = context.predecessor
    if before is None:
        context.fact("predecessor", NONE)
        return
    if before.problem:
        context.gap("predecessor", before.problem)
        return
    context.fact("predecessor", {"version": before.version, "digest": before.digest, "base_digest": before.base_digest})
    try:
        ranker, card = _ranker(before)
    except train.UNREADABLE as error:
        context.gap("predecessor", f"version {before.version} belongs to the base model before, and can't be loaded: {error}")
        return
    _golden(context, ranker, golden)
    _drift(context, ranker, card)
    models.seed_everything(context.seed)


def _ranker(before: Predecessor) -> tuple[Ranker, Card]:
    """The reward model before, on the base model that it belongs to."""
    base = models.load_base(before.inputs["base_model"])
    model = models.quicken(models.load_adapter(base, before.path, name=train.ADAPTER))
    head = ScoreHead.load(before.path / rewardmodel.HEAD).to(base.device)
    tokenizer = models.load_tokenizer(before.inputs["base_model"])
    return Ranker(model, head, tokenizer, models.context_tokens(base), None), Card.read(before.path)


def _golden(context: Context[Settings], ranker: Ranker, golden: Sequence[Pair]) -> None:
    fitting = [pair for pair in golden if train.fits(ranker, pair)]
    if not fitting:
        context.gap("predecessor_golden_accuracy", "there are no golden pairs that fit the context of the base model before")
        return
    differences = [first - second for first, second in train.scores(ranker, fitting)]
    right = quality.ranked_right(differences, [pair.share for pair in fitting])
    low, high = quality.wilson(right, len(fitting))
    name = "predecessor_golden_accuracy"
    context.measure(name, right / len(fitting), unit="share of pairs", n=len(fitting), low=low, high=high)
    context.tag("reward_adapter", **{name: f"{right / len(fitting):.4f}"})


def _drift(context: Context[Settings], ranker: Ranker, card: Card) -> None:
    """Scores of answers of the SFT policy of the base before and of the new one, and how far apart they lie."""
    before = context.predecessor
    assert before is not None, "measure has looked"
    prompts = _prompts(context, (before.inputs["base_model"], context.inputs["base_model"]))
    if not prompts:
        context.gap("predecessor_score_drift", "no prompt of the splits held_out and evaluation fits both base models")
        return
    scores = {}
    for name, folders in (("old", before.inputs), ("new", context.inputs)):
        answers = _answers(context, folders, prompts)
        texts = [rewardmodel.encode_answer(ranker.tokenizer, *each) for each in zip(prompts, answers, strict=True)]
        fitting = [text for text in texts if len(text) <= ranker.context_tokens]
        raw = rewardmodel.score(ranker.model, ranker.head, fitting, pad=int(ranker.tokenizer.pad_token_id))
        scores[name] = [(score - card.mean) / card.std for score in raw]
        if not raw:
            context.gap("predecessor_score_drift", f"no answer of the {name} base fits the context of the base model before")
            return
        unit = "standard deviations of the old training answers"
        context.measure(f"predecessor_score_{name}_base", statistics.fmean(scores[name]), unit=unit, n=len(raw))
    distance, p_value = drift(scores["old"], scores["new"])
    context.measure("predecessor_score_drift", distance, unit="normed Wasserstein distance", n=len(scores["new"]))
    found = {"method": "Evidently ValueDrift, normed Wasserstein distance", "threshold": DRIFTED}
    context.fact("predecessor_drift", found | {"drifted": distance > DRIFTED, "ks_p_value": p_value})
    context.tag("reward_adapter", predecessor_version=before.version, predecessor_score_drift=f"{distance:.4f}")


def drift(reference: Sequence[float], current: Sequence[float]) -> tuple[float, float]:
    """How far scores moved, by Evidently: Wasserstein distance over the reference's standard deviation, and p of K-S.

    Source: https://docs.evidentlyai.com/metrics/customize_data_drift
    """
    import pandas as pd  # noqa: PLC0415  (only where the base model changed)
    from evidently import DataDefinition, Dataset, Report  # noqa: PLC0415  (seconds of import)
    from evidently.metrics import ValueDrift  # noqa: PLC0415

    columns = DataDefinition(numerical_columns=["score"])
    new, old = (
        Dataset.from_pandas(pd.DataFrame({"score": list(scores)}), data_definition=columns) for scores in (current, reference)
    )
    report = Report([ValueDrift(column="score", method=method) for method in ("wasserstein", "ks")])
    distance, p_value = (float(metric["value"]) for metric in report.run(new, old).dict()["metrics"])
    return distance, p_value


def _prompts(context: Context[Settings], bases: tuple[Path, Path]) -> list[Dialogue]:
    """A seeded draw of unseen prompts that leave room for an answer in both base models."""
    rows = records.read(context.inputs["prompts"] / "prompts.jsonl", records.Prompt)
    dialogues = [[message.model_dump() for message in row.messages] for row in rows if row.split in SPLITS]
    for folder in bases:
        shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        room = int(shape["max_position_embeddings"]) - context.config.carryover_tokens
        tokenizer = models.load_tokenizer(folder)
        dialogues = [each for each in dialogues if len(models.encode(tokenizer, each, answering=True)) <= room]
    return random.Random(context.seed).sample(dialogues, min(context.config.carryover_prompts, len(dialogues)))


def _answers(context: Context[Settings], folders: Mapping[str, Path], prompts: Sequence[Dialogue]) -> list[str]:
    """What the SFT policy on a base model answers."""
    model = models.load_adapter(models.load_base(folders["base_model"]), folders["sft_adapter"], name="policy")
    return models.generate(
        models.quicken(model),
        models.load_tokenizer(folders["base_model"]),
        prompts,
        max_new_tokens=context.config.carryover_tokens,
        temperature=1.0,
        seed=context.seed,
        batch_size=BATCH,
    )
