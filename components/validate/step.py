"""The story of `validate`: check the files, judge the rows, check the tables, publish."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import disclosure, records
from components.errors import DataRefused
from components.provenance import file_digest
from components.validate import drift, expectations, findings, languages, rows, similar
from components.validate.accepted import Accepted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from components.context import Context
    from components.validate.config import Settings

SHOWN = 5
PEOPLE = "annotators"
"""The table whose rows are people: its counts are not told as exactly as others are."""
TARGET = "target_population.json"
"""Declared shares of groups in the population that annotators should stand for: attribute → value → share."""
DECISIONS = "decisions.jsonl"
"""What people decided about annotators."""
NO_EARLIER = "no other version of the data was accepted before, so there is nothing to compare with"
RETESTS = "retests.json"
"""Of annotators who decided about a pair again: how often they said the same, and the opposite."""
LIMITS = (
    "max_characters",
    "max_near_duplicates",
    "max_other_language",
    "max_personal_data",
    "max_position_share",
    "max_tie_share",
)
"""Settings that suites name."""
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
    seen = findings.Personal(context.config.telephone_region)
    tables = _judge(context, folder, seen)
    _check_files(folder, version)  # again: what was judged is what `start` recorded
    _check_shares(tables, context.config.max_quarantined_share)
    alike = _look_for_leaks(context, tables)
    _count_personal_data(context, seen)
    spoken = _look_for_languages(context, tables)
    results = _check(context, tables, alike, spoken)
    _check_results(results, _examples(alike, seen, spoken))

    _write_json(context.output("data_docs") / "results.json", results)
    _pass_on_target(context, folder)
    if (folder / DECISIONS).is_file():
        records.write(context.output("annotators") / DECISIONS, records.read(folder / DECISIONS, records.Decision))
    if tables.asked_again:
        _write_json(context.output("annotators") / RETESTS, tables.asked_again)
    _write_quarantine(context, tables)
    _compare(context)
    _measure(context, tables, results)
    _describe(context, tables, version["files"])


def _judge(context: Context[Settings], folder: Path, seen: findings.Personal) -> rows.Tables:
    """Judge all rows; accepted ones are written at once, so that a million need little memory."""
    accepted = {table: Accepted(table, context.output(table) / f"{table}.jsonl", seen) for table in rows.ORDER}
    try:
        return rows.judge(folder, max_characters=context.config.max_characters, accepted=accepted)
    finally:
        for table in accepted.values():
            table.close()


def _look_for_leaks(context: Context[Settings], tables: rows.Tables) -> list[similar.Similar]:
    """Count and list prompts kept from training that are nearly the same as one of another split."""
    asked = {name: (prompt.split, _question(prompt)) for name, prompt in tables.prompts.items()}
    found = similar.across_splits(asked, similarity=context.config.near_duplicate)
    apart = sum(split != "train" for split, _ in asked.values())
    context.measure("near_duplicates", len(found), unit="prompts", n=apart)
    context.fact("near_duplicate_threshold", context.config.near_duplicate)
    _write_lines(context.output("quarantine") / "near_duplicates.jsonl", (pair._asdict() for pair in found))
    return found


def _look_for_languages(context: Context[Settings], tables: rows.Tables) -> dict[str, dict[int, str]]:
    """Tell the languages of some of each table's rows."""
    accepted = {table: tables.accepted[table] for table in languages.TABLES}
    found = languages.look({table: (rows_.path, len(rows_)) for table, rows_ in accepted.items()})
    context.fact("languages", {table: _counted(spoken.values()) for table, spoken in found.items()})
    others = sum(
        language not in {languages.UNDETERMINED, *context.config.languages}
        for spoken in found.values()
        for language in spoken.values()
    )
    context.measure("other_languages", others, unit="rows", n=sum(map(len, found.values())))
    return found


