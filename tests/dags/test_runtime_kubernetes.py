"""The Kubernetes runtime: the pods it asks for, built by the operator itself, and how it reads their end."""

from __future__ import annotations

import json
import re

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("airflow")]

HOSTILE = 'x\'; touch /tmp/pwned; "$(id)" `id` $(PLUMBLINE_TRIGGER) $$(HOME) $HOME {{ 7*7 }} <b>&amp; \n ü'
IMAGES = {
    "PLUMBLINE_IMAGE_DATA": "registry.example/pipeline-data@sha256:" + "d" * 64,
    "PLUMBLINE_IMAGE_TRAIN": "registry.example/pipeline-train@sha256:" + "e" * 64,
    "MLFLOW_TRACKING_URI": "https://mlflow.plumbline.svc",
    "MLFLOW_TRACKING_PASSWORD": "canary-secret",
    "PLUMBLINE_SCRATCH": "/on/this/machine",
}

HEAD = """
import json, os, sys, types
import kubernetes.client
from plumbline_airflow import runtime_kubernetes as runtime
from components.catalog import STEPS

pushed = {}
ti = types.SimpleNamespace(
    dag_id="align", run_id="r", task_id="x", try_number=1, map_index=-1,
    xcom_push=lambda key, value: pushed.update({key: value}), xcom_pull=lambda **_: None,
)

def context(run_id="run-1", conf=None):
    run = types.SimpleNamespace(run_id=run_id, conf=conf or {}, run_type="manual", triggering_user_name="ada")
    return {"dag": types.SimpleNamespace(dag_id="align"), "dag_run": run, "params": {"seed": 3}, "ti": ti}

def pod(step, run_id="run-1", conf=None, **options):
    operator = runtime.StepOperator(step=step, task_id=step, **options)
    operator.prepare(context(run_id, conf), run_id)
    made = operator.build_pod_request_obj(dry_run=True)
    return kubernetes.client.ApiClient().sanitize_for_serialization(made)
"""

PODS = HEAD + "print(json.dumps({step: pod(step) for step in STEPS}))"


