from __future__ import annotations

from pathlib import Path

from components.config import documentation

ROOT = Path(__file__).resolve().parents[2]


def test_the_configuration_page_is_what_the_settings_say() -> None:
    """`python -m components.config > docs/configuration.md` writes it anew."""
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == documentation()
