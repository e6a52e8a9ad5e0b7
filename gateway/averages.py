"""Averages over fixed windows: a fold of the journal that gives one `Average` per sensor and window.

    reading 10:00:00 … 10:00:59 ──► sums of [10:00, 10:01) ──10:01:05──► Average, revision 0
    late reading of 10:00:31    ──► the same sums          ──next tick─► Average, revision 1, in its place

Windows stand on the grid of UTC, the one of a day on the station's local days (which are 23 or 25 hours
where clocks change). A window is closed when a reading or the time passes its end by `GRACE_S`. The sums of
the newest `KEPT` windows of each length stay, and a reading that comes later is added where it belongs: the
corrected average is given again with a higher revision. What is older than that is not averaged, and an
event says so.

Used are values flagged GOOD or NOT_EVALUATED, on request SUSPECT as well, FAIL and MISSING never. With
fewer than 75 % of the values that a window should have, the mean is given all the same, flagged SUSPECT
"incomplete". (40 CFR 50, appendix N, 3.0(c) asks for 75 % of a day's hours; seen quoted, not in the document
itself.) A window in which nothing came gives no average.

A spike is known by the reading behind it (Event "flagged", see gateway.qc_spike). Where a sensor has that
test, its two newest readings are held back until the verdict is in, and its windows wait so much longer.

Of particles in air the NowCast and the US air quality index are derived (gateway.averages_air): they stand in
the hour's and the day's average like quantities of their own.

The clock: a reading counts in the window of its own time stamp. If the clock is set back, windows in what
is now the future are given out as they are and forgotten, and begin anew when their time comes. A stamp of
an unsynced clock makes the average's stamp unsynced.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from gateway import averages_air as air
from gateway.averages_sums import (
    ALLOWED,
    METHODS,
    Method,
    Plain,
    Special,
    Sums,
    add_plain,
    add_special,
    flag,
    mean,
    sort_out,
)
from gateway.averages_windows import (
    DAY_S,
    NEVER_MS,
    Course,
    Heard,
    Held,
    Window,
    kept,
    local_day,
    start_of,
)
from gateway.budget import DEFAULT_AVERAGE_S, ESSENTIAL_AVERAGE_S
from gateway.model import Average, Body, Event, Flag, Mean, Reading, Record, Stamp

if TYPE_CHECKING:
    from gateway import config

log = logging.getLogger(__name__)

GRACE_S = 5.0
"""A window waits this long for what was read in it."""
KEPT = 3
"""Windows of a length that are kept, the present one included; what is older is not opened again."""
COMPLETE = 0.75
"""Share of the expected values that makes an average complete."""
VERDICT_CYCLES = 2.0
"""After so many times `every`, nothing is said any more of a reading's flags."""
HELD = 2
"""Readings held back: the verdict on the last but one comes right behind the last."""


def averages(wanted: config.Station) -> AveragesFold:
    """The fold that makes the averages which the station's sinks ask for."""
    sinks = [sink for sink in (wanted.mqtt, wanted.influxdb) if sink is not None]
    lengths_s = {send.length_s for sink in sinks for send in sink.send if send.kind == "average"}
    if any(sink.budget is not None for sink in sinks):
        lengths_s |= {DEFAULT_AVERAGE_S, ESSENTIAL_AVERAGE_S}
    every_s = {sensor.id: sensor.every_s for sensor in wanted.sensors}
    judged_later = {s.id for s in wanted.sensors if any(e.spike is not None for e in s.expect.values())}
    zone, keys = ZoneInfo(wanted.timezone), wanted.average
    if keys is None:
        return AveragesFold(lengths_s, every_s, zone=zone, judged_later=judged_later)
    return AveragesFold(
        lengths_s,
        every_s,
        zone=zone,
        methods={**METHODS, "ph": Method(keys.ph)},
        suspect=keys.suspect,
        complete=keys.complete_percent / 100,
        judged_later=judged_later,
        aqi=keys.aqi == "us-2024",
    )


