"""`suuaba export`: what was measured, into a file. Reads the journal beside the running service.

A file gets its name when it is whole: until then it is called NAME.part, and a killed export leaves only
that.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, cast
from zoneinfo import ZoneInfo

from gateway import config
from gateway.errors import ConfigError, JournalError
from gateway.export_json import Shape as Shape
from gateway.export_json import json_lines
from gateway.export_rows import Site as Site
from gateway.export_rows import What, csv_text
from gateway.export_source import Source, Span, Versions, corrections, remembered, span_of, tells_of
from gateway.journal_blocks import Place, Reader
from gateway.journal_store import Block

GATHER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be exported."""

    span: Span | None
    """None: all there is."""
    sensors: frozenset[str]
    what: What
    format: str
    shape: Shape
    output: str
    evidence: bool = False


class Watched:
    """A source that tells how far reading has come."""

    def __init__(self, source: Source, total: int, tell: Any) -> None:
        self._source, self._total, self._tell = source, max(1, total), tell
        self._done = 0

    def places(self) -> Iterator[Place]:
        return self._source.places()

    def newest(self) -> Any:
        return self._source.newest()

    def blocks(self, after_seq: int = 0) -> Iterator[Block]:
        for block in self._source.blocks(after_seq):
            self._done += 1
            self._tell(min(1.0, self._done / self._total))
            yield block


def wish(station: config.Station, given: Mapping[str, Any]) -> Wish:
    """What the command line asks for. Raises ConfigError."""
    wrong: list[str] = []
    ends: dict[str, int | None] = {}
    for name, key in (("--from", "begin"), ("--to", "to")):
        try:
            ends[key] = instant(given[key], station.timezone, end=key == "to") if given[key] else None
        except ValueError as e:
            wrong.append(f"{name} {given[key]}: {e}")
    known = [sensor.id for sensor in station.sensors]
    for sensor in given["sensor"]:
        if sensor not in known and not _was_there(station, sensor):
            close = difflib.get_close_matches(sensor, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            wrong.append(f"--sensor {sensor}: there is no such sensor; {hint}")
    if given["shape"] != "plain" and given["format"] != "jsonl":
        wrong.append(f"--shape {given['shape']}: is for --format jsonl")
    if given["shape"] != "plain" and given["what"] == "events":
        wrong.append(f"--shape {given['shape']}: has readings and averages, no events")
    if given["format"] == "parquet" and given["output"] == "-":
        wrong.append("--output -: parquet needs a file")
    begin, end = ends.get("begin"), ends.get("to")
    if begin is not None and end is not None and begin >= end:
        wrong.append("--from is not before --to; nothing lies between")
    if wrong:
        raise ConfigError(wrong)
    span = None
    if begin is not None or end is not None:
        span = Span(begin if begin is not None else 0, end if end is not None else 1 << 60)
    evidence = bool(given["evidence"])
    output = given["output"] or _name(station.id, given, "zip" if evidence else given["format"])
    if output != "-" and Path(output).exists():
        raise ConfigError([f"{output}: is there already; move it away, or name another with --output"])
    if evidence and (output == "-" or given["sensor"]):
        raise ConfigError(["--evidence: makes a zip file of everything; leave out --sensor and --output -"])
    return Wish(
        span, frozenset(given["sensor"]), cast(What, given["what"]), given["format"],
        cast(Shape, given["shape"]), output, evidence,
    )  # fmt: skip


def instant(text: str, timezone: str, *, end: bool = False) -> int:
    """Milliseconds of "2026-11-01", "2026-11-01 14:30" or with an offset. Raises ValueError."""
    how = 'write "2026-11-01", "2026-11-01 14:30" or "2026-11-01T08:30:00Z"'
    if not re.match(r"\d{4}-\d\d-\d\d", text):
        raise ValueError(f"is no time; {how}")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"is no time; {how}") from None
    try:
        if end and len(text) == 10:
            at += timedelta(days=1)
        if at.tzinfo is None:
            at = at.replace(tzinfo=ZoneInfo(timezone))
        return round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    except OverflowError:
        raise ValueError("is too far away for a calendar") from None


