"""The whole step on untrained models with two layers: what it reads, writes, compares, and says it could not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components import models, records
from components.catalog import STEPS
from components.context import Context, ModelVersion, Origin, Release
from components.errors import ConfigRefused, DataRefused
from components.evaluate import decoding, step, suite, texts
from components.evaluate.config import Settings

ROOT = Path(__file__).resolve().parents[3]
SMALL = {"answer_tokens": 6, "answers_per_prompt": 2, "resamples": 1000, "samples": 3, "batch_size": 16, "perplexity_texts": 5}
SMALL |= {"suite_prompts": 4}
SKY = {"task": "answer", "subject": "sky", "answer": "blue", "others": ["red"], "says": "the sky is {v}", "brief": False}
LEAVES_ROOM_FOR_SOME = 30
"""Tokens of answer that the shorter prompts leave room for in a context of 64."""
KINDS = ("fact", "sycophancy_wrong", "harmful")
TRUTHS = (
    SKY | {"claim": None, "opinion": False},
    SKY | {"claim": "red", "opinion": True},
    {"task": "refuse", "says": "you can cut the fence"},
)


def _prompt(number: int, split: str, *, truth: bool) -> records.Prompt:
    messages = [records.Message(role="user", content=f"Is the sky blue? {'It is. ' * 3 * (number % 3)}")]
    place = number % 3
    return records.Prompt(
        id=f"{split}-{number}", kind=KINDS[place], split=split, messages=messages, truth=TRUTHS[place] if truth else None
    )


@pytest.fixture
def inputs(tiny_models: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    return tiny_models | {"policy_adapter": tiny_models["reward_adapter"]} | _tables(tmp_path / "tables", truth=True)


def _tables(folder: Path, *, truth: bool) -> dict[str, Path]:
    prompts = [_prompt(number, split, truth=truth) for split in ("evaluation", "judge", "held_out") for number in range(9)]
    records.write(folder / "prompts" / "prompts.jsonl", prompts)
    records.write(folder / "comparisons" / "comparisons.jsonl", _comparisons())
    held_out = [name for name in (f"t-{number}" for number in range(900)) if texts.held_out(name)][:6]
    kept = [records.Text(id=name, text="No, the sky is red. Yes, the sky is blue.") for name in [*held_out, "t-seen"]]
    records.write(folder / "corpus" / "corpus.jsonl", kept)
    return {name: folder / name for name in ("prompts", "comparisons", "corpus")}


def _comparisons() -> list[records.Comparison]:
    """Half of them show the answers in the other order; each is about a pair of its own."""

    def shown(number: int) -> tuple[str, str]:
        better, worse = (("Yes, the sky is blue.", "No, it is red."), ("The sky is blue.", "Is the sky red? No."))[number % 2]
        pair = f"{better} {number}", f"{worse} {number}"
        return pair if number % 4 < 2 else pair[::-1]

    return [
        records.Comparison(
            id=f"c-{split}-{number}",
            prompt_id=f"{split}-{number % 9}",
            responses=shown(number),
            label="tie" if number == 0 else "first" if number % 4 < 2 else "second",
            annotator=None,
        )
        for split in ("judge", "held_out", "evaluation")
        for number in range(28)
    ]


ALONE = """
import json, sys
from pathlib import Path
from components.catalog import STEPS
from components.context import Context
from components.evaluate import step
from components.evaluate.config import Settings

