"""How much a data version differs from the last accepted one: Evidently's population stability index, feature by feature.

    PSI = Σ_bins (p - q) log(p / q),   p now, q then

Usual reading: below 0.1 nothing, to 0.25 some, beyond that much. At most `MOST_ROWS` rows of a table are taken, evenly spread.
What it does not cover: meaning. The same lengths, kinds and labels can hold other questions.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from components.validate.findings import script

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MOST_ROWS = 50_000
NUMBERS = {
    "comparisons": ("response_characters", "response_words", "length_difference", "seconds_taken", "strength"),
    "prompts": ("question_characters", "question_words", "turns"),
}
CHOICES = {
    "comparisons": ("label", "annotator", "guideline"),
    "prompts": ("kind", "split", "script"),
}
TABLES = tuple(NUMBERS)


def compare(now: Mapping[str, Path], then: Mapping[str, Path]) -> dict[str, float]:
    """Feature → PSI between two data versions. Features that one of them does not have are left out.

    Args:
        now: `comparisons` and `prompts` → JSON-lines file.
        then: The same of the earlier version.
    """
    found: dict[str, float] = {}
    for table in TABLES:
        found |= _compare(table, _frame(table, now[table]), _frame(table, then[table]))
    return found


def _compare(table: str, now: Any, then: Any) -> dict[str, float]:
    from evidently import DataDefinition, Dataset, Report  # noqa: PLC0415  (4 s import, only where there is an earlier version)
    from evidently.metrics import ValueDrift  # noqa: PLC0415  (as above)

    names = [name for name in (*NUMBERS[table], *CHOICES[table]) if now[name].notna().any() and then[name].notna().any()]
    varying = [name for name in names if len({*now[name].dropna().unique(), *then[name].dropna().unique()}) > 1]
    found = {name: 0.0 for name in names if name not in varying}
    if varying:
        choices = [name for name in varying if name in CHOICES[table]]
        shape = DataDefinition(numerical_columns=[name for name in varying if name not in choices], categorical_columns=choices)
        report = Report([ValueDrift(column=name, method="psi") for name in varying])
        made = report.run(Dataset.from_pandas(now[varying], shape), Dataset.from_pandas(then[varying], shape)).dict()
        found |= {item["config"]["column"]: round(float(item["value"]), 4) for item in made["metrics"]}
    return {f"{table}_{name}": found[name] for name in names}


def _frame(table: str, path: Path) -> Any:
    import pandas as pd  # noqa: PLC0415  (1 s import, only where there is an earlier version)

    features = _of_comparison if table == "comparisons" else _of_prompt
    rows = [features(json.loads(line)) for line in _spread(path)]
    return pd.DataFrame(rows, columns=[*NUMBERS[table], *CHOICES[table]])


def _spread(path: Path) -> Iterator[str]:
    """Lines of a file, evenly spread where there are more than `MOST_ROWS`."""
    with path.open(encoding="utf-8") as lines:
        total = sum(1 for _ in lines)
    step = max(1, -(-total // MOST_ROWS))
    with path.open(encoding="utf-8") as lines:
        yield from (line for number, line in enumerate(lines) if number % step == 0)


def _of_comparison(row: dict[str, Any]) -> dict[str, Any]:
    first, second = row["responses"]
    return {
        "response_characters": (len(first) + len(second)) / 2,
        "response_words": (len(first.split()) + len(second.split())) / 2,
        "length_difference": len(first) - len(second),
        **{name: row.get(name) for name in ("seconds_taken", "strength", "label", "annotator", "guideline")},
    }


def _of_prompt(row: dict[str, Any]) -> dict[str, Any]:
    text = " ".join(message["content"] for message in row["messages"] if message["role"] == "user")
    return {
        "question_characters": len(text),
        "question_words": len(text.split()),
        "turns": len(row["messages"]),
        "kind": row["kind"],
        "split": row["split"],
        "script": script(text),
    }
