"""The gap ledger: a fold of the journal that accounts for every slot of every sensor, also for those in which
nobody was there to read.

    boot A   … 41 │ 42 │ 43 │ 44 │ killed    │ 49 │ 50 │ power cut
    boot B                                               … │  3 │  4 │
              taken  └ no_answer ┘ not_running  taken  power_off  taken      nothing is left over

Slots are those of the bus (gateway.governor): fixed to the boot's clock, so a process that is started again
goes on counting where the killed one stopped. What readings and "missed" events (gateway.bus) do not account
for was missed too. While the process ran, as later records show, it is what the instrument was last said to
be (dead, unplugged …), else "untold": the bus says a run of missed slots within a minute, and a kill may take
that. From then on it is "not_running" within a boot; "power_off" from the last record of one boot to the
first of the next. How long that was only UTC can tell, so it is counted when both boots have known the time;
until then it waits, and where that never comes its length is not known: why is "clock_unknown" (slots: null).

    Event "ledger"  {"sensor": "ph1", "from_ms": 1795428000000, "to_ms": 1795431600000, "expected": 360,
                     "taken": 357, "flagged": 2, "missed": {"no_answer": 3}}
                    once for each sensor and UTC hour. Where slots are told of later (the clock was set) an
                    hour has a second part: parts add up. A long time that nobody ran is one event.
    Event "gap"     {"sensor": "ph1", "from_ms": …, "to_ms": …, "slots": 8640, "why": "power_off"}
                    once for each gap, when the next reading ends it; whatever reasons it had ("missed" has
                    them, if several). Gaps shorter than 10 s or 3 slots are only counted.

Slots without a reading that began while somebody was at work (Event "maintenance": sensor, or "" for all,
and minutes) count as "maintenance"; what else befell them the "missed" events still say.

A slot counts once, as it was told of first, in the hour in which it began by the clock of the record that
told of it. `flagged` counts readings with a value that is SUSPECT or FAIL; "withheld": {"mqtt": 357} those
that a sink's byte budget held back, by the hour of their stamp (gateway.follow_withheld). A fold is exactly
once (decision D3), so the sums are right after any crash.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.governor import Slots
from gateway.ledger_sums import HOUR_MS, Account, Course, Gap, Hour, State, told
from gateway.ledger_sums import delivered as delivered
from gateway.ledger_sums import withheld as withheld
from gateway.model import Average, Body, Event, Flag, Reading, Record, Stamp

log = logging.getLogger(__name__)

GRACE_MS = 90_000
"""An hour is told this long after its end: missed slots are said within a minute."""
LATEST_MS = 15 * 60_000
"""Told at the latest, whatever may still come of it."""
OPEN_HOURS = 3
GAP_MS, GAP_SLOTS = 10_000, 3
"""A gap at least so long is an event, as for the rules of the alarms a silence is."""
LONG_HOURS = 3
"""A run over more hours than this is told in one piece."""
BOOTS = 8
_BAD = frozenset({int(Flag.SUSPECT), int(Flag.FAIL)})
SILENT = ("dead", "quarantined", "unplugged")
"""States in which slots are missed for that reason (gateway.governor.Miss)."""


class GapLedger:
    """See gateway.journal.Fold. `every_s` says how often each sensor is read."""

    name = "ledger"

    def __init__(self, every_s: Mapping[str, float]) -> None:
        self._every_ms = {sensor: Slots(period_s).every_ms for sensor, period_s in every_s.items()}
        self._state = State()
        self._boot = ""
        self._dark = False
        self._due_ms = 0

    def step(self, record: Record) -> Sequence[Body]:
        """See one record: readings, and events that say what was missed."""
        body = record.body
        if type(body) is Average:  # its stamp is a window's end
            return ()
        at = body.at
        derived: list[Body] = []
        if at.boot != self._boot:
            if at.boot in self._state.boots:
                return ()  # about something of a boot that is over
            self._begin_boot(at, derived)
        last = self._state.last
        if type(body) is Event and body.what == "started" and last is not None:
            self._restarted(last, derived)
        if last is None or at.mono_ms > last.mono_ms:
            self._state.last = at
        if self._dark and at.synced:
            self._lit(at, derived)
        if type(body) is Reading:
            self._read(record.seq, body, derived)
        elif type(body) is Event:
            match body.what:
                case "missed":
                    self._missed(body, derived)
                case "flagged":
                    self._flagged(body.detail)
                case "withheld":
                    self._withheld(body, derived)
                case "sensor":
                    self._becomes(body.detail)
                case "maintenance":
                    detail = body.detail
                    self._state.work(str(detail.get("sensor", "")), detail.get("minutes"), at)
                case "started":
                    self._regrid()
        return derived

    def tick(self, at: Stamp) -> Sequence[Body]:
        """Tell the hours that are over. What gives nothing changes nothing: ticks are not replayed."""
        if self._due_ms - HOUR_MS - GRACE_MS <= at.utc_ms < self._due_ms or at.boot != self._boot:
            return ()
        told: list[Body] = []
        now_hour = at.utc_ms // HOUR_MS
        self._due_ms = (now_hour + 1) * HOUR_MS + GRACE_MS
        gone = []
        for sensor, course in self._state.courses.items():
            if sensor not in self._every_ms:
                gone.append(sensor)
            open_ms = course.next * course.every_ms + at.utc_ms - at.mono_ms
            for hour in sorted(course.hours):
                end_ms = (hour + 1) * HOUR_MS
                over = open_ms >= end_ms and at.utc_ms >= end_ms + GRACE_MS
                if sensor in gone or over or at.utc_ms >= end_ms + LATEST_MS:
                    told.append(self._tell(sensor, course, hour, at))
                elif hour < now_hour:  # no later than it can be: a restart looks at once, and tells the same
                    self._due_ms = min(self._due_ms, max(end_ms + GRACE_MS, at.utc_ms))
        for sensor in gone:  # it is no longer in station.toml
            if (gap := self._state.courses[sensor].gap) is not None and told:
                gap.to_ms = at.utc_ms
                self._tell_gap(sensor, gap, at, told)
            if told:
                del self._state.courses[sensor]
        return told

    def save(self) -> bytes:
        return msgspec.json.encode(self._state)

    def restore(self, state: bytes) -> None:
        """Go on where a state was kept."""
        try:
            self._state = msgspec.json.decode(state, type=State)
        except msgspec.DecodeError as e:
            log.error("gap ledger: the kept state cannot be read, beginning anew: %s", e)
            self._state = State()
        self._boot = self._state.boots[-1] if self._state.boots else ""
        self._dark = any(course.dark_from_ms is not None for course in self._state.courses.values())
        self._due_ms = 0

    def account(self, records: Iterable[Record], from_ms: int, to_ms: int) -> dict[str, Account]:
        """What became of the slots from `from_ms` to `to_ms`, both whole UTC hours, by sensor: what the
        records say of it, and what is not told yet.
        """
        sums = told(records, from_ms, to_ms)
        for sensor, course in self._state.courses.items():
            for number, hour in course.hours.items():
                if from_ms <= number * HOUR_MS < to_ms:
                    sums.setdefault(sensor, Account()).add(
                        hour.expected, hour.taken, hour.flagged, hour.missed, hour.withheld
                    )
        return sums

    # ── what a record tells ─────────────────────────────────────────────────────────────────────

    def _read(self, seq: int, reading: Reading, derived: list[Body]) -> None:
        sensor, at = reading.sensor, reading.at
        course = self._course(sensor, at.mono_ms)
        if course is None:
            return
        every_ms = course.every_ms
        slot = at.mono_ms // every_ms
        if slot < course.next:
            return  # a process that was started again reads at once: a second time in this slot
        start_ms = slot * every_ms + at.utc_ms - at.mono_ms
        if slot > course.next:
            self._miss(sensor, course, slot, "not_running", at, derived)
        course.next = slot + 1
        number = start_ms // HOUR_MS
        hour = course.hours.get(number)
        if hour is None:
            hour = self._hour(sensor, course, number, at, derived)
        hour.expected += 1
        hour.taken += 1
        bad = not _BAD.isdisjoint([value.flag for value in reading.values.values()])
        hour.flagged += bad
        course.recent = [*course.recent[-1:], (seq, number, bad)]
        gap = course.gap
        if gap is not None:
            course.gap, gap.to_ms = None, start_ms
            if course.dark_from_ms is not None and course.dark_gap is None:
                course.dark_gap = gap
            else:
                self._tell_gap(sensor, gap, at, derived)

    def _missed(self, event: Event, derived: list[Body]) -> None:
        sensor, from_ms, to_ms = (event.detail.get(key) for key in ("sensor", "from_mono_ms", "to_mono_ms"))
        if not (isinstance(sensor, str) and isinstance(from_ms, int) and isinstance(to_ms, int)):
            return
        course = self._course(sensor, from_ms)
        if course is None:
            return
        first, end = from_ms // course.every_ms, to_ms // course.every_ms
        if end > course.next:
            self._miss(sensor, course, first, "not_running", event.at, derived)
            self._miss(sensor, course, end, str(event.detail.get("why")), event.at, derived)

    def _flagged(self, detail: Mapping[str, object]) -> None:
        """The test on a reading whose verdict came with the next one."""
        course = self._state.courses.get(str(detail.get("sensor")))
        if course is None or detail.get("flag") not in _BAD:
            return
        for i, (seq, number, bad) in enumerate(course.recent):
            if seq == detail.get("seq") and not bad and number in course.hours:
                course.recent[i] = (seq, number, True)
                course.hours[number].flagged += 1

    def _withheld(self, event: Event, derived: list[Body]) -> None:
        """What a sink's byte budget held back: told with the hour, or as a part of one that is told."""
        detail = event.detail
        sink, from_ms = str(detail["sink"]), detail["from_ms"]
        for sensor, count in detail["readings"].items():
            course = self._state.courses.get(sensor)
            hour = course.hours.get(from_ms // HOUR_MS) if course is not None else None
            if hour is not None:
                hour.withheld[sink] = hour.withheld.get(sink, 0) + count
                continue
            part = {"sensor": sensor, "from_ms": from_ms, "to_ms": detail["to_ms"], "expected": 0, "taken": 0}
            derived.append(Event(event.at, "ledger", {**part, "withheld": {sink: count}}))

    def _becomes(self, detail: Mapping[str, object]) -> None:
        """What the bus says of an instrument: why its slots are missed, should the rest never be said."""
        course = self._state.courses.get(str(detail.get("sensor")))
        if course is not None:
            course.state = str(detail.get("state"))

    def _restarted(self, last: Stamp, derived: list[Body]) -> None:
        """The process began anew: until `last` the one before ran, so what it did not say was not its own."""
        for sensor, course in self._state.courses.items():
            why = course.state if course.state in SILENT else "untold"
            self._miss(sensor, course, last.mono_ms // course.every_ms, why, last, derived)
            course.state = ""

    def _regrid(self) -> None:
        """station.toml may say another rhythm from now on."""
        for sensor, course in self._state.courses.items():
            every_ms = self._every_ms.get(sensor, course.every_ms)
            if every_ms != course.every_ms:
                course.next = -(-course.next * course.every_ms // every_ms)
                course.every_ms = every_ms

    # ── boots ───────────────────────────────────────────────────────────────────────────────────

    def _begin_boot(self, at: Stamp, derived: list[Body]) -> None:
        """The power was off, or the machine was started again."""
        ended, state = self._state.last, self._state
        if ended is not None:
            self._restarted(ended, derived)
        for sensor, course in state.courses.items():
            if course.dark_from_ms is not None:
                self._unlit(sensor, course, at, derived)
            if ended is not None:
                self._miss(
                    sensor, course, ended.mono_ms // course.every_ms + 1, "not_running", ended, derived
                )
                from_ms = course.next * course.every_ms + ended.utc_ms - ended.mono_ms
                if course.gap is None:
                    course.gap = Gap(from_ms)
                course.dark_from_ms, course.dark_to = from_ms, at.mono_ms // course.every_ms
                if not ended.synced:
                    self._unlit(sensor, course, at, derived)
            course.next = at.mono_ms // course.every_ms
        state.work_over_a_boot(at)
        self._dark = True
        self._boot = at.boot
        state.boots = [*state.boots[1 - BOOTS :], at.boot]
        state.last = at

    def _lit(self, at: Stamp, derived: list[Body]) -> None:
        """The time is known: so is how long the power was off."""
        self._dark = False
        for sensor, course in self._state.courses.items():
            if course.dark_from_ms is None:
                continue
            to_ms = course.dark_to * course.every_ms + at.utc_ms - at.mono_ms
            count = max(0, round((to_ms - course.dark_from_ms) / course.every_ms))
            gap = course.dark_gap or course.gap
            if count:
                self._spread(sensor, course, course.dark_from_ms, count, "power_off", at, derived)
                if gap is not None:
                    gap.missed["power_off"] = gap.missed.get("power_off", 0) + count
            if course.dark_gap is not None:
                self._tell_gap(sensor, course.dark_gap, at, derived)
            elif gap is not None and not gap.missed:
                course.gap = None
            course.dark_from_ms = course.dark_gap = None

    def _unlit(self, sensor: str, course: Course, at: Stamp, derived: list[Body]) -> None:
        """It will never be known how long the power was off."""
        if course.dark_gap is not None:
            course.dark_gap.unknown = True
            self._tell_gap(sensor, course.dark_gap, at, derived)
        elif course.gap is not None:
            course.gap.unknown = True
        course.dark_from_ms = course.dark_gap = None

    # ── counting ────────────────────────────────────────────────────────────────────────────────

    def _course(self, sensor: str, mono_ms: int) -> Course | None:
        """A sensor's course, begun with the first that is heard of it."""
        course = self._state.courses.get(sensor)
        if course is None and (every_ms := self._every_ms.get(sensor)) is not None:
            course = self._state.courses[sensor] = Course(every_ms, mono_ms // every_ms)
        return course

    def _miss(self, sensor: str, course: Course, end: int, why: str, at: Stamp, derived: list[Body]) -> None:
        """All slots before `end` that are not accounted for were missed; for maintenance, where somebody said
        that he is at work.
        """
        from_, to = self._state.at_work(sensor, course.every_ms, course.next, end)
        for until, reason in ((from_, why), (to, "maintenance"), (end, why)):
            count = until - course.next
            if count <= 0:
                continue
            start_ms = course.next * course.every_ms + at.utc_ms - at.mono_ms
            course.next = until
            if course.gap is None:
                course.gap = Gap(start_ms)
            course.gap.missed[reason] = course.gap.missed.get(reason, 0) + count
            self._spread(sensor, course, start_ms, count, reason, at, derived)

    def _spread(
        self, sensor: str, course: Course, start_ms: int, count: int, why: str, at: Stamp, derived: list[Body]
    ) -> None:
        """Count missed slots in their hours."""
        every_ms = course.every_ms
        if (start_ms + count * every_ms) // HOUR_MS - start_ms // HOUR_MS > LONG_HOURS:
            detail = {"sensor": sensor, "from_ms": start_ms, "to_ms": start_ms + count * every_ms}
            derived.append(
                Event(at, "ledger", {**detail, "expected": count, "taken": 0, "missed": {why: count}})
            )
            return
        while count > 0:
            number = start_ms // HOUR_MS
            here = min(count, -(-((number + 1) * HOUR_MS - start_ms) // every_ms))
            hour = course.hours.get(number)
            if hour is None:
                hour = self._hour(sensor, course, number, at, derived)
            hour.expected += here
            hour.missed[why] = hour.missed.get(why, 0) + here
            start_ms += here * every_ms
            count -= here

    def _hour(self, sensor: str, course: Course, number: int, at: Stamp, derived: list[Body]) -> Hour:
        """Begin an hour; few are open at a time."""
        hour = course.hours[number] = Hour()
        self._due_ms = min(self._due_ms, (number + 1) * HOUR_MS + GRACE_MS)
        while len(course.hours) > OPEN_HOURS:
            oldest = min(n for n in course.hours if n != number)
            derived.append(self._tell(sensor, course, oldest, at))
        return hour

    def _tell(self, sensor: str, course: Course, number: int, at: Stamp) -> Event:
        hour = course.hours.pop(number)
        detail: dict[str, object] = {
            "sensor": sensor,
            "from_ms": number * HOUR_MS,
            "to_ms": (number + 1) * HOUR_MS,
            "expected": hour.expected,
            "taken": hour.taken,
        }
        if hour.flagged:
            detail["flagged"] = hour.flagged
        if hour.missed:
            detail["missed"] = hour.missed
        if hour.withheld:
            detail["withheld"] = hour.withheld
        return Event(at, "ledger", detail)

    def _tell_gap(self, sensor: str, gap: Gap, at: Stamp, derived: list[Body]) -> None:
        slots = sum(gap.missed.values())
        every_ms = self._state.courses[sensor].every_ms
        if (slots < GAP_SLOTS or slots * every_ms < GAP_MS) and not gap.unknown:
            return
        why = "clock_unknown" if gap.unknown else max(gap.missed, key=lambda why: gap.missed[why])
        detail: dict[str, object] = {"sensor": sensor, "from_ms": gap.from_ms, "to_ms": gap.to_ms}
        detail |= {"slots": None if gap.unknown else slots, "why": why}
        if gap.missed and (len(gap.missed) > 1 or gap.unknown):
            detail["missed"] = gap.missed
        derived.append(Event(at, "gap", detail))
