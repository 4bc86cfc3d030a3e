"""What the search page knows: the text of every page, by its sections."""

from __future__ import annotations

import html
import json
import re

HEADING = re.compile(r'<(section|h2|h3|tr)\b[^>]*?\bid="([^"]+)"', re.DOTALL)
TAG = re.compile(r"<[^>]+>")
DROPPED = re.compile(r"<(style|script)\b.*?</\1>|<section id=\"sources\".*?</section>", re.DOTALL)
TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)


def entries(name: str, page: str) -> list[dict[str, str]]:
    """Title, address and text of each part of a page that an address leads to."""
    found = TITLE.search(page)
    title = html.unescape(found.group(1)).partition(", policy")[0] if found else name
    body = DROPPED.sub(" ", page[page.index("<main") : page.index("</main>")])
    starts = [(0, ""), *((match.start(), match.group(2)) for match in HEADING.finditer(body))]
    ends = [start for start, _ in starts[1:]] + [len(body)]
    made = [
        {"title": title, "address": f"{name}.html{'#' if at else ''}{at}", "text": _plain(body[start:end])}
        for (start, at), end in zip(starts, ends, strict=True)
    ]
    return [entry for entry in made if entry["text"]]


def _plain(part: str) -> str:
    return " ".join(html.unescape(TAG.sub(" ", part)).split())


def embedded(found: list[dict[str, str]]) -> str:
    """The entries as JSON that can stand inside a page: nothing in it can end the element it stands in."""
    text = json.dumps(found, ensure_ascii=False, sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
