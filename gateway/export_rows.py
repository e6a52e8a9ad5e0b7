"""How exported records look: as csv; gateway.export_json has the rest.

The way for most readings is short, because a year has many: their numbers already stand as text in the
journal, so a csv row is that text with another punctuation,

    "values":{"ph":[7.12,7.1,"pH",1,""]}     ►  …,ph,7.12,7.1,"pH",1,"",0,18231,,

and only what was corrected later, is of an unsure clock or has odd characters is taken apart and put together
again (RFC 4180). No text begins with a character that a spreadsheet takes for a formula: such a cell gets an
apostrophe before it (OWASP, CSV Injection).

`value` is what counted when it was read, by version `calibration` of the sensor's corrections. Where a later
one says otherwise, `corrected` is what counts now and `version` its number; empty, `value` still counts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from gateway.calibration import Version
from gateway.calibration import corrected as counts
from gateway.export_source import (
    FAR_MS,
    Note,
    Piece,
    Quick,
    Source,
    Span,
    Times,
    Versions,
    clock,
    corrected,
    decoded,
    pieces,
    when_ms,
)
from gateway.model import Average, Event, Reading, Record, Value

What = Literal["readings", "averages", "events"]

READING = ("time_utc", "time_local", "clock", "sensor", "medium", "quantity", "raw", "value", "unit", "flag",
           "why", "calibration", "seq", "corrected", "version")  # fmt: skip
AVERAGE = ("from_utc", "to_utc", "from_local", "to_local", "clock", "sensor", "medium", "quantity", "mean",
           "minimum", "maximum", "used", "expected", "unit", "flag", "why", "revision", "seq")  # fmt: skip
EVENT = ("time_utc", "time_local", "clock", "what", "detail", "seq")
COLUMNS: dict[str, tuple[str, ...]] = {"readings": READING, "averages": AVERAGE, "events": EVENT}
_KIND = {"readings": Reading, "averages": Average, "events": Event}
_ODD = (("=", '"='), ("+", '"+'), ("-", '"-'), ("@", '"@'))
"""Each with the one character that is quickly looked for."""
NOWHERE = ("", "")
_QUARTERS = ("00", "15", "30", "45")
NUL = "\0"
"""Stands in no text of a journal as it is."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _Other(msgspec.Struct, tag="event", tag_field="kind"):
    pass


class _Mean(msgspec.Struct, tag="average", tag_field="kind"):
    pass


NONE: Versions = {}

_quick = msgspec.json.Decoder(tuple[int, Quick | _Other | _Mean] | Note)
_json = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Site:
    """What the rows say of the station."""

    id: str
    name: str
    timezone: str
    latitude: float | None = None
    longitude: float | None = None


class Stamps:
    """Times as text, UTC and local. The calendar is asked once for a quarter of an hour, where local time is
    some quarters off UTC all through it, and for each minute elsewhere.
    """

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self._known: dict[int, tuple[str, str, str]] = {}
        self._quarter: dict[int, tuple[str, str, int, str] | None] = {}
        """Hour in UTC and local time, the first local minute, offset; None: the calendar must be asked."""

    def both(self, utc_ms: int) -> tuple[str, str]:
        """2026-11-23T10:00:00.000Z and 2026-11-23T16:00:00.000+06:00; the bare number where no calendar has
        it.
        """
        minute, ms = divmod(utc_ms, 60_000)
        try:
            known = self.minute(minute)
        except (OverflowError, ValueError, OSError):
            return str(utc_ms), str(utc_ms)
        seconds = _seconds()[ms]
        return f"{known[0]}{seconds}Z", f"{known[1]}{seconds}{known[2]}"

    def minute(self, minute: int) -> tuple[str, str, str]:
        """What stands before the seconds, UTC and local, and behind the local ones. Raises OverflowError,
        ValueError, OSError where no calendar has it.
        """
        known = self._known.get(minute)
        if known is None:
            if len(self._known) > 5000:
                self._known.clear()
                self._quarter.clear()
            quarter = minute // 15
            if quarter not in self._quarter:
                self._quarter[quarter] = self._of_quarter(quarter)
            found = self._quarter[quarter]
            if found is None:
                utc, local = self._asked(minute * 60)
                known = utc[:17], local[:17], local[19:]
            else:
                utc, local, first, offset = found
                known = f"{utc}{minute % 60:02}:", f"{local}{first + minute % 15:02}:", offset
            self._known[minute] = known
        return known

    def _of_quarter(self, quarter: int) -> tuple[str, str, int, str] | None:
        (utc, local), (_, end) = self._asked(quarter * 900), self._asked(quarter * 900 + 899)
        even = (
            len(local) == 25 and local[19:] == end[19:] and local[17:19] == "00" and local[-2:] in _QUARTERS
        )
        return (utc[:14], local[:14], int(local[14:16]), local[19:]) if even else None

    def _asked(self, utc_s: int) -> tuple[str, str]:
        at = datetime.fromtimestamp(utc_s, UTC)
        return at.isoformat(), at.astimezone(self._zone).isoformat()


