"""What wears in an emulated probe, and what its own calibration makes of it again.

    what there is, or is in its bottle ──► Wear: offset and slope ──► Points: its calibration ──► reading

Nernst: 59.16 mV a pH at 25 degC. How probes join their points is in no maker's paper: straight lines are
assumed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

NERNST_MV = 59.16


@dataclass(slots=True)
class Wear:
    """How a sensor has aged: what it sees is `middle + slope x (truth - middle) + offset`."""

    acid: float = 1.0
    base: float = 1.0
    offset: float = 0.0
    middle: float = 7.0

    def sees(self, truth: float) -> float:
        away = truth - self.middle
        return self.middle + away * (self.acid if away < 0 else self.base) + self.offset


@dataclass(slots=True)
class Points:
    """A calibration: pairs (seen, true). None: what is seen is said; one: shifted; more: straight lines."""

    pairs: list[tuple[float, float]] = field(default_factory=list)

    def set(self, pairs: Iterable[tuple[float, float]]) -> None:
        self.pairs = sorted(pairs)

    def says(self, seen: float) -> float:
        if not self.pairs:
            return seen
        if len(self.pairs) == 1:
            return seen + self.pairs[0][1] - self.pairs[0][0]
        lines = [line for line in pairwise(self.pairs) if line[0][0] != line[1][0]]
        if not lines:
            return self.pairs[0][1]
        (x0, y0), (x1, y1) = next((line for line in lines if seen <= line[1][0]), lines[-1])
        return y0 + (y1 - y0) * (seen - x0) / (x1 - x0)
