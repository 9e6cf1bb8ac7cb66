"""What many measurements come to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that `share` (0 to 1) of them do not exceed.

    Raises: ValueError without values.
    """
    if not values:
        raise ValueError("no values to tell a quantile of")
    rank = max(math.ceil(share * len(values)), 1)
    return sorted(values)[rank - 1]


def median(values: Sequence[float]) -> float:
    """The middle of `values`, or the mean of the two in the middle.

    Raises: ValueError without values.
    """
    if not values:
        raise ValueError("no values to tell the median of")
    ordered, half = sorted(values), len(values) // 2
    if len(values) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2


@dataclass(frozen=True, slots=True)
class Trend:
    """The least-squares line through points: its slope, and that slope's standard error."""

    slope: float
    standard_error: float

    @property
    def is_flat(self) -> bool:
        """Whether the slope is less than twice its error away from nothing."""
        return abs(self.slope) <= 2 * self.standard_error


def trend(points: Sequence[tuple[float, float]]) -> Trend:
    """The line through `points`.

    Raises: ValueError for fewer than three points, or when all have the same place.
    """
    count = len(points)
    if count < 3:
        raise ValueError("three points are needed to tell a trend and its error")
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        raise ValueError("all points have the same place")
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return Trend(slope, math.sqrt(rest / (count - 2) / spread))