def records(source: Source, span: Span, what: What, sensors: frozenset[str]) -> Iterator[Record]:
    """The records of a kind, dated and flagged as is known now. Raises JournalError."""
    times, kind = Times(source), _KIND[what]
    for piece in pieces(source, span):
        for line in piece.lines():
            record = decoded(line)
            if record is not None and type(record.body) is kind:
                yield from _wanted(record, piece, times, span, sensors)


def csv_text(
    source: Source, span: Span, what: What, sensors: frozenset[str], site: Site, versions: Versions = NONE
) -> Iterator[tuple[str, int]]:
    """The table piece by piece, and how many rows each has; the head first. Raises JournalError."""
    stamps = Stamps(site.timezone)
    yield ",".join(COLUMNS[what]) + "\r\n", 0
    if what != "readings":
        for record in records(source, span, what, sensors):
            yield _rows(record, stamps, versions)
        return
    times = Times(source)
    for piece in pieces(source, span):
        yield _quickly(piece, span, sensors, stamps, times, versions)


def cells(record: Record, stamps: Stamps, versions: Versions = NONE) -> list[tuple[Any, ...]]:
    """The rows of a record, as COLUMNS says."""
    body, seq = record.body, record.seq
    utc, local = stamps.both(body.at.utc_ms)
    if type(body) is Event:
        return [(utc, local, clock(body.at), body.what, _json.encode(body.detail).decode(), seq)]
    if type(body) is Average:
        begin, begin_local = stamps.both(body.start_ms)
        about = (begin, utc, begin_local, local, clock(body.at), body.sensor, body.medium)
        end = (body.revision, seq)
        return [
            (*about, q, v.mean, v.minimum, v.maximum, v.used, v.expected, v.unit, v.flag, v.why, *end)
            for q, v in body.values.items()
        ]
    assert isinstance(body, Reading)  # nosec B101  # noqa: S101  the third and last kind
    head = (utc, local, clock(body.at), body.sensor, body.medium)
    return [
        (*head, q, v.raw, v.value, v.unit, v.flag, v.why, body.calibration, seq, *newer(body, q, versions))
        for q, v in body.values.items()
        if isinstance(v, Value)
    ]


def newer(reading: Reading, quantity: str, versions: Versions) -> tuple[float, int] | tuple[None, None]:
    """What counts now and the number of its version, if that is a later one than what was read with."""
    of = versions.get(reading.sensor)
    if not of:
        return None, None
    value, number = counts(reading, quantity, of)
    return (value, number) if number != reading.calibration else (None, None)


@cache
def _seconds() -> list[str]:
    return [f"{ms // 1000:02}.{ms % 1000:03}" for ms in range(60_000)]


# ── csv ─────────────────────────────────────────────────────────────────────────────────────────


