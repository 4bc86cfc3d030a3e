"""With which champion a candidate is compared, on a toy pipeline with a real MLflow."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from components import entrypoint, evidence
from components.catalog import Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from components.lineage import Lineage

STAGES = (
    Step("start", writes=("base_model",), reusable=False),
    Step("ppo", reads=("base_model",), writes=("policy_adapter",), registers={"policy_adapter": "policy"}),
    Step("evaluate", reads=("base_model", "policy_adapter"), writes=("evaluation",), challenges="policy"),
)


@pytest.fixture
def evaluated(staged: Callable[..., None], lineage: Lineage) -> Callable[[str, str, str], dict[str, Any]]:
    """Runs the three steps with a base and a policy of these texts; what `evaluate` was given as the champion."""
    given, worked = {"base_model": "", "policy_adapter": ""}, []

    def write(context: Any, artifact: str) -> None:
        (context.output(artifact) / "text.txt").write_text(given.get(artifact, "numbers"))
        if artifact == "policy_adapter":
            context.gap("speed", "no clock")
            context.tag(artifact, base_digest=context.input_digests["base_model"])

    def judge(context: Any) -> None:
        worked.append("evaluate")
        best = context.baseline
        seen = {"version": best.version, "problem": best.problem} if best else {}
        if best and best.base:
            seen["base"] = (best.base / "text.txt").read_text()
        context.fact("origins", {name: asdict(each) for name, each in context.origins.items()})
        context.fact("champion", seen)
        write(context, "evaluation")

    works = {"ppo": lambda context: write(context, "policy_adapter"), "evaluate": judge}
    staged(STAGES, works | {"start": lambda context: write(context, "base_model")})

    def run(pipeline_run: str, base: str, policy: str) -> dict[str, Any]:
        given.update(base_model=base, policy_adapter=policy)
        worked.clear()
        done = [entrypoint.run(step.name, pipeline_run, fresh=step.name == "ppo") for step in STAGES]
        assert done == [0, 0, 0]
        made = lineage.step_run(pipeline_run, "evaluate")
        champion: dict[str, Any] = evidence.read(lineage.file(made, "evidence.json")).facts["champion"]
        return champion | {"worked": bool(worked)}

    return run


def test_a_champion_of_another_base_comes_with_that_base(
    lineage: Lineage, evaluated: Callable[[str, str, str], dict[str, Any]]
) -> None:
    assert evaluated("run-1", "a", "one") == {"worked": True}
    lineage.move("policy", "champion", "1")

    same = evaluated("run-2", "a", "two")
    other = evaluated("run-3", "b", "three")

    assert same == {"version": "1", "problem": "", "worked": True}
    assert other == {"version": "1", "problem": "", "base": "a", "worked": True}
    assert evaluated("run-4", "b", "three")["worked"] is False, "nothing changed"


def test_a_step_that_challenges_is_told_the_version_of_its_models_and_when_they_were_done(
    lineage: Lineage, evaluated: Callable[[str, str, str], dict[str, Any]]
) -> None:
    evaluated("run-1", "a", "one")
    ppo, made = (evidence.read(lineage.file(lineage.step_run("run-1", name), "evidence.json")) for name in ("ppo", "evaluate"))

    told = {
        "model": "policy",
        "version": "1",
        "finished_at": ppo.times["finished_at"],
        "facts": {},
        "gaps": {"speed": "no clock"},
    }
    assert made.facts["origins"] == {"policy_adapter": told}, "the toy's base model is not registered"


def test_a_candidate_that_became_the_champion_is_compared_with_the_one_before(
    lineage: Lineage, evaluated: Callable[[str, str, str], dict[str, Any]]
) -> None:
    evaluated("run-1", "a", "one")
    lineage.move("policy", "champion", "1")
    first = evaluated("run-2", "b", "two")
    lineage.move("policy", "previous", "1")
    lineage.move("policy", "champion", "2")

    assert evaluated("run-3", "b", "two") == first | {"worked": False}


def test_a_base_that_is_gone_is_named_and_asked_again_when_it_is_back(
    lineage: Lineage, evaluated: Callable[[str, str, str], dict[str, Any]], tmp_path: Path
) -> None:
    evaluated("run-1", "a", "one")
    lineage.move("policy", "champion", "1")
    kept = lineage.fetch(lineage.find_output("run-1", "start", "base_model"))
    shutil.move(kept, tmp_path / "aside")

    gone = evaluated("run-2", "b", "two")
    shutil.move(tmp_path / "aside", kept)
    back = evaluated("run-3", "b", "two")

    assert "base" not in gone
    assert "base_model of run" in gone["problem"]
    assert back == {"version": "1", "problem": "", "base": "a", "worked": True}, "the outcome without it does not stand in"
