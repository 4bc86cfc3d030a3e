from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from components.catalog import STEPS
from components.context import Context
from components.document.config import Settings
from components.document.step import run
from components.errors import ArtifactRefused

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "evidence" / "v1"


def _context(folder: Path, evidence: Path) -> Context[Settings]:
    evaluation = folder / "evaluation"
    evaluation.mkdir(exist_ok=True)
    (evaluation / "report.json").write_text('{"verdict": "pass"}')
    return Context(
        step=STEPS["document"],
        config=Settings(),
        seed=1,
        inputs={"evaluation": evaluation},
        scratch=folder / "scratch",
        checkpoints=folder / "ck",
        pipeline_run="manual-2026-11-21T00-00-00",
        evidence=evidence,
        external={"versions": {"policy": "3"}},
    )


def test_the_pack_holds_pages_evidence_report_and_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = _context(tmp_path, GOLDEN)

    run(context)

    pack = context.output("pack")
    summary = json.loads((pack / "summary.json").read_text())
    assert {"index.html", "model_card.md", "model_card.html", "manifest.json", "release.json"} <= {
        path.name for path in pack.iterdir()
    }
    assert (pack / "evidence" / "ppo.json").read_bytes() == (GOLDEN / "ppo.json").read_bytes()
    assert json.loads((pack / "attachments" / "evaluation-report.json").read_text()) == {"verdict": "pass"}
    assert (summary["policy_version"], summary["verdict"], summary["index"]) == ("3", "pass", "index.html")
    assert context.facts["verdict"] == "pass"
    assert context.measurements["gaps"].value == len(summary["gaps"])
    assert capsys.readouterr().out == ""


def test_evidence_that_governance_cannot_read_is_refused_in_its_own_words(tmp_path: Path) -> None:
    evidence = Path(shutil.copytree(GOLDEN, tmp_path / "evidence"))
    (evidence / "sft.json").write_text("{}")

    with pytest.raises(ArtifactRefused, match=r"^sft\.json has type None; this version reads plumbline\.evidence/v1"):
        run(_context(tmp_path, evidence))