def site(station: config.Station) -> Site:
    """What the rows say of the station."""
    return Site(station.id, station.name, station.timezone, station.latitude, station.longitude)


def export(station: config.Station, wanted: Wish) -> int:
    """Write the file. Gives the exit code. Raises ConfigError, JournalError."""
    if wanted.format == "parquet":
        from gateway import export_parquet

        export_parquet.needed()
    with Reader(station.data) as reader:
        span = wanted.span or Span(0, 1 << 60)
        there = span_of(reader.places())
        if there is not None and wanted.span is not None:
            _overlap(there, span, more=bool(reader.newest()))
        memory = reader.memory()
        state = None if memory is None else memory.folds.get("calibration")
        versions = corrections(reader) if state is None else remembered(state, reader.newest())
        total = sum(p.to_ms >= span.from_ms and p.from_ms < span.to_ms for p in reader.places())
        try:
            with progress(Path(wanted.output).name) as tell:
                source = Watched(reader, total, tell)
                if wanted.evidence:
                    from gateway import evidence_pack

                    rows = evidence_pack.write(Path(wanted.output), station, reader, span, tell, versions)
                elif wanted.format == "parquet":
                    rows = export_parquet.write(
                        Path(wanted.output), source, span, wanted, site(station), versions
                    )
                else:
                    rows = _text(source, span, wanted, site(station), versions)
        except OSError as e:
            if isinstance(e, BrokenPipeError):
                raise
            raise ConfigError([f"{wanted.output}: {e.strerror}; nothing was written"]) from None
        newest = len(reader.newest()) if wanted.evidence and there and span.to_ms > there.to_ms else 0
    if wanted.output != "-":
        sys.stderr.write(f"{wanted.output}: {rows} rows\n")
    if newest:
        sys.stderr.write(
            f"the newest {newest} records are not in it: no signed block has them yet (see verify)\n"
        )
    return 0


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that has its name only when it is whole. Raises OSError."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def progress(what: str) -> Iterator[Any]:
    """A bar on standard error, where somebody is looking; gives what takes the part that is done."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda done: bar.update(task, completed=done)


def _text(source: Source, span: Span, wanted: Wish, at: Site, versions: Versions) -> int:
    rows = 0
    with contextlib.ExitStack() as stack:
        if wanted.output == "-":
            file: IO[bytes] = sys.stdout.buffer
        else:
            file = stack.enter_context(whole(Path(wanted.output)))
        if wanted.format == "csv":
            for text, more in csv_text(source, span, wanted.what, wanted.sensors, at, versions):
                file.write(text.encode())
                rows += more
        else:
            gathered: list[bytes] = []
            size = 0
            of, shape = wanted.sensors, wanted.shape
            for lines, more in json_lines(source, span, wanted.what, of, at, shape, versions):
                gathered.append(lines)
                rows, size = rows + more, size + len(lines)
                if size > GATHER_BYTES:
                    file.write(b"".join(gathered))
                    gathered, size = [], 0
            file.write(b"".join(gathered))
        file.flush()
    return rows


def _was_there(station: config.Station, sensor: str) -> bool:
    """Whether the journal knows a sensor that is configured no more."""
    try:
        with Reader(station.data) as reader:
            return tells_of(reader, sensor)
    except JournalError:
        return False


def _overlap(there: Span, span: Span, *, more: bool) -> None:
    if (span.from_ms >= there.to_ms and not more) or span.to_ms <= there.from_ms:
        first, last = (
            datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")
            for ms in (there.from_ms, there.to_ms)
        )
        raise ConfigError([f"--from, --to: the journal has nothing then; it reaches from {first} to {last}"])


def _name(station: str, given: Mapping[str, Any], ending: str) -> str:
    what = "evidence" if given["evidence"] else given["what"]
    ends = [re.sub(r"[^0-9T+-]", "", given[key]) for key in ("begin", "to") if given[key]]
    return "_".join([station, what, *ends]) + f".{ending}"
