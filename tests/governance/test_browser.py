"""Hostile text in every field of every record, in a real browser: nothing executes, nothing is fetched."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from governance import render
from governance.documents import DOCUMENTS

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "evidence" / "v1"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
HOSTILE = (
    "<script>console.log(/EXECUTED/.source)</script>",
    '"><img src=x onerror="console.log(/EXECUTED/.source)">',
    "'><svg onload=console.log(/EXECUTED/.source)>",
    "</script><script>console.log(/EXECUTED/.source)</script>",
    "</style><script>console.log(/EXECUTED/.source)</script>",
    "javascript:console.log(/EXECUTED/.source)",
    "{{ 7*7 }}{% raw %}${7*7}<%= 7*7 %>",
    "\u202egnp.exe\u2066",
    '=HYPERLINK("http://127.0.0.1:9/x")',
    "[a](javascript:console.log(/EXECUTED/.source)) ![i](http://127.0.0.1:9/i) | `x` \n# heading",
)
KEPT = {"type", "step", "digest", "flop", "update_flop", "verdict", "reward_model_digest"}
"""Keys whose values decide how a record is read at all, or must agree between records."""


def _poison(value: Any, key: str, text: str) -> Any:
    """Every text replaced by `text`, and every key below `facts` and `gaps` extended by it."""
    if isinstance(value, dict):
        deep = key in {"facts", "gaps", "by_kind", "prompt_kinds", "labels"}
        made = {name: _poison(inner, name, text) for name, inner in value.items()}
        return made | ({f"{text} {key}": text} if deep else {})
    if isinstance(value, list):
        return [_poison(inner, key, text) for inner in value]
    return value if key in KEPT or not isinstance(value, str) else text


def _poisoned(folder: Path, text: str) -> Path:
    folder.mkdir()
    for path in GOLDEN.glob("*.json"):
        record = json.loads(path.read_text())
        kept = {name: record[name] for name in ("type", "step", "pipeline_run")}
        for name in ("facts", "gaps", "settings", "external", "environment", "code", "times", "run"):
            record[name] = _poison(record[name], name, text)
        for one in record["measurements"].values():
            one["unit"] = text
        (folder / path.name).write_text(json.dumps(record | kept))
    return folder


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("hostile")
    made = []
    for number, text in enumerate(HOSTILE):
        evidence = _poisoned(root / f"evidence-{number}", text)
        render.render(evidence, root / f"pack-{number}", mlflow_ui="http://127.0.0.1:5000")
        made.append(root / f"pack-{number}")
    return made


def test_no_hostile_text_becomes_markup(packs: list[Path]) -> None:
    for pack in packs:
        for document in DOCUMENTS:
            page = (pack / f"{document.name}.html").read_text()
            assert page.count("<script") == 0
            assert page.count("</style>") == 1
            assert "<img" not in page
            assert "<svg onload" not in page
            assert 'href="javascript' not in page
            assert "\u202e" not in page
        search = (pack / "search.html").read_text()
        assert search.count("<script") == 2
        assert search.count("</script>") == 2


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_chromium_nothing_executes(packs: list[Path], tmp_path: Path) -> None:
    """All pages in frames of one; what a frame's scripts say, and what its policy stops, Chromium writes to its log."""
    for pack in packs:
        pages = [f"{document.name}.html" for document in DOCUMENTS] + ["search.html"]
        log = _log(_framed(tmp_path, [pack / page for page in pages]), tmp_path / "profile")
        assert "ALL LOADED" in log, pack.name
        assert "EXECUTED" not in log, pack.name
        assert "Refused to" not in log, pack.name
        assert "violates" not in log, pack.name


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("text", HOSTILE[:3])
def test_the_same_text_unescaped_executes_without_a_policy(tmp_path: Path, text: str) -> None:
    """So the test above can fail."""
    page = tmp_path / "page.html"
    page.write_text(f"<!DOCTYPE html><title>quiet</title><body><p title=\"{text}\">{text}</p><p title='{text}'>")

    assert "EXECUTED" in _log(_framed(tmp_path, [page]), tmp_path / "profile")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_searching_works_under_the_policy(packs: list[Path], tmp_path: Path) -> None:
    """The page's own script is the only one that its policy lets run: with a word asked for, it lists places."""
    page = (packs[6] / "search.html").read_text()
    asked = page.replace('<input id="query"', '<input id="query" value="perplexity"')
    assert asked != page
    (tmp_path / "asked.html").write_text(asked)

    dom = _chromium(tmp_path / "asked.html", tmp_path / "profile", "--dump-dom").stdout

    assert " places</p>" in dom or " place</p>" in dom


def _framed(folder: Path, pages: list[Path]) -> Path:
    """A page that shows others in frames, and says when all of them are there."""
    frames = "".join(f'<iframe src="{page.as_uri()}"></iframe>' for page in pages)
    made = folder / "frames.html"
    made.write_text(f"<!DOCTYPE html>{frames}<script>onload = () => console.log('ALL ' + 'LOADED')</script>")
    return made


def _log(page: Path, profile: Path) -> str:
    return _chromium(page, profile, "--enable-logging=stderr", "--dump-dom").stderr


def _chromium(page: Path, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += ["--allow-file-access-from-files", "--virtual-time-budget=3000", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
