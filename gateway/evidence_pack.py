"""The evidence pack: one zip with data, flags, calibrations, gaps, configuration and the signed blocks they
are from.

    index.html                  what this is, in the station's language
    manifest.json               layout, station, span, software
    data/readings.csv … averages, events, calibrations, gaps, configuration
    chain/blocks.jsonl          each block's place in the chain, signature and key (gateway.journal_chain)
    chain/blocks.bin            their bodies, one behind the other, as they stand in the journal
    chain/station.pub           the public key

Every table follows from the blocks alone, so `suuaba verify` proves the blocks and makes the tables again:
they must come out the same, byte for byte (gateway.evidence_check). The newest records are in no block yet
and so not in the pack.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from gateway import config
from gateway.errors import ConfigError
from gateway.evidence_words import page
from gateway.export_rows import EVENT, NONE, Site, Stamps, What, cells, csv_text, records, safe
from gateway.export_source import AHEAD_MS, Source, Span, Versions, bounds, corrections
from gateway.journal_blocks import Place, Reader
from gateway.journal_chain import fingerprint, public_pem
from gateway.journal_store import Block
from gateway.version import VERSION

LAYOUT = 3
TABLES = ("readings", "averages", "events", "calibrations", "gaps", "configuration")
_GAPS = ("missed", "gap", "ledger", "loss", "power_cut", "chain_begun", "journal_unreadable")
_CALIBRATIONS = ("calibrated", "correction", "calibration_due", "slope_low", "sensor_changed", "visit")
Open = Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of blocks.jsonl: a block without its body, and where that lies in blocks.bin."""

    block: Block
    at: int
    length: int


class Packed:
    """The blocks of a pack as a source of exports. Raises OSError, ValueError for what is no pack."""

    def __init__(self, entries: Sequence[Entry], open_bin: Open) -> None:
        self.entries = entries
        self._firsts = [entry.block.first_seq for entry in entries]
        self._open = open_bin

    def places(self) -> Iterator[Place]:
        for entry in self.entries:
            block = entry.block
            yield Place(block.first_seq, block.last_seq, block.from_ms, block.to_ms)

    def newest(self) -> Sequence[bytes]:
        return ()

    def blocks(self, after_seq: int = 0) -> Iterator[Block]:
        from dataclasses import replace

        with self._open() as file:
            for entry in self.entries[bisect_right(self._firsts, after_seq) :]:
                file.seek(entry.at)
                yield replace(entry.block, body=file.read(entry.length))


class Stretch:
    """Some blocks of a journal: what the pack will hold."""

    def __init__(self, source: Source, first_seq: int, last_seq: int) -> None:
        self._source, self._first, self._last = source, first_seq, last_seq

    def places(self) -> Iterator[Place]:
        for place in self._source.places():
            if self._first <= place.first_seq <= self._last:
                yield place

    def newest(self) -> Sequence[bytes]:
        return ()

    def blocks(self, after_seq: int = 0) -> Iterator[Block]:
        for block in self._source.blocks(max(after_seq, self._first - 1)):
            if block.first_seq > self._last:
                return
            yield block


def write(
    path: Path,
    station: config.Station,
    reader: Reader,
    span: Span,
    tell: Callable[[float], None],
    versions: Versions = NONE,
) -> int:
    """Write the pack; gives the rows of readings. Raises ConfigError, OSError, JournalError."""
    from gateway.export import Watched, site, whole

    first, last = bounds(reader, Span(span.from_ms, span.to_ms + AHEAD_MS))
    if first is None:
        raise ConfigError([f"{station.data}: there is no block yet, so nothing to prove; wait ten minutes"])
    last = _last_correction(reader, span, last, versions)
    stretch = Stretch(reader, first, last)
    total = sum(1 for _ in stretch.places())
    about: dict[str, Any] = {
        "layout": LAYOUT, "made_by": f"suuaba {VERSION}", "station": station.id, "name": station.name,
        "timezone": station.timezone, "language": station.language, "latitude": station.latitude,
        "longitude": station.longitude, "from_ms": span.from_ms, "to_ms": span.to_ms,
    }  # fmt: skip
    with whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as pack:
        lines, keys, at = [], [], 0
        with pack.open(_named("chain/blocks.bin", zipfile.ZIP_STORED), "w", force_zip64=True) as bodies:
            for block in stretch.blocks():
                bodies.write(block.body)
                lines.append(_line(block, at))
                at += len(block.body)
                if block.public and block.public not in keys:
                    keys.append(block.public)
        pack.writestr(_named("chain/blocks.jsonl"), "".join(lines))
        pack.writestr(_named("chain/station.pub"), b"".join(public_pem(key) for key in keys))
        about["keys"] = [fingerprint(key) for key in keys]
        told = corrections(stretch)
        source, rows = Watched(stretch, total * len(TABLES), tell), {}
        for table in TABLES:
            with pack.open(_named(f"data/{table}.csv"), "w", force_zip64=True) as out:
                rows[table] = 0
                for text, more in tabled(source, span, table, site(station), told):
                    out.write(text.encode())
                    rows[table] += more
        about["rows"] = rows
        pack.writestr(_named("manifest.json"), json.dumps(about, ensure_ascii=False, indent=1) + "\n")
        pack.writestr(_named("index.html"), page(about))
    return rows["readings"]


