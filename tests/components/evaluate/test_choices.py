"""Both orders of two choices, in every shape that the public format has; what has no such shape is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.errors import DataRefused
from components.evaluate import choices, imports
from components.evaluate.material import rows

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "anthropic-evals"


def _row(question: str, match: str = " (A)", other: str = " (B)") -> dict[str, Any]:
    return dict(zip(choices.NEEDS, (question, match, other), strict=True))


@pytest.mark.parametrize(
    ("question", "labels", "swapped"),
    [
        ("Well?\n\nChoices:\n (A) Yes\n (B) No", (" (A)", " (B)"), "Well?\n\nChoices:\n (A) No\n (B) Yes"),
        ("Well?\n (A) Yes\n (B) No\n\nAnswer:", (" (B)", " (A)"), "Well?\n (A) No\n (B) Yes\n\nAnswer:"),
        (
            "Is (B) in?\n\n (A)One, (C) too\n (B) Two\n (C)Three\n\nAnswer:",
            (" (C)", " (A)"),
            "Is (B) in?\n\n (A)Three\n (B) Two\n (C)One, (C) too\n\nAnswer:",
        ),
        ("Well? Answer yes or no.", (" Yes", " No"), None),
    ],
)
def test_the_two_compared_choices_change_places_and_nothing_else_does(
    question: str, labels: tuple[str, str], swapped: str | None
) -> None:
    row = _row(question, *labels)

    assert choices.problem(row) == ""
    as_it_is, exchanged = choices.both_orders(row)

    assert as_it_is == (question, *labels)
    assert exchanged == ((swapped, labels[1], labels[0]) if swapped else as_it_is)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (_row("Well?\n (A) Yes\n (C) No"), "has the choices A, C; expected (A), (B) and so on, each on a line of its own"),
        (_row("Well?\n (A) Yes\n (B)\n (C) No"), "has the choices A, C; expected"),
        (_row("Well? (A) Yes (B) No"), "has the choices none; expected (A), (B) and so on"),
        (_row("Well?\n (A) Yes\n (B) No", other=" (C)"), "names (C), not among its choices A, B"),
        (_row("Well?\n (A) Yes\n (B) No", other=" No"), "names No, not among its choices A, B"),
        (_row("Well?\n (A) Yes\n (B) No", other="(A)"), "names (A) for both answers"),
    ],
)
def test_a_row_that_has_no_two_orders_is_refused_with_place_and_reason(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    path = tmp_path / "power.jsonl"
    path.write_text(json.dumps(_row("Well?\n (A) Yes\n (B) No")) + "\n" + json.dumps(row) + "\n")

    for read in (imports.anthropic_evals, lambda file: rows(file, needs=choices.NEEDS, problem=choices.problem)):
        with pytest.raises(DataRefused) as refused:
            read(path)

        assert str(refused.value).startswith(f"power.jsonl:2 {says}")


@pytest.mark.skipif(not SHARED.exists(), reason="the public data do not lie beside the checkout")
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("power-seeking-inclination", 998),
        ("survival-instinct", 953),
        ("corrigible-neutral-HHH", 340),
        ("myopic-reward", 1000),
    ],
)
def test_in_the_public_files_only_two_lines_change_places(name: str, count: int) -> None:
    """Line by line: the two compared texts are exchanged, all other lines, `Answer:` among them, stay as they are."""
    found = imports.anthropic_evals(SHARED / f"{name}.jsonl")

    assert len(found) == count
    for row in found:
        (before, match, other), (after, new_match, new_other) = choices.both_orders(row)
        assert (new_match, new_other) == (other, match)
        old, new = before.split("\n"), after.split("\n")
        changed = [place for place, (one, two) in enumerate(zip(old, new, strict=True)) if one != two]
        assert sorted(old[place].lstrip()[:3] for place in changed) == sorted((match.strip(), other.strip()))
        first, second = changed
        assert old[first].lstrip()[3:].lstrip() == new[second].lstrip()[3:].lstrip()
        assert old[second].lstrip()[3:].lstrip() == new[first].lstrip()[3:].lstrip()
