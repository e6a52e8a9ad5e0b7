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
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from gateway.calibration import corrected as counts
from gateway.export_source import (
    Piece,
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
_ODD = ((b"\\", b"\\"), (b"=", b'"='), (b"+", b'"+'), (b"-", b'"-'), (b"@", b'"@'))
"""Each with the one character that is quickly looked for."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _Quick(msgspec.Struct, tag="reading", tag_field="kind"):
    """A reading whose numbers stay text."""

    sensor: str
    medium: str
    at: tuple[int, str, int, bool]
    values: msgspec.Raw
    calibration: int = 0


class _Other(msgspec.Struct, tag="event", tag_field="kind"):
    pass


class _Mean(msgspec.Struct, tag="average", tag_field="kind"):
    pass


NONE: Versions = {}

_quick = msgspec.json.Decoder(list[tuple[int, _Quick | _Other | _Mean]])
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
    """Times as text, UTC and local; the minute is remembered."""

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self._known: dict[int, tuple[str, str, str]] = {}
        self._seconds = _seconds()

    def both(self, utc_ms: int) -> tuple[str, str]:
        """2026-11-23T10:00:00.000Z and 2026-11-23T16:00:00.000+06:00; the bare number where no calendar has
        it.
        """
        minute, ms = divmod(utc_ms, 60_000)
        known = self._known.get(minute)
        if known is None:
            if len(self._known) > 5000:
                self._known.clear()
            try:
                at = datetime.fromtimestamp(minute * 60, UTC)
                local = at.astimezone(self._zone).isoformat()
            except (OverflowError, ValueError, OSError):
                return str(utc_ms), str(utc_ms)
            known = self._known[minute] = at.strftime("%Y-%m-%dT%H:%M:"), local[:17], local[19:]
        seconds = self._seconds[ms]
        return f"{known[0]}{seconds}Z", f"{known[1]}{seconds}{known[2]}"


def records(source: Source, span: Span, what: What, sensors: frozenset[str]) -> Iterator[Record]:
    """The records of a kind, dated and flagged as is known now. Raises JournalError."""
    times, kind = Times(source), _KIND[what]
    for piece in pieces(source, span):
        for line in piece.lines:
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
    joined = b"[" + b",".join(piece.lines) + b"]"
    odd = any(bare in joined and sign in joined for bare, sign in _ODD)
    plain: set[tuple[str, str]] = set()
    try:
        found = _quick.decode(joined)
    except msgspec.DecodeError:
        return _slowly(piece, piece.lines, span, sensors, stamps, times, versions)
    out: list[str] = []
    count = 0
    both, verdicts, from_ms, to_ms = stamps.both, piece.verdicts, span.from_ms, span.to_ms
    for i, (seq, body) in enumerate(found):
        if type(body) is not _Quick or (sensors and body.sensor not in sensors):
            continue
        at_ms, _, _, synced = body.at
        text = str(body.values, "utf-8")
        name = body.sensor, body.medium
        if (
            not synced
            or seq in verdicts
            or body.sensor in versions
            or ((odd or name not in plain) and not _simple(text, body))
        ):
            rows, more = _slowly(piece, piece.lines[i : i + 1], span, sensors, stamps, times, versions)
            out.append(rows)
            count += more
        elif from_ms <= at_ms < to_ms and len(text) > 2:
            if name not in plain:
                plain.add(name)
            utc, local = both(at_ms)
            head = f"{utc},{local},synced,{body.sensor},{body.medium},"
            tail = f",{body.calibration},{seq},,\r\n"
            values = text[2:-2].split('],"')
            count += len(values)
            rows = f"{tail}{head}".join(values).replace('":[', ",")
            out.append(f"{head}{rows}{tail}")
    return "".join(out), count


def _simple(text: str, body: _Quick) -> bool:
    """Whether the values can be taken as they stand: nothing escaped, nothing like a formula, as many texts
    as usual, and names that need no quotes.
    """
    if "\\" in text or '"=' in text or '"+' in text or '"-' in text or '"@' in text:
        return False
    values = text.count("[")
    if text.count('"') != 6 * values or text.count("]") != values or text.count('":[') != values:
        return False
    return body.sensor.replace("-", "").replace("_", "").isalnum() and body.medium.isalpha()


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
