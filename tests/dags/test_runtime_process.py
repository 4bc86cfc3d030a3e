"""The process runtime, with real processes in the place of steps."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.xdist_group("airflow")

HOSTILE = 'x\'; touch /tmp/pwned; "$(id)" `id` {{ 7*7 }} <b>&amp; \n'

RUN = """
import json, os, sys, types
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from plumbline_airflow import job, runtime_process

def argv(step, run):
    return [sys.executable, "-c", os.environ["FAKE_STEP"], step, "--pipeline-run", run]

job.argv = argv
pushed = {}
context = {
    "dag": types.SimpleNamespace(dag_id="align"),
    "dag_run": types.SimpleNamespace(
        run_id=json.loads(os.environ["RUN_ID"]),
        conf=json.loads(os.environ["CONF"]),
        run_type="manual",
        triggering_user_name="ada",
    ),
    "params": {"seed": 3, "base.location": None},
    "ti": types.SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value})),
}
operator = runtime_process.StepOperator(task_id="start", step="start")
try:
    operator.execute(context)
    print(json.dumps(["done", "", pushed]))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error), pushed]))
"""


def _run(python, fake: str, *, run_id: str = "run-1", conf: dict | None = None, **variables: str) -> list:
    done = python(RUN, FAKE_STEP=fake, RUN_ID=json.dumps(run_id), CONF=json.dumps(conf or {}), **variables)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        (0, "done"),
        (65, "AirflowFailException"),
        (66, "AirflowFailException"),
        (75, "AirflowException"),
        (1, "AirflowException"),
    ],
)
def test_refused_input_and_failed_gates_are_not_retried_and_the_rest_is(python, code: int, raised: str) -> None:
    kind, text, _ = _run(python, f"import sys; print('DataRefused: no data', file=sys.stderr); sys.exit({code})")

    assert kind == raised
    assert code == 0 or "DataRefused: no data" in text


def test_params_arrive_unchanged_whatever_is_in_them(python, tmp_path) -> None:
    fake = (
        f"import os, sys; open({str(tmp_path / 'got')!r}, 'w').write(os.environ['PLUMBLINE_PARAMS'] + '\\n' + repr(sys.argv))"
    )

    _run(python, fake, run_id=HOSTILE, conf={"base.location": HOSTILE})

    params, argv = (tmp_path / "got").read_text().splitlines()
    assert json.loads(params) == {"seed": 3, "base.location": HOSTILE}
    assert repr(HOSTILE) in argv


def test_airflows_secrets_do_not_reach_a_step(python, tmp_path) -> None:
    fake = f"import os, json; json.dump(dict(os.environ), open({str(tmp_path / 'got')!r}, 'w'))"

    _run(python, fake, AIRFLOW__API_AUTH__JWT_SECRET="canary-secret", PLUMBLINE_SCRATCH="/somewhere")

    got = json.loads((tmp_path / "got").read_text())
    assert "canary-secret" not in got.values()
    assert not [name for name in got if name.startswith("AIRFLOW")]
    assert got["PLUMBLINE_SCRATCH"] == "/somewhere"
    assert json.loads(got["PLUMBLINE_TRIGGER"])["by"] == "ada"


def test_the_mlflow_run_is_kept_for_the_link(python) -> None:
    _, _, pushed = _run(python, "print('mlflow-run 1 abc')")

    assert pushed == {"mlflow_run": "1 abc"}
