"""What each runtime writes down of a step: Airflow keeps it in its database and shows it to whoever may read."""

from __future__ import annotations

import json

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("airflow")]

SECRETS = {
    name: f"canary-{number}"
    for number, name in enumerate(
        ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_USERNAME", "HF_TOKEN", "PLUMBLINE_IDENTITY_KEY", "AWS_SECRET_ACCESS_KEY")
    )
}
IMAGES = {"PLUMBLINE_IMAGE_DATA": "data@sha256:" + "d" * 64, "PLUMBLINE_IMAGE_TRAIN": "train@sha256:" + "e" * 64}

WRITTEN = """
import json
from airflow.dag_processing.dagbag import DagBag
from airflow.configuration import conf
from airflow.serialization.serialized_objects import DagSerialization

bag = DagBag(conf.get("core", "dags_folder"))
assert not bag.import_errors, bag.import_errors
found = {}
for name, dag in bag.dags.items():
    fields = {task.task_id: {field: str(getattr(task, field)) for field in task.template_fields} for task in dag.tasks}
    found[name] = {"serialized": DagSerialization.to_dict(dag), "rendered": fields}
print(json.dumps(found, default=str))
"""

CONTAINER = """
import json, types
from unittest.mock import MagicMock
from plumbline_airflow import runtime_docker as runtime
from components.catalog import STEPS

run = types.SimpleNamespace(run_id="r", conf={}, run_type="manual", triggering_user_name="ada")
found = {}
for step in STEPS:
    ti = types.SimpleNamespace(dag_id="align", run_id="r", task_id=step, xcom_push=lambda **_: None, xcom_pull=lambda **_: None)
    context = {"dag": types.SimpleNamespace(dag_id="align"), "dag_run": run, "params": {"seed": 3}, "ti": ti}
    operator = runtime.StepOperator(step=step, task_id=step)
    made = MagicMock()
    made.inspect_image.return_value = {"Id": "sha256:1"}
    made.create_host_config.side_effect = lambda **options: options
    runtime.StepOperator.cli = made
    operator._create("r", runtime._labels(context, "r"), context)
    found[step] = made.create_container.call_args.kwargs
print(json.dumps(found, default=str))
"""


def _said(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("runtime", ["process", "docker", "kubernetes"])
def test_what_airflow_keeps_of_a_dag_holds_no_secret(python, runtime: str) -> None:
    volumes = json.dumps({name: f"/{name}" for name in ("data", "keys", "releases", "scratch")})

    found = _said(python(WRITTEN, PLUMBLINE_RUNTIME=runtime, PLUMBLINE_DOCKER_VOLUMES=volumes, **IMAGES, **SECRETS))

    assert set(found) == {"align", "release"}
    assert set(found["align"]["rendered"]) >= {"start", "ppo", "document"}
    assert "canary-" not in json.dumps(found)


def test_a_container_is_told_only_the_secrets_of_its_step_and_only_as_variables(python) -> None:
    """Airflow prints none of them. Whoever holds the engine's socket reads them, and everything else (SECURITY.md)."""
    volumes = json.dumps({name: f"/{name}" for name in ("data", "keys", "releases", "scratch")})

    found = _said(python(CONTAINER, PLUMBLINE_DOCKER_VOLUMES=volumes, **IMAGES, **SECRETS))

    for step, made in found.items():
        told = {name: value for name, value in made.pop("environment").items() if "canary-" in value}
        own = {"base": {"HF_TOKEN"}, "annotators": {"PLUMBLINE_IDENTITY_KEY"}}
        wanted = {"MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_USERNAME"} | own.get(step, set())
        assert told == {name: SECRETS[name] for name in wanted}, step
        assert "canary-" not in json.dumps(made), step
