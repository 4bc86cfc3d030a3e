"""`python -m governance init`: asks for what only the organisation knows, and writes it into system.yaml."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TextIO

from governance import facts

if TYPE_CHECKING:
    from pathlib import Path


def ask(path: Path, given: TextIO, out: TextIO) -> int:
    """Ask every question that has no answer yet. An empty line leaves it open, a dot ends.

    Comments and layout of the file stay; only values change.
    """
    asked = facts.questions(path)
    open_names = [name for name, entry in asked.items() if not str(entry["value"] or "").strip()]
    out.write(f"{len(open_names)} questions are open in {path.name}. Enter leaves one open, a dot ends.\n")
    for name in open_names:
        entry = asked[name]
        choices = [str(choice) for choice in entry.get("choices") or []]
        out.write(f"\n{name}\n  {entry.get('asks', '')} ({entry.get('basis', '')})\n")
        answer = _answer(choices, given, out)
        if answer is None:
            break
        if answer:
            _set(path, name, answer)
    left = sum(not str(entry["value"] or "").strip() for entry in facts.questions(path).values())
    out.write(f"\n{path.name} is written; {left} questions are open.\n")
    return 0


def _answer(choices: list[str], given: TextIO, out: TextIO) -> str | None:
    """One answer; empty to leave it open, None to end."""
    hint = f" [{', '.join(choices)}]" if choices else ""
    while True:
        out.write(f"  {hint}> ")
        out.flush()
        line = given.readline()
        answer = line.strip()
        if not line or answer == ".":
            return None
        if not answer or not choices or answer in choices or answer.partition(":")[0] in facts.APART:
            return answer
        out.write(f"  Expected one of {', '.join(choices)}, or `not applicable: WHY`.\n")


def _set(path: Path, name: str, answer: str) -> None:
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(rf"(^{re.escape(name)}:\n(?:[ \t]+.*\n|\n)*?[ \t]+value:).*$", re.MULTILINE)
    value = json.dumps(answer, ensure_ascii=False)
    path.write_text(pattern.sub(lambda found: f"{found.group(1)} {value}", text, count=1), encoding="utf-8")
