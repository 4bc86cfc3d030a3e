"""The story of `annotators`: read the labels, judge who gave them, weigh them, say what the pool is like."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from components import records
from components.annotators import disclosure, report, successive, tables, wording
from components.annotators.accuracy import wilson
from components.annotators.agreement import alpha
from components.annotators.audit import audit
from components.annotators.disclosure import Table
from components.annotators.labels import read
from components.annotators.successive import Shown
from components.contributors import are_several

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from components.annotators.audit import Audit
    from components.annotators.config import Settings
    from components.annotators.disclosure import Margin
    from components.annotators.labels import Labels
    from components.context import Context


POOLS = "pools.json"
TARGET = "target_population.json"
"""Beside annotators.jsonl: attribute → value → share, as the organisation declares."""


def run(context: Context[Settings]) -> None:
    """Publish a weight for every label, a posterior for every pair, and the audit."""
    labels = _read(context)
    people = _people(context)
    decisions = _decisions(context)
    found = audit(labels, context.config, {name: row.decision for name, row in decisions.items()})
    context.progress(1, 2, f"{len(found.proposals)} proposals")
    folder = context.output("label_weights")
    _write_weights(folder, labels, found)
    _write_json(folder / "audit.json", report.private(labels, found, context.config, decisions))
    shown = tables.shown(labels, found, people, context.config, decisions)
    summary = report.public(labels, shown, people, context.config, seed=context.seed, target=_target(context))
    groups = report.memberships(labels, people, shown)
    _measure_labels(context, labels)
    pool = sorted(disclosure.entry(people[name]) for name in labels.annotators if name in people)
    before = _shown_pools(context)
    context.fact("tables_compared_with", len(before))
    k = report.largest_cell(summary, context.config)
    if successive.too_close(pool, before, k=k):
        _withhold(context, before, k)
        summary, groups = report.withheld(summary), {}
    else:
        summary, groups = _beside_earlier(context, Shown(pool, successive.patterns(summary)), before, summary, groups)
        _measure_audit(context, labels, found)
        _measure_exclusions(context, labels, found, shown)
        _measure_retention(context, people)
    _write_json(folder / "summary.json", summary)
    _write_json(folder / "groups.json", groups)
    for name, value in summary.items():
        context.fact(name, value)
    _state_gaps(context, labels, people, summary)


ABOUT_PEOPLE = (
    *("annotators", "alpha", "golden_accuracy", "proposals", "decisions", "excluded", "weightless_labels", "mean_weight"),
    "past_retention",
)
"""Measurements that one person more or less would move."""


def _withhold(context: Context[Settings], before: list[Shown], k: int) -> None:
    """Say what is not shown, and why. What earlier releases showed stays what later ones are compared with."""
    _keep(context, before)
    reason = (
        f"fewer than {k} people came or went since a release that showed this; the difference would tell who they are, or how "
        "they label. It is shown again once the pool has moved further"
    )
    for name in (*report.ABOUT_PEOPLE, *ABOUT_PEOPLE):
        context.gap(name, reason)


def _beside_earlier(
    context: Context[Settings], now: Shown, before: list[Shown], summary: dict[str, Any], groups: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What may be shown beside earlier releases; keeps what is shown by now for the next one."""
    changed = successive.changed(now.tables, before)
    for name in changed:
        context.gap(
            name, "an earlier release hid other cells of this table; the two beside each other could give a small count away"
        )
    shown = Shown(now.people, {name: cells for name, cells in now.tables.items() if name not in changed})
    _keep(context, before if shown in before else [*before, shown])
    return successive.without(summary, changed), successive.of_shown(groups, successive.attributes_of(changed))


def _keep(context: Context[Settings], shown: list[Shown]) -> None:
    _write_json(context.output("shown_pools") / POOLS, [asdict(each) for each in shown])


def _shown_pools(context: Context[Settings]) -> list[Shown]:
    """What every release so far gave away whose tables were shown. Before there were patterns, only the people were kept."""
    folder = context.reference.paths.get("shown_pools") if context.reference else None
    kept = json.loads((folder / POOLS).read_text(encoding="utf-8")) if folder else []
    return [Shown(each) if isinstance(each, list) else Shown(**each) for each in kept]


def _read(context: Context[Settings]) -> Labels:
    prompts = records.read(context.inputs["prompts"] / "prompts.jsonl", records.Prompt)
    opinions = {prompt.id: any(map(wording.has_opinion, _asked(prompt))) for prompt in prompts}
    golden = records.read(context.inputs["golden"] / "golden.jsonl", records.GoldenPair)
    return read(context.inputs["comparisons"] / "comparisons.jsonl", opinions=opinions, golden=golden)


def _decisions(context: Context[Settings]) -> dict[str, records.Decision]:
    """Pseudonym → the last decision that a person took."""
    path = context.inputs["annotators"] / "decisions.jsonl"
    return {row.annotator: row for row in records.read(path, records.Decision)} if path.is_file() else {}


def _target(context: Context[Settings]) -> dict[str, dict[str, float]]:
    """Shares of groups in the population that the pool should stand for, where the data version declares them."""
    path = context.inputs["annotators"] / TARGET
    declared: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return declared


def _asked(prompt: records.Prompt) -> list[str]:
    return [message.content for message in prompt.messages if message.role == "user"]


