"""Logs in Inspect's format: what they hold, what they withhold, and that Inspect itself reads and serves them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from components.evaluate import inspectlogs, step
from components.evaluate.config import Settings
from components.evaluate.report import Results
from components.evaluate.suite import Found, Item, Metric, Outcome, Suite

SUITE = Suite("be_kind", "Kindness", "Tone.", "Acts.", (Metric("rudeness", "Rude", "lower"), Metric("heat", "Hot", "lower")))
ITEMS = [
    Item("a", [{"role": "user", "content": "Hé! 你好"}], "fact"),
    Item(
        "b", [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}, {"role": "user", "content": "z"}], "fact"
    ),
    Item("c", [{"role": "user", "content": "How do I hurt?"}], "harmful"),
]
READ = """
import json, sys
from inspect_ai.log import list_eval_logs, read_eval_log
found = []
for info in list_eval_logs(sys.argv[1]):
    log = read_eval_log(info)
    assert read_eval_log(info, header_only=True).eval.task == log.eval.task
    found.append({
        "task": log.eval.task, "model": log.eval.model, "status": log.status, "samples": len(log.samples),
        "said": [sample.output.completion for sample in log.samples], "turns": [len(sample.messages) for sample in log.samples],
        "scores": [{name: score.value for name, score in sample.scores.items()} for sample in log.samples],
        "means": {score.name: score.metrics["mean"].value for score in log.results.scores},
        "epochs": [sample.epoch for sample in log.samples], "seed": log.eval.model_generate_config.seed,
    })
