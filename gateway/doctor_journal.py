"""The doctor's look at the journal, and the evidence that other checks find there.

Read through gateway.journal_reader: a running station is not disturbed. The blocks are walked from the newest
to the oldest, each against its checksum, for as long as there is time; how far that came is said.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway import config, refused
from gateway.clock import Clock
from gateway.dating import DatingFold
from gateway.doctor_finding import Finding, Said, in_thread, one_line, said
from gateway.journal_reader import NOW_MS, JournalReader, Walk, decoded, set_aside, writer_pid
from gateway.journal_store import Memory, Unreadable
from gateway.model import Event, Reading, Stamp

DAY_MS = 86_400_000
LOSSES_SHOWN = 3
REFUSED_SHOWN = 3
NEARLY_FULL = 0.95
TELLING = (b'"loss"', b'"journal_unreadable"')
"""Events that are looked for in all of the journal, not only in its last day."""


@dataclass(slots=True)
class Evidence:
    """What the journal tells. Made by `gather`; empty where there is no journal yet."""

    pid: int | None = None
    """The process that has the journal: the station's service. None: it does not run."""
    there: bool = False
    trouble: str = ""
    """Why the journal could not be read, or not to its end."""
    remedy: str = ""
    walk: Walk = field(default_factory=Walk)
    pages: list[str] | None = None
    """What SQLite says against its pages; None: not looked at."""
    torn: bool = False
    journal_bytes: int = 0
    memory: Memory = field(default_factory=Memory)
    aside: list[Path] = field(default_factory=list)
    now: Stamp | None = None
    dating: DatingFold = field(default_factory=DatingFold)
    last_at: dict[str, Stamp] = field(default_factory=dict)
    """When each sensor was last read."""
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The last Event "sensor" of each, without those from before its last reading."""
    modems: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The last Event "modem" of each: "modem", and "second" where there is one."""
    warming: dict[str, Event] = field(default_factory=dict)
    """The last Event "warming_up" of each sensor."""
    told: Event | None = None
    """The last time that a modem's network told the clock."""
    sinks: dict[str, Event] = field(default_factory=dict)
    """The last Event "sink_down" or "sink_up" of each."""
    losses: list[Event] = field(default_factory=list)
    """The newest first."""
    unreadable: list[Event] = field(default_factory=list)
    day: Counter[str] = field(default_factory=Counter)
    """How many events there were in the last 24 hours, by name."""
    gaps: dict[str, Counter[str]] = field(default_factory=dict)
    """Of these the gaps: slots by sensor and reason."""
    refused: dict[str, refused.List] = field(default_factory=dict)
    last_seq: int = 0

    def age_s(self, at: Stamp) -> float | None:
        """How long ago that was; None when it was in another boot and no clock was right."""
        if self.now is None:
            return None
        if at.boot == self.now.boot:
            return (self.now.mono_ms - at.mono_ms) / 1000
        return (self.now.utc_ms - at.utc_ms) / 1000 if at.synced and self.now.synced else None


async def gather(wanted: config.Station, within_s: float) -> Evidence:
    """Read the journal. Blocks at most `within_s`; never raises for the journal's sake."""
    found = Evidence()
    try:
        await in_thread(lambda: _read(wanted, found, time.monotonic() + 0.8 * within_s), within_s)
    except TimeoutError:
        found.trouble = found.trouble or said("the disk did not answer in time")
        found.remedy = said("look at the disk: dmesg | tail")
    except OSError as e:
        found.trouble = e.strerror or str(e)
        found.remedy = said("run doctor as the station's user: sudo -u suuaba")
    if found.now is None:
        found.now = Clock(wanted.clock.source).stamp()
    return found


async def check_journal(wanted: config.Station, evidence: Evidence) -> Sequence[Finding]:
    """Whether the journal is whole, what it lost, what was refused, and what happened in the last day."""
    e = evidence
    if e.trouble and not e.there:
        return [Finding("journal", "", "failure", said("cannot be read: {why}", why=e.trouble), e.remedy)]
    if not e.there:
        text = said("there is none yet; the station begins one when it starts")
        return [Finding("journal", "", "ok", text), *_aside(e)]
    return [
        _runs(e),
        *_whole(e),
        _size(wanted, e),
        *_aside(e),
        *_losses(e),
        *_refused(wanted, e),
        *_sinks(wanted, e),
        *_last_day(e),
    ]


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def _read(wanted: config.Station, found: Evidence, until_s: float) -> None:
    folder = wanted.data
    found.pid = writer_pid(folder)
    if not folder.exists():
        return
    found.aside = set_aside(folder)
    if not (folder / "journal.db").exists() and not (folder / "tail").exists():
        return
    found.there = True
    try:
        reader = JournalReader(folder)
    except Unreadable as e:
        found.trouble = said("SQLite's file: {why}", why=one_line(e))
        found.remedy = said("nothing to do: at its next start the station sets it aside and begins a new one")
        return
    except OSError:
        found.there = False
        raise
    try:
        found.last_seq = reader.memory.last_seq
        found.memory, found.torn, found.pid = reader.memory, reader.tail.broken, reader.writer_pid
        found.dating.restore(found.memory.folds.get("dating", "[]").encode())
        found.refused = refused.read(found.memory.folds.get("refused", "{}").encode())
        found.now = Clock(wanted.clock.source, memory=found.dating).stamp()
        _, found.journal_bytes = reader.count()
        since_ms = found.now.utc_ms - DAY_MS
        for to_ms, lines in reader.blocks(until_s, found.walk, all_since_ms=since_ms, else_with=TELLING):
            recent = to_ms >= since_ms
            for record in decoded(lines if recent else filter(_tells, lines)):
                body = record.body
                found.last_seq = max(found.last_seq, record.seq)
                if type(body) is Reading:
                    _note_reading(found, body)
                elif type(body) is Event:
                    _note(found, body, newest=to_ms == NOW_MS, recent=recent and body.at.utc_ms >= since_ms)
        found.pages = reader.quick_check(until_s + 2.0)
    except Unreadable as e:
        found.trouble = one_line(e)
        found.remedy = said("nothing to do: at its next start the station sets the file aside")
    finally:
        reader.close()


