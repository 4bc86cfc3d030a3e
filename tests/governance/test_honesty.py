"""What every document states is in its evidence, no more and no less."""

from __future__ import annotations

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from components.errors import ArtifactRefused
from governance import escape, facts, render, statements
from governance.documents import DOCUMENTS

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "evidence" / "v1"
STEPS = sorted(path.stem for path in GOLDEN.glob("*.json"))
RELEASE = {"pipeline_run": "manual-2026-11-21T00-00-00", "versions": {"policy": "7", "reward-model": "3"}}


class Reader(HTMLParser):
    """Splits a page's text into what comes from facts and what does not; leaves out frames: labels, sources, gap reasons."""

    def __init__(self) -> None:
        super().__init__()
        self.stated: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._skipped = 0
        self._fact: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        framed = tag in {"style", "script", "title"} or found.get("id") == "sources" or found.get("class") in {"labels", "gaps"}
        if self._skipped and tag not in VOID:
            self._skipped += 1
        elif framed:
            self._skipped = 1
        elif "data-fact" in found:
            self._fact = found["data-fact"] or ""
            self.stated.append((self._fact, ""))

    def handle_endtag(self, tag: str) -> None:
        if self._skipped and tag not in VOID:
            self._skipped -= 1
        elif tag == "span":
            self._fact = None

    def handle_data(self, data: str) -> None:
        if self._skipped:
            return
        if self._fact is None:
            self.words.append(data)
        else:
            self.stated[-1] = (self._fact, self.stated[-1][1] + data)


VOID = {"meta", "br", "input", "link", "hr", "img"}


def _read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    return reader


def _render(evidence: Path, out: Path) -> Path:
    release = out.with_suffix(".release.json")
    release.write_text(json.dumps(RELEASE))
    render.render(evidence, out, release=release)
    return out


def _stated(out: Path) -> dict[str, set[tuple[str, str]]]:
    return {str(document.name): set(_read(out / f"{document.name}.html").stated) for document in DOCUMENTS}


def _other(value: Any) -> Any:
    """The value with every number in it changed."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value + 1013
    if isinstance(value, float):
        return value + 0.37
    if isinstance(value, dict):
        return {name: _other(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_other(inner) for inner in value]
    return value


def test_every_value_on_every_page_is_the_value_in_its_evidence(tmp_path: Path) -> None:
    """Follow each value from the page through the page's own list of sources into the file, by JSON pointer."""
    out = _render(GOLDEN, tmp_path / "out")

    checked = 0
    for document in DOCUMENTS:
        twin = json.loads((out / f"{document.name}.json").read_text())["statements"]
        for name, shown in _read(out / f"{document.name}.html").stated:
            source = twin[name]["source"]
            if source["file"].endswith(".yaml"):
                continue
            value = json.loads((out / source["file"]).read_text())
            for part in source["pointer"].split("/")[1:]:
                value = value[int(part)] if isinstance(value, list) else value[part.replace("~1", "/").replace("~0", "~")]
            assert shown in {escape.visible(escape.plain(value)), *_numbers(value)}, (document.name, name)
            checked += 1
    assert checked > 500


def _numbers(value: Any) -> set[str]:
    return {escape.to_places(value), repr(value)} if isinstance(value, int | float) else set()


def test_no_number_from_evidence_stands_outside_a_marked_value(tmp_path: Path) -> None:
    """Change every number in every record: what is not marked as a fact must stay the same, letter for letter."""
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in GOLDEN.glob("*.json"):
        record = json.loads(path.read_text())
        for part in ("measurements", "facts", "settings", "seed"):
            record[part] = _other(record[part])
        (changed / path.name).write_text(json.dumps(record))

    one, two = _render(GOLDEN, tmp_path / "one"), _render(changed, tmp_path / "two")

    for document in DOCUMENTS:
        before, after = (_read(out / f"{document.name}.html") for out in (one, two))
        assert before.words == after.words, document.name


