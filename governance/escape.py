"""Text from data, made harmless for the format it goes into.

Invisible and direction-changing characters are shown by their code points, so that nothing reads differently from what it
is; characters of the private use area, which render.py uses for its own marks, can't come from data either.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Any

from markupsafe import Markup

HIDDEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
MARKDOWN = re.compile(r"[\\`*{}\[\]#!|~$]|(?<!\w)_|_(?!\w)|:(?=//)")
"""What could be markup, wherever it stands. An underscore between letters never is."""
DIGITS = 3
LARGE = 1e7
SMALL = 1e-3


def visible(text: str) -> str:
    """The text on one line, hidden characters replaced by their code points, as in [U+202E]."""
    return "".join(_visible(character) for character in re.sub(r"[\t\r\n]+", " ", text))


def _visible(character: str) -> str:
    return f"[U+{ord(character):04X}]" if unicodedata.category(character) in HIDDEN else character


def for_html(value: Any) -> Markup:
    """A value as text in HTML."""
    return value if isinstance(value, Markup) else Markup(html.escape(visible(plain(value))))  # noqa: S704  (just escaped)


def for_markdown(value: Any) -> Markup:
    """A value as text in Markdown: whatever Markdown or HTML could take for markup becomes a character reference."""
    if isinstance(value, Markup):
        return value
    escaped = html.escape(MARKDOWN.sub(_reference, visible(plain(value)).replace("&", "\0")), quote=False)
    return Markup(escaped.replace("\0", "&amp;").replace("&amp;#", "&#"))  # noqa: S704  (just escaped)


def _reference(found: re.Match[str]) -> str:
    return f"&#{ord(found.group())};"


def plain(value: Any) -> str:
    """A value as a person reads it: booleans as yes and no, numbers to three places, large and small ones by powers of ten."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and abs(value) < LARGE:
        return f"{value:,}"
    if isinstance(value, int | float):
        return _number(float(value))
    return str(value)


def _number(value: float) -> str:
    if value.is_integer() and abs(value) < LARGE:
        return f"{value:,.0f}"
    if abs(value) >= LARGE or abs(value) < SMALL:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa} \u00d7 10^{int(exponent)}".replace("-", "\u2212")
    return to_places(value)


def to_places(value: float) -> str:
    """A number to three places, with a true minus."""
    return f"{value:.{DIGITS}f}".replace("-", "\u2212")
