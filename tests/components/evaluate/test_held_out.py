"""Preferences without a gold function, from labels to verdict: two small policies that say different things, and a judge."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from components import records
from components.catalog import STEPS
from components.context import Context
from components.evaluate import step, texts
from components.evaluate.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Judged = Callable[..., tuple[dict[str, Any], dict[str, Any]]]

BLUE, RED = "Yes, the sky is blue.", "No, it is red."
SMALL = {"answer_tokens": 16, "temperature": 0.0, "resamples": 1000, "samples": 3, "batch_size": 64, "perplexity_texts": 3}


def _tables(folder: Path, questions: list[list[dict[str, str]]], *, wrong: float, pairs: int = 80) -> dict[str, Path]:
    """Comparisons of the two sentences, of which a share is labelled the wrong way round."""
    dice = random.Random(4)
    prompts, comparisons = [], []
    for split in ("evaluation", "judge", "held_out"):
        for number in range(pairs):
            name = f"{split}-{number}"
            words = [records.Message.model_validate(message) for message in questions[number % len(questions)]]
            prompts.append(records.Prompt(id=name, kind="unknown", split=split, messages=words, truth=None))
            shown = (f"{BLUE} {number}", f"{RED} {number}")
            label = "second" if dice.random() < wrong else "first"
            comparisons.append(records.Comparison(id=f"c-{name}", prompt_id=name, responses=shown, label=label, annotator=None))
    records.write(folder / "prompts" / "prompts.jsonl", prompts)
    records.write(folder / "comparisons" / "comparisons.jsonl", comparisons)
    held_out = [name for name in (f"t-{number}" for number in range(900)) if texts.held_out(name)][:3]
    records.write(folder / "corpus" / "corpus.jsonl", [records.Text(id=name, text=BLUE) for name in held_out])
    return {name: folder / name for name in ("prompts", "comparisons", "corpus")}


@pytest.fixture
def judged(
    tmp_path: Path, tiny_models: dict[str, Path], policies: dict[str, Path], questions: list[list[dict[str, str]]]
) -> Judged:
    """Evaluates a candidate against an SFT policy; gives the report and the gate of the judge."""

    def evaluate(sft: str, candidate: str, **labels: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        adapters = {"sft_adapter": policies[sft], "policy_adapter": policies[candidate]}
        context: Context[Settings] = Context(
            step=STEPS["evaluate"],
            config=Settings(**SMALL, suites=["task_quality"]),
            seed=5,
            inputs=tiny_models | adapters | _tables(tmp_path / "tables", questions, **labels),
            scratch=tmp_path / "scratch",
            checkpoints=tmp_path / "checkpoints",
            input_digests={"base_model": "sha256:b"},
        )
        step.run(context)
        report = json.loads((context.output("evaluation") / "report.json").read_text())
        [gate] = [gate for gate in report["gates"] if gate["name"] == "judged"]
        return report, gate

    return evaluate


def test_a_candidate_that_people_would_like_less_is_regressed(judged: Judged) -> None:
    report, gate = judged("blue", "red", wrong=0.1)

    assert report["scored_by"] == "held-out judge"
    assert report["judge"]["method"].startswith("reward model not used in training")
    assert gate["value"] == -0.5, "every answer lost"
    assert gate["verdict"] == "regressed"
    assert gate["worst"][0]["candidate"]["answer"].startswith("No, it is red")


def test_one_that_people_would_like_more_passes(judged: Judged) -> None:
    report, gate = judged("red", "blue", wrong=0.1)

    assert (gate["value"], gate["verdict"]) == (0.5, "pass")
    sharpness = 2 * report["judge"]["accuracy"]["low"] - 1
    assert abs(gate["threshold"] + 0.1 * sharpness) < 1e-6, "a margin of 0.1 of true preference, as far as the judge sees it"


def test_labels_that_are_coin_flips_decide_nothing_whatever_the_judge_says(judged: Judged) -> None:
    report, gate = judged("red", "blue", wrong=0.5)

    assert (gate["value"], gate["verdict"]) == (None, "undecided")
    assert "which may be chance" in gate["text"]
    assert report["verdict"] == "undecided"


def test_too_few_comparisons_leave_the_suite_undecided_and_say_how_many_there_are(judged: Judged) -> None:
    report, gate = judged("red", "blue", wrong=0.0, pairs=19)

    assert gate["verdict"] == "undecided"
    assert "has 19 comparisons that are not ties; a judge needs 20" in report["suites"][0]["undecided_because"]
