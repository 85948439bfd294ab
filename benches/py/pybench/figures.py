"""What was measured of one contender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .quantiles import curve, median, quantile
from .rows import Better, Reading, Row

LIMIT = "limit"
_NS_OF = {"ns": 1.0, "us": 1e3, "ms": 1e6}


@dataclass(frozen=True)
class Contender:
    """Somebody who does the work of a row."""

    label: str
    """A system, or `LIMIT`."""
    how: str
    """The calls that do the work."""
    worker: str
    """The system in whose interpreter it runs."""
    case: str
    args: Mapping[str, Any]
    pinned: bool = True


@dataclass
class Figures:
    """Nanoseconds per operation."""

    rounds: list[float] = field(default_factory=list)
    singles: list[float] = field(default_factory=list)

    def add(self, answer: Mapping[str, Sequence[float]]) -> None:
        """Adds a turn: the median of its batches, and all of its single operations."""
        self.rounds.append(median(answer["batches"]))
        self.singles.extend(answer["singles"])

    def add_singles(self, singles: Sequence[float]) -> None:
        """Adds a turn that has only single operations."""
        self.add({"batches": singles, "singles": singles})

    def pooled(self, name: str, how: str, unit: str) -> Reading:
        """The quantiles of all single operations together."""
        return self._reading(name, how, unit, quantile(self.singles, 0.5))

    def by_round(self, name: str, how: str, unit: str) -> Reading:
        """The median of the rounds, with the tail of the single operations."""
        return self._reading(name, how, unit, median(self.rounds))

    def _reading(self, name: str, how: str, unit: str, value: float) -> Reading:
        def scaled(ns: float) -> float:
            return 1e9 / ns if unit == "Hz" else ns / _NS_OF[unit]

        return Reading(
            name,
            how,
            scaled(value),
            scaled(quantile(self.singles, 0.99)),
            scaled(max(self.singles)),
            tuple(scaled(ns) for ns in self.rounds),
            tuple((share, scaled(ns)) for share, ns in curve(self.singles)),
        )


@dataclass(frozen=True)
class Measured:
    """A contender and its figures."""

    contender: Contender
    figures: Figures


def row_of(
    name: str,
    unit: str,
    measured: Sequence[Measured],
    *,
    ours: str,
    touched: bool,
    notes: Sequence[str],
) -> Row:
    """A row with one figure of `ours` and those of everybody else."""
    better: Better = "higher" if unit == "Hz" else "lower"
    readings: dict[str, list[Reading]] = {"ours": [], "limits": [], "peers": []}
    for one in measured:
        contender = one.contender
        group = {ours: "ours", LIMIT: "limits"}.get(contender.label, "peers")
        readings[group].append(one.figures.by_round(contender.label, contender.how, unit))
    (mine,) = readings["ours"]
    return Row(
        name,
        unit,
        better,
        mine,
        limits=readings["limits"],
        peers=readings["peers"],
        touched=touched,
        notes=notes,
    )
