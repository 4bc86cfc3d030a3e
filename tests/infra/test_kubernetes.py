"""The manifests, by the schemas of Kubernetes, and by what they promise. No cluster is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2] / "infra" / "kubernetes"
VERSION = "1.34"
FOLDERS = sorted(path.parent for path in ROOT.rglob("kustomization.yaml"))


def _documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def _listed(folder: Path) -> list[Path]:
    (listing,) = _documents(folder / "kustomization.yaml")
    return [folder / name for name in listing["resources"] if name.endswith(".yaml")]


BASE = [document for path in _listed(ROOT / "base") for document in _documents(path)]
PODS = [
    d["spec"]["template"]["spec"]
    for d in BASE + _documents(ROOT / "multinode" / "job.yaml")
    if d["kind"] in {"Deployment", "Job"}
]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_kustomization_names_every_file_beside_it(folder: Path) -> None:
    (listing,) = _documents(folder / "kustomization.yaml")
    generated = [name for entry in listing.get("configMapGenerator", []) for name in entry["files"]]
    patched = [entry["path"] for entry in listing.get("patches", [])]
    named = {name for name in [*listing["resources"], *generated, *patched] if name.endswith(".yaml")}

    assert named == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_manifests_are_valid_by_the_schemas_of_kubernetes(folder: Path) -> None:
    for path in _listed(folder):
        for document in _documents(path):
            kubernetes_validate.validate(document, VERSION, strict=True)


def test_the_pod_template_is_a_valid_pod() -> None:
    (pod,) = _documents(ROOT / "base" / "pod-template.yaml")
    kubernetes_validate.validate(pod, VERSION, strict=True)


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod["containers"][0]["name"])
def test_no_pod_has_rights_it_does_not_need(pod: dict[str, Any]) -> None:
    """What the namespace enforces as `restricted`, and a read-only root besides."""
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        rights = container["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert rights["readOnlyRootFilesystem"] is True


def _policy(name: str) -> dict[str, Any]:
    (found,) = [d["spec"] for d in BASE if d["kind"] == "NetworkPolicy" and d["metadata"]["name"] == name]
    return found


def test_whatever_is_not_allowed_is_forbidden() -> None:
    assert _policy("nothing") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_steps_reach_mlflow_names_and_the_mirror_and_nothing_else() -> None:
    ports = [sorted(port["port"] for port in rule["ports"]) for rule in _policy("steps")["egress"]]

    assert ports == [[5000], [53, 53], [443]]
    assert "ipBlock" not in str(_policy("steps"))


def test_accounts_and_priorities_that_pods_name_exist() -> None:
    accounts = {d["metadata"]["name"] for d in BASE if d["kind"] == "ServiceAccount"}
    priorities = {d["metadata"]["name"] for d in BASE if d["kind"] == "PriorityClass"}
    claims = {d["metadata"]["name"] for d in BASE if d["kind"] == "PersistentVolumeClaim"}

    assert {pod["serviceAccountName"] for pod in PODS} | {"plumbline-step"} <= accounts
    assert {pod["priorityClassName"] for pod in PODS} | {"plumbline-step", "plumbline-training"} <= priorities
    named = {v["persistentVolumeClaim"]["claimName"] for pod in PODS for v in pod["volumes"] if "persistentVolumeClaim" in v}
    assert named | {"plumbline-data", "plumbline-releases", "plumbline-scratch"} <= claims


def test_airflow_may_make_pods_and_never_read_secrets() -> None:
    (role,) = [d for d in BASE if d["kind"] == "Role"]

    assert {resource for rule in role["rules"] for resource in rule["resources"]} == {"pods", "pods/log", "events"}
    assert [d for d in BASE if d["kind"].startswith("ClusterRole")] == []


def test_no_secret_stands_in_a_manifest() -> None:
    assert [d for d in BASE if d["kind"] == "Secret"] == []


def test_variables_in_the_values_are_documented() -> None:
    (values,) = _documents(ROOT / "airflow" / "values.yaml")
    listed = (ROOT.parent / "README.md").read_text(encoding="utf-8")

    assert [item["name"] for item in values["env"] if f"`{item['name']}`" not in listed] == []
