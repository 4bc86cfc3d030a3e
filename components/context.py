"""What a step is given and what it may do: its settings, its inputs, a place for its outputs, and a notebook.

A step's work is `run(context)`. It reads `context.inputs`, writes below `context.output(NAME)`, and says what it
measured; the entrypoint does the rest (lineage, hashing, signing, logging). So a test can run any step with a context
made by hand, without MLflow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from components.catalog import Step

ConfigT = TypeVar("ConfigT")

JSON = Any
"""A value that `json.dumps` takes."""


class Registry(Protocol):
    """Aliases of registered models, as `components.lineage` offers them to steps that may use them."""

    def resolve(self, model: str, alias: str) -> ModelVersion | None:
        """The version that `alias` of `model` points to, fetched and digest-checked, or None."""

    def move(self, model: str, alias: str, version: str) -> None:
        """Point `alias` of `model` to `version`."""

    def remove(self, model: str, alias: str) -> None:
        """Take the alias away; nothing happens where there is none."""

    def version_of(self, model: str) -> str:
        """The version of `model` that this pipeline run produced."""


@dataclass(frozen=True)
class Published:
    """An artifact that a finished step run published."""

    name: str
    digest: str
    files: Mapping[str, str]
    """Relative path → sha256 in hex."""
    bytes: int
    step: str
    run: str
    uri: str
    model_id: str = ""
    """MLflow LoggedModel, where the artifact is a model."""
    registered_model: str = ""


@dataclass(frozen=True)
class ModelVersion:
    """A version of a registered model, on disk."""

    model: str
    version: str
    digest: str
    """sha256:... of the folder."""
    path: Path
    base_digest: str = ""
    """Digest of the base model it belongs to; empty for a base model."""
    base: Path | None = None
    """Folder of that base model, where it is another one than the step reads, and can be had."""
    problem: str = ""
    """Why that base model can't be had."""


@dataclass(frozen=True)
class Origin:
    """Which registered version an input is, and when it was made."""

    model: str
    version: str
    finished_at: str
    """When the step that wrote it was done, by its evidence. UTC, RFC 3339."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    gaps: Mapping[str, str] = field(default_factory=dict)
    """What that step recorded, and what not."""


@dataclass(frozen=True)
class Reference:
    """Artifacts of an earlier pipeline run on other data, on disk: the newest released, or the newest accepted."""

    pipeline_run: str
    paths: Mapping[str, Path]
    """Artifact name → folder; without those that were withdrawn since."""
    digests: Mapping[str, str]


@dataclass(frozen=True)
class Predecessor:
    """The version of a model that belongs to another base model, with what it was made from."""

    version: str
    digest: str
    base_digest: str
    path: Path
    inputs: Mapping[str, Path]
    """Artifact name → folder, checked."""
    problem: str = ""
    """Why it can't be looked at; then `inputs` is empty."""


@dataclass(frozen=True)
class Release:
    """A released policy, with the artifact of its pipeline run that is looked back at."""

    version: str
    artifact_digest: str
    path: Path | None
    """The artifact on disk, checked; None where it can't be had."""
    problem: str = ""
    """Why not."""


@dataclass(frozen=True)
class Measurement:
    """One final number of a step."""

    value: float
    unit: str
    n: int | None = None
    """How many items it was measured on."""
    low: float | None = None
    high: float | None = None
    """Ends of the 95 % interval, where one was computed."""


@dataclass
class Context(Generic[ConfigT]):
    """Everything a step may touch."""

    step: Step
    config: ConfigT
    """The step's own section of the pipeline run's logged config."""
    seed: int
    """Seed of the pipeline run. Everything random derives from it."""
    inputs: Mapping[str, Path]
    """Artifact name → folder, resolved by lineage and checked against its recorded digest. Read-only."""
    scratch: Path
    """Folder of this attempt. Outputs are `scratch/outputs/NAME`."""
    checkpoints: Path
    """Folder that survives a killed attempt of the same step key. Empty the first time."""
    pipeline_run: str = ""
    input_digests: Mapping[str, str] = field(default_factory=dict)
    """Artifact name → sha256:..."""
    evidence: Path | None = None
    """Evidence records of the steps before this one (`STEP.json` each), for steps that read evidence."""
    registry: Registry | None = None
    baseline: ModelVersion | None = None
    """The version that the step's result is compared with: the champion policy for `evaluate` (see `history.champion`), the
    newest active version for steps that compare with one. None where there is none."""
    sections: Mapping[str, Any] = field(default_factory=dict)
    """Shared sections of the config that the step declares, by name."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Artifact name → where it comes from, for inputs that are registered models of a step that challenges a champion."""
    reference: Reference | None = None
    """What the step compares its own with; None where there is no such run, or the step compares nothing."""
    predecessor: Predecessor | None = None
    """The newest version of what the step trains that belongs to another base model. None where there is none."""
    releases: Sequence[Release] = ()
    """The last releases, oldest first, without those of this very policy; none for a step that does not look back."""
    earlier: Sequence[Path] = ()
    """What all runs before this one published of the artifact that the step remembers; empty for one that remembers none."""
    external: Mapping[str, JSON] = field(default_factory=dict)
    """What comes from outside the pipeline: the approver's answer, the trigger. Recorded in the evidence."""
    rank: int = 0
    """Which of `ranks` processes this is. Only what rank 0 writes, measures and says counts."""
    ranks: int = 1
    """How many processes work on the step, see `components/ranks.py`."""
    measurements: dict[str, Measurement] = field(default_factory=dict)
    series: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    facts: dict[str, JSON] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)
    artifact_tags: dict[str, dict[str, str]] = field(default_factory=dict)
    refusal: str = ""
    """Set by `refuse`."""

    def output(self, name: str) -> Path:
        """An empty folder for the output `name`; the same folder when asked twice."""
        if name not in self.step.writes:
            message = f"{self.step.name} does not declare the output {name!r}; add it to components/catalog.py."
            raise AssertionError(message)
        folder = self.scratch / "outputs" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def measure(
        self,
        name: str,
        value: float,
        *,
        unit: str,
        n: int | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        """Keep one final number: an MLflow metric and a measurement in the evidence.

        Raises:
            ValueError: The value is not finite. What could not be measured is a `gap`.
        """
        if not math.isfinite(value):
            message = f"{self.step.name} measured {name} = {value}; a number that is not finite is a gap, not a value."
            raise ValueError(message)
        self.measurements[name] = Measurement(float(value), unit, n, low, high)

    def track(self, at: int, **values: float) -> None:
        """Keep one point of a curve (`at` counts updates). Logged to MLflow in batches."""
        self.series.append((at, {name: float(value) for name, value in values.items()}))

    def fact(self, name: str, value: JSON) -> None:
        """Keep something that is not one number: a digest, a name, a table. It must be JSON."""
        self.facts[name] = value

    def gap(self, name: str, reason: str) -> None:
        """Say that something was not recorded, and why. Documents show it as a gap."""
        self.gaps[name] = reason

    def tag(self, artifact: str, **tags: str) -> None:
        """Tags for the registered version of `artifact`, e.g. `base_digest`."""
        self.artifact_tags.setdefault(artifact, {}).update(tags)

    def refuse(self, reason: str) -> None:
        """Publish what was written, then end as a failed gate (exit code 66) with `reason`. Finish the work first."""
        self.refusal = reason

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Tell the person watching. One line `progress STEP done/total note`, read by the runtime."""
        if self.rank == 0:
            print(f"progress {self.step.name} {done}/{total} {note}".rstrip(), flush=True)  # noqa: T201  (the protocol)
