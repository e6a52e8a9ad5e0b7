"""A month of readings as sums in steps of ten minutes, in one pass over the journal. Bounded memory.

    block ─ lines ─► by sensor and step ─► all numbers of a step at once ─► count, sum, least, most
                └─ events ─► told on (gateway.report_story)

A station at one reading a second has 2.6 million a month, so whatever can be done a column at a time is: only
readings of an unsure clock, with a later verdict on a spike, or under a later correction are taken apart one
by one. What counts is what counts in the averages: flags 1 and 2, no maintenance; pH as hydrogen ions
(gateway.averages_sums). Values are as they are known now; the sum of the uncorrected ones stands beside it.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from gateway.averages_sums import LIMIT, PH_RANGE
from gateway.calibration import Version, corrected_reading
from gateway.export_source import Note, Piece, Quick, Span, Times, corrected, decoded, pieces
from gateway.journal_blocks import Reader
from gateway.model import Average, Event, Flag, Reading, Record, Stamp, Value
from gateway.report_columns import Shapes, values_of
from gateway.report_series import SERIES_AT_MOST
from gateway.report_series import STEP_MS as STEP_MS
from gateway.report_series import Series as Series
from gateway.report_series import Sums as Sums

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


class _Told(msgspec.Struct, tag="event", tag_field="kind"):
    at: Stamp
    what: str
    detail: dict[str, Any]


class _Mean(msgspec.Struct, tag="average", tag_field="kind"):
    pass


_quick = msgspec.json.Decoder(tuple[int, Quick | _Told | _Mean] | Note)


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
        times, shapes = Times(reader), Shapes()
        for piece in pieces(reader, Span(part.span.from_ms, until_ms)):
            first_seq, last_seq = _piece(piece, sums, part.span, until_ms, times, of_sensor, shapes, tell)
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
    shapes: Shapes, tell: Callable[[Record], None],
) -> tuple[int, int]:  # fmt: skip
    """Sum the readings of a piece; gives the first and the last seq of those in the span, or zeros."""
    start_ms, from_ms, to_ms, verdicts = sums.span.from_ms, span.from_ms, span.to_ms, piece.verdicts
    groups: defaultdict[tuple[str, str, int], list[Quick]] = defaultdict(list)
    first_seq = last_seq = 0
    lines, found = _bodies(piece, to_ms)
    begin = end = step = 0  # of the step at hand; most readings are in that of the one before
    for i, (seq, body) in enumerate(found):
        if type(body) is Quick:
            at = body.at
            at_ms = at.utc_ms
            if not at.synced or seq in verdicts:
                _slowly(decoded(lines()[i]), piece, span, times, sums, versions)
                continue
            if not begin <= at_ms < end:
                if not from_ms <= at_ms < to_ms:
                    continue
                step = (at_ms - start_ms) // STEP_MS
                begin = max(from_ms, start_ms + step * STEP_MS)
                end = min(to_ms, start_ms + (step + 1) * STEP_MS)
            groups[body.sensor, body.medium, step].append(body)
            first_seq, last_seq = first_seq or seq, seq
        elif type(body) is _Told:
            known = times.dated(Record(seq, Event(body.at, body.what, body.detail)))
            if body.what not in UNTOLD and from_ms <= known.body.at.utc_ms < until_ms:
                tell(known)
    for (sensor, medium, step), group in groups.items():
        mine = versions.get(sensor, [])
        if mine and any(_wanted(version, group) for version in mine):
            count = _apart(group, sums, step, mine)
        else:
            count = _columns(sums, sensor, medium, step, group, shapes)
        sums.readings[sensor] = sums.readings.get(sensor, 0) + count
        sums.last_ms = max(sums.last_ms, group[-1].at.utc_ms)
    return first_seq, last_seq


def _bodies(piece: Piece, to_ms: int) -> tuple[Callable[[], list[bytes]], list[tuple[int, Any]]]:
    """What the records say, without those that only a newer version knows; and, if asked, their lines. Of a
    piece behind the month only the events.
    """
    if not _behind(piece.text, to_ms):
        with contextlib.suppress(msgspec.DecodeError):
            said = _quick.decode_lines(piece.text)
            return cache(piece.lines), [one for one in said if type(one) is tuple]
        lines = piece.lines()
    else:
        lines = [line for line in piece.lines() if b'"event"' in line[:60]]
    known, found = [], []
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):
            one = _quick.decode(line)
            if type(one) is tuple:
                found.append(one)
                known.append(line)
    return lambda: known, found


def _behind(text: bytes, to_ms: int) -> bool:
    """Whether the whole piece is after the month, as its first record tells."""
    end = text.find(b"\n")
    first = decoded(text[: end if end >= 0 else None]) if text[:1] == b"[" else None
    return first is not None and first.body.at.synced and first.body.at.utc_ms >= to_ms


def _wanted(version: Version, group: Sequence[Quick]) -> bool:
    """Whether a version may change readings of this group."""
    first, last_ms = group[0], group[-1].at.utc_ms
    upto = version.to_ms is None or first.at.utc_ms < version.to_ms
    return version.number > first.calibration and version.from_ms <= last_ms and upto


def _apart(group: Sequence[Quick], sums: Sums, step: int, versions: Sequence[Version]) -> int:
    """One reading after the other; gives how many could be read."""
    count = 0
    for body in group:
        try:
            fresh = {name: Value(*parts) for name, parts in values_of.decode(body.values).items()}
        except msgspec.DecodeError:
            continue
        at = Stamp(body.at.utc_ms, "", 0, True)
        _one(Reading(body.sensor, "", body.medium, at, fresh, body.calibration), sums, step, versions)
        count += 1
    return count


def _columns(sums: Sums, sensor: str, medium: str, step: int, group: Sequence[Quick], shapes: Shapes) -> int:
    """Readings of one sensor in one step, a quantity at a time; gives how many could be read."""
    found = shapes.columns(sensor, [body.values for body in group])
    if found is None:
        return _apart(group, sums, step, ())
    for (name, unit, flag, why), (raws, values) in zip(found[0].quantities, found[1], strict=True):
        if name in LEFT_OUT or (series := sums.of(sensor, name, unit, medium)) is None:
            continue
        low, high = PH_RANGE if series.hydrogen else (-LIMIT, LIMIT)
        if flag in _PLAIN_FLAGS and low <= min(values) and max(values) <= high:
            series.take(step, values, values if raws == values else raws)
            continue
        for raw, value in zip(raws, values, strict=True):
            if flag in _PLAIN_FLAGS and low <= value <= high:
                series.take(step, (value,), (raw,))
            else:
                series.refuse(step, flag, why)
    return len(group)


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
