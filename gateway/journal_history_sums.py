"""How points become fewer: half hours for the year's chart, and as many columns as a screen has. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Point = tuple[int, float, int]
"""Time in ms, value, flag."""

BUCKET_MS = 1_800_000
STEPS_MS = tuple(
    n * unit
    for unit, counts in (
        (1000, (1, 2, 5, 10, 15, 30)),
        (60_000, (1, 2, 5, 10, 15, 30)),
        (3_600_000, (1, 2, 3, 6, 12)),
        (86_400_000, (1, 2, 4, 7, 14, 28)),
    )
    for n in counts
)
"""Lengths that a column may have: those of a clock's face."""
FAIL = 4


@dataclass(slots=True)
class Bucket:
    """What was read in some time: the sums of what can be used, how many failed, and the worst flag."""

    start_ms: int
    used: int = 0
    total: float = 0.0
    low: float | None = None
    high: float | None = None
    failed: int = 0
    worst: int = 0

    def add(self, value: float, flag: int) -> None:
        self.worst = max(self.worst, flag)
        if flag >= FAIL:
            self.failed += 1
            return
        self.used += 1
        self.total += value
        self.low = value if self.low is None or value < self.low else self.low
        self.high = value if self.high is None or value > self.high else self.high

    def plus(self, other: Bucket) -> Bucket:
        """Both together; it begins where this one does."""
        lows = [x for x in (self.low, other.low) if x is not None]
        highs = [x for x in (self.high, other.high) if x is not None]
        return Bucket(
            self.start_ms,
            self.used + other.used,
            self.total + other.total,
            min(lows, default=None),
            max(highs, default=None),
            self.failed + other.failed,
            max(self.worst, other.worst),
        )

    @property
    def mean(self) -> float | None:
        return self.total / self.used if self.used else None


def sum_up(points: Iterable[Point], length_ms: int = BUCKET_MS) -> dict[int, Bucket]:
    """Points in columns of `length_ms` on the grid of UTC, by where they begin."""
    found: dict[int, Bucket] = {}
    for t, value, flag in points:
        start_ms = t - t % length_ms
        bucket = found.get(start_ms)
        if bucket is None:
            bucket = found[start_ms] = Bucket(start_ms)
        bucket.add(value, flag)
    return found


def merge(buckets: Iterable[Bucket], length_ms: int) -> list[Bucket]:
    """Columns made of shorter ones, in their order."""
    found: dict[int, Bucket] = {}
    for bucket in buckets:
        start_ms = bucket.start_ms - bucket.start_ms % length_ms
        if start_ms in found:
            found[start_ms] = found[start_ms].plus(bucket)
        else:
            found[start_ms] = Bucket(start_ms).plus(bucket)
    return [found[at] for at in sorted(found)]


def step(range_ms: int, points: int, least_ms: int) -> int:
    """The shortest column with which the range has at most so many."""
    wanted_ms = max(least_ms, -(-range_ms // points))
    return next((s for s in STEPS_MS if s >= wanted_ms), -(-wanted_ms // STEPS_MS[-1]) * STEPS_MS[-1])


def with_gaps(starts_ms: Sequence[int], longest_ms: float) -> list[int]:
    """Before which columns the line must be cut: more than `longest_ms` lies between them and the last."""
    return [i for i in range(1, len(starts_ms)) if starts_ms[i] - starts_ms[i - 1] > longest_ms]
