from __future__ import annotations

import html

import pytest
from markdown_it import MarkdownIt

from governance import escape


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "yes"),
        (0, "0"),
        (4225, "4,225"),
        (0.5199999999999999, "0.520"),
        (-0.0673, "\u22120.067"),
        (210.0, "210"),
        (6861984768000.0, "6.86 \u00d7 10^12"),
        (0.00012, "1.20 \u00d7 10^-4".replace("-", "\u2212")),
    ],
)
def test_numbers_read_as_a_person_reads_them(value: float, shown: str) -> None:
    assert escape.plain(value) == shown


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "# heading",
        "**bold** _it_ `code`",
        "[x](http://y.z)",
        "<b>x</b>",
        "&lt; &#60; &",
        "![i](x)",
        "~~s~~",
        "1 ^2^ $x$",
        "C:\\dir\\",
    ],
)
def test_markdown_shows_text_from_data_as_it_is(text: str) -> None:
    rendered = (
        MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).render(f"x {escape.for_markdown(text)} y")
    )

    assert html.unescape(rendered) == f"<p>x {text} y</p>\n"


def test_hidden_characters_are_shown_by_their_code_points() -> None:
    assert escape.visible("a\u202eb\u200bc\x00d\ne\ue000") == "a[U+202E]b[U+200B]c[U+0000]d e[U+E000]"
