"""The step contract, on a toy pipeline with a real MLflow."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from components import evidence
from components.lineage import Lineage
from components.provenance import folder_digest

if TYPE_CHECKING:
    from conftest import Toys


def test_a_finished_step_leaves_output_evidence_and_a_signed_link(toys: Toys) -> None:
    assert toys.run_all() == [0, 0, 0]

    lineage = toys.lineage
    run = lineage.step_run("run-1", "brew")
    tea = lineage.outputs(run)["tea"]
    record = evidence.read(lineage.file(run, "evidence.json"))
    assert (lineage.fetch(tea) / "tea.txt").read_text() == "3.0 minutes of green on dark\n"
    assert record.measurements["strength"] == {"value": 1.5, "unit": "fraction", "n": 3, "low": 0.25, "high": 2.75}
    assert record.settings == {"minutes": 3.0}
    assert record.facts == {"cup": "white"}
    assert record.gaps == {"taste": "nobody drank it"}
    assert record.inputs["leaf"].step == "grow"
    assert record.outputs["tea"].digest == tea.digest
    assert record.environment["key"] == "locally generated"
    link = json.loads(lineage.file(run, "brew.link").read_text())
    assert link["payloadType"] == "application/vnd.in-toto+json"
    assert len(link["signatures"]) == 1


def test_mlflow_draws_the_lineage_from_datasets_and_models(toys: Toys) -> None:
    toys.run_all()

    run = toys.lineage.step_run("run-1", "brew")
    assert [item.dataset.name for item in run.inputs.dataset_inputs] == ["leaf"]
    assert len(run.outputs.model_outputs) == 1
    assert run.data.metrics["heat"] == 80.25
    assert run.data.params == {"minutes": "3.0"}
    assert run.data.metrics["seconds_work"] > 0


def test_the_pipeline_run_knows_its_trigger_and_ends_finished(toys: Toys) -> None:
    toys.run_all()

    pipeline = toys.lineage.pipeline("run-1")
    assert pipeline.data.tags["plumbline.triggered_by"] == "ada"
    assert pipeline.info.status == "FINISHED"


def test_an_unchanged_second_run_works_on_nothing_but_start(toys: Toys, capfd: pytest.CaptureFixture[str]) -> None:
    toys.run_all("run-1")
    toys.worked.clear()

    assert toys.run_all("run-2") == [0, 0, 0]

    assert toys.worked == ["start"]
    assert "reused brew" in capfd.readouterr().out
    assert toys.lineage.step_run("run-2", "brew").info.run_id == toys.lineage.step_run("run-1", "brew").info.run_id


def test_fresh_works_again(toys: Toys) -> None:
    toys.run_all()
    toys.worked.clear()

    assert toys.run("grow", fresh=True) == 0

    assert toys.worked == ["grow"]


def test_a_changed_setting_works_again_only_where_it_counts(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    toys.run_all("run-1")
    toys.worked.clear()
    monkeypatch.setenv("PLUMBLINE_PARAMS", json.dumps({"brew.minutes": 4.5}))

    toys.run_all("run-2")

    assert toys.worked == ["start", "brew"]
    assert len(toys.lineage.client.search_model_versions("name = 'policy'")) == 2


def test_a_failed_step_publishes_nothing_and_the_next_is_refused(toys: Toys, capfd: pytest.CaptureFixture[str]) -> None:
    def spill(_: object) -> None:
        message = "spilled"
        raise RuntimeError(message)

    toys.run("start")
    toys.run("grow")
    toys.before_brewing = spill

    assert toys.run("brew") == 1

    lineage = toys.lineage
    assert "spilled" in capfd.readouterr().err
    assert lineage.step_run("run-1", "brew") is None
    assert lineage.client.search_model_versions("name = 'policy'") == []
    assert lineage.pipeline("run-1").info.status == "FAILED"


def test_an_input_that_was_not_logged_is_refused(toys: Toys, capfd: pytest.CaptureFixture[str]) -> None:
    toys.run("start")

    assert toys.run("brew") == 65

    assert capfd.readouterr().err == (
        "ArtifactRefused: leaf is not there: `grow` has not finished in the pipeline run 'run-1'. "
        "Run `grow` first; an input that was not logged can't be used.\n"
    )


def test_an_edited_artifact_is_refused_with_both_digests(toys: Toys, capfd: pytest.CaptureFixture[str]) -> None:
    toys.run("start")
    toys.run("grow")
    lineage = toys.lineage
    leaf = lineage.find_output("run-1", "grow", "leaf")
    (lineage.fetch(leaf) / "leaf.txt").write_text("blue")

    assert toys.run("brew") == 65

    assert capfd.readouterr().err == (
        f"ArtifactRefused: leaf has digest {folder_digest(lineage.fetch(leaf))}, its writer `grow` recorded {leaf.digest}. "
        "Run `grow` again with --fresh; never edit a published artifact.\n"
    )


def test_a_reused_artifact_that_was_edited_is_made_again(toys: Toys) -> None:
    toys.run_all("run-1")
    lineage = toys.lineage
    tea = lineage.find_output("run-1", "brew", "tea")
    (lineage.fetch(tea) / "tea.txt").write_text("poison")
    toys.worked.clear()

    assert toys.run_all("run-2") == [0, 0, 0]

    assert toys.worked == ["start", "brew"]
    again = lineage.find_output("run-2", "brew", "tea")
    assert (lineage.fetch(again) / "tea.txt").read_text() == "3.0 minutes of green on dark\n"


@pytest.mark.parametrize(
    "moment",
    ["log_inputs", "log_settings", "publish", "log_files", "log_numbers", "finish", "register", "version", "move"],
)
def test_killed_at_any_moment_of_publishing_a_rerun_makes_exactly_one_version(toys: Toys, moment: str) -> None:
    """The attempt kills itself with SIGKILL on entering `Lineage.<moment>`; then the step is run again."""
    toys.run("start")
    toys.run("grow")

    code = _in_a_process(_killed, toys, moment)

    assert code == -signal.SIGKILL
    assert toys.run("brew") == 0
    lineage = toys.lineage
    versions = lineage.client.search_model_versions("name = 'policy'")
    running = lineage.client.search_runs([lineage.experiment], "attributes.status = 'RUNNING'")
    models = lineage.client.search_logged_models([lineage.experiment])
    assert len(versions) == 1
    assert lineage.client.get_model_version_by_alias("policy", "candidate").version == versions[0].version
    assert [run.data.tags["plumbline.step"] for run in running if "plumbline.step" in run.data.tags] == []
    assert [model.model_id for model in models] == [versions[0].source.removeprefix("models:/")]


def test_killed_while_working_the_next_attempt_finds_its_checkpoint(toys: Toys) -> None:
    toys.run("start")
    toys.run("grow")
    seen = []

    code = _in_a_process(_killed_at_work, toys, "")
    toys.before_brewing = lambda context: seen.append((context.checkpoints / "half").read_text())
    again = toys.run("brew")

    assert (code, again, seen) == (-signal.SIGKILL, 0, ["half a cup"])
    assert evidence.read(toys.lineage.file(toys.lineage.step_run("run-1", "brew"), "evidence.json")).attempt == 2


def test_two_attempts_at_once_are_refused(toys: Toys, capfd: pytest.CaptureFixture[str]) -> None:
    toys.run("start")
    toys.run("grow")
    codes = []
    toys.before_brewing = lambda _: codes.append(_in_a_process(_second, toys, "")) if not codes else None

    assert toys.run("brew") == 0

    assert codes == [75]
    assert "`brew` is already running with the same inputs and settings." in capfd.readouterr().err


def test_killed_before_its_config_was_logged_start_logs_it_again(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline run without its config would refuse every step after `start`, for ever."""

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(MlflowClient, "log_dict", dies)
        with pytest.raises(KeyboardInterrupt):
            toys.run("start")

    assert toys.run_all() == [0, 0, 0]
    assert toys.lineage.config("run-1")["brew"]["minutes"] == 3.0


