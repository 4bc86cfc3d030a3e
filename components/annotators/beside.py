"""What a report may show beside earlier releases and earlier reward models, and what is kept for those that come."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from components import shown
from components.annotators import report, successive
from components.shown import Shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.annotators.config import Settings
    from components.context import Context

ABOUT_PEOPLE = (
    *("annotators", "alpha", "golden_accuracy", "proposals", "decisions", "excluded", "weightless_labels", "mean_weight"),
    *("past_retention", "retest_agreement"),
)
"""Measurements that one person more or less would move."""


def settle(
    context: Context[Settings], report_: dict[str, Any], people: Mapping[str, list[str]], *, key: str
) -> tuple[dict[str, Any], list[str]]:
    """What of a report may be shown, and names of the tables that are left out of it; one without a pool is withheld.

    Args:
        context: The step's.
        report_: The public report, as it would be if it were the first.
        people: Key → digests of the people in it, see `entries.entries`.
        key: Name of the one by which they are kept.
    """
    before = _pools(context)
    context.fact("tables_compared_with", len(before))
    k = report.largest_cell(report_, context.config)
    reason = shown.too_close(people, [*before, *_trained_on(context)], k=k)
    if reason:
        _keep(context, before)
        for name in (*report.ABOUT_PEOPLE, *ABOUT_PEOPLE):
            context.gap(name, reason)
        return report.withheld(report_), []
    patterns = successive.patterns(report_)
    changed = shown.changed(patterns, before)
    for name in changed:
        context.gap(name, shown.LEFT_OUT)
    now = Shown(people.get(key, []), {name: cells for name, cells in patterns.items() if name not in changed}, key=key)
    _keep(context, before if now in before else [*before, now])
    return successive.without(report_, changed), changed


def _pools(context: Context[Settings]) -> list[Shown]:
    """What every release so far gave away whose tables were shown."""
    folder = context.reference.paths.get("shown_pools") if context.reference else None
    return shown.read(json.loads((folder / shown.FILE).read_text(encoding="utf-8"))) if folder else []


def _trained_on(context: Context[Settings]) -> list[Shown]:
    """Whose labels trained earlier reward models, drafts included, and who the others were."""
    kept = [json.loads((folder / shown.FILE).read_text(encoding="utf-8")) for folder in context.earlier]
    return [each for file in kept for each in shown.read(file) if each.of != shown.POOL]


def _keep(context: Context[Settings], pools: list[Shown]) -> None:
    text = json.dumps([each.to_json() for each in pools], indent=1, sort_keys=True) + "\n"
    (context.output("shown_pools") / shown.FILE).write_text(text, encoding="utf-8")
