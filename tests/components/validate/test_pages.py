from __future__ import annotations

from typing import TYPE_CHECKING

from components.validate.pages import HEAD, settle, stand_alone

if TYPE_CHECKING:
    from pathlib import Path

RESULT = {"table": "prompts", "column": "kind", "expectation": "expect_x", "settings": {}, "success": False, "observed": ""}


def test_what_a_page_would_load_or_run_is_taken_out() -> None:
    page = (
        '<head><link rel="stylesheet" href="https://cdn.example/x.css"><STYLE>a { background: url(https://x) }</STYLE></head>'
        '<img\n src="https://logo.example/a.png?d=20261121T004210.489724Z"/><p onclick="spy()">Kept.</p>'
        "<script>alert(1)\n</script >"
    )

    assert stand_alone(page) == f"<head>{HEAD}</head><p>Kept.</p>"


def test_clock_and_chance_leave_no_trace() -> None:
    one, other = "a6419ea9-47b4-467e-a67a-9b03f69a65f0", "95b03001-4ea5-4b47-9bf3-e93e316cdb59"
    first = f"2026-11-21T00:42:08Z 20261121T004208.186329Z #{one} #{one}"
    second = f"2027-01-02T03:04:05Z 20270102T030405.000001Z #{other} #{other}"

    assert stand_alone(first) == stand_alone(second) == "see the evidence of validate see the evidence of validate #n1 #n1"


def test_two_random_names_stay_two() -> None:
    page = "a6419ea9-47b4-467e-a67a-9b03f69a65f0 95b03001-4ea5-4b47-9bf3-e93e316cdb59"

    assert stand_alone(page) == "n1 n2"


def test_the_index_escapes_what_was_observed(tmp_path: Path) -> None:
    settle(tmp_path / "work", tmp_path / "pages", [RESULT | {"observed": "<b>missing</b>"}])

    index = (tmp_path / "pages" / "index.html").read_text()
    assert "&lt;b&gt;missing&lt;/b&gt;" in index
    assert "0 of 1 expectations of the accepted rows are met" in index
