"""The Docker runtime, with real containers of a real engine in the place of steps."""

from __future__ import annotations

import json
import time

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("docker")]

HOSTILE = 'x\'; touch /tmp/pwned; "$(id)" `id` $(HOME) $HOME {{ 7*7 }} <b>&amp; \n ü'

RUN = """
import json, os, sys, types
from plumbline_airflow import job, runtime_docker

def command(step, run, *, processes=1):
    return ["python3", "-c", os.environ["FAKE_STEP"], step, "--pipeline-run", run]

job.command = command
pushed = {}
ti = types.SimpleNamespace(
    dag_id="align", run_id="r-1", task_id=os.environ.get("STEP", "start"),
    xcom_push=lambda key, value: pushed.update({key: value}),
)
run = types.SimpleNamespace(
    run_id=json.loads(os.environ["RUN_ID"]), conf=json.loads(os.environ["CONF"]), run_type="manual", triggering_user_name="ada",
)
context = {"dag": types.SimpleNamespace(dag_id="align"), "dag_run": run, "params": {"seed": 3}, "ti": ti}
operator = runtime_docker.StepOperator(task_id=ti.task_id, step=ti.task_id)
try:
    operator.execute(context)
    print(json.dumps(["done", "", pushed]))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error), pushed]))
"""


@pytest.fixture
def run(python, engine, tmp_path):
    places = {}
    for name in ("data", "keys/start", "keys/deploy", "releases", "scratch"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        places[name.split("/")[0]] = str(tmp_path / name.split("/")[0])
    variables = engine.variables | {
        "PLUMBLINE_IMAGE_DATA": engine.base,
        "PLUMBLINE_IMAGE_TRAIN": engine.base,
        "PLUMBLINE_DOCKER_VOLUMES": json.dumps(places),
        "PLUMBLINE_DOCKER_USER": "10001",
    }

    def start(fake: str, *, run_id: str = "run-1", conf: dict | None = None, **more: str) -> list:
        given = {"FAKE_STEP": fake, "RUN_ID": json.dumps(run_id), "CONF": json.dumps(conf or {})}
        done = python(RUN, **variables, **given, **more)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return start


@pytest.mark.parametrize(
    ("code", "raised"), [(0, "done"), (65, "AirflowFailException"), (66, "AirflowFailException"), (75, "AirflowException")]
)
def test_exit_codes_mean_what_they_mean_for_a_process(run, code: int, raised: str) -> None:
    kind, text, _ = run(f"import sys; print('DataRefused: no data', file=sys.stderr); sys.exit({code})")

    assert kind == raised
    assert code == 0 or "DataRefused: no data" in text


def test_params_arrive_unchanged_whatever_is_in_them(run, tmp_path) -> None:
    fake = "import os, sys; open('/plumbline/scratch/got', 'w').write(os.environ['PLUMBLINE_PARAMS'] + '\\n' + repr(sys.argv))"

    kind, text, _ = run(fake, run_id=HOSTILE, conf={"base.location": HOSTILE})

    assert (kind, text) == ("done", "")
    params, argv = (tmp_path / "scratch" / "got").read_text().splitlines()
    assert json.loads(params) == {"seed": 3, "base.location": HOSTILE}
    assert repr(HOSTILE) in argv


def test_a_step_has_no_rights_and_no_secret_of_airflow(run, tmp_path) -> None:
    fake = """
import json, os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
found = {"uid": os.getuid(), "caps": status["CapBnd"], "new": status["NoNewPrivs"], "env": dict(os.environ)}
for place in ("/etc/x", "/plumbline/keys/x", "/plumbline/data/x", "/tmp/x", "/plumbline/scratch/x"):
    try:
        open(place, "w").close()
        found[place] = "written"
    except OSError as error:
        found[place] = type(error).__name__
json.dump(found, open("/plumbline/scratch/got", "w"))
"""
    kind, text, _ = run(fake, AIRFLOW__API_AUTH__JWT_SECRET="canary-secret", MLFLOW_TRACKING_PASSWORD="for-mlflow")

    assert (kind, text) == ("done", "")
    got = json.loads((tmp_path / "scratch" / "got").read_text())
    assert got["uid"] == 10001
    assert int(got["caps"], 16) == 0
    assert got["new"].strip() == "1"
    assert "canary-secret" not in got["env"].values()
    assert got["env"]["MLFLOW_TRACKING_PASSWORD"] == "for-mlflow"
    assert got["env"]["PLUMBLINE_IMAGE_DIGEST"].startswith("sha256:")
    assert {place: got[place] for place in got if place.startswith("/")} == {
        "/etc/x": "OSError",
        "/plumbline/keys/x": "OSError",
        "/plumbline/data/x": "OSError",
        "/tmp/x": "written",
        "/plumbline/scratch/x": "written",
    }


def test_lines_for_the_runtime_are_heeded_across_chunks(run) -> None:
    fake = "import sys, time; sys.stdout.write('mlflow-'); sys.stdout.flush(); time.sleep(0.3); print('run 1 abc')"

    _, _, pushed = run(fake)

    assert pushed == {"mlflow_run": "1 abc"}


def test_a_container_that_a_killed_worker_left_behind_is_ended_before_the_next_attempt(run, engine) -> None:
    """After kill -9 of a worker its container goes on; the retry would start a second one beside it."""
    labels = {"plumbline.dag": "align", "plumbline.dag_run": "r-1", "plumbline.step": "start", "plumbline.run": "run-1"}
    words = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
    orphan = engine.docker("run", "-d", "--network=host", *words, engine.base, "sleep", "600").stdout.strip()
    other = engine.docker(
        "run", "-d", "--network=host", "--label", "plumbline.step=ppo", engine.base, "sleep", "600"
    ).stdout.strip()

    kind, _, _ = run("print('hello')")

    running = engine.docker("ps", "-q", "--no-trunc").stdout.split()
    engine.docker("rm", "-f", other)
    assert kind == "done"
    assert orphan not in running
    assert other in running


def test_no_container_is_left_after_success_or_failure(run, engine) -> None:
    before = engine.docker("ps", "-aq").stdout.split()

    run("print('fine')")
    run("raise SystemExit(1)")
    time.sleep(0.5)

    assert engine.docker("ps", "-aq").stdout.split() == before
