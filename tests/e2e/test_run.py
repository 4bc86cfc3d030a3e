"""`make run`, as a person meets it, on a small project."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Project

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("e2e")]

STEPS = ("start", "validate", "annotators", "base", "sft", "reward", "ppo", "evaluate", "document")


def test_a_run_releases_an_unchanged_one_trains_nothing_and_a_changed_byte_shows(project: Project) -> None:
    """The whole way: release unattended; run again; then tamper with the pack, and watch verification fail."""
    first = project.make("run", "APPROVE=unattended")

    assert all(f"  {step:<10} done" in first.stdout for step in (*STEPS, "approve", "deploy")), first.stdout
    release = project.folder / "releases" / "policy-v1"
    assert json.loads((release / "approval" / "approval.json").read_text())["channel"] == "unattended"
    champion = project.lineage().client.get_model_version_by_alias("policy", "champion")
    assert str(champion.version) == "1"

    again = project.make("run", "APPROVE=unattended")

    assert all(f"  {step:<10} reused" in again.stdout for step in STEPS[1:]), again.stdout
    assert "already released as releases/policy-v1" in again.stdout
    assert len(project.lineage().client.search_model_versions("name = 'policy'")) == 1

    assert project.run("-m", "governance", "verify", str(release)).returncode == 0
    page = release / "pack" / "index.html"
    page.write_bytes(page.read_bytes().replace(b"a", b"e", 1))
    broken = project.run("-m", "governance", "verify", str(release), check=False)
    assert broken.returncode != 0
    assert "index.html" in broken.stdout + broken.stderr


def test_dpo_takes_ppos_place_up_to_the_release(project: Project) -> None:
    """The same steps, gates and documents; the model card says by which method."""
    with (project.folder / "small.toml").open("a") as file:
        file.write('\n[alignment]\nmethod = "dpo"\n')

    done = project.make("run", "APPROVE=unattended")

    assert all(f"  {step:<10} done" in done.stdout for step in (*STEPS, "approve", "deploy")), done.stdout
    release = project.folder / "releases" / "policy-v1"
    assert project.run("-m", "governance", "verify", str(release)).returncode == 0
    assert "direct preference optimization (DPO)" in (release / "pack" / "model_card.md").read_text()
    version = project.lineage().client.get_model_version_by_alias("policy", "champion")
    assert version.tags["plumbline.method"] == "dpo"


def test_without_a_terminal_the_candidate_waits_and_can_be_rejected_later(project: Project) -> None:
    waiting = project.make("run")

    assert "Nobody is at the terminal, so the candidate waits." in waiting.stdout
    assert not (project.folder / "releases").exists()
    run = waiting.stdout.split('make approve RUN="')[1].split('"')[0]

    rejected = project.make("approve", f"RUN={run}", "DECISION=reject", "REASON=It flatters too much.", check=False)

    assert "Error 66" in rejected.stderr
    assert "rejected the candidate: It flatters too much. The champion stays as it is." in rejected.stdout
    assert project.lineage().step_run(run, "approve") is not None
    assert project.lineage().resolve("policy", "champion") is None


def test_an_unknown_setting_is_refused_at_once_with_the_near_name(project: Project) -> None:
    (project.folder / "small.toml").write_text("[ppo]\nkl_coeff = 0.1\n")

    done = project.make("run", check=False)

    assert "Error 65" in done.stderr
    assert "ppo in small.toml has an unknown setting `kl_coeff`. Did you mean `kl_coef`?" in done.stderr


def test_a_missing_data_folder_is_refused_with_the_ways_to_get_one(project: Project) -> None:
    (project.folder / "small.toml").write_text('[start]\ndata_folder = "elsewhere"\n')

    done = project.make("run", check=False)

    assert "Error 65" in done.stderr
    assert "DataRefused: There is no data folder" in done.stdout
    assert "`make data` makes the embedded data" in done.stdout


def test_data_that_is_not_what_its_pin_says_is_refused(project: Project) -> None:
    with (project.folder / "data" / "comparisons.jsonl").open("a") as file:
        file.write("\n")

    done = project.make("run", check=False)

    assert "Error 65" in done.stderr
    assert "data.dvc pins: it has md5" in done.stdout


def test_a_second_run_while_one_is_at_work_is_refused(project: Project) -> None:
    import fcntl

    with (project.folder / ".plumbline" / "run.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()

        done = project.make("run", check=False)

    assert "Error 75" in done.stderr
    assert "Another command is at work in" in done.stderr
    assert "(process 4711). Wait until it has finished, or stop it; nothing of it was touched." in done.stderr
