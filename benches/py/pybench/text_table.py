"""The table for people: figures aligned in columns, remarks below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .rows import Row, Target
from .size_tables import SizeTable


def text(
    header: Mapping[str, Any],
    rows: Sequence[Row],
    tables: Sequence[SizeTable],
    peers: Sequence[str],
) -> str:
    """Everything that a run found."""
    machine = header["machine"]
    versions = ", ".join(f"{name} ({version})" for name, version in header["systems"].items())
    first = [
        header["command"],
        f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, {header['python']}, "
        f"numpy {header['numpy']}, commit {header['commit']}{', quick' if header['quick'] else ''}",
        f"{versions}, load average before the run {header['load_before']}",
    ]
    parts = ["\n".join(first), _aligned(rows, peers)]
    parts += [table.text() for table in tables]
    parts.append("\n".join(_notes(row) for row in rows))
    return "\n\n".join(parts)


def _aligned(rows: Sequence[Row], peers: Sequence[str]) -> str:
    heads = ["row", "ours", "p99", "max", "limit", "/limit"]
    for peer in peers:
        heads += [peer, "faster"]
    lines = [[*heads, "payload", "goal"]]
    lines += [_cells(row, peers) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, len(line) - 2) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    )


def _cells(row: Row, peers: Sequence[str]) -> list[str]:
    limit = row.limit
    cells = [
        row.name,
        f"{_short(row.ours.value)} {row.unit}",
        _bare(row.ours.p99),
        _bare(row.ours.max),
        _bare(limit.value if limit else None),
        _ratio(row.ratio(limit)),
    ]
    for name in peers:
        peer = row.best_of(name)
        speed = row.speed(peer)
        cells += [_bare(peer.value if peer else None), f"{_ratio(speed)}x" if speed else ""]
    met = {True: "met", False: "MISSED", None: "-"}[row.met]
    return [*cells, "copied" if row.touched else "-", met]


def _notes(row: Row) -> str:
    parts = [_goal(target) for target in row.targets]
    parts += [f"{other.how} {_short(other.value)}" for other in row.limits]
    parts += [f"{other.name}, {other.how} {_short(other.value)}" for other in row.peers]
    parts += [f"{other.how} {_short(other.value)}" for other in row.references]
    return f"{row.name}: {'; '.join([*parts, *row.notes])}"


def _goal(target: Target) -> str:
    if target.measured is None:
        return f"goal: {target.text} (not measured)"
    verdict = "met" if target.met else "MISSED"
    return f"goal: {target.text} ({verdict}, {target.measured:.3g})"


def _bare(figure: float | None) -> str:
    return "" if figure is None else _short(figure)


def _ratio(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.2f}"


def _short(figure: float) -> str:
    """Three figures that count, without exponents: every unit here is chosen to need none."""
    size = abs(figure)
    if size >= 1000 or size == 0:
        return f"{figure:.0f}"
    if size >= 10:
        return f"{figure:.1f}"
    return f"{figure:.2f}" if size >= 0.1 else f"{figure:.4f}"
