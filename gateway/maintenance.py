"""Maintenance with an end, and the record of a visit: a fold of the journal.

    Event "maintenance" {"sensor": "ph1" or "" for all, "minutes": 45, "by": "Aibek", "why": "cleaning"}
                        begins, or with other minutes goes on from now; 0 ends it; over by itself when they
                        are
    Event "visit"       when no maintenance stands any more: who, when, which sensors, what happened meanwhile

Alarms of these sensors are not told meanwhile (gateway.alarms takes the same event). Readings are flagged
SUSPECT with the reason "maintenance", no average uses them, and slots that are missed are "maintenance" in
the gap ledger. A restart in the middle changes none of that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway.model import Average, Body, Event, Reading, Record, Stamp

log = logging.getLogger(__name__)

MINUTES_AT_MOST = 24 * 60
"""Nobody works longer at one piece; a forgotten end would be a station that says nothing."""
EVENTS_AT_MOST = 200
"""Named in a visit's record; the rest is counted."""
TOLD = (
    "calibrated", "correction", "identified", "sensor", "sensor_changed", "slope_low", "alarm", "acknowledge",
    "shelve", "unshelve", "clock_step", "started", "stopped", "note", "maintenance",
)  # fmt: skip


class Work(msgspec.Struct):
    """Maintenance of one sensor, or with "" of all."""

    began: Stamp
    length_ms: int
    by: str = ""
    why: str = ""


class Visit(msgspec.Struct):
    """The visit under way. `events`: (seq, what, sensor, utc_ms)."""

    began: Stamp
    by: list[str] = []
    why: list[str] = []
    sensors: list[str] = []
    events: list[tuple[int, str, str, int]] = []
    more: int = 0


class Kept(msgspec.Struct):
    works: dict[str, Work] = {}
    visit: Visit | None = None


class MaintenanceFold:
    """See the head of this file. `apply` is told of each sensor whether it is in maintenance."""

    name = "maintenance"

    def __init__(self, sensors: Sequence[str], apply: Callable[[str, bool], None]) -> None:
        self._sensors = list(sensors)
        self._apply = apply
        self._kept = Kept()

    def standing(self, at: Stamp) -> list[dict[str, Any]]:
        """What is in maintenance, by whom, and for how long yet."""
        return [
            {"sensor": s, "by": w.by, "why": w.why, "left_s": round(self._left_ms(w, at) / 1000)}
            for s, w in self._kept.works.items()
        ]

    def is_on(self, sensor: str) -> bool:
        return "" in self._kept.works or sensor in self._kept.works

    def step(self, record: Record) -> Sequence[Body]:
        body = record.body
        if isinstance(body, Reading | Average):
            return ()
        if body.what == "maintenance":
            return self._maintenance(record.seq, body)
        if self._kept.visit is not None and body.what in TOLD:
            _note(self._kept.visit, record.seq, body)
        return ()

    def tick(self, at: Stamp) -> Sequence[Body]:
        """End what is over."""
        if not self._kept.works:
            return ()
        over = [sensor for sensor, work in self._kept.works.items() if self._left_ms(work, at) <= 0]
        if not over:
            return ()
        for sensor in over:
            log.warning("maintenance of %s is over: its time has run out", sensor or "the station")
            del self._kept.works[sensor]
        self._tell()
        return self._end(at, "its time ran out")

    def save(self) -> bytes:
        return msgspec.json.encode(self._kept)

    def restore(self, state: bytes) -> None:
        """Go on where a state was kept."""
        try:
            self._kept = msgspec.json.decode(state, type=Kept)
        except msgspec.DecodeError as e:
            log.error("maintenance: the kept state cannot be read, beginning anew: %s", e)
            self._kept = Kept()
        self._tell()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    def _maintenance(self, seq: int, event: Event) -> Sequence[Body]:
        sensor, minutes = event.detail.get("sensor", ""), event.detail.get("minutes", 0)
        by, why = str(event.detail.get("by", ""))[:100], str(event.detail.get("why", ""))[:300]
        if not isinstance(sensor, str) or isinstance(minutes, bool) or not isinstance(minutes, int | float):
            return ()
        if minutes > 0:
            length_ms = int(min(float(minutes), MINUTES_AT_MOST) * 60_000)
            self._kept.works[sensor] = Work(event.at, length_ms, by, why)
            visit = self._kept.visit
            if visit is None:
                visit = self._kept.visit = Visit(event.at)
            for known, said in ((visit.by, by), (visit.why, why), (visit.sensors, sensor or "*")):
                if said and said not in known and len(known) < EVENTS_AT_MOST:
                    known.append(said)
            _note(visit, seq, event)
            self._tell()
            return ()
        if sensor:
            self._kept.works.pop(sensor, None)
        else:
            self._kept.works.clear()
        if self._kept.visit is not None:
            _note(self._kept.visit, seq, event)
        self._tell()
        return self._end(event.at, by or "ended")

    def _end(self, at: Stamp, ended: str) -> Sequence[Body]:
        visit = self._kept.visit
        if self._kept.works or visit is None:
            return ()
        self._kept.visit = None
        names = ("seq", "what", "sensor", "at_ms")
        detail: dict[str, Any] = {
            "from_ms": visit.began.utc_ms,
            "to_ms": visit.began.utc_ms + _passed_ms(visit.began, at),
            "by": visit.by,
            "why": visit.why,
            "sensors": visit.sensors,
            "ended": ended,
            "events": [dict(zip(names, event, strict=True)) for event in visit.events],
        }
        return [Event(at, "visit", detail | ({"more": visit.more} if visit.more else {}))]

    def _tell(self) -> None:
        for sensor in self._sensors:
            self._apply(sensor, self.is_on(sensor))

    def _left_ms(self, work: Work, at: Stamp) -> int:
        return work.length_ms - _passed_ms(work.began, at)


def _passed_ms(began: Stamp, at: Stamp) -> int:
    """Within a boot by its steady clock; over a restart what the clock says, which may be nothing."""
    if began.boot == at.boot:
        return max(0, at.mono_ms - began.mono_ms)
    return max(0, at.utc_ms - began.utc_ms)


def _note(visit: Visit, seq: int, event: Event) -> None:
    if len(visit.events) >= EVENTS_AT_MOST:
        visit.more += 1
        return
    visit.events.append((seq, event.what, str(event.detail.get("sensor", "")), event.at.utc_ms))
