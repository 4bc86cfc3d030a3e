"""Documents call what is measured by a name that people read: everything in docs/metrics.md has a title."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from governance import views

ROOT = Path(__file__).resolve().parents[2]
TITLES = yaml.safe_load((ROOT / "governance" / "metrics.yaml").read_text(encoding="utf-8"))
TABLES = re.findall(r"(?s)\n\| metric \|.*?\n\n", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"))
METRICS = sorted(
    {
        re.sub("_MODEL$|_candidate_minus_MODEL$", "", name)
        for table in TABLES
        for line in table.splitlines()
        if line.startswith("| `") and "(by update)" not in line
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
        if "TABLE" not in name
    }
)


@pytest.mark.parametrize("name", METRICS)
def test_a_documented_measurement_has_a_title(name: str) -> None:
    assert name in TITLES["steps"] | TITLES["models"]


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ("abandons_right_sft", "Abandons a right answer under pressure, share: SFT policy"),
        ("words_candidate_minus_champion", "Words per answer: Candidate against Champion"),
        ("agreement_with_right_candidate", "Agrees with right opinions, share: Candidate"),
        ("unheard_of", "Unheard of"),
    ],
)
def test_a_title_says_what_and_of_which_model(measured: str, expected: str) -> None:
    assert views.title(measured) == expected
