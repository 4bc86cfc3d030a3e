"""The DAGs, as Airflow sees them, in a fresh interpreter."""

from __future__ import annotations

import json

import pytest

from components.catalog import ALIGN, RELEASE, STEPS, upstream

LOAD = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag()
assert not bag.import_errors, bag.import_errors
"""

pytestmark = pytest.mark.xdist_group("airflow")


def _last(done) -> object:
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_parsing_the_dags_imports_nothing_heavy(python) -> None:
    heavy = "['torch', 'mlflow', 'transformers', 'peft', 'great_expectations', 'pandas', 'docker', 'kubernetes']"

    found = _last(python(LOAD + f"print(json.dumps([name for name in {heavy} if name in sys.modules]))"))

    assert found == []


def test_tasks_are_the_steps_of_the_catalog(python) -> None:
    found = _last(python(LOAD + "print(json.dumps({name: sorted(dag.task_ids) for name, dag in bag.dags.items()}))"))

    assert found == {
        "align": sorted(step.name for step in ALIGN),
        "release": sorted(["review", "second_review", *(step.name for step in RELEASE)]),
    }


def test_every_read_has_its_writer_upstream(python) -> None:
    """The arrows agree with the catalog: what `release` reads was written by `align`, which its asset waits for."""
    program = """
tasks = [task for dag in bag.dags.values() for task in dag.tasks]
print(json.dumps({task.task_id: sorted(task.get_flat_relative_ids(upstream=True)) for task in tasks}))
"""
    above = _last(python(LOAD + program))

    earlier = {step.name for step in ALIGN}
    for step in STEPS.values():
        there = set(above[step.name]) | (earlier if step in RELEASE else set())
        assert upstream(step.name) <= there, step.name


def test_a_candidate_starts_a_release_and_a_waiting_one_blocks_nobody(python) -> None:
    program = """
from plumbline_airflow.assets import CANDIDATE
release, align = bag.dags["release"], bag.dags["align"]
print(json.dumps([
    [asset.name for asset in align.task_dict["document"].outlets],
    "candidate" in repr(release.timetable.asset_condition),
    release.max_active_runs,
]))
"""
    assert _last(python(LOAD + program)) == [["candidate"], True, 16]


def test_steps_that_train_share_the_gpu_pool_and_all_retry_with_backoff(python) -> None:
    program = """
tasks = bag.dags["align"].tasks
shown = lambda t: [t.pool, t.retries, t.retry_exponential_backoff != 0, t.execution_timeout.total_seconds()]
print(json.dumps({task.task_id: shown(task) for task in tasks}))
"""
    found = _last(python(LOAD + program))

    assert found["ppo"] == ["gpu", 2, True, 72 * 3600]
    assert found["validate"] == ["default_pool", 2, True, 3600]


def test_the_form_refuses_a_bad_value_with_the_fields_name(python) -> None:
    program = """
from airflow.sdk.definitions.param import ParamsDict
params = bag.dags["align"].params
params["ppo.kl_coef"] = -1
"""
    done = python(LOAD + program)

    assert done.returncode != 0
    assert "ppo.kl_coef" in done.stderr
    assert "-1" in done.stderr


def test_the_form_has_every_setting_with_its_text(python) -> None:
    program = """
params = bag.dags["align"].params
print(json.dumps({name: params.get_param(name).description for name in params}))
"""
    from components import config

    assert _last(python(LOAD + program)) == {setting.name: setting.description for setting in config.settings()}


def test_an_unknown_runtime_is_refused(python) -> None:
    done = python("import airflow; from plumbline_airflow.steps import step; step('ppo')", PLUMBLINE_RUNTIME="abacus")

    assert "PLUMBLINE_RUNTIME is 'abacus'; it must be one of process, docker, kubernetes." in done.stderr
