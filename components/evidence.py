"""The record each step leaves: `plumbline.evidence/v1`. Standard library only; governance reads it too.

Schema, in order: who (`step`, `pipeline_run`, `run`, `attempt`), what code (`code`), with which settings (`settings`,
`seed`), on what (`inputs`), by whom it was asked for (`external`), what came out (`outputs`), what was measured
(`measurements`, `facts`), what was not (`gaps`), where it ran (`environment`) and when (`times`).
A released version is read for ever; golden records are in tests/golden/evidence/.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from components.errors import ArtifactRefused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TYPE = "plumbline.evidence/v1"


@dataclass(frozen=True)
class Artifact:
    """A folder that a step read or wrote."""

    digest: str
    """sha256:... over the sorted files, see `components.provenance.folder_digest`."""
    run: str
    """MLflow run that wrote it."""
    step: str
    """Step that wrote it."""
    bytes: int
    files: int
    registered_model: str = ""
    """Registered model under which MLflow keeps a version of it; empty where none."""


@dataclass(frozen=True)
class Evidence:
    """One step's record."""

    step: str
    pipeline_run: str
    run: str
    """MLflow run id of this step."""
    step_key: str
    attempt: int
    code: Mapping[str, Any]
    """`commit`, `dirty`, `digest` (of the step's own code), `lock_digest`."""
    seed: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, Artifact]
    outputs: Mapping[str, Artifact]
    measurements: Mapping[str, Mapping[str, Any]]
    """Name → `value`, `unit`, and `n`, `low`, `high` where they exist."""
    facts: Mapping[str, Any]
    gaps: Mapping[str, str]
    """Name → why it was not recorded."""
    external: Mapping[str, Any]
    environment: Mapping[str, Any]
    """`python`, `platform`, `device`, `image_digest`, `packages` (name → version)."""
    times: Mapping[str, Any]
    """`started_at`, `finished_at` (UTC, RFC 3339) and seconds spent: `startup`, `input`, `work`, `logging`."""
    type: str = field(default=TYPE)

    def to_json(self) -> str:
        """The record as text. Same record, same bytes."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read(path: Path) -> Evidence:
    """The record in a file.

    Raises:
        ArtifactRefused: The file is not an evidence record of a version that this code reads.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.get("type") != TYPE:
            message = f"{path.name} has type {raw.get('type')!r}; this version reads {TYPE}. Use a newer Plumbline."
            raise ArtifactRefused(message)
        raw["inputs"] = {name: Artifact(**artifact) for name, artifact in raw["inputs"].items()}
        raw["outputs"] = {name: Artifact(**artifact) for name, artifact in raw["outputs"].items()}
        return Evidence(**raw)
    except (json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        message = f"{path.name} is not a complete evidence record ({error}). Run the step again; never edit a record."
        raise ArtifactRefused(message) from None


def read_all(folder: Path) -> dict[str, Evidence]:
    """The records in a folder, by step.

    Raises:
        ArtifactRefused: One of the files is not an evidence record.
    """
    return {record.step: record for record in (read(path) for path in sorted(folder.glob("*.json")))}