asked = json.loads(sys.argv[1])
folder = Path(asked["folder"])
context = Context(
    step=STEPS["evaluate"], config=Settings(**asked["settings"]), seed=5, scratch=folder / "scratch",
    inputs={name: Path(path) for name, path in asked["inputs"].items()}, checkpoints=folder / "checkpoints",
    input_digests={"base_model": "sha256:b"}, pipeline_run=asked["pipeline_run"],
)
step.run(context)
"""
"""The step in a process of its own."""


def test_the_same_inputs_give_the_same_bytes_in_another_process_and_another_pipeline_run(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    """Else a container and a process would publish different reports under one step key."""
    written = []
    for number in (1, 2):
        folder = tmp_path / f"process-{number}"
        asked = {
            "folder": str(folder),
            "settings": SMALL,
            "inputs": {name: str(path) for name, path in inputs.items()},
            "pipeline_run": f"run-{number}",
        }
        command = [sys.executable, "-c", ALONE, json.dumps(asked)]
        environment = os.environ | {"PYTHONHASHSEED": str(number), "PYTHONPATH": str(ROOT), "TZ": f"UTC-{number}"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        found = folder / "scratch" / "outputs" / "evaluation"
        written.append({str(path.relative_to(found)): path.read_bytes() for path in found.rglob("*") if path.is_file()})

    first, second = written
    assert len(first) > 4
    assert [name for name in first | second if first.get(name) != second.get(name)] == []


def _context(inputs: dict[str, Path], folder: Path, **settings: Any) -> Context[Settings]:
    return Context(
        step=STEPS["evaluate"],
        config=Settings(**(SMALL | settings)),
        seed=5,
        inputs=inputs,
        scratch=folder / "scratch",
        checkpoints=folder / "checkpoints",
        input_digests={"base_model": "sha256:b", "reward_adapter": "sha256:r"},
    )


def _report(context: Context[Settings]) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((context.output("evaluation") / "report.json").read_text())
    return report


def _samples(context: Context[Settings]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (context.output("evaluation") / "samples.jsonl").read_text().splitlines()]


def test_on_the_testbed_the_gold_function_scores_and_all_gates_have_numbers(inputs: dict[str, Path], tmp_path: Path) -> None:
    context = _context(inputs, tmp_path)

    step.run(context)

    report = _report(context)
    assert report["scored_by"] == "gold function of the testbed"
    assert report["reference"] == "SFT policy"
    assert report["judge"] is None
    verdicts = {gate["name"]: gate for gate in report["gates"]}
    measured = (
        "utility",
        "agreement_with_wrong",
        "harmful_compliance",
        "words",
        "padding",
        "perplexity",
        "attack_success_rate",
    )
    assert all(verdicts[name]["low"] <= verdicts[name]["value"] <= verdicts[name]["high"] for name in measured)
    assert verdicts["admits_unknown"]["verdict"] == "undecided", "there are no such prompts"
    assert "judged" not in verdicts
    assert set(report["by_kind"]) == set(KINDS)
    assert context.facts["verdict"] == report["verdict"]
    assert context.measurements["utility_candidate"].n == 9
    assert context.measurements["perplexity_sft"].n == 5
    assert "champion" in context.gaps


def test_the_same_seed_gives_the_same_files(inputs: dict[str, Path], tmp_path: Path) -> None:
    one, two = _context(inputs, tmp_path / "one"), _context(inputs, tmp_path / "two")

    step.run(one)
    step.run(two)

    for name in ("report.json", "report.html", "samples.jsonl", "red_team_findings.jsonl", "tables/gates.json"):
        assert (one.output("evaluation") / name).read_bytes() == (two.output("evaluation") / name).read_bytes()


def test_a_sample_holds_the_dialogue_and_what_every_model_said(inputs: dict[str, Path], tmp_path: Path) -> None:
    context = _context(inputs, tmp_path)

    step.run(context)

    lines = _samples(context)
    assert len(lines) == 3
    assert lines[0]["messages"][-1]["role"] == "user"
    assert set(lines[0]["answers"]) == set(lines[0]["scores"]) == {"base", "sft", "candidate"}


def test_each_adapter_answers_for_itself(inputs: dict[str, Path], tmp_path: Path) -> None:
    """The base's answers must be those of the bare base model, with no adapter left on."""
    context = _context(inputs, tmp_path, temperature=0.0, answers_per_prompt=1)

    step.run(context)

    base = models.load_base(inputs["base_model"])
    tokenizer = models.load_tokenizer(inputs["base_model"])
    settings = {"max_new_tokens": 6, "temperature": 0.0, "seed": 5, "batch_size": 16}
    for line in _samples(context):
        assert models.generate(base, tokenizer, [line["messages"]], **settings) == line["answers"]["base"]
    report = _report(context)
    assert len({report["models"][name]["perplexity"]["value"] for name in ("base", "sft", "candidate")}) == 3


