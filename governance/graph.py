"""The lineage as an SVG drawing: one box for each step, an arrow for each artifact that was handed on."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from markupsafe import Markup

from governance import escape, views

if TYPE_CHECKING:
    from governance.citations import Citations

LETTERS = 32
"""Longest list of artifacts in a box."""
WIDTH, HEIGHT, GAP, MARGIN, BEND = 250, 50, 26, 8, 20


def svg(citations: Citations, mlflow_ui: str) -> Markup:
    """The drawing, from top to bottom. Boxes lead to runs in MLflow, or to rows below; arrows name what was handed on."""
    facts = citations.facts
    steps = [str(row.step) for row in views.lineage(facts)]
    places = {step: MARGIN + number * (HEIGHT + GAP) for number, step in enumerate(steps)}
    arrows = [
        _arrow(places[before], places[step], what)
        for step in steps
        for before, what in _handed_on(citations, step)
        if before in places
    ]
    width = WIDTH + 2 * MARGIN + BEND * (len(steps) + 1)
    height = 2 * MARGIN + len(steps) * (HEIGHT + GAP) - GAP
    opened = Markup(
        '<svg class="graph" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-labelledby="graph-title"'
        ' xmlns="http://www.w3.org/2000/svg"><title id="graph-title">Steps of the pipeline and what each read</title>'
    ).format(width, height, width, height)
    boxes = [_box(citations, mlflow_ui, step, places[step]) for step in steps]
    return opened + Markup().join([*arrows, *boxes]) + Markup("</svg>")


def _handed_on(citations: Citations, step: str) -> list[tuple[str, str]]:
    """Which step's artifacts it read, by their names."""
    inputs = citations.facts.records[step].inputs
    before = sorted({item.step for item in inputs.values()})
    return [(one, ", ".join(sorted(name for name, item in inputs.items() if item.step == one))) for one in before]


def _arrow(before: int, after: int, what: str) -> Markup:
    rows = max(1, round((after - before) / (HEIGHT + GAP)))
    if rows == 1:
        x = MARGIN + WIDTH // 2
        path = f"M{x} {before + HEIGHT} L{x} {after - 5}"
        head = f"{x - 4},{after - 8} {x},{after} {x + 4},{after - 8}"
    else:
        x, y1, y2 = MARGIN + WIDTH, before + HEIGHT // 2 + 6, after + HEIGHT // 2 - 6
        bend = x + BEND * (rows + 1)
        path = f"M{x} {y1} C{bend} {y1} {bend} {y2} {x + 5} {y2}"
        head = f"{x + 8},{y2 - 4} {x},{y2} {x + 8},{y2 + 4}"
    title = escape.for_html(what)
    return Markup('<g><title>{}</title><path class="arrow" d="{}"/><polygon class="head" points="{}"/></g>').format(
        title, path, head
    )


def _box(citations: Citations, mlflow_ui: str, step: str, y: int) -> Markup:
    run = str(citations.facts.value(f"{step}.run", ""))
    address = f"{mlflow_ui}/#/runs/{quote(run, safe='')}" if mlflow_ui and run else f"#step-{quote(step, safe='')}"
    written = ", ".join(sorted(citations.facts.records[step].outputs))
    short = written if len(written) <= LETTERS else f"{written[:LETTERS]}…"
    return Markup(
        '<a href="{}" rel="noreferrer"><rect class="box" x="{}" y="{}" width="{}" height="{}" rx="4"/>'
        '<text class="name" x="{}" y="{}">{}</text><text class="run" x="{}" y="{}">{}</text></a>'
    ).format(
        address,
        MARGIN,
        y,
        WIDTH,
        HEIGHT,
        MARGIN + 12,
        y + 21,
        escape.for_html(step),
        MARGIN + 12,
        y + 39,
        escape.for_html(short),
    )