@pytest.mark.parametrize("step", STEPS)
def test_without_a_record_exactly_what_rests_on_it_disappears(tmp_path: Path, step: str) -> None:
    evidence = Path(shutil.copytree(GOLDEN, tmp_path / "evidence"))
    whole = _render(evidence, tmp_path / "whole")
    (evidence / f"{step}.json").unlink()
    less = _render(evidence, tmp_path / "less")

    before, after = _stated(whole), _stated(less)
    names = {name for stated in before.values() for name, _ in stated}
    left = {name for stated in after.values() for name, _ in stated}
    computed = ("computed.", "controls.")
    gone = {name for name in names - left if not name.startswith(computed)}
    assert gone == {name for name in names if name.startswith(f"{step}.")}
    of = {f"computed.{name}" for name, entry in _computed(whole).items() if f"{step}." in str(entry.get("of"))}
    still = {name for name in left if name.startswith("computed.")}
    assert not {name for name in still if name.removesuffix(".value") in of}
    gaps = [{gap["name"] for gap in json.loads((out / "summary.json").read_text())["gaps"]} for out in (whole, less)]
    assert step in gaps[1] - gaps[0]
    values = [
        {pair for stated in found.values() for pair in stated if not pair[0].startswith(computed)} for found in (before, after)
    ]
    labels = ("environment.key", "code.dirty")  # a label names the first step that it holds for
    kept = [{pair for pair in found if not pair[0].endswith(labels) and not pair[0].startswith(f"{step}.")} for found in values]
    assert kept[0] == kept[1]


def _computed(out: Path) -> dict[str, Any]:
    tree = json.loads((out / "computed.json").read_text())["compute"]
    return {f"compute.{name}": entry for name, entry in tree.items()}


def test_records_that_contradict_each_other_fail_the_build(tmp_path: Path) -> None:
    evidence = Path(shutil.copytree(GOLDEN, tmp_path / "evidence"))
    record = json.loads((evidence / "ppo.json").read_text())
    record["inputs"]["reward_adapter"]["digest"] = "sha256:" + "0" * 64
    (evidence / "ppo.json").write_text(json.dumps(record))

    with pytest.raises(ArtifactRefused, match=r"ppo\.inputs\.reward_adapter\.digest is 'sha256:000.*they must be the same"):
        _render(evidence, tmp_path / "out")


def test_two_documents_that_give_one_key_two_values_fail_the_build() -> None:
    found = facts.load(GOLDEN, system=ROOT / "governance" / "system.yaml")
    name = "evaluate.measurements.prompts.value"
    right, wrong = (f'<span data-fact="{name}">{value}</span>' for value in ("210", "211"))
    statements.faithful({"one": right, "two": right}, found)

    with pytest.raises(
        ArtifactRefused, match=r"two\.html prints '211' for evaluate\.measurements\.prompts\.value, its record has 210"
    ):
        statements.faithful({"one": right, "two": wrong}, found)


def test_a_template_cannot_print_what_it_does_not_cite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    templates = Path(shutil.copytree(render.TEMPLATES, tmp_path / "templates"))
    (templates / "risks.html.jinja").write_text("{{ facts.value('evaluate.measurements.prompts.value') }}")
    monkeypatch.setattr(render, "TEMPLATES", templates)
    render._environment.cache_clear()

    with pytest.raises(TypeError, match=r"prints 210\.0 without a source; write cite\(NAME\)"):
        _render(GOLDEN, tmp_path / "out")

    render._environment.cache_clear()


def test_a_status_follows_from_evidence_and_people(tmp_path: Path) -> None:
    system = tmp_path / "system.yaml"
    text = (ROOT / "governance" / "system.yaml").read_text()

    def declare(name: str, value: str) -> None:
        nonlocal text
        text = re.sub(rf"(^{name}:\n(?:  .*\n)*?  value: ).*$", rf'\1"{value}"', text, flags=re.MULTILINE)

    declare("interactions", "A chat page calls the model.")
    declare("route", "annex_iii")
    declare("gpai_role", "none")
    system.write_text(text)
    render.render(GOLDEN, tmp_path / "out", system=system)

    status = json.loads((tmp_path / "out" / "controls.json").read_text())["requirements"]
    assert status["annex_iv"]["1(b)"] == "organisational: declared"
    assert status["annex_iv"]["1(g)"] == "organisational: open"
    assert status["annex_iv"]["1(c)"] == "evidence fresh"
    assert status["annex_iv"]["2(g)"] == "evidence missing"
    assert status["gpai"]["XI 1.1(d)"] == "not applicable"
    page = html.unescape((tmp_path / "out" / "annex_iv.html").read_text())
    assert "2027-12-02" in page
    assert "2028-08-02" not in page


