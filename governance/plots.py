"""Bars and points as inline SVG: every value is cited beside its drawing, which has a text alternative."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from governance import escape, lists

if TYPE_CHECKING:
    from governance.citations import Citations

BAR, ROW, HALF, SIDE, LINE = 220, 22, 7, 220, 120
CURVES, LABELS = 420, 130
SCORES = {"proxy": "Reward", "judge": "Held-out judge", "gold": "Gold utility"}
"""Part of a probe → what it is called."""
DASHES = ("none", "7 4", "2 4")


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
            escape.for_html(lists.apart(pattern, name)), _bar(citations, name, low, high), citations.cite(name, interval=True)
        )
        for name in names
    ]
    return Markup(
        '<figure class="plot"><figcaption>{}</figcaption><table class="numbers"><tbody>{}</tbody></table></figure>'
    ).format(heading, Markup().join(rows))


def reliability(citations: Citations, prefix: str) -> Markup:
    """A reliability plot: found against predicted share, with the diagonal, and the points as a table beside it."""
    points = [f"{prefix}.{row}" for row in citations.facts.children(prefix)]
    at = [(_number(citations, f"{point}.predicted"), _number(citations, f"{point}.found")) for point in points]
    place = [(SIDE * predicted, SIDE * (1 - found)) for predicted, found in at]
    dots = Markup().join(Markup('<circle class="head" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(x, y) for x, y in place)
    line = Markup(" ").join(Markup("{:.1f},{:.1f}").format(x, y) for x, y in place)
    rows = Markup().join(
        Markup("<tr>{}</tr>").format(
            Markup().join(
                Markup("<td>{}</td>").format(citations.cite(f"{point}.{part}")) for part in ("predicted", "found", "labels")
            )
        )
        for point in points
    )
    return Markup(
        '<figure class="plot"><svg width="{0}" height="{0}" viewBox="0 0 {0} {0}" role="img" aria-label="Found share of '
        'labels against the predicted share; the table beside it has the points" xmlns="http://www.w3.org/2000/svg">'
        '<rect class="frame" x="0.5" y="0.5" width="{1}" height="{1}" fill="none" stroke="currentColor"/>'
        '<path class="arrow" d="M0 {0} L{0} 0" stroke-dasharray="4 4"/>'
        '<polyline class="arrow" fill="none" points="{2}"/>{3}</svg>'
        '<table class="numbers"><thead><tr><th scope="col">Predicted</th><th scope="col">Found</th>'
        '<th scope="col">Labels</th></tr></thead><tbody>{4}</tbody></table></figure>'
    ).format(SIDE, SIDE - 1, line, dots, rows)


def overoptimisation(citations: Citations, prefix: str) -> Markup:
    """Scores of PPO's probes against the square root of the KL, in the order of training; the points as a table below.

    Source of the axes: Gao et al. 2023, https://arxiv.org/abs/2210.10760
    """
    points = [f"{prefix}.{row}" for row in citations.facts.children(prefix)]
    scores = [(part, title) for part, title in SCORES.items() if all(f"{point}.{part}" in citations.facts for point in points)]
    columns = [("update", "Updates"), ("root_kl", "Root of the KL"), *scores]
    rows = Markup().join(
        Markup("<tr>{}</tr>").format(
            Markup().join(Markup("<td>{}</td>").format(citations.cite(f"{point}.{part}")) for part, _ in columns)
        )
        for point in points
    )
    heads = Markup().join(Markup('<th scope="col">{}</th>').format(title) for _, title in columns)
    return Markup(
        '<figure class="plot">{}<table class="numbers"><thead><tr>{}</tr></thead><tbody>{}</tbody></table></figure>'
    ).format(_curves(citations, points, scores), heads, rows)


def _curves(citations: Citations, points: list[str], scores: list[tuple[str, str]]) -> Markup:
    """One line for each score, told apart by dashes and by the name at its end."""
    found = {part: [_number(citations, f"{point}.{part}") for point in points] for part in ("root_kl", *dict(scores))}
    values = [value for part, _ in scores for value in found[part]]
    low, high = min(values), max(values)
    across, up = CURVES / max(*found["root_kl"], 1e-9), (SIDE - 20) / max(high - low, 1e-9)
    lines = []
    for (part, title), dashes in zip(scores, DASHES, strict=False):
        place = [(across * x, SIDE - 10 - up * (y - low)) for x, y in zip(found["root_kl"], found[part], strict=True)]
        path = Markup(" ").join(Markup("{:.1f},{:.1f}").format(x, y) for x, y in place)
        lines.append(
            Markup(
                '<polyline class="arrow" fill="none" stroke-dasharray="{}" points="{}"/>'
                '<text class="run" x="{:.1f}" y="{:.1f}">{}</text>'
            ).format(dashes, path, place[-1][0] + 6, place[-1][1] + 4, title)
        )
    return Markup(
        '<svg width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" aria-label="Scores of the probes against the square '
        'root of the KL; the table below has the points" xmlns="http://www.w3.org/2000/svg">'
        '<path class="arrow" d="M0.5 0 L0.5 {2} L{3} {2}" fill="none"/>{4}</svg>'
    ).format(CURVES + LABELS, SIDE, SIDE - 0.5, CURVES, Markup().join(lines))


def course(citations: Citations, prefix: str) -> Markup:
    """A line through the values below a prefix with their intervals, and the values after it, in the record's order."""
    points = [f"{prefix}.{place}" for place in citations.facts.children(prefix)]
    ends = [_ends(citations, f"{point}.value") for point in points]
    low, high = min(end for end, _ in ends), max(end for _, end in ends)
    scale = (ROW - 4) / max(high - low, 1e-9)
    step = (LINE - 12) / max(len(points) - 1, 1)
    at = [(6 + step * place, 2 + scale * (high - _number(citations, f"{point}.value"))) for place, point in enumerate(points)]
    bars = Markup().join(
        Markup('<path class="arrow" d="M{:.1f} {:.1f}V{:.1f}"/>').format(
            x, 2 + scale * (high - least), 2 + scale * (high - most)
        )
        for (x, _), (least, most) in zip(at, ends, strict=True)
    )
    line = Markup(" ").join(Markup("{:.1f},{:.1f}").format(x, y) for x, y in at)
    drawn = Markup(
        '<svg class="course" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" aria-label="Line through the values '
        'beside it, first to last" xmlns="http://www.w3.org/2000/svg">{2}<polyline class="arrow" fill="none" points="{3}"/>'
        '<circle class="head" cx="{4:.1f}" cy="{5:.1f}" r="3"/></svg>'
    ).format(LINE, ROW, bars, line, *at[-1])
    values = Markup("<br>").join(
        Markup("{}: {}").format(citations.cite(f"{point}.release"), citations.cite(f"{point}.value", interval=True))
        for point in points
    )
    return Markup("<td>{}</td><td>{}</td>").format(drawn, values)


def _number(citations: Citations, name: str) -> float:
    """A share that is drawn; what is cited stands in the table."""
    return float(citations.facts.value(name, 0.0))


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
