"""Fifty rounds of a short pipeline on a running Airflow; in each something is killed with SIGKILL at a random moment.

    make bench NAME=faults
    python -m benchmarks.faults --first 10 --rounds 5 --results FILE      a part; parts add up in the file

ends with {"rounds", "wrong_states", "duplicates", "orphans", "failed_requests_in_switch"}, over all parts in the file.

What `make up DATABASE=postgresql` starts is started once a part: Airflow's API server, scheduler, triggerer and DAG
processor, MLflow's server, PostgreSQL; beside it a gateway with a model server that somebody asks all the time. A round is a
run of the DAG `short` (`start`, `validate`, `base`, `sft` by the product's own operators) with a seed of its own, so that
nothing is reused. Its dice choose the victim, a step, and how long after that step began the victim is killed. `make up` starts
again what it lost, Airflow tries steps again. A run that failed all the same must be resumable: its failed tasks are cleared,
once. Then:

    wrong_states   rounds that did not end finished, or with a step that is not signed or is finished twice, a version that is
                   missing or whose run is not finished, a task that Airflow thinks at work, a gateway that does not answer
    duplicates     registered versions beyond one for each round and model
    orphans        MLflow runs of steps that still say RUNNING
    failed_requests_in_switch   of eight clients, while the gateway switches ten times and its model server is killed twice,
                   and of the one client during all rounds

Two settings are not the product's: Airflow counts a task without heartbeat as dead after 120 s instead of 300, and looks for
orphans every 60 s instead of 300; a round with a killed worker would last three minutes longer.
What it does not cover: a machine that dies, and the runtimes of containers and pods.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.running import ENDED, ROOT, Platform, environment, started, until
from benchmarks.switches import Served, served, switches

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = int(os.environ.get("ROUNDS", "50"))
STEPS = ("start", "validate", "base", "sft")
MODELS = ("base-model", "sft-policy")
VICTIMS = {
    "scheduler": "scheduler",
    "triggerer": "triggerer",
    "api-server": "api",
    "dag-processor": "dag",
    "mlflow": "mlflow",
    "postgres": "postgres",
    "worker": "",
    "step": "",
    "model server": "",
}
"""Victim → word in the command of its process, where it is one that `make up` started."""
AFTER_SECONDS = 4.0
RECOVERY_SECONDS = 420
CONFIG = """
[base]
vocabulary = 600
hidden = 16
layers = 1
heads = 1
max_updates = 8

[sft]
max_updates = 2
"""
DAG = """
from airflow.sdk import DAG

from plumbline_airflow.form import trigger_form
from plumbline_airflow.steps import step

with DAG("short", schedule=None, catchup=False, max_active_runs=4, params=trigger_form()) as dag:
    step("start") >> step("validate") >> step("base") >> step("sft")
"""
SHORTENED = {
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "60",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "120",
}


def main() -> None:
    """Run some rounds, add their results to the file, and print the figures of all that are in it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=0, help="number, and so seed, of the first round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--results", type=Path, help="JSON lines, one a round; added to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        place = Path(folder)
        results = options.results or place / "results.jsonl"
        with _stage(place) as (platform, gateway):
            for number in range(options.first, options.first + options.rounds):
                _keep(results, _round(platform, gateway, number))
        known = _read(results)
        if not any("requests" in line for line in known):
            _keep(results, switches(place / "switches"))
    print(json.dumps(_figures(_read(results))))


@contextmanager
def _stage(place: Path) -> Iterator[tuple[Platform, Served]]:
    """Everything that is at work during the rounds."""
    from components.testbed.folder import write_world

    place.chmod(0o755)
    project = place / "project"
    (project / "dags").mkdir(parents=True)
    (project / "infra").symlink_to(ROOT / "infra")
    (project / "dags" / "short.py").write_text(DAG)
    (project / "faults.toml").write_text(CONFIG)
    write_world(project / "data", seed=0, size="small")
    _pin(project)
    variables = environment(project) | SHORTENED | {"PLUMBLINE_WARM": str(place / "warm.sock")}
    with ExitStack() as stack:
        _warm(stack, place, variables)
        platform = stack.enter_context(started(project, variables, config="faults.toml", dag="short"))
        platform.patience_seconds = 180.0
        yield platform, stack.enter_context(served(place / "serving", clients=1, pause_seconds=0.2))


def _pin(project: Path) -> None:
    import yaml

    from components.datapin import folder_md5

    out = {"md5": folder_md5(project / "data"), "hash": "md5", "path": "data"}
    (project / "data.dvc").write_text(yaml.safe_dump({"outs": [out]}))


