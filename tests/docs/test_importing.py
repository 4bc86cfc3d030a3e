"""The commands and mappings of docs/importing.md, run as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "importing.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m (components\.importers .*)$", PAGE, flags=re.MULTILINE)
ANSWERS = {"answer1": "No.", "answer2": "Yes."}
TASK = {
    "data": {"prompt": "Is the earth flat?"} | ANSWERS,
    "annotations": [
        {
            "completed_by": 3,
            "lead_time": 2.5,
            "created_at": "2026-01-09T22:16:08Z",
            "result": [{"from_name": "comparison", "type": "pairwise", "value": {"selected": "left"}}],
        }
    ],
}
RECORD = {
    "id": "r",
    "fields": {"instruction": "Is the earth flat?", "response1": "No.", "response2": "Yes."},
    "responses": {"preference": [{"value": "response1", "user_id": "u"}]},
}
LABELS = """\
question,answer_a,answer_b,choice,worker,strength,seconds,submitted,session,topic,model_a,model_b,which_is_honest
Is the earth flat?,No.,Yes.,A,ann@example.org,2,3.5,2026-01-09T22:16:08Z,s1,facts,m1,m2,a
"""
PEOPLE = """\
worker_email,age,gender,country,trained_on,pay,consent,consented,keep_until
ann@example.org,30-39,n/a,DE,v1 v2,12-15,C-1,2026-01-01,2031-01-01
"""


def _exports(folder: Path) -> None:
    (folder / "label-studio.json").write_text(json.dumps([TASK]), encoding="utf-8")
    (folder / "argilla.json").write_text(json.dumps([RECORD]), encoding="utf-8")
    (folder / "labels.csv").write_text(LABELS, encoding="utf-8")
    (folder / "people.csv").write_text(PEOPLE, encoding="utf-8")
    argilla, table = re.findall(r"^```toml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    (folder / "argilla.toml").write_text(argilla, encoding="utf-8")
    (folder / "table.toml").write_text(table, encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_imports_a_small_export(tmp_path: Path, command: str) -> None:
    _exports(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PLUMBLINE_IDENTITY_KEY": "k" * 32}

    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )

    assert done.returncode == 0, done.stderr
    assert " + 0 quarantined" in done.stdout
    (label,) = (tmp_path / "data" / "comparisons.jsonl").read_text(encoding="utf-8").splitlines()
    assert (json.loads(label)["label"], json.loads(label)["responses"]) == ("first", ["No.", "Yes."])


def test_the_page_shows_a_command_for_each_format_with_people() -> None:
    assert [command.split()[1] for command in COMMANDS] == ["label-studio", "argilla", "table"]


def test_demographics_are_broadened_as_the_page_says(tmp_path: Path) -> None:
    _exports(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PLUMBLINE_IDENTITY_KEY": "k" * 32}

    subprocess.run([sys.executable, "-m", *shlex.split(COMMANDS[2])], cwd=tmp_path, check=True, env=environment)

    (line,) = (tmp_path / "data" / "annotators.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["demographics"] == {"age_band": "30-39", "gender": "prefer not to say", "region": "Europe"}
    assert json.loads(line)["guidelines"] == ["v1", "v2"]
