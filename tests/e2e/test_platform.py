"""The pipeline as a team runs it: Airflow and MLflow on PostgreSQL, three roles, a person who decides, a base that changes.

One Airflow for all tests of this file; they run in the order in which they stand.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from benchmarks import running
from benchmarks.running import ENDED, RUN_SECONDS, Platform, question, until

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
AWAY_SECONDS = 50
"""Airflow's own settings end every step of a laptop after 33 to 39 seconds without an API server."""
REVIEW_HOURS = 0.05
"""Three minutes, in which every test here answers; one run waits for nobody."""
CANARIES = {
    name: f"canary-{number}-{name[::-1].lower()}-canary"
    for number, name in enumerate(
        (
            *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN", "PLUMBLINE_IDENTITY_KEY"),
            *("AWS_SECRET_ACCESS_KEY", "PLUMBLINE_API_KEYS", "AIRFLOW__SMTP__SMTP_PASSWORD", "SIGNING_KEY_PASSPHRASE"),
        )
    )
}
"""Variables that hold a secret somewhere, each with a text that nothing else contains."""


@dataclass(kw_only=True)
class Team(Platform):
    """A running Airflow, its users, and what they did so far."""

    project: Project | None = None
    align: str = ""
    unanswered: str = ""
    storm: str = ""

    def mark(self, user: str, run: str, task: str) -> int:
        return self.call(user, "PATCH", f"/dags/release/dagRuns/{run}/taskInstances/{task}", {"new_state": "success"})[0]

    def said(self, run: str, task: str, text: str) -> None:
        """See that a task's log says this."""
        log = self.log("release", run, task)
        assert text in log, log[-4000:]

    def champion(self) -> str:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            return str(MlflowClient(tracking_uri=self.mlflow).get_model_version_by_alias("policy", "champion").version)
        except MlflowException:
            return ""


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
    if not running.POSTGRESQL:
        pytest.skip("PostgreSQL's server is not on this machine (Debian: postgresql)")
    project = made_project(tmp_path_factory.mktemp("team"))
    _base_model(project, seed=1)
    small = (project.folder / "small.toml").read_text().replace("four_eyes = false", "four_eyes = true")
    head, _, tail = small.partition("[base]")
    (project.folder / "small.toml").write_text(head + SETTINGS + "\n[sft]" + tail.partition("[sft]")[2])
    project.variables = CANARIES | {
        "PLUMBLINE_REVIEW_HOURS": str(REVIEW_HOURS),
        "PLUMBLINE_WATCH_BASE": f"folder:{project.folder}/given",
        "PLUMBLINE_WATCH_SECONDS": "1",
    }
    with running.started(project.folder, project.environment, config="small.toml") as made:
        yield Team(**vars(made), project=project)


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

    with _away(team, "api", after=lambda: team.tasks("align", team.align)["validate"] == "running"):
        until(lambda: _finished(team, "validate"), AWAY_SECONDS, lambda: "validate did not end while the API server was away")
    assert team.ended("align", team.align) == "success", team.tasks("align", team.align)
    assert set(_attempts(team, team.align).values()) == {1}, "no step was ended or lost for the API server's sake"


@contextmanager
def _away(team: Team, word: str, *, after: Callable[[], bool]) -> Iterator[None]:
    """A service neither answers nor ends for a while, counted from `after`."""
    until(after, RUN_SECONDS, lambda: f"{team.tasks('align', team.align)}")
    (service,) = [each for each in psutil.Process(team.process.pid).children() if word in " ".join(each.cmdline())]
    family = [service, *service.children(recursive=True)]
    for each in family:
        each.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        yield
        time.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - stopped)))
    finally:
        for each in family:
            each.send_signal(signal.SIGCONT)


def _finished(team: Team, step: str) -> bool:
    from components.lineage import Lineage

    return Lineage(team.mlflow).step_run(team.align, step) is not None


def _attempts(team: Team, run: str) -> dict[str, int]:
    found = team.call("auditor", "GET", f"/dags/align/dagRuns/{run}/taskInstances")[1]["task_instances"]
    return {task["task_id"]: task["try_number"] for task in found}