class AveragesFold:
    """See gateway.journal.Fold. `lengths_s` are the windows wanted, `every_s` how often each sensor is
    read.
    """

    name = "averages"

    def __init__(
        self,
        lengths_s: Collection[float],
        every_s: Mapping[str, float],
        *,
        zone: tzinfo = UTC,
        methods: Mapping[str, Method] = METHODS,
        suspect: bool = False,
        complete: float = COMPLETE,
        judged_later: Collection[str] = (),
        aqi: bool = True,
    ) -> None:
        """`judged_later` are the sensors of which readings may be flagged once the next has come; `aqi`: with
        NowCast and air quality index.

        Raises ValueError for windows that do not divide a day, and for a mean that a quantity does not have.
        """
        for length_s in lengths_s:
            if length_s < 1 or DAY_S % length_s:
                raise ValueError(f"windows of {length_s:g} s do not divide a day")
        for quantity, method in methods.items():
            if method not in ALLOWED.get(quantity, (Method.ARITHMETIC,)):
                raise ValueError(f"{quantity} has no {method} mean")
        self._lengths_s = sorted({int(length_s) for length_s in lengths_s})
        self._every_s = dict(every_s)
        self._zone = zone
        self._methods = dict(methods)
        self._mark = " ".join(f"{q}={m}" for q, m in sorted(methods.items()) if METHODS.get(q) is not m)
        self._usable = frozenset((1, 2, 3) if suspect else (1, 2))
        self._complete = complete
        self._judged_later = frozenset(judged_later)
        self._aqi = aqi
        self._sensors: dict[str, Heard] = {}
        self._due_ms: dict[str, int] = {}
        self._day = (0, 0)

    def step(self, record: Record) -> Sequence[Body]:
        """See one record; readings count, and what is said of their flags."""
        reading = record.body
        if type(reading) is not Reading:
            if type(reading) is Event and reading.what == "flagged":
                self._flag_again(reading.detail)
            return ()
        heard = self._sensors.get(reading.sensor)
        if heard is None:
            if reading.sensor not in self._every_s:
                return ()  # of an instrument that is no longer there: how often it was read is not known
            heard = self._sensors[reading.sensor] = Heard(
                reading.model, reading.medium, courses={length_s: Course() for length_s in self._lengths_s}
            )
        at = reading.at
        derived: list[Body] = []
        if -NEVER_MS < self._due_ms.get(reading.sensor, NEVER_MS) <= at.utc_ms:
            derived += self._close(reading.sensor, heard, at)
        late = at.boot == heard.boot and at.mono_ms < heard.mono_ms
        if not late:
            heard.boot, heard.mono_ms = at.boot, at.mono_ms
            heard.model, heard.medium = reading.model, reading.medium
        if reading.sensor in self._judged_later:
            heard.held.append(Held(record.seq, late, reading))
            self._wait(reading.sensor, self._bounds(self._lengths_s[0], at.utc_ms)[1])
            while len(heard.held) > HELD:
                self._take(heard, heard.held.pop(0), derived)
        else:
            self._take(heard, Held(record.seq, late, reading), derived)
        return derived

    def tick(self, at: Stamp) -> Sequence[Body]:
        """See that time passes. What gives nothing changes nothing: ticks are not replayed."""
        derived: list[Body] = []
        for sensor, due_ms in self._due_ms.items():
            if at.utc_ms >= due_ms:
                derived += self._close(sensor, self._sensors[sensor], at)
        return derived

    def save(self) -> bytes:
        """All of it as JSON, as short as it can be said."""
        for heard in self._sensors.values():
            heard.methods = self._mark
        return msgspec.json.encode({name: kept(heard) for name, heard in self._sensors.items()})

    def restore(self, state: bytes) -> None:
        """Go on where a state was kept; sensors and windows that are no longer wanted are left."""
        try:
            found = msgspec.json.decode(state, type=dict[str, Heard])
        except msgspec.DecodeError as e:
            log.error("averages: the kept state cannot be read, beginning anew: %s", e)
            found = {}
        self._sensors = {name: heard for name, heard in found.items() if name in self._every_s}
        self._due_ms = {}
        for name, heard in self._sensors.items():
            if heard.methods != self._mark:  # sums of hydrogen ions are none of pH
                for window in [w for course in heard.courses.values() for w in course.windows]:
                    for quantity in ALLOWED:
                        window.sums.pop(quantity, None)
            heard.courses = {length_s: heard.courses.get(length_s, Course()) for length_s in self._lengths_s}
            if not self._aqi or air.HOUR_S not in self._lengths_s:
                heard.hours = {}
            self._due_ms[name] = self._next_due_ms(name, heard)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _take(self, heard: Heard, held: Held, derived: list[Body]) -> None:
        """Add a reading to its windows. What that pushes out is added to `derived`."""
        reading, at = held.reading, held.reading.at
        self._same_units(heard, reading)
        plain, special, bad = sort_out(reading.values, self._usable, self._methods)
        for length_s, course in heard.courses.items():
            window = course.windows[-1] if course.windows else None
            if window is None or not (window.changed and window.start_ms <= at.utc_ms < window.end_ms):
                window = self._window(reading.sensor, length_s, course, at, held.late, derived)
                if window is None:
                    course.too_late += 1
                    self._due_ms[
                        reading.sensor
                    ] = -NEVER_MS  # said with the next tick, once for all that came till then
                    continue
            if not at.synced:
                window.synced, window.unsure = False, (at.boot, at.utc_ms - at.mono_ms)
            _add(window.sums, plain, special, bad)

    def _window(
        self, sensor: str, length_s: int, course: Course, at: Stamp, late: bool, derived: list[Body]
    ) -> Window | None:
        """The window of this moment, begun if need be and marked as changed; None when it comes too late."""
        windows = course.windows
        start_ms, end_ms = self._bounds(length_s, at.utc_ms)
        if not late and windows and start_ms < windows[-1].start_ms:  # the clock was set back
            ahead_ms = start_ms + int((KEPT - 0.5) * length_s * 1000)
            while windows and windows[-1].start_ms > ahead_ms:
                derived += self._give(sensor, length_s, [windows.pop()], at)
            if length_s == air.HOUR_S:
                air.forget_behind(self._sensors[sensor].hours, ahead_ms // air.HOUR_MS)
            course.floor_ms = min(course.floor_ms, start_ms)
        if start_ms < course.floor_ms:
            return None
        window = next((w for w in reversed(windows) if w.start_ms == start_ms), None)
        if window is None:
            window = Window(start_ms, end_ms)
            windows.append(window)
            windows.sort(key=start_of)
            if len(windows) > KEPT:
                oldest = windows.pop(0)
                course.floor_ms = oldest.end_ms
                if oldest is window:
                    return None
                derived += self._give(sensor, length_s, [oldest], at)
        window.changed = True
        self._wait(sensor, end_ms)
        return window

    def _wait(self, sensor: str, end_ms: int) -> None:
        due_ms = end_ms + self._grace_ms(sensor)
        self._due_ms[sensor] = min(due_ms, self._due_ms.get(sensor, NEVER_MS))

    def _grace_ms(self, sensor: str) -> int:
        verdict_s = VERDICT_CYCLES * self._every_s[sensor] if sensor in self._judged_later else 0.0
        return int((GRACE_S + verdict_s) * 1000)

    def _flag_again(self, detail: Mapping[str, object]) -> None:
        """Correct the flag of one value of a reading that is held back."""
        heard = self._sensors.get(str(detail.get("sensor")))
        name, level = str(detail.get("quantity")), detail.get("flag")
        for held in heard.held if heard is not None and isinstance(level, int) else ():
            value = held.reading.values.get(name)
            if held.seq == detail.get("seq") and value is not None:
                values = {**held.reading.values, name: replace(value, flag=level)}
                held.reading = replace(held.reading, values=values)

    def _close(self, sensor: str, heard: Heard, at: Stamp) -> list[Body]:
        """What is due now of one sensor."""
        derived: list[Body] = []
        past_ms = at.utc_ms - self._grace_ms(sensor)
        judged = [held for held in heard.held if held.reading.at.utc_ms < past_ms]
        heard.held = [held for held in heard.held if held.reading.at.utc_ms >= past_ms]
        for held in judged:
            self._take(heard, held, derived)
        for length_s, course in heard.courses.items():
            derived += self._give(sensor, length_s, [w for w in course.windows if w.end_ms <= past_ms], at)
            if course.too_late:
                why = "older than the windows that are kept"
                detail = {"sensor": sensor, "length_s": length_s, "readings": course.too_late, "why": why}
                derived.append(Event(at, "not_averaged", detail))
                course.too_late = 0
        self._due_ms[sensor] = self._next_due_ms(sensor, heard)
        return derived

    def _next_due_ms(self, sensor: str, heard: Heard) -> int:
        """When there will be something to give of a sensor."""
        courses = heard.courses.values()
        if any(course.too_late for course in courses):
            return -NEVER_MS
        ends_ms = [w.end_ms for course in courses for w in course.windows if w.changed]
        ends_ms += [self._bounds(self._lengths_s[0], held.reading.at.utc_ms)[1] for held in heard.held]
        return min(ends_ms) + self._grace_ms(sensor) if ends_ms else NEVER_MS

    def _give(self, sensor: str, length_s: int, windows: Iterable[Window], at: Stamp) -> list[Body]:
        """The averages of these windows, of those that have changed. `at` is when that was seen."""
        heard = self._sensors[sensor]
        given: list[Body] = []
        for window in windows:
            if not window.changed:
                continue
            window.changed = False
            if not window.sums:
                continue
            values = {name: self._mean(sensor, heard, window, name, s) for name, s in window.sums.items()}
            if self._aqi and heard.medium == "air":
                values |= self._air(sensor, heard, length_s, window, values)
            # By the clock that its readings were stamped with: it may have been set since, in another boot.
            boot, offset_ms = window.unsure or (at.boot, at.utc_ms - at.mono_ms)
            end = Stamp(window.end_ms, boot, window.end_ms - offset_ms, window.synced)
            given.append(
                Average(
                    sensor, heard.model, heard.medium, end, window.start_ms, length_s, values, window.given
                )
            )
            window.given += 1
        return given

    def _air(
        self, sensor: str, heard: Heard, length_s: int, window: Window, values: Mapping[str, Mean]
    ) -> dict[str, Mean]:
        """What is derived of particles. A changed hour has the NowCasts given since given again."""
        if length_s == DAY_S:
            return air.daily(values)
        if length_s != air.HOUR_S:
            return {}
        hour = window.start_ms // air.HOUR_MS
        if air.note(heard.hours, hour, values, KEPT):
            for later in heard.courses[length_s].windows:
                if later.given and later.start_ms > window.start_ms:
                    later.changed = True
                    self._wait(sensor, later.end_ms)
        return air.hourly(heard.hours, hour, values)

    def _mean(self, sensor: str, heard: Heard, window: Window, name: str, s: Sums) -> Mean:
        of_s = (window.end_ms - window.start_ms) / 1000
        expected = max(1, int(of_s / self._every_s[sensor] + 1e-9))
        value = mean(s, self._methods.get(name))
        level, why = flag(s, expected, self._complete)
        if value is None and s.used:
            level, why = int(Flag.SUSPECT), "no direction"
        low, high = (s.low, s.high) if s.used else (None, None)
        return Mean(value, low, high, s.used, expected, heard.units.get(name, ""), level, why)

    def _bounds(self, length_s: int, utc_ms: int) -> tuple[int, int]:
        """The window in which a moment lies."""
        if length_s < DAY_S:
            start_ms = utc_ms - utc_ms % (length_s * 1000)
            return start_ms, start_ms + length_s * 1000
        if not self._day[0] <= utc_ms < self._day[1]:
            self._day = local_day(utc_ms, self._zone)
        return self._day

    def _same_units(self, heard: Heard, reading: Reading) -> None:
        """Note the units. Values in another unit are never mixed with those before: the sums begin anew."""
        units = heard.units
        for name, v in reading.values.items():
            if units.get(name) != v.unit:
                if name in units:
                    for course in heard.courses.values():
                        for window in course.windows:
                            window.sums.pop(name, None)
                    heard.hours.pop(name, None)
                units[name] = v.unit


def _add(
    sums: dict[str, Sums], plain: Iterable[Plain], special: Iterable[Special], bad: Iterable[str]
) -> None:
    add_plain(sums, plain)
    if special:
        add_special(sums, special)
    for name in bad:
        if name not in sums:
            sums[name] = Sums()  # asked for and not usable: the average says so
