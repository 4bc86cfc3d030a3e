"""Steps as pods: an image by digest, an argument vector, a read-only root, no rights, only the secrets of the step.

Airflow's KubernetesPodOperator makes, follows and deletes the pod, and takes it up again where a worker died. The pod's
exit code and its termination message tell how the step ended; a pod that a node took away has none, and is tried again.
What is special to a cluster (node selectors, spot tolerations) comes from the pod template that PLUMBLINE_POD_TEMPLATE names;
infra/kubernetes/ has one.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.xcom_sidecar import PodDefaults
from airflow.sdk.exceptions import AirflowException
from kubernetes.client import models as k8s

from components.catalog import STEPS
from plumbline_airflow import events, job, output
from plumbline_airflow.images import image
from plumbline_airflow.links import PackLink, RunLink

if TYPE_CHECKING:
    from collections.abc import Mapping

USER = 10001
IDENTIFIES = job.OWN["PLUMBLINE_IDENTITY_KEY"]
TERMINATION_LOG = "/dev/termination-log"
XCOM = "/airflow/xcom/return.json"
START_SECONDS = 1800
"""A GPU node may have to be started first."""
MEMORY = {"data": "4Gi", "train": "32Gi"}
PROCESSORS = {"data": "1", "train": "8"}
UNPRIVILEGED = k8s.V1SecurityContext(
    allow_privilege_escalation=False,
    capabilities=k8s.V1Capabilities(drop=["ALL"]),
    read_only_root_filesystem=True,
    run_as_non_root=True,
    run_as_user=USER,
)


class StepOperator(KubernetesPodOperator):
    """Runs one step in a pod of its own."""

    template_fields = ()
    operator_extra_links = (RunLink(), PackLink())
    ui_color = "#e4f0e8"

    def __init__(self, *, step: str, **options: Any) -> None:
        entry = STEPS[step]
        offers = bool(options.get("outlets"))
        super().__init__(
            name=f"plumbline-{step}",
            namespace=os.environ.get("PLUMBLINE_KUBERNETES_NAMESPACE", "plumbline"),
            image=image(entry.image),
            pod_template_file=os.environ.get("PLUMBLINE_POD_TEMPLATE"),
            labels={"app.kubernetes.io/part-of": "plumbline", "plumbline/step": step, "plumbline/kind": entry.image},
            service_account_name="plumbline-step",
            automount_service_account_token=False,
            security_context=_pod_security(),
            container_security_context=UNPRIVILEGED,
            xcom_sidecar_container_security_context=UNPRIVILEGED,
            container_resources=_resources(step),
            tolerations=[k8s.V1Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")] if entry.gpu else None,
            priority_class_name="plumbline-training" if entry.gpu else "plumbline-step",
            volumes=_volumes(step),
            volume_mounts=_mounts(step),
            env_from=[_secret("plumbline-mlflow"), *([_secret("plumbline-identity")] if step == IDENTIFIES else [])],
            do_xcom_push=offers,
            deferrable=os.environ.get("PLUMBLINE_KUBERNETES_DEFERRABLE", "1") == "1",
            startup_timeout_seconds=START_SECONDS,
            termination_message_policy="FallbackToLogsOnError",
            termination_grace_period=60,
            log_pod_spec_on_failure=False,
            **options,
        )
        self.step = step

    def execute(self, context: Mapping[str, Any]) -> Any:
        """Make the pod, and wait for it, as a rule in the triggerer."""
        run = job.pipeline_run(context)
        events.tell("begin", self.step, run)
        self.prepare(context, run)
        return super().execute(context)  # type: ignore[arg-type]  # Airflow's own Context is a TypedDict

    def build_pod_request_obj(self, context: Any = None, *, dry_run: bool = False) -> k8s.V1Pod:
        """The pod as Airflow makes it; but its sidecar runs our data image by digest, and none of a public registry."""
        pod = super().build_pod_request_obj(context, dry_run=dry_run)
        for container in pod.spec.containers:
            if container.name == PodDefaults.SIDECAR_CONTAINER_NAME:
                container.image = image("data")
        return pod

    def prepare(self, context: Mapping[str, Any], run: str) -> None:
        """Say what the pod is to run, with which variables."""
        vector = job.command(self.step, run, processes=max(1, _gpus(self.step)))
        self.cmds, self.arguments = vector[:1], [unexpanded(word) for word in vector[1:]]
        own = {"PLUMBLINE_RESULT": XCOM if self.do_xcom_push else TERMINATION_LOG}
        digest = {"PLUMBLINE_IMAGE_DIGEST": str(self.image).partition("@")[2]}
        variables = job.contained(self.step, context) | own | digest
        self.env_vars = [k8s.V1EnvVar(name=name, value=unexpanded(value)) for name, value in sorted(variables.items())]

    def cleanup(self, pod: Any, remote_pod: Any, xcom_result: dict[str, Any] | None = None, context: Any = None) -> None:
        """Delete the pod, and end the task as the step's exit code says."""
        code, said = _ending(remote_pod, self.base_container_name)
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowException:
            if code is None:
                raise
        if code is None or self._killed:
            return
        if code == 0 and context:
            self._report(xcom_result or _parsed(said), context)
        output.judge(self.step, code, said)

    def _report(self, result: Mapping[str, Any], context: Mapping[str, Any]) -> None:
        if result.get("mlflow_run"):
            context["ti"].xcom_push(key="mlflow_run", value=result["mlflow_run"])
        if result.get("candidate"):
            output.offer(self, result["candidate"], context)