def _last(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def _pods(python, **variables: str) -> dict:
    return _last(python(PODS, **(IMAGES | variables)))


def _expanded(text: str, variables: dict[str, str]) -> str:
    """What Kubernetes makes of a value: k8s.io/kubernetes third_party/forked/golang/expansion/expand.go, Expand."""
    pattern = re.compile(r"\$(\$|\([^)]*\))")
    return pattern.sub(lambda hit: "$" if hit[1] == "$" else variables.get(hit[1][1:-1], hit[0]), text)


def test_every_pod_is_valid_by_the_schema_of_kubernetes(python) -> None:
    import kubernetes_validate

    for step, pod in _pods(python).items():
        pod["metadata"].setdefault("name", step)
        kubernetes_validate.validate(pod, "1.34", strict=True)


def test_no_pod_has_rights_it_does_not_need(python) -> None:
    for step, pod in _pods(python).items():
        spec, container = pod["spec"], pod["spec"]["containers"][0]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["serviceAccountName"] == "plumbline-step"
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        secrets = [volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume]
        assert secrets == [f"plumbline-key-{step}"], "its own signing key and nobody else's"


def test_a_step_mounts_only_what_it_needs(python) -> None:
    mounted = {step: {m["name"] for m in pod["spec"]["containers"][0]["volumeMounts"]} for step, pod in _pods(python).items()}

    always = {"tmp", "shm", "scratch", "keys"}
    assert mounted["sft"] == always
    assert mounted["evaluate"] == always
    assert mounted["start"] == mounted["validate"] == mounted["base"] == always | {"data"}
    assert mounted["deploy"] == always | {"releases"}


def test_steps_that_train_ask_for_a_gpu_and_tolerate_its_taint(python) -> None:
    pods = _pods(python, PLUMBLINE_GPUS="2")

    ppo, evaluate, validate = (pods[step]["spec"] for step in ("ppo", "evaluate", "validate"))
    assert ppo["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert ppo["containers"][0]["command"] == ["python"]
    assert ppo["containers"][0]["args"] == [
        "-m",
        "components.spread",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "components.ppo",
        "--pipeline-run",
        "run-1",
    ]
    assert evaluate["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1", "a GPU that nobody uses is not asked for"
    assert "components.spread" not in evaluate["containers"][0]["args"]
    assert ppo["tolerations"] == [{"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"}]
    assert ppo["priorityClassName"] == "plumbline-training"
    assert "nvidia.com/gpu" not in validate["containers"][0]["resources"]["limits"]
    assert validate["containers"][0]["command"] == ["python"]
    assert not validate.get("tolerations")


def test_what_hands_over_a_candidate_runs_our_image_by_digest(python) -> None:
    """Airflow's own choice is an image of a public registry, by a tag."""
    program = HEAD + "from plumbline_airflow.assets import CANDIDATE\nprint(json.dumps(pod('document', outlets=[CANDIDATE])))"

    spec = _last(python(program, **IMAGES))["spec"]

    assert {each["name"]: each["image"] for each in spec["containers"]} == {
        "base": IMAGES["PLUMBLINE_IMAGE_DATA"],
        "airflow-xcom-sidecar": IMAGES["PLUMBLINE_IMAGE_DATA"],
    }


def test_params_arrive_unchanged_whatever_is_in_them(python) -> None:
    program = (
        HEAD + "print(json.dumps(pod('start', json.loads(os.environ['H']), {'base.location': json.loads(os.environ['H'])})))"
    )

    container = _last(python(program, H=json.dumps(HOSTILE), **IMAGES))["spec"]["containers"][0]

    values = {item["name"]: item["value"] for item in container["env"]}
    seen = {name: _expanded(value, values) for name, value in values.items()}
    assert json.loads(seen["PLUMBLINE_PARAMS"]) == {"seed": 3, "base.location": HOSTILE}
    assert _expanded(container["args"][-1], values) == HOSTILE
    assert container["command"] == ["python"]


def test_secrets_and_paths_of_this_machine_stay_out_of_the_specification(python) -> None:
    text = json.dumps(_pods(python))

    assert "canary-secret" not in text
    assert "/on/this/machine" not in text
    assert "plumbline-mlflow" in text


def test_the_image_that_runs_is_known_by_digest(python) -> None:
    pods = _pods(python)

    env = {item["name"]: item["value"] for item in pods["ppo"]["spec"]["containers"][0]["env"]}
    assert env["PLUMBLINE_IMAGE_DIGEST"] == "sha256:" + "e" * 64


def test_checkpoints_outlive_a_pod_where_a_claim_is_named(python) -> None:
    volumes = {volume["name"]: volume for volume in _pods(python, PLUMBLINE_SCRATCH_CLAIM="scratch")["ppo"]["spec"]["volumes"]}

    assert volumes["scratch"]["persistentVolumeClaim"]["claimName"] == "scratch"


def test_the_clusters_own_template_is_merged_in(python, tmp_path) -> None:
    template = tmp_path / "pod.yaml"
    template.write_text(
        "apiVersion: v1\nkind: Pod\nspec:\n  nodeSelector: {pool: spot}\n  containers:\n  - {name: base, image: x}\n"
    )

    ppo = _pods(python, PLUMBLINE_POD_TEMPLATE=str(template))["ppo"]["spec"]

    assert ppo["nodeSelector"] == {"pool": "spot"}
    assert ppo["containers"][0]["image"] == IMAGES["PLUMBLINE_IMAGE_TRAIN"]


END = (
    HEAD
    + """
from kubernetes.client import models as k8s
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException

def ended(operator, pod, remote_pod, xcom_result=None, context=None):
    if remote_pod.status.phase != "Succeeded":
        raise AirflowException("Pod returned a failure.")

KubernetesPodOperator.cleanup = ended
operator = runtime.StepOperator(step="sft", task_id="sft")
code, message, phase = json.loads(os.environ["ENDED"])
over = None if code is None else k8s.V1ContainerStateTerminated(exit_code=code, message=message)
state = k8s.V1ContainerState(terminated=over)
status = k8s.V1ContainerStatus(name="base", image="i", image_id="i", ready=False, restart_count=0, state=state)
remote = k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="p"), status=k8s.V1PodStatus(phase=phase, container_statuses=[status]))
try:
    operator.cleanup(remote, remote, None, context())
    print(json.dumps(["done", "", pushed]))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error), pushed]))
"""
)


@pytest.mark.parametrize(
    ("ended", "kind", "text"),
    [
        ([0, '{"mlflow_run": "1 abc"}', "Succeeded"], "done", ""),
        ([65, "DataRefused: no data", "Failed"], "AirflowFailException", "DataRefused: no data"),
        ([66, "GateFailed: no", "Failed"], "AirflowFailException", "GateFailed: no"),
        ([75, "TryAgain: later", "Failed"], "AirflowException", "sft ended with exit code 75. TryAgain: later"),
        ([137, None, "Failed"], "AirflowException", "sft ended with exit code 137."),
        ([None, None, "Failed"], "AirflowException", "Pod returned a failure."),
    ],
)
def test_a_pods_end_is_read_like_a_processs(python, ended: list, kind: str, text: str) -> None:
    """Exit code None is a pod that its node took away, for example a spot instance: tried again."""
    found = _last(python(END, ENDED=json.dumps(ended), **IMAGES))

    assert found[:2] == [kind, text] or (found[0] == kind and found[1].strip() == text)
    assert found[2] == ({"mlflow_run": "1 abc"} if ended[0] == 0 else {})


def test_a_missing_image_name_is_refused_with_the_variable(python) -> None:
    done = python("import airflow; from plumbline_airflow.steps import step; step('ppo')", PLUMBLINE_RUNTIME="kubernetes")

    assert "PLUMBLINE_IMAGE_TRAIN must name the image pipeline-train" in done.stderr
