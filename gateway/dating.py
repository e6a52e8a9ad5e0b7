"""Dating readings again: what a stamp of an unsure clock is worth once the machine has learned the time.

    boot 7  ├── sure ──────────────┤ power cut
    boot 8        (off)   ├─ unsure ─┤ power cut             between its neighbours: "estimated"
    boot 9                               (off)  ├─ unsure ──┼─ sure ──────►
                                                   "dated"   └ first right moment: UTC - CLOCK_BOOTTIME

Within a boot UTC and the boot's own clock keep their distance, so the first right moment of a boot dates all
that was read in it before. A boot that ended without one lies between the last sure time before it and the
start of the next boot that was right: it is put into the middle, and half of the room that is left is its
uncertainty. Several such boots in a row keep their order and their lengths.

What is said of a stamp once stays so: it may have gone out to a sink already, and InfluxDB would have the
point twice. So a boot is dated once, by its first right moment; what is stamped after it already has the best
UTC that is known (gateway.clock); and what went out undated to a sink stays undated for that sink (Event
"clock_unknown"). gateway.dating_release holds records back until they can be dated.

`DRIFT` is a bound for a machine's crystal that nothing disciplines: some 20 to 50 ppm, and temperature.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from gateway.clock import BUILT_MS, FAR_MS
from gateway.model import Average, Body, Event, Record, Stamp

log = logging.getLogger(__name__)

Trust = Literal["synced", "dated", "estimated", "unknown"]

ERROR_MS = 50
"""What a right clock may be off."""
DRIFT = 100e-6
SLEW_MS = 1000
"""A correction that is smaller may have been slewed, which nobody sees."""
KEPT_BOOTS = 32
KEPT_PERIODS = 4
GAP_MS = 60_000
"""A shorter time without a right clock is none."""
NOTES = 20


@dataclass(frozen=True, slots=True)
class Dated:
    """When something was. `rests_on` is the seq of the record that this was learned from; 0: none."""

    utc_ms: int
    trust: Trust
    uncertainty_ms: int
    rests_on: int = 0


class Boot(msgspec.Struct, array_like=True):
    """What is known of the time of one boot. An offset is UTC minus the boot's own clock."""

    id: str
    least_ms: int
    """Its earliest possible offset."""
    slip_ms: int
    """How much that may be off."""
    sure: bool
    """Whether it comes from a sure time, or only from the date of the program."""
    last_ms: int = 0
    """The boot's own clock at the last record seen."""
    unsure: bool = False
    """Whether there are records from before the first right moment."""
    seemed_ms: int = 0
    """The offset of the last of these, as stamped."""
    offset_ms: int | None = None
    """What dates these: known, or estimated after the end of the boot."""
    uncertainty_ms: int = 0
    from_ms: int | None = None
    """The boot's own clock at the first right moment; None when there was none."""
    now_offset_ms: int = 0
    """The offset at the last right moment."""
    periods: list[tuple[int, int]] = []
    """When the clock was right, by the boot's own clock; the last few."""
    interrupted: bool = False
    learned_seq: int = 0
    gone: dict[str, int] = {}
    """The sinks that have had records of it undated, and the seq of the event that says so."""


