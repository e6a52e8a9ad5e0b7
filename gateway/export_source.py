"""What an export reads: the blocks of a journal, or of an evidence pack, over a span of time; and what was
learned about a record after it was written.

    flagged    the verdict on a spike comes with the next reading, as an event (gateway.qc_spike): read ahead
    correction a later version of what makes a value of a raw number (gateway.calibration): looked up before
    clock_set  what was read before the clock was right is dated by a later event (gateway.dating): looked up
               when the first such record is met, over the whole source

Nothing is held but the block at hand, the verdicts of a day, and what dates the boots.
"""

from __future__ import annotations

import zlib
from array import array
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from gateway.calibration import Version
from gateway.dating import DRIFT, ERROR_MS, Dated
from gateway.dating_release import DatedStamp, redated
from gateway.journal_blocks import Place
from gateway.journal_store import Block
from gateway.model import Average, Event, Flag, Reading, Record, Stamp, Value
from gateway.qc_spike import WHAT as FLAGGED

AHEAD_MS = 25 * 3_600_000
"""How far the verdicts are looked for: the slowest sensor is read once a day."""
AHEAD_BLOCKS = 4
HELD_BYTES = 32 << 20
"""Text of blocks that were looked into ahead and are still to come; what is beyond is unpacked twice."""
FAR_MS = 1000 * 365 * 86_400_000

Verdicts = dict[int, dict[str, tuple[int, str]]]
Versions = Mapping[str, Sequence[Version]]
"""The corrections of each sensor."""


class Source(Protocol):
    """Where the blocks are."""

    def places(self) -> Iterator[Place]: ...
    def blocks(self, after_seq: int = 0) -> Iterator[Block]: ...
    def newest(self) -> Sequence[bytes]:
        """The lines of records that stand in no block yet."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """Both ends in UTC, the first included."""

    from_ms: int
    to_ms: int


class At(msgspec.Struct, array_like=True, gc=False):
    """A time whose boot stays text."""

    utc_ms: int
    boot: msgspec.Raw
    mono_ms: int
    synced: bool


class Quick(msgspec.Struct, tag="reading", tag_field="kind", gc=False):
    """A reading whose numbers stay text: most need no more, and a year has many."""

    sensor: str
    medium: str
    at: At
    values: msgspec.Raw
    calibration: int = 0


class Note(msgspec.Struct):
    """What the journal wrote down for itself between the records."""


class Seen(msgspec.Struct):
    """Of any record: when it was, and what an event says."""

    at: Stamp
    what: str = ""
    detail: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of a block, and what was learned of its records later."""

    text: bytes
    """Lines of JSON: the records, and the journal's own notes between them."""
    verdicts: Verdicts

    def lines(self) -> list[bytes]:
        """The records, each as its line."""
        return _split(self.text)


_seen = msgspec.json.Decoder(tuple[int, Seen])
_record = msgspec.json.Decoder(Record)


class Times:
    """When something was, as well as it is known now."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._right_from: dict[str, int] = {}
        """The boot's own clock at its first right moment."""
        self._offsets: dict[str, tuple[int, str, int]] | None = None

    def dated(self, record: Record) -> Record:
        """The record with its true time, and flagged where nobody can vouch for it."""
        at = record.body.at
        if at.synced:
            return record
        return Record(record.seq, redated(record.body, self._date(at)))

    def _date(self, at: Stamp) -> Dated:
        if self._offsets is None:
            self._offsets = {}
            self._learn(self._offsets)
        right_from = self._right_from.get(at.boot)
        if right_from is not None and at.mono_ms > right_from:  # stamped with the best that was known
            return Dated(at.utc_ms, "dated", ERROR_MS)
        if at.boot not in self._offsets:
            return Dated(at.utc_ms, "unknown", 0)
        offset_ms, trust, off_ms = self._offsets[at.boot]
        if trust == "dated":
            off_ms += round(DRIFT * max(0, (right_from or 0) - at.mono_ms))
            return Dated(at.mono_ms + offset_ms, "dated", off_ms)
        return Dated(at.mono_ms + offset_ms, "estimated", off_ms)

    def _learn(self, offsets: dict[str, tuple[int, str, int]]) -> None:
        for lines in _all_lines(self._source):
            for line in lines:
                try:
                    _, seen = _seen.decode(line)
                except msgspec.DecodeError:
                    continue
                at, detail = seen.at, seen.detail
                if at.synced and b'"kind":"average"' not in line[:60]:
                    known = self._right_from.get(at.boot, FAR_MS)
                    self._right_from[at.boot] = min(known, at.mono_ms)
                if seen.what == "clock_set" and isinstance(detail.get("offset_ms"), int):
                    boot, off = str(detail.get("boot")), detail.get("uncertainty_ms", 0)
                    offsets[boot] = (detail["offset_ms"], str(detail.get("trust")), int(off))


