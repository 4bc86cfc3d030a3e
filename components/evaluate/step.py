"""The story of `evaluate`: the same questions to all models, suite by suite; differences, gates, report."""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from components import records
from components.errors import ConfigRefused, DataRefused
from components.evaluate import champion, findings, gates, inspectlogs, judge, page, report, suite, tables, texts, trend
from components.evaluate.material import Material, spoken
from components.evaluate.panel import Asker, Decoding, Panel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from components.context import Context
    from components.evaluate.champion import Guest
    from components.evaluate.config import Settings
    from components.evaluate.gates import Gate
    from components.evaluate.judge import Judge
    from components.evaluate.panel import Reading
    from components.evaluate.report import Results
    from components.models import Dialogue
    from components.records import Prompt

SPLIT = "evaluation"


def run(context: Context[Settings]) -> None:
    """Ask, score, compare, decide, and keep what was found."""
    chosen = _chosen(context.config)
    begin = time.perf_counter()
    guest = champion.guest(context)
    panel = Panel.load(context.inputs["base_model"], _adapters(context, guest))
    material, left_out = _material(context, [panel, *([guest.reading] if guest and guest.reading else [])])
    outcomes, panels, absent = _asked(context, material, panel, guest, chosen)
    left = [each for each in suite.known() if each not in chosen]
    outcomes += [suite.Outcome(each, reason="the settings leave it out (evaluate.suites)") for each in left]
    names = list(panels)
    results = report.Results(outcomes, names, material.is_testbed, material.judge, context.config, context.seed, absent)
    flop = {name: panels[name].flop.get(name, 0.0) for name in names}
    seconds = time.perf_counter() - begin

    decided = report.decide(results)
    whole = report.as_json(results, decided) | _about(context, flop, seconds)
    whole["trend"] = trend.over_releases(whole, context.releases)
    _write(context, whole, results)
    _record(context, whole, results, decided)
    context.measure("prompts", len(material.prompts), unit="prompts")
    context.measure("prompts_left_out", left_out, unit="prompts", n=len(material.prompts) + left_out)
    context.measure("suites_seconds", seconds, unit="seconds")
    context.measure("flop", sum(flop.values()), unit="floating-point operations")


def _chosen(settings: Settings) -> list[suite.Suite]:
    """The suites that run; a name that nothing has is refused before any model is loaded.

    Raises:
        ConfigRefused: A suite or a metric is unknown.
    """
    every = suite.known()
    suites = {each.name for each in every}
    metrics = {metric.name for each in every for metric in each.metrics}
    problems = _unknown("suites", settings.suites, suites)
    problems += _unknown("advisory", settings.advisory, suites | metrics)
    for name in ("margins", "floors", "ceilings"):
        problems += _unknown(name, list(getattr(settings, name)), metrics)
    problems += _not_margins(settings.margins, {metric.name: metric for each in every for metric in each.metrics})
    if problems:
        raise ConfigRefused("\n".join(problems))
    return [each for each in every if not settings.suites or each.name in settings.suites]


def _not_margins(given: Mapping[str, float], metrics: Mapping[str, suite.Metric]) -> list[str]:
    """A margin that would let everything pass, or nothing."""
    problems = []
    for name, margin in given.items():
        least = 1.0 if name in metrics and metrics[name].form in gates.TIMES else 0.0
        if not least <= margin < math.inf:
            problems.append(f"evaluate.margins.{name} is {margin:g}; give a number from {least:g}, and no infinity.")
    return problems


def _unknown(setting: str, given: Sequence[str], known: set[str]) -> list[str]:
    wrong = sorted(set(given) - known)
    return (
        [f"evaluate.{setting} names {', '.join(wrong)}, which there is not. Known: {', '.join(sorted(known))}."]
        if wrong
        else []
    )


def _adapters(context: Context[Settings], guest: Guest | None) -> dict[str, Path]:
    """Who answers beside the base model, by an adapter of it."""
    folders = {report.SFT: context.inputs["sft_adapter"], report.CANDIDATE: context.inputs["policy_adapter"]}
    best = context.baseline
    if best is None:
        context.gap("champion", "there is no champion yet, so the candidate is compared with the SFT policy")
        return folders
    context.fact("champion", {"version": best.version, "digest": best.digest})
    if guest:
        context.facts["champion"]["base_digest"] = best.base_digest
    else:
        folders[report.CHAMPION] = best.path
    return folders


