"""The two tables of turns per second against image size, as the peer publishes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .figures import LIMIT
from .rows import Row
from .run import OURS


@dataclass(frozen=True)
class SizeTable:
    """Turns per second of each system at each side length."""

    title: str
    sides: list[int]
    series: dict[str, list[float | None]]

    def as_json(self) -> dict[str, Any]:
        return {"title": self.title, "unit": "Hz", "sides": self.sides, "series": self.series}

    def text(self) -> str:
        """Aligned columns."""
        lines = [["side", *self.series]]
        for index, side in enumerate(self.sides):
            cells = [values[index] for values in self.series.values()]
            lines.append([str(side), *("-" if c is None else f"{c:,.1f}" for c in cells)])
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        rows = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines]
        return "\n".join([f"{self.title}, Hz", *rows])


def tables(rows: Sequence[Row], systems: Sequence[str]) -> list[SizeTable]:
    """Both tables, of the rows that were measured."""
    found = [
        _table(
            "IO against image size: write + read, float32", "io", [100, 1000, 10_000], rows, systems
        ),
        _table(
            "MVM: fresh vector, matrix read, product, float32",
            "mvm",
            [100, 1000, 3000, 10_000],
            rows,
            systems,
        ),
    ]
    return [table for table in found if table.sides]


def _table(
    title: str, group: str, sides: list[int], rows: Sequence[Row], systems: Sequence[str]
) -> SizeTable:
    by_name = {row.name: row for row in rows}
    measured = {}
    for side in sides:
        row = by_name.get(f"{group}/{side}x{side}") or by_name.get(f"{group}/{side}")
        if row is not None:
            measured[side] = row
    series: dict[str, list[float | None]] = {}
    for system in [*systems, LIMIT]:
        series[system] = [_value(row, system) for row in measured.values()]
    return SizeTable(title, list(measured), series)


def _value(row: Row, system: str) -> float | None:
    if system == OURS:
        return row.ours.value
    reading = row.limit if system == LIMIT else row.best_of(system)
    return reading.value if reading is not None else None
