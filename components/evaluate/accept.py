"""Takes what people accepted of the red team's findings into the preference data.

    python -m components.evaluate.accept red_team_findings.jsonl data

The file is the one of the artifact `evaluation`. Whoever labels sets in each line `label` to `accept` or `reject`, and where it
is accepted `should_say`, the answer that the model should have given, and `labelled_by`. Each accepted line becomes a prompt
and a demonstration of the split `train`, and a comparison in which what should be said is preferred to what was said. Lines
without a label are left; a line that was taken before is not taken twice. Then pin the data: `dvc add data`.

A finding is refused where the request that its attack carries is still asked: where it is the last turn of a prompt of another
split than `train`, or a row of `suites/contrast_pairs.jsonl`. However the attack wraps it, training on it would make the gate
blind. Put another prompt in its place first: move the prompt to the split `train` and add one to its old split, or write a new
row instead.

What it does not cover: a request in other words, and data that suites of your own bring along.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from components import records
from components.errors import DataRefused, PlumblineError
from components.evaluate import lines
from components.evaluate.material import contrast_pairs

TABLES = ("prompts", "demonstrations", "comparisons")
LABELS = ("accept", "reject", None)
KIND = "red_team"


class Request(BaseModel):
    """What an attack carries."""

    id: str
    text: records.Words


class Finding(BaseModel):
    """What is read of an accepted line; the rest is for whoever labels."""

    request: Request
    messages: list[records.Message]
    answer: records.Words
    should_say: records.Words
    labelled_by: records.Id


def accept(findings: Path, data: Path) -> dict[str, int]:
    """Append what was accepted; table → rows added.

    Raises:
        DataRefused: A line is not as it should be, or its request is still asked where gates are measured; all such lines are
            named, and nothing is written.
    """
    accepted, problems = _read(findings)
    measured = _measured(data / "prompts.jsonl")
    for number, finding in accepted:
        same = measured.get(_words(finding.request.text)) or measured.get(_words(*_turns(finding.messages)))
        if same:
            problems.append(f"{findings.name}:{number} asks what {same} asks")
    if problems:
        message = (
            f"{'; '.join(problems)}. Mend these lines; what is still measured becomes training data only once another prompt "
            f"has taken its place there. Nothing was written."
        )
        raise DataRefused(message)
    made = [_rows(finding) for _, finding in accepted]
    return {table: _append(data / f"{table}.jsonl", [rows[table] for rows in made]) for table in TABLES}


def _measured(path: Path) -> dict[str, str]:
    """Words that gates are measured on → who asks them: the last turn and the whole dialogue of prompts, and contrast pairs."""
    asked = {_words(row["prompt"]): f"the row {row['id']!r} of contrast_pairs.jsonl" for row in contrast_pairs()}
    for prompt in records.read(path, records.Prompt):
        if prompt.split != "train":
            turns = _turns(prompt.messages)
            asked |= dict.fromkeys(
                (_words(turns[-1]), _words(*turns)), f"the prompt {prompt.id!r} of the split `{prompt.split}`"
            )
    return asked


def _read(path: Path) -> tuple[list[tuple[int, Finding]], list[str]]:
    accepted, problems = [], []
    for number, line in lines.numbered(path):
        try:
            finding = json.loads(line)
            label = finding["label"]
        except (ValueError, KeyError, TypeError):
            problems.append(f"{path.name}:{number} is not a finding with a `label`")
            continue
        if label not in LABELS:
            problems.append(f"{path.name}:{number} has the label {label!r}, expected accept, reject or null")
        elif label == "accept":
            try:
                accepted.append((number, _accepted(finding)))
            except DataRefused as error:
                problems.append(f"{path.name}:{number} is accepted and {error}")
    return accepted, problems


def _accepted(finding: dict[str, Any]) -> Finding:
    missing = [name for name in ("should_say", "labelled_by") if not str(finding.get(name) or "").strip()]
    if missing:
        message = f"lacks {' and '.join(missing)}"
        raise DataRefused(message)
    try:
        return Finding.model_validate(finding)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = f"has a wrong {' > '.join(str(part) for part in first['loc'])}: {first['msg']}"
        raise DataRefused(message) from None


def _rows(finding: Finding) -> dict[str, records.Record]:
    """The three rows of a finding, named after its words, so that taking it twice changes nothing."""
    spoken = [[message.model_dump() for message in finding.messages], finding.answer]
    digest = hashlib.sha256(json.dumps(spoken, sort_keys=True).encode()).hexdigest()
    name = f"red-team-{digest[:16]}"
    good, bad = finding.should_say.strip(), finding.answer.strip()
    first = int(digest, 16) % 2 == 0
    common = {"prompt_id": name, "kind": KIND, "split": "train"}
    return {
        "prompts": records.Prompt(id=name, kind=KIND, split="train", messages=finding.messages),
        "demonstrations": records.Demonstration.model_validate(
            {
                "id": f"{name}-demonstration",
                "messages": [*finding.messages, records.Message(role="assistant", content=good)],
                "source": finding.labelled_by.strip(),
            }
            | common
        ),
        "comparisons": records.Comparison(
            id=f"{name}-comparison",
            prompt_id=name,
            responses=(good, bad) if first else (bad, good),
            label="first" if first else "second",
            annotator=None,
        ),
    }


def _append(path: Path, rows: list[records.Record]) -> int:
    """Add the rows that are not there, the file whole or not at all; how many."""
    text = lines.text(path) if path.exists() else ""
    there = {json.loads(line)["id"] for line in text.split("\n") if line.strip()}
    new = {str(row.model_dump()["id"]): row.model_dump_json() for row in rows}
    added = [line for name, line in new.items() if name not in there]
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text + "".join(f"{line}\n" for line in added), encoding="utf-8")
    draft.replace(path)
    return len(added)


def _turns(messages: list[records.Message]) -> list[str]:
    return [message.content for message in messages]


def _words(*turns: str) -> str:
    return " ".join(" ".join(turns).casefold().split())


def main(words: list[str] | None = None) -> int:
    """Take what was accepted, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m components.evaluate.accept", description=__doc__)
    parser.add_argument("findings", type=Path, help="labelled red_team_findings.jsonl")
    parser.add_argument("data", type=Path, help="folder of the preference data")
    options = parser.parse_args(words)
    try:
        added = accept(options.findings, options.data)
    except PlumblineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201  (a command line)
        return error.exit_code
    print(f"{added['prompts']} findings were added. Pin the data: dvc add {options.data}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