def _secret(name: str) -> k8s.V1EnvFromSource:
    """All variables of a Secret, by reference; none where it does not exist."""
    return k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=name, optional=True))


def unexpanded(text: str) -> str:
    """A text that Kubernetes hands over as it is: it would put the value of a variable where `$(NAME)` stands."""
    return text.replace("$", "$$")


def _ending(pod: Any, container: str) -> tuple[int | None, str]:
    """Exit code and termination message; no code where the pod did not end by itself."""
    statuses = (pod.status.container_statuses if pod and pod.status else None) or []
    ended = [status.state.terminated for status in statuses if status.name == container and status.state]
    if not ended or ended[0] is None:
        return None, ""
    return int(ended[0].exit_code), ended[0].message or ""


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _pod_security() -> k8s.V1PodSecurityContext:
    seccomp = k8s.V1SeccompProfile(type="RuntimeDefault")
    return k8s.V1PodSecurityContext(run_as_non_root=True, run_as_user=USER, fs_group=USER, seccomp_profile=seccomp)


def _gpus(step: str) -> int:
    """GPUs that a step gets: several only where it works as several processes."""
    entry = STEPS[step]
    asked = int(os.environ.get("PLUMBLINE_GPUS", "1")) if entry.gpu else 0
    return asked if entry.spreads else min(1, asked)


def _resources(step: str) -> k8s.V1ResourceRequirements:
    entry = STEPS[step]
    wanted = {"cpu": PROCESSORS[entry.image], "memory": MEMORY[entry.image]}
    gpus = _gpus(step)
    graphics = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    return k8s.V1ResourceRequirements(requests=wanted | graphics, limits={"memory": wanted["memory"]} | graphics)


def _volumes(step: str) -> list[k8s.V1Volume]:
    """Scratch is a claim where PLUMBLINE_SCRATCH_CLAIM names one (checkpoints outlive the pod), else the node's disk."""
    sources: dict[str, dict[str, Any]] = {
        "tmp": {"empty_dir": k8s.V1EmptyDirVolumeSource(size_limit="4Gi")},
        "shm": {"empty_dir": k8s.V1EmptyDirVolumeSource(medium="Memory", size_limit="8Gi")},
        "keys": {"secret": k8s.V1SecretVolumeSource(secret_name=f"plumbline-key-{step}", default_mode=0o440)},
        "data": {"persistent_volume_claim": k8s.V1PersistentVolumeClaimVolumeSource("plumbline-data", read_only=True)},
        "releases": {"persistent_volume_claim": k8s.V1PersistentVolumeClaimVolumeSource("plumbline-releases")},
        "scratch": {"empty_dir": k8s.V1EmptyDirVolumeSource(size_limit="100Gi")},
    }
    claim = os.environ.get("PLUMBLINE_SCRATCH_CLAIM")
    if claim:
        sources["scratch"] = {"persistent_volume_claim": k8s.V1PersistentVolumeClaimVolumeSource(claim)}
    return [k8s.V1Volume(name=name, **sources[name]) for name in ("tmp", "shm", *job.needs(step))]


def _mounts(step: str) -> list[k8s.V1VolumeMount]:
    places = {"tmp": ("/tmp", False), "shm": ("/dev/shm", False)}  # noqa: S108  (inside the pod)
    places |= {name: (f"/plumbline/{name}", read_only) for name, read_only in job.needs(step).items()}
    return [k8s.V1VolumeMount(name=name, mount_path=path, read_only=ro) for name, (path, ro) in places.items()]
