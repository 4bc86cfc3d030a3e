"""The pipeline as a team runs it: Airflow and MLflow on PostgreSQL, three roles, a person who decides, a base that changes.

One Airflow for all tests of this file; they run in the order in which they stand.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Project

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.airflow,
    pytest.mark.slow,
    pytest.mark.xdist_group("e2e-platform"),
    pytest.mark.timeout(1800),
]
READY_SECONDS = 300
RUN_SECONDS = 900


@dataclass
class Team:
    """A running Airflow, and its users' tokens."""

    address: str
    mlflow: str
    project: Project
    passwords: dict[str, str]
    tokens: dict[str, str] = field(default_factory=dict)
    align: str = ""

    def call(self, user: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A request to Airflow's API as `user`: status and JSON."""
        if user not in self.tokens:
            asked = {"username": user, "password": self.passwords[user]}
            self.tokens[user] = _request("POST", f"{self.address}/auth/token", asked, {})[1]["access_token"]
        headers = {"Authorization": f"Bearer {self.tokens[user]}"}
        return _request(method, f"{self.address}/api/v2{path}", body, headers)

    def trigger(self, user: str, dag: str, conf: dict[str, Any]) -> str:
        code, run = self.call(user, "POST", f"/dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})
        assert code == 200, run
        return str(run["dag_run_id"])

    def state(self, dag: str, run: str) -> str:
        return str(self.call("auditor", "GET", f"/dags/{dag}/dagRuns/{run}")[1]["state"])

    def tasks(self, dag: str, run: str) -> dict[str, str]:
        found = self.call("auditor", "GET", f"/dags/{dag}/dagRuns/{run}/taskInstances")[1]["task_instances"]
        return {task["task_id"]: task["state"] for task in found}

    def ended(self, dag: str, run: str) -> str:
        _until(lambda: self.state(dag, run) in {"success", "failed"}, RUN_SECONDS, lambda: f"{self.tasks(dag, run)}")
        return self.state(dag, run)

    def asked(self, run: str, task: str = "review") -> dict[str, Any]:
        """What the person is shown, once the task waits for him."""
        _until(lambda: self.tasks("release", run).get(task) == "awaiting_input", 120, lambda: f"{self.tasks('release', run)}")
        found: dict[str, Any] = self.call("auditor", "GET", _detail(run, task))[1]
        return found

    def answer(self, user: str, run: str, decision: str, *, task: str = "review", **said: str) -> int:
        shown = {name: value["value"] for name, value in self.asked(run, task)["params"].items()}
        given = shown | {"reason": "I have read the pack."} | said
        return self.call(user, "PATCH", _detail(run, task), {"chosen_options": [decision], "params_input": given})[0]

    def mark(self, user: str, run: str, task: str) -> int:
        return self.call(user, "PATCH", f"/dags/release/dagRuns/{run}/taskInstances/{task}", {"new_state": "success"})[0]

    def log(self, run: str, task: str) -> str:
        path = f"/dags/release/dagRuns/{run}/taskInstances/{task}/logs/1?full_content=true"
        return json.dumps(self.call("admin", "GET", path)[1])

    def said(self, run: str, task: str, text: str) -> None:
        """See that a task's log says this."""
        log = self.log(run, task)
        assert text in log, log[-4000:]

    def champion(self) -> str:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            return str(MlflowClient(tracking_uri=self.mlflow).get_model_version_by_alias("policy", "champion").version)
        except MlflowException:
            return ""


def _detail(run: str, task: str) -> str:
    return f"/dags/release/dagRuns/{run}/taskInstances/{task}/-1/hitlDetails"


def _request(method: str, address: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(address, data=data, method=method, headers=headers | {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def _until(done: Callable[[], bool], seconds: float, say: Callable[[], str]) -> None:
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, say()
        time.sleep(0.5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SETTINGS = """
[base]
source = "folder"
location = "given"
vocabulary = 600
hidden = 48
layers = 2
heads = 2
"""


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, made_project: Callable[[Path], Project]) -> Iterator[Team]:
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("PostgreSQL's server is not on this machine (Debian: postgresql)")
    project = made_project(tmp_path_factory.mktemp("team"))
    _base_model(project, seed=1)
    small = (project.folder / "small.toml").read_text().replace("four_eyes = false", "four_eyes = true")
    head, _, tail = small.partition("[base]")
    (project.folder / "small.toml").write_text(head + SETTINGS + "\n[sft]" + tail.partition("[sft]")[2])
    ports = {"airflow": _free_port(), "mlflow": _free_port(), "postgres": _free_port()}
    project.variables = {f"PLUMBLINE_{name.upper()}_PORT": str(port) for name, port in ports.items()} | {
        "PLUMBLINE_WATCH_BASE": f"folder:{project.folder}/given",
        "PLUMBLINE_WATCH_SECONDS": "1",
    }
    environment = {name: value for name, value in project.environment.items() if name != "MLFLOW_TRACKING_URI"}
    said = project.folder / "said.txt"
    command = [sys.executable, "-m", "plumbline_airflow.local", "up", "--database", "postgresql", "--config", "small.toml"]
    with said.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=project.folder, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    try:
        _until(
            lambda: "Ctrl-C stops everything." in said.read_text() or process.poll() is not None, READY_SECONDS, said.read_text
        )
        assert process.poll() is None, said.read_text()
        passwords = json.loads((project.folder / ".plumbline" / "secrets" / "passwords.json").read_text())
        found = Team(f"http://127.0.0.1:{ports['airflow']}", f"http://127.0.0.1:{ports['mlflow']}", project, passwords)
        _until(lambda: found.call("admin", "GET", "/dags/align")[0] == 200, 90, lambda: "the DAG is not there")
        yield found
    finally:
        process.terminate()
        process.wait(120)


def _base_model(project: Project, *, seed: int) -> None:
    """A base model from somewhere else, in the folder `given`: written file by file, as a copy would be."""
    from components.base import pretrain
    from components.base.config import Settings
    from components.base.tokenizer import train
    from components.models import seed_everything

    texts = [json.loads(line)["text"] for line in (project.folder / "data" / "corpus.jsonl").read_text().splitlines()]
    settings = Settings(vocabulary=600, hidden=48, layers=2, heads=2, epochs=20.0, max_updates=500 if seed == 1 else 5)
    tokens = train(texts, vocabulary=600)
    ids = tokens(texts, add_special_tokens=False)["input_ids"]
    places = {"end": tokens.eos_token_id, "pad": tokens.pad_token_id}
    rows = pretrain.pack(ids, context_tokens=settings.context_tokens, **places)
    seed_everything(seed)
    model = pretrain.fresh_model(settings, vocabulary=len(tokens), **places)
    checkpoints = project.folder / f"checkpoints-{seed}"
    checkpoints.mkdir()
    model = pretrain.pretrain(model, rows, settings, seed=seed, checkpoints=checkpoints, tell=lambda *_: None).model
    draft = project.folder / "draft"
    model.save_pretrained(draft, safe_serialization=True)
    tokens.save_pretrained(draft)
    (project.folder / "given").mkdir(exist_ok=True)
    for path in sorted(draft.iterdir()):
        shutil.copyfile(path, project.folder / "given" / path.name)


def test_an_engineer_starts_a_run_and_an_auditor_only_reads(team: Team) -> None:
    assert team.call("auditor", "POST", "/dags/align/dagRuns", {"logical_date": None, "conf": {}})[0] == 403
    assert team.call("auditor", "GET", "/dags/align")[0] == 200

    team.align = team.trigger("engineer", "align", {})

    assert team.ended("align", team.align) == "success", team.tasks("align", team.align)


def _by_hand(team: Team, user: str = "engineer") -> str:
    return team.trigger(user, "release", {"pipeline_run": team.align})


def test_marking_the_review_as_done_releases_nothing(team: Team) -> None:
    run = _by_hand(team)
    team.asked(run)

    assert team.mark("reviewer", run, "review") == 200

    assert team.ended("release", run) == "failed"
    team.said(run, "approve", "The answer can't be recorded")
    assert team.champion() == ""


def test_forcing_the_gate_releases_nothing(team: Team) -> None:
    """Every task before `deploy` marked as done by hand: no approval was signed, so there is nothing to deploy on."""
    run = _by_hand(team)
    team.asked(run)
    for task in ("approve", "second_review", "review"):
        assert team.mark("engineer", run, task) == 200

    assert team.ended("release", run) == "failed"
    tasks = team.tasks("release", run)
    assert (tasks["approve"], tasks["deploy"]) == ("success", "failed")
    team.said(run, "deploy", "ArtifactRefused")
    assert team.champion() == ""


def test_the_candidate_asks_for_a_person_by_itself_and_shows_what_it_is(team: Team) -> None:
    runs: list[dict[str, Any]] = []

    def one() -> bool:
        runs[:] = team.call("auditor", "GET", "/dags/release/dagRuns")[1]["dag_runs"]
        return bool(runs)

    _until(one, 60, lambda: "the candidate started no release")
    run = runs[0]["dag_run_id"]
    shown = team.asked(run)

    assert runs[0]["run_type"] == "asset_triggered"
    assert "Verdict:" in shown["body"]
    assert "gaps" in shown["body"]
    assert shown["params"]["pack"]["value"].startswith("sha256:")
    assert shown["params"]["pack"]["value"][7:20] in shown["body"].replace("\\", "")
    body = {"chosen_options": ["Approve"], "params_input": {}}
    assert team.call("auditor", "PATCH", _detail(run, "review"), body)[0] == 403
    assert team.answer("reviewer", run, "Reject", reason="It is beyond good and evil.") == 200
    assert team.ended("release", run) == "failed"
    team.said(run, "approve", "reviewer rejected the candidate")
    assert team.champion() == ""


def test_an_edited_xcom_releases_nothing(team: Team) -> None:
    """An answer written where Airflow keeps answers, in the name of somebody who never gave it."""
    run = _by_hand(team)
    team.asked(run)
    answer = {
        "decision": "approve",
        "by": "reviewer",
        "channel": "airflow",
        "reason": "I have read the pack.",
        "answered_at": "2026-11-20T12:00:00+00:00",
        "shown_pack": "",
        "dag_run": run,
        "task": "review",
    }
    forged = {"answer": json.dumps(answer), "signature": "00" * 64}
    path = f"/dags/release/dagRuns/{run}/taskInstances/review/xcomEntries"
    assert team.call("admin", "POST", path, {"key": "answer", "value": forged, "map_index": -1})[0] in {200, 201}
    assert team.mark("admin", run, "review") == 200

    assert team.ended("release", run) == "failed"
    team.said(run, "approve", "does not carry the seal of the task that asked for it")
    assert team.champion() == ""


def test_who_started_the_run_can_not_approve_it(team: Team) -> None:
    run = _by_hand(team, "admin")
    assert team.answer("engineer", run, "Approve", pack=_pack(team)) == 200

    assert team.ended("release", run) == "failed"
    team.said(run, "approve", "engineer started the run and may not approve it (approve.four_eyes)")
    assert team.champion() == ""


def test_an_approval_of_another_pack_releases_nothing(team: Team) -> None:
    run = _by_hand(team)
    assert team.answer("reviewer", run, "Approve", pack="sha256:" + "0" * 64) == 200

    assert team.ended("release", run) == "failed"
    team.said(run, "approve", "reviewer was shown the pack sha256:000")
    assert team.champion() == ""


def test_another_person_approves_and_the_release_carries_the_record(team: Team) -> None:
    run = _by_hand(team)
    assert team.answer("reviewer", run, "Approve", pack=_pack(team)) == 200

    assert team.ended("release", run) == "success", team.log(run, "deploy")
    assert team.champion() == "1"
    record = json.loads((team.project.folder / "releases" / "policy-v1" / "approval" / "approval.json").read_text())
    assert (record["by"], record["channel"], record["candidate_triggered_by"]) == ("reviewer", "airflow", "engineer")


def _pack(team: Team) -> str:
    from components.lineage import Lineage

    return Lineage(team.mlflow).find_output(team.align, "document", "pack").digest


def test_a_storm_of_changes_of_the_base_model_starts_one_run_that_says_why(team: Team) -> None:
    from components.lineage import Lineage

    before = {run["dag_run_id"] for run in team.call("auditor", "GET", "/dags/align/dagRuns")[1]["dag_runs"]}
    for seed in (2, 3, 4):
        _base_model(team.project, seed=seed)

    def started() -> list[dict[str, Any]]:
        runs = team.call("auditor", "GET", "/dags/align/dagRuns")[1]["dag_runs"]
        return [run for run in runs if run["dag_run_id"] not in before]

    _until(lambda: bool(started()), 120, lambda: "no run started")
    run = started()[0]["dag_run_id"]
    _until(
        lambda: team.tasks("align", run).get("base") in {"success", "failed"},
        RUN_SECONDS,
        lambda: f"{team.tasks('align', run)}",
    )

    assert len(started()) == 1
    lineage = Lineage(team.mlflow)
    pipeline = lineage.pipeline(run)
    assert pipeline.data.tags["plumbline.trigger"] == "asset_triggered"
    evidence = json.loads(lineage.file(lineage.step_run(run, "start"), "evidence.json").read_text())
    (event,) = evidence["external"]["trigger"]["events"]
    assert event["asset"] == "base-model-source"
    assert event["extra"]["payload"]["place"] == f"folder:{team.project.folder}/given"
    bases = lineage.client.search_model_versions("name = 'base-model'")
    assert len(bases) == 2
    rewards = {version.version: version.tags for version in lineage.client.search_model_versions("name = 'reward-model'")}
    assert rewards[min(rewards)]["plumbline.state"] == "stale"
