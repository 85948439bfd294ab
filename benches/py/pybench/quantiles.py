"""The figures that are told of many samples."""

from __future__ import annotations

import math
from collections.abc import Sequence


SHARES = (0.5, 0.9, 0.99, 0.999, 0.9999, 1.0)
"""The points of a curve, the worst last."""


def median(samples: Sequence[float]) -> float:
    """The middle one, or the mean of the two in the middle."""
    ordered = sorted(samples)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2


def quantile(samples: Sequence[float], part: float) -> float:
    """The smallest sample that `part` of all samples do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def curve(samples: Sequence[float]) -> list[tuple[float, float]]:
    """Those of `SHARES` above which at least one sample lies, and the samples that they are."""
    ordered = sorted(samples)
    count = len(ordered)
    told = [share for share in SHARES if share == 1.0 or count * (1.0 - share) >= 1.0]
    return [(share, ordered[max(0, math.ceil(share * count) - 1)]) for share in told if count]