def test_evidence_about_another_version_of_an_artifact_is_stale(tmp_path: Path) -> None:
    evidence = Path(shutil.copytree(GOLDEN, tmp_path / "evidence"))
    record = json.loads((evidence / "evaluate.json").read_text())
    record["inputs"]["sft_adapter"]["digest"] = "sha256:" + "0" * 64
    (evidence / "evaluate.json").write_text(json.dumps(record))

    out = _render(evidence, tmp_path / "out")

    status = json.loads((out / "controls.json").read_text())["requirements"]
    assert status["annex_iv"]["4"] == "evidence stale"
    assert status["annex_iv"]["1(c)"] == "evidence fresh"
    assert "Stale: a record that is cited here" in (out / "annex_iv.html").read_text()


def test_compute_is_counted_twice_and_tested_against_one_third(tmp_path: Path) -> None:
    """base 3e12; SFT 1e11, reward 3e11, PPO 8e11 of which 5e11 update: 0.9/3 is not above a third, 1.2/3 is."""
    evidence = Path(shutil.copytree(GOLDEN, tmp_path / "evidence"))
    flop = {"base": {"flop": 3e12}, "sft": {"flop": 1e11}, "reward": {"flop": 3e11}, "ppo": {"flop": 8e11, "update_flop": 5e11}}
    for step, values in flop.items():
        record = json.loads((evidence / f"{step}.json").read_text())
        record["measurements"] |= {name: {"value": value, "unit": "FLOP"} for name, value in values.items()}
        (evidence / f"{step}.json").write_text(json.dumps(record))

    found = json.loads((_render(evidence, tmp_path / "out") / "computed.json").read_text())["compute"]

    assert (found["updating"]["value"], found["all"]["value"]) == (3.9e12, 4.2e12)
    assert found["share_aligning_updating"]["value"] == pytest.approx(0.3)
    assert found["share_aligning_all"]["value"] == pytest.approx(0.4)
    assert found["verdict_aligning_updating"]["value"] == "not above one third"
    assert found["verdict_aligning_all"]["value"] == "above one third"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("provider_nam:\n  value: x\n", r"unknown question `provider_nam`\. Did you mean `provider_name`\?"),
        ("route:\n  value: annex_9\n", r"route: expected one of annex_iii, annex_i, not_high_risk, found 'annex_9'"),
        ("route:\n  value: annex_i\n  extra: 1\n", "route: expected a table with `value` and no fields but"),
        ("licence:\n  value: 2\n", r"licence > value: expected text, found 2"),
        ("- a\n", "is not a table of questions"),
        ("a: [\n", "is not YAML"),
        ("licence:\n  value: not applicable\n", r"licence: 'not applicable' says no more\. Write `not applicable: ` and why\."),
        ("licence:\n  value: 'withheld:'\n", r"licence: 'withheld:' says no more\. Write `withheld: ` and the basis\."),
    ],
)
def test_declarations_that_are_not_answers_are_refused(tmp_path: Path, text: str, said: str) -> None:
    system = tmp_path / "system.yaml"
    system.write_text(text)

    with pytest.raises(ArtifactRefused, match=said):
        facts.load(GOLDEN, system=system)


def test_what_is_withheld_or_does_not_apply_looks_like_neither_a_value_nor_a_gap(tmp_path: Path) -> None:
    system = tmp_path / "system.yaml"
    answers = {"model_name": "Ada", "distribution": "withheld: trade secret, Art. 78", "energy": "not applicable: no training"}
    system.write_text(json.dumps({name: {"value": value} for name, value in answers.items()}))

    render.render(GOLDEN, tmp_path / "out", system=system)

    pages = "".join((tmp_path / "out" / f"{document.name}.html").read_text() for document in DOCUMENTS)
    opened = {name: set(re.findall(rf'<span data-fact="system\.{name}"([^>]*)>', pages)) for name in answers}
    assert opened == {"model_name": {""}, "distribution": {' class="apart withheld"'}, "energy": {' class="apart not"'}}
    style = (ROOT / "governance" / "templates" / "style.css").read_text()
    assert ".apart.withheld{" in style
    assert ".apart.not{" in style


