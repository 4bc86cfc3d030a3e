"""The story of `annotators`: read the labels, judge who gave them, weigh them, say what the pool is like."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from components import disclosure, identitykey, records, shown
from components.annotators import beside, entries, report, successive, tables, wording
from components.annotators.accuracy import wilson
from components.annotators.agreement import alpha
from components.annotators.audit import audit
from components.annotators.labels import read
from components.contributors import are_several
from components.disclosure import Table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from components.annotators.audit import Audit
    from components.annotators.config import Settings
    from components.annotators.labels import Labels
    from components.context import Context
    from components.disclosure import Margin


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
    _measure_labels(context, labels)
    margins = tables.shown(labels, found, people, context.config, decisions)
    summary = _settled(context, labels, people, margins)
    if summary["pool"]:
        _measure_audit(context, labels, found)
        _measure_exclusions(context, labels, found, margins)
        _measure_retention(context, people)
    for name, value in summary.items():
        context.fact(name, value)
    _state_gaps(context, labels, people, summary)


def _settled(
    context: Context[Settings], labels: Labels, people: dict[str, records.Annotator], margins: Mapping[str, Margin]
) -> dict[str, Any]:
    """The public report, as far as it may be shown beside earlier ones; `reward` is handed what goes with it."""
    key, target = identitykey.read(), _target(context)
    everything = report.public(labels, margins, people, context.config, seed=context.seed, target=target)
    digests = {name: entries.entries(people[name], key=key) for name in labels.annotators if name in people}
    everything["snapshot"] = entries.snapshot(digests, key=key)
    keys = sorted({"", identitykey.name_of(key)})
    summary, left_out = beside.settle(context, everything, shown.by_key(digests.values(), keys), key=keys[-1])
    groups = report.memberships(labels, people, margins) if summary["pool"] else {}
    tables_ = tables.handed_over(tables.of_people(labels, people, context.config), margins) if summary["pool"] else {}
    handed = {
        "people": {name: digests.get(name) for name in labels.annotators},
        "keys": keys,
        "tables": {name: table for name, table in tables_.items() if name not in left_out},
        "target": target,
        "k": context.config.smallest_cell,
    }
    folder = context.output("label_weights")
    _write_json(folder / "tables.json", handed)
    _write_json(folder / "summary.json", summary)
    _write_json(folder / "groups.json", successive.of_shown(groups, successive.attributes_of(left_out)))
    return summary


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
    k = context.config.smallest_cell
    everything = np.ones(len(labels.ids), bool)
    agreed = alpha(labels.pair, labels.chosen, draws=context.config.bootstrap, seed=context.seed)
    if agreed and report.are_of_several(labels, report.shared(labels, everything), k=k):
        context.measure("alpha", agreed.value, unit="alpha", n=agreed.labels, low=agreed.low, high=agreed.high)
    elif agreed:
        context.gap("alpha", f"pairs with several labels were labelled by fewer than {k} people, or mostly by one")
    golden = int(found.golden_labels.sum())
    if golden and not are_several(found.golden_labels.tolist(), k=k):
        context.gap(
            "golden_accuracy", f"pairs of which the better answer is known were labelled by fewer than {k}, or mostly by one"
        )
    elif golden:
        right = int(found.golden_right.sum())
        low, high = (float(end[0]) for end in wilson(np.array([right]), np.array([golden])))
        context.measure("golden_accuracy", right / golden, unit="share of labels", n=golden, low=low, high=high)
    _measure_retests(context)
    if not report.are_of_several(labels, everything, k=k):
        context.gap("mean_weight", f"fewer than {k} people labelled, or mostly one")
    elif labels.ids:
        context.measure("mean_weight", float(found.weights.mean()), unit="weight", n=len(labels.ids))


def _measure_retests(context: Context[Settings]) -> None:
    """How often people say the same of a pair when they are asked again, as far as that is no one person's figure."""
    path = context.inputs["annotators"] / "retests.json"
    asked: dict[str, list[int]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    k = context.config.smallest_cell
    same, other = (sum(counts) for counts in zip(*asked.values(), strict=True)) if asked else (0, 0)
    if not asked:
        context.gap("retest_agreement", "nobody decided about the same pair twice")
    elif not are_several((sum(counts) for counts in asked.values()), k=k):
        context.gap("retest_agreement", f"fewer than {k} people decided about the same pair twice, or mostly one")
    else:
        low, high = (float(end[0]) for end in wilson(np.array([same]), np.array([same + other])))
        context.measure("retest_agreement", same / (same + other), unit="share of labels", n=same + other, low=low, high=high)


def _measure_exclusions(context: Context[Settings], labels: Labels, found: Audit, shown: Mapping[str, Margin]) -> None:
    """How many people the audit names, as far as its tables show it."""
    people = disclosure.rounded_down(len(labels.annotators), k=context.config.smallest_cell)
    context.measure("annotators", people, unit="annotators, rounded down")
    for name, finding in (("proposals", "proposed"), ("decisions", "decided"), ("excluded", "excluded")):
        if f"{tables.EXCLUSIONS}{finding}" in context.gaps:
            context.gap(name, context.gaps[f"{tables.EXCLUSIONS}{finding}"])
        else:
            _measure_people(context, name, tables.counted(shown, finding), of=people)
    weightless = labels.has_annotator & (found.weights == 0)
    k = context.config.smallest_cell
    if "excluded" in context.gaps:
        context.gap("weightless_labels", context.gaps["excluded"])
    elif not report.are_of_several(labels, weightless, k=k):
        context.gap("weightless_labels", "most of them are one person's")
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
    if not labels.decodings:
        context.gap("responses_by_decoding", "no comparison says how its responses were drawn (temperature, top_p)")
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
