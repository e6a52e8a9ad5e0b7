"""What the gap ledger remembers, and its sums over the journal's records. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from gateway.model import Event, Reading, Record, Stamp

HOUR_MS = 3_600_000
END = "/end"
WITHHELD = "withheld"
"""As gateway.backfill names where a stretch ends; and gateway.follow_withheld a run, also as an event."""


class Hour(msgspec.Struct, array_like=True):
    """What became of the slots of one UTC hour."""

    expected: int = 0
    taken: int = 0
    flagged: int = 0
    missed: dict[str, int] = {}
    withheld: dict[str, int] = {}
    """By sink: readings that were taken, and not sent there for its byte budget."""


class Gap(msgspec.Struct, array_like=True):
    """Slots in a row without a reading. `to_ms` is 0 while it lasts."""

    from_ms: int
    missed: dict[str, int] = {}
    to_ms: int = 0
    unknown: bool = False


class Course(msgspec.Struct, array_like=True):
    """One sensor. `next` is its first slot of this boot that is not accounted for."""

    every_ms: int
    next: int
    hours: dict[int, Hour] = {}
    gap: Gap | None = None
    dark_from_ms: int | None = None
    """UTC of the first slot after the end of the boot before, until it is known how long that lasted."""
    dark_to: int = 0
    """The first slot of this boot, then."""
    dark_gap: Gap | None = None
    """The gap that was ended by a reading meanwhile."""
    recent: list[tuple[int, int, bool]] = []
    """Seq, hour and whether it was flagged, of the two newest readings."""
    state: str = ""
    """What the bus last said that it is."""


class Work(msgspec.Struct, array_like=True):
    """Somebody works on a sensor, or on all: from and until when, by the boot's clock; UTC of the end."""

    from_ms: int
    until_ms: int
    until_utc_ms: int