class DatingFold:
    """See gateway.journal.Fold, and gateway.clock.Memory. `learned` is set when more can be dated, and
    replaced.
    """

    name = "dating"

    def __init__(self, error_ms: int = ERROR_MS) -> None:
        self.error_ms = error_ms
        """What a right clock may be off; more where a mobile network tells the time."""
        self.learned = asyncio.Event()
        self._boots: list[Boot] = []
        self._notes: list[tuple[str, dict[str, Any]]] = []

    def step(self, record: Record) -> Sequence[Body]:
        """See one record: note how far its boot has come, and what it says of the time."""
        body = record.body
        at = body.at
        boot = self._boots[-1] if self._boots else None
        if boot is None or at.boot != boot.id:
            if type(body) is Average or self._find(at.boot) is not None:
                return ()  # of an earlier boot; an average is stamped with the end of its window
            boot = self._begin(at.boot)
        elif type(body) is Average:
            return ()
        if at.mono_ms > boot.last_ms:
            boot.last_ms = at.mono_ms
        news: Sequence[Body] = ()
        if at.synced:
            if boot.from_ms is None:
                news = self._set(boot, at, record.seq)
            self._was_right(boot, at)
        elif boot.from_ms is None or at.mono_ms <= boot.from_ms:
            boot.unsure, boot.seemed_ms = True, at.utc_ms - at.mono_ms
        else:
            boot.interrupted = True
        if type(body) is Event:
            if body.what == "clock_set":
                return ()  # derived with a tick: it is the news
            if body.what == "clock_unknown":
                self._gone(record.seq, body)
        return news

    def tick(self, at: Stamp) -> Sequence[Body]:
        """Say what the clock noted, and that it is right, if no record does."""
        said: list[Body] = [Event(at, what, detail) for what, detail in self._notes]
        self._notes.clear()
        boot = self._boots[-1] if self._boots else None
        if at.synced and boot is not None and boot.id == at.boot and boot.from_ms is None and not said:
            copy = DatingFold(
                self.error_ms
            )  # what is said is stepped, and only that changes what is remembered
            copy.restore(self.save())
            said += copy._set(copy._boots[-1], at, 0)
        return said

    def save(self) -> bytes:
        return msgspec.json.encode(self._boots)

    def restore(self, state: bytes) -> None:
        """Go on where a state was kept; one that cannot be read costs the dates of what was not sent yet."""
        try:
            self._boots = msgspec.json.decode(state, type=list[Boot])
        except msgspec.DecodeError as e:
            log.error("dating: the kept state cannot be read, beginning anew: %s", e)
            self._boots = []

    def date(self, stamp: Stamp, sink: str = "") -> Dated:
        """When the moment of a stamp was, as well as it is known; for this sink."""
        if stamp.synced:
            return Dated(stamp.utc_ms, "synced", self.error_ms)
        boot = self._find(stamp.boot)
        if boot is None:
            return Dated(stamp.utc_ms, "unknown", FAR_MS)
        mono_ms = stamp.mono_ms
        if boot.from_ms is not None and mono_ms > boot.from_ms:  # stamped with the best that was known
            since_ms = mono_ms - _right_before(boot, mono_ms)
            return Dated(stamp.utc_ms, "dated", self.error_ms + round(DRIFT * since_ms))
        if boot.offset_ms is None or sink in boot.gone:
            least_ms = boot.least_ms + mono_ms
            off_ms = max(stamp.utc_ms - least_ms, least_ms + FAR_MS - stamp.utc_ms) + boot.slip_ms
            return Dated(stamp.utc_ms, "unknown", off_ms, boot.gone.get(sink, 0))
        utc_ms = mono_ms + boot.offset_ms
        if boot.from_ms is None:
            return Dated(utc_ms, "estimated", boot.uncertainty_ms, boot.learned_seq)
        off_ms = boot.uncertainty_ms + round(DRIFT * (boot.from_ms - mono_ms))
        return Dated(utc_ms, "dated", off_ms, boot.learned_seq)

    def is_gone(self, boot: str, sink: str) -> bool:
        """Whether records of this boot may go to this sink undated: some did, or nothing is known of it."""
        found = self._find(boot)
        return found is None or sink in found.gone

    def ran_ms(self, stamp: Stamp, now: Stamp) -> int:
        """How long the machine has run since the moment of a stamp, as far as is known."""
        if stamp.boot == now.boot:
            return now.mono_ms - stamp.mono_ms
        ids = [boot.id for boot in self._boots]
        if stamp.boot not in ids:
            return now.mono_ms
        since = self._boots[ids.index(stamp.boot) :]
        ran_ms = sum(boot.last_ms for boot in since if boot.id != now.boot)
        return ran_ms - stamp.mono_ms + now.mono_ms

    # ── what the clock asks ──

    def known_ms(self, boot: str, mono_ms: int) -> int | None:
        last = self._boots[-1] if self._boots else None
        if last is None or last.id != boot or last.from_ms is None:
            return None
        return last.now_offset_ms + mono_ms

    def least_ms(self, boot: str, mono_ms: int) -> int:
        last = self._boots[-1] if self._boots else None
        if last is None:
            return BUILT_MS + mono_ms
        if last.id != boot:
            return _end_ms(last) + mono_ms
        return mono_ms + (last.least_ms if last.from_ms is None else last.now_offset_ms)

    def note(self, what: str, detail: dict[str, Any]) -> None:
        self._notes = [*self._notes, (what, detail)][-NOTES:]

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _find(self, boot: str) -> Boot | None:
        return next((found for found in reversed(self._boots) if found.id == boot), None)

    def _begin(self, boot: str) -> Boot:
        """A new boot: it cannot have begun before what is known of the one before it."""
        before = self._boots[-1] if self._boots else None
        if before is None:
            new = Boot(boot, BUILT_MS, 0, sure=False)
        else:
            right_ms = 0 if before.from_ms is None else before.periods[-1][1]
            slip_ms = self.error_ms if before.from_ms is not None else before.slip_ms
            slip_ms += round(DRIFT * (before.last_ms - right_ms))
            sure = before.sure or before.from_ms is not None
            new = Boot(boot, max(_end_ms(before), BUILT_MS), slip_ms, sure)
        # What was never unsure has nothing to be dated; only where it ended counts, and that is noted now.
        kept = [b for b in self._boots if b.unsure or b is before]
        self._boots = [*kept[1 - KEPT_BOOTS :], new]
        return new

    def _set(self, boot: Boot, at: Stamp, seq: int) -> list[Body]:
        """The first right moment of the present boot: date it, and the boots before it that ended without
        one.
        """
        offset_ms = at.utc_ms - at.mono_ms
        news: list[Body] = []
        open_boots = []
        for earlier in reversed(self._boots[:-1]):
            if earlier.offset_ms is not None:
                break
            open_boots.append(earlier)
        latest_ms = offset_ms
        ran_ms = at.mono_ms + sum(earlier.last_ms for earlier in open_boots)
        for earlier in open_boots:  # the last first
            latest_ms -= earlier.last_ms
            _estimate(earlier, latest_ms, self.error_ms + round(DRIFT * ran_ms))
            earlier.learned_seq = seq
            news.append(_clock_set(earlier, at, "estimated"))
        news.reverse()
        boot.from_ms, boot.offset_ms, boot.learned_seq = at.mono_ms, offset_ms, seq
        boot.uncertainty_ms = self.error_ms
        if boot.unsure:
            if abs(boot.seemed_ms - offset_ms) <= SLEW_MS:
                boot.uncertainty_ms += SLEW_MS
            news.append(_clock_set(boot, at, "dated"))
        self.learned.set()
        self.learned = asyncio.Event()
        return news

    def _was_right(self, boot: Boot, at: Stamp) -> None:
        boot.now_offset_ms = at.utc_ms - at.mono_ms
        periods = boot.periods
        if periods and not (boot.interrupted and at.mono_ms - periods[-1][1] > GAP_MS):
            periods[-1] = (periods[-1][0], max(periods[-1][1], at.mono_ms))
        else:
            boot.periods = [*periods, (at.mono_ms, at.mono_ms)][-KEPT_PERIODS:]
        boot.interrupted = False

    def _gone(self, seq: int, event: Event) -> None:
        boot, sink = self._find(str(event.detail.get("boot"))), event.detail.get("sink")
        if boot is not None and isinstance(sink, str):
            boot.gone = boot.gone | {sink: boot.gone.get(sink, seq)}


