"""A rule as the operator wrote it: what it looks at, its limits and delays, who is told. Values only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class RuleError(ValueError):
    """A rule that makes no sense; the text names the rule, the key and what would do."""


class Kind(StrEnum):
    """What a rule looks at."""

    ABOVE = "above"
    BELOW = "below"
    OUTSIDE = "outside"
    NO_DATA = "no_data"
    FAULT = "fault"
    STUCK = "stuck"
    CLOCK = "clock"
    SMS = "sms"
    DISK = "disk"
    POWER = "power"
    CALIBRATION = "calibration"


OF_STATION = (Kind.CLOCK, Kind.SMS, Kind.DISK, Kind.POWER, Kind.CALIBRATION)
"""What a rule without a sensor looks at: the station's clock, SMS, disk, supply voltage, calibrations."""
STATES = (Kind.NO_DATA, Kind.FAULT, Kind.STUCK, *OF_STATION)
"""Kinds that hold no value against a limit."""


class Priority(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    LOW = "low"


_NOT_NEGATIVE = (
    "hysteresis", "on_delay_s", "off_delay_s", "no_data_s", "gap_s", "late_s", "over_s", "change_s",
    "stuck_s", "start_up_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tier:
    """Contacts who are told `after_s` after the first raise, if nobody has acknowledged by then; 0 is at
    once.
    """

    contacts: tuple[str, ...]
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as the operator wrote it. ABOVE uses `high`, BELOW `low`, OUTSIDE both, all in `unit`.

    With `latching` it clears only when somebody has acknowledged. `gap_s`: two values further apart say
    nothing about the time between them (three times the sensor's interval is a good choice). A NO_DATA rule
    or a FAULT rule without a `quantity` looks at the whole sensor. `digits` are those worth showing.

    What a limit is held against: each value; with `over_s` the running mean, with `nowcast` the NowCast, with
    `change_s` by how much it has changed in so long. `and_rule` names another rule whose alarm must stand as
    well. Outside of `months` and of `hours` (minutes of the local day, from and to) nobody is told, nor in
    the first `start_up_s` after a start, nor while the alarm of the rule `parent` stands. A STUCK rule wants
    a value that moves by more than `hysteresis` within `stuck_s`. Raises RuleError.
    """

    id: str
    sensor: str
    kind: Kind
    quantity: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    hysteresis: float = 0.0
    on_delay_s: float = 0.0
    off_delay_s: float = 0.0
    latching: bool = False
    priority: Priority = Priority.HIGH
    no_data_s: float = 600.0
    gap_s: float = 60.0
    late_s: float = 600.0
    over_s: float = 0.0
    every_s: float = 10.0
    digits: int = 1
    send: tuple[Tier, ...] = ()
    nowcast: bool = False
    change_s: float = 0.0
    and_rule: str = ""
    stuck_s: float = 0.0
    start_up_s: float = 0.0
    parent: str = ""
    months: tuple[int, ...] = ()
    hours: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        wants_high, wants_low = (
            self.kind in (Kind.ABOVE, Kind.OUTSIDE),
            self.kind in (Kind.BELOW, Kind.OUTSIDE),
        )
        for key, value, wanted in (("high", self.high, wants_high), ("low", self.low, wants_low)):
            if wanted and (value is None or not math.isfinite(value)):
                raise RuleError(
                    f"rule {self.id}: a rule of kind {self.kind} needs a number as its {key} limit"
                )
        if (wants_high or wants_low) and not self.quantity:
            raise RuleError(f"rule {self.id}: quantity is missing; a limit needs one")
        for key in _NOT_NEGATIVE:
            value = getattr(self, key)
            if not (math.isfinite(value) and value >= 0):
                raise RuleError(f"rule {self.id}: {key} is {value}; 0 or more is allowed")
        if self.over_s and not 0 < self.every_s <= self.over_s:
            raise RuleError(f"rule {self.id}: a mean over {self.over_s:g} s needs a sensor read more often")
        if self.change_s and (self.over_s or self.nowcast or not 0 < 4 * self.every_s <= self.change_s):
            raise RuleError(
                f"rule {self.id}: a change in {self.change_s:g} s needs four readings and no mean"
            )
        if self.and_rule == self.id:
            raise RuleError(f"rule {self.id}: it cannot wait for itself")
        if self.parent == self.id:
            raise RuleError(f"rule {self.id}: it cannot be its own parent")
        if self.kind is Kind.STUCK and not (self.stuck_s > 0 and self.quantity):
            raise RuleError(f"rule {self.id}: stuck needs a quantity and a duration, such as 6 h")
        if (self.kind in OF_STATION) == bool(self.sensor):
            raise RuleError(f"rule {self.id}: a rule looks at a sensor, or at the station itself")
        if self.kind is Kind.NO_DATA and self.no_data_s <= 0:
            raise RuleError(f"rule {self.id}: no_data needs a duration, such as 10 min")
        if wants_high and wants_low and (self.low or 0.0) + 2 * self.hysteresis >= (self.high or 0.0):
            raise RuleError(
                f"rule {self.id}: with hysteresis {self.hysteresis} nothing is left between {self.low} and"
                f" {self.high}; it would never clear"
            )