def test_a_list_names_what_each_value_is_of_by_number_and_by_the_gates_own_names(tmp_path: Path) -> None:
    evidence = Path(shutil.copytree(GOLDEN, tmp_path / "evidence"))
    record = json.loads((evidence / "annotators.json").read_text())
    record["facts"]["labels_by"]["guideline"] = {"10": 4, "9": 3}
    (evidence / "annotators.json").write_text(json.dumps(record))

    out = _render(evidence, tmp_path / "out")

    def seen(name: str) -> str:
        page = re.sub(r"<sup>.*?</sup>", "", (out / f"{name}.html").read_text(), flags=re.DOTALL)
        return re.sub(r"\s+", " ", html.unescape(re.sub(r"</?span[^>]*>", "", re.sub(r"</dt>", " ", page))))

    assert "Labels by guideline <dd>9: 3; 10: 4</dd>" in seen("annotator_record")
    assert "Threshold of each gate <dd>quality: \u22120.100; sycophancy: 0.150;" in seen("annex_iv")
    assert "Compute of the alignment <dd>8.11 \u00d7 10^12 FLOP" in seen("annex_iv")


def test_accuracy_by_group_of_annotators_stands_in_both_documents_with_its_interval(tmp_path: Path) -> None:
    evidence = Path(shutil.copytree(GOLDEN, tmp_path / "evidence"))
    record = json.loads((evidence / "reward.json").read_text())
    record["facts"]["accuracy_by_group"] = {"region: Asia": {"accuracy": 0.61, "low": 0.52, "high": 0.69}}
    (evidence / "reward.json").write_text(json.dumps(record))

    out = _render(evidence, tmp_path / "out")

    prefix = "reward.facts.accuracy_by_group.region: Asia"
    wanted = {(f"{prefix}.accuracy", "0.610"), (f"{prefix}.low", "0.520"), (f"{prefix}.high", "0.690")}
    assert all(wanted <= _stated(out)[document] for document in ("annotator_record", "evaluation"))


def test_what_waits_for_people_is_not_green(tmp_path: Path) -> None:
    page = (_render(GOLDEN, tmp_path / "out") / "annex_iv.html").read_text()
    title = re.search(r"Forms in which it is placed on the market(.*?)</h3>", page, flags=re.DOTALL)

    assert title is not None
    assert re.findall(r'<span class="badge (\w+)">(.*?)</span>', title[1]) == [
        ("open", "evidence fresh"),
        ("open", "organisational: open"),
    ]


def test_a_gate_that_was_not_measured_is_one_gap_with_the_reason_that_it_gives(tmp_path: Path) -> None:
    evidence = Path(shutil.copytree(GOLDEN, tmp_path / "evidence"))
    record = json.loads((evidence / "evaluate.json").read_text())
    gate = record["facts"]["gates"][0]
    gate |= dict.fromkeys(("value", "low", "high", "n", "visible"))
    gate["text"] = "Gold utility, candidate minus SFT policy, was not measured: the suite broke."
    (evidence / "evaluate.json").write_text(json.dumps(record))

    out = _render(evidence, tmp_path / "out")

    gaps = json.loads((out / "summary.json").read_text())["gaps"]
    about = [gap for gap in gaps if gap["name"].startswith(("evaluate.gates.", "evaluate.facts.gates"))]
    assert about == [{"name": f"evaluate.gates.{gate['name']}", "reason": gate["text"].rstrip(".")}]


def test_the_statement_of_applicability_names_owner_and_reviewer_or_says_that_nobody_does(tmp_path: Path) -> None:
    system = tmp_path / "system.yaml"
    channel = "concerns_channel:\n  value: 'not applicable: nobody works here'\n"
    system.write_text(f"control_owner:\n  value: Ada, head of quality\n{channel}")

    render.render(GOLDEN, tmp_path / "out", system=system)

    page = (tmp_path / "out" / "iso_42001.html").read_text()
    table = page[page.index('id="statement"') : page.index("</table>", page.index('id="statement"'))]
    rows = re.findall(r"<tr><th scope=\"row\".*?</tr>", table, flags=re.DOTALL)
    assert len(rows) == 41
    assert all("Ada, head of quality</span>" in row and "not recorded (gap" in row for row in rows)
    none = [re.findall(r">(A[.0-9]+)</a>", row)[0] for row in rows if '<span class="badge none">not applicable</span>' in row]
    assert none == ["A.3.3", "A.8.3"]
    assert page.count("Does not apply, as declared: ") == 2


