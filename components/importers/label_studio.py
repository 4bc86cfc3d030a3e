"""Label Studio's exports: JSON (tasks with their annotations) and JSON_MIN (one object an annotation).

A label's columns are the task's `data`, every control's answer by its `from_name`, and `completed_by`, `lead_time`,
`created_at`, `task_id` of the annotation.
Sources: https://labelstud.io/guide/task_format, https://labelstud.io/guide/export, https://labelstud.io/tags/pairwise
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components.importers import table
from components.importers.rows import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from components.importers.table import Row

Vote = tuple[int, int, "Row | Malformed"]
"""Place of the task, of the annotation in it, and the columns or why there are none."""


def votes(path: Path) -> Iterator[Vote]:
    """The labels of an export.

    Raises:
        DataRefused: The file is not JSON.
    """
    for place, task in table.entries(path):
        if isinstance(task, Malformed):
            yield place, 1, task
        elif "annotations" in task or "data" in task:
            yield from _of_task(place, task)
        else:
            yield place, 1, _of_minimal(task)


def _of_task(place: int, task: Row) -> Iterator[Vote]:
    annotations, data = task.get("annotations"), task.get("data")
    if not isinstance(data, dict) or not isinstance(annotations, list):
        yield place, 1, Malformed("a task needs `data` and a list `annotations`")
        return
    if not annotations:
        yield place, 1, Malformed("nobody has labelled this task")
    for number, annotation in enumerate(annotations, start=1):
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
            yield place, number, Malformed("an annotation needs a list `result`")
        elif annotation.get("was_cancelled"):
            yield place, number, Malformed("the annotator skipped this task")
        else:
            yield place, number, data | _answers(annotation["result"]) | _about(annotation) | {"task_id": task.get("id")}


def _of_minimal(row: Row) -> Row | Malformed:
    """JSON_MIN has the answers beside the data, and calls `completed_by` `annotator`."""
    if "annotator" not in row:
        return Malformed("neither a task with `annotations` nor a row of JSON_MIN with `annotator`")
    flat = {name: _value(value) if isinstance(value, dict) else value for name, value in row.items()}
    return flat | {"completed_by": _who(flat.pop("annotator")), "task_id": row.get("id")}


def _about(annotation: Row) -> Row:
    found = {name: annotation.get(name) for name in ("lead_time", "created_at")}
    return found | {"completed_by": _who(annotation.get("completed_by"))}


def _who(value: Any) -> Any:
    """A number, an address, or an object that holds them; the address is what stays the same between servers."""
    return (value.get("email") or value.get("id")) if isinstance(value, dict) else value


def _answers(results: list[Any]) -> Row:
    return {
        str(result.get("from_name")): _value(result["value"])
        for result in results
        if isinstance(result, dict) and isinstance(result.get("value"), dict)
    }


def _value(value: Row) -> Any:
    """What an answer holds: `{"selected": "left"}`, `{"choices": ["left"]}`, `{"rating": 3}`, `{"text": ["..."]}`."""
    found = next((value[name] for name in ("selected", "choices", "rating", "number", "text") if name in value), None)
    return found[0] if isinstance(found, list) and len(found) == 1 else found
