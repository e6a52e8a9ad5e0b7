"""The journal as charts and logs need it: by time, per series, from minutes to a year.

    journal.db ──block──► Chapter (arrays per series, events)  ──► the newest days, reading by reading
                              └─ every half hour ─► history.db  ──► what is older: half hours and events

`history.db` stands beside the journal and is made from it alone: deleted, it is made again. A half hour is
added exactly once: the sums and the number of the last block that is in them are one transaction. Written
twice an hour, a page per series: some megabytes a day on the card, not a flush per reading.

The journal's file is opened read-only and every block is a question of its own, so the writer is never held
(sqlite.org/wal.html: readers do not block the writer; only a long transaction would let the log grow).

A flag that came one reading later (Event "flagged", gateway.qc_spike) is put where it belongs; therefore the
newest block waits for the next one. FAIL and MISSING values are counted, and are in no mean.

Everything here blocks on the disk: it runs in a thread of the page's own.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import zlib
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.journal_history_sums import BUCKET_MS, Bucket, Point, sum_up
from gateway.journal_tail import private
from gateway.model import Event, Reading, Record, Stamp

SCHEMA = """
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, sensor TEXT, quantity TEXT, UNIQUE (sensor,
quantity)); CREATE TABLE IF NOT EXISTS bucket (
    series INTEGER, start_ms INTEGER, used INTEGER, sum REAL, low REAL, high REAL, failed INTEGER, worst
    INTEGER, PRIMARY KEY (series, start_ms)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS note (seq INTEGER PRIMARY KEY, at_ms INTEGER, what TEXT, detail TEXT);
CREATE INDEX IF NOT EXISTS note_time ON note (at_ms);
CREATE TABLE IF NOT EXISTS done (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER);
"""
VERSION = 1
POINTS_KEPT = 400_000
"""Points of recent blocks kept in memory, 25 bytes each."""
BLOCKS_AT_ONCE = 12
SLACK_MS = 3_600_000
"""Blocks are looked for by the time they were written with; clocks are set."""
NOT_NOTED = frozenset({"missed", "flagged", "answer"})
"""Events that are too many, and of use to nobody later."""
LEDGER_DAYS = 45
DAY_MS = 86_400_000

_record = msgspec.json.Decoder(Record)


@dataclass(slots=True)
class Series:
    """One quantity of one sensor within a block."""

    t: array[float] = field(default_factory=lambda: array("d"))
    value: array[float] = field(default_factory=lambda: array("d"))
    flag: bytearray = field(default_factory=bytearray)
    seq: array[int] = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class Chapter:
    """What a block, or the records behind the last one, says."""

    last_seq: int = 0
    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    notes: list[tuple[int, int, str, dict[str, Any]]] = field(default_factory=list)
    flagged: list[tuple[str, str, int, int]] = field(default_factory=list)
    """Sensor, quantity, seq of the reading, the worse flag."""
    points: int = 0


class History:
    """Opened with the first question; `close` at the end. `dated` gives the true time of a stamp. Every
    method but `chapter_of` blocks on the disk, and raises OSError when that cannot be read.
    """

    def __init__(self, folder: Path, dated: Callable[[Stamp], int]) -> None:
        self._folder = folder
        self._dated = dated
        self._lock = threading.Lock()
        self._journal: sqlite3.Connection | None = None
        self._own: sqlite3.Connection | None = None
        self._chapters: OrderedDict[int, Chapter] = OrderedDict()
        self._points = 0

    def settled_seq(self) -> int:
        """The last record that stands in a block."""
        with self._disk():
            row = self._blocks().execute("SELECT max(last_seq) FROM block").fetchone()
        return int(row[0] or 0)

    def chapter_of(self, records: Iterable[Record]) -> Chapter:
        """Records that are in no block yet, in the same form."""
        chapter = Chapter()
        for record in records:
            self._add(chapter, record)
        return chapter

    def points(
        self, sensor: str, quantity: str, from_ms: int, to_ms: int, tail: Chapter, *, most_blocks: int = 700
    ) -> tuple[list[Point], bool]:
        """Every reading of the range, oldest first, and whether all of it could be looked at."""
        with self._disk():
            rows = (
                self._blocks()
                .execute(
                    "SELECT first_seq FROM block WHERE to_ms >= ? AND from_ms <= ?"
                    " ORDER BY first_seq DESC LIMIT ?",
                    (from_ms - SLACK_MS, to_ms + SLACK_MS, most_blocks + 1),
                )
                .fetchall()
            )
            chapters = [c for row in reversed(rows[:most_blocks]) if (c := self._chapter(row[0])) is not None]
        seen_seq = max((c.last_seq for c in chapters), default=0)
        found = _gather([*chapters, tail], (sensor, quantity), from_ms, to_ms, seen_seq)
        return found, len(rows) <= most_blocks

    def buckets(
        self, sensor: str, quantity: str, from_ms: int, to_ms: int, tail: Chapter
    ) -> tuple[list[Bucket], bool]:
        """The half hours of the range, and whether all of it is summed up by now."""
        first_ms = from_ms - from_ms % BUCKET_MS
        with self._disk():
            own = self._open_own()
            done_seq = _done(own)
            rows = own.execute(
                "SELECT start_ms, used, sum, low, high, failed, worst FROM bucket JOIN series ON series = id"
                " WHERE sensor = ? AND quantity = ? AND start_ms >= ? AND start_ms < ? ORDER BY start_ms",
                (sensor, quantity, first_ms, to_ms),
            ).fetchall()
            newer = self._blocks().execute(
                "SELECT first_seq FROM block WHERE last_seq > ? ORDER BY first_seq LIMIT ?",
                (done_seq, 2 * BLOCKS_AT_ONCE),
            )
            chapters = [c for row in newer.fetchall() if (c := self._chapter(row[0])) is not None]
            settled = self._blocks().execute("SELECT max(last_seq) FROM block").fetchone()[0] or 0
        seen_seq = max((c.last_seq for c in chapters), default=done_seq)
        new = sum_up(_gather([*chapters, tail], (sensor, quantity), first_ms, to_ms, seen_seq))
        merged = {row[0]: Bucket(*row) for row in rows}
        for start_ms, bucket in new.items():
            merged[start_ms] = merged[start_ms].plus(bucket) if start_ms in merged else bucket
        return [merged[at] for at in sorted(merged)], seen_seq >= settled

    def notes(
        self,
        tail: Chapter,
        *,
        what: Sequence[str] = (),
        from_ms: int = 0,
        to_ms: int = 1 << 60,
        before_seq: int = 1 << 60,
        limit: int = 200,
    ) -> list[tuple[int, int, str, dict[str, Any]]]:
        """Events, newest first: seq, time, what, detail."""
        chosen = f",{','.join(what)}," if what else ""
        with self._disk():
            own = self._open_own()
            done_seq = _done(own)
            rows = own.execute(
                "SELECT seq, at_ms, what, detail FROM note WHERE seq < ? AND at_ms >= ? AND at_ms < ?"
                " AND (? = '' OR instr(?, ',' || what || ',')) ORDER BY seq DESC LIMIT ?",
                (before_seq, from_ms, to_ms, chosen, chosen, limit),
            ).fetchall()
            newer = self._blocks().execute(
                "SELECT first_seq FROM block WHERE last_seq > ? ORDER BY first_seq DESC LIMIT ?",
                (done_seq, 4 * BLOCKS_AT_ONCE),
            )
            chapters = [c for row in newer.fetchall() if (c := self._chapter(row[0])) is not None]
        found = {seq: (seq, at, name, msgspec.json.decode(detail)) for seq, at, name, detail in rows}
        for chapter in [*chapters, tail]:
            for note in chapter.notes:
                seq, at_ms, name, _ = note
                if done_seq < seq < before_seq and from_ms <= at_ms < to_ms and (not what or name in what):
                    found[seq] = note
        return [found[seq] for seq in sorted(found, reverse=True)[:limit]]

    def roll(self) -> bool:
        """Sum up some more of the settled blocks. Whether there is more to do. Raises OSError: no room."""
        with self._disk():
            own = self._open_own()
            done_seq = _done(own)
            rows = self._blocks().execute(
                "SELECT first_seq FROM block WHERE last_seq > ? ORDER BY first_seq LIMIT ?",
                (done_seq, BLOCKS_AT_ONCE + 1),
            )
            blocks = [row[0] for row in rows.fetchall()]
            if len(blocks) < 2:
                return False
            chapters = [self._chapter(first) or Chapter() for first in blocks]
            worse = {(s, q, seq): flag for c in chapters for s, q, seq, flag in c.flagged}
            try:
                own.execute("BEGIN IMMEDIATE")
                for chapter in chapters[:-1]:
                    _keep(own, chapter, worse)
                last = max(c.last_seq for c in chapters[:-1]) or blocks[-1] - 1
                own.execute("INSERT OR REPLACE INTO done VALUES (1, ?)", (last,))
                self._forget(own)
                own.execute("COMMIT")
            except sqlite3.Error as e:
                with contextlib.suppress(sqlite3.Error):
                    own.execute("ROLLBACK")
                raise OSError(0, f"history.db: {e}") from e
        return len(blocks) > BLOCKS_AT_ONCE

    def close(self) -> None:
        with self._disk():
            for db in (self._journal, self._own):
                if db is not None:
                    db.close()
            self._journal = self._own = None
            self._chapters.clear()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """One question at a time. Raises OSError for whatever SQLite meets: a chart may fail, no more."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as e:
                raise OSError(0, f"the history cannot be read: {e}") from e

    def _blocks(self) -> sqlite3.Connection:
        if self._journal is None:
            path = quote(str(self._folder.absolute() / "journal.db"))
            self._journal = sqlite3.connect(
                f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=5, check_same_thread=False
            )
        return self._journal

    def _open_own(self) -> sqlite3.Connection:
        if self._own is None:
            path = self._folder / "history.db"
            for attempt in (1, 2):
                private(path)
                db = sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)
                try:
                    db.execute("PRAGMA journal_mode = WAL")
                    db.execute(
                        "PRAGMA synchronous = NORMAL"
                    )  # a power cut may take sums: they are made again
                    if db.execute("PRAGMA user_version").fetchone()[0] not in (0, VERSION):
                        raise sqlite3.DatabaseError("of another version")
                    db.executescript(SCHEMA + f"PRAGMA user_version = {VERSION};")
                    newest = self._blocks().execute("SELECT max(last_seq) FROM block").fetchone()[0] or 0
                    if _done(db) > newest:  # of another journal
                        raise sqlite3.DatabaseError("of another journal")
                except sqlite3.DatabaseError:
                    db.close()
                    if attempt == 2:
                        raise
                    for suffix in ("", "-wal", "-shm"):
                        path.with_name(path.name + suffix).unlink(missing_ok=True)
                else:
                    self._own = db
                    break
        assert self._own is not None  # nosec B101  # noqa: S101  for the type checker: the loop raised or broke
        return self._own

    def _chapter(self, first_seq: int) -> Chapter | None:
        chapter = self._chapters.get(first_seq)
        if chapter is not None:
            self._chapters.move_to_end(first_seq)
            return chapter
        row = (
            self._blocks()
            .execute("SELECT body, last_seq FROM block WHERE first_seq = ?", (first_seq,))
            .fetchone()
        )
        if row is None:
            return None
        chapter = Chapter()
        with contextlib.suppress(zlib.error, TypeError):  # the journal says so itself: Event "loss"
            for line in zlib.decompress(row[0], -15).splitlines():
                if line.startswith(b"["):
                    with contextlib.suppress(msgspec.DecodeError):
                        self._add(chapter, _record.decode(line))
        chapter.last_seq = row[1]
        self._chapters[first_seq] = chapter
        self._points += chapter.points
        while self._points > POINTS_KEPT and len(self._chapters) > 1:
            self._points -= self._chapters.popitem(last=False)[1].points
        return chapter

    def _add(self, chapter: Chapter, record: Record) -> None:
        body = record.body
        chapter.last_seq = record.seq
        if type(body) is Reading:
            t = body.at.utc_ms if body.at.synced else self._dated(body.at)
            for quantity, value in body.values.items():
                key = (body.sensor, quantity)
                series = chapter.series.get(key)
                if series is None:
                    series = chapter.series[key] = Series()
                series.t.append(t)
                series.value.append(value.value)
                series.flag.append(value.flag)
                series.seq.append(record.seq)
                chapter.points += 1
        elif type(body) is Event:
            detail = body.detail
            if body.what == "flagged":
                seq, flag = detail.get("seq"), detail.get("flag")
                if isinstance(seq, int) and isinstance(flag, int):
                    chapter.flagged.append(
                        (str(detail.get("sensor")), str(detail.get("quantity")), seq, flag)
                    )
            elif body.what not in NOT_NOTED:
                t = body.at.utc_ms if body.at.synced else self._dated(body.at)
                chapter.notes.append((record.seq, t, body.what, detail))

    def _forget(self, own: sqlite3.Connection) -> None:
        """What the journal no longer has."""
        oldest = self._blocks().execute("SELECT min(from_ms), max(to_ms) FROM block").fetchone()
        if oldest[0] is None:
            return
        own.execute("DELETE FROM bucket WHERE start_ms < ?", (oldest[0] - DAY_MS,))
        own.execute("DELETE FROM note WHERE at_ms < ?", (oldest[0] - DAY_MS,))
        own.execute(
            "DELETE FROM note WHERE what = 'ledger' AND at_ms < ?", (oldest[1] - LEDGER_DAYS * DAY_MS,)
        )


