"""The steps as data: what each reads and writes, and what it needs to run. Standard library only; the DAGs read it.

An artifact is a folder that a step publishes under a name. `reads` and `writes` name artifacts; the lineage of a
pipeline run finds who wrote them. `registers` says under which MLflow registered model an artifact gets a version.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Image = Literal["data", "train"]


@dataclass(frozen=True)
class Step:
    """One step of the pipeline."""

    name: str
    """Folder, task id, module, config section, MLflow tag and evidence subject."""
    reads: tuple[str, ...] = ()
    """Artifacts of this pipeline run that it needs, by name."""
    writes: tuple[str, ...] = ()
    """Artifacts that it publishes, all or none."""
    registers: Mapping[str, str] = field(default_factory=dict)
    """Artifact → registered model in MLflow."""
    image: Image = "data"
    """Which image runs it: `pipeline-data` or `pipeline-train`."""
    gpu: bool = False
    """Takes a slot of the `gpu` pool, and a GPU where there is one."""
    spreads: bool = False
    """May be worked on by several processes at once, one a GPU; rank 0 alone reads and writes lineage."""
    timeout_hours: float = 1.0
    reusable: bool = True
    """A finished run with the same step key may stand in for it."""
    promotes: Mapping[str, str] = field(default_factory=dict)
    """Registered model → alias that points to this pipeline run's version once the step finished."""
    reads_evidence: bool = False
    """Is given the evidence records and signed links of all steps before it, and the records of the release before."""
    registry: bool = False
    """May read and move the aliases of registered models."""
    outdates: tuple[str, ...] = ()
    """Registered models whose versions are marked `active` or `stale` by the base model that this step published."""
    succeeds: str = ""
    """Of which output it is given the newest version that belongs to another base model, to look at before it trains."""
    verifies: bool = False
    """Goes on only if every input carries its writer's signature; is told the rule for approvals and who started the run."""
    sections: tuple[str, ...] = ()
    """Shared sections of the config that it reads beside its own."""
    challenges: str = ""
    """Registered model whose champion it is given to compare its own with, and that one's base model where it is another."""
    compares_with: str = ""
    """Registered model whose newest active version it is given to compare its own result with."""
    needs_active: tuple[str, ...] = ()
    """Registered models among its inputs that it refuses unless their version's state is `active`."""
    compares: tuple[str, ...] = ()
    """Artifacts of the newest released pipeline run on other data, with which it compares its own."""
    compares_accepted: bool = False
    """Of the newest one whose data `validate` accepted instead, whether released or not."""
    remembers: str = ""
    """Artifact that it is given of every earlier run of its writer, drafts included: tables of people that are not to be shown
    beside any from which they could be subtracted."""
    looks_back_at: str = ""
    """Artifact that it is given of the last releases, so that it can show where its own result stands among theirs."""
    code: tuple[str, ...] = ()
    """Folders outside `components` whose code counts for the step key."""


ALIGN: tuple[Step, ...] = (
    Step("start", writes=("data_version", "base_version"), reusable=False, timeout_hours=0.2),
    Step(
        "validate",
        reads=("data_version",),
        writes=("corpus", "demonstrations", "comparisons", "golden", "prompts", "annotators", "quarantine", "data_docs"),
        compares=("comparisons", "prompts"),
        compares_accepted=True,
    ),
    Step(
        "annotators",
        reads=("comparisons", "golden", "prompts", "annotators"),
        writes=("label_weights", "shown_pools"),
        compares=("shown_pools",),
        remembers="shown_contributors",
    ),
    Step(
        "base",
        reads=("base_version", "corpus"),
        writes=("base_model",),
        registers={"base_model": "base-model"},
        outdates=("reward-model",),
        image="train",
        gpu=True,
        timeout_hours=12,
    ),
    Step(
        "sft",
        reads=("demonstrations", "base_model"),
        writes=("sft_adapter",),
        registers={"sft_adapter": "sft-policy"},
        image="train",
        gpu=True,
        spreads=True,
        timeout_hours=24,
    ),
    Step(
        "reward",
        reads=("comparisons", "golden", "label_weights", "prompts", "base_model", "sft_adapter"),
        writes=("reward_adapter", "judge_adapter", "shown_contributors"),
        registers={"reward_adapter": "reward-model"},
        outdates=("reward-model",),
        compares_with="reward-model",
        remembers="shown_contributors",
        succeeds="reward_adapter",
        image="train",
        gpu=True,
        spreads=True,
        timeout_hours=24,
    ),
    Step(
        "ppo",
        reads=(
            *("prompts", "comparisons", "golden", "label_weights"),
            *("base_model", "sft_adapter", "reward_adapter", "judge_adapter"),
        ),
        writes=("policy_adapter",),
        registers={"policy_adapter": "policy"},
        image="train",
        gpu=True,
        spreads=True,
        timeout_hours=72,
        sections=("alignment",),
        needs_active=("reward_adapter",),
    ),
    Step(
        "evaluate",
        reads=("prompts", "comparisons", "corpus", "base_model", "sft_adapter", "reward_adapter", "policy_adapter"),
        writes=("evaluation",),
        image="train",
        gpu=True,
        timeout_hours=12,
        challenges="policy",
        looks_back_at="evaluation",
    ),
    Step(
        "document",
        reads=("evaluation",),
        writes=("pack",),
        promotes={"policy": "candidate"},
        reads_evidence=True,
        code=("governance",),
    ),
)
"""From a preference export to a candidate with its draft pack, in an order that satisfies every `reads`."""

RELEASE: tuple[Step, ...] = (
    Step("approve", reads=("evaluation", "pack"), writes=("approval",), reusable=False, timeout_hours=0.2, verifies=True),
    Step(
        "deploy",
        reads=("base_model", "policy_adapter", "evaluation", "pack", "approval"),
        writes=("release",),
        image="train",
        reusable=False,
        reads_evidence=True,
        registry=True,
        verifies=True,
        code=("governance",),
    ),
)
"""From a candidate to a release."""

STEPS: dict[str, Step] = {step.name: step for step in (*ALIGN, *RELEASE)}


def writer(artifact: str) -> Step:
    """The one step that writes `artifact`.

    Raises:
        KeyError: No step writes it.
    """
    for step in STEPS.values():
        if artifact in step.writes:
            return step
    raise KeyError(artifact)


def upstream(name: str) -> set[str]:
    """Names of the steps whose artifacts `name` reads directly."""
    return {writer(artifact).name for artifact in STEPS[name].reads}
