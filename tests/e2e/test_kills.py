"""Every step is killed once with SIGKILL while it works, and run again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from components.catalog import ALIGN, RELEASE
from components.config import load_toml
from components.provenance import functionary
from components.seal import SEALER, sealed

if TYPE_CHECKING:
    from conftest import Project

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("e2e-kills")]

SHORT_SECONDS = 0.2
"""Into the work: after the step said which MLflow run it has."""


def _kill_at_work(project: Project, step: str, run: str) -> int:
    process = subprocess.Popen(
        [sys.executable, "-m", f"components.{step}", "--pipeline-run", run],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("mlflow-run"):
            break
    time.sleep(SHORT_SECONDS)
    process.kill()
    process.stdout.close()
    return process.wait()


def test_every_step_killed_once_leaves_a_run_like_any_other(project: Project) -> None:
    answer = {
        "dag_run": "release-1",
        "task": "review",
        "decision": "approve",
        "by": "ada",
        "channel": "terminal",
        "reason": "Read it; it is fine.",
        "answered_at": "2026-11-20T12:00:00+00:00",
    }
    signer = functionary(SEALER, project.folder / ".plumbline" / "keys").signer
    project.variables = {
        "PLUMBLINE_PARAMS": json.dumps(load_toml(project.folder / "small.toml")),
        "PLUMBLINE_TRIGGER": json.dumps({"type": "manual"}),
        "PLUMBLINE_ANSWER": json.dumps({"dag_run": "release-1", "sealed": {"review": sealed(answer, signer)}}),
    }
    killed = []
    for step in (*ALIGN, *RELEASE):
        killed.append(_kill_at_work(project, step.name, "run-1") == -signal.SIGKILL)
        project.run("-m", f"components.{step.name}", "--pipeline-run", "run-1")

    client, lineage = project.lineage().client, project.lineage()
    assert sum(killed) >= len(killed) - 2, "a step or two may be done before the signal"
    for model in ("base-model", "sft-policy", "reward-model", "policy"):
        assert len(client.search_model_versions(f"name = '{model}'")) == 1, model
    running = client.search_runs([lineage.experiment], "attributes.status = 'RUNNING'")
    assert [run.data.tags.get("plumbline.step") for run in running] == []
    assert str(client.get_model_version_by_alias("policy", "champion").version) == "1"
    assert sorted(path.name for path in (project.folder / "releases").iterdir()) == ["CURRENT", "policy-v1", "register.jsonl"]
    project.run("-m", "governance", "verify", "releases/policy-v1")
