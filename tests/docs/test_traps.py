"""The page of traps names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_trap_names_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "traps.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| trap", "| ---"))]
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", page)

    without = [row for row in rows if "::test_" not in row and not row.endswith("| same |")]
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")]

    assert len(rows) > 25
    assert (without, missing) == ([], [])
