from __future__ import annotations

import io
import shutil
from pathlib import Path

import yaml

from governance import declare, facts

SYSTEM = Path(__file__).resolve().parents[2] / "governance" / "system.yaml"


def test_init_asks_what_is_open_keeps_comments_and_never_fills_in(tmp_path: Path) -> None:
    """Name; contact left open; a choice, first wrong, then right; then an end. The rest stays open."""
    path = Path(shutil.copy(SYSTEM, tmp_path / "system.yaml"))
    names = list(yaml.safe_load(path.read_text()))
    lines = {
        "provider_name": 'Example "AI" GmbH',
        "provider_contact": "",
        "model_name": "",
        "declared_by": "",
        "route": "maybe\nannex_i",
    }
    given = io.StringIO("\n".join(lines[name] for name in names[:5]) + "\n.\n")
    out = io.StringIO()

    declare.ask(path, given, out)

    after = yaml.safe_load(path.read_text())
    assert names[:5] == list(lines)
    assert {name: entry["value"] for name, entry in after.items() if entry["value"]} == {
        "provider_name": 'Example "AI" GmbH',
        "route": "annex_i",
    }
    assert "Expected one of annex_iii, annex_i, not_high_risk" in out.getvalue()
    assert f"{len(names)} questions are open" in out.getvalue()
    assert f"{len(names) - 2} questions are open" in out.getvalue()
    assert path.read_text().count("#") == SYSTEM.read_text().count("#")


def test_the_schema_allows_exactly_what_the_reader_does(tmp_path: Path) -> None:
    import json

    import jsonschema

    schema = json.loads((SYSTEM.parent / "system.schema.json").read_text())
    jsonschema.validate(facts.questions(SYSTEM), schema)

    assert set(schema["additionalProperties"]["properties"]) == {"asks", "basis", "choices", "value"}
