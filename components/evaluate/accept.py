"""Takes what people accepted of the red team's findings into the preference data.

    python -m components.evaluate.accept red_team_findings.jsonl data

The file is the one of the artifact `evaluation`. Whoever labels sets in each line `label` to `accept` or `reject`, and where it
is accepted `should_say`, the answer that the model should have given, and `labelled_by`. Each accepted line becomes a prompt
and a demonstration of the split `train`, and a comparison in which what should be said is preferred to what was said. Lines
without a label are left; a line that was taken before is not taken twice. Then pin the data: `dvc add data`.

What it does not cover: an attack whose words stand in the split `evaluation`. It is refused, because training on it would make
the gate blind: take the prompt out of that split first.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from components import records
from components.errors import DataRefused, PlumblineError

TABLES = ("prompts", "demonstrations", "comparisons")
LABELS = ("accept", "reject", None)
KIND = "red_team"


def accept(findings: Path, data: Path) -> dict[str, int]:
    """Append what was accepted; table → rows added.

    Raises:
        DataRefused: A line is not as it should be, or asks what the split `evaluation` asks; all such lines are named, and
            nothing is written.
    """
    accepted, problems = _read(findings)
    prompts = list(records.read(data / "prompts.jsonl", records.Prompt))
    measured = {_words([message.model_dump() for message in prompt.messages]): prompt for prompt in prompts}
    for number, finding in accepted:
        same = measured.get(_words(finding["messages"]))
        if same and same.split != "train":
            problems.append(f"{findings.name}:{number} asks what the prompt {same.id!r} of the split `{same.split}` asks")
    if problems:
        message = f"{'; '.join(problems)}. Mend these lines, or take the prompts out of their split; nothing was written."
        raise DataRefused(message)
    made = [_rows(finding) for _, finding in accepted]
    return {table: _append(data / f"{table}.jsonl", [rows[table] for rows in made]) for table in TABLES}


def _read(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    accepted, problems = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            finding = json.loads(line)
            label = finding["label"]
        except (ValueError, KeyError, TypeError):
            problems.append(f"{path.name}:{number} is not a finding with a `label`")
            continue
        missing = [name for name in ("should_say", "labelled_by") if not str(finding.get(name) or "").strip()]
        if label not in LABELS:
            problems.append(f"{path.name}:{number} has the label {label!r}, expected accept, reject or null")
        elif label == "accept" and missing:
            problems.append(f"{path.name}:{number} is accepted and lacks {' and '.join(missing)}")
        elif label == "accept":
            accepted.append((number, finding))
    return accepted, problems


def _rows(finding: dict[str, Any]) -> dict[str, records.Record]:
    """The three rows of a finding, named after its words, so that taking it twice changes nothing."""
    digest = hashlib.sha256(json.dumps([finding["messages"], finding["answer"]], sort_keys=True).encode()).hexdigest()
    name = f"red-team-{digest[:16]}"
    messages = [records.Message.model_validate(message) for message in finding["messages"]]
    good, bad = str(finding["should_say"]).strip(), str(finding["answer"]).strip()
    first = int(digest, 16) % 2 == 0
    common = {"prompt_id": name, "kind": KIND, "split": "train"}
    return {
        "prompts": records.Prompt(id=name, kind=KIND, split="train", messages=messages),
        "demonstrations": records.Demonstration.model_validate(
            {
                "id": f"{name}-demonstration",
                "messages": [*messages, records.Message(role="assistant", content=good)],
                "source": str(finding["labelled_by"]).strip(),
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
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    there = {json.loads(line)["id"] for line in text.splitlines() if line.strip()}
    new = {str(row.model_dump()["id"]): row.model_dump_json() for row in rows}
    added = [line for name, line in new.items() if name not in there]
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text + "".join(f"{line}\n" for line in added), encoding="utf-8")
    draft.replace(path)
    return len(added)


def _words(messages: list[dict[str, str]]) -> str:
    return " ".join(" ".join(message["content"] for message in messages).casefold().split())


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