def _check(
    context: Context[Settings], tables: rows.Tables, alike: list[similar.Similar], spoken: dict[str, dict[int, str]]
) -> list[dict[str, Any]]:
    """What every suite says of its table."""
    settings = context.config
    seen = expectations.Seen({pair.prompt for pair in alike}, spoken, settings.languages)
    limits = {"min_position_share": round(1 - settings.max_position_share, 6)} | {
        name: getattr(settings, name) for name in LIMITS
    }
    return expectations.check(tables, context.output("data_docs"), seen=seen, parameters=limits)


def _examples(
    alike: list[similar.Similar], seen: findings.Personal, spoken: dict[str, dict[int, str]]
) -> dict[tuple[str, str], list[str]]:
    """Table and column → what a person would look at first where an expectation of it is broken."""
    near = [f"{pair.prompt} ({pair.split}) and {pair.other} ({pair.other_split})" for pair in alike]
    found = {("prompts", "near_duplicate"): near}
    for place in seen.places:
        found.setdefault((place["table"], "has_personal_data"), []).append(f"{place['id']}: {place['kind']}")
    for table, told in spoken.items():
        found[table, "other_language"] = [f"{language} {count}" for language, count in Counter(told.values()).most_common()]
    return found


def _compare(context: Context[Settings]) -> None:
    """Compare with the last accepted data version.

    Raises:
        DataRefused: A feature differs more than the settings allow.
    """
    missing = [table for table in drift.TABLES if context.reference and table not in context.reference.paths]
    if context.reference is None or missing:
        reason = f"{', '.join(missing)} of the last accepted version were withdrawn since" if missing else NO_EARLIER
        for name in ("drift", "drift_compared_with"):
            context.gap(name, reason)
        return
    now = {table: context.output(table) / f"{table}.jsonl" for table in drift.TABLES}
    then = {table: context.reference.paths[table] / f"{table}.jsonl" for table in drift.TABLES}
    found = drift.compare(now, then)
    about = {"pipeline_run": context.reference.pipeline_run, **context.reference.digests}
    _write_json(context.output("data_docs") / "drift.json", {"compared_with": about, "psi": found})
    drifted = sorted(
        (name for name, value in found.items() if value > context.config.drift_warns), key=lambda name: -found[name]
    )
    context.fact("drift", found)
    context.fact("drift_compared_with", about)
    context.fact("drifted", drifted)
    context.measure("drifted", len(drifted), unit="features", n=len(found))
    beyond = [name for name in drifted if found[name] > context.config.drift_refuses]
    if beyond:
        shown = ", ".join(f"{name} {found[name]}" for name in beyond)
        message = (
            f"The data differ from those of the pipeline run {about['pipeline_run']!r}, the last accepted, by more than "
            f"validate.drift_refuses = {context.config.drift_refuses} (PSI): {shown}. If the change is meant, raise the limit "
            "for this run; else mend the data."
        )
        raise DataRefused(message)


def _question(prompt: records.Prompt) -> str:
    return " ".join(message.content for message in prompt.messages if message.role == "user")


def _count_personal_data(context: Context[Settings], seen: findings.Personal) -> None:
    """Count texts with patterns of personal data, and list where they are."""
    context.measure("personal_data", seen.texts_with, unit="texts", n=seen.texts)
    context.fact("personal_data_kinds", seen.kinds())
    _write_lines(context.output("quarantine") / "personal_data.jsonl", seen.places)


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


def _check_results(results: list[dict[str, Any]], examples: dict[tuple[str, str], list[str]]) -> None:
    broken = [result for result in results if not result["success"]]
    if broken:
        listed = "; ".join(_told(item, examples.get((item["table"], item["column"]), [])[:SHOWN]) for item in broken[:SHOWN])
        message = (
            f"Accepted rows break {len(broken)} of {len(results)} expectations: {listed}. Mend the data; if the data are "
            "right, change the limit in the section validate of the configuration, or the expectation in "
            "components/validate/suites."
        )
        raise DataRefused(message)


