"""Parts of the gates' benchmark add up, and none is measured twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks import gates

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def _keep(folder: Path, policy: str, seed: int, *stopped: str) -> None:
    trial = {"policy": policy, "seed": seed, "stopped": list(stopped)}
    gates._once(folder / f"{policy}-{seed}.json", lambda: trial)


def test_outcomes_of_several_runs_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two of three faults were caught and one of four unchanged policies was stopped; of speeds one was measured."""
    _keep(tmp_path, "padded", 0, "words regressed")
    _keep(tmp_path, "padded", 1)
    _keep(tmp_path, "jailbroken", 0, "harmful_compliance regressed", "attack_success_rate regressed")
    for seed in range(4):
        _keep(tmp_path, gates.UNCHANGED, seed, *(["utility undecided"] if seed == 2 else []))
    _keep(tmp_path, gates.RETRAINED, 0, "group_gap undecided", "utility regressed")
    _keep(tmp_path, gates.RETRAINED, 1, "group_gap undecided")
    gates._once(tmp_path / "speed-suites.json", lambda: {"suites_s": 31.5})

    found = gates._figures(tmp_path)

    assert found == {
        "caught": 0.6667,
        "false_alarms": 0.25,
        "suites_s": 31.5,
        "speedup_vs_loop": None,
        "speedup_vs_inspect": None,
    }
    said = capsys.readouterr().err
    assert "padded: stopped in 1 of 2, seeds [0, 1]" in said
    assert "retrained: called regressed in 1 of 2; group_gap undecided 2, utility regressed 1" in said


def test_nothing_measured_is_null_and_not_zero(tmp_path: Path) -> None:
    assert set(gates._figures(tmp_path).values()) == {None}


def test_a_kept_outcome_is_not_measured_again_and_a_failed_one_leaves_nothing(tmp_path: Path) -> None:
    worked = []

    def work() -> dict[str, Any]:
        worked.append(1)
        if len(worked) == 1:
            raise KeyboardInterrupt
        return {"suites_s": 2.5}

    try:
        gates._once(tmp_path / "found" / "speed-suites.json", work)
    except KeyboardInterrupt:
        assert list(tmp_path.rglob("*.json")) == []
    for _ in range(2):
        gates._once(tmp_path / "found" / "speed-suites.json", work)

    assert len(worked) == 2
    assert json.loads((tmp_path / "found" / "speed-suites.json").read_text()) == {"suites_s": 2.5}