def test_each_role_may_do_what_the_table_in_security_says(team: Team) -> None:
    pool = {"name": "spare", "slots": 1}
    task = f"/dags/align/dagRuns/{team.align}/taskInstances/start"

    made = {user: team.call(user, "POST", "/pools", pool | {"name": user})[0] for user in ("auditor", "reviewer", "engineer")}
    marked = {user: team.call(user, "PATCH", task, {"new_state": "success"})[0] for user in ("auditor", "reviewer")}

    assert made == {"auditor": 403, "reviewer": 403, "engineer": 201}
    assert marked["auditor"] == 403
    assert marked["reviewer"] in {200, 409}, "409: it is in that state already"
    assert running.request("GET", f"{team.address}/api/v2/dags", None, {})[0] == 401


def _by_hand(team: Team, user: str = "engineer") -> str:
    return team.trigger(user, "release", {"pipeline_run": team.align})


def test_marking_the_review_as_done_releases_nothing(team: Team) -> None:
    team.unanswered = _by_hand(team)
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

    until(one, 60, lambda: "the candidate started no release")
    run = runs[0]["dag_run_id"]
    shown = team.asked(run)

    assert runs[0]["run_type"] == "asset_triggered"
    assert "Verdict:" in shown["body"]
    assert "gaps" in shown["body"]
    assert shown["params"]["pack"]["value"].startswith("sha256:")
    assert shown["params"]["pack"]["value"][7:20] in shown["body"].replace("\\", "")
    body = {"chosen_options": ["Approve"], "params_input": {}}
    assert team.call("auditor", "PATCH", question(run, "review"), body)[0] == 403
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

    assert team.ended("release", run) == "success", team.log("release", run, "deploy")
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

    until(lambda: bool(started()), 120, lambda: "no run started")
    run = started()[0]["dag_run_id"]
    until(
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
    team.storm = run


def test_changes_during_a_run_wait_for_its_end_and_start_one_more(team: Team) -> None:
    """Two more base models come while the run of the test above is at work. The next run takes the newest; as its cause Airflow
    names the change that came first.
    """
    from components.lineage import Lineage

    known = len(_events(team))
    for more, seed in ((1, 5), (2, 6)):
        _base_model(team.project, seed=seed)
        until(lambda more=more: len(_events(team)) >= known + more, 60, lambda: "the watcher saw nothing")
    assert _working(team) == {team.storm}

    _end(team, team.storm)  # its candidate would come between the tests below
    until(lambda: _working(team) - {team.storm}, 90, lambda: "no run follows")
    (after,) = _working(team) - {team.storm}
    until(lambda: team.tasks("align", after).get("base") in ENDED, RUN_SECONDS, lambda: f"{team.tasks('align', after)}")

    lineage = Lineage(team.mlflow)
    taken = lineage.fetch(lineage.find_output(after, "base", "base_model")) / "model.safetensors"
    assert taken.read_bytes() == (team.project.folder / "given" / "model.safetensors").read_bytes()
    _end(team, after)
    time.sleep(10)
    assert not _working(team), "one more, not two"
    assert _told(team) == sorted(set(_told(team))) == _events(team)[: len(_told(team))], "no change starts two runs"


def _aligned(team: Team) -> dict[str, str]:
    """The runs of `align`, with their states."""
    runs = team.call("auditor", "GET", "/dags/align/dagRuns?limit=100")[1]["dag_runs"]
    return {run["dag_run_id"]: run["state"] for run in runs}


def _working(team: Team) -> set[str]:
    return {run for run, state in _aligned(team).items() if state == "running"}


def _end(team: Team, run: str) -> None:
    """Fail what is at work in a run.

    Failing the run would hide its end from Airflow's scheduler, which then starts no other; and failing a task whose turn
    hasn't come clears those after it, which queues a run anew that has ended meanwhile.
    """

    def ended() -> bool:
        for task, state in team.tasks("align", run).items():
            if state in {"scheduled", "queued", "running", "deferred", "up_for_retry"}:
                path = f"/dags/align/dagRuns/{run}/taskInstances/{task}"
                code, said = team.call("engineer", "PATCH", path, {"new_state": "failed"})
                assert code == 200, said
        return team.state("align", run) in ENDED

    until(ended, 120, lambda: f"{team.state('align', run)}: {team.tasks('align', run)}")
    assert team.state("align", run) == "failed"


def _events(team: Team) -> list[int]:
    """The changes of the base model that the watcher announced."""
    (asset,) = [each for each in team.call("admin", "GET", "/assets")[1]["assets"] if each["name"] == "base-model-source"]
    found = team.call("admin", "GET", f"/assets/events?asset_id={asset['id']}&limit=100")[1]["asset_events"]
    return sorted(event["id"] for event in found)


def _told(team: Team) -> list[int]:
    """The changes that started a run of `align`, as often as they did."""
    paths = [f"/dags/align/dagRuns/{run}/upstreamAssetEvents" for run in _aligned(team)]
    return sorted(event["id"] for path in paths for event in team.call("auditor", "GET", path)[1]["asset_events"])


def test_nobody_answers_and_the_candidate_is_rejected(team: Team) -> None:
    """Airflow looks every fifteen seconds whose time is over."""
    assert team.ended("release", team.unanswered) == "failed"
    team.said(team.unanswered, "approve", "nobody rejected the candidate")
    assert team.champion() == "1", "the one that a person approved"


def test_candidates_announced_while_nobody_listened_are_not_mixed_up(team: Team) -> None:
    """Events that come while a DAG is paused start nothing; the next one starts one run, and it asks about the newest."""

    def runs() -> set[str]:
        return {run["dag_run_id"] for run in team.call("auditor", "GET", "/dags/release/dagRuns?limit=100")[1]["dag_runs"]}

    (asset,) = [each for each in team.call("admin", "GET", "/assets")[1]["assets"] if each["name"] == "candidate"]

    def announce(name: str) -> None:
        body = {"asset_id": asset["id"], "extra": {"pipeline_run": name}}
        assert team.call("engineer", "POST", "/assets/events", body)[0] == 200

    before = runs()
    assert team.call("admin", "PATCH", "/dags/release", {"is_paused": True})[0] == 200
    announce("first")
    announce("second")
    assert team.call("admin", "PATCH", "/dags/release", {"is_paused": False})[0] == 200
    time.sleep(5)
    assert runs() == before

    announce(team.align)

    until(lambda: runs() != before, 60, lambda: "the event started no run")
    (run,) = runs() - before
    events = team.call("auditor", "GET", f"/dags/release/dagRuns/{run}/upstreamAssetEvents")[1]["asset_events"]
    assert sorted(event["extra"]["pipeline_run"] for event in events) == sorted(["first", "second", team.align])
    assert team.align.replace("_", "\\_") in team.asked(run)["subject"].replace("_", "\\_")
    assert team.answer("reviewer", run, "Reject") == 200


def test_no_secret_lies_anywhere_after_all_this(team: Team) -> None:
    """Logs, databases, rendered templates, XCom, MLflow, documents, data and command lines, after whole runs and a release.

    What `make up` prints on the terminal holds the passwords: it is where people read them.
    """
    state = team.folder / ".plumbline"
    secrets = dict(CANARIES)
    secrets |= {path.name: path.read_text() for path in (state / "secrets").iterdir() if path.suffix != ".json"}
    secrets |= {f"password of {user}": password for user, password in team.passwords.items()}
    secrets |= {path.name: path.read_text().splitlines()[1] for path in (state / "keys").glob("*.pem")}
    assert len(secrets) > 20

    found = [
        f"{name} in {where}"
        for where, text in _everything(team, but=(state / "secrets", state / "keys", team.folder / "said.txt"))
        for name, secret in secrets.items()
        if secret.encode() in text
    ]

    assert found == []


def _everything(team: Team, *, but: tuple[Path, ...]) -> Iterator[tuple[str, bytes]]:
    """All that the team's runs left: files, both databases, what any user sees of processes."""
    for path in sorted(team.folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and not any(path.is_relative_to(place) for place in but):
            yield str(path.relative_to(team.folder)), path.read_bytes()
    commands = list(_command_lines(psutil.Process(team.process.pid)))
    yield "command lines", "\n".join(" ".join(command) for command in commands).encode()
    (server,) = [command for command in commands if "-D" in command]
    port = server[server.index("-p") + 1]
    password = (team.folder / ".plumbline" / "secrets" / "postgres").read_text()
    for database in ("airflow", "mlflow"):
        dump = [str(Path(server[0]).with_name("pg_dump")), "-h", "127.0.0.1", "-p", port, "-U", "plumbline", database]
        done = subprocess.run(dump, env=os.environ | {"PGPASSWORD": password}, capture_output=True, check=True)
        assert len(done.stdout) > 50_000
        yield f"the database {database}", done.stdout


def _command_lines(process: psutil.Process) -> Iterator[list[str]]:
    """Of all descendants; one that has just ended has none any more."""
    for each in process.children(recursive=True):
        try:
            yield each.cmdline()
        except psutil.NoSuchProcess:
            continue
