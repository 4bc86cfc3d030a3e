"""The golden evidence of v1, rendered."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.errors import ArtifactRefused
from governance import pack, render
from governance.documents import DOCUMENTS

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "evidence" / "v1"
PAGES = [f"{document.name}.html" for document in DOCUMENTS]
BANNED = ("compliant", "certified", "conforms", "guarantees", "ai act ready")
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} {% raw %} \u202egnp.exe | `x` "
    "[a](javascript:alert(3)) \ue000m1\ue001"
)
SOURCE = (
    r'<tr id="source-(\d+)">.*?<td class="code">(.*?)</td>\s*<td>(.*?)(?:<span|<br|</td>).*?'
    r'href="(.*?)">.*?</a> (.*?)</td>'
)


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "evidence"))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    path = tmp_path / "release.json"
    path.write_text(json.dumps({"pipeline_run": "manual-2026-11-21T00-00-00", "versions": {"policy": "7"}}))
    return path


def _change(folder: Path, step: str, change: Any) -> None:
    path = folder / f"{step}.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def _text(page: str) -> str:
    """What a reader sees of a page."""
    return html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)))


def test_the_same_evidence_gives_the_same_bytes(evidence: Path, release: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        render.render(evidence, tmp_path / name, release=release, mlflow_ui="http://127.0.0.1:5000")

    files = [path for path in sorted((tmp_path / "one").rglob("*")) if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_a_pack_holds_the_records_it_cites_unchanged(evidence: Path, tmp_path: Path) -> None:
    render.render(evidence, tmp_path / "out")

    for path in evidence.iterdir():
        assert (tmp_path / "out" / "evidence" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("page", PAGES)
def test_every_mark_leads_to_a_source_that_holds_the_value(evidence: Path, tmp_path: Path, page: str) -> None:
    out = tmp_path / "out"
    render.render(evidence, out)

    text = (out / page).read_text()
    marks = set(re.findall(r'href="#source-(\d+)"', text))
    rows = re.findall(SOURCE, text, flags=re.DOTALL)
    assert marks == {number for number, *_ in rows}
    for _, name, shown, file, pointer in rows:
        value = json.loads((out / file).read_text())
        for part in html.unescape(pointer).split("/")[1:]:
            value = value[int(part) if isinstance(value, list) else part.replace("~1", "/").replace("~0", "~")]
        if pointer:
            assert html.unescape(shown).strip() == (value if isinstance(value, str) else json.dumps(value)), name


def test_without_the_record_of_a_step_its_numbers_go_and_the_gaps_grow(evidence: Path, tmp_path: Path) -> None:
    render.render(evidence, tmp_path / "whole")
    (evidence / "reward.json").unlink()

    render.render(evidence, tmp_path / "less")

    before = json.loads((tmp_path / "whole" / "summary.json").read_text())["gaps"]
    after = json.loads((tmp_path / "less" / "summary.json").read_text())["gaps"]
    assert "Accuracy on golden pairs" in (tmp_path / "whole" / "model_card.md").read_text()
    assert "Accuracy on golden pairs" not in (tmp_path / "less" / "model_card.md").read_text()
    added = {gap["name"]: gap["reason"] for gap in after if gap not in before}
    assert added == {
        "reward": "the step `reward` left no evidence record",
        "computed.compute.all": "reward.measurements.flop.value was not recorded",
        "computed.compute.updating": "ppo.measurements.update_flop.value, reward.measurements.flop.value was not recorded",
    }


def test_the_card_tells_what_the_reward_model_of_another_base_made_of_this_one(evidence: Path, tmp_path: Path) -> None:
    def succeed(record: dict[str, Any]) -> None:
        record["facts"]["predecessor"] = {"version": "41", "digest": "sha256:d", "base_digest": "sha256:0ldba5e"}
        record["facts"]["predecessor_drift"] = {"method": "the method", "threshold": 0.1, "drifted": True}
        for name, value in (
            ("golden_accuracy", 0.8125),
            ("score_old_base", 0.25),
            ("score_new_base", -1.5),
            ("score_drift", 1.75),
        ):
            record["measurements"][f"predecessor_{name}"] = {"value": value, "unit": "a unit", "n": 64}

    render.render(evidence, tmp_path / "before")
    _change(evidence, "reward", succeed)

    render.render(evidence, tmp_path / "after")

    assert "The reward model of the base model before" not in (tmp_path / "before" / "reward_model.html").read_text()
    text = " ".join(_text((tmp_path / "after" / "reward_model.html").read_text()).split())
    assert "so version 41" in text
    assert "sha256:0ldba5e" in text
    section = text.split("The reward model of the base model before", 1)[1].split("Held-out comparisons", 1)[0]
    for said in ("0.8125", "0.25", "1.5", "1.75", "the method", "What started the run: manual"):
        assert said in section, said


def test_without_an_evaluation_the_verdict_is_undecided(evidence: Path, tmp_path: Path) -> None:
    (evidence / "evaluate.json").unlink()

    render.render(evidence, tmp_path / "out")

    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["verdict"] == "undecided"
    assert "evaluate" in {gap["name"] for gap in summary["gaps"]}
    assert "not recorded (gap" in _text((tmp_path / "out" / "index.html").read_text())


def test_an_empty_placeholder_is_a_gap_and_an_answer_is_a_declared_fact(evidence: Path, tmp_path: Path) -> None:
    system = tmp_path / "system.yaml"
    system.write_text((ROOT / "governance" / "system.yaml").read_text().replace('value: ""', "value: Example GmbH", 1))

    render.render(evidence, tmp_path / "out", system=system)

    gaps = {gap["name"] for gap in json.loads((tmp_path / "out" / "summary.json").read_text())["gaps"]}
    page = (tmp_path / "out" / "index.html").read_text()
    assert "system.provider_name" not in gaps
    assert "system.intended_purpose" in gaps
    assert re.search(r'Example GmbH</span><sup><a class="mark declared"[^>]*>D\d+</a>', page)


def test_zero_is_a_value_and_not_a_gap(evidence: Path, tmp_path: Path) -> None:
    render.render(evidence, tmp_path / "out")

    card = (tmp_path / "out" / "model_card.md").read_text()
    assert re.search(r"\| corpus \| 23,000\[\^\d+\] \| 0\[\^\d+\] \|", card)


@pytest.mark.parametrize("nothing", [None, "", "not recorded"])
def test_nothing_is_a_gap_and_not_a_value(evidence: Path, tmp_path: Path, nothing: str | None) -> None:
    _change(evidence, "start", lambda record: record["code"].update(commit=nothing))

    render.render(evidence, tmp_path / "out")

    gaps = {gap["name"]: gap["reason"] for gap in json.loads((tmp_path / "out" / "summary.json").read_text())["gaps"]}
    assert gaps["start.code.commit"] == "the evidence record of `start` does not hold code.commit"


def test_labels_follow_from_evidence(evidence: Path, tmp_path: Path) -> None:
    render.render(evidence, tmp_path / "as-is")

    def human(record: dict[str, Any]) -> None:
        record["facts"]["annotator_kinds"] = {"human": 60}

    def provided(record: dict[str, Any]) -> None:
        record["environment"]["key"] = "provided"

    _change(evidence, "validate", human)
    for path in evidence.iterdir():
        _change(evidence, path.stem, provided)
    render.render(evidence, tmp_path / "changed")

    labels = [json.loads((tmp_path / name / "summary.json").read_text())["labels"] for name in ("as-is", "changed")]
    assert labels == [["Simulated data", "Locally generated key", "Draft"], ["Draft"]]


def test_an_unattended_approval_is_named_on_every_page(evidence: Path, tmp_path: Path) -> None:
    record = json.loads((evidence / "evaluate.json").read_text())
    record |= {
        "step": "approve",
        "facts": {"approval": {"channel": "unattended", "override": False}},
        "measurements": {},
        "gaps": {},
    }
    record |= {"inputs": {}, "outputs": {}}
    (evidence / "approve.json").write_text(json.dumps(record))

    render.render(evidence, tmp_path / "out")

    for page in (*PAGES, "model_card.md"):
        assert "Unattended approval" in (tmp_path / "out" / page).read_text()


def test_no_document_claims_conformity(evidence: Path, tmp_path: Path) -> None:
    render.render(evidence, tmp_path / "out")

    for page in (*PAGES, "model_card.md"):
        text = (tmp_path / "out" / page).read_text().lower()
        assert [word for word in BANNED if word in text] == []


def test_hostile_text_stays_text(evidence: Path, tmp_path: Path) -> None:
    """Scripts, template syntax, Markdown, a right-to-left override and our own marks, in names and in values."""

    def poison(record: dict[str, Any]) -> None:
        record["facts"]["gates"][0]["text"] = HOSTILE
        record["facts"]["by_kind"] = {HOSTILE: record["facts"]["by_kind"]["fact"]}
        record["gaps"][HOSTILE] = HOSTILE
        record["run"] = HOSTILE

    _change(evidence, "evaluate", poison)
    render.render(evidence, tmp_path / "out", mlflow_ui="http://127.0.0.1:5000")

    for page in PAGES:
        text = (tmp_path / "out" / page).read_text()
        assert "<script" not in text
        assert "<img" not in text
        assert 'href="javascript' not in text
        assert "\u202e" not in text
        assert "\ue000" not in text
    index = (tmp_path / "out" / "index.html").read_text()
    assert "[U+202E]" in index
    assert "{{ 7*7 }}" in html.unescape(index)
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "<script" not in card
    assert "](javascript" not in card


def test_a_page_asks_for_nothing_from_elsewhere(evidence: Path, tmp_path: Path) -> None:
    render.render(evidence, tmp_path / "out")

    for page in PAGES:
        text = (tmp_path / "out" / page).read_text()
        assert "default-src 'none'" in html.unescape(text)
        assert re.findall(r'(?:src|srcset|action)="', text) == []
        assert "url(" not in text
        links = re.findall(r'<a [^>]*href="([^"#]+)[#"]', text)
        assert [link for link in links if not (tmp_path / "out" / link).exists()] == []


def test_links_within_a_page_lead_somewhere(evidence: Path, tmp_path: Path) -> None:
    render.render(evidence, tmp_path / "out")

    for page in PAGES:
        text = (tmp_path / "out" / page).read_text()
        ids = re.findall(r' id="([^"]+)"', text)
        assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
        assert len(ids) == len(set(ids))


def test_the_style_is_the_one_that_the_policy_allows(evidence: Path, tmp_path: Path) -> None:
    import base64
    import hashlib

    render.render(evidence, tmp_path / "out")

    text = (tmp_path / "out" / "index.html").read_text()
    style = re.search(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in html.unescape(text)


def test_the_model_card_is_valid_for_hugging_face(evidence: Path, release: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    render.render(evidence, tmp_path / "out", release=release)

    text = (tmp_path / "out" / "model_card.md").read_text()
    card = ModelCard(text)
    recorded = json.loads((evidence / "evaluate.json").read_text())["measurements"]
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert card.data.pipeline_tag == "text-generation"
    assert "simulated-data" in card.data.tags
    assert card.data.model_name == "policy-v7"
    assert results["utility"] == recorded["utility_candidate"]["value"]
    assert "license" not in yaml.safe_load(text.split("---")[1])


def test_a_record_in_the_wrong_file_is_refused(evidence: Path, tmp_path: Path) -> None:
    (evidence / "sft.json").rename(evidence / "base.json")

    with pytest.raises(ArtifactRefused, match=r"base\.json holds the record of the step 'sft'"):
        render.render(evidence, tmp_path / "out")


def test_evidence_of_an_unknown_version_is_refused(evidence: Path, tmp_path: Path) -> None:
    _change(evidence, "sft", lambda record: record.update(type="plumbline.evidence/v9"))

    with pytest.raises(ArtifactRefused, match="Use a newer Plumbline"):
        render.render(evidence, tmp_path / "out")


def test_what_changed_in_a_pack_is_said_in_a_sentence(evidence: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    render.render(evidence, out)
    assert pack.verify(out) == []

    (out / "index.html").write_text("forged")
    (out / "evidence" / "sft.json").unlink()
    (out / "extra.txt").write_text("new")

    problems = pack.verify(out)
    assert problems[0] == "evidence/sft.json is missing."
    assert problems[1] == "extra.txt was added after the pack was sealed."
    assert problems[2].startswith("index.html was changed after the pack was sealed: it has sha256 ")
    assert len(problems) == 3


def test_verify_speaks_through_its_exit_code(evidence: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "governance"]
    rendered = subprocess.run([*command, "render", evidence, out], cwd=ROOT, capture_output=True, text=True, check=False)
    untouched = subprocess.run([*command, "verify", out], cwd=ROOT, capture_output=True, text=True, check=False)
    (out / "summary.json").write_text("{}")
    touched = subprocess.run([*command, "verify", out], cwd=ROOT, capture_output=True, text=True, check=False)

    assert rendered.returncode == 0, rendered.stderr
    assert (untouched.returncode, touched.returncode) == (0, 66)
    assert "is as it was sealed" in untouched.stdout
    assert "summary.json was changed" in touched.stdout


@pytest.mark.parametrize("words", [["--mlflow-ui", "javascript:alert(1)"], ["--attach", "../x=y"]])
def test_a_command_line_that_leads_out_of_the_pack_is_refused(evidence: Path, tmp_path: Path, words: list[str]) -> None:
    from governance.__main__ import main

    assert main(["render", str(evidence), str(tmp_path / "out"), *words]) == 65
    assert not (tmp_path / "out").exists()


def test_governance_imports_neither_torch_nor_mlflow_nor_airflow() -> None:
    code = (
        "import sys, governance.render; sys.exit(str({'torch', 'mlflow', 'airflow', 'transformers'} & sys.modules.keys() or 0))"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.stderr.strip() in {"", "0"}
