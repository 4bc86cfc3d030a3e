"""What a person at a terminal is told: one JSON object a line, in the file that PLUMBLINE_EVENTS names."""

from __future__ import annotations

import json
import os
import time


def tell(kind: str, step: str, *words: str) -> None:
    """Append an event; nothing happens where nobody listens."""
    path = os.environ.get("PLUMBLINE_EVENTS")
    if not path:
        return
    line = json.dumps({"at": time.time(), "kind": kind, "step": step, "words": words}) + "\n"
    with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123  (appends whole lines)
        file.write(line)