def _tells(line: bytes) -> bool:
    return any(word in line for word in TELLING)


def _newer(at: Stamp, than: Stamp | None) -> bool:
    if than is None:
        return True
    return at.mono_ms > than.mono_ms if at.boot == than.boot else at.utc_ms > than.utc_ms


def _note_reading(found: Evidence, reading: Reading) -> None:
    if _newer(reading.at, found.last_at.get(reading.sensor)):
        found.last_at[reading.sensor] = reading.at


def _note(found: Evidence, event: Event, *, newest: bool, recent: bool) -> None:
    """Take note of an event. Blocks come newest first, and within a block the newest last."""
    detail, what = event.detail, event.what
    key = str(detail.get("sensor" if what == "sensor" else "sink", ""))
    if what == "sensor":
        known = found.states.get(key)
        if known is None or _newer(event.at, known["at"]):
            found.states[key] = {**detail, "at": event.at}
    elif what == "modem":
        name = str(detail.get("modem", "modem"))
        if name not in found.modems or _newer(event.at, found.modems[name]["at"]):
            found.modems[name] = {**detail, "at": event.at}
    elif what == "warming_up":
        sensor = str(detail.get("sensor", ""))
        if sensor not in found.warming or _newer(event.at, found.warming[sensor].at):
            found.warming[sensor] = event
    elif what in ("sink_down", "sink_up"):
        if key not in found.sinks or _newer(event.at, found.sinks[key].at):
            found.sinks[key] = event
    elif what == "clock_told":
        if found.told is None or _newer(event.at, found.told.at):
            found.told = event
    elif what == "loss":
        found.losses.append(event)
    elif what == "journal_unreadable":
        found.unreadable.append(event)
    if recent:
        found.day[what] += 1
        if what == "gap":
            why = str(detail.get("why", ""))
            found.gaps.setdefault(str(detail.get("sensor")), Counter())[why] += detail.get("slots") or 1


# ── findings ────────────────────────────────────────────────────────────────────────────────────


def _runs(e: Evidence) -> Finding:
    if e.pid is not None:
        return Finding("service", "", "ok", said("runs (process {pid})", pid=e.pid))
    remedy = said("sudo systemctl start suuaba, or suuaba run STATION.toml")
    text = said("does not run: nothing is read, no alarm is sent")
    return Finding("service", "", "warning", text, remedy)


def _whole(e: Evidence) -> list[Finding]:
    if e.trouble:
        return [Finding("journal", "", "failure", said("cannot be read: {why}", why=e.trouble), e.remedy)]
    found = []
    aside = said("the rest is sound; copy what you need (suuaba export), and watch or replace the card")
    found += [Finding("journal", "", "failure", one_line(line), aside) for line in e.walk.wrong[:5]]
    if len(e.walk.wrong) > 5:
        more = said("{count} more such blocks", count=len(e.walk.wrong) - 5)
        found.append(Finding("journal", "", "failure", more, aside))
    found += [
        Finding("journal", "", "failure", said("SQLite: {why}", why=one_line(line)), aside)
        for line in e.pages or ()
    ]
    if e.torn and e.pid is None:
        text = said("the tail is torn: the last write was cut off")
        remedy = said("nothing to do: the next start cuts it off and says what may be missing")
        found.append(Finding("journal", "", "warning", text, remedy))
    if not found:
        text = said("whole: all {blocks} blocks and the tail have right checksums", blocks=e.walk.blocks)
        if not e.walk.whole:
            text = said(
                "whole: the newest {read} of {blocks} blocks and the tail have right checksums",
                read=e.walk.read, blocks=e.walk.blocks,
            )  # fmt: skip
        if e.pages is None:
            text = said("{whole}; the pages were not looked at to the end", whole=text)
        found.append(Finding("journal", "", "ok", text))
    return found


def _size(wanted: config.Station, e: Evidence) -> Finding:
    limit = wanted.journal.limit_bytes
    sizes = {"size": megabytes(e.journal_bytes), "limit": megabytes(limit)}
    if e.journal_bytes > NEARLY_FULL * limit:
        text = said("{size} of {limit}: the oldest records go to make room", **sizes)
        remedy = said("write [journal] limit larger, or keep shorter")
        return Finding("journal", "size", "warning", text, remedy)
    return Finding("journal", "size", "ok", said("{size} of {limit}", **sizes))


