"""The demographic record of a real pool: the 4,309 raters of D3code, through the importer, the audit and the pack.

Their people are real; what D3code's raters were asked is not here, so each gives one made-up label.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.annotators import step
from components.annotators.config import Settings
from components.catalog import STEPS
from components.context import Context
from governance import render

ROOT = Path(__file__).resolve().parents[3]
RATERS = Path(os.environ.get("PLUMBLINE_SHARED_DATA", ROOT.parent / "shared" / "data")) / "d3code" / "raters.csv"
PAIRS = 100
MAPPING = """
[columns]
prompt = "prompt"
first = "first"
second = "second"
label = "label"
annotator = "rater"

[labels]
first = ["first"]
second = ["second"]

[annotators]
file = "raters.csv"
identity = "rater_id"
demographics = { age_band = "Age", gender = "Gender", region = "Region", country = "Country", social_status = "SES" }
platform = "=panel"
lawful_basis = "=contract"
"""

pytestmark = pytest.mark.skipif(not RATERS.exists(), reason="the shared data are not here: d3code/raters.csv")


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """The audit's context, of a data folder that the importer made."""
    folder = tmp_path_factory.mktemp("d3code")
    shutil.copyfile(RATERS, folder / "raters.csv")
    (folder / "mapping.toml").write_text(MAPPING)
    with RATERS.open(encoding="utf-8") as file:
        names = [row["rater_id"] for row in csv.DictReader(file)]
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("prompt", "first", "second", "label", "rater"))
        for number, name in enumerate(names):
            pair, label = number % PAIRS, "first" if number % 3 else "second"
            rows.writerow((f"Is remark {pair} rude?", f"Yes, {pair} is.", f"No, {pair} is not.", label, name))
    command = [
        sys.executable,
        "-m",
        "components.importers",
        "table",
        "labels.csv",
        "--mapping",
        "mapping.toml",
        "--out",
        "data",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PLUMBLINE_IDENTITY_KEY": "k" * 32}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    inputs = {}
    for table in ("comparisons", "golden", "prompts", "annotators"):
        inputs[table] = folder / table
        inputs[table].mkdir()
        source = folder / "data" / f"{table}.jsonl"
        (inputs[table] / f"{table}.jsonl").write_text(source.read_text() if source.exists() else "")
    context = Context(
        step=STEPS["annotators"], config=Settings(), seed=1, inputs=inputs, scratch=folder / "s", checkpoints=folder / "c"
    )
    step.run(context)
    return context, names


def test_the_record_counts_the_real_pool(audited):
    """2,149 men, 2,119 women and 41 others, as the file says. Gender by age has a cell of two people, and is not shown."""
    context, _ = audited

    pool = context.facts["pool"]
    assert pool["people_rounded_down"] == 4305
    assert pool["margins"]["gender"]["cells"] == {"Man": 2149, "Other": 41, "Woman": 2119}
    assert pool["crossings"]["gender by age_band"] == "suppressed"
    assert len(pool["margins"]["country"]["cells"]) == 21
    assert sum(pool["margins"]["region"]["cells"].values()) == 4309


def test_nobody_is_named_in_what_documents_show(audited):
    context, names = audited

    text = json.dumps([context.facts, context.gaps])
    assert not [name for name in names if name in text]
    assert re.findall(r"a-[0-9a-f]{32}", text) == []


def test_the_pack_shows_the_real_pool(audited, tmp_path):
    context, names = audited
    shutil.copytree(ROOT / "tests" / "golden" / "evidence" / "v1", tmp_path / "evidence")
    path = tmp_path / "evidence" / "annotators.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record |= {"facts": context.facts, "gaps": context.gaps}
    path.write_text(json.dumps(record), encoding="utf-8")

    render.render(tmp_path / "evidence", tmp_path / "out")

    page = (tmp_path / "out" / "annotator_record.html").read_text(encoding="utf-8")
    plain = re.sub(r"\s+", " ", re.sub(r"<sup>.*?</sup>|<[^>]*>", " ", page, flags=re.DOTALL))
    assert "Man 2149" in plain.replace(",", "")
    assert "Indian Cultural Sphere" in plain
    assert not [name for name in names if name in page]