def _warm(stack: ExitStack, place: Path, variables: dict[str, str]) -> None:
    """The server that steps are forked from: imports are not what is tested here."""
    command = [sys.executable, "-m", "components.warmstart", "--serve", variables["PLUMBLINE_WARM"]]
    with (place / "warm.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.terminate)


def _round(platform: Platform, gateway: Served, number: int) -> dict[str, Any]:
    """One run with one kill; what came of it."""
    dice = random.Random(number)
    victim, step, after = dice.choice(list(VICTIMS)), dice.choice(STEPS), dice.uniform(0.0, AFTER_SECONDS)
    began, failed = time.monotonic(), gateway.failed
    run = platform.trigger("engineer", "short", {"seed": number}, f"round-{number}")
    until(lambda: platform.tasks("short", run).get(step) in {"running", *ENDED}, RECOVERY_SECONDS, lambda: f"no {step}")
    time.sleep(after)
    killed = _kill(platform, gateway, victim)
    first, state = _recovered(platform, run)
    found = _looked_at(platform, run, state)
    if victim == "model server" and gateway.statuses[-1] != 200:
        found["wrong"].append("the gateway does not answer")
    told = {"round": number, "victim": victim if killed else "nobody", "step": step, "after_s": round(after, 2)}
    ends = {"first": first, "state": state, "seconds": round(time.monotonic() - began, 1)}
    return told | ends | found | {"failed_requests": gateway.failed - failed}


def _kill(platform: Platform, gateway: Served, victim: str) -> bool:
    """SIGKILL to the victim; whether there was one."""
    if victim == "model server":
        gateway.kill()
        return True
    found = _victims(platform, victim)
    for process in found:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    return bool(found)


def _victims(platform: Platform, victim: str) -> list[psutil.Process]:
    """The processes to kill: a service with its own, but the scheduler without its workers, which are victims of their own."""
    if victim == "step":
        server = [child for child in psutil.Process().children() if "components.warmstart" in child.cmdline()]
        return [step for warm in server for step in warm.children()]
    word = VICTIMS[victim] or "scheduler"
    services = psutil.Process(platform.process.pid).children()
    leaders = [process for process in services if word in " ".join(process.cmdline()).removeprefix(sys.executable)]
    if victim == "scheduler":
        return leaders
    below = [child for leader in leaders for child in leader.children(recursive=victim != "worker")]
    return [child for child in below if child.children()] if victim == "worker" else leaders + below


def _recovered(platform: Platform, run: str) -> tuple[str, str]:
    """How the run ended by itself, and how after its failed tasks were cleared, where it failed."""
    try:
        first = platform.ended("short", run, RECOVERY_SECONDS)
    except AssertionError as error:
        return f"stuck: {error}", "stuck"
    if first == "success":
        return first, first
    body = {"dag_run_id": run, "only_failed": True, "dry_run": False, "reset_dag_runs": True}
    code, said = platform.call("engineer", "POST", "/dags/short/clearTaskInstances", body)
    assert code == 200, said
    try:
        return first, platform.ended("short", run, RECOVERY_SECONDS)
    except AssertionError as error:
        return first, f"stuck: {error}"


def _looked_at(platform: Platform, run: str, state: str) -> dict[str, Any]:
    """What Airflow and MLflow hold of a round: what is wrong, superfluous versions, runs left at RUNNING."""
    from components.lineage import Lineage

    lineage = Lineage(platform.mlflow)
    wrong = [] if state == "success" else [f"the run ended {state}"]
    wrong += [f"{task} is {now}" for task, now in platform.tasks("short", run).items() if now != "success"]
    query = f"tags.`plumbline.pipeline_run` = '{run}'"
    runs = [each for each in lineage.client.search_runs([lineage.experiment], query) if "plumbline.step" in each.data.tags]
    wrong += [problem for step in STEPS for problem in _unproven(lineage, platform, run, step, runs)]
    by_id = {each.info.run_id: each for each in runs}
    duplicates = 0
    for model in MODELS:
        versions = [each for each in lineage.client.search_model_versions(f"name = '{model}'") if each.run_id in by_id]
        wrong += [] if versions else [f"no version of {model}"]
        wrong += [f"{model} {each.version} unfinished" for each in versions if by_id[each.run_id].info.status != "FINISHED"]
        duplicates += max(0, len(versions) - 1)
    orphans = [each.data.tags["plumbline.step"] for each in runs if each.info.status == "RUNNING"]
    return {"wrong": wrong, "duplicates": duplicates, "orphans": orphans}


def _unproven(lineage: Any, platform: Platform, run: str, step: str, runs: list[Any]) -> list[str]:
    """What speaks against a step of a round: it is not finished once, its record not signed, or its outputs not the signed."""
    from components import history, trust
    from components.errors import PlumblineError

    keys = platform.folder / ".plumbline" / "keys"
    finished = [each for each in runs if each.data.tags["plumbline.step"] == step and each.info.status == "FINISHED"]
    if len(finished) != 1:
        return [f"{step} is finished {len(finished)} times"]
    try:
        trust.signed_evidence(lineage, run, step, keys)
        folders = {name: history.checked(lineage, item) for name, item in lineage.outputs(finished[0]).items()}
        trust.signed_products(lineage, run, step, keys, artifacts=folders)
    except PlumblineError as error:
        return [str(error)]
    return []


def _keep(results: Path, line: dict[str, Any]) -> None:
    print(json.dumps(line), file=sys.stderr, flush=True)
    with results.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _read(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()]


def _figures(lines: list[dict[str, Any]]) -> dict[str, int]:
    """The figures of all rounds in a file; of a round that was run twice, the last."""
    rounds = list({line["round"]: line for line in lines if "round" in line}.values())
    counts: dict[str, int] = {}
    for line in rounds:
        counts[line["victim"]] = counts.get(line["victim"], 0) + 1
    print(f"killed: {counts}; resumed by hand: {sum(line['first'] != 'success' for line in rounds)}", file=sys.stderr)
    return {
        "rounds": len(rounds),
        "wrong_states": sum(bool(line["wrong"]) for line in rounds),
        "duplicates": sum(line["duplicates"] for line in rounds),
        "orphans": sum(len(line["orphans"]) for line in rounds),
        "failed_requests_in_switch": sum(line.get("failed", line.get("failed_requests", 0)) for line in lines),
    }


if __name__ == "__main__":
    main()