def _told(item: dict[str, Any], examples: list[str]) -> str:
    settings = ", ".join(f"{name} {_listed(value)}" for name, value in item["settings"].items())
    where = f"{item['table']}.jsonl > {item['column'] or 'table'}"
    shown = f" ({'; '.join(examples)})" if examples else ""
    return f"{where}: {' '.join(filter(None, (item['expectation'], settings)))}, found {item['observed']}{shown}"


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
    _write_lines(folder / "quarantine.jsonl", tables.quarantined)
    counts = {
        table: {"rows": tables.rows[table], "accepted": len(tables.accepted[table]), "quarantined": tables.turned_away(table)}
        for table in rows.ORDER
    }
    _write_json(folder / "counts.json", counts)


def _measure(context: Context[Settings], tables: rows.Tables, results: list[dict[str, Any]]) -> None:
    for table in rows.ORDER:
        if table != PEOPLE:
            context.measure(f"{table}_accepted", len(tables.accepted[table]), unit="rows", n=tables.rows[table])
            context.measure(f"{table}_quarantined", tables.turned_away(table), unit="rows", n=tables.rows[table])
    _measure_people(context, f"{PEOPLE}_accepted", len(tables.accepted[PEOPLE]))
    _measure_people(context, f"{PEOPLE}_quarantined", tables.turned_away(PEOPLE))
    context.measure("expectations_met", sum(result["success"] for result in results), unit="expectations", n=len(results))


def _measure_people(context: Context[Settings], name: str, count: int) -> None:
    """How many people, rounded down; nobody is nobody, and a few are not counted. `annotators` says more of them."""
    k = disclosure.SMALLEST
    if 0 < count < k:
        context.gap(name, f"some, but fewer than {k} people; counts.json in the artifact `quarantine` has the number")
    else:
        context.measure(name, disclosure.rounded_down(count, k=k), unit="people, rounded down")


def _describe(context: Context[Settings], tables: rows.Tables, files: dict[str, dict[str, Any]]) -> None:
    context.fact(
        "table_files", {table: _file(context.output(table) / f"{table}.jsonl") for table in rows.ORDER if table != PEOPLE}
    )
    context.fact("labels", _counts(tables, "comparisons", "label"))
    context.fact("prompt_kinds", _counts(tables, "prompts", "kind"))
    context.fact("splits", _counts(tables, "prompts", "split"))
    context.fact("prompt_scripts", _counted(findings.script(_question(prompt)) for prompt in tables.prompts.values()))
    context.fact("annotator_kinds", dict.fromkeys(_counts(tables, PEOPLE, "kind"), "some or all"))
    context.fact("guidelines", sorted(_counts(tables, "comparisons", "guideline")))
    context.fact("guideline_digests", _digests(files, "guidelines/"))
    context.fact("licence_digests", _digests(files, "LICENSE", "LICENCE", "licenses/", "licences/"))
    context.fact("quarantine_rules", _counted(row["rule"] for row in tables.quarantined if row["table"] != PEOPLE))
    for table, reason in OPTIONAL.items():
        if not tables.accepted[table]:
            context.gap(table, reason)


def _counts(tables: rows.Tables, table: str, name: str) -> dict[str, int]:
    """Value → rows of a table's column."""
    found: dict[str, int] = tables.accepted[table].columns.counts(name)
    return found


def _file(path: Path) -> dict[str, Any]:
    return {"sha256": file_digest(path).removeprefix("sha256:"), "bytes": path.stat().st_size}


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _digests(files: dict[str, dict[str, Any]], *starts: str) -> dict[str, str]:
    return {name: f"sha256:{file['sha256']}" for name, file in sorted(files.items()) if name.startswith(starts)}


def _write_lines(path: Path, rows_: Iterable[dict[str, Any]]) -> None:
    lines = (json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows_)
    path.write_text("".join(lines), encoding="utf-8")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
