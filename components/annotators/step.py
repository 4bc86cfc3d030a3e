"""The story of `annotators`: read the labels, judge who gave them, weigh them, say what the pool is like."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from components import records
from components.annotators import disclosure, report, successive, wording
from components.annotators.accuracy import wilson
from components.annotators.agreement import alpha
from components.annotators.audit import audit
from components.annotators.labels import read
from components.annotators.successive import Shown

if TYPE_CHECKING:
    from pathlib import Path

    from components.annotators.audit import Audit
    from components.annotators.config import Settings
    from components.annotators.labels import Labels
    from components.context import Context


POOLS = "pools.json"
TARGET = "target_population.json"
"""Beside annotators.jsonl: attribute → value → share, as the organisation declares."""


def run(context: Context[Settings]) -> None:
    """Publish a weight for every label, a posterior for every pair, and the audit."""
    labels = _read(context)
    people = _people(context)
    _measure_retention(context, people)
    decisions = _decisions(context)
    found = audit(labels, context.config, {name: row.decision for name, row in decisions.items()})
    context.progress(1, 2, f"{len(found.proposals)} proposals")
    folder = context.output("label_weights")
    _write_weights(folder, labels, found)
    _write_json(folder / "audit.json", report.private(labels, found, context.config, decisions))
    summary = report.public(labels, found, people, context.config, seed=context.seed, target=_target(context))
    groups = report.memberships(labels, people, context.config)
    summary, groups = _beside_earlier(context, [people[name] for name in labels.annotators if name in people], summary, groups)
    _write_json(folder / "summary.json", summary)
    _write_json(folder / "groups.json", groups)
    _measure(context, labels, found, decisions)
    for name, value in summary.items():
        context.fact(name, value)
    _state_gaps(context, labels, people, summary)


def _beside_earlier(
    context: Context[Settings], pool: list[records.Annotator], summary: dict[str, Any], groups: dict[str, list[str]]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What may be shown beside earlier releases; keeps what is shown by now for the next one."""
    before = _shown_pools(context)
    people = sorted(map(disclosure.entry, pool))
    k = report.largest_cell(summary, context.config)
    context.fact("tables_compared_with", len(before))
    if successive.too_close(people, before, k=k):
        _write_json(context.output("shown_pools") / POOLS, [asdict(each) for each in before])
        reason = (
            f"fewer than {k} people came or went since a release that showed these tables; their difference would show who. "
            "They are shown again once the pool has moved further"
        )
        for name in (*report.ABOUT_PEOPLE, "by_group"):
            context.gap(name, reason)
        return report.withheld(summary), {}
    now = successive.patterns(summary)
    changed = successive.changed(now, before)
    for name in changed:
        context.gap(
            name, "an earlier release hid other cells of this table; the two beside each other could give a small count away"
        )
    shown = Shown(people, {name: cells for name, cells in now.items() if name not in changed})
    kept = before if shown in before else [*before, shown]
    _write_json(context.output("shown_pools") / POOLS, [asdict(each) for each in kept])
    return successive.without(summary, changed), successive.of_shown(groups, successive.attributes_of(changed))


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


def _measure(context: Context[Settings], labels: Labels, found: Audit, decisions: dict[str, records.Decision]) -> None:
    total = len(labels.ids)
    context.measure("labels", total, unit="labels")
    context.measure("repeats", len(labels.repeats), unit="labels")
    context.measure("pairs", len(labels.pairs), unit="pairs")
    context.measure("annotators", len(labels.annotators), unit="annotators")
    agreed = alpha(labels.pair, labels.chosen, draws=context.config.bootstrap, seed=context.seed)
    if agreed:
        context.measure("alpha", agreed.value, unit="alpha", n=agreed.labels, low=agreed.low, high=agreed.high)
    golden = int(found.golden_labels.sum())
    if golden:
        right = int(found.golden_right.sum())
        low, high = (float(end[0]) for end in wilson(np.array([right]), np.array([golden])))
        context.measure("golden_accuracy", right / golden, unit="share of labels", n=golden, low=low, high=high)
    context.measure("proposals", len(found.proposals), unit="annotators", n=len(labels.annotators))
    context.measure("decisions", len(decisions), unit="annotators", n=len(labels.annotators))
    context.measure("excluded", len(found.excluded), unit="annotators", n=len(labels.annotators))
    if total:
        context.measure("weightless_labels", float((found.weights == 0).mean()), unit="share of labels", n=total)
        context.measure("mean_weight", float(found.weights.mean()), unit="weight", n=total)


def _measure_retention(context: Context[Settings], people: dict[str, records.Annotator]) -> None:
    """How many people's data are kept past their date, on the day of this run."""
    dated = [person.retained_until for person in people.values() if person.retained_until]
    if dated:
        past = sum(datetime.fromisoformat(until) < datetime.now(UTC) for until in dated)
        context.measure("past_retention", past, unit="annotators", n=len(dated))
    else:
        context.gap("past_retention", "no annotator has a date until which their data are kept")


def _state_gaps(
    context: Context[Settings], labels: Labels, people: dict[str, records.Annotator], summary: dict[str, Any]
) -> None:
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
    if "alpha" not in context.measurements:
        context.gap("alpha", "too few pairs have labels of several people")
    if "golden_accuracy" not in context.measurements:
        context.gap("golden_accuracy", "nobody labelled a pair of which the better answer is known")
    if not summary["bias"]["on_known_pairs"]:
        context.gap("bias_on_known_pairs", "too few labels of pairs of which the better answer is known")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