def pieces(source: Source, span: Span) -> Iterator[Piece]:
    """The records that may be in the span, in their order, block by block, and the newest last. Records just
    outside may be among them. Raises JournalError.
    """
    start_seq, end_seq = bounds(source, span)
    if start_seq is None:
        start_seq = end_seq
    verdicts: Verdicts = {}
    ahead, ahead_ms, held, ended = source.blocks(start_seq - 1), 0, 0, False
    waiting: deque[tuple[Block, bytes | None, int]] = deque()
    last_seq = start_seq - 1
    while True:
        while not ended and (
            not waiting or ahead_ms <= waiting[0][0].to_ms + AHEAD_MS or len(waiting) <= AHEAD_BLOCKS
        ):
            found = next(ahead, None)
            if found is None:
                _verdicts(source.newest(), verdicts)
                ended = True
                break
            text = _text(found)
            if b'"flagged"' in text:
                _verdicts(_split(text), verdicts)
            ahead_ms = found.to_ms
            size = len(text) if held + len(text) <= HELD_BYTES or not waiting else 0
            waiting.append((found, text if size else None, size))
            held += size
        if not waiting:
            break
        block, kept, size = waiting.popleft()
        held -= size
        if block.first_seq > end_seq:
            return
        text = _text(block) if kept is None else kept
        if text:
            yield Piece(text, verdicts)
        last_seq = block.last_seq
        for seq in [seq for seq in verdicts if seq <= last_seq]:
            del verdicts[seq]
    newest = source.newest()
    _verdicts(newest, verdicts)
    for block in source.blocks(last_seq):  # what the service settled meanwhile
        yield Piece(_text(block), verdicts)
        last_seq = block.last_seq
    newest = [line for line in newest if _seq(line) > last_seq]
    if newest:
        yield Piece(b"\n".join(newest), verdicts)


def corrected(record: Record, verdicts: Verdicts) -> Record:
    """The record with the flags that later verdicts gave it."""
    body, found = record.body, verdicts.get(record.seq)
    if found is None or type(body) is not Reading:
        return record
    values = dict(body.values)
    for quantity, (flag, why) in found.items():
        if (value := values.get(quantity)) is not None:
            why = f"{value.why}; {why}" if value.why else why
            values[quantity] = Value(value.raw, value.value, value.unit, flag, why)
    return Record(record.seq, msgspec.structs.replace(body, values=values))


def decoded(line: bytes) -> Record | None:
    """The record of a line; None for a kind that only a newer version knows."""
    try:
        return _record.decode(line)
    except msgspec.DecodeError:
        return None


def corrections(source: Source) -> Versions:
    """All versions that the blocks and the newest records tell of."""
    found: list[Version] = []
    for block in source.blocks():
        text = _text(block)
        if b'"correction"' in text:
            found += _versions(_split(text))
    return by_sensor([*found, *_versions(source.newest())])


def remembered(state: str, newest: Sequence[bytes]) -> Versions:
    """The same of a journal, by what its station remembers (gateway.calibration_fold) and the newest
    records.
    """
    try:
        known = msgspec.json.decode(state, type=_Remembered)
    except msgspec.DecodeError:
        known = _Remembered()
    versions = [version for one in known.sensors.values() for version in one.versions]
    return by_sensor([*versions, *_versions(newest)])


def tells_of(source: Source, sensor: str) -> bool:
    """Whether a reading of this sensor is there. Looks through everything where none is."""
    sign = b'"sensor":' + msgspec.json.encode(sensor) + b","
    if any(sign in line for line in source.newest()):
        return True
    return any(sign in _text(block) for block in source.blocks())