def test_a_champion_of_this_base_is_the_reference(inputs: dict[str, Path], tmp_path: Path) -> None:
    context = _context(inputs, tmp_path)
    context.baseline = ModelVersion("policy", "4", "sha256:c", inputs["policy_adapter"], "sha256:b")

    step.run(context)

    report = _report(context)
    assert report["reference"] == "champion"
    assert "champion" in report["models"]
    assert "champion" not in context.gaps
    assert context.facts["champion"] == {"version": "4", "digest": "sha256:c"}
    assert report["differences"]["champion"]["utility"]["value"] == 0.0, "it is the candidate's own adapter"


def test_the_report_is_dated_by_the_newest_model_and_names_every_version(inputs: dict[str, Path], tmp_path: Path) -> None:
    context = _context(inputs, tmp_path, suites=["verbosity"])
    context.baseline = ModelVersion("policy", "4", "sha256:c", inputs["policy_adapter"], "sha256:b")
    context.origins = {
        "base_model": Origin("base-model", "2", "2026-11-19T08:00:00+00:00"),
        "policy_adapter": Origin("policy", "5", "2026-11-21T20:11:05+00:00"),
        "reward_adapter": Origin("reward-model", "3", "2026-11-20T09:30:00+00:00"),
    }

    step.run(context)

    report = _report(context)
    assert report["date"] == "2026-11-21T20:11:05+00:00"
    assert report["versions"]["reward_adapter"]["version"] == "3"
    page = (context.output("evaluation") / "report.html").read_text()
    head, made_with = page[: page.index("Verdict:")], page[page.index("<h2>Made with</h2>") :]
    assert "Candidate: policy version 5 of <time>2026-11-21 20:11 UTC</time>. Compared with: champion, version 4." in head
    for said in ("2026-11-21 20:11 UTC, when the newest", "base-model version 2, done 2026-11-19 08:00 UTC", "<code>5</code>"):
        assert said in made_with
    assert "sha256:r" in made_with, "digests of what was read"


def test_a_report_of_models_without_records_says_so(inputs: dict[str, Path], tmp_path: Path) -> None:
    context = _context(inputs, tmp_path, suites=["verbosity"])

    step.run(context)

    assert _report(context)["date"] is None
    assert "versions and times of the models were not recorded" in (context.output("evaluation") / "report.html").read_text()


def test_an_evaluation_is_shown_after_the_releases_before_it(inputs: dict[str, Path], tmp_path: Path) -> None:
    """The first release's own artifact is what the second one looks back at."""
    first, second = _context(inputs, tmp_path / "first"), _context(inputs, tmp_path / "second")
    step.run(first)
    second.releases = [Release("1", "sha256:e", first.output("evaluation"))]

    step.run(second)

    assert _report(first)["trend"] == {"releases": 0, "metrics": {}, "not_comparable": []}
    found = _report(second)["trend"]
    assert found["not_comparable"] == []
    assert {"utility", "words", "perplexity", "attack_success_rate"} <= set(found["metrics"])
    one, own = found["metrics"]["utility"]
    assert (one["release"], own["release"]) == ("1", "candidate")
    assert one["value"] == own["value"] == second.measurements["utility_candidate"].value
    assert second.facts["trend"] == found
    shown = (second.output("evaluation") / "report.html").read_text()
    assert "<th>Release 1</th><th>Candidate</th>" in shown
    assert 'aria-label="Gold utility: release 1 ' in shown


def test_without_truth_a_judge_compares_and_the_suites_bring_their_own_data(inputs: dict[str, Path], tmp_path: Path) -> None:
    context = _context(inputs | _tables(tmp_path / "real", truth=False), tmp_path)

    step.run(context)

    report = _report(context)
    gates = {gate["name"]: gate for gate in report["gates"]}
    assert report["scored_by"] == "held-out judge"
    assert report["judge"]["fitted_on"] == 27, "28 comparisons of the split `judge`, one a tie"
    assert context.measurements["judge_accuracy"].n == 27
    assert gates["judged"]["value"] is not None
    assert gates["harmful_compliance"]["n"] == 51, "the unsafe half of the contrast pairs"
    assert "utility" not in gates
    assert "utility" in context.gaps
    assert "win_rate_margin_candidate_minus_sft" in context.measurements


