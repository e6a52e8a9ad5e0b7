"""A month of readings as sums in steps of ten minutes, in one pass over the journal. Bounded memory.

    block ─ lines ─► decoded at once ─► by sensor and step ─► column by column: count, sum, least, most
                        └─ events ─► told on (gateway.report_story)

A station at one reading a second has 2.6 million a month, so whatever can be done a column at a time is: only
readings of an unsure clock, with a later verdict on a spike, or under a later correction are taken apart one
by one. What counts is what counts in the averages: flags 1 and 2, no maintenance; pH as hydrogen ions
(gateway.averages_sums). Values are as they are known now; the sum of the uncorrected ones stands beside it.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from gateway.averages_sums import LIMIT, METHODS, PH_RANGE, Method
from gateway.calibration import MAINTENANCE, Version, corrected_reading
from gateway.export_source import Piece, Span, Times, corrected, decoded, pieces
from gateway.journal_blocks import Reader
from gateway.model import Average, Event, Flag, Reading, Record, Stamp, Value

STEP_MS = 600_000
SERIES_AT_MOST = 300
"""Sensors times quantities; the journal of a station has some dozens."""
REASONS_AT_MOST = 50
EVENTS_AT_MOST = 50_000
PARTS = 4
PROCESSES = 4
UNTOLD = frozenset(
    {"flagged", "missed", "sms", "notify", "sms_dropped", "sms_storage", "modem", "identified", "sink_up"}
)
"""Events that the report does not look at; there may be many."""
AFTER_MS = 7 * 86_400_000
"""How long after the month events may still tell of it: a power cut is told when it is over."""
USED = frozenset({Flag.GOOD, Flag.NOT_EVALUATED})
_PLAIN_FLAGS = frozenset({1, 2})
SPECIAL = ("wind_direction",)
"""Directions have no least and no most, and their mean is that of vectors: they are left to the export."""
COUNTS = ("n0_3", "n0_5", "n1", "n2_5", "n4", "n5", "n10", "pm1_cf1", "pm2_5_cf1", "pm10_cf1")
"""What an optical dust sensor says beside its result; in the export."""
LEFT_OUT = frozenset((*SPECIAL, *COUNTS))

_Tuple = tuple[float, float, str, int, str]


class _Quick(msgspec.Struct, tag="reading", tag_field="kind", gc=False):
    sensor: str
    medium: str
    at: tuple[int, str, int, bool]
    values: dict[str, _Tuple]
    calibration: int = 0


class _Told(msgspec.Struct, tag="event", tag_field="kind"):
    at: Stamp
    what: str
    detail: dict[str, Any]


class _Mean(msgspec.Struct, tag="average", tag_field="kind"):
    pass


_quick = msgspec.json.Decoder(list[tuple[int, _Quick | _Told | _Mean]])


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


@dataclass(frozen=True, slots=True)
class Part:
    """Some days of the month, for one process."""

    folder: Path
    month: Span
    span: Span
    versions: tuple[Version, ...]


@dataclass(slots=True)
class Read:
    """What a part gave."""

    sums: Sums
    events: list[Record]
    more: int = 0
    """Events beyond the limit."""
    first_seq: int = 0
    last_seq: int = 0
    """Of the records of the month."""


def month(
    folder: Path, span: Span, versions: Iterable[Version], tell: Callable[[float], None], processes: int = 0
) -> Read:
    """Read the month, in several processes where there are several cores. Raises JournalError."""
    ends = [
        span.from_ms + (span.to_ms - span.from_ms) * i // (PARTS * STEP_MS) * STEP_MS for i in range(PARTS)
    ]
    ends.append(span.to_ms)
    parts = [Part(folder, span, Span(a, b), tuple(versions)) for a, b in pairwise(ends) if a < b]
    whole = Read(Sums(span), [])
    processes = processes or min(PROCESSES, os.cpu_count() or 1)
    if processes > 1:
        from concurrent.futures import ProcessPoolExecutor
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context

        try:
            with ProcessPoolExecutor(processes, get_context("spawn"), _modest) as pool:
                for i, one in enumerate(pool.map(read, parts), 1):
                    _join(whole, one)
                    tell(i / len(parts))
            return whole
        except BrokenProcessPool:  # too little memory, or no processes here: then one after the other
            whole = Read(Sums(span), [])
    for i, part in enumerate(parts, 1):
        _join(whole, read(part))
        tell(i / len(parts))
    return whole


def read(part: Part) -> Read:
    """Sum the readings of a part, and collect its events. Raises JournalError."""
    sums, events = Sums(part.month), list[Record]()
    found = Read(sums, events)
    last = part.span.to_ms == part.month.to_ms
    until_ms = part.span.to_ms + (AFTER_MS if last else 0)
    of_sensor: dict[str, list[Version]] = defaultdict(list)
    for version in part.versions:
        of_sensor[version.sensor].append(version)

    def tell(record: Record) -> None:
        if len(events) < EVENTS_AT_MOST:
            events.append(record)
        else:
            found.more += 1

    with Reader(part.folder) as reader:
        times = Times(reader)
        for piece in pieces(reader, Span(part.span.from_ms, until_ms)):
            first_seq, last_seq = _piece(piece, sums, part.span, until_ms, times, of_sensor, tell)
            found.first_seq = found.first_seq or first_seq
            found.last_seq = last_seq or found.last_seq
    return found


def _modest() -> None:
    """A child: what measures goes first, and there is nothing for a collector of cycles."""
    os.nice(5)
    gc.disable()


def _join(whole: Read, part: Read) -> None:
    sums, more = whole.sums, part.sums
    for key, series in more.series.items():
        found = sums.series.get(key)
        if found is None:
            if len(sums.series) < SERIES_AT_MOST:
                sums.series[key] = series
            else:
                sums.too_many += sum(series.used)
        else:
            found.join(series)
    for sensor, count in more.readings.items():
        sums.readings[sensor] = sums.readings.get(sensor, 0) + count
    sums.last_ms = max(sums.last_ms, more.last_ms)
    sums.too_many += more.too_many
    whole.first_seq = whole.first_seq or part.first_seq
    whole.last_seq = part.last_seq or whole.last_seq
    room = EVENTS_AT_MOST - len(whole.events)
    whole.events += part.events[:room]
    whole.more += part.more + max(0, len(part.events) - room)


def _piece(
    piece: Piece, sums: Sums, span: Span, until_ms: int, times: Times, versions: dict[str, list[Version]],
    tell: Callable[[Record], None],
) -> tuple[int, int]:  # fmt: skip
    """Sum the readings of a piece; gives the first and the last seq of those in the span, or zeros."""
    start_ms, from_ms, to_ms, verdicts = sums.span.from_ms, span.from_ms, span.to_ms, piece.verdicts
    groups: defaultdict[tuple[str, str, int], list[tuple[int, int, dict[str, _Tuple]]]] = defaultdict(list)
    lines, first_seq, last_seq = piece.lines, 0, 0
    if _behind(lines, to_ms):
        lines = [line for line in lines if b'"event"' in line[:60]]
    lines, found = _bodies(lines)
    for i, (seq, body) in enumerate(found):
        if type(body) is _Quick:
            at_ms, _, _, synced = body.at
            if not synced or seq in verdicts:
                _slowly(decoded(lines[i]), piece, span, times, sums, versions)
            elif from_ms <= at_ms < to_ms:
                step = (at_ms - start_ms) // STEP_MS
                first_seq, last_seq = first_seq or seq, seq
                groups[body.sensor, body.medium, step].append((at_ms, body.calibration, body.values))
        elif type(body) is _Told:
            known = times.dated(Record(seq, Event(body.at, body.what, body.detail)))
            if body.what not in UNTOLD and from_ms <= known.body.at.utc_ms < until_ms:
                tell(known)
    for (sensor, medium, step), group in groups.items():
        sums.readings[sensor] = sums.readings.get(sensor, 0) + len(group)
        sums.last_ms = max(sums.last_ms, group[-1][0])
        mine = versions.get(sensor)
        if mine and any(_wanted(version, group) for version in mine):
            for at_ms, calibration, values in group:
                fresh = {name: Value(*value) for name, value in values.items()}
                at = Stamp(at_ms, "", 0, True)
                _one(Reading(sensor, "", medium, at, fresh, calibration), sums, step, mine)
        else:
            _columns(sums, sensor, medium, step, [values for _, _, values in group])
    return first_seq, last_seq


def _bodies(lines: list[bytes]) -> tuple[list[bytes], list[tuple[int, Any]]]:
    """What the lines say, without those that only a newer version knows."""
    try:
        return lines, _quick.decode(b"[" + b",".join(lines) + b"]")
    except msgspec.DecodeError:
        known, found = [], []
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                found += _quick.decode(b"[" + line + b"]")
                known.append(line)
        return known, found


def _behind(lines: Sequence[bytes], to_ms: int) -> bool:
    """Whether the whole piece is after the month, as its first record tells."""
    first = decoded(lines[0]) if lines else None
    return first is not None and first.body.at.synced and first.body.at.utc_ms >= to_ms


def _wanted(version: Version, group: Sequence[tuple[int, int, Any]]) -> bool:
    """Whether a version may change readings of this group."""
    (first_ms, calibration, _), last_ms = group[0], group[-1][0]
    upto = version.to_ms is None or first_ms < version.to_ms
    return version.number > calibration and version.from_ms <= last_ms and upto


def _columns(sums: Sums, sensor: str, medium: str, step: int, rows: Sequence[dict[str, _Tuple]]) -> None:
    """Values of one sensor in one step, a quantity at a time."""
    names = rows[0].keys()
    if any(row.keys() != names for row in rows):
        for row in rows:
            _columns(sums, sensor, medium, step, [row])
        return
    for name in names:
        if name in LEFT_OUT:
            continue
        raws, values, units, flags, whys = zip(*[row[name] for row in rows], strict=True)
        series = sums.of(sensor, name, units[0], medium)
        if series is None:
            continue
        low, high = (PH_RANGE[0], PH_RANGE[1]) if series.hydrogen else (-LIMIT, LIMIT)
        if _PLAIN_FLAGS.issuperset(flags) and low <= min(values) and max(values) <= high:
            series.take(step, values, values if raws == values else raws)
            continue
        for raw, value, flag, why in zip(raws, values, flags, whys, strict=True):
            if flag in _PLAIN_FLAGS and low <= value <= high:
                series.take(step, (value,), (raw,))
            else:
                series.refuse(step, flag, why)


def _slowly(
    record: Record | None, piece: Piece, span: Span, times: Times, sums: Sums,
    versions: dict[str, list[Version]],
) -> None:  # fmt: skip
    if record is None or type(record.body) is not Reading:
        return
    body = times.dated(corrected(record, piece.verdicts)).body
    if isinstance(body, Event | Average) or not span.from_ms <= body.at.utc_ms < span.to_ms:
        return
    sums.readings[body.sensor] = sums.readings.get(body.sensor, 0) + 1
    sums.last_ms = max(sums.last_ms, body.at.utc_ms)
    step = (body.at.utc_ms - sums.span.from_ms) // STEP_MS
    _one(body, sums, step, versions.get(body.sensor, []))


def _one(reading: Reading, sums: Sums, step: int, versions: Sequence[Version]) -> None:
    known = corrected_reading(reading, versions)
    for name, value in known.values.items():
        if name in LEFT_OUT or (series := sums.of(reading.sensor, name, value.unit, reading.medium)) is None:
            continue
        changed = known.values[name].value != reading.values[name].value
        low, high = PH_RANGE if series.hydrogen else (-LIMIT, LIMIT)
        if value.flag in USED and low <= value.value <= high:
            series.take(step, (value.value,), (value.raw,))
            series.corrected += changed
        else:
            series.refuse(step, value.flag, value.why)
