"""The size tables as an SVG: turns per second against side length, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from .figures import LIMIT
from .size_tables import SizeTable

PANEL_WIDTH, PLOT_HEIGHT = 520, 280
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 72, 64
LETTER = 7.0
"""About the width of a letter of the legend."""
COLOURS = ("#0b6e4f", "#c2410c", "#6d28d9", "#0369a1", "#be185d")
LIMIT_COLOUR = "#6b7280"
INK, GRID, PAPER = "#1f2937", "#e5e7eb", "#ffffff"
STYLE = "font-family:system-ui,sans-serif;font-size:12px"


def write(file: Path, header: Mapping[str, Any], tables: Sequence[SizeTable]) -> None:
    """Writes a panel for each table."""
    file.write_text(svg(header, tables), encoding="utf-8")


def svg(header: Mapping[str, Any], tables: Sequence[SizeTable]) -> str:
    """The picture."""
    width = PANEL_WIDTH * max(len(tables), 1)
    height = TOP + PLOT_HEIGHT + BOTTOM
    machine = header["machine"]
    caption = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, {header['python']}, "
        f"numpy {header['numpy']}, {header['date'][:10]}; x: so many times the faster pyshmem"
        f"{', quick: not for quoting' if header['quick'] else ''}"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" style="{STYLE}" role="img">',
        f"<title>{escape('; '.join(table.title for table in tables))}</title>",
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        _text(width / 2, height - 12, caption, "middle", "#4b5563", 11),
    ]
    for number, table in enumerate(tables):
        parts += [f'<g transform="translate({number * PANEL_WIDTH} 0)">', *_panel(table), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(table: SizeTable) -> list[str]:
    x, y = _Axis.horizontal(table), _Axis.vertical(table)
    low, high = TOP, TOP + PLOT_HEIGHT
    parts = [_text(LEFT, 24, table.title, "start", INK, 14, bold=True)]
    for decade in range(y.first, y.last + 1):
        at = y.place(10.0**decade)
        parts.append(_line(LEFT, at, PANEL_WIDTH - RIGHT, at, GRID))
        parts.append(
            _text(
                LEFT - 8,
                at + 4,
                f"{10**decade:,} Hz" if decade < 4 else f"{10 ** (decade - 3):,} kHz",
                "end",
                INK,
                11,
            )
        )
    for side in table.sides:
        at = x.place(side)
        parts.append(_line(at, low, at, high, GRID))
        parts.append(_text(at, high + 18, f"{side}\u00b2", "middle", INK, 11))
    colours = iter(COLOURS)
    legend_at = float(LEFT)
    for number, (name, values) in enumerate(table.series.items()):
        colour = LIMIT_COLOUR if name == LIMIT else next(colours, INK)
        points = [(x.place(s), y.place(v)) for s, v in zip(table.sides, values) if v]
        parts += _series(points, colour, dashed=name == LIMIT)
        told = "bare copies" if name == LIMIT else name
        parts += _legend(legend_at, told, colour)
        legend_at += 30 + LETTER * len(told)
        if number == 0:
            parts += _labels(table, values, points, colour)
    return parts


def _series(points: Sequence[tuple[float, float]], colour: str, dashed: bool) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
    return [line, *dots]


def _labels(
    table: SizeTable,
    values: Sequence[float | None],
    points: Sequence[tuple[float, float]],
    colour: str,
) -> list[str]:
    """The figures of the first series, and how many times those of the best peer they are."""
    parts = []
    for index, (x, y) in enumerate(points):
        value = values[index] or 0.0
        others = [s[index] for name, s in list(table.series.items())[1:] if name != LIMIT]
        best = max((other for other in others if other), default=None)
        times = f", {value / best:.1f}x" if best else ""
        told = f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
        parts.append(_text(x + 8, y - 8, f"{told} Hz{times}", "start", colour, 12, bold=True))
    return parts


def _legend(x: float, name: str, colour: str) -> list[str]:
    y = 48
    return [
        f'<circle cx="{x + 4:.1f}" cy="{y - 4}" r="4" fill="{colour}"/>',
        _text(x + 12, y, name, "start", INK, 12),
    ]


class _Axis:
    """A logarithmic axis."""

    def __init__(self, least: float, most: float, at_least: float, at_most: float) -> None:
        self.first = math.floor(math.log10(least))
        self.last = math.ceil(math.log10(most))
        self._least, self._most = math.log10(least), math.log10(most)
        self._at_least, self._at_most = at_least, at_most

    @classmethod
    def horizontal(cls, table: SizeTable) -> _Axis:
        sides = table.sides
        return cls(sides[0] / 1.5, sides[-1] * 3.5, LEFT, PANEL_WIDTH - RIGHT)

    @classmethod
    def vertical(cls, table: SizeTable) -> _Axis:
        known = [value for values in table.series.values() for value in values if value]
        first, last = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known) * 1.1))
        return cls(10.0**first, 10.0**last, TOP + PLOT_HEIGHT, TOP)

    def place(self, value: float) -> float:
        part = (math.log10(value) - self._least) / (self._most - self._least)
        return self._at_least + part * (self._at_most - self._at_least)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}"/>'


def _text(
    x: float, y: float, words: str, anchor: str, colour: str, size: int, bold: bool | None = None
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'font-size="{size}"{weight}>{escape(words)}</text>'
    )
