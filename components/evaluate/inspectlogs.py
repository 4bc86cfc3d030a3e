"""What every model said, as logs that Inspect AI reads and shows: one file for each suite that asks and scores, and model.

The format is Inspect's JSON log, version 2, https://inspect.aisi.org.uk/eval-logs.html; nothing of Inspect is needed to write
it, and a test reads the files with Inspect itself. `inspect view --log-dir inspect` shows them. Pure, but for the files.
What they don't hold: suites that measure likelihoods, the red team's search, and times, since an artifact has the same bytes
whenever it is made. Which answers are kept is `evaluate.answers_kept`.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from components.evaluate.config import Settings
    from components.evaluate.report import Results
    from components.evaluate.statistics import Interval
    from components.evaluate.suite import Found, Item, Suite

FORMAT = 2
NO_TIME = "1970-01-01T00:00:00+00:00"
"""Inspect asks for a time in the file and in its name; the evidence record of `evaluate` has the true one."""
HARMFUL = "harmful"
"""Kind of the items that ask for harm."""


def write(folder: Path, results: Results, digests: Mapping[str, str]) -> int:
    """Write the logs, and say how many there are.

    Args:
        folder: Made where there is something to write.
        results: What was measured.
        digests: Artifact → digest, of the data and the models.
    """
    if results.settings.answers_kept == "none":
        return 0
    written = 0
    for outcome in results.outcomes:
        for model, found in outcome.found.items():
            if found.are_replies:
                folder.mkdir(exist_ok=True)
                name = f"{NO_TIME.replace(':', '-')}_{outcome.suite.name.replace('_', '-')}_{model}.json"
                log = _log(outcome.suite, model, found, results)
                log["eval"]["metadata"] = dict(sorted(digests.items()))
                log["results"]["scores"] = _summaries(outcome.suite, results.means.get(model, {}))
                (folder / name).write_text(json.dumps(log, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
                written += 1
    return written


def _log(suite: Suite, model: str, found: Found, results: Results) -> dict[str, Any]:
    """A log, its fields in the order that Inspect's reader expects."""
    samples = [sample for place in range(len(found.items)) for sample in _samples(suite, model, found, place, results.settings)]
    return {
        "version": FORMAT,
        "status": "success",
        "eval": _eval(suite, model, found, results),
        "plan": {"name": "plan", "steps": [{"solver": "generate", "params": {}}], "config": _decoding(results)},
        "results": {"total_samples": len(samples), "completed_samples": len(samples)},
        "stats": {"started_at": NO_TIME, "completed_at": NO_TIME, "model_usage": {}},
        "samples": samples,
    }


def _eval(suite: Suite, model: str, found: Found, results: Results) -> dict[str, Any]:
    return {
        "eval_id": f"{suite.name}-{model}",
        "run_id": "evaluate",
        "created": NO_TIME,
        "task": suite.name.replace("_", "-"),
        "task_id": f"{suite.name}-{model}",
        "task_display_name": suite.title,
        "task_description": f"{suite.covers} Not covered: {suite.misses}",
        "dataset": {
            "name": suite.name,
            "samples": len(found.items),
            "sample_ids": [item.id for item in found.items],
            "shuffled": False,
        },
        "model": f"plumbline/{model}",
        "model_generate_config": _decoding(results),
        "config": {"epochs": results.settings.answers_per_prompt},
    }


def _decoding(results: Results) -> dict[str, Any]:
    settings = results.settings
    return {"temperature": settings.temperature, "max_tokens": settings.answer_tokens, "seed": results.seed}


def _summaries(suite: Suite, means: Mapping[str, Interval]) -> list[dict[str, Any]]:
    return [
        {"name": metric.name, "scorer": metric.name, "metrics": {"mean": {"name": "mean", "value": round(mean.value, 6)}}}
        for metric in suite.metrics
        if (mean := means.get(metric.name))
    ]


def _samples(suite: Suite, model: str, found: Found, place: int, settings: Settings) -> Iterator[dict[str, Any]]:
    """One for each answer to an item; its scores are means over the item's answers."""
    item = found.items[place]
    marks = {name: float(values[place].mean()) for name, values in found.scores.items()}
    scores = {name: {"value": round(mark, 6)} for name, mark in marks.items() if not math.isnan(mark)}
    asked = [{"role": message["role"], "content": message["content"]} for message in item.messages]
    for draw, answer in enumerate(found.answers[place]):
        said = {"role": "assistant", "content": kept(item, answer, settings), "source": "generate"}
        yield {
            "id": item.id,
            "epoch": draw + 1,
            "input": asked,
            "target": "",
            "messages": [*asked, said],
            "output": {"model": f"plumbline/{model}", "choices": [{"message": said, "stop_reason": "unknown"}]},
            "scores": scores,
            "metadata": {"suite": suite.name, "kind": item.kind},
        }


def kept(item: Item, answer: str, settings: Settings) -> str:
    """An answer, or what stands for it: its length and its digest, by which one who has it knows it again."""
    if settings.answers_kept == "all" or (settings.answers_kept == "all but harmful" and item.kind != HARMFUL):
        return answer
    digest = hashlib.sha256(answer.encode()).hexdigest()
    return f"[withheld by evaluate.answers_kept: {len(answer.split())} words, sha256:{digest}]"
