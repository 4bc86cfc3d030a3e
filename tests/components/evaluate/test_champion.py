"""A champion of another base model, with a tokenizer and a context of its own, is asked the same as the candidate."""

from __future__ import annotations

import json
import shutil
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from components import models, records
from components.catalog import STEPS
from components.context import Context, ModelVersion
from components.evaluate import step, texts
from components.evaluate.config import Settings
from components.evaluate.panel import Panel, Reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Evaluate = Callable[..., tuple[dict[str, Any], Context[Settings]]]

SKY = {"task": "answer", "subject": "sky", "answer": "blue", "others": ["red"], "says": "the sky is {v}", "brief": False}
SMALL = {"answer_tokens": 16, "temperature": 0.0, "resamples": 1000, "samples": 2, "batch_size": 32, "suite_prompts": 4}
TEXT = "The sky is blue, and the sky is red. No, it is red: \u5929 is the sky, gr\u00fcn it is not. " * 2


@pytest.fixture
def evaluate(
    tiny_models: dict[str, Path],
    policies: dict[str, Path],
    another_base: dict[str, Path],
    questions: list[list[dict[str, str]]],
    tmp_path: Path,
) -> Evaluate:
    """Evaluates the candidate `blue` or `red` against the champion of another base that says `blue`."""
    folder = tmp_path / "tables"
    words = [records.Message(role="user", content=asked[0]["content"]) for asked in questions]
    prompts = [
        records.Prompt(
            id=f"p-{number}",
            kind="fact",
            split="evaluation",
            messages=[words[number % len(words)]],
            truth=SKY | {"claim": None, "opinion": False},
        )
        for number in range(90)
    ]
    records.write(folder / "prompts" / "prompts.jsonl", prompts)
    records.write(folder / "comparisons" / "comparisons.jsonl", [])
    held_out = [name for name in (f"t-{number}" for number in range(900)) if texts.held_out(name)][:6]
    records.write(folder / "corpus" / "corpus.jsonl", [records.Text(id=name, text=TEXT) for name in held_out])
    inputs = tiny_models | {name: folder / name for name in ("prompts", "comparisons", "corpus")}

    def run(candidate: str, *suites: str, **champion: Any) -> tuple[dict[str, Any], Context[Settings]]:
        context: Context[Settings] = Context(
            step=STEPS["evaluate"],
            config=Settings(**SMALL, suites=list(suites)),
            seed=5,
            inputs=inputs | {"sft_adapter": policies["blue"], "policy_adapter": policies[candidate]},
            scratch=tmp_path / candidate / "scratch",
            checkpoints=tmp_path / candidate / "checkpoints",
            input_digests={"base_model": "sha256:b"},
        )
        given = {"path": another_base["blue"], "base": another_base["base_model"]} | champion
        context.baseline = ModelVersion("policy", "4", "sha256:c", base_digest="sha256:other", **given)
        step.run(context)
        return json.loads((context.output("evaluation") / "report.json").read_text()), context

    return run