def _quickly(
    piece: Piece,
    span: Span,
    sensors: frozenset[str],
    stamps: Stamps,
    times: Times,
    versions: Versions = NONE,
) -> tuple[str, int]:
    """The readings of a piece as csv."""
    try:
        found = [one for one in _quick.decode_lines(piece.text) if type(one) is tuple]
    except msgspec.DecodeError:
        return _slowly(piece, piece.lines(), span, sensors, stamps, times, versions)
    quick = [one for one in found if type(one[1]) is Quick]
    texts = _values(str(b"\n".join([body.values for _, body in quick]), "utf-8"), len(quick))
    verdicts, from_ms, to_ms = piece.verdicts, max(0, span.from_ms), min(FAR_MS, span.to_ms)
    lines: dict[int, bytes] = {}
    places: dict[str, tuple[str, str]] = {}
    seconds, begin, end = _seconds(), 0, 0
    utc = local = zone = ""
    rows, count = [], 0
    for (seq, body), values in zip(quick, texts, strict=True):
        at = body.at
        ms = at.utc_ms
        medium, place = places.get(body.sensor, NOWHERE)
        if medium != body.medium:
            place = _place(body)
            places[body.sensor] = body.medium, place
        if (
            values and place and at.synced and from_ms <= ms < to_ms and seq not in verdicts
            and (not sensors or body.sensor in sensors)
            and (body.sensor not in versions or not _revised(body, versions[body.sensor]))
        ):  # fmt: skip
            if not begin <= ms < end:
                begin = ms // 60_000 * 60_000
                end = begin + 60_000
                utc, local, zone = stamps.minute(ms // 60_000)
            second = seconds[ms - begin]
            head = f"{utc}{second}Z,{local}{second}{zone}{place}"
            tail = f",{body.calibration},{seq},,\r\n"
            rows.append(f"{head}{values.replace(NUL, tail + head)}{tail}")
            count += values.count(NUL) + 1
        else:
            lines = lines or dict(zip((one[0] for one in found), piece.lines(), strict=True))
            more, added = _slowly(piece, [lines[seq]], span, sensors, stamps, times, versions)
            rows.append(more)
            count += added
    return "".join(rows), count


def _values(text: str, readings: int) -> list[str]:
    """The values of each reading as csv has them, NUL where a row ends; from the lines of their JSON. Empty
    where they cannot be taken as they stand: something is escaped, looks like a formula, or has a sign that
    is put in another place.
    """
    if not readings:
        return []
    if "\\" not in text and not any(sign in text and start in text for sign, start in _ODD):
        inner = text[2:-2].replace(']}\n{"', "\n")
        named = inner.replace('":[', ",")
        apart = named.replace('],"', NUL)
        count = (len(inner) - len(named)) // 2
        borders, ends = (len(named) - len(apart)) // 2, (len(text) - 4 - len(inner)) // 4
        if (borders, ends) == (count - readings, readings - 1) and apart.count('"') == 4 * count:
            return apart.split("\n")
    if readings < 2:
        return [""] * readings
    return [_values(line, 1)[0] for line in text.split("\n")]


def _place(body: Quick) -> str:
    """The cells between the time and the values; empty where they need quotes."""
    sensor, medium = body.sensor, body.medium
    plain = _bare(safe(sensor)) == sensor and _bare(safe(medium)) == medium
    return f",synced,{sensor},{medium}," if plain else ""


def _revised(body: Quick, versions: Sequence[Version]) -> bool:
    """Whether a later version may say otherwise."""
    t_ms, number = body.at.utc_ms, body.calibration
    return any(
        v.number > number and v.from_ms <= t_ms and (v.to_ms is None or t_ms < v.to_ms) for v in versions
    )


def _slowly(
    piece: Piece,
    lines: list[bytes],
    span: Span,
    sensors: frozenset[str],
    stamps: Stamps,
    times: Times,
    versions: Versions = NONE,
) -> tuple[str, int]:
    out: list[str] = []
    count = 0
    for line in lines:
        record = decoded(line)
        if record is not None and type(record.body) is Reading:
            for known in _wanted(record, piece, times, span, sensors):
                rows, more = _rows(known, stamps, versions)
                out.append(rows)
                count += more
    return "".join(out), count


def _rows(record: Record, stamps: Stamps, versions: Versions) -> tuple[str, int]:
    rows = cells(record, stamps, versions)
    if type(record.body) is Reading:  # unit and why always in quotes, as on the quick way
        return "".join(_reading_row(row) for row in rows), len(rows)
    text = io.StringIO()
    csv.writer(text).writerows([[safe(cell) for cell in row] for row in rows])
    return text.getvalue(), len(rows)


def _reading_row(row: tuple[Any, ...]) -> str:
    plain = [_bare(safe(cell)) for cell in row]
    for text in (8, 10):
        quoted = str(safe(row[text])).replace('"', '""')
        plain[text] = f'"{quoted}"'
    return ",".join(plain) + "\r\n"


def _bare(cell: Any) -> str:
    text = str(cell)
    if any(sign in text for sign in ',"\r\n'):
        quoted = text.replace('"', '""')
        return f'"{quoted}"'
    return text


def safe(cell: Any) -> Any:
    """What a spreadsheet does not run. Numbers stay numbers."""
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(_FORMULA) else cell
    if isinstance(cell, float):
        return _json.encode(cell).decode()  # as it stands in the journal
    return "" if cell is None else cell


def _wanted(
    record: Record, piece: Piece, times: Times, span: Span, sensors: frozenset[str]
) -> Iterator[Record]:
    """The record as it is known now, if it is in the span and of these sensors."""
    body = record.body
    sensor = body.detail.get("sensor") if isinstance(body, Event) else body.sensor
    if sensors and sensor not in sensors:
        return
    known = times.dated(corrected(record, piece.verdicts))
    if span.from_ms <= when_ms(known.body) < span.to_ms:
        yield known
