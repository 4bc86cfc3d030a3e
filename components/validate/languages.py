"""In which language texts are: py3langid, which knows 139 and carries its model with it. Nothing is asked of the network.

Of each table rows are looked at that stand evenly apart, a thousand at most, so that a million cost no more.
What it does not cover: texts of a few words, and of mixed languages; below `LEAST_CERTAIN` a text counts as undetermined.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from components import records
from components.validate.findings import texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MOST_ROWS = 1_000
LEAST_CERTAIN = 0.5
CHARACTERS = 1_000
"""From the beginning of a row's texts."""
UNDETERMINED = "und"
"""As ISO 639-2 has it."""
TABLES = ("prompts", "demonstrations", "comparisons", "golden", "corpus")


def look(files: Mapping[str, tuple[Path, int]]) -> dict[str, dict[int, str]]:
    """Table → row (from 0) → language (ISO 639) of the rows that were looked at.

    Args:
        files: Table → JSON-lines file of records, and how many they are.
    """
    tell = _identifier()
    return {table: _look(table, path, count, tell) for table, (path, count) in files.items() if count}


def _look(table: str, path: Path, count: int, tell: Callable[[str], str]) -> dict[int, str]:
    step = -(-count // MOST_ROWS)
    with path.open(encoding="utf-8") as lines:
        chosen = islice(lines, 0, None, step)
        rows = (records.parse(line, records.TABLES[table], where=path.name) for line in chosen)
        return {number * step: tell(" ".join(texts(row))[:CHARACTERS]) for number, row in enumerate(rows)}


def _identifier() -> Callable[[str], str]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415  (0.5 s; bad rows are judged first)

    made: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=LEAST_CERTAIN)
    return lambda text: str(made.classify(text)[0])
