"""The report as tables in MLflow's format, so that its UI shows and compares them across runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

GATES = (
    "suite",
    "name",
    "verdict",
    "value",
    "low",
    "high",
    "threshold",
    "unit",
    "n",
    "p_adjusted",
    "visible",
    "more",
    "advisory",
)


def write(folder: Path, report: dict[str, Any]) -> None:
    """Write `gates.json`, `metrics.json` and `worst.json`: `{"columns": [...], "data": [[...], ...]}` each."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "gates.json", GATES, [[gate[name] for name in GATES] for gate in report["gates"]])
    models = list(report["models"])
    names = sorted({metric for row in report["models"].values() for metric in row})
    rows = [[name, *(report["models"][model].get(name, {}).get("value") for model in models)] for name in names]
    _write(folder / "metrics.json", ("metric", *models), rows)
    worst = [
        [gate["name"], case["id"], _words(case), case["candidate"]["answer"], case["reference"]["answer"]]
        for gate in report["gates"]
        for case in gate["worst"]
    ]
    _write(folder / "worst.json", ("gate", "prompt", "words", "candidate", "reference"), worst)


def _words(case: dict[str, Any]) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in case["messages"])


def _write(path: Path, columns: tuple[str, ...], data: list[list[Any]]) -> None:
    path.write_text(json.dumps({"columns": list(columns), "data": data}, ensure_ascii=False) + "\n", encoding="utf-8")