def test_what_mlflow_made_twice_is_there_once(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was killed before it could answer: MLflow's client asks again for what is made already."""
    for name in ("create_run", "create_model_version"):
        once = getattr(MlflowClient, name)

        def twice(*given: object, once: Any = once, **options: object) -> Any:
            once(*given, **options)
            return once(*given, **options)

        monkeypatch.setattr(MlflowClient, name, twice)

    assert toys.run_all() == [0, 0, 0]

    lineage = toys.lineage
    runs = lineage.client.search_runs([lineage.experiment])
    assert sorted((run.info.run_name, run.info.status) for run in runs) == [
        ("brew", "FINISHED"),
        ("grow", "FINISHED"),
        ("run-1", "FINISHED"),
        ("start", "FINISHED"),
    ]
    assert [version.version for version in lineage.client.search_model_versions("name = 'policy'")] == [1]
    assert str(lineage.client.get_model_version_by_alias("policy", "candidate").version) == "1"


def test_two_runs_at_once_on_one_mlflow_do_not_mix(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same steps, one setting apart, each step started again where it says 75, as Airflow would."""
    fork = multiprocessing.get_context("fork")

    def pipeline(run: str, minutes: float) -> None:
        monkeypatch.setenv("PLUMBLINE_PARAMS", json.dumps({"brew": {"minutes": minutes}}))
        for step in ("start", "grow", "brew"):
            codes = [75]
            while codes[-1] == 75 and len(codes) < 50:
                time.sleep(0.05)
                codes.append(toys.run(step, run))
        os._exit(codes[-1])

    wanted = {f"run-{minutes:.0f}": minutes for minutes in (2.0, 5.0, 7.0)}
    processes = [fork.Process(target=pipeline, args=each) for each in wanted.items()]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    lineage = toys.lineage
    for run, minutes in wanted.items():
        tea = lineage.fetch(lineage.find_output(run, "brew", "tea")) / "tea.txt"
        assert tea.read_text() == f"{minutes} minutes of green on dark\n"
        assert lineage.config(run)["brew"]["minutes"] == minutes
    assert len(lineage.client.search_model_versions("name = 'policy'")) == 3
    grown = lineage.client.search_runs([lineage.experiment], "tags.`plumbline.step` = 'grow'")
    finished = [run for run in grown if run.info.status == "FINISHED"]
    assert len([run for run in finished if "plumbline.reused_from" not in run.data.tags]) == 1
    assert [run for run in grown if run.info.status == "RUNNING"] == []


def test_a_full_disk_says_so_and_loses_nothing(
    toys: Toys, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere")

    toys.run("start")
    toys.run("grow")
    with monkeypatch.context() as patch:
        patch.setattr(Lineage, "publish", full)
        assert toys.run("brew") == 75

    assert capfd.readouterr().err == (
        "TryAgain: the disk that holds /somewhere is full. Free some space and run `brew` again; nothing was lost.\n"
    )
    assert toys.run("brew") == 0


def test_an_mlflow_that_is_away_says_where_and_what_to_do(
    toys: Toys, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    assert toys.run("start") == 75

    message = capfd.readouterr().err.splitlines()[-1]
    assert message.startswith("TryAgain: MLflow at http://127.0.0.1:9 does not answer: ")
    assert message.endswith(
        "Check that it runs and that MLFLOW_TRACKING_URI is right, then run the step again; nothing was lost."
    )


def test_a_bad_setting_is_refused_before_anything_is_logged(
    toys: Toys, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLUMBLINE_PARAMS", json.dumps({"brew.minuets": 4}))

    assert toys.run("start") == 65

    assert capfd.readouterr().err == (
        "ConfigRefused: brew in the trigger has an unknown setting `minuets`. Did you mean `minutes`? Known: minutes.\n"
    )
    assert toys.lineage.find_pipeline("run-1") is None


def test_a_refusal_is_published_and_stays_a_refusal(toys: Toys, capfd: pytest.CaptureFixture[str]) -> None:
    toys.run("start")
    toys.run("grow")
    toys.before_brewing = lambda context: context.refuse("too hot")

    assert [toys.run("brew"), toys.run("brew")] == [66, 66]

    assert capfd.readouterr().err == "GateFailed: too hot\n" * 2
    assert toys.lineage.step_run("run-1", "brew") is not None


def _in_a_process(work: object, *arguments: object) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def _killed(toys: Toys, moment: str) -> None:
    def kill(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(Lineage, moment, kill)
    toys.run("brew")


def _killed_at_work(toys: Toys, _: str) -> None:
    def kill(context: object) -> None:
        (context.checkpoints / "half").write_text("half a cup")
        os.kill(os.getpid(), signal.SIGKILL)

    toys.before_brewing = kill
    toys.run("brew")


def _second(toys: Toys, _: str) -> None:
    os._exit(toys.run("brew"))