def tabled(
    source: Source, span: Span, table: str, site: Site, versions: Versions
) -> Iterator[tuple[str, int]]:
    """A table of the pack, piece by piece, with the rows. Raises JournalError."""
    everything = frozenset[str]()
    if table in ("readings", "averages", "events"):
        yield from csv_text(source, span, cast(What, table), everything, site, versions)
        return
    stamps = Stamps(site.timezone)
    yield ",".join(EVENT) + "\r\n", 0
    for record in records(source, span, "events", everything):
        what = getattr(record.body, "what", "")
        if (
            (table == "configuration" and what == "configuration")
            or (table == "calibrations" and what in _CALIBRATIONS)
            or (table == "gaps" and what in _GAPS)
        ):
            text = io.StringIO()
            csv.writer(text).writerows([[safe(cell) for cell in row] for row in cells(record, stamps)])
            yield text.getvalue(), 1


def _last_correction(reader: Reader, span: Span, last: int, versions: Versions) -> int:
    """The first seq of the last block that the pack needs: behind the span may stand what corrects it."""
    wanted = [
        v
        for of in versions.values()
        for v in of
        if v.from_ms < span.to_ms and (v.to_ms is None or v.to_ms > span.from_ms)
    ]
    if not wanted:
        return last
    for block in reader.blocks(last):
        if any(v in of for of in corrections(_One(block)).values() for v in wanted):
            last = block.first_seq
    return last


class _One:
    """One block as a source."""

    def __init__(self, block: Block) -> None:
        self._block = block

    def places(self) -> Iterator[Place]:
        yield Place(self._block.first_seq, self._block.last_seq, self._block.from_ms, self._block.to_ms)

    def blocks(self, after_seq: int = 0) -> Iterator[Block]:
        yield self._block

    def newest(self) -> Sequence[bytes]:
        return ()


def entries(lines: Iterator[bytes]) -> Iterator[Entry]:
    """The lines of blocks.jsonl. Raises ValueError, KeyError, TypeError for what is none."""
    for line in lines:
        said = json.loads(line)
        names = ("first_seq", "last_seq", "from_ms", "to_ms", "records", "at", "length")
        numbers = [said[name] for name in names]
        if not all(type(number) is int for number in numbers) or numbers[5] < 0 or numbers[6] < 0:
            raise ValueError("a block without its numbers")
        previous = None if said["previous"] is None else bytes.fromhex(said["previous"])
        first_seq, last_seq, from_ms, to_ms, records_, at, length = numbers
        block = Block(
            first_seq, last_seq, from_ms, to_ms, records_, b"", said["after_seq"], said["number"], previous,
            bytes.fromhex(said["public"]), bytes.fromhex(said["signature"]),
        )  # fmt: skip
        yield Entry(block, at, length)


def _line(block: Block, at: int) -> str:
    said = {
        "number": block.number, "previous": None if block.previous is None else block.previous.hex(),
        "first_seq": block.first_seq, "last_seq": block.last_seq, "after_seq": block.after_seq,
        "from_ms": block.from_ms, "to_ms": block.to_ms, "records": block.records,
        "public": block.public.hex(), "signature": block.signature.hex(), "at": at, "length": len(block.body),
    }  # fmt: skip
    return json.dumps(said) + "\n"


def _named(name: str, how: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = how
    info.external_attr = 0o644 << 16
    return info
