"""Deploy: what it refuses, what it leaves, and the way back. Answers of the weights are a stand-in; smoke.py has its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from components.catalog import STEPS
from components.context import Context, ModelVersion
from components.deploy import serving, smoke, step
from components.deploy.config import Settings
from components.errors import GateFailed, ModelRefused, TryAgain

if TYPE_CHECKING:
    from pathlib import Path

RULE = {"reason_chars": 10, "four_eyes": True, "two_approvers": False, "approvers": []}
ANSWER = {"by": "ada", "channel": "airflow", "shown_pack": "sha256:pack", "reason": "Read it; it is fine."}
DIGESTS = {name: f"sha256:{name}" for name in STEPS["deploy"].reads}


@dataclass
class Aliases:
    """A registry in memory."""

    path: Path
    of: dict[str, str] = field(default_factory=dict)
    breaks_at: str = ""

    def resolve(self, model: str, alias: str) -> ModelVersion | None:
        version = self.of.get(alias)
        return ModelVersion(model, version, "sha256:x", self.path) if version else None

    def move(self, _model: str, alias: str, version: str) -> None:
        if alias == self.breaks_at and version == "2":
            message = "the registry went away"
            raise ConnectionError(message)
        self.of[alias] = version

    def remove(self, _model: str, alias: str) -> None:
        self.of.pop(alias, None)

    def version_of(self, _model: str) -> str:
        return "2"


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Any) -> Context[Settings]:
    monkeypatch.setenv("PLUMBLINE_KEYS", str(finished.keys))
    monkeypatch.setenv("PLUMBLINE_RELEASES", str(tmp_path / "releases"))
    monkeypatch.setattr(smoke, "merge", lambda _release: None)
    monkeypatch.setattr(smoke, "answer", lambda _release, dialogues, **_: ["Yes."] * len(dialogues))
    inputs = {}
    for name in STEPS["deploy"].reads:
        inputs[name] = finished.artifacts / name
    made = Context(
        step=STEPS["deploy"],
        config=Settings(pdf=False),
        seed=0,
        inputs=inputs,
        scratch=tmp_path / "scratch",
        checkpoints=tmp_path / "checkpoints",
        pipeline_run="manual-2026-11-21T00-00-00",
        evidence=finished.evidence,
        input_digests=DIGESTS,
        registry=Aliases(tmp_path, {"champion": "1", "candidate": "2"}),
        external={"rule": RULE, "candidate": {"triggered_by": "bo"}},
    )
    _say(made)
    return made


def _say(context: Context[Settings], *, verdict: str = "pass", **other: Any) -> None:
    record = {
        "decision": "approve",
        "by": "ada",
        "answers": [ANSWER],
        "override": False,
        "shown": {name: DIGESTS[name] for name in ("pack", "evaluation")},
    }
    (context.inputs["approval"] / "approval.json").write_text(json.dumps(record | other))
    (context.inputs["evaluation"] / "report.json").write_text(json.dumps({"verdict": verdict}))


def _releases(tmp_path: Path) -> list[str]:
    folder = tmp_path / "releases"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_an_approved_candidate_becomes_the_champion_with_a_folder(context: Context[Settings], tmp_path: Path) -> None:
    step.run(context)

    assert context.registry.of == {"champion": "2", "previous": "1"}
    assert _releases(tmp_path) == ["CURRENT", "policy-v2", "register.jsonl"]
    assert (tmp_path / "releases" / "CURRENT").read_text() == "policy-v2\n"
    assert context.gaps["served"].startswith("no gateway is named")
    folder = tmp_path / "releases" / "policy-v2"
    assert (folder / "policy_adapter" / "adapter_model.safetensors").stat().st_size == 2048
    assert (folder / "draft" / "summary.json").read_text() == "{}"
    assert json.loads((folder / "pack" / "summary.json").read_text())["policy_version"] == ""
    register = (tmp_path / "releases" / "register.jsonl").read_bytes().splitlines()
    assert len(register) == 1
    assert json.loads((folder / "release.json").read_text())["approval"]["by"] == "ada"
    assert context.facts["smoke"][0]["answer"] == "Yes."


def test_running_twice_keeps_the_real_previous(context: Context[Settings]) -> None:
    step.run(context)
    step.run(context)

    assert context.registry.of == {"champion": "2", "previous": "1"}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"decision": "reject"}, r"ada did not approve this candidate \(reject\)"),
        ({"shown": {"pack": "sha256:another"}}, "The approval was given for the pack sha256:another, this one is sha256:pack"),
        ({"answers": [ANSWER | {"by": "bo"}]}, "The approval does not count: bo started the run and may not approve it"),
        ({"answers": [ANSWER | {"shown_pack": "sha256:x"}]}, "ada was shown the pack sha256:x, this one is sha256:pack"),
        ({"verdict": "fail"}, "The gates' verdict is 'fail' and the approval is not an override"),
        ({"verdict": "undecided"}, "The gates' verdict is 'undecided' and the approval is not an override"),
    ],
)
def test_what_was_not_approved_as_it_is_does_not_go_out(
    context: Context[Settings], tmp_path: Path, said: dict[str, Any], reason: str
) -> None:
    _say(context, **said)

    with pytest.raises(GateFailed, match=reason):
        step.run(context)

    assert context.registry.of == {"champion": "1", "candidate": "2"}
    assert _releases(tmp_path) == []


def test_a_recorded_override_goes_out(context: Context[Settings], tmp_path: Path) -> None:
    _say(context, verdict="fail", override=True)

    step.run(context)

    assert _releases(tmp_path) == ["CURRENT", "policy-v2", "register.jsonl"]


def test_weights_that_fail_the_smoke_prompts_leave_no_trace(
    context: Context[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object, **__: object) -> list[str]:
        message = "The deployed weights gave no answer to 1 of 1 smoke prompts. The release was not made."
        raise ModelRefused(message)

    monkeypatch.setattr(smoke, "merge", lambda _release: None)
    monkeypatch.setattr(smoke, "answer", silent)

    with pytest.raises(ModelRefused):
        step.run(context)

    assert context.registry.of == {"champion": "1", "candidate": "2"}
    assert _releases(tmp_path) == []


def test_a_switch_that_breaks_halfway_is_rolled_back(context: Context[Settings], tmp_path: Path) -> None:
    context.registry.breaks_at = "champion"

    with pytest.raises(ConnectionError):
        step.run(context)

    assert context.registry.of["champion"] == "1"
    assert _releases(tmp_path) == []


def _gateway(monkeypatch: pytest.MonkeyPatch, *answers: dict[str, str]) -> None:
    said = list(answers)
    monkeypatch.setenv("PLUMBLINE_GATEWAY", "http://gateway")
    monkeypatch.setattr(serving, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(serving, "_version", lambda _address: said.pop(0) if len(said) > 1 else said[0])


def test_the_release_is_done_when_the_gateway_serves_it(context: Context[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    _gateway(monkeypatch, {"serving": "policy-v1"}, {}, {"serving": "policy-v2", "refused": ""})

    step.run(context)

    assert context.facts["served"]["serving"] == "policy-v2"
    assert "served" not in context.gaps


def test_a_release_that_fails_its_canaries_is_taken_back(
    context: Context[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.name(tmp_path, "")
    context.registry.of["previous"] = "0"
    (tmp_path / "releases").mkdir()
    serving.name(tmp_path / "releases", "policy-v1")
    _gateway(monkeypatch, {"serving": "policy-v1", "refused": "policy-v2", "error": "an empty answer"})

    with pytest.raises(
        GateFailed, match=r"did not take policy-v2 into service: an empty answer. What was served before goes on"
    ):
        step.run(context)

    assert context.registry.of == {"champion": "1", "previous": "0", "candidate": "2"}
    assert _releases(tmp_path) == ["CURRENT"]
    assert serving.named(tmp_path / "releases") == "policy-v1"


def test_a_gateway_that_is_away_is_tried_again(
    context: Context[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _gateway(monkeypatch, {})
    context.config = Settings(serving_seconds=0.01)

    with pytest.raises(TryAgain, match=r"did not take policy-v2 into service within 0 s; it does not answer"):
        step.run(context)

    assert context.registry.of == {"champion": "1", "candidate": "2"}
    assert _releases(tmp_path) == []
