"""A plot of seconds over size on two logarithmic axes, as SVG: the same figures give the same bytes."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 590, 50, 340
COLOURS = ("#1f5fa8", "#b3560f")
STYLE = (
    "text { font: 13px system-ui, sans-serif; fill: #333; } .grid { stroke: #ddd; } .linear { stroke: #999; "
    "stroke-dasharray: 5 4; } polyline { fill: none; stroke-width: 2; }"
)


def plot(title: str, series: Mapping[str, Mapping[int, float]]) -> str:
    """Lines of seconds by size, with a dashed line of linear growth through the last point of the first.

    Args:
        title: Of the plot.
        series: Name → size → seconds; two at most.
    """
    sizes = sorted({size for line in series.values() for size in line})
    seconds = [value for line in series.values() for value in line.values()]
    axes = _Axes(sizes[0], sizes[-1], _power(min(seconds)), _power(max(seconds)) + 1)
    told = "; ".join(
        f"{name}: {', '.join(f'{size:,} in {value:.1f} s' for size, value in sorted(line.items()))}"
        for name, line in series.items()
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title told">',
        f'<title id="title">{html.escape(title)}</title><desc id="told">{html.escape(told)}</desc><style>{STYLE}</style>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/><text x="{LEFT}" y="24">{html.escape(title)}</text>',
        *axes.grid(sizes),
        *axes.linear(next(iter(series.values()))),
    ]
    for number, ((name, line), colour) in enumerate(zip(series.items(), COLOURS, strict=False)):
        parts += axes.line(name, line, colour, number)
    return "\n".join([*parts, "</svg>", ""])


class _Axes:
    """Where sizes and seconds lie; seconds run from 10^`low` to 10^`high`."""

    def __init__(self, smallest: int, largest: int, low: int, high: int) -> None:
        self._smallest, self._largest, self._low, self._high = smallest, largest, low, high

    def _x(self, size: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log(size / self._smallest) / math.log(self._largest / self._smallest)

    def _y(self, seconds: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (math.log10(seconds) - self._low) / (self._high - self._low)

    def grid(self, sizes: list[int]) -> Iterator[str]:
        """Ticks with their numbers."""
        for size in sizes:
            x = self._x(size)
            yield f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{BOTTOM}"/>'
            yield f'<text x="{x:.1f}" y="{BOTTOM + 20}" text-anchor="middle">{size:,}</text>'
        for power in range(self._low, self._high + 1):
            y = self._y(10.0**power)
            yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}"/>'
            yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>'
        yield f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 44}" text-anchor="middle">comparisons</text>'

    def linear(self, line: Mapping[int, float]) -> Iterator[str]:
        """What growth in proportion to the size would be, as far down as the plot goes."""
        each = line[max(line)] / max(line)
        start = max(self._smallest, 10.0**self._low / each)
        ends = [(self._x(size), self._y(each * size)) for size in (start, max(line))]
        (x1, y1), (x2, y2) = ends
        yield f'<line class="linear" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'

    def line(self, name: str, line: Mapping[int, float], colour: str, number: int) -> Iterator[str]:
        """One series, and its name in the legend."""
        points = [(self._x(size), self._y(seconds)) for size, seconds in sorted(line.items())]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline stroke="{colour}" points="{joined}"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points)
        top = TOP + 20 * number
        yield f'<rect x="{LEFT + 12}" y="{top}" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{LEFT + 30}" y="{top + 11}">{html.escape(name)}</text>'


def _power(seconds: float) -> int:
    return math.floor(math.log10(seconds))
