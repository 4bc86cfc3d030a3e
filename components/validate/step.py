"""The story of `validate`: check the files, judge the rows, check the tables, publish."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import records
from components.errors import DataRefused
from components.provenance import file_digest
from components.validate import expectations, rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from components.context import Context
    from components.validate.config import Settings

SHOWN = 5
TARGET = "target_population.json"
"""Declared shares of groups in the population that annotators should stand for: attribute → value → share."""
DECISIONS = "decisions.jsonl"
"""What people decided about annotators."""
OPTIONAL = {
    "golden": "the source has no pairs of which the better one is known",
    "annotators": "the source does not say who the annotators are",
}
"""Tables that may be empty, and the gap that this leaves."""


def run(context: Context[Settings]) -> None:
    """Publish the accepted tables, the quarantine and the checks' results."""
    version = json.loads((context.inputs["data_version"] / "data_version.json").read_text(encoding="utf-8"))
    folder = Path(os.environ.get("PLUMBLINE_DATA_ROOT", ".")) / version["folder"]
    _check_files(folder, version)
    tables = rows.judge(folder, max_characters=context.config.max_characters)
    _check_files(folder, version)  # again: what was judged is what `start` recorded
    _check_shares(tables, context.config.max_quarantined_share)
    results = expectations.check(tables, context.output("data_docs"))
    _check_results(results)

    _write_json(context.output("data_docs") / "results.json", results)
    for table, accepted in tables.accepted.items():
        records.write(context.output(table) / f"{table}.jsonl", accepted)
    _pass_on_target(context, folder)
    if (folder / DECISIONS).is_file():
        records.write(context.output("annotators") / DECISIONS, records.read(folder / DECISIONS, records.Decision))
    _write_quarantine(context, tables)
    _measure(context, tables, results)
    _describe(context, tables, version["files"])


def _check_files(folder: Path, version: dict[str, Any]) -> None:
    """The files are those that `start` recorded, no more and no fewer.

    Raises:
        DataRefused: Some are gone, changed or new; all are named.
    """
    recorded = {name: file["sha256"] for name, file in version["files"].items()}
    found = {path.relative_to(folder).as_posix(): file_digest(path) for path in folder.rglob("*") if path.is_file()}
    differing = [
        f"{name} {'is gone' if name not in found else 'changed' if name in recorded else 'is new'}"
        for name in sorted(recorded.keys() | found.keys())
        if recorded.get(name) != found.get(name)
    ]
    if differing:
        message = (
            f"{folder} is not what `start` recorded for this run: {', '.join(differing)}. "
            f"`dvc checkout {version['pin']}` brings the recorded data back; for the new data run "
            f"`dvc add {version['folder']}` and start a new run."
        )
        raise DataRefused(message)


def _check_shares(tables: rows.Tables, limit: float) -> None:
    for table, total in tables.rows.items():
        away = [row for row in tables.quarantined if row["table"] == table]
        if len(away) > limit * total:
            reasons = "; ".join(row["reason"] for row in away[:SHOWN])
            message = (
                f"{len(away)} of {total} rows of {table}.jsonl can't be used, more than "
                f"validate.max_quarantined_share = {limit} allows. The first are: {reasons}"
            )
            raise DataRefused(message)
    for table in sorted(rows.ORDER):
        if not tables.accepted[table] and table not in OPTIONAL:
            message = f"{table}.jsonl has no usable row. A run needs prompts, demonstrations, comparisons and a corpus."
            raise DataRefused(message)


def _check_results(results: list[dict[str, Any]]) -> None:
    broken = [result for result in results if not result["success"]]
    if broken:
        listed = "; ".join(_told(item) for item in broken[:SHOWN])
        message = (
            f"Accepted rows break {len(broken)} of {len(results)} expectations: {listed}. Mend the data, or change the "
            "expectation in components/validate/suites if the data is right."
        )
        raise DataRefused(message)


def _told(item: dict[str, Any]) -> str:
    settings = ", ".join(f"{name} {_listed(value)}" for name, value in item["settings"].items())
    where = f"{item['table']}.jsonl > {item['column'] or 'table'}"
    return f"{where}: {' '.join(filter(None, (item['expectation'], settings)))}, found {item['observed']}"


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _pass_on_target(context: Context[Settings], folder: Path) -> None:
    """Publish the declared target population with the annotators, where the data version has one.

    Raises:
        DataRefused: It is not a table of shares that add up to 1 for each attribute.
    """
    path = folder / TARGET
    if not path.is_file():
        return
    try:
        declared = json.loads(path.read_text(encoding="utf-8"))
        sums = {name: sum(float(share) for share in shares.values()) for name, shares in declared.items()}
        good = all(abs(total - 1) < 0.01 for total in sums.values())
        good &= all(0 <= share <= 1 for shares in declared.values() for share in shares.values())
    except (ValueError, AttributeError, TypeError):
        good = False
    if not good:
        message = f"{TARGET} must hold shares from 0 to 1 that add up to 1 for each attribute. Mend it or remove it."
        raise DataRefused(message)
    _write_json(context.output("annotators") / TARGET, declared)


def _write_quarantine(context: Context[Settings], tables: rows.Tables) -> None:
    folder = context.output("quarantine")
    lines = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in tables.quarantined)
    (folder / "quarantine.jsonl").write_text(lines, encoding="utf-8")
    counts = {
        table: {"rows": tables.rows[table], "accepted": len(tables.accepted[table]), "quarantined": tables.turned_away(table)}
        for table in rows.ORDER
    }
    _write_json(folder / "counts.json", counts)


def _measure(context: Context[Settings], tables: rows.Tables, results: list[dict[str, Any]]) -> None:
    for table in rows.ORDER:
        context.measure(f"{table}_accepted", len(tables.accepted[table]), unit="rows", n=tables.rows[table])
        context.measure(f"{table}_quarantined", tables.turned_away(table), unit="rows", n=tables.rows[table])
    context.measure("expectations_met", sum(result["success"] for result in results), unit="expectations", n=len(results))
    named = {comparison.annotator for comparison in tables.accepted["comparisons"]} - {None}
    context.measure("annotators", len(named), unit="annotators")


def _describe(context: Context[Settings], tables: rows.Tables, files: dict[str, dict[str, Any]]) -> None:
    comparisons, prompts = tables.accepted["comparisons"], tables.accepted["prompts"]
    context.fact("table_files", {table: _file(context.output(table) / f"{table}.jsonl") for table in rows.ORDER})
    context.fact("labels", _counted(comparison.label for comparison in comparisons))
    context.fact("prompt_kinds", _counted(prompt.kind for prompt in prompts))
    context.fact("splits", _counted(prompt.split for prompt in prompts))
    context.fact("annotator_kinds", _counted(person.kind for person in tables.accepted["annotators"]))
    context.fact("guidelines", sorted({comparison.guideline for comparison in comparisons} - {None}))
    context.fact("guideline_digests", _digests(files, "guidelines/"))
    context.fact("licence_digests", _digests(files, "LICENSE", "LICENCE", "licenses/", "licences/"))
    context.fact("quarantine_rules", _counted(row["rule"] for row in tables.quarantined))
    for table, reason in OPTIONAL.items():
        if not tables.accepted[table]:
            context.gap(table, reason)


def _file(path: Path) -> dict[str, Any]:
    return {"sha256": file_digest(path).removeprefix("sha256:"), "bytes": path.stat().st_size}


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _digests(files: dict[str, dict[str, Any]], *starts: str) -> dict[str, str]:
    return {name: f"sha256:{file['sha256']}" for name, file in sorted(files.items()) if name.startswith(starts)}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