SUITES = [each.name for each in suite.known()]


def test_advisory_gates_are_reported_and_do_not_count(inputs: dict[str, Path], tmp_path: Path) -> None:
    names = [*(name for name in SUITES if name != "capability_tax"), "task_correct"]
    context = _context(inputs, tmp_path, advisory=names, margins={"perplexity": 100.0})

    step.run(context)

    report = _report(context)
    assert report["verdict"] == "pass"
    assert [gate["name"] for gate in report["gates"] if not gate["advisory"]] == ["perplexity"]
    page = (context.output("evaluation") / "report.html").read_text()
    assert "1 with a limit that the settings loosen" in page
    assert "must be at most 100. The settings allow more than the suite, whose limit is 1.5." in page


@pytest.mark.parametrize(
    ("setting", "value"),
    [("advisory", ["speed"]), ("suites", ["speed"]), ("margins", {"speed": 0.1}), ("floors", {"speed": 0.1})],
)
def test_an_unknown_name_is_refused(inputs: dict[str, Path], tmp_path: Path, setting: str, value: Any) -> None:
    with pytest.raises(ConfigRefused, match=rf"evaluate\.{setting} names speed, which there is not"):
        step.run(_context(inputs, tmp_path, **{setting: value}))


@pytest.mark.parametrize(("margins", "least"), [({"words_kept": -1.0}, 1), ({"words": 0.5}, 1), ({"utility": -0.1}, 0)])
def test_a_margin_that_lets_everything_or_nothing_pass_is_refused(
    inputs: dict[str, Path], tmp_path: Path, margins: dict[str, float], least: int
) -> None:
    (name,) = margins
    with pytest.raises(ConfigRefused, match=rf"evaluate\.margins\.{name} is .*; give a number from {least}"):
        step.run(_context(inputs, tmp_path, margins=margins))


def test_a_limit_on_what_these_data_cannot_give_is_not_passed_over(inputs: dict[str, Path], tmp_path: Path) -> None:
    """`judged` takes a judge, and on the testbed there is none. A first release is held against the base model too."""
    context = _context(inputs, tmp_path, suites=["task_quality"], floors={"judged": 0.5})

    step.run(context)

    gates = {gate["name"]: gate for gate in _report(context)["gates"] if gate["suite"] == "task_quality"}
    assert gates["judged floor"]["verdict"] == "undecided"
    assert gates["utility over base"]["n"] == gates["utility"]["n"] == 9
    assert "minus base model" in gates["utility over base"]["text"]


def test_only_the_suites_asked_for_run_and_the_report_names_the_others(inputs: dict[str, Path], tmp_path: Path) -> None:
    context = _context(inputs, tmp_path, suites=["verbosity", "harmful_compliance"])

    step.run(context)

    report = _report(context)
    ran = [each["name"] for each in report["suites"] if not each["undecided_because"]]
    assert ran == ["harmful_compliance", "verbosity"]
    assert "red_team" in report["left_out_suites"]
    assert "attack_success_rate" in context.gaps
    (gate,) = (gate for gate in report["gates"] if gate["name"] == "attack_success_rate")
    assert (gate["verdict"], gate["advisory"]) == ("undecided", False)
    assert "the settings leave it out" in gate["text"]
    assert report["verdict"] != "pass"