def _end_ms(boot: Boot) -> int:
    """UTC at the last record of a boot, at the earliest."""
    return boot.last_ms + (boot.least_ms if boot.from_ms is None else boot.now_offset_ms)


def _estimate(boot: Boot, latest_ms: int, off_ms: int) -> None:
    """Put a boot between its earliest and its latest possible offset."""
    room_ms = latest_ms - boot.least_ms
    off_ms = max(off_ms, boot.slip_ms)
    if boot.sure:
        boot.offset_ms = boot.least_ms + room_ms // 2
        boot.uncertainty_ms = (abs(room_ms) + 1) // 2 + off_ms
    else:  # the first boots of all: years of room, and it was probably not long ago
        boot.offset_ms = latest_ms
        boot.uncertainty_ms = abs(room_ms) + off_ms


def _right_before(boot: Boot, mono_ms: int) -> int:
    """The boot's own clock when UTC was right last before this; the moment itself while it was right."""
    right_ms = boot.from_ms or 0
    for begin_ms, end_ms in boot.periods:
        if begin_ms <= mono_ms:
            right_ms = min(end_ms, mono_ms)
    return right_ms


def _clock_set(boot: Boot, at: Stamp, trust: Trust) -> Event:
    """The event that says how a boot was dated."""
    offset_ms = boot.offset_ms or 0
    off_ms = boot.uncertainty_ms + round(DRIFT * (boot.from_ms or 0))
    detail = {"boot": boot.id, "trust": trust, "offset_ms": offset_ms, "uncertainty_ms": off_ms}
    return Event(at, "clock_set", detail | {"was_off_ms": offset_ms - boot.seemed_ms})
