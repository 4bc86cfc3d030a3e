"""A public report's tables: which cells each shows, and the report without some of them. Pure.

What may be shown beside earlier releases: components/shown.py. A crossing goes with its margins, and what is said of a group
goes with the table that shows the group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from components.shown import Pattern

BY_GROUP = ("agreement", "bias")


def patterns(summary: Mapping[str, Any]) -> dict[str, Pattern]:
    """Which cells each table of a public report shows."""
    pool = summary["pool"]
    margins = {f"pool.margins.{name}": table for name, table in pool["margins"].items()}
    margins |= {f"work.{name}": table for name, table in summary["work"].items()}
    cells = {name: table["cells"] for name, table in margins.items()} | _findings(summary)
    found = {name: {value: isinstance(count, int) for value, count in table.items()} for name, table in cells.items()}
    return found | {f"pool.crossings.{name}": {"": table != "suppressed"} for name, table in pool["crossings"].items()}


def _findings(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Tables of what the audit found: reliability, and each count of the exclusions."""
    exclusions = summary["exclusions"]
    return {
        "reliability": summary["reliability"],
        "exclusions.proposed_by_kind": exclusions["proposed_by_kind"],
        **{f"exclusions.{name}": {"": exclusions[name]} for name in ("proposed", "excluded", "decided")},
    }


def without(summary: Mapping[str, Any], tables: Sequence[str]) -> dict[str, Any]:
    """A public report without some of its tables and what else would give their cells away."""
    left_out = set(tables)
    pool = summary["pool"]
    attributes = attributes_of(tables)
    crossings = {
        name: "suppressed" if f"pool.crossings.{name}" in left_out or attributes & set(name.split(" by ")) else table
        for name, table in pool["crossings"].items()
    }
    parts = {part: summary[part] | {"by_group": of_shown(summary[part]["by_group"], attributes)} for part in BY_GROUP}
    return {
        **summary,
        **parts,
        "pool": pool | {"margins": _but(pool["margins"], attributes), "crossings": crossings},
        "representativeness": _but(summary["representativeness"], attributes),
        "work": {name: table for name, table in summary["work"].items() if f"work.{name}" not in left_out},
        "reliability": {} if "reliability" in left_out else summary["reliability"],
        "exclusions": {name: value for name, value in summary["exclusions"].items() if f"exclusions.{name}" not in left_out},
    }


def attributes_of(tables: Sequence[str]) -> set[str]:
    """The attributes whose margins are among the tables."""
    return {name.removeprefix("pool.margins.") for name in tables if name.startswith("pool.margins.")}


def of_shown(groups: Mapping[str, Any], attributes: set[str]) -> dict[str, Any]:
    """Groups, called `ATTRIBUTE: VALUE`, of the attributes that are not left out."""
    return {name: value for name, value in groups.items() if name.partition(": ")[0] not in attributes}


def _but(table: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in names}