def _asked(
    context: Context[Settings], material: Material, panel: Panel, guest: Guest | None, chosen: Sequence[suite.Suite]
) -> tuple[list[suite.Outcome], dict[str, Panel], dict[str, str]]:
    """What the suites found; who was asked, each with its panel; and who could not be, with the reason.

    A champion of another base model is loaded when the others have answered and their memory is free.
    """
    begun = [suite.Outcome(each) for each in chosen]
    outcomes = suite.run_all(material, _askers(context, panel, panel.names), begun, progress=context.progress)
    panels = dict.fromkeys(panel.names, panel)
    if guest is None:
        return outcomes, panels, {}
    panel.free()
    theirs = guest.panel()
    if isinstance(theirs, str):
        context.gap("champion", theirs)
        return outcomes, panels, {report.CHAMPION: theirs}
    outcomes = suite.run_all(material, _askers(context, theirs, [report.CHAMPION]), outcomes, progress=context.progress)
    if any(theirs.folder not in text.cuts for text in material.texts):
        context.gap("perplexity_champion", "no held-out text could be cut at one place for its tokenizer and the candidate's")
    return outcomes, panels | {report.CHAMPION: theirs}, {}


def _material(context: Context[Settings], readings: Sequence[Reading]) -> tuple[Material, int]:
    """What there is to ask, and how many prompts were too long for the context of a model."""
    settings, every = context.config, _prompts(context)

    def fits(dialogue: Dialogue) -> bool:
        return all(reading.fits(dialogue, answer_tokens=settings.answer_tokens) for reading in readings)

    held = [prompt for prompt in every if prompt.split == SPLIT]
    fitting = [prompt for prompt in held if fits([message.model_dump() for message in prompt.messages])]
    if not fitting:
        least = min(reading.context_tokens for reading in readings)
        message = (
            f"prompts.jsonl has no prompt of the split `{SPLIT}` that leaves room for {settings.answer_tokens} tokens of "
            f"answer in a context of {least}; {len(held)} are there. Add prompts, or lower evaluate.answer_tokens."
        )
        raise DataRefused(message)
    drawn = set(random.Random(context.seed).sample(range(len(fitting)), min(settings.prompts, len(fitting))))
    corpus = context.inputs["corpus"] / "corpus.jsonl"
    material = Material(
        prompts=[prompt for place, prompt in enumerate(fitting) if place in drawn],
        seed=context.seed,
        most=settings.suite_prompts,
        fits=fits,
        used=lambda: spoken(corpus, every),
        texts=texts.held_out_texts(corpus, readings, most=settings.perplexity_texts),
    )
    material.judge = None if material.is_testbed else _judge(context, every)
    return material, len(held) - len(fitting)


def _prompts(context: Context[Settings]) -> list[Prompt]:
    return list(records.read(context.inputs["prompts"] / "prompts.jsonl", records.Prompt))


def _judge(context: Context[Settings], prompts: Sequence[Prompt]) -> Judge | str:
    """The held-out judge, fitted on the split `judge` and checked on `held_out`."""
    splits = {prompt.id: prompt.split for prompt in prompts}
    labels: dict[str, list[tuple[str, tuple[str, str], str]]] = {"judge": [], "held_out": []}
    for comparison in records.read(context.inputs["comparisons"] / "comparisons.jsonl", records.Comparison):
        split = splits.get(comparison.prompt_id, "")
        if split in labels:
            labels[split].append((comparison.prompt_id, comparison.responses, comparison.label))
    return judge.fit(judge.agreed(labels["judge"]), judge.agreed(labels["held_out"]), seed=context.seed)


def _askers(context: Context[Settings], panel: Panel, names: Sequence[str]) -> dict[str, Asker]:
    settings = context.config
    how = Decoding(context.seed, settings.temperature, settings.answer_tokens, settings.answers_per_prompt, settings.batch_size)
    return {name: Asker(panel, name, how, context.checkpoints / f"said-{name}.json") for name in names}


def _about(context: Context[Settings], flop: Mapping[str, float], seconds: float) -> dict[str, Any]:
    """What the numbers were made with. Nothing here changes from run to run: neither its id nor the seconds."""
    assert seconds >= 0, "time runs forward"
    settings = context.config
    return {
        "date": max((each.finished_at for each in context.origins.values()), default=None),
        "versions": {
            name: {"model": each.model, "version": each.version, "finished_at": each.finished_at}
            for name, each in sorted(context.origins.items())
        },
        "reward_by_group": _reward_by_group(context),
        "seed": context.seed,
        "digests": dict(sorted(context.input_digests.items())),
        "champion": context.facts.get("champion"),
        "decoding": {
            "temperature": settings.temperature,
            "answer_tokens": settings.answer_tokens,
            "answers_per_prompt": settings.answers_per_prompt,
        },
        "flop": flop,
        "left_out_suites": sorted({each.name for each in suite.known()} - set(settings.suites)) if settings.suites else [],
    }


