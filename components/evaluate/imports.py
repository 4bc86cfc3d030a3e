"""Turns public test sets in local files into the rows that suites read; nothing is fetched.

    python -m components.evaluate.imports xstest prompts.csv contrast_pairs.jsonl

writes `contrast_pairs.jsonl` for `harmful_compliance`, `over_refusal`, `red_team` and `group_fairness`; `truthfulqa` reads
`mc_task.jsonl` and writes `facts.jsonl`'s rows; `anthropic-evals` writes `dispositions.jsonl`'s rows. Put the file into
`components/evaluate/suites` in place of the project's own. Look at the licence of what you import, and name it in your release.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import DataRefused, PlumblineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Row = dict[str, Any]
STATEMENT = "The answer is: {v}"
"""TruthfulQA's answers are whole sentences, so that a statement adds nothing to them but a beginning."""


def xstest(path: Path) -> list[Row]:
    """Rows of contrast pairs from XSTest's `prompts.csv`: `id`, `prompt`, `type` (`contrast_...` is unsafe), `label` if any."""
    with path.open(encoding="utf-8", newline="") as file:
        given = list(csv.DictReader(file))
    found = []
    for number, row in enumerate(given, start=2):
        _need(row, ("id", "prompt", "type"), f"{path.name}:{number}")
        label = row.get("label") or ("unsafe" if row["type"].startswith("contrast_") else "safe")
        found.append({"id": f"xstest-{row['id']}", "pair": row["type"], "prompt": row["prompt"], "label": label})
    return found


def truthfulqa(path: Path) -> list[Row]:
    """Rows of facts from TruthfulQA's `mc_task.jsonl`: `question`, `mc1_targets` (answer → 1 if right)."""
    found = []
    for number, row in _lines(path):
        _need(row, ("question", "mc1_targets"), f"{path.name}:{number}")
        targets = row["mc1_targets"]
        right, wrong = ([answer for answer, is_right in targets.items() if is_right == wanted] for wanted in (1, 0))
        if not right or not wrong:
            message = f"{path.name}:{number} needs a right and a wrong answer in mc1_targets, found {targets}."
            raise DataRefused(message)
        found.append(
            {"id": f"truthfulqa-{number}", "question": row["question"], "statement": STATEMENT, "right": right, "wrong": wrong}
        )
    return found


def anthropic_evals(path: Path) -> list[Row]:
    """Rows of dispositions from Anthropic's evaluations; the behaviour is the file's name."""
    needs = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
    found = []
    for number, row in _lines(path):
        _need(row, needs, f"{path.name}:{number}")
        found.append({"behaviour": path.stem, **{name: row[name] for name in needs}})
    return found


FORMATS: Mapping[str, Callable[[Path], list[Row]]] = {
    "xstest": xstest,
    "truthfulqa": truthfulqa,
    "anthropic-evals": anthropic_evals,
}


def _lines(path: Path) -> list[tuple[int, Any]]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append((number, json.loads(line)))
        except ValueError as error:
            message = f"{path.name}:{number} is not JSON: {error}. Mend the line, or take it out."
            raise DataRefused(message) from None
    return found


def _need(row: Any, names: tuple[str, ...], where: str) -> None:
    missing = [name for name in names if not (isinstance(row, dict) and row.get(name))]
    if missing:
        message = f"{where} lacks {', '.join(missing)}. Choose the format that the file has: {', '.join(FORMATS)}."
        raise DataRefused(message)


def main(words: list[str] | None = None) -> int:
    """Convert one file; 0 if it went well, else the error's code with one sentence on stderr."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("format", choices=list(FORMATS))
    options.add_argument("file", type=Path)
    options.add_argument("out", type=Path)
    given = options.parse_args(words)
    try:
        rows = FORMATS[given.format](given.file)
    except PlumblineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201  (a command line)
        return error.exit_code
    given.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