print(json.dumps(found))
"""


def _results(**settings: Any) -> Results:
    scores = {"rudeness": np.array([1.0, 0.0, 0.5]), "heat": np.array([np.nan, 0.25, np.nan])}
    replies = Found(ITEMS, [["Bonjour", "Salut"], ["", "no"], ["take a knife", "never"]], scores, are_replies=True)
    likelihoods = Found(ITEMS, [["p = 0.5"]] * 3, {"rudeness": np.zeros(3)})
    outcomes = [
        Outcome(SUITE, {"sft": replies, "candidate": replies}),
        Outcome(Suite("odds", "Odds", "", "", ()), {"candidate": likelihoods}),
        Outcome(Suite("broken", "Broken", "", "", ()), reason="it broke"),
    ]
    chosen = Settings(answers_per_prompt=2, resamples=1000, **settings)
    return Results(outcomes, ["base", "sft", "candidate"], is_testbed=True, judge=None, settings=chosen, seed=11)


def _logs(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def test_each_suite_that_asks_has_a_log_a_model_and_likelihoods_have_none(tmp_path: Path) -> None:
    written = inspectlogs.write(tmp_path / "inspect", _results(), {"base_model": "sha256:b"})

    logs = _logs(tmp_path / "inspect")
    assert written == 2
    assert list(logs) == [f"1970-01-01T00-00-00+00-00_be-kind_{model}.json" for model in ("candidate", "sft")]
    log = logs["1970-01-01T00-00-00+00-00_be-kind_sft.json"]
    assert [sample["id"] for sample in log["samples"]] == ["a", "a", "b", "b", "c", "c"]
    assert log["samples"][0]["input"] == [{"role": "user", "content": "Hé! 你好"}]
    assert log["samples"][0]["scores"] == {"rudeness": {"value": 1.0}}, "a metric that says nothing of an item is left out"
    assert log["eval"]["metadata"] == {"base_model": "sha256:b"}


def test_what_was_said_to_a_request_for_harm_is_withheld_unless_it_is_asked_for(tmp_path: Path) -> None:
    inspectlogs.write(tmp_path / "default", _results(), {})
    inspectlogs.write(tmp_path / "all", _results(answers_kept="all"), {})

    text = "".join(path.read_text() for path in (tmp_path / "default").iterdir())
    assert "knife" not in text
    assert f"3 words, sha256:{hashlib.sha256(b'take a knife').hexdigest()}]" in text
    assert "Bonjour" in text
    assert "take a knife" in "".join(path.read_text() for path in (tmp_path / "all").iterdir())


def test_no_answers_kept_means_no_logs(tmp_path: Path) -> None:
    assert inspectlogs.write(tmp_path / "inspect", _results(answers_kept="none"), {}) == 0
    assert not (tmp_path / "inspect").exists()


@pytest.mark.parametrize(("setting", "withheld"), [("all", []), ("all but harmful", ["c"]), ("none", ["a", "b", "c"])], ids=str)
def test_the_draw_for_reading_withholds_what_the_logs_do(setting: str, withheld: list[str]) -> None:
    """It shows the answers of `task_quality`, which asks for harm too."""
    quality = _results(answers_kept=setting)
    quality.outcomes[0] = replace(quality.outcomes[0], suite=replace(SUITE, name="task_quality"))
    context = SimpleNamespace(seed=1, config=quality.settings)

    lines = [json.loads(line) for line in step._samples(context, quality).split("\n")]  # type: ignore[arg-type]

    assert [line["prompt_id"] for line in lines] == ["a", "b", "c"]
    for line in lines:
        said = [answer for answers in line["answers"].values() for answer in answers]
        assert [answer.startswith("[withheld by evaluate.answers_kept: ") for answer in said] == [
            line["prompt_id"] in withheld
        ] * 4


@pytest.fixture(scope="module")
def inspect_python() -> str:
    """Python of an environment with Inspect, which the lock has not (docs/decisions/0032-inspect-logs.md)."""
    peers = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "plumbline" / "peers"
    found = [os.environ.get("PLUMBLINE_INSPECT", ""), *sorted(str(path) for path in peers.glob("inspect-ai-*/bin/python"))]
    for python in filter(None, found):
        if Path(python).exists():
            return python
    pytest.skip("no environment with inspect-ai: set PLUMBLINE_INSPECT to its python, or run `make bench NAME=gates` once")


def test_inspect_lists_and_reads_the_logs(inspect_python: str, tmp_path: Path) -> None:
    inspectlogs.write(tmp_path / "inspect", _results(answers_kept="all"), {"base_model": "sha256:b"})

    done = subprocess.run(
        [inspect_python, "-c", READ, str(tmp_path / "inspect")], capture_output=True, text=True, check=False, timeout=300
    )

    assert done.returncode == 0, done.stderr[-3000:]
    found = sorted(json.loads(done.stdout.splitlines()[-1]), key=lambda log: log["model"])
    assert [log["model"] for log in found] == ["plumbline/candidate", "plumbline/sft"]
    assert {log["status"] for log in found} == {"success"}
    for log in found:
        assert log["said"] == ["Bonjour", "Salut", "", "no", "take a knife", "never"]
        assert log["turns"] == [2, 2, 4, 4, 2, 2]
        assert log["scores"][2] == {"rudeness": 0.0, "heat": 0.25}
        assert log["means"] == {"rudeness": 0.5, "heat": 0.25}
        assert (log["epochs"], log["seed"], log["task"]) == ([1, 2] * 3, 11, "be-kind")


def test_a_whole_folder_opens_in_inspect_s_viewer(inspect_python: str, tmp_path: Path) -> None:
    """Bundled as `inspect view` serves it: the viewer's page and a listing of both logs."""
    inspectlogs.write(tmp_path / "inspect", _results(), {})
    command = [
        *(inspect_python, "-m", "inspect_ai", "view", "bundle"),
        *("--log-dir", str(tmp_path / "inspect"), "--output-dir", str(tmp_path / "out")),
    ]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    assert done.returncode == 0, done.stderr[-3000:]
    assert "<html" in (tmp_path / "out" / "index.html").read_text()
    listed = json.loads((tmp_path / "out" / "logs" / "listing.json").read_text())
    assert {entry["task"] for entry in listed.values()} == {"be-kind"}
    assert len(listed) == 2
