"""The report's drawings, as inline SVG: the forest plot of all gates, and the trend of one metric."""

from __future__ import annotations

import html
import math
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.evaluate.report import CANDIDATE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SIGNS = {"pass": "✓", "regressed": "✗", "undecided": "?"}
REACH = 3.0
"""Margins shown to each side of no change."""


@dataclass(frozen=True)
class Sheet:
    """Where the parts of the forest plot lie, in pixels."""

    name: str
    """Class by which the page shows it on screens that are wide or narrow enough."""
    row: int
    left: int
    """Room before the plot; a narrow sheet has its labels above the lines instead."""
    width: int
    right: int
    """Room for the numbers."""

    @property
    def above(self) -> bool:
        """Whether labels stand above their lines."""
        return self.left < 100

    def x(self, value: float) -> float:
        """Where a value in margins lies."""
        return self.left + self.width * (min(REACH, max(-REACH, value)) + REACH) / (2 * REACH)


BROAD, NARROW = Sheet("broad", 24, 340, 380, 90), Sheet("narrow", 40, 10, 270, 70)


def forest(gates: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> str:
    """Every gate's difference with its interval, in units of its margin; one drawing for wide screens, one for narrow ones.

    Args:
        gates: Of a report.
        labels: Metric → what a reader calls it; one that was not measured goes by its name.
    """
    return "".join(_forest(gates, labels, sheet) for sheet in (BROAD, NARROW))


def _forest(gates: Sequence[Mapping[str, Any]], labels: Mapping[str, str], sheet: Sheet) -> str:
    height = sheet.row * len(gates) + 56
    first = 40 + (sheet.row // 2 if sheet.above else 0)
    body = "".join(_row(gate, labels, first + sheet.row * place, sheet) for place, gate in enumerate(gates))
    axis = "".join(_axis(at, height, sheet) for at in (-2, -1, 0, 1, 2))
    return (
        f'<svg class="{sheet.name}" viewBox="0 0 {sheet.left + sheet.width + sheet.right} {height}" role="img" '
        f'aria-label="Forest plot; the table of each suite has the same numbers"><rect class="lost" x="{sheet.left}" y="26" '
        f'width="{sheet.x(-1) - sheet.left:.1f}" height="{height - 44}"/>{axis}'
        f'<text class="tick" x="{sheet.x(-1):.1f}" y="18">margin</text>'
        f'<text class="tick" x="{sheet.x(0) + 12:.1f}" y="18">no change</text>{body}</svg>'
    )


def _axis(at: int, height: int, sheet: Sheet) -> str:
    kind = {-1: "margin", 0: "zero"}.get(at, "grid")
    label = f"&minus;{-at}" if at < 0 else str(at)
    return (
        f'<line class="{kind}" x1="{sheet.x(at):.1f}" x2="{sheet.x(at):.1f}" y1="26" y2="{height - 18}"/>'
        f'<text class="tick" x="{sheet.x(at):.1f}" y="{height - 4}">{label}</text>'
    )


def _row(gate: Mapping[str, Any], labels: Mapping[str, str], y: int, sheet: Sheet) -> str:
    place = f'x="{sheet.left}" y="{y - 10}"' if sheet.above else f'x="{sheet.left - 12}" y="{y + 4}"'
    label = f'<text class="label {gate["verdict"]}" {place}>{say(_called(gate, labels))}</text>'
    numbers = spread(gate)
    if numbers is None:
        return f'{label}<text class="none" x="{sheet.left + 8}" y="{y + 4}">not measured</text>'
    low, value, high = numbers
    shown = f"&times;{gate['value']:.2f}" if gate["unit"] == "ratio" else f"{gate['value']:+.3f}"
    beyond = "".join(
        f'<text class="beyond {gate["verdict"]}" x="{sheet.x(end):.1f}" y="{y + 4}">{arrow}</text>'
        for end, arrow, out in ((low, "◂", low < -REACH), (high, "▸", high > REACH))
        if out
    )
    return (
        f'{label}<line class="bar {gate["verdict"]}" x1="{sheet.x(low):.1f}" x2="{sheet.x(high):.1f}" y1="{y}" y2="{y}"/>'
        f'<circle class="dot {gate["verdict"]}" cx="{sheet.x(value):.1f}" cy="{y}" r="4.5"/>{beyond}'
        f'<text class="value" x="{sheet.left + sheet.width + 10}" y="{y + 4}">{shown}</text>'
    )


def _called(gate: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """A gate as its line is labelled: its sign, the metric, what it is held beside (`over base`), and whether it counts."""
    metric, *beside = gate["name"].split(" ")
    advisory = ["(advisory)"] if gate["advisory"] else []
    return " ".join([SIGNS[gate["verdict"]], labels.get(metric, metric), *beside, *advisory])


def spark(points: Sequence[Mapping[str, Any]], label: str) -> str:
    """A metric's values and intervals in order, the candidate's last; its text alternative says them."""
    low, high = min(point["low"] for point in points), max(point["high"] for point in points)
    scale = 18 / (high - low) if high > low else 0.0
    at = [(6 + 88 * place / (len(points) - 1), point) for place, point in enumerate(points)]

    def y(value: float) -> float:
        return 22 - scale * (value - low) if scale else 13.0

    bars = "".join(f'<path d="M{x:.1f} {y(point["low"]):.1f}V{y(point["high"]):.1f}"/>' for x, point in at)
    line = " ".join(f"{x:.1f},{y(point['value']):.1f}" for x, point in at)
    said = ", ".join(
        f"{'candidate' if point['release'] == CANDIDATE else 'release ' + point['release']} {number(point['value'])}"
        for point in points
    )
    return (
        f'<svg class="spark" viewBox="0 0 100 26" role="img" aria-label="{say(label)}: {say(said)}">{bars}'
        f'<polyline points="{line}"/><circle cx="{at[-1][0]:.1f}" cy="{y(points[-1]["value"]):.1f}" r="2.6"/></svg>'
    )


def number(value: Any) -> str:
    """A number for a table."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def say(value: Any) -> str:
    """Escaped, with what can't be seen made visible."""
    return html.escape("".join(_seen(character) for character in str(value)))


def _seen(character: str) -> str:
    hidden = unicodedata.category(character) in {"Cc", "Cf", "Co", "Cs", "Cn"} and character not in "\n\t"
    return f"⟨U+{ord(character):04X}⟩" if hidden else character


def spread(gate: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """A gate's difference in units of its margin, better to the right: low, value, high. None where nothing was measured.

    -1 is the margin, 0 no change. For a ratio the logarithm is taken, so that half and double are as far from 1.
    """
    if gate["value"] is None or gate["bound"] != "margin" or not gate["threshold"]:
        return None
    values = [gate["low"], gate["value"], gate["high"]]
    threshold = gate["threshold"]
    if gate["unit"] == "ratio":
        if threshold == 1 or min(values) <= 0:
            return None
        values, threshold = [math.log(value) for value in values], math.log(threshold)
    scaled = sorted(-value / abs(threshold) if gate["better"] == "lower" else value / abs(threshold) for value in values)
    return scaled[0], scaled[1], scaled[2]
