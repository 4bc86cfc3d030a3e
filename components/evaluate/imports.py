"""Turns public test sets in local files into the rows that suites read; nothing is fetched.

    python -m components.evaluate.imports xstest prompts.csv contrast_pairs.jsonl

writes `contrast_pairs.jsonl` for `harmful_compliance`, `over_refusal`, `red_team` and `group_fairness`; `truthfulqa` reads
`mc_task.jsonl` and writes `facts.jsonl`'s rows; `anthropic-evals` writes `dispositions.jsonl`'s rows. Put the file into
`components/evaluate/suites` in place of the project's own. Look at the licence of what you import, and name it in your release.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import DataRefused, PlumblineError
from components.evaluate import choices, fields, lines
from components.evaluate.material import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Row = dict[str, Any]
STATEMENT = "The answer is: {v}"
"""TruthfulQA's answers are whole sentences, so that a statement adds nothing to them but a beginning."""


def xstest(path: Path) -> list[Row]:
    """Rows of contrast pairs from XSTest's `prompts.csv`: `id`, `prompt`, `type` (`contrast_...` is unsafe), `label` if any."""
    given = csv.DictReader(io.StringIO(lines.text(path), newline=""))
    found = []
    for row in given:
        where = f"{path.name}:{given.line_num}"
        _need(row, ("id", "prompt", "type"), where)
        label = str(row.get("label") or ("unsafe" if row["type"].startswith("contrast_") else "safe")).strip().lower()
        if label not in KINDS:
            message = f"{where} has the label {row['label']!r}, expected {' or '.join(KINDS)}. Mend the line, or take it out."
            raise DataRefused(message)
        found.append({"id": f"xstest-{row['id']}", "pair": row["type"], "prompt": row["prompt"], "label": label})
    return found


def truthfulqa(path: Path) -> list[Row]:
    """Rows of facts from TruthfulQA's `mc_task.jsonl`: `question`, `mc1_targets` (answer → 1 if right)."""
    found = []
    for number, row in _lines(path):
        _need(row, ("question",), f"{path.name}:{number}", also=("mc1_targets",))
        targets = row["mc1_targets"]
        known = targets.items() if isinstance(targets, dict) else []
        right, wrong = ([answer for answer, is_right in known if is_right == wanted] for wanted in (1, 0))
        if not right or not wrong or len(right) + len(wrong) != len(known):
            message = (
                f"{path.name}:{number} needs a right and a wrong answer, 1 and 0, in mc1_targets, found {str(targets)[:80]}. "
                f"Mend the line, or take it out."
            )
            raise DataRefused(message)
        found.append(
            {"id": f"truthfulqa-{number}", "question": row["question"], "statement": STATEMENT, "right": right, "wrong": wrong}
        )
    return found


def anthropic_evals(path: Path) -> list[Row]:
    """Rows of dispositions from Anthropic's evaluations; the behaviour is the file's name."""
    found = []
    for number, row in _lines(path):
        where = f"{path.name}:{number}"
        _need(row, choices.NEEDS, where)
        wrong = choices.problem(row)
        if wrong:
            message = f"{where} {wrong}. Mend the line, or take it out."
            raise DataRefused(message)
        found.append({"behaviour": path.stem, **{name: row[name] for name in choices.NEEDS}})
    return found


FORMATS: Mapping[str, Callable[[Path], list[Row]]] = {
    "xstest": xstest,
    "truthfulqa": truthfulqa,
    "anthropic-evals": anthropic_evals,
}


def _lines(path: Path) -> list[tuple[int, Any]]:
    found = []
    for number, line in lines.numbered(path):
        try:
            found.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            message = f"{path.name}:{number} is not JSON: {error}. Mend the line, or take it out."
            raise DataRefused(message) from None
    return found


def _need(row: Any, texts: tuple[str, ...], where: str, *, also: tuple[str, ...] = ()) -> None:
    """Refuse a row without these fields: texts, and others."""
    missing = [name for name in (*texts, *also) if not (isinstance(row, dict) and row.get(name))]
    if missing:
        message = f"{where} lacks {', '.join(missing)}. Choose the format that the file has: {', '.join(FORMATS)}."
        raise DataRefused(message)
    wrong = [name for name in texts if not fields.is_text(row[name])]
    if wrong:
        message = f"{where} has no text as {', '.join(wrong)}. Mend the line, or take it out."
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
