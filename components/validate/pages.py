"""Great Expectations' pages, made to stand alone: nothing from the network, no script, no clock, no random names.

As Great Expectations writes them, the pages load scripts, styles and a logo with a time stamp from nine hosts whenever
somebody opens them, and two runs on the same data differ. Here their content stays, and the same results give the same
bytes; a policy in each page forbids what could still be loaded.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCRIPT = re.compile(r"<(script|style)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
LOADED = re.compile(r"<link\b[^>]*>|<img\b[^>]*>|\son\w+=\"[^\"]*\"", re.IGNORECASE)
NEWSLETTER = re.compile(r"<a\b[^>]*utm_source[^>]*>.*?</a>", re.DOTALL)
TIME = re.compile(r"\b\d{8}T\d{6}\.\d{6}Z|\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00| UTC)")
UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
UP = re.compile(r"(?:\.\./)+(index\.html|expectations/)")
NO_TIME = "see the evidence of validate"
HEAD = """\
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body { font-family: system-ui, sans-serif; line-height: 1.5; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto; margin: 0.5rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.8rem; border-bottom: 1px solid #8884; }
ol.breadcrumb, ul.nav { list-style: none; padding: 0; }
.btn-group, .card.mb-3, thead[hidden] { display: none; }
.fa-check-circle::before { content: "\\2713"; color: #177a36; }
.fa-times::before, .fa-exclamation-triangle::before { content: "\\2717"; color: #b3261e; }
</style>
"""


def stand_alone(page: str) -> str:
    """A page with its content, and nothing that another host, a clock or chance decides."""
    for pattern in (SCRIPT, LOADED, NEWSLETTER):
        page = pattern.sub("", page)
    page = TIME.sub(NO_TIME, page)
    page = UUID.sub(_numbers(), page)
    return UP.sub(r"../\1", page).replace("</head>", HEAD + "</head>", 1)


def settle(work: Path, pages: Path, results: list[dict[str, Any]]) -> None:
    """Write `index.html`, `expectations/TABLE.html` and `validations/TABLE.html`.

    Args:
        work: The site as Great Expectations wrote it.
        pages: Where the pages go.
        results: What `expectations.check` found.
    """
    for kind in ("expectations", "validations"):
        (pages / kind).mkdir(parents=True, exist_ok=True)
        for path in sorted((work / kind).rglob("*.html")):
            table = path.relative_to(work / kind).parts[0].removesuffix(".html")
            (pages / kind / f"{table}.html").write_text(stand_alone(path.read_text(encoding="utf-8")), encoding="utf-8")
    (pages / "index.html").write_text(_index(results), encoding="utf-8")


def _index(results: list[dict[str, Any]]) -> str:
    met = sum(result["success"] for result in results)
    rows = "".join(_row(result) for result in results)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="UTF-8">\n<title>Data checks</title>\n'
        f"{HEAD}</head>\n<body>\n"
        f"<h1>Data checks</h1>\n<p>{met} of {len(results)} expectations of the accepted rows are met. Checked by Great "
        "Expectations; rows that were turned away are in the artifact <code>quarantine</code>.</p>\n<table>\n"
        f"<tr><th>table</th><th>column</th><th>expectation</th><th>observed</th><th>met</th></tr>\n{rows}</table>\n"
        "</body>\n</html>\n"
    )


def _row(result: dict[str, Any]) -> str:
    table = html.escape(result["table"])
    cells = (result["column"] or "(whole table)", result["expectation"].replace("_", " "), result["observed"])
    shown = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in (*cells, "yes" if result["success"] else "no"))
    return f'<tr><td><a href="validations/{table}.html">{table}</a></td>{shown}</tr>\n'


def _numbers() -> Callable[[re.Match[str]], str]:
    """Numbers in the place of random names, by first appearance."""
    seen: dict[str, str] = {}
    return lambda found: seen.setdefault(found.group(), f"n{len(seen) + 1}")
