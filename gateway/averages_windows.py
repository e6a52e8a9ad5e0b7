"""What the averages remember, as the journal keeps it: windows by length and sensor, few and small.

{"ph1": ["yosemitech-y532", "water", {"ph": "pH"}, "39e039a1", 120431, {"60": [[[1795428000000,
 1795428060000, {"ph": [6, 6, 0, 4.76e-07, 0.0, 7.1, 7.11]}, 1, false, true]], 1795427940000, 0]}]}
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo

import msgspec

from gateway.averages_air import Hours
from gateway.averages_sums import Sums
from gateway.model import Reading

DAY_S = 86400
NEVER_MS = 1 << 62


class Window(msgspec.Struct, array_like=True):
    """The sums from `start_ms` up to and without `end_ms`. `given`: how often an average was made of it."""

    start_ms: int
    end_ms: int
    sums: dict[str, Sums] = {}
    given: int = 0
    changed: bool = False
    synced: bool = True
    unsure: tuple[str, int] | None = None
    """Where `synced` is false: the boot of the last unsynced reading, and its UTC minus that boot's clock."""


class Course(msgspec.Struct, array_like=True):
    """The windows of one length, oldest first. What lies before `floor_ms` was given out and forgotten."""

    windows: list[Window] = []
    floor_ms: int = -NEVER_MS
    too_late: int = 0
    """Readings that came too late since the last event about it."""


class Held(msgspec.Struct, array_like=True):
    """A reading whose flags may still change."""

    seq: int
    late: bool
    reading: Reading


class Heard(msgspec.Struct, array_like=True):
    """One sensor. `boot` and `mono_ms` are those of its newest reading: what has an older one came late."""

    model: str
    medium: str
    units: dict[str, str] = {}
    boot: str = ""
    mono_ms: int = 0
    courses: dict[int, Course] = {}
    """By the windows' length in seconds."""
    held: list[Held] = []
    methods: str = ""
    """Where other means than the usual ones are made: which."""
    hours: Hours = {}
    """Of particles in air, what a NowCast is made of."""


def kept(heard: Heard) -> list[object]:
    """A sensor as a list for the journal, without what says nothing."""
    courses = {
        length_s: [
            [
                [
                    w.start_ms,
                    w.end_ms,
                    {name: s.kept() for name, s in w.sums.items()},
                    w.given,
                    w.changed,
                    w.synced,
                    *([w.unsure] if w.unsure else []),
                ]
                for w in course.windows
            ],
            course.floor_ms,
            course.too_late,
        ]
        for length_s, course in heard.courses.items()
    }
    plain = [heard.model, heard.medium, heard.units, heard.boot, heard.mono_ms, courses]
    if heard.hours:
        return [*plain, heard.held, heard.methods, heard.hours]
    if heard.methods:
        return [*plain, heard.held, heard.methods]
    return [*plain, heard.held] if heard.held else plain


def start_of(window: Window) -> int:
    return window.start_ms


def local_day(utc_ms: int, zone: tzinfo) -> tuple[int, int]:
    """Begin and end of the local day of a moment; of UTC's where no calendar has it."""
    try:
        day = datetime.fromtimestamp(utc_ms / 1000, zone).date()
        return _midnight_ms(day, zone), _midnight_ms(day + timedelta(days=1), zone)
    except (ValueError, OverflowError, OSError):
        start_ms = utc_ms - utc_ms % (DAY_S * 1000)
        return start_ms, start_ms + DAY_S * 1000


def _midnight_ms(day: date, zone: tzinfo) -> int:
    return round(datetime.combine(day, time(), zone).timestamp() * 1000)