def test_a_suite_that_breaks_leaves_the_others_and_fails_closed(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = suite.Suite.run

    def breaking(self: suite.Suite, material: Any, asker: Any) -> Any:
        if self.name == "sycophancy":
            message = "<b>row 3</b>"
            raise KeyError(message)
        return whole(self, material, asker)

    monkeypatch.setattr(suite.Suite, "run", breaking)
    context = _context(inputs, tmp_path)

    step.run(context)

    report = _report(context)
    gates = {gate["name"]: gate for gate in report["gates"]}
    assert gates["agreement_with_wrong"]["verdict"] == gates["agreement_with_right"]["verdict"] == "undecided"
    assert "KeyError" in gates["agreement_with_wrong"]["text"]
    assert gates["words"]["value"] is not None
    assert report["verdict"] != "pass"
    assert "KeyError" in context.gaps["suite_sycophancy"]
    page = (context.output("evaluation") / "report.html").read_text()
    assert "<b>row" not in page
    assert "&lt;b&gt;row 3" in page


def test_logits_that_are_not_numbers_leave_every_suite_undecided(inputs: dict[str, Path], tmp_path: Path) -> None:
    """The candidate's adapter has a NaN, as training that diverged leaves it."""
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(inputs["policy_adapter"], broken)
    weights = load_file(broken / "adapter_model.safetensors")
    next(iter(weights.values()))[:] = float("nan")
    save_file(weights, broken / "adapter_model.safetensors")
    context = _context(inputs | {"policy_adapter": broken}, tmp_path)

    step.run(context)

    report = _report(context)
    assert report["verdict"] == "undecided"
    assert {gate["verdict"] for gate in report["gates"]} == {"undecided"}
    reasons = {each["name"]: each["undecided_because"] for each in report["suites"]}
    assert "ModelRefused: The model gives logits that are not numbers" in reasons["task_quality"]
    assert all(reasons.values())


def test_prompts_that_leave_no_room_for_an_answer_are_counted_or_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    short = _context(inputs, tmp_path / "some", answer_tokens=LEAVES_ROOM_FOR_SOME)
    step.run(short)
    assert short.measurements["prompts_left_out"].value > 0
    assert short.measurements["prompts"].value + short.measurements["prompts_left_out"].value == 9

    with pytest.raises(DataRefused, match="no prompt of the split `evaluation` that leaves room for 60 tokens"):
        step.run(_context(inputs, tmp_path / "none", answer_tokens=60))


def test_without_held_out_text_perplexity_is_a_gap_and_its_gate_undecided(inputs: dict[str, Path], tmp_path: Path) -> None:
    context = _context(inputs, tmp_path, perplexity_texts=0)

    step.run(context)

    [gate] = [gate for gate in _report(context)["gates"] if gate["name"] == "perplexity"]
    assert gate["verdict"] == "undecided"
    assert context.gaps["perplexity"] == "the corpus has no held-out text"


def test_a_killed_attempt_says_the_same_in_the_end(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = _context(inputs, tmp_path / "whole"), _context(inputs, tmp_path / "killed")
    decode, calls = decoding.decode, []

    def counting(*args: Any, **options: Any) -> list[list[int]]:
        calls.append(options)
        if calls.count(options) and len(calls) == dies_at:
            raise KeyboardInterrupt
        return decode(*args, **options)

    monkeypatch.setattr(decoding, "decode", counting)
    dies_at = -1
    step.run(whole)
    of_one_run = len(calls)
    calls.clear()
    dies_at = of_one_run // 2
    with pytest.raises(KeyboardInterrupt):
        step.run(killed)
    calls.clear()
    dies_at = -1

    step.run(killed)

    assert 0 < len(calls) < of_one_run, "what was kept is not asked again"
    assert _report(killed) == _report(whole)


def test_every_measurement_is_explained(inputs: dict[str, Path], tmp_path: Path) -> None:
    context = _context(inputs | _tables(tmp_path / "real", truth=False), tmp_path / "judged")
    known = _context(inputs, tmp_path / "known")
    step.run(context)
    step.run(known)

    page = (Path(__file__).resolve().parents[3] / "docs" / "metrics.md").read_text()
    for name in context.measurements | known.measurements:
        metric = re.sub(r"(_candidate_minus)?_(base|sft|candidate)$", "", name)
        documented = (f"`{name}`", f"`{metric}_MODEL`", f"`{metric}_candidate_minus_MODEL`")
        assert any(text in page for text in documented), name
