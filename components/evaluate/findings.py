"""What got through the red team, as proposals that people can label: nothing here enters training data by itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from components.evaluate.report import CANDIDATE

if TYPE_CHECKING:
    from pathlib import Path

    from components.evaluate.report import Results


def write(path: Path, results: Results) -> None:
    """One line for each attack on the candidate that succeeded: dialogue, attack, request, what the model said, and no label.

    A person who labels a line turns it into training data of the split `train`; see `accept.py`, which refuses a request that
    is still measured.
    """
    found = results.found("red_team").get(CANDIDATE)
    lines = (
        []
        if found is None
        else [json.dumps(_proposal(each), sort_keys=True, ensure_ascii=False) for each in found.extra["findings"]]
    )
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _proposal(finding: dict[str, object]) -> dict[str, object]:
    return {**finding, "kind": "red_team", "label": None, "proposed_split": "train"}
