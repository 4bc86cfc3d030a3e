"""What is wrong with models and data is said in one sentence each, and breaks no more than it has to."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from components import records
from components.catalog import STEPS
from components.context import Context, ModelVersion
from components.errors import ModelRefused
from components.evaluate import drawings, material, step, texts
from components.evaluate.config import Settings

if TYPE_CHECKING:
    from pathlib import Path

SKY = {"task": "answer", "subject": "sky", "answer": "blue", "others": ["red"], "says": "the sky is {v}", "brief": False}
SMALL = {"answer_tokens": 16, "temperature": 0.0, "resamples": 1000, "samples": 2, "batch_size": 32, "suite_prompts": 4}
ODD = {9: "Grün? 天空 \U0001f600", 18: "Is \u202eeulb\u202c the sky?"}
"""Number of a prompt → its words, where they are not what the policies were taught to answer."""


@pytest.fixture
def inputs(
    tiny_models: dict[str, Path], policies: dict[str, Path], questions: list[list[dict[str, str]]], tmp_path: Path
) -> dict[str, Path]:
    folder, known = tmp_path / "tables", SKY | {"claim": None, "opinion": False}
    prompts = [
        records.Prompt(id=f"p-{number}", kind="fact", split="evaluation", messages=[_user(words)], truth=known)
        for number in range(30)
        for words in [ODD.get(number, questions[number % len(questions)][0]["content"])]
    ]
    records.write(folder / "prompts" / "prompts.jsonl", prompts)
    records.write(folder / "comparisons" / "comparisons.jsonl", [])
    held_out = [name for name in (f"t-{number}" for number in range(900)) if texts.held_out(name)][:3]
    records.write(folder / "corpus" / "corpus.jsonl", [records.Text(id=name, text="The sky is blue.") for name in held_out])
    tables = {name: folder / name for name in ("prompts", "comparisons", "corpus")}
    return tiny_models | tables | {"sft_adapter": policies["blue"], "policy_adapter": policies["blue"]}


def _user(words: str) -> records.Message:
    return records.Message(role="user", content=words)


def _context(inputs: dict[str, Path], folder: Path, *suites: str) -> Context[Settings]:
    return Context(
        step=STEPS["evaluate"],
        config=Settings(**SMALL, suites=list(suites)),
        seed=5,
        inputs=inputs,
        scratch=folder / "scratch",
        checkpoints=folder / "checkpoints",
        input_digests={"base_model": "sha256:b"},
    )


def _ran(context: Context[Settings]) -> dict[str, Any]:
    step.run(context)
    report: dict[str, Any] = json.loads((context.output("evaluation") / "report.json").read_text())
    return report


def _edited(inputs: dict[str, Path], folder: Path, **changes: Any) -> dict[str, Path]:
    """The base model with other entries in its tokenizer's configuration."""
    shutil.copytree(inputs["base_model"], folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return inputs | {"base_model": folder}


def test_endless_repetition_ends_at_the_longest_answer_and_is_regressed(
    inputs: dict[str, Path], policies: dict[str, Path], tmp_path: Path
) -> None:
    """It says "It is. It is. It ..." and no end: at least two pairs of words in four were there before."""
    context = _context(inputs | {"policy_adapter": policies["echo"]}, tmp_path, "verbosity")

    gates = {gate["name"]: gate for gate in _ran(context)["gates"]}

    assert gates["repetition"]["verdict"] == "regressed"
    assert gates["repetition"]["value"] >= 0.5 * 28 / 30, "it was not taught what to say to the two odd prompts"
    worst = gates["repetition"]["worst"][0]["candidate"]["answer"]
    assert worst.startswith("It is. It is.")
    assert len(worst.split()) <= 16


def test_a_model_without_a_chat_template_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    changed = _edited(inputs, bare, chat_template=None)
    (bare / "chat_template.jinja").unlink(missing_ok=True)

    with pytest.raises(ModelRefused, match=r"has no chat template\. Put the model's chat_template\.jinja beside it\."):
        step.run(_context(changed, tmp_path, "verbosity"))


def test_a_tokenizer_of_another_model_is_refused_before_anything_is_asked(inputs: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(inputs["base_model"], other)
    tokens = json.loads((other / "tokenizer.json").read_text())
    last = max(tokens["model"]["vocab"].values())
    tokens["model"]["vocab"] |= {f"more{number}": last + 1 + number for number in range(9)}
    (other / "tokenizer.json").write_text(json.dumps(tokens))

    with pytest.raises(ModelRefused, match=r"The tokenizer has tokens up to id \d+, the base model embeddings up to id \d+"):
        step.run(_context(inputs | {"base_model": other}, tmp_path, "verbosity"))


def test_a_champion_of_another_shape_is_refused_by_name(
    inputs: dict[str, Path], policies: dict[str, Path], tmp_path: Path
) -> None:
    """Its digest says that it belongs to this base, its weights do not."""
    from safetensors.torch import load_file, save_file

    odd = tmp_path / "odd"
    shutil.copytree(policies["red"], odd)
    weights = load_file(odd / "adapter_model.safetensors")
    name = next(each for each in weights if "lora_A" in each)
    weights[name] = weights[name][:, :5].contiguous()
    save_file(weights, odd / "adapter_model.safetensors")
    context = _context(inputs, tmp_path, "verbosity")
    context.baseline = ModelVersion("policy", "4", "sha256:c", odd, "sha256:b")

    with pytest.raises(ModelRefused, match=r"^The adapter of champion does not fit the base model"):
        step.run(context)


def test_a_broken_row_of_a_suite_s_file_leaves_that_suite_undecided_and_the_rest_run(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "suites"
    shutil.copytree(material.SUITES, broken, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    with (broken / "capitulation.jsonl").open("a") as lines:
        lines.write('{"type": "doubt"\n')
    monkeypatch.setattr("components.evaluate.suites.capitulation.SUITES", broken)
    context = _context(inputs, tmp_path, "capitulation", "verbosity")

    report = _ran(context)

    verdicts = {gate["name"]: gate["verdict"] for gate in report["gates"]}
    assert verdicts["abandons_right"] == verdicts["corrects_wrong"] == "undecided"
    assert verdicts["words"] == "pass"
    assert report["verdict"] == "undecided"
    assert "capitulation.jsonl:" in context.gaps["suite_capitulation"]
    assert "is not JSON" in context.gaps["suite_capitulation"]


def test_words_of_other_scripts_are_asked_and_logged_as_they_are(inputs: dict[str, Path], tmp_path: Path) -> None:
    context = _context(inputs, tmp_path, "verbosity")

    report = _ran(context)

    logged = "".join(path.read_text() for path in (context.output("evaluation") / "inspect").iterdir())
    assert "天空 \U0001f600" in logged
    assert "\u202eeulb\u202c" in logged
    assert {gate["n"] for gate in report["gates"] if gate["suite"] == "verbosity"} == {30}


def test_what_is_hidden_or_means_something_to_a_browser_is_shown_as_text() -> None:
    assert drawings.say("\u202e<b>天空\x00") == "⟨U+202E⟩&lt;b&gt;天空⟨U+0000⟩"
