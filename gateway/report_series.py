"""The sums of a month's readings, in steps of ten minutes (gateway.report_sums makes them)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.averages_sums import METHODS, PH_RANGE, Method
from gateway.calibration import MAINTENANCE
from gateway.export_source import Span
from gateway.model import Flag

STEP_MS = 600_000
SERIES_AT_MOST = 300
"""Sensors times quantities; the journal of a station has some dozens."""
REASONS_AT_MOST = 50


@dataclass(slots=True)
class Series:
    """One quantity of one sensor, step by step from the beginning of the month."""

    sensor: str
    quantity: str
    unit: str
    medium: str
    steps: int
    used: array[int] = field(init=False)
    doubted: array[int] = field(init=False)
    """Values that are SUSPECT, FAIL or no number; not those of maintenance."""
    at_work: array[int] = field(init=False)
    total: array[float] = field(init=False)
    raw: array[float] = field(init=False)
    low: array[float] = field(init=False)
    high: array[float] = field(init=False)
    corrected: int = 0
    """How many values a later correction changed."""
    reasons: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole, real = array("I", bytes(4 * self.steps)), array("d", bytes(8 * self.steps))
        self.used, self.doubted, self.at_work = array("I", whole), array("I", whole), array("I", whole)
        self.total, self.raw = array("d", real), array("d", real)
        self.low = array("d", [math.inf]) * self.steps
        self.high = array("d", [-math.inf]) * self.steps

    @property
    def hydrogen(self) -> bool:
        """Its mean is that of the hydrogen ions."""
        return METHODS.get(self.quantity) is Method.HYDROGEN

    def mean(self, begin: int, end: int, *, raw: bool = False) -> float | None:
        """The mean of these steps; None where nothing can be used."""
        count = sum(self.used[begin:end])
        if not count:
            return None
        mean = math.fsum((self.raw if raw else self.total)[begin:end]) / count
        if self.hydrogen:
            return -math.log10(mean) if mean > 0 else None
        return mean

    def take(self, step: int, values: Sequence[float], raws: Sequence[float]) -> None:
        """Add usable values of one step."""
        if self.hydrogen:
            values_in = [10.0**-x for x in values]
            raws_in = [10.0**-x if PH_RANGE[0] <= x <= PH_RANGE[1] else 0.0 for x in raws]
        else:
            values_in, raws_in = list(values), list(raws)
        self.used[step] += len(values)
        total = math.fsum(values_in)
        self.total[step] += total
        self.raw[step] += total if raws is values else math.fsum(raws_in)
        self.low[step] = min(self.low[step], min(values))
        self.high[step] = max(self.high[step], max(values))

    def join(self, other: Series) -> None:
        """Add what another process summed of the same series: mostly of other steps."""
        for i in range(self.steps):
            if other.used[i] or other.doubted[i] or other.at_work[i]:
                self.used[i] += other.used[i]
                self.doubted[i] += other.doubted[i]
                self.at_work[i] += other.at_work[i]
                self.total[i] += other.total[i]
                self.raw[i] += other.raw[i]
                self.low[i] = min(self.low[i], other.low[i])
                self.high[i] = max(self.high[i], other.high[i])
        self.corrected += other.corrected
        for why, count in other.reasons.items():
            if why in self.reasons or len(self.reasons) < REASONS_AT_MOST:
                self.reasons[why] = self.reasons.get(why, 0) + count

    def refuse(self, step: int, flag: int, why: str) -> None:
        """Count a value that is not used."""
        if flag == Flag.SUSPECT and MAINTENANCE in why:
            self.at_work[step] += 1
            return
        self.doubted[step] += 1
        why = why or "no reason given"
        if why in self.reasons or len(self.reasons) < REASONS_AT_MOST:
            self.reasons[why] = self.reasons.get(why, 0) + 1


@dataclass(slots=True)
class Sums:
    """All series of the month."""

    span: Span
    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    readings: dict[str, int] = field(default_factory=dict)
    last_ms: int = 0
    too_many: int = 0
    """Values of series beyond the limit."""

    @property
    def steps(self) -> int:
        return -(-(self.span.to_ms - self.span.from_ms) // STEP_MS)

    def of(self, sensor: str, quantity: str, unit: str, medium: str) -> Series | None:
        key = sensor, quantity
        found = self.series.get(key)
        if found is None:
            if len(self.series) >= SERIES_AT_MOST:
                self.too_many += 1
                return None
            found = self.series[key] = Series(sensor, quantity, unit, medium, self.steps)
        return found
