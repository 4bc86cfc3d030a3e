"""The log of exports: what a pack showed of people, by hand."""

from __future__ import annotations

from pathlib import Path

from components import evidence, exports

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "evidence" / "v1"


def _record(step, **parts):
    found = evidence.read(GOLDEN / f"{step}.json")
    for name, value in parts.items():
        getattr(found, name).clear()
        getattr(found, name).update(value)
    return found


def test_an_entry_names_the_tables_that_show_the_people_the_rules_and_who_released_them():
    pool = {"margins": {"gender": {}}, "crossings": {"gender by region": "suppressed", "gender by age_band": {"a / b": 12}}}
    audit = _record(
        "annotators",
        facts={
            "snapshot": "sha256:p",
            "rules": {"smallest_cell": 5, "smallest_crossing": 10},
            "pool": pool,
            "work": {"platform": {}},
            "reliability": {"0.8 to 0.9": 7},
            "exclusions": {"mode": "apply", "excluded": 0, "decided": 0},
            "agreement": {"by_group": {"gender: woman": {}}},
            "bias": {"by_group": {}},
        },
        code={"digest": "sha256:code"},
    )
    learnt = {"snapshot": "sha256:t", "margins": {"gender": {}}, "work": {"pay_band": {}}}
    reward = _record("reward", facts={"trained_on": learnt, "accuracy_by_group": {}})
    deploy = _record(
        "reward",
        facts={"release": {"approval": {"by": "R. Lead"}}},
        times={"finished_at": "2026-11-21T10:00:00+00:00"},
    )

    entry = exports.entry("run-1", {"annotators": audit, "reward": reward, "deploy": deploy}, version="3")

    assert entry == {
        "policy_version": "3",
        "pipeline_run": "run-1",
        "released_at": "2026-11-21T10:00:00+00:00",
        "released_by": "R. Lead",
        "pool": "sha256:p",
        "trained_on": "sha256:t",
        "rules": {"smallest_cell": 5, "smallest_crossing": 10, "code": "sha256:code"},
        "tables": [
            *("pool.margins.gender", "pool.crossings.gender by age_band", "work.platform", "reliability"),
            *("exclusions.excluded", "exclusions.decided", "agreement.by_group"),
            *("trained_on.margins.gender", "trained_on.work.pay_band", "accuracy_by_group"),
        ],
    }


def test_of_a_candidate_nobody_knows_yet_who_releases_it():
    entry = exports.entry("run-1", {}, version="3")

    assert (entry["released_at"], entry["released_by"]) == ("not released when this was written", "")
    assert entry["tables"] == []
