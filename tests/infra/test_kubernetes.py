"""The manifests, by the schemas of Kubernetes, and by what they promise. No cluster is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import airflow
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


CHART: dict[str, type] = {
    "airflowHome": str,
    "airflowVersion": str,
    "apiSecretKeySecretName": str,
    "apiServer.args": list,
    "apiServer.command": list,
    "apiServer.extraVolumeMounts": list,
    "apiServer.extraVolumes": list,
    "config": dict,
    "createUserJob.enabled": bool,
    "dags.gitSync.enabled": bool,
    "dags.persistence.enabled": bool,
    "dagProcessor.livenessProbe.command": list,
    "dagProcessor.logGroomerSidecar.enabled": bool,
    "data.metadataSecretName": str,
    "env": list,
    "executor": str,
    "fernetKeySecretName": str,
    "images.airflow.digest": str,
    "images.airflow.repository": str,
    "jwtSecretName": str,
    "migrateDatabaseJob.args": list,
    "migrateDatabaseJob.command": list,
    "postgresql.enabled": bool,
    "redis.enabled": bool,
    "scheduler.livenessProbe.command": list,
    "scheduler.logGroomerSidecar.enabled": bool,
    "scheduler.startupProbe.command": list,
    "statsd.enabled": bool,
    "triggerer.livenessProbe.command": list,
    "triggerer.logGroomerSidecar.enabled": bool,
    "uid": int,
    "volumeMounts": list,
    "volumes": list,
}
"""What we set of the official chart's values, and what it takes there: read in its values.schema.json and its tests
(github.com/apache/airflow, chart/). The chart refuses a key that it does not know."""
VALUES = _documents(ROOT / "airflow" / "values.yaml")[0]


def _leaves(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        place = f"{above}{name}"
        found |= _leaves(value, f"{place}.") if isinstance(value, dict) and place not in CHART else {place: value}
    return found


def test_the_values_are_such_as_the_chart_takes() -> None:
    found = _leaves(VALUES)

    assert sorted(found) == sorted(CHART)
    assert {name: type(value) for name, value in found.items()} == CHART


def test_the_chart_runs_airflow_as_the_image_is_made() -> None:
    """Its defaults are another user, another home, and a login manager that is not in the image."""
    recipe = (ROOT.parent / "images" / "Dockerfile").read_text(encoding="utf-8")
    lock = (ROOT.parents[1] / "constraints.txt").read_text(encoding="utf-8")

    assert f"USER {VALUES['uid']}:" in recipe
    assert f" {VALUES['airflowHome']} " in recipe
    assert f"\napache-airflow=={VALUES['airflowVersion']}\n" in lock
    module, _, name = VALUES["config"]["core"]["auth_manager"].rpartition(".")
    (manager,) = Path(airflow.__path__[0]).parent.glob(f"{module.replace('.', '/')}.py")
    assert f"class {name}(" in manager.read_text(encoding="utf-8")
    assert VALUES["createUserJob"] == {"enabled": False}


def test_nothing_of_the_chart_runs_what_airflows_own_image_alone_has() -> None:
    """Its probes are run by /entrypoint, and side-cars run /clean-logs: pods would be ended, and started again, for ever."""
    jobs = {"scheduler": "SchedulerJob", "triggerer": "TriggererJob", "dagProcessor": "DagProcessorJob"}

    for component, job in jobs.items():
        probes = [probe["command"] for name, probe in VALUES[component].items() if name.endswith("Probe")]
        assert probes
        assert all(probe == ["airflow", "jobs", "check", "--job-type", job, "--local"] for probe in probes)
        assert VALUES[component]["logGroomerSidecar"] == {"enabled": False}


def test_logins_of_the_chart_are_those_of_compose() -> None:
    compose = yaml.safe_load((ROOT.parent / "compose.yaml").read_text(encoding="utf-8"))
    users = compose["services"]["airflow-api"]["environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"]
    (mount,) = VALUES["apiServer"]["extraVolumeMounts"]

    assert VALUES["config"]["core"]["simple_auth_manager_users"] in users
    assert VALUES["apiServer"]["args"][1] == f"{mount['mountPath']}/passwords.json"
    assert Path(VALUES["apiServer"]["args"][0].removeprefix("/app/infra/")) == Path("compose/api_server.py")


def test_who_runs_tasks_and_who_waits_for_pods_may_make_them() -> None:
    """With LocalExecutor tasks run in the scheduler; the release is called `airflow`."""
    (binding,) = [d for d in BASE if d["kind"] == "RoleBinding"]

    assert VALUES["executor"] == "LocalExecutor"
    assert sorted(f"{who['namespace']}/{who['name']}" for who in binding["subjects"]) == [
        "airflow/airflow-scheduler",
        "airflow/airflow-triggerer",
    ]


def test_no_secret_stands_in_a_manifest() -> None:
    assert [d for d in BASE if d["kind"] == "Secret"] == []


def test_variables_in_the_values_are_documented() -> None:
    (values,) = _documents(ROOT / "airflow" / "values.yaml")
    listed = (ROOT.parent / "README.md").read_text(encoding="utf-8")

    assert [item["name"] for item in values["env"] if f"`{item['name']}`" not in listed] == []