def _people(context: Context[Settings]) -> dict[str, records.Annotator]:
    rows = records.read(context.inputs["annotators"] / "annotators.jsonl", records.Annotator)
    return {person.pseudonym: person for person in rows}


def _write_weights(folder: Path, labels: Labels, found: Audit) -> None:
    with (folder / "weights.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        repeats = dict.fromkeys(labels.repeats, 0.0)
        for name, weight in (dict(zip(labels.ids, found.weights.tolist(), strict=True)) | repeats).items():
            file.write(f'{{"comparison": {json.dumps(name, ensure_ascii=False)}, "weight": {weight:.4f}}}\n')
    with (folder / "posteriors.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for name, chance in zip(labels.pairs, found.posterior.tolist(), strict=True):
            file.write(f'{{"first": {chance:.4f}, "pair": {json.dumps(name, ensure_ascii=False)}}}\n')


def _measure_labels(context: Context[Settings], labels: Labels) -> None:
    context.measure("labels", len(labels.ids), unit="labels")
    context.measure("repeats", len(labels.repeats), unit="labels")
    context.measure("pairs", len(labels.pairs), unit="pairs")


def _measure_audit(context: Context[Settings], labels: Labels, found: Audit) -> None:
    agreed = alpha(labels.pair, labels.chosen, draws=context.config.bootstrap, seed=context.seed)
    if agreed:
        context.measure("alpha", agreed.value, unit="alpha", n=agreed.labels, low=agreed.low, high=agreed.high)
    golden = int(found.golden_labels.sum())
    k = context.config.smallest_cell
    if golden and not are_several(found.golden_labels.tolist(), k=k):
        context.gap(
            "golden_accuracy", f"pairs of which the better answer is known were labelled by fewer than {k}, or mostly by one"
        )
    elif golden:
        right = int(found.golden_right.sum())
        low, high = (float(end[0]) for end in wilson(np.array([right]), np.array([golden])))
        context.measure("golden_accuracy", right / golden, unit="share of labels", n=golden, low=low, high=high)
    if labels.ids:
        context.measure("mean_weight", float(found.weights.mean()), unit="weight", n=len(labels.ids))


def _measure_exclusions(context: Context[Settings], labels: Labels, found: Audit, shown: Mapping[str, Margin]) -> None:
    """How many people the audit names, as far as its tables show it."""
    people = disclosure.rounded_down(len(labels.annotators), k=context.config.smallest_cell)
    context.measure("annotators", people, unit="annotators, rounded down")
    for name, finding in (("proposals", "proposed"), ("decisions", "decided"), ("excluded", "excluded")):
        if f"{tables.EXCLUSIONS}{finding}" in context.gaps:
            context.gap(name, context.gaps[f"{tables.EXCLUSIONS}{finding}"])
        else:
            _measure_people(context, name, tables.counted(shown, finding), of=people)
    if "excluded" in context.gaps:
        context.gap("weightless_labels", context.gaps["excluded"])
    elif labels.ids:
        context.measure("weightless_labels", float((found.weights == 0).mean()), unit="share of labels", n=len(labels.ids))


def _measure_people(context: Context[Settings], name: str, count: int | None, *, of: int) -> None:
    """How many people, where that may be shown."""
    if count is None:
        k = context.config.smallest_cell
        context.gap(name, f"some, but fewer than {k} people, or all but fewer than {k}; it is known inside the house")
    else:
        context.measure(name, count, unit="annotators", n=of)


def _measure_retention(context: Context[Settings], people: dict[str, records.Annotator]) -> None:
    """How many people's data are kept past their date, on the day of this run."""
    dated = [person.retained_until for person in people.values() if person.retained_until]
    if dated:
        past = [tables.YES if records.moment(until) <= datetime.now(UTC) else tables.NO for until in dated]
        table = Table(past, context.config.smallest_cell, (tables.YES, tables.NO), is_finding=True)
        shown = disclosure.together({"past": table})["past"]
        _measure_people(context, "past_retention", shown.cells[tables.YES], of=shown.base)
    else:
        context.gap("past_retention", "no annotator has a date until which their data are kept")


def _state_gaps(
    context: Context[Settings], labels: Labels, people: dict[str, records.Annotator], summary: dict[str, Any]
) -> None:
    if labels.annotators:
        context.gap(
            "people_trained_on",
            "the tables count all who labelled; whose labels train the reward model, and whose its judge, `reward` decides",
        )
    unnamed = int((~labels.has_annotator).sum())
    if unnamed:
        context.gap("annotators_unknown", f"the source does not say who gave {unnamed} of {len(labels.ids)} labels")
    if not labels.annotators:
        context.gap("demographics", "the source does not say who labelled")
    elif not any(person.demographics for person in people.values()):
        context.gap("demographics", "no annotator has a demographic record")
    if not summary["target_population"]:
        context.gap("target_population", "the data version declares no target population (target_population.json)")
        context.gap("representativeness", "the data version declares no target population (target_population.json)")
    known = context.measurements.keys() | context.gaps.keys()
    if "alpha" not in known:
        context.gap("alpha", "too few pairs have labels of several people")
    if "golden_accuracy" not in known:
        context.gap("golden_accuracy", "nobody labelled a pair of which the better answer is known")
    if summary["bias"] and not summary["bias"]["on_known_pairs"]:
        context.gap("bias_on_known_pairs", "too few labels of pairs of which the better answer is known")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
