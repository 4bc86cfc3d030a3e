from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_environment_variable_of_ours_is_listed() -> None:
    used = set()
    for folder in ("components", "dags", "governance", "serving"):
        for path in (ROOT / folder).rglob("*.py"):
            used |= set(re.findall(r"[\"']((?:PLUMBLINE)_[A-Z_]+[A-Z])[\"']", path.read_text(encoding="utf-8")))

    listed = (ROOT / "infra" / "README.md").read_text(encoding="utf-8")

    assert {name for name in used if f"`{name}`" not in listed} == set()
