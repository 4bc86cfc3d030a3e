"""Great Expectations over accepted tables: suites from data files, results as JSON and pages."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.validate.accepted import row
from components.validate.pages import settle

if TYPE_CHECKING:
    from components.validate.accepted import Accepted
    from components.validate.rows import Tables

SUITES = Path(__file__).parent / "suites"


def check(tables: Tables, pages: Path) -> list[dict[str, Any]]:
    """Run every suite on its table, and write Data Docs.

    Args:
        tables: What was accepted.
        pages: Folder for the pages.

    Returns:
        One entry for each expectation: `table`, `expectation`, `column`, `settings`, `success`, `observed`.
    """
    gx = _great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    work = Path(context.variables.data_docs_sites["local_site"]["store_backend"]["base_directory"])
    source = context.data_sources.add_pandas("accepted")
    try:
        found = [
            entry
            for suite in sorted(SUITES.glob("*.json"))
            if tables.accepted[suite.stem]
            for entry in _check_table(gx, context, source, suite.stem, tables.accepted[suite.stem])
        ]
        context.build_data_docs()
        settle(work, pages, found)
    finally:
        shutil.rmtree(work, ignore_errors=True)  # Great Expectations made it outside of our folders
    return found


def _check_table(gx: Any, context: Any, source: Any, table: str, accepted: Accepted | list[Any]) -> list[dict[str, Any]]:
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
    result = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame(accepted)}, run_id=run)
    return [_entry(table, item) for outcome in result.run_results.values() for item in outcome.results]


def _entry(table: str, item: Any) -> dict[str, Any]:
    settings = dict(item.expectation_config.kwargs)
    return {
        "table": table,
        "expectation": item.expectation_config.type,
        "column": str(settings.pop("column", "")),
        "settings": {name: value for name, value in sorted(settings.items()) if name != "batch_id"},
        "success": bool(item.success),
        "observed": _observed(item.result),
    }


def _observed(result: Any) -> str:
    if "unexpected_count" in result:
        return f"{result['unexpected_count']} unexpected of {result['element_count']}"
    if result.get("observed_value") is not None:
        return str(result["observed_value"])
    missing = result.get("partial_missing_list") or ()
    return f"missing {', '.join(map(str, missing))}" if missing else "as expected"


def frame(accepted: Accepted | list[Any]) -> Any:
    """A table's records as a data frame, with lengths in the place of texts."""
    import pandas as pd  # noqa: PLC0415  (1 s import)

    if isinstance(accepted, list):
        return pd.DataFrame([row(record.model_dump(mode="json")) for record in accepted])
    return pd.DataFrame(accepted.columns)


def _great_expectations() -> Any:
    import great_expectations as gx  # noqa: PLC0415  (seconds of import; refuse bad rows first)

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    return gx
