"""Which reward model came before, on a toy pipeline with a real MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from components import entrypoint, evidence
from components.catalog import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from components.lineage import Lineage

STAGES = (
    Step("start", writes=("base_model",), reusable=False, outdates=()),
    Step("sft", reads=("base_model",), writes=("sft_adapter",)),
    Step(
        "reward",
        reads=("base_model", "sft_adapter"),
        writes=("reward_adapter",),
        registers={"reward_adapter": "reward-model"},
        succeeds="reward_adapter",
    ),
)


@pytest.fixture
def train(staged: Callable[..., None], lineage: Lineage) -> Callable[[str, str], dict[str, Any]]:
    """Run the three steps on a base model of this name; what `reward` recorded, and whether it worked."""
    base, worked = ["a"], []

    def write(context: Any, artifact: str) -> None:
        worked.append(artifact)
        (context.output(artifact) / "text.txt").write_text(base[0])

    def reward(context: Any) -> None:
        write(context, "reward_adapter")
        before = context.predecessor
        context.tag("reward_adapter", base_digest=context.input_digests["base_model"])
        read = {name: (path / "text.txt").read_text() for name, path in before.inputs.items()} if before else {}
        own = (before.path / "text.txt").read_text() if read else ""
        told = {"version": before.version, "problem": before.problem, "own": own} if before else {}
        context.fact("seen", told | read)

    staged(
        STAGES,
        {
            "start": lambda context: write(context, "base_model"),
            "sft": lambda context: write(context, "sft_adapter"),
            "reward": reward,
        },
    )

    def run(name: str, pipeline_run: str) -> dict[str, Any]:
        base[0] = name
        worked.clear()
        assert [entrypoint.run(step.name, pipeline_run) for step in STAGES] == [0, 0, 0]
        found = evidence.read(lineage.file(lineage.step_run(pipeline_run, "reward"), "evidence.json"))
        return found.facts["seen"] | {"worked": "reward_adapter" in worked}

    return run


def test_a_first_base_model_has_nothing_before_it(train: Callable[..., Any]) -> None:
    assert train("a", "run-1") == {"worked": True}
    assert train("a", "run-2") == {"worked": False}


def test_another_base_model_is_told_the_newest_version_of_the_one_before_with_what_made_it(train: Callable[..., Any]) -> None:
    train("a", "run-1")

    told = train("b", "run-2")

    assert told == {"version": "1", "problem": "", "own": "a", "base_model": "a", "sft_adapter": "a", "worked": True}
    assert train("b", "run-3")["worked"] is False, "its own version is not before it: nothing changed"


def test_a_revoked_one_is_named_and_not_handed_over(train: Callable[..., Any], lineage: Lineage) -> None:
    train("a", "run-1")
    lineage.client.set_model_version_tag("reward-model", "1", "state", "revoked")

    told = train("b", "run-2")

    assert told["problem"] == "version 1 belongs to the base model before, and was revoked"
    assert "base_model" not in told


def test_one_whose_base_model_was_edited_is_not_handed_over(train: Callable[..., Any], lineage: Lineage) -> None:
    train("a", "run-1")
    (lineage.fetch(lineage.find_output("run-1", "sft", "sft_adapter")) / "text.txt").write_text("poison")

    told = train("b", "run-2")

    assert "could not be looked at: sft_adapter has digest sha256:" in told["problem"]