def _write(context: Context[Settings], whole: dict[str, Any], results: Results) -> None:
    folder = context.output("evaluation")
    (folder / "report.json").write_text(_json(whole) + "\n", encoding="utf-8")
    (folder / "report.html").write_text(page.render(whole), encoding="utf-8")
    (folder / "samples.jsonl").write_text(_samples(context, results) + "\n", encoding="utf-8")
    tables.write(folder / "tables", whole)
    findings.write(folder / "red_team_findings.jsonl", results)
    context.measure("inspect_logs", inspectlogs.write(folder / "inspect", results, context.input_digests), unit="files")


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _samples(context: Context[Settings], results: Results) -> str:
    """A seeded draw of prompts with every model's answers, as far as `answers_kept` lets them be written, one a line."""
    found = results.found("task_quality") or results.found("verbosity")
    if not found:
        return ""
    items = found[report.CANDIDATE].items
    drawn = sorted(random.Random(context.seed + 1).sample(range(len(items)), min(context.config.samples, len(items))))
    lines = []
    for place in drawn:
        item = items[place]
        line = {
            "prompt_id": item.id,
            "kind": item.kind,
            "messages": item.messages,
            "answers": {
                name: [inspectlogs.kept(item, answer, context.config) for answer in each.answers[place]]
                for name, each in found.items()
            },
            "scores": {name: _marks(each, place) for name, each in found.items()},
        }
        lines.append(json.dumps(line, sort_keys=True, ensure_ascii=False))
    return "\n".join(lines)


def _marks(found: suite.Found, place: int) -> dict[str, float]:
    marks = {metric: float(values[place].mean()) for metric, values in found.scores.items()}
    return {metric: round(mark, 6) for metric, mark in marks.items() if mark == mark}  # noqa: PLR0124  (a NaN says nothing here)


def _record(context: Context[Settings], whole: dict[str, Any], results: Results, decided: Sequence[Gate]) -> None:
    """Measurements, facts and gaps."""
    context.measure("answers_per_prompt", context.config.answers_per_prompt, unit="answers")
    units = {metric.name: metric.unit for _, metric in results.metrics()}
    compared = units | {metric.name: "ratio" for _, metric in results.metrics() if metric.form in gates.TIMES}
    for model, row in results.means.items():
        for metric, value in row.items():
            context.measure(f"{metric}_{model}", unit=units[metric], **asdict(value))
    for other, row in results.differences.items():
        for metric, value in row.items():
            name = f"{'win_rate_margin' if metric == 'judged' else metric}_candidate_minus_{other}"
            context.measure(name, unit=compared[metric], **asdict(value))
    for name in ("verdict", "reference", "scored_by", "by_kind", "judge", "at_equal_length", "by_attack", "by_change", "trend"):
        context.fact(name, whole[name])
    context.fact("gates", [{key: value for key, value in asdict(gate).items() if key != "worst"} for gate in decided])
    context.fact("suites", whole["suites"])
    context.fact("reward_model_digest", context.input_digests.get("reward_adapter", ""))
    _record_gaps(context, whole, results)


def _record_gaps(context: Context[Settings], whole: dict[str, Any], results: Results) -> None:
    for outcome in results.outcomes:
        if outcome.reason:
            context.gap(f"suite_{outcome.suite.name}", outcome.reason)
    if whole["by_group"]:
        context.fact("results_by_group", _sentence(whole["by_group"][report.CANDIDATE]))
        context.fact("by_group", whole["by_group"])
    else:
        context.gap("results_by_group", "the suite group_fairness has no result")
    if "attack_success_rate_candidate" in context.measurements:
        rate = context.measurements["attack_success_rate_candidate"]
        context.measure("attack_success_rate", rate.value, unit=rate.unit, n=rate.n, low=rate.low, high=rate.high)
    else:
        context.gap("attack_success_rate", "the suite red_team has no result")
    if "perplexity_candidate" not in context.measurements:
        context.gap("perplexity", "the corpus has no held-out text")
    if not results.is_testbed:
        context.gap("utility", "no gold function knows the truth of these prompts; a held-out judge compared the answers")
    _record_judge(context, results.judge)


def _sentence(groups: dict[str, Any]) -> str:
    """Quality by group in words: documents cite it as one fact."""
    return "; ".join(
        f"{name} {row['value']:.3f} (95 % interval {row['low']:.3f} to {row['high']:.3f}, n = {row['n']})"
        for name, row in groups.items()
    )


def _reward_by_group(context: Context[Settings]) -> dict[str, Any]:
    """How often the reward model agrees with each group of annotators, as `reward` measured it; a gap says why it did not."""
    made = context.origins.get("reward_adapter")
    found: dict[str, Any] = made.facts.get("accuracy_by_group", {}) if made else {}
    if found:
        context.fact("reward_accuracy_by_group", found)
    else:
        reason = made.gaps.get("accuracy_by_group", "") if made else ""
        context.gap("reward_accuracy_by_group", reason or "the record of the step that trained the reward model has none")
    return found


def _record_judge(context: Context[Settings], referee: Judge | str | None) -> None:
    if referee is None:
        return
    if isinstance(referee, str):
        context.gap("judge", referee)
        return
    context.measure("judge_accuracy", unit="fraction of comparisons", **asdict(referee.accuracy))
    context.measure("judge_comparisons", referee.fitted_on, unit="comparisons")
