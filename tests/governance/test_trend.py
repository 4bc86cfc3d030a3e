"""The evaluation report of a pack shows the trend that the record of `evaluate` holds, and nothing that it does not."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

from governance import render

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "evidence" / "v1"
SYSTEM = Path(__file__).resolve().parents[2] / "governance" / "system.yaml"
TREND = {
    "releases": 3,
    "metrics": {
        "utility": [
            {"release": "2", "value": 0.25, "low": 0.125, "high": 0.375, "n": 210},
            {"release": "4", "value": 0.375, "low": 0.25, "high": 0.5, "n": 210},
            {"release": "candidate", "value": 0.5, "low": 0.375, "high": 0.625, "n": 210},
        ]
    },
    "not_comparable": [{"release": "1", "reason": "every suite asked other questions"}],
}


def _written(folder: Path, trend: object) -> tuple[str, str]:
    evidence = Path(shutil.copytree(GOLDEN, folder / "evidence"))
    record = json.loads((evidence / "evaluate.json").read_text())
    record["facts"]["trend"] = trend
    (evidence / "evaluate.json").write_text(json.dumps(record))
    render.render(evidence, folder / "pack", system=SYSTEM, pdf=False)
    page = (folder / "pack" / "evaluation.html").read_text()
    return page, (folder / "pack" / "evaluation.json").read_text()


def test_releases_are_drawn_cited_and_named_where_they_can_t_be_compared(tmp_path: Path) -> None:
    """From 0.125 below to 0.625 above on 18 px: 0.25 lies 13.5 px below the top's 2, 0.375 9, 0.5 4.5."""
    page, twin = _written(tmp_path, TREND)

    assert '<polyline class="arrow" fill="none" points="6.0,15.5 60.0,11.0 114.0,6.5"/>' in page
    said = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())
    assert re.search(r"Release 1.{0,12}: every suite asked other questions", said)
    assert re.search(r"Releases looked back at: 3", said)
    assert "evaluate.facts.trend.metrics.utility.1.value" in twin
    assert "evaluate.facts.trend.not_comparable.0.reason" in twin


def test_a_first_release_has_no_trend_and_no_gap_for_it(tmp_path: Path) -> None:
    page, twin = _written(tmp_path, {"releases": 0, "metrics": {}, "not_comparable": []})

    assert "Release and value" not in page
    assert "Not comparable" not in page
    assert "evaluate.facts.trend.releases" in twin


def test_what_a_release_is_called_is_escaped(tmp_path: Path) -> None:
    apart = {"release": "<b>1</b>", "reason": "<script>alert(1)</script>"}

    page, _ = _written(tmp_path, TREND | {"not_comparable": [apart]})

    assert "<script>alert" not in page
    assert "<b>1</b>" not in page