def _gates(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {gate["name"]: gate for gate in report["gates"]}


def test_a_candidate_that_says_what_the_champion_says_passes_and_one_that_says_worse_is_regressed(evaluate: Evaluate) -> None:
    report, context = evaluate("blue", "task_quality", "truthfulness")
    gates = _gates(report)

    assert report["reference"] == "champion"
    assert (gates["utility"]["value"], gates["utility"]["verdict"]) == (0.0, "pass")
    assert gates["choice_correct"]["value"] is not None, "likelihoods by each one's own tokenizer"
    assert report["models"]["champion"]["utility"]["value"] == report["models"]["candidate"]["utility"]["value"]
    assert report["flop"]["champion"] > 0
    assert "champion" not in context.gaps
    assert report["champion"] == {"version": "4", "digest": "sha256:c", "base_digest": "sha256:other"}
    page = (context.output("evaluation") / "report.html").read_text()
    assert "The champion belongs to another base model." in page

    worse, _ = evaluate("red", "task_quality")
    assert _gates(worse)["utility"]["verdict"] == "regressed"
    assert _gates(worse)["utility"]["worst"][0]["reference"]["answer"] == "Yes, the sky is blue."
    assert _gates(worse)["utility"]["worst"][0]["candidate"]["answer"] == "No, it is red."


def test_the_first_model_is_gone_before_the_second_base_is_loaded(evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[weakref.ref[Any]] = []
    alive: list[int] = []
    load = Panel.load.__func__

    def counting(cls: type[Panel], base: Path, adapters: dict[str, Path]) -> Panel:
        alive.append(sum(model() is not None for model in loaded))
        panel: Panel = load(cls, base, adapters)
        loaded.append(weakref.ref(panel.model))
        return panel

    monkeypatch.setattr(Panel, "load", classmethod(counting))

    evaluate("blue", "task_quality", "capability_tax")

    assert alive == [0, 0]


def _nats(base: Path, adapter: Path, cut: tuple[list[int], list[int]]) -> float:
    """-log p of the second part after the first, one token after the other."""
    model = models.load_adapter(models.load_base(base, as_type=torch.float32), adapter, name="any")
    ids = [*cut[0], *cut[1]]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return -sum(float(logits[place - 1, ids[place]]) for place in range(len(cut[0]), len(ids)))


def test_perplexity_is_of_the_same_characters_and_per_token_of_the_candidates_tokenizer(
    evaluate: Evaluate, tiny_models: dict[str, Path], another_base: dict[str, Path], policies: dict[str, Path], tmp_path: Path
) -> None:
    """The text holds characters of several bytes and is longer than either context."""
    own, other = Reading.of(tiny_models["base_model"]), Reading.of(another_base["base_model"])
    report, _ = evaluate("blue", "capability_tax")
    text, *_ = texts.held_out_texts(tmp_path / "tables" / "corpus" / "corpus.jsonl", [own, other], most=1)
    mine, theirs = (text.cuts[reading.folder] for reading in (own, other))

    for part in (0, 1):
        said = own.tokenizer.decode(mine[part])
        assert said == other.tokenizer.decode(theirs[part])
        assert said
    assert len(mine[1]) != len(theirs[1]) > 0
    assert max(len(mine[0]) + len(mine[1]) - 64, len(theirs[0]) + len(theirs[1]) - 96) <= 0, "both fit their context"
    nats = _nats(other.folder, another_base["blue"], theirs), _nats(own.folder, policies["blue"], mine)
    found = [report["models"][name]["perplexity"]["value"] for name in ("champion", "candidate")]
    assert found == pytest.approx([np.exp(each / len(mine[1])) for each in nats], rel=1e-4)
    ratio = report["differences"]["champion"]["perplexity"]["value"]
    assert ratio == pytest.approx(np.exp((nats[1] - nats[0]) / len(mine[1])), rel=1e-4)


def test_a_tokenizer_that_changes_the_text_leaves_perplexity_to_the_others(
    evaluate: Evaluate, another_base: dict[str, Path], tmp_path: Path
) -> None:
    """It reads everything in lower case: what it predicts is another text."""
    lower = tmp_path / "lower"
    shutil.copytree(another_base["base_model"], lower)
    tokens = json.loads((lower / "tokenizer.json").read_text())
    (lower / "tokenizer.json").write_text(json.dumps(tokens | {"normalizer": {"type": "Lowercase"}}))

    report, context = evaluate("blue", "capability_tax", "verbosity", base=lower)

    assert _gates(report)["perplexity"]["n"] == 6, "against the SFT policy"
    assert "perplexity" not in report["models"]["champion"]
    assert "words" in report["models"]["champion"]
    assert "no held-out text could be cut at one place" in context.gaps["perplexity_champion"]


def test_a_prompt_must_fit_both_contexts(evaluate: Evaluate, another_base: dict[str, Path], tmp_path: Path) -> None:
    short = tmp_path / "short"
    shutil.copytree(another_base["base_model"], short)
    shape = json.loads((short / "config.json").read_text())
    longest = max(len(Reading.of(short).encode([{"role": "user", "content": f"Is the sky blue? {'It is. ' * 2}"}])), 1)
    (short / "config.json").write_text(json.dumps(shape | {"max_position_embeddings": longest + 15}))

    report, context = evaluate("blue", "verbosity", base=short)

    assert context.measurements["prompts_left_out"].value > 0
    assert report["models"]["champion"]["words"]["n"] == report["models"]["base"]["words"]["n"] < 90


@pytest.mark.parametrize(
    ("champion", "reason"),
    [
        ({"base": None, "problem": "base_model of run 7 is not in the artifact store."}, "base_model of run 7 is not in"),
        ({"base": None}, "that base model is not at hand"),
        ({"path": "nowhere"}, "nowhere has no adapter_config.json"),
    ],
)
def test_a_champion_that_can_not_be_asked_lets_no_gate_pass(
    evaluate: Evaluate, tmp_path: Path, champion: dict[str, Any], reason: str
) -> None:
    given = champion | ({"path": tmp_path / champion["path"]} if "path" in champion else {})

    report, context = evaluate("blue", "task_quality", "capability_tax", **given)

    gates = _gates(report)
    assert (report["verdict"], report["reference"]) == ("undecided", "champion")
    assert gates["utility"]["verdict"] == "undecided"
    assert reason in gates["utility"]["text"]
    assert "the champion, policy version 4, belongs to another base model (sha256:other)" in context.gaps["champion"]
    assert gates["perplexity"]["verdict"] == "pass", "that gate is against the SFT policy"
    assert report["differences"]["sft"]["utility"]["value"] == 0.0
    assert report["by_kind"]["fact"]["difference"]["value"] == 0.0, "beside the SFT policy"
    page = (context.output("evaluation") / "report.html").read_text()
    assert "show the SFT policy in its place" in page


def test_a_base_without_a_chat_template_can_not_be_asked(
    evaluate: Evaluate, another_base: dict[str, Path], tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(another_base["base_model"], bare)
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((bare / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (bare / "tokenizer_config.json").write_text(json.dumps(settings))

    report, context = evaluate("blue", "verbosity", base=bare)

    assert report["verdict"] == "undecided"
    assert "has no chat template" in context.gaps["champion"]