def by_sensor(versions: Sequence[Version]) -> Versions:
    """Each version once, sensor by sensor."""
    found: dict[str, list[Version]] = {}
    for version in versions:
        of = found.setdefault(version.sensor, [])
        if version not in of:
            of.append(version)
    return found


def when_ms(body: Reading | Average | Event) -> int:
    """What the span is held against: the time, of an average the begin of its window."""
    return body.start_ms if type(body) is Average else body.at.utc_ms


def clock(at: Stamp) -> str:
    """How the time is known."""
    return "synced" if at.synced else at.trust if isinstance(at, DatedStamp) else "unsynced"


def span_of(places: Iterator[Place]) -> Span | None:
    """What there is, as dated when written; None where there is nothing."""
    low, high = FAR_MS, 0
    for place in places:
        low, high = min(low, place.from_ms), max(high, place.to_ms + 1)
    return Span(low, high) if high else None


class _Known(msgspec.Struct):
    versions: list[Version] = []


class _Remembered(msgspec.Struct):
    sensors: dict[str, _Known] = {}


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


def bounds(source: Source, span: Span) -> tuple[int | None, int]:
    """The first seq of the first block to read, and of the last. A block of an unsure clock may be dated
    wrongly, so reading begins and ends at blocks that have a sure time outside.
    """
    firsts, start, end = array("q"), -1, -1
    for place in source.places():
        if start < 0 and place.to_ms >= span.from_ms:
            start = len(firsts)
        if place.from_ms < span.to_ms:
            end = len(firsts)
        firsts.append(place.first_seq)
    if not firsts:
        return None, 0
    start = len(firsts) - 1 if start < 0 else start
    while start > 0 and not _sure(source, firsts[start - 1], below_ms=span.from_ms):
        start -= 1
    end = max(end, start)
    while end + 1 < len(firsts) and not _sure(source, firsts[end + 1], from_ms=span.to_ms):
        end += 1
    return firsts[start], firsts[end] if end + 1 < len(firsts) else 1 << 62


def _sure(source: Source, first_seq: int, *, below_ms: int = FAR_MS, from_ms: int = -FAR_MS) -> bool:
    """Whether the block has a record with a right clock, between these times."""
    for block in source.blocks(first_seq - 1):
        for line in _lines(block):
            try:
                _, seen = _seen.decode(line)
            except msgspec.DecodeError:
                continue
            if seen.at.synced and from_ms <= seen.at.utc_ms < below_ms:
                return True
        return False
    return True


def _verdicts(lines: Sequence[bytes], verdicts: Verdicts) -> None:
    for line in lines:
        if b'"flagged"' not in line:
            continue
        try:
            _, seen = _seen.decode(line)
        except msgspec.DecodeError:
            continue
        detail = seen.detail
        seq, quantity, flag = detail.get("seq"), detail.get("quantity"), detail.get("flag")
        if seen.what == FLAGGED and isinstance(seq, int) and isinstance(quantity, str) and flag in set(Flag):
            verdicts.setdefault(seq, {})[quantity] = (int(flag), str(detail.get("why", "")))


def _versions(lines: Sequence[bytes]) -> list[Version]:
    found = []
    for line in lines:
        if b'"correction"' not in line:
            continue
        try:
            _, seen = _seen.decode(line)
            if seen.what == "correction":
                found.append(msgspec.convert(seen.detail, Version, strict=False))
        except (msgspec.DecodeError, msgspec.ValidationError):
            continue
    return found


def _all_lines(source: Source) -> Iterator[Sequence[bytes]]:
    for block in source.blocks():
        yield _lines(block)
    yield source.newest()


def _text(block: Block) -> bytes:
    try:
        return zlib.decompress(block.body, -15)
    except zlib.error:
        return b""


def _lines(block: Block) -> list[bytes]:
    """The records of the block; none where it cannot be unpacked."""
    return _split(_text(block))


def _split(text: bytes) -> list[bytes]:
    """As Block.lines."""
    return [line for line in text.split(b"\n") if line[:1] == b"["]


def _seq(line: bytes) -> int:
    head = line[1:20].partition(b",")[0]
    return int(head) if head.isdigit() else 0
