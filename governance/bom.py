"""The bill of materials of a release as CycloneDX 1.7: models, data sets and libraries, and what depends on what.

No serial number and no time of its own, so that the same evidence gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from components.errors import ArtifactRefused

if TYPE_CHECKING:
    from pathlib import Path

    from components.evidence import Artifact, Evidence
    from governance.facts import Facts

SCHEMA = "http://cyclonedx.org/schema/bom-1.7.schema.json"
MODELS = {
    "base_model": ("base", "self-supervised"),
    "sft_adapter": ("sft", "supervised"),
    "reward_adapter": ("reward", "supervised"),
    "policy_adapter": ("ppo", "reinforcement-learning"),
}
DATA = ("corpus", "demonstrations", "comparisons", "golden", "prompts", "annotators")
PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;]+)", re.MULTILINE)
NAMESPACE = "plumbline"
HASHED = "lines `SHA256  PATH` of the wheel's files, by path, from RECORD where the pack was made"
"""What the hash of a library is of; see components/installed.py."""


def text(facts: Facts, lock: Path, installed: Path) -> str:
    """The bill of materials.

    Args:
        facts: The release.
        lock: The lock file of the environment; libraries come from evidence alone where it is not the one that was used.
        installed: Library → version and sha256 of what is installed where the pack is made; no hashes where it is absent.

    Raises:
        ArtifactRefused: `installed` is damaged.
    """
    written = {name: item for record in facts.records.values() for name, item in record.outputs.items()}
    models = [_model(facts, name, written[name]) for name in MODELS if name in written]
    data = [_data(name, written[name]) for name in DATA if name in written]
    libraries = _libraries(facts, lock, _installed(installed))
    bom = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "version": 1,
        "metadata": _metadata(facts, models),
        "components": [*models, *data, *libraries],
        "dependencies": _dependencies(facts, written, libraries),
    }
    return json.dumps(bom, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _metadata(facts: Facts, models: list[dict[str, Any]]) -> dict[str, Any]:
    finished = [str(record.times.get("finished_at") or "") for record in facts.records.values()]
    found: dict[str, Any] = {"timestamp": max(finished)} if any(finished) else {}
    if any(model["name"] == "policy_adapter" for model in models):
        found["component"] = _release(facts)
    return found


def _release(facts: Facts) -> dict[str, Any]:
    version = str(facts.value("release.versions.policy", "draft"))
    return {"type": "machine-learning-model", "bom-ref": "release", "name": "policy", "version": version}


def _model(facts: Facts, name: str, item: Artifact) -> dict[str, Any]:
    step, approach = MODELS[name]
    record = facts.records[step]
    card: dict[str, Any] = {"modelParameters": {"approach": {"type": approach}, "task": "text-generation"}}
    datasets = [{"ref": part} for part in sorted(record.inputs) if part in DATA]
    if datasets:
        card["modelParameters"]["datasets"] = datasets
    source = facts.records.get("evaluate") if name == "policy_adapter" else record
    metrics = _metrics(source, "_candidate" if name == "policy_adapter" else "") if source else []
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    properties = {
        "run": record.run,
        "step": step,
        "bytes": str(item.bytes),
        "settings": json.dumps(dict(record.settings), sort_keys=True),
    }
    properties |= {f"read:{part}": used.digest for part, used in sorted(record.inputs.items())}
    return _component("machine-learning-model", name, item) | {"modelCard": card, "properties": _properties(item, properties)}


def _metrics(record: Evidence, ending: str) -> list[dict[str, Any]]:
    made = []
    for name, entry in sorted(record.measurements.items()):
        if not name.endswith(ending):
            continue
        metric: dict[str, Any] = {"type": name, "value": repr(entry["value"])}
        if entry.get("low") is not None and entry.get("high") is not None:
            metric["confidenceInterval"] = {"lowerBound": repr(entry["low"]), "upperBound": repr(entry["high"])}
        made.append(metric)
    return made


def _data(name: str, item: Artifact) -> dict[str, Any]:
    contents = {"type": "dataset", "name": name}
    properties = {"run": item.run, "step": item.step, "bytes": str(item.bytes)}
    return _component("data", name, item) | {"data": [contents], "properties": _properties(item, properties)}


def _component(kind: str, name: str, item: Artifact) -> dict[str, Any]:
    return {"type": kind, "bom-ref": name, "name": name, "version": item.digest.removeprefix("sha256:")[:12]}


def _properties(item: Artifact, more: dict[str, str]) -> list[dict[str, str]]:
    """What CycloneDX has no field for. A folder's digest is of its listing, so it is no `hash` of a file."""
    found = {"folder_digest": item.digest} | more
    return [{"name": f"{NAMESPACE}:{name}", "value": value} for name, value in sorted(found.items())]


def _installed(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    try:
        found: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))["libraries"]
    except (ValueError, KeyError, TypeError):
        message = f"{path.name} is not a list of libraries. Leave it out, or render the pack with `document` again."
        raise ArtifactRefused(message) from None
    return found


def _libraries(facts: Facts, lock: Path, installed: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """The libraries with their exact versions: all of the lock file if it is the one that the steps recorded."""
    used = {
        name: version for record in facts.records.values() for name, version in record.environment.get("packages", {}).items()
    }
    if lock.is_file():
        content = lock.read_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if any(record.code.get("lock_digest") == digest for record in facts.records.values()):
            used = dict(PINNED.findall(content.decode())) | used
    return [_library(name, str(version), installed) for name, version in sorted(used.items())]


def _library(name: str, version: str, installed: dict[str, dict[str, str]]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"pypi:{name}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name.lower()}@{_purl(version)}",
    }
    here = installed.get(re.sub(r"[-_.]+", "-", name).lower(), {})
    if here.get("version") == version and here.get("sha256"):
        made["hashes"] = [{"alg": "SHA-256", "content": here["sha256"]}]
        made["properties"] = [{"name": f"{NAMESPACE}:hashed", "value": HASHED}]
    return made


def _purl(version: str) -> str:
    return str(version).replace("+", "%2B")


def _dependencies(facts: Facts, written: dict[str, Artifact], libraries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    known = {name for name in (*MODELS, *DATA) if name in written}
    found = []
    for name in sorted(known):
        record = facts.records[written[name].step]
        depends = sorted(part for part in record.inputs if part in known and part != name)
        found.append({"ref": name, "dependsOn": depends} if depends else {"ref": name})
    refs = sorted(str(library["bom-ref"]) for library in libraries)
    top = sorted(known & {"policy_adapter", "base_model"})
    return [*found, {"ref": "release", "dependsOn": [*top, *refs]}] if "policy_adapter" in known else found
