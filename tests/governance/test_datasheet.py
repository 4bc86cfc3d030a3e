"""The datasheet asks everything, invents nothing, and its machine twin is Croissant as mlcroissant reads it."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import pytest
import yaml

from governance import croissant, facts, render

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "evidence" / "v1"
SYSTEM = ROOT / "governance" / "system.yaml"
QUESTIONS = {"M": 4, "C": 16, "L": 12, "P": 4, "U": 6, "D": 7, "T": 8}
"""Gebru et al. 2021: questions by section."""
RAI = {
    *("dataCollection", "dataCollectionType", "dataCollectionMissingData", "dataCollectionRawData", "dataCollectionTimeframe"),
    *("dataImputationProtocol", "dataManipulationProtocol", "dataPreprocessingProtocol", "dataAnnotationProtocol"),
    *("dataAnnotationPlatform", "dataAnnotationAnalysis", "annotationsPerItem", "annotatorDemographics"),
    *("machineAnnotationTools", "dataReleaseMaintenancePlan", "personalSensitiveInformation", "dataSocialImpact"),
    *("dataBiases", "dataLimitations", "dataUseCases"),
}
"""The specification's table, which has twenty."""


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """The golden records, with the digests of tables that `validate` records today."""
    folder = tmp_path_factory.mktemp("pack")
    shutil.copytree(GOLDEN, folder / "evidence")
    path = folder / "evidence" / "validate.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["facts"]["table_files"] = {table: {"sha256": "a" * 64, "bytes": 17} for table in ("comparisons", "prompts")}
    path.write_text(json.dumps(record), encoding="utf-8")
    render.render(folder / "evidence", folder / "out")
    return folder / "out"


def _asked():
    sections = yaml.safe_load((ROOT / "governance" / "datasheet.yaml").read_text(encoding="utf-8"))
    return [question for section in sections for question in section["questions"]]


def test_every_question_of_gebru_and_others_is_asked_once():
    found = [question["id"] for question in _asked()]

    for letter, count in QUESTIONS.items():
        assert [name for name in found if name[0] == letter] == [f"{letter}{number}" for number in range(1, count + 1)]
    assert len(found) == len(set(found))


def test_every_question_is_answered_by_a_fact_or_asked_of_a_person():
    declared = yaml.safe_load(SYSTEM.read_text(encoding="utf-8"))

    for question in _asked():
        assert question.get("facts") or question.get("people"), question["id"]
        assert set(question.get("people", [])) <= declared.keys(), question["id"]


def test_the_datasheet_shows_every_question_and_unanswered_ones_as_gaps(pack):
    page = (pack / "datasheet.html").read_text(encoding="utf-8")

    for question in _asked():
        assert f'id="{question["id"]}"' in page, question["id"]
    gaps = json.loads((pack / "datasheet.json").read_text(encoding="utf-8"))
    assert "system.data_funding" in json.dumps(gaps)


def test_the_record_of_annotators_draws_what_was_measured_with_a_text_alternative(pack):
    page = (pack / "annotator_record.html").read_text(encoding="utf-8")

    assert page.count('<svg class="bar"') == page.count('aria-label="Bar from zero to the value"') > 20
    assert "suppressed" in page
    assert "Annotators by accuracy" in page


def test_every_table_of_annotators_states_its_base_its_rule_and_how_many_cells_it_hides(pack):
    """Obligations, section 11.5, rule 8. The golden pool is of 60 people; its table of ages hides three cells."""
    page = (pack / "annotator_record.html").read_text(encoding="utf-8")
    page = re.sub(r"<sup>.*?</sup>|</?span[^>]*>", "", page, flags=re.DOTALL)
    said = re.findall(r"Of (\d+) people, rounded down; fewest in a cell that shows: (\d+); hidden\s+cells: (\d+)\.", page)
    found = json.loads((GOLDEN / "annotators.json").read_text(encoding="utf-8"))["facts"]
    tables = [*found["pool"]["margins"].values(), *found["work"].values()]

    assert ("60", "5", "3") in said
    assert said == [tuple(str(table[name]) for name in ("base", "k", "hidden")) for table in tables]


def test_the_record_says_of_whom_it_is(pack):
    """Of everybody who labelled; who of these trained the reward model is a gap in records from before that was recorded."""
    gaps = (pack / "annotator_record.json").read_text(encoding="utf-8")

    assert "reward.facts.trained_on" in gaps


def test_the_record_shows_whose_labels_trained_the_reward_model(tmp_path):
    """Values that share a row come last, each with its share of the labels."""
    shutil.copytree(GOLDEN, tmp_path / "evidence")
    path = tmp_path / "evidence" / "reward.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    cells = {"all other values": 16, "woman": 13}
    table = {"cells": cells, "labels": {"woman": 0.45, "all other values": 0.55}, "base": 25, "k": 5, "together": 2}
    compared = {"gender": {"woman": {"share": 0.45, "target": 0.5, "difference": -0.1}}}
    record["facts"]["trained_on"] = {
        "people_rounded_down": 25,
        "snapshot": "sha256:" + "b" * 64,
        "margins": {"gender": table},
        "work": {},
        "representativeness": compared,
    }
    record["gaps"]["trained_on_tables"] = "no value has enough people to be told apart: pay_band"
    path.write_text(json.dumps(record), encoding="utf-8")

    render.render(tmp_path / "evidence", tmp_path / "out")

    page = (tmp_path / "out" / "annotator_record.html").read_text(encoding="utf-8")
    section = page[page.index('id="trained"') : page.index('id="people"')]
    plain = re.sub(r"<sup>.*?</sup>|<[^>]*>", " ", section, flags=re.DOTALL)
    assert re.search(r"woman\s+13\s+0\.450\s+0\.500\s+.0\.100\s+0\.450\s+all other values\s+16\s+0\.550", plain), plain
    assert "Standardised difference of these people" in plain
    assert "Tables without a row that may be told apart" in plain
    assert "told apart: pay_band" in (tmp_path / "out" / "annotator_record.html").read_text(encoding="utf-8")


def test_croissant_is_valid_and_holds_only_properties_of_the_specification(pack, tmp_path, caplog):
    mlcroissant = pytest.importorskip("mlcroissant")
    made = json.loads((pack / "croissant.json").read_text(encoding="utf-8"))

    with caplog.at_level(logging.ERROR):
        read = mlcroissant.Dataset(jsonld=str(pack / "croissant.json"))

    assert list(read.metadata.ctx.issues.errors) == []
    assert {name.removeprefix("rai:") for name in made if name.startswith("rai:")} <= RAI
    assert made["conformsTo"] == ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
    assert [file["@id"] for file in made["distribution"]] == ["comparisons.jsonl", "prompts.jsonl"]


def test_the_public_description_has_no_annotator_in_it(pack):
    made = json.loads((pack / "croissant.json").read_text(encoding="utf-8"))

    fields = [field["name"] for table in made["recordSet"] for field in table["field"]]
    assert "annotator" not in fields
    assert "ann-" not in json.dumps(made)


def test_what_was_declared_becomes_a_property(tmp_path):
    system = tmp_path / "system.yaml"
    declared = yaml.safe_load(SYSTEM.read_text(encoding="utf-8"))
    declared["data_limits"]["value"] = "English only."
    system.write_text(yaml.safe_dump(declared), encoding="utf-8")

    made = json.loads(croissant.text(facts.load(GOLDEN, system=system)))

    assert made["rai:dataLimitations"] == "English only."
    assert "license" not in made, "nobody declared one"
