"""Argilla's exports: `dataset.records.to_json` (a list, nested) and the JSON lines of `to_datasets` (flat).

A label's columns are the record's fields and metadata, every question's answer by its name, and `user_id`. A ranking of two
becomes the name of the one ranked first, or `tie`.
The nested export says of no response whether it was submitted: filter for submitted ones before exporting.
Source: https://github.com/argilla-io/argilla, argilla/src/argilla/records/_io/_generic.py at 02e0d37e.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components.importers import table
from components.importers.rows import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from components.importers.label_studio import Vote
    from components.importers.table import Row

RESPONSES = ".responses"
SUBMITTED = "submitted"


def votes(path: Path) -> Iterator[Vote]:
    """The labels of an export.

    Raises:
        DataRefused: The file is not JSON.
    """
    for place, record in table.entries(path):
        if isinstance(record, Malformed):
            yield place, 1, record
            continue
        try:
            shared, by_user = _nested(record) if isinstance(record.get("fields"), dict) else _flat(record)
        except Malformed as reason:
            yield place, 1, reason
            continue
        if not by_user:
            yield place, 1, Malformed("nobody has answered this record")
        for number, (user, answers) in enumerate(by_user.items(), start=1):
            status = answers.pop(SUBMITTED, SUBMITTED)
            left_out = Malformed(f"the response is not submitted but {status}")
            yield place, number, shared | answers | {"user_id": user} if status == SUBMITTED else left_out


def _nested(record: Row) -> tuple[Row, dict[str, Row]]:
    metadata, answered = record.get("metadata") or {}, record.get("responses") or {}
    if not isinstance(metadata, dict) or not isinstance(answered, dict):
        message = "`metadata` and `responses` must be objects"
        raise Malformed(message)
    shared = record["fields"] | metadata | {"record_id": record.get("id")}
    by_user: dict[str, Row] = {}
    for question, responses in answered.items():
        if not isinstance(responses, list) or not all(isinstance(response, dict) for response in responses):
            message = "`responses` must hold a list of objects for each question"
            raise Malformed(message)
        for response in responses:
            by_user.setdefault(str(response.get("user_id")), {})[question] = _value(response.get("value"))
    return shared, by_user


def _flat(record: Row) -> tuple[Row, dict[str, Row]]:
    shared = {name: value for name, value in record.items() if RESPONSES not in name} | {"record_id": record.get("id")}
    by_user: dict[str, Row] = {}
    for column, values in record.items():
        if not column.endswith(RESPONSES) or values is None:
            continue
        users, states = record.get(f"{column}.users"), record.get(f"{column}.status")
        if states is None and isinstance(users, list):
            states = [SUBMITTED] * len(users)
        for user, value, status in _together(column, users, values, states):
            row = by_user.setdefault(str(user), {SUBMITTED: SUBMITTED})
            row[column.removesuffix(RESPONSES)] = _value(value)
            if (status or SUBMITTED) != SUBMITTED:
                row[SUBMITTED] = str(status)
    return shared, by_user


def _together(column: str, *lists: Any) -> Iterator[tuple[Any, ...]]:
    if not all(isinstance(each, list) for each in lists) or len(set(map(len, lists))) > 1:
        message = f"`{column}` and `{column}.users` must be lists of one length"
        raise Malformed(message)
    return zip(*lists, strict=True)


def _value(value: Any) -> Any:
    """An answer; of a ranking the first one's name, or `tie`."""
    ranked = isinstance(value, list) and len(value) == 2 and all(isinstance(item, dict) and "rank" in item for item in value)
    if not ranked:
        return value[0] if isinstance(value, list) and len(value) == 1 else value
    one, other = value
    if not (_is_rank(one["rank"]) and _is_rank(other["rank"])):
        message = "a ranking needs a whole number as each `rank`"
        raise Malformed(message)
    if one["rank"] == other["rank"]:
        return "tie"
    return (one if one["rank"] < other["rank"] else other).get("value")


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
