"""`suuaba report`: a month of a station for people, as one page of HTML or as PDF.

    journal ─► sums in steps of ten minutes (report_sums) ─► limits and verdict (report_limits) ─┐
        └────► events, sorted out (report_story) ──────────► charts (report_plots) ──────────────┴─► page

Reads the journal beside the running service. The file has its name only when it is whole.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from alerts import readymade
from gateway import config
from gateway.calibration import Version
from gateway.calibration_fold import Kept
from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.export import progress, site, whole
from gateway.export_source import Span, bounds, decoded, span_of
from gateway.journal_blocks import Reader
from gateway.journal_chain import fingerprint, link, text
from gateway.journal_store import Unreadable
from gateway.model import Event
from gateway.report_facts import Evidence, Facts
from gateway.report_limits import NOWCAST_S, Limit, judge, of_set, unfit, verdict
from gateway.report_page import page
from gateway.report_story import story
from gateway.report_sums import month
from gateway.report_words import LANGUAGES, words
from gateway.verify import Chain, Trusted
from gateway.version import VERSION

DEFAULT_SET = "kyrgyzstan"
OWN = "own"
FEW_BLOCKS = 100
"""They are read before other processes have even begun."""
WEASY = "WeasyPrint or Pango is missing: pip install 'suuaba[pdf]', apt-get install libpangoft2-1.0-0"
"""Debian's package of the library that sets text."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which report is wanted."""

    year: int
    month: int
    language: str
    format: str
    limits: tuple[str, ...]
    output: Path


def wish(station: config.Station, given: Mapping[str, Any]) -> Wish:
    """What the command line asks for. Raises ConfigError."""
    wrong: list[str] = []
    parsed = re.fullmatch(r"(20\d\d)-(0[1-9]|1[0-2])", given["month"])
    if parsed is None:
        wrong.append(f"--month {given['month']}: is no month; write 2026-11")
    sets = [*readymade.names(), OWN]
    for name in given["limits"]:
        if name not in sets:
            close = difflib.get_close_matches(name, sets, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sets)}"
            wrong.append(f"--limits {name}: there is no such set; {hint}")
    if wrong or parsed is None:
        raise ConfigError(wrong)
    language = given["language"] or (station.language if station.language in LANGUAGES else "en")
    ending = given["format"]
    name = given["output"] or f"{station.id}_report_{given['month']}_{language}.{ending}"
    if Path(name).exists():
        raise ConfigError([f"{name}: is there already; move it away, or name another with --output"])
    if ending == "pdf":
        _weasyprint()
    limits = tuple(dict.fromkeys(given["limits"] or [DEFAULT_SET]))
    return Wish(int(parsed[1]), int(parsed[2]), language, ending, limits, Path(name))


def report(station: config.Station, wanted: Wish) -> int:
    """Write the report. Gives the exit code. Raises ConfigError, JournalError."""
    midnights = month_of(wanted.year, wanted.month, station.timezone)
    span = Span(midnights[0], midnights[-1])
    now_ms = Clock().stamp().utc_ms
    with Reader(station.data) as reader:
        there = span_of(reader.places())
        newest = [record.body.at.utc_ms for line in reader.newest() if (record := decoded(line)) is not None]
        first, last = bounds(reader, span)
        before = there is None or there.to_ms <= span.from_ms or there.from_ms >= span.to_ms
        if before and not any(span.from_ms <= ms < span.to_ms for ms in newest):
            raise ConfigError(
                [f"--month {wanted.year}-{wanted.month:02}: the journal has nothing of that month"]
            )
        versions = _versions(reader, span)
        blocks = sum(place.to_ms >= span.from_ms and place.from_ms < span.to_ms for place in reader.places())
        processes = 1 if blocks < FEW_BLOCKS else 0
        with progress(wanted.output.name) as tell:
            read = month(station.data, span, versions, lambda done: tell(0.7 * done), processes)
            evidence = _evidence(reader, first, last, sum(span.from_ms <= ms < span.to_ms for ms in newest))
            tell(0.8)
            found = story(read.events, span)
            found.more = read.more
            found.first_seq, found.last_seq = read.first_seq, read.last_seq
            limits, sets = _limits(station, wanted.limits)
            kinds = {sensor.id: sensor.kind or "" for sensor in station.sensors}
            judged = judge(limits, read.sums, midnights, kinds)
            others = [f"{name} ({kind})" for name, kind in unfit(limits, read.sums, kinds)]
            digits = {
                (sensor, quantity.name): quantity.digits
                for sensor, quantities in station.quantities.items() for quantity in quantities
            }  # fmt: skip
            corrections = [
                v for v in versions
                if v.from_ms < span.to_ms and (v.to_ms is None or v.to_ms > span.from_ms) and v.kind != "none"
            ]  # fmt: skip
            facts = Facts(
                site(station), wanted.year, wanted.month, now_ms, f"suuaba {VERSION}", read.sums, found,
                judged, sets, others, verdict(read.sums, judged, found, broken=bool(evidence.wrong)),
                evidence, corrections, midnights, digits,
            )  # fmt: skip
            content = page(facts, words(wanted.language, station.timezone))
            tell(0.9)
            data = _weasyprint()(string=content).write_pdf() if wanted.format == "pdf" else content.encode()
    try:
        with whole(wanted.output) as file:
            file.write(data)
    except OSError as e:
        raise ConfigError([f"{wanted.output}: {e.strerror}; nothing was written"]) from None
    sys.stderr.write(f"{wanted.output}: {len(data) // 1000} KB\n")
    if others:
        sys.stderr.write(f'not judged: {", ".join(others)}; a sensor may say which it is in: kind = "…"\n')
    return 0


