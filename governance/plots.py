"""Bars for a family of numbers, as inline SVG: every value is cited beside its bar, and the drawing has a text alternative."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from governance import escape, views

if TYPE_CHECKING:
    from governance.citations import Citations

BAR, ROW, HALF = 220, 22, 7


def bars(citations: Citations, title: str, pattern: str) -> Markup:
    """A figure with one bar for each fact that the pattern matches; the gap where there is none.

    Bars share one scale, zero included; intervals are drawn where a record has them.
    """
    names = [name for name in citations.facts.matching(pattern) if isinstance(citations.facts.value(name), int | float)]
    heading = escape.for_html(title)
    if not names:
        return Markup("<p>{}: {}</p>").format(heading, citations.cite(pattern.partition(".*")[0]))
    low = min(0.0, *(_ends(citations, name)[0] for name in names))
    high = max(1e-9, *(_ends(citations, name)[1] for name in names))
    rows = [
        Markup("<tr><th scope='row'>{}</th><td>{}</td><td>{}</td></tr>").format(
            escape.for_html(views.apart(pattern, name)), _bar(citations, name, low, high), citations.cite(name, interval=True)
        )
        for name in names
    ]
    return Markup(
        '<figure class="plot"><figcaption>{}</figcaption><table class="numbers"><tbody>{}</tbody></table></figure>'
    ).format(heading, Markup().join(rows))


def _ends(citations: Citations, name: str) -> tuple[float, float]:
    """Least and largest value that the bar shows."""
    fact = citations.facts.get(name)
    assert fact is not None
    ends = [float(fact.value), *(float(end) for end in (fact.low, fact.high) if end is not None)]
    return min(ends), max(ends)


def _bar(citations: Citations, name: str, low: float, high: float) -> Markup:
    fact = citations.facts.get(name)
    assert fact is not None
    scale = BAR / (high - low)
    zero, value = -low * scale, (float(fact.value) - low) * scale
    left, width = min(zero, value), abs(value - zero)
    line = Markup()
    if fact.low is not None and fact.high is not None:
        line = Markup('<path class="arrow" d="M{:.1f} {} L{:.1f} {}"/>').format(
            (float(fact.low) - low) * scale, ROW // 2, (float(fact.high) - low) * scale, ROW // 2
        )
    return Markup(
        '<svg class="bar" width="{}" height="{}" viewBox="0 0 {} {}" role="img" aria-label="Bar from zero to the value"'
        ' xmlns="http://www.w3.org/2000/svg"><rect class="head" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>{}</svg>'
    ).format(BAR, ROW, BAR, ROW, left, ROW // 2 - HALF, max(width, 1.0), 2 * HALF, line)