def _aside(e: Evidence) -> list[Finding]:
    if not e.aside:
        return []
    names = ", ".join(file.name for file in e.aside[-3:])
    text = said("a journal could not be read and was set aside: {names}", names=names)
    if e.unreadable:
        text = said("{aside} (last {when})", aside=text, when=_when(e.unreadable[0]))
    remedy = said("copy it to another machine if its readings matter (sqlite3 .recover), then delete it")
    return [Finding("journal", "set aside", "warning", text, remedy)]


def _losses(e: Evidence) -> list[Finding]:
    if not e.losses:
        text = said("none on record")
        if not e.walk.whole and e.walk.oldest_ms is not None:
            text = said("none on record since {date}", date=_date(e.walk.oldest_ms))
        return [Finding("journal", "losses", "ok", text)]
    found = []
    for event in e.losses[:LOSSES_SHOWN]:
        detail = event.detail
        span = said("{records} records", records=detail.get("records", "?"))
        if "from_seq" in detail:
            span = said("records {first} to {last}", first=detail["from_seq"], last=detail["to_seq"])
        about = {"when": _when(event), "records": span, "why": one_line(detail.get("why", ""))}
        text = said("{when}: {records} are lost: {why}", **about)
        if detail.get("at_most"):
            text = said("{when}: {records} may be missing: {why}", **about)
        found.append(Finding("journal", "losses", "warning", text, _against(str(detail.get("why", "")))))
    if len(e.losses) > LOSSES_SHOWN:
        text = said("{count} more before", count=len(e.losses) - LOSSES_SHOWN)
        found.append(Finding("journal", "losses", "warning", text, said("suuaba export has the events")))
    return found


def _against(why: str) -> Said:
    if "power" in why:
        return said("a steadier supply; [journal] sync says how much a power cut may cost")
    if "limit" in why:
        return said("mend the sink that is behind, or write [journal] limit larger")
    if "retention" in why:
        return said("lengthen the database's retention policy")
    return said("look at the disk: dmesg | tail")


def _refused(wanted: config.Station, e: Evidence) -> list[Finding]:
    found = []
    for sink, of in sorted(e.refused.items()):
        count = len(of.reasons) + of.beyond
        for seq, reason in sorted(of.reasons.items())[:REFUSED_SHOWN]:
            text = said("record {seq} is refused by {sink}: {why}", seq=seq, sink=sink, why=one_line(reason))
            found.append(Finding("refused", sink, "warning", text))
        if count:
            command = f"suuaba retry {wanted.file.name} {sink}"
            remedy = said("mend the cause, then: {command}", command=command)
            text = said("{count} records in all are set aside", count=count)
            found.append(Finding("refused", sink, "warning", text, remedy))
    return found or [Finding("refused", "", "ok", said("no record is refused"))]


def _sinks(wanted: config.Station, e: Evidence) -> list[Finding]:
    found = []
    for name in [n for n in ("mqtt", "influxdb") if getattr(wanted, n) is not None]:
        cursors = [
            seq
            for of, seq in e.memory.cursors.items()
            if of.partition("/")[0] == name and not of.endswith("/end")
        ]
        if not cursors:
            continue
        behind, event = max(e.last_seq - min(cursors), 0), e.sinks.get(name)
        if event is not None and event.what == "sink_down":
            why = one_line(event.detail.get("why", ""))
            text = said(
                "away since {when}: {why}; {count} records wait", when=_when(event), why=why, count=behind
            )
            remedy = said("see the broker's or database's lines here")
            found.append(Finding("sink", name, "warning", text, remedy))
        else:
            text = said("delivers; {count} records wait", count=behind)
            found.append(Finding("sink", name, "ok", text))
    return found


def _last_day(e: Evidence) -> list[Finding]:
    found = []
    for sensor, reasons in sorted(e.gaps.items()):
        slots = ", ".join(f"{slots} × {why}" for why, slots in reasons.most_common(3))
        text = said("gaps, in slots: {slots}", slots=slots)
        found.append(Finding("last day", sensor, "warning", text, said("see the port and the sensor here")))
    starts = e.day["started"]
    if starts > 3:
        text = said("the station started {count} times", count=starts)
        found.append(Finding("last day", "", "warning", text, said("journalctl -u suuaba says why it ended")))
    found += [
        Finding("last day", "", "warning", f"{e.day[what]} × {what}", said("see the clock's line here"))
        for what in ("clock_step", "clock_doubted")
        if e.day[what]
    ]
    return found or [Finding("last day", "", "ok", said("no gap, no restart that was not wanted"))]


def _when(event: Event) -> Said:
    date = _date(event.at.utc_ms)
    return said("{date}", date=date) if event.at.synced else said("{date} (unsure)", date=date)


def _date(utc_ms: int) -> str:
    try:
        return datetime.fromtimestamp(utc_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{utc_ms} ms"


def megabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