def _gather(
    chapters: Sequence[Chapter], key: tuple[str, str], from_ms: int, to_ms: int, seen_seq: int
) -> list[Point]:
    """The points of one series from several chapters; of the last, which is the tail, only what no block
    has."""
    worse = {seq: flag for c in chapters for s, q, seq, flag in c.flagged if (s, q) == key}
    found: list[Point] = []
    for i, chapter in enumerate(chapters):
        series = chapter.series.get(key)
        if series is None:
            continue
        begin = bisect_left(series.seq, seen_seq + 1) if i == len(chapters) - 1 else 0
        for t, value, flag, seq in zip(
            series.t[begin:], series.value[begin:], series.flag[begin:], series.seq[begin:], strict=True
        ):
            if from_ms <= t < to_ms:
                found.append((int(t), value, max(flag, worse.get(seq, 0)) if worse else flag))
    found.sort()
    return found


def _keep(own: sqlite3.Connection, chapter: Chapter, worse: dict[tuple[str, str, int], int]) -> None:
    for (sensor, quantity), series in chapter.series.items():
        points = [
            (int(t), value, max(flag, worse.get((sensor, quantity, seq), 0)))
            for t, value, flag, seq in zip(series.t, series.value, series.flag, series.seq, strict=True)
        ]
        own.execute("INSERT OR IGNORE INTO series (sensor, quantity) VALUES (?, ?)", (sensor, quantity))
        found = own.execute(
            "SELECT id FROM series WHERE sensor = ? AND quantity = ?", (sensor, quantity)
        ).fetchone()
        own.executemany(
            "INSERT INTO bucket VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " used = used + excluded.used, sum = sum + excluded.sum,"
            " low = min(coalesce(low, excluded.low), coalesce(excluded.low, low)),"
            " high = max(coalesce(high, excluded.high), coalesce(excluded.high, high)),"
            " failed = failed + excluded.failed, worst = max(worst, excluded.worst)",
            [
                (found[0], b.start_ms, b.used, b.total, b.low, b.high, b.failed, b.worst)
                for b in sum_up(points).values()
            ],
        )
    own.executemany(
        "INSERT OR IGNORE INTO note VALUES (?, ?, ?, ?)",
        [(seq, at, what, msgspec.json.encode(detail).decode()) for seq, at, what, detail in chapter.notes],
    )


def _done(own: sqlite3.Connection) -> int:
    row = own.execute("SELECT seq FROM done").fetchone()
    return int(row[0]) if row else 0