class State(msgspec.Struct, array_like=True):
    """All that is remembered. `last` is the newest stamp of this boot."""

    last: Stamp | None = None
    boots: list[str] = []
    courses: dict[str, Course] = {}
    works: dict[str, Work] = {}
    """By sensor; "" is everything."""

    def work(self, target: str, minutes: object, at: Stamp) -> None:
        """Somebody begins to work, goes on for longer, or (0 minutes) is done."""
        if not isinstance(minutes, int | float) or not 0 <= minutes < 10**6:
            return
        before, length_ms = self.works.get(target), round(minutes * 60_000)
        goes_on = before is not None and at.mono_ms < before.until_ms
        if not goes_on and not length_ms:
            return
        from_ms = before.from_ms if before is not None and goes_on else at.mono_ms
        self.works[target] = Work(from_ms, at.mono_ms + length_ms, at.utc_ms + length_ms)

    def work_over_a_boot(self, at: Stamp) -> None:
        """The machine was started again meanwhile: the rest, as well as that can be told."""
        self.works = {
            target: Work(0, work.until_utc_ms - at.utc_ms + at.mono_ms, work.until_utc_ms)
            for target, work in self.works.items()
            if work.until_utc_ms > at.utc_ms
        }

    def at_work(self, sensor: str, every_ms: int, first: int, end: int) -> tuple[int, int]:
        """Which of these slots began while somebody was at work on the sensor: from, and up to without."""
        for target in (sensor, ""):
            work = self.works.get(target)
            if work is not None:
                from_ = max(first, -(-work.from_ms // every_ms))
                to = min(end, -(-work.until_ms // every_ms))
                if from_ < to:
                    return from_, to
        return end, end


@dataclass(slots=True)
class Account:
    """Sums over some time: expected = taken + all that was missed."""

    expected: int = 0
    taken: int = 0
    flagged: int = 0
    missed: dict[str, int] = field(default_factory=dict)
    withheld: dict[str, int] = field(default_factory=dict)
    """Of those taken, by sink: held back by its byte budget."""

    def add(
        self,
        expected: int,
        taken: int,
        flagged: int,
        missed: Mapping[str, int],
        withheld: Mapping[str, int] | None = None,
    ) -> None:
        self.expected += expected
        self.taken += taken
        self.flagged += flagged
        for why, count in missed.items():
            self.missed[why] = self.missed.get(why, 0) + count
        for sink, count in (withheld or {}).items():
            self.withheld[sink] = self.withheld.get(sink, 0) + count


# ── asking the journal ─────────────────────────────────────────────────────────────────────────────────────


def told(records: Iterable[Record], from_ms: int, to_ms: int) -> dict[str, Account]:
    """What "ledger" events say of a time, both ends whole UTC hours, by sensor."""
    sums: dict[str, Account] = {}
    for record in records:
        event = record.body
        if type(event) is not Event or event.what != "ledger":
            continue
        detail = event.detail
        begin_ms, end_ms, expected = detail["from_ms"], detail["to_ms"], detail["expected"]
        account = sums.setdefault(detail["sensor"], Account())
        missed: dict[str, int] = detail.get("missed", {})
        if from_ms <= begin_ms and end_ms <= to_ms:
            account.add(expected, detail["taken"], detail.get("flagged", 0), missed, detail.get("withheld"))
        elif end_ms > from_ms and begin_ms < to_ms and not detail["taken"] and len(missed) == 1:
            every_ms = (end_ms - begin_ms) // expected  # a long run: slot by slot, as they would have been
            before = min(max(0, -((begin_ms - from_ms) // every_ms)), expected)
            upto = min(max(0, -((begin_ms - to_ms) // every_ms)), expected)
            account.add(upto - before, 0, 0, dict.fromkeys(missed, upto - before))
    return {sensor: account for sensor, account in sums.items() if account.expected or account.withheld}


def delivered(records: Iterable[Record], cursors: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """How many readings of these records each sink has confirmed, by sensor and sink. `cursors` says how far
    each sink is, and its stretches of history (gateway.backfill): what it still owes there, what it refused
    and what its byte budget held back (see `withheld`) is not delivered.
    """
    return _became(records, cursors)[0]


def withheld(records: Iterable[Record], cursors: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """How many readings of these records the byte budget of each sink held back, by sensor and sink, also in
    the run that is still open (gateway.follow_withheld).
    """
    return _became(records, cursors)[1]


def _became(
    records: Iterable[Record], cursors: Mapping[str, int]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    sinks = {name: seq for name, seq in cursors.items() if "/" not in name}
    owed = [
        (name.partition("/")[0], done_seq, cursors.get(name + END, done_seq))
        for name, done_seq in cursors.items()
        if "/" in name and not name.endswith(END)
    ]
    runs: dict[str, list[tuple[int, int]]] = {sink: [] for sink in sinks}
    for sink in sinks:
        if (name := f"{WITHHELD}/{sink}") in cursors:
            runs[sink].append((cursors[name], cursors.get(name + END, 0)))
    refused: set[tuple[object, object]] = set()
    readings: list[tuple[int, str]] = []
    for record in records:
        body = record.body
        if type(body) is Reading:
            readings.append((record.seq, body.sensor))
        elif type(body) is Event and body.what == "refused":
            refused.add((body.detail.get("sink"), body.detail.get("seq")))
        elif type(body) is Event and body.what == WITHHELD and body.detail["sink"] in sinks:
            runs[body.detail["sink"]].append((body.detail["after_seq"], body.detail["to_seq"]))
    for of in runs.values():
        of.sort()
    had: dict[str, dict[str, int]] = {}
    held: dict[str, dict[str, int]] = {}
    for seq, sensor in readings:
        counts = had.setdefault(sensor, dict.fromkeys(sinks, 0))
        for sink, cursor in sinks.items():
            owes = any(sink == name and done_seq < seq <= end_seq for name, done_seq, end_seq in owed)
            if seq > cursor or owes or (sink, seq) in refused:
                continue
            at = bisect_left(runs[sink], (seq, 0)) - 1  # the last run that begins before it
            if at >= 0 and seq <= runs[sink][at][1]:
                held.setdefault(sensor, {}).setdefault(sink, 0)
                held[sensor][sink] += 1
            else:
                counts[sink] += 1
    return had, held
