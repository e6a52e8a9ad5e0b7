"""One instrument as a bus sees it: what it is, what came of it, and which of its slots are accounted for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from drivers.base import (
    GarbledAnswer,
    Instrument,
    InstrumentError,
    InstrumentFault,
    Measurement,
    NoAnswer,
    NotReady,
    RequestRefused,
)
from drivers.link import Link
from gateway.calibration import MAINTENANCE, Live, flagged
from gateway.governor import PROBED, STRAINED, AnswerTime, Health, Miss, Run, Slots, Tried
from gateway.model import Body, Event, Reading, Stamp, Value
from gateway.qc import Checks

WARMING_S = 5.0
"""An instrument that asks for less than this is not warming up, it is only not ready."""


@dataclass(slots=True)
class Sensor:
    """One instrument as the bus sees it. The counters are slots since the start of the process: `failed` of
    those that were asked in, `skipped` those that were not.
    """

    id: str
    model: str
    medium: str
    every_s: float
    instrument: Instrument
    checks: Checks
    live: Live = field(default_factory=lambda: Live(0, {}))
    """What is done to its raw numbers now, and whether somebody works at it."""
    state: str = "new"
    why: str = ""
    last: Reading | None = None
    last_frame: bytes = b""
    expected: int = 0
    taken: int = 0
    not_ready: int = 0
    failed: int = 0
    skipped: int = 0
    units: dict[str, str] = field(default_factory=dict)
    slots: Slots = field(init=False)
    health: Health = field(default_factory=Health)
    answers: AnswerTime | None = None
    due_s: float = 0.0
    cost_s: float = 0.0
    patience_s: float | None = None
    pause_s: float = 0.0
    tries: int = 0
    """Requests already made in this slot."""
    second: InstrumentError | None = None
    """What came of the first request, while the second waits."""
    waits_for: Miss = Miss.OVERRUN
    """Why slots are missed that pass while it waits for its turn."""
    late_until_s: float = 0.0
    """Loop time until which a late answer may come."""
    long_probe_s: float = 0.0
    """Loop time from which a probe waits as long as the instrument may need."""
    warm_s: float = 0.0
    """How long it asked to be left alone in its last answer."""
    warm_mono_ms: int = 0
    """The boot's clock when it will be warm, as was said last."""
    split: str = ""
    identified: bool = False

    def __post_init__(self) -> None:
        self.units = {quantity.name: quantity.unit for quantity in self.instrument.quantities}
        self.slots = Slots(self.every_s)
        limit_s = getattr(self.instrument, "answer_s", None)
        if limit_s is not None:
            self.answers = AnswerTime(limit_s)
            self.cost_s = limit_s

    @property
    def is_probe(self) -> bool:
        return self.state in PROBED

    def missed(self, end: int, why: Miss, at: Stamp, *, asked: bool = False) -> list[Body]:
        """All slots before `end` that are not accounted for have no reading; `asked`: one of them was asked
        in. Gives what is to be said.
        """
        count = end - self.slots.next
        if count <= 0:
            return []
        self.expected += count
        self.skipped += count - asked
        if asked and why is Miss.WARMING_UP:
            self.not_ready += 1
        elif asked:
            self.failed += 1
        warming = self._warming(at) if asked and why is Miss.WARMING_UP else []
        return [*warming, *self.said(self.slots.missed(end, why), at)]

    def said(self, runs: Sequence[Run], at: Stamp) -> list[Body]:
        """Runs of missed slots as events."""
        every_ms = self.slots.every_ms
        return [
            Event(
                at,
                "missed",
                {
                    "sensor": self.id,
                    "slots": run.end - run.first,
                    "from_mono_ms": run.first * every_ms,
                    "to_mono_ms": run.end * every_ms,
                    "why": str(run.why),
                },
            )
            for run in runs
        ]

    def tried(self, error: InstrumentError | None, *, crosstalk: bool = False) -> str:
        """The state that follows from what came of a slot."""
        self.warm_s = (error.wait_s or 0.0) if isinstance(error, NotReady) else 0.0
        took_s = getattr(self.instrument, "took_s", 0.0)
        slow = self.answers is not None and took_s > STRAINED * self.answers.limit_s
        tried = Tried(None if error is None else miss(error), slow or self.tries > 1, crosstalk)
        return self.health.after(self.state, tried)

    def values(self, measurement: Measurement, at: Stamp) -> dict[str, Value]:
        """What of a measurement is a number, flagged."""
        self.last_frame = measurement.frame
        values = {}
        flag, live, units = self.checks.flag, self.live, self.units
        plain = not live.of and not live.maintenance
        for name, raw in measurement.values.items():
            if math.isfinite(raw):  # a driver that lets a NaN through is wrong, but it must not poison a sink
                if plain:
                    level, why = flag(name, raw, at)
                    values[name] = Value(raw, raw, units[name], level, why)
                else:
                    values[name] = self.corrected(name, measurement, at)
        return values

    def corrected(self, name: str, measurement: Measurement, at: Stamp) -> Value:
        """One value with its correction, or of an instrument that somebody works at."""
        raw, wrong, live = measurement.values[name], "", self.live
        value = raw
        if name in live.of:
            value, wrong = live.of[name](measurement.values, at)
            if not math.isfinite(value):
                value, wrong = raw, "the correction gives no number"
        level, why = self.checks.flag(name, value, at)
        for more in (wrong, MAINTENANCE if live.maintenance else ""):
            if more:
                level, why = flagged(level, why, more)
        return Value(raw, value, self.units[name], level, why)

    def let_wait(self, pause_s: float) -> None:
        """Tell the instrument how long to wait for its answer; `pause_s` is how long the others can."""
        if self.answers is not None:
            known = not self.is_probe and self.second is None
            wait_s = self.answers.within_s if known else self.answers.again_s(pause_s)
            setattr(self.instrument, "answer_within_s", wait_s)  # noqa: B010  optional, see Instrument

    def answered(self, link: Link) -> None:
        """Learn from how long the answer took, if one came."""
        took_s = getattr(self.instrument, "took_s", 0.0)
        if self.answers is not None and took_s > 0:
            self.answers.heard(took_s)
        late_until_s = getattr(self.instrument, "late_until_s", None)
        self.late_until_s = late_until_s(link) if late_until_s is not None else 0.0

    def _warming(self, at: Stamp) -> list[Body]:
        """Said once: that it works and has no number yet, and for how long."""
        until_ms = at.mono_ms + round(1000 * self.warm_s)
        if self.warm_s < WARMING_S or abs(until_ms - self.warm_mono_ms) < 1000 * WARMING_S:
            return []
        self.warm_mono_ms = until_ms
        return [Event(at, "warming_up", {"sensor": self.id, "wait_s": round(self.warm_s, 1)})]

    def forget(self) -> None:
        """It may be another instrument when it comes back."""
        self.identified = False
        self.health.forget()


class BadNumber(InstrumentError):
    """An answer in which nothing is a number."""


_MISSES: tuple[tuple[type[InstrumentError], Miss], ...] = (
    (NoAnswer, Miss.NO_ANSWER),
    (GarbledAnswer, Miss.GARBLED),
    (NotReady, Miss.WARMING_UP),
    (InstrumentFault, Miss.FAULT),
    (RequestRefused, Miss.REFUSED),
    (BadNumber, Miss.BAD_NUMBER),
)


def miss(error: InstrumentError) -> Miss:
    """Why a slot has no reading."""
    return next((miss for kind, miss in _MISSES if isinstance(error, kind)), Miss.NO_ANSWER)