def month_of(year: int, number: int, timezone: str) -> list[int]:
    """The midnights of a month in ms UTC, and that which ends it."""
    zone, found = ZoneInfo(timezone), []
    for day in range(1, 33):
        try:
            at = datetime(year, number, day, tzinfo=zone)
        except ValueError:
            break
        found.append(round(at.timestamp() * 1000))
    after = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone)
    return [*found, round(after.timestamp() * 1000)]


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


def _versions(reader: Reader, span: Span) -> list[Version]:
    """All corrections that are known: those that the station remembers, and those that came since. A journal
    without that memory is searched from the month on.
    """
    memory = reader.memory()
    kept: list[Version] = []
    state = memory.folds.get("calibration") if memory is not None else None
    if state is not None:
        with contextlib.suppress(msgspec.DecodeError, ValueError):
            known = msgspec.json.decode(state, type=Kept)
            kept = [version for sensor in known.sensors.values() for version in sensor.versions]
    sources: list[Sequence[bytes]] = [reader.newest()]
    if state is None:
        start, _ = bounds(reader, span)
        sources = [*(_lines(block) for block in reader.blocks((start or 1) - 1)), *sources]
    found = {(version.sensor, version.number): version for version in kept}
    for lines in sources:
        for line in lines:
            if b'"correction"' not in line:
                continue
            record = decoded(line)
            if record is not None and isinstance(record.body, Event) and record.body.what == "correction":
                with contextlib.suppress(msgspec.ValidationError):
                    version = msgspec.convert(record.body.detail, Version, strict=False)
                    found[version.sensor, version.number] = version
    return sorted(found.values(), key=lambda version: (version.sensor, version.number))


def _lines(block: Any) -> Sequence[bytes]:
    try:
        text = block.text()
    except Unreadable:
        return []
    return [line for line in text.splitlines() if line.startswith(b"[")] if b'"correction"' in text else []


def _limits(station: config.Station, names: Sequence[str]) -> tuple[list[Limit], list[readymade.RuleSet]]:
    limits: list[Limit] = []
    sets: list[readymade.RuleSet] = []
    for name in names:
        if name == OWN:
            limits += [
                Limit(
                    r.id, r.quantity, r.unit, NOWCAST_S if r.nowcast else r.over_s or 600.0, r.above, r.below,
                    True, sensor=r.sensor, kind=r.kind or "", nowcast=r.nowcast,
                )
                for r in station.rules
                if r.quantity and (r.above is not None or r.below is not None)
            ]  # fmt: skip
            continue
        given = readymade.ruleset(name)
        limits += of_set(given)
        sets.append(given)
    return limits, sets


def _evidence(reader: Reader, first: int | None, last: int, unproven: int) -> Evidence:
    """Check the month's stretch of the chain."""
    if first is None:
        return Evidence(unproven=unproven)

    def stretch() -> Any:
        for block in reader.blocks(first - 1):
            if block.first_seq > last:
                return
            yield block

    chain = Chain(Trusted(), None, part=True)
    for first_seq, block, sound in reader.rows(first - 1):
        if first_seq > last:
            break
        if isinstance(block, Unreadable):
            chain.unreadable(first_seq, str(block))
        else:
            chain.take(block, sound=sound)
        if first_seq < 0:
            break
    chain.end(stretch)
    found = chain.verdict
    if found.last is None or found.first is None:
        return Evidence(wrong=found.wrong[0] if found.wrong else "", unproven=unproven)
    head = link(text(found.last), found.last.signature).hex()
    keys = [fingerprint(key) for key in found.keys if key]
    wrong = found.wrong[0] if found.wrong else ""
    return Evidence(found.first.number or 0, found.last.number or 0, head, keys, wrong, unproven)


def _weasyprint() -> Any:
    """WeasyPrint's HTML. Raises ConfigError."""
    try:
        from weasyprint import HTML
    except (ImportError, OSError):
        raise ConfigError([f"--format pdf: {WEASY}"]) from None
    logging.getLogger("weasyprint").setLevel(logging.ERROR)  # it names each SVG attribute that CSS has not
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    return HTML
