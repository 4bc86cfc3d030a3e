r"""Anthropic's hh-rlhf: one JSON object a line, `chosen` and `rejected`, each a whole dialogue.

Turns begin with `\n\nHuman:` and `\n\nAssistant:`. The two dialogues share a prefix that ends with a human's turn; what the
assistant says last differs. Who compared them is not in the data, so `annotator` is None and documents show the gap.

Source: https://github.com/anthropics/hh-rlhf, README.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

from components import records
from components.importers.rows import KIND, Malformed, check_text, prompt_id, render, split_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from components.importers.rows import Imported

TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}
KEPT_BYTES = 2_000
"""How much of a quarantined row is kept."""


def convert(lines: Iterable[bytes], *, name: str, seed: int, into: Imported) -> None:
    """Add the rows of one file.

    Args:
        lines: The file's lines, as bytes.
        name: The file's name, for ids and reasons.
        seed: Of the order in which the two responses are shown.
        into: Where records and quarantined rows are added.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        into.rows += 1
        try:
            chosen, rejected = _dialogues(line)
            _add(into, chosen, rejected, row=f"{name}-{number:06d}", seed=seed)
        except Malformed as reason:
            row = line[:KEPT_BYTES].decode(errors="replace").rstrip("\n")
            into.quarantined.append({"file": name, "line": number, "reason": str(reason), "row": row})


def turns(dialogue: str) -> list[dict[str, str]]:
    r"""A dialogue's turns as messages.

    Raises:
        Malformed: It does not begin with `Human:`, has an empty turn, or two turns of one side in a row.
    """
    marks = list(TURN.finditer(dialogue))
    if not marks or dialogue[: marks[0].start()].strip():
        message = "the dialogue does not begin with a turn (`Human:`)"
        raise Malformed(message)
    ends = [mark.start() for mark in marks[1:]] + [len(dialogue)]
    found = [
        {"role": ROLES[mark.group(1)], "content": dialogue[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]
    for index, turn in enumerate(found):
        if not turn["content"]:
            message = f"turn {index + 1} ({turn['role']}) is empty"
            raise Malformed(message)
        if turn["role"] != ("user", "assistant")[index % 2]:
            message = f"turn {index + 1} is the {turn['role']}'s; turns must alternate and begin with the human"
            raise Malformed(message)
    return found


def _dialogues(line: bytes) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start}"
        raise Malformed(message) from None
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg} at column {error.colno}"
        raise Malformed(message) from None
    except (RecursionError, ValueError):
        message = "not JSON that can be read: nested too deeply, or a number has too many digits"
        raise Malformed(message) from None
    if not isinstance(row, dict) or not all(isinstance(row.get(side), str) for side in ("chosen", "rejected")):
        message = "not an object with the texts `chosen` and `rejected`"
        raise Malformed(message)
    for side in ("chosen", "rejected"):
        check_text(side, row[side])
    chosen, rejected = turns(row["chosen"]), turns(row["rejected"])
    if len(chosen) < 2 or chosen[-1]["role"] != "assistant" or rejected[-1]["role"] != "assistant":
        message = "a dialogue does not end with the assistant's answer"
        raise Malformed(message)
    if chosen[:-1] != rejected[:-1]:
        message = "`chosen` and `rejected` differ before the last answer, so they don't answer the same prompt"
        raise Malformed(message)
    if chosen[-1] == rejected[-1]:
        message = "`chosen` and `rejected` are the same"
        raise Malformed(message)
    return chosen, rejected


def _add(into: Imported, chosen: list[dict[str, str]], rejected: list[dict[str, str]], *, row: str, seed: int) -> None:
    prompt, split = prompt_id(chosen[:-1]), split_of(render(chosen[:1]))
    asked = [records.Message.model_validate(message) for message in chosen[:-1]]
    into.tables["prompts"].setdefault(prompt, records.Prompt(id=prompt, kind=KIND, split=split, messages=asked))

    answers = (chosen[-1]["content"], rejected[-1]["content"])
    swapped = int(hashlib.sha256(f"{seed}:{row}".encode()).hexdigest()[0], 16) % 2 == 1
    shown = (answers[1], answers[0]) if swapped else answers
    comparison = records.Comparison(
        id=row,
        prompt_id=prompt,
        responses=shown,
        label="second" if swapped else "first",
        strength=None,
        annotator=None,
        seconds_taken=None,
    )
    into.tables["comparisons"][row] = comparison
    told = [records.Message.model_validate(message) for message in chosen]
    into.tables["demonstrations"][row] = records.Demonstration(
        id=row,
        prompt_id=prompt,
        kind=KIND,
        split=split,
        messages=told,
        source="hh-rlhf chosen",
    )
    if split == "train":
        for side, dialogue in (("chosen", chosen), ("rejected", rejected)):
            into.tables["corpus"][f"{row}-{side}"] = records.Text(id=f"{row}-{side}", text=render(dialogue))
