"""Rows: our figure, what bounds it, what the peers take, and whether the goal is met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Better = Literal["lower", "higher"]
Comparison = Literal[">=", ">", "<=", "<"]


@dataclass(frozen=True)
class Reading:
    """One system's figure, in the unit of its row."""

    name: str
    how: str
    value: float
    p99: float | None = None
    max: float | None = None
    rounds: tuple[float, ...] = ()
    quantiles: tuple[tuple[float, float], ...] = ()
    """Shares of the single operations and the figures that they are not worse than."""


@dataclass(frozen=True)
class Target:
    """A goal, and what was measured for it; nothing if it could not be measured."""

    text: str
    comparison: Comparison
    bound: float
    measured: float | None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met, if that is known."""
        if self.measured is None:
            return None
        return {
            ">=": self.measured >= self.bound,
            ">": self.measured > self.bound,
            "<=": self.measured <= self.bound,
            "<": self.measured < self.bound,
        }[self.comparison]

    def as_json(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "comparison": self.comparison,
            "bound": self.bound,
            "measured": self.measured,
            "met": self.met,
        }


@dataclass
class Row:
    """One measured figure beside its limits and its peers."""

    name: str
    unit: str
    better: Better
    ours: Reading
    limits: Sequence[Reading] = ()
    peers: Sequence[Reading] = ()
    references: Sequence[Reading] = ()
    """Figures of other runs."""
    touched: bool = False
    notes: Sequence[str] = ()
    targets: list[Target] = field(default_factory=list)

    @property
    def limit(self) -> Reading | None:
        """The best of the limits."""
        return self._best(self.limits)

    @property
    def peer(self) -> Reading | None:
        """The best of the peers."""
        return self._best(self.peers)

    def best_of(self, name: str) -> Reading | None:
        """The best figure of this peer, if it has several ways to do the same."""
        return self._best([peer for peer in self.peers if peer.name == name])

    def ratio(self, other: Reading | None) -> float | None:
        """Our figure as a multiple of the other. For a time less is better, for a rate more is."""
        return self.ours.value / other.value if other is not None and other.value else None

    def speed(self, other: Reading | None) -> float | None:
        """So many times are we as fast as the other."""
        ratio = self.ratio(other)
        if ratio is None or self.better == "higher":
            return ratio
        return 1 / ratio if ratio else None

    def ahead_of(self, peers: Sequence[str]) -> None:
        """Sets the goal to be faster than each of these."""
        for name in peers:
            speed = self.speed(self.best_of(name))
            self.targets.append(Target(f"faster than {name}", ">", 1.0, speed))

    def times_as_fast_as(self, name: str, factor: float) -> None:
        """Sets the goal to be so many times as fast as this peer."""
        speed = self.speed(self.best_of(name))
        text = f"{factor:g} times as fast as {name}"
        self.targets.append(Target(text, ">=", factor, speed))

    def below(self, bound: float) -> None:
        """Sets the goal to keep below a bound."""
        text = f"below {bound:g} {self.unit}"
        self.targets.append(Target(text, "<", bound, self.ours.value))

    @property
    def met(self) -> bool | None:
        """Whether all goals are met; nothing if there is none or one could not be measured."""
        known = [target.met for target in self.targets]
        if False in known:
            return False
        return None if None in known or not known else True

    def as_json(self) -> dict[str, Any]:
        """The fields of the rows of the Rust suites, and those that several peers need."""
        limit, peer = self.limit, self.peer
        return {
            "name": self.name,
            "value": self.ours.value,
            "unit": self.unit,
            "better": self.better,
            "how": self.ours.how,
            "p50": self.ours.value,
            "p99": self.ours.p99,
            "max": self.ours.max,
            "rounds": list(self.ours.rounds),
            "limit": limit.value if limit else None,
            "limit_name": limit.how if limit else None,
            "ratio_limit": self.ratio(limit),
            "limits": [self._other_as_json(limit) for limit in self.limits],
            "peer": peer.value if peer else None,
            "peer_name": peer.name if peer else None,
            "ratio_peer": self.ratio(peer),
            "peers": [self._other_as_json(peer) for peer in self.peers],
            "references": [self._other_as_json(other) for other in self.references],
            "target": "; ".join(target.text for target in self.targets) or None,
            "targets": [target.as_json() for target in self.targets],
            "met": self.met,
            "touched": self.touched,
            "note": "; ".join(self.notes),
            "quantiles": _points(self.ours),
            "limit_quantiles": _points(limit),
            "peer_quantiles": _points(peer),
        }

    def _other_as_json(self, other: Reading) -> dict[str, Any]:
        return {
            "name": other.name,
            "how": other.how,
            "value": other.value,
            "p99": other.p99,
            "max": other.max,
            "rounds": list(other.rounds),
            "ratio": self.ratio(other),
        }

    def _best(self, readings: Sequence[Reading]) -> Reading | None:
        if not readings:
            return None
        choose = min if self.better == "lower" else max
        return choose(readings, key=lambda reading: reading.value)


def _points(reading: Reading | None) -> list[list[float]]:
    return [list(point) for point in reading.quantiles] if reading else []
