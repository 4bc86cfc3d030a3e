"""Every command that README shows is run by a test; here is which."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN_BY = {
    "make run": "tests/e2e/test_run.py::test_without_a_terminal_the_candidate_waits_and_can_be_rejected_later",
    "make test": ".ci/run",
    ".venv/bin/python -m governance verify releases/policy-v1": (
        "tests/e2e/test_run.py::test_a_run_releases_an_unchanged_one_trains_nothing_and_a_changed_byte_shows"
    ),
    ".venv/bin/python -m components.importers hh-rlhf harmless-base.jsonl --out data-hh": (
        "tests/components/importers/test_hh_rlhf.py::test_the_real_file_imports_with_balanced_counts"
    ),
    "make run CONFIG=configs/hh-rlhf.toml": (
        "tests/e2e/test_hh_rlhf.py::test_the_pipeline_reaches_a_candidate_on_real_pairs_and_says_what_it_does_not_know"
    ),
    'make approve RUN="manual__..." DECISION=reject REASON="It flatters too much."': (
        "tests/e2e/test_run.py::test_without_a_terminal_the_candidate_waits_and_can_be_rejected_later"
    ),
}


def _commands() -> list[str]:
    """Lines of the fenced blocks that name no language; output is fenced as `text`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [line for language, block in blocks if not language for line in block.splitlines() if line]


def test_every_command_of_the_readme_is_run_by_a_test() -> None:
    assert sorted(set(_commands())) == sorted(RUN_BY)


@pytest.mark.parametrize("place", sorted(set(RUN_BY.values())))
def test_the_tests_that_run_them_exist(place: str) -> None:
    path, _, name = place.partition("::")

    assert name in (ROOT / path).read_text(encoding="utf-8")


def test_a_config_that_the_readme_names_is_a_config() -> None:
    from components.config import load, load_toml

    for path in (ROOT / "configs").glob("*.toml"):
        load(load_toml(path), where=path.name)
