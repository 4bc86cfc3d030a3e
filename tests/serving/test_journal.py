from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from serving.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path


def test_days_that_are_over_are_forgotten_and_nothing_else(tmp_path: Path) -> None:
    """Kept for 3 days: on the 10th, the 7th is still there and the 6th is not."""
    for name in (
        "requests-2026-11-06.jsonl",
        "requests-2026-11-07.jsonl",
        "requests-2026-11-10.jsonl",
        "requests-x.jsonl",
        "a",
    ):
        (tmp_path / name).write_text("{}\n")

    Journal(tmp_path, days=3).forget(date(2026, 11, 10))

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a",
        "requests-2026-11-07.jsonl",
        "requests-2026-11-10.jsonl",
        "requests-x.jsonl",
    ]


def test_a_new_day_begins_a_new_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log")
    journal.write({"caller": "a"}, said={"messages": ["secret"]})

    (path,) = (tmp_path / "log").iterdir()
    assert "secret" not in path.read_text()
    assert '"caller": "a"' in path.read_text()
