"""Which tables of people a pack shows: one entry of the log of exports. Records in, JSON out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.evidence import Evidence

PENDING = "not released when this was written"


def entry(pipeline_run: str, records: Mapping[str, Evidence], *, version: str) -> dict[str, Any]:
    """What was shown of people in the pack of a pipeline run: which tables, of whom, by which rules, when, and who released it.

    Args:
        pipeline_run: Its id.
        records: Step → its record, as far as it ran.
        version: Of the policy.
    """
    audit, reward, deploy = (records.get(step) for step in ("annotators", "reward", "deploy"))
    facts = audit.facts if audit else {}
    learnt = reward.facts.get("trained_on", {}) if reward else {}
    approval = deploy.facts.get("release", {}).get("approval", {}) if deploy else {}
    return {
        "policy_version": version,
        "pipeline_run": pipeline_run,
        "released_at": deploy.times["finished_at"] if deploy else PENDING,
        "released_by": approval.get("by", ""),
        "pool": facts.get("snapshot", ""),
        "trained_on": learnt.get("snapshot", ""),
        "rules": {**facts.get("rules", {}), "code": audit.code.get("digest", "") if audit else ""},
        "tables": [*_of_pool(facts), *_of_reward(learnt, reward.facts if reward else {})],
    }


def _of_pool(facts: Mapping[str, Any]) -> list[str]:
    pool, exclusions = facts.get("pool", {}), facts.get("exclusions", {})
    crossings = [name for name, table in pool.get("crossings", {}).items() if table != "suppressed"]
    parts = [f"{part}.by_group" for part in ("agreement", "bias") if facts.get(part, {}).get("by_group")]
    return [
        *(f"pool.margins.{name}" for name in pool.get("margins", {})),
        *(f"pool.crossings.{name}" for name in crossings),
        *(f"work.{name}" for name in facts.get("work", {})),
        *(["reliability"] if facts.get("reliability") else []),
        *(f"exclusions.{name}" for name in ("proposed_by_kind", "proposed", "excluded", "decided") if name in exclusions),
        *parts,
    ]


def _of_reward(learnt: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    found = [f"trained_on.{part}.{name}" for part in ("margins", "work") for name in learnt.get(part, {})]
    return [*found, *(["accuracy_by_group"] if "accuracy_by_group" in facts else [])]