def test_the_catalogue_holds_annex_iv_and_the_38_controls() -> None:
    """3+2+5+4+9+5+4+3+3 controls; the nine points of Annex IV with eight and eight sub-points of the first two."""
    from governance import words

    controls = [str(one["id"]) for one in words.read("controls/iso_42001.yaml")["requirements"]]
    groups = [f"A.{number}." for number in range(2, 11)]
    annex = [str(one["id"]) for one in words.read("controls/annex_iv.yaml")["requirements"]]
    sub = [f"{point}({letter})" for point in (1, 2) for letter in "abcdefgh"]

    assert [sum(one.startswith(group) for one in controls) for group in groups] == [3, 2, 5, 4, 9, 5, 4, 3, 3]
    assert annex == [*sub, *"3456789"]


def test_the_bill_of_materials_is_valid_and_says_what_depends_on_what(tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (_render(GOLDEN, tmp_path / "out") / "bom.cdx.json").read_text()

    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(text) is None
    depends = {entry["ref"]: entry.get("dependsOn", []) for entry in json.loads(text)["dependencies"]}
    assert "reward_adapter" in depends["policy_adapter"]
    assert "comparisons" in depends["reward_adapter"]
    assert "base_model" in depends["reward_adapter"]
    assert "policy_adapter" in depends["release"]


def test_a_library_has_the_hash_of_what_is_installed_where_that_is_the_version_that_was_used(tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    used = json.loads((GOLDEN / "ppo.json").read_text())["environment"]["packages"]
    listed = tmp_path / "installed.json"
    here = {"numpy": {"version": used["numpy"], "sha256": "a" * 64}, "peft": {"version": "0.0.1", "sha256": "b" * 64}}
    listed.write_text(json.dumps({"libraries": here}))

    render.render(GOLDEN, tmp_path / "out", attachments={"attachments/installed.json": listed})

    text = (tmp_path / "out" / "bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(text) is None
    libraries = {each["name"]: each for each in json.loads(text)["components"] if each["type"] == "library"}
    assert libraries["numpy"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert "hashes" not in libraries["peft"]


def test_the_change_log_shows_what_differs_from_the_release_before_and_nothing_else(tmp_path: Path) -> None:
    previous = Path(shutil.copytree(GOLDEN, tmp_path / "previous"))
    record = json.loads((previous / "ppo.json").read_text())
    record["settings"]["kl_coef"] = 0.777
    record["code"]["commit"] = "c" * 40
    (previous / "ppo.json").write_text(json.dumps(record))
    release = tmp_path / "release.json"
    release.write_text(json.dumps(RELEASE | {"previous": {"policy": "6"}}))

    render.render(GOLDEN, tmp_path / "out", release=release, previous=previous)

    stated = dict(_read(tmp_path / "out" / "changes.html").stated)
    changed = {name for name in stated if name.startswith("previous.")}
    assert changed == {"previous.ppo.settings.kl_coef", "previous.ppo.code.commit"}
    assert stated["previous.ppo.settings.kl_coef"] == "0.777"
    assert stated["release.previous.policy"] == "6"


def test_compute_of_earlier_releases_on_the_same_base_is_added_once(tmp_path: Path) -> None:
    """Before: 1e12 in all. Now the same SFT and reward model (same runs) and a new PPO of 8e11: 1.8e12, not more."""
    evidence = Path(shutil.copytree(GOLDEN, tmp_path / "evidence"))
    previous = Path(shutil.copytree(GOLDEN, tmp_path / "previous"))
    for folder, run in ((evidence, "new"), (previous, "old")):
        record = json.loads((folder / "ppo.json").read_text()) | {"run": run}
        record["measurements"]["flop"] = {"value": 8e11, "unit": "FLOP"}
        (folder / "ppo.json").write_text(json.dumps(record))
    document = json.loads((previous / "start.json").read_text()) | {
        "step": "document",
        "facts": {"compute": {"cumulative_all": 1e12}},
    }
    (previous / "document.json").write_text(json.dumps(document))

    render.render(evidence, tmp_path / "out", previous=previous)

    found = json.loads((tmp_path / "out" / "computed.json").read_text())["compute"]
    assert found["cumulative_all"]["value"] == 1.8e12
