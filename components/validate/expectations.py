"""Great Expectations over accepted tables: suites from data files, results as JSON and pages.

A suite is suites/TABLE.json. Where a limit is a setting, the file says {"$PARAMETER": NAME} in place of a number. Besides the
columns of columns.py a suite may name:

| column | of | is |
| --- | --- | --- |
| has_personal_data | tables with texts | 1 where a pattern was found |
| prompt_exists, annotator_exists | tables that name one | whether the row named is in the other table |
| other_language | tables with texts | 1 where the language is not one of the settings'; NaN where nobody looked |
| near_duplicate | prompts kept from training | 1 where a prompt of another split is nearly the same |
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.validate.languages import UNDETERMINED
from components.validate.pages import settle

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from components.validate.rows import Tables

SUITES = Path(__file__).parent / "suites"


@dataclass(frozen=True)
class Seen:
    """What was found of the accepted rows apart from their columns."""

    near_duplicates: Collection[str]
    """Ids of prompts."""
    languages: Mapping[str, Mapping[int, str]]
    """Table → row → language, of the rows that were looked at."""
    expected_languages: Collection[str]


def check(tables: Tables, pages: Path, *, seen: Seen, parameters: Mapping[str, float]) -> list[dict[str, Any]]:
    """Run every suite on its table, and write Data Docs.

    Args:
        tables: What was accepted.
        pages: Folder for the pages.
        seen: What was found of it.
        parameters: Limits that suites name.

    Returns:
        One entry for each expectation: `table`, `expectation`, `column`, `settings`, `success`, `observed`.
    """
    gx = _great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    work = Path(context.variables.data_docs_sites["local_site"]["store_backend"]["base_directory"])
    context.data_sources.add_pandas("accepted")
    try:
        found = [
            entry
            for suite in sorted(SUITES.glob("*.json"))
            if tables.accepted[suite.stem]
            for entry in _check_table(gx, context, suite.stem, frame(tables, suite.stem, seen), parameters)
        ]
        context.build_data_docs()
        settle(work, pages, found)
    finally:
        shutil.rmtree(work, ignore_errors=True)  # Great Expectations made it outside of our folders
    return found


def _check_table(gx: Any, context: Any, table: str, accepted: Any, parameters: Mapping[str, float]) -> list[dict[str, Any]]:
    source = context.data_sources.get("accepted")
    batch = source.add_dataframe_asset(name=table).add_batch_definition_whole_dataframe(table)
    suite = gx.ExpectationSuite(name=table)
    for entry in json.loads((SUITES / f"{table}.json").read_text(encoding="utf-8"))["expectations"]:
        suite.add_expectation(getattr(gx.expectations, entry["type"])(**entry["settings"]))
    definition = gx.ValidationDefinition(name=table, data=batch, suite=context.suites.add(suite))
    checkpoint = gx.Checkpoint(
        name=table,
        validation_definitions=[context.validation_definitions.add(definition)],
        result_format="BASIC",
    )
    run = gx.RunIdentifier(run_name="accepted")
    result = context.checkpoints.add(checkpoint).run(
        batch_parameters={"dataframe": accepted}, expectation_parameters=dict(parameters), run_id=run
    )
    return [_entry(table, item) for outcome in result.run_results.values() for item in outcome.results]


def _entry(table: str, item: Any) -> dict[str, Any]:
    settings = dict(item.expectation_config.kwargs)
    return {
        "table": table,
        "expectation": item.expectation_config.type,
        "column": str(settings.pop("column", "")),
        "settings": {name: value for name, value in sorted(settings.items()) if name != "batch_id"},
        "success": bool(item.success),
        "observed": _observed(item.result, success=bool(item.success)),
    }


def _observed(result: Any, *, success: bool) -> str:
    if "unexpected_count" in result:
        return f"{result['unexpected_count']} unexpected of {result['element_count']}"
    if result.get("observed_value") is not None:
        return str(result["observed_value"])
    missing = result.get("partial_missing_list") or ()
    if missing:
        return f"missing {', '.join(map(str, missing))}"
    return "as expected" if success else "no value"


def frame(tables: Tables, table: str, seen: Seen) -> Any:
    """A table's columns, and those that need more than its own records to be known."""
    made = tables.accepted[table].columns.frame()
    if "prompt_id" in made:
        made["prompt_exists"] = made["prompt_id"].isin(tables.ids["prompts"])
    if "annotator" in made:
        made["annotator_exists"] = made["annotator"].isin(tables.ids["annotators"]) | made["annotator"].isna()
    if table in seen.languages:
        expected = {UNDETERMINED, *seen.expected_languages}
        others = {row: float(language not in expected) for row, language in seen.languages[table].items()}
        made["other_language"] = made.index.map(others)
    if table == "prompts":
        near = made["id"].isin(seen.near_duplicates).astype(float)
        made["near_duplicate"] = near.where(made["split"] != "train")
    return made


def _great_expectations() -> Any:
    import great_expectations as gx  # noqa: PLC0415  (seconds of import; refuse bad rows first)

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    return gx
