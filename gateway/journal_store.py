"""The journal's body: a SQLite file of compressed blocks, a few hundred a day. The one door to SQL.

A block holds some minutes of records as a raw deflate stream of text lines (see gateway.journal_tail), so
anyone can read it with a few lines of any language. Everything here blocks on the disk and runs in the
journal's own thread.

Three kinds of trouble: the disk takes nothing at present (OSError: keep the records, try again); one block
cannot be read (Unreadable: go on with the next); the file is damaged (a file beside it, `journal.db-broken`,
has it set aside at the next start, and a new one is begun).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import JournalError
from gateway.journal_block import Block as Block
from gateway.journal_block import Span as Span
from gateway.journal_block import Unreadable as Unreadable
from gateway.journal_block import block_crc, block_of
from gateway.journal_chain import Signer, anchor_text
from gateway.journal_tail import private

SCHEMA = """
CREATE TABLE IF NOT EXISTS block (
    first_seq INTEGER PRIMARY KEY,
    last_seq  INTEGER NOT NULL,
    from_ms   INTEGER NOT NULL,     -- utc of its first and last record, as dated when written
    to_ms     INTEGER NOT NULL,
    records   INTEGER NOT NULL,
    body      BLOB NOT NULL,        -- raw deflate of text lines
    after_seq INTEGER,              -- where the block before ended: so a block that vanishes is missed
    crc       INTEGER,              -- for SQLite has none; both are NULL before version 2
    number    INTEGER,              -- the evidence chain (gateway.journal_chain); NULL before version 3
    previous  BLOB,
    public    BLOB,
    signature BLOB
);
CREATE INDEX IF NOT EXISTS block_time ON block (to_ms);
CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB NOT NULL);
"""
VERSION = 3
COLUMNS = "first_seq, last_seq, from_ms, to_ms, records, body, after_seq, number, previous, public, signature"
"""Of a block, in the order of `Block`; behind them stands crc."""
CHECKPOINT_PAGES = 64
"""A small WAL, overwritten in place."""
_TAKES_NOTHING = (
    "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_BUSY", "SQLITE_LOCKED",
    "SQLITE_IOERR_WRITE", "SQLITE_IOERR_TRUNCATE", "SQLITE_IOERR_SHM",
)  # fmt: skip
_NOT_THE_FILE = (*_TAKES_NOTHING, "SQLITE_PERM", "SQLITE_AUTH", "SQLITE_NOMEM", "SQLITE_IOERR")
_YET_THE_FILE = (
    "SQLITE_IOERR_READ",
    "SQLITE_IOERR_SHORT_READ",
    "SQLITE_IOERR_CORRUPTFS",
    "SQLITE_IOERR_DATA",
)


class Memory(msgspec.Struct):
    """What the journal remembers beside its records, as of its newest block."""

    generation: int = 0
    last_seq: int = 0
    reserved: int = 0
    boot: str = ""
    closed: bool = False
    cursors: dict[str, int] = {}
    folds: dict[str, str] = {}
    block: int = 0
    """How many blocks the evidence chain has, also those that are forgotten."""
    link: str = ""
    """Of the last of them, in hex digits; empty: none."""


class Store:
    """The SQLite file. Raises JournalError when it cannot be opened or written, and a new one neither."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set_aside: Path | None = None
        """Where a file that could not be read was moved, or None."""
        self.forgotten_seq = 0
        """Up to here blocks were removed."""
        self.memory = Memory()
        """What was remembered with the newest block when the file was opened; empty for a new journal."""
        self.signer: Signer | None = None
        self.begun = ""
        """Why the evidence chain begins with the next block, when that is not the first of all."""
        self._broken = path.with_name(path.name + "-broken")
        try:
            if self._broken.exists():
                self._put_aside()
            try:
                self._db = self._open()
            except (sqlite3.Error, msgspec.DecodeError, ValueError) as e:
                if _not_the_file(e, path):
                    raise
                self._put_aside()
                self._db = self._open()
        except (sqlite3.Error, OSError) as e:
            raise JournalError(f"{path}: {e}") from e

    def _open(self) -> sqlite3.Connection:
        private(self.path)
        db = sqlite3.connect(self.path, isolation_level=None, timeout=10, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            db.execute("PRAGMA journal_size_limit = 1048576")
            found = int(db.execute("PRAGMA user_version").fetchone()[0])
            if found == 0:
                db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")
            elif found in (1, 2):
                if found == 1:
                    _to_version_2(db)
                _to_version_3(db)
            elif found != VERSION:
                raise ValueError(f"of version {found}")  # set aside: the station starts, and the file is kept
            _rehearse(db)
            self.memory = _memory(db)
            row = db.execute("SELECT value FROM state WHERE key = 'forgotten'").fetchone()
            self.forgotten_seq = row[0] if row and isinstance(row[0], int) else 0
        except (sqlite3.Error, msgspec.DecodeError, ValueError):
            db.close()
            raise
        return db

    def _put_aside(self) -> None:
        """Move an unreadable file out of the way, keeping it: the station always starts."""
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.unreadable-{number}")).exists():
            number += 1
        for suffix in ("", "-wal", "-shm"):
            beside = self.path.with_name(self.path.name + suffix)
            if beside.exists():
                os.replace(beside, aside.with_name(aside.name + suffix))
        self._broken.unlink(missing_ok=True)
        self.set_aside = aside

    def settle(self, block: Block | None, memory: Memory) -> None:
        """Keep a block and what is remembered with it, both or neither; survives a power cut when it
        returns.

        Raises OSError when the disk takes nothing at present, JournalError otherwise.
        """
        with self._changing():
            if block is not None:
                self._db.execute(
                    f"INSERT OR REPLACE INTO block ({COLUMNS}, crc) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608  our own words only
                    (*astuple(block), block_crc(block)),
                )
                if self.begun:
                    self._anchor(block, self.begun)
            text = msgspec.json.encode(memory)
            checked = b"%s %08x" % (text, zlib.crc32(text))
            self._db.execute("INSERT OR REPLACE INTO state VALUES ('memory', ?)", (checked,))

    def span_after(self, seq: int) -> Span | None:
        """What the first block covers that holds a record beyond `seq`. Raises Unreadable."""
        return self._span(
            "WHERE first_seq >= coalesce((SELECT max(first_seq) FROM block WHERE first_seq <= ?), 0)"
            " AND last_seq > ? ORDER BY first_seq LIMIT 1",
            seq + 1,
            seq,
        )

    def span_behind(self, first_seq: int) -> Span | None:
        """What the block covers that follows the one that begins here. Raises Unreadable."""
        return self._span("WHERE first_seq > ? ORDER BY first_seq LIMIT 1", first_seq)

    def oldest(self) -> Span | None:
        """What the first block covers. Raises Unreadable."""
        return self._span("ORDER BY first_seq LIMIT 1")

    def newest(self) -> Span | None:
        """What the last block covers. Raises Unreadable."""
        return self._span("ORDER BY first_seq DESC LIMIT 1")

    def block(self, first_seq: int) -> Block:
        """The block that begins with this number. Raises Unreadable."""
        sql = f"SELECT {COLUMNS}, crc FROM block WHERE first_seq = ?"  # noqa: S608  our own words only
        try:
            row = self._db.execute(sql, (first_seq,)).fetchone()
        except sqlite3.Error as e:
            raise Unreadable(str(e)) from e
        return block_of(row)

    def forget(self, wanted: Callable[[Span], bool], at_most: int) -> list[Span]:
        """Remove the oldest blocks as long as `wanted` says so; their space is used again. Gives what went.

        Raises OSError when the disk takes nothing at present, JournalError otherwise.
        """
        gone: list[Span] = []
        with self._changing():
            while len(gone) < at_most and (span := self.oldest()) is not None and wanted(span):
                self._db.execute("DELETE FROM block WHERE first_seq = ?", (span.first_seq,))
                gone.append(span)
            if gone:
                self._anchor_first()
                self.forgotten_seq = gone[-1].last_seq
                self._db.execute(
                    "INSERT OR REPLACE INTO state VALUES ('forgotten', ?)", (self.forgotten_seq,)
                )
        return gone

    def used_bytes(self) -> tuple[int, int]:
        """Bytes of the file that hold something, and bytes that are free for what comes."""
        pages, free, size = (
            int(self._one(f"PRAGMA {what}")[0]) for what in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size, free * size

    def check(self) -> list[str]:
        """SQLite's own integrity check: the mistakes found, none when the file is whole. Reads the whole
        file.
        """
        try:
            found = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check(10)")]
        except sqlite3.Error as e:
            return [str(e)]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except (sqlite3.Error, Unreadable) as e:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            if getattr(e, "sqlite_errorname", "").startswith(_TAKES_NOTHING):
                raise OSError(errno.ENOSPC, f"{self.path.name}: {e}") from e
            if not _not_the_file(e, self.path):
                with contextlib.suppress(OSError):
                    self._broken.touch()
            raise JournalError(f"{self.path}: {e}") from e

    def _anchor_first(self) -> None:
        """Sign where the chain begins now that its start is forgotten."""
        first = self._db.execute(
            f"SELECT {COLUMNS} FROM block ORDER BY first_seq LIMIT 1"  # noqa: S608  our own words only
        ).fetchone()
        if first is not None and first[7] is not None:
            self._anchor(Block(*first), "retention")

    def _anchor(self, block: Block, why: str) -> None:
        """Sign that the chain begins with this block, and why."""
        number, previous = (block.number or 1) - 1, block.previous or b""
        public, signature = b"", b""
        if self.signer is not None:
            public = self.signer.public
            signature = self.signer.sign(anchor_text(number, previous, why))
        kept = {"block": number, "previous": previous.hex(), "why": why}
        kept |= {"public": public.hex(), "signature": signature.hex()}
        self._db.execute("INSERT OR REPLACE INTO state VALUES ('anchor', ?)", (msgspec.json.encode(kept),))

    def _span(self, which: str, *values: int) -> Span | None:
        sql = f"SELECT first_seq, last_seq, to_ms FROM block {which}"  # noqa: S608  our own words only
        try:
            row = self._db.execute(sql, values).fetchone()
        except sqlite3.Error as e:
            raise Unreadable(str(e)) from e
        if row is None:
            return None
        if not all(isinstance(value, int) for value in row) or row[0] > row[1]:
            raise Unreadable("a block without its numbers")
        return Span(*row)

    def _one(self, sql: str, *values: int) -> Any:
        try:
            return self._db.execute(sql, values).fetchone()
        except sqlite3.Error as e:
            raise JournalError(f"{self.path}: {e}") from e


def _rehearse(db: sqlite3.Connection) -> None:
    """Add a block, and take it back before anything is written: damage where blocks are added shows now."""
    db.execute("SELECT last_seq, crc FROM block ORDER BY first_seq DESC LIMIT 1").fetchone()
    db.execute("BEGIN")
    last = (1 << 63) - 1
    db.execute(
        "INSERT INTO block (first_seq, last_seq, from_ms, to_ms, records, body, after_seq, crc)"
        " VALUES (?, 0, 0, ?, 0, zeroblob(20000), 0, 0)",
        (last, last),
    )
    db.execute("ROLLBACK")


def _memory(db: sqlite3.Connection) -> Memory:
    row = db.execute("SELECT value FROM state WHERE key = 'memory'").fetchone()
    if row is None:
        return Memory()
    text, _, crc = row[0].rpartition(b" ") if isinstance(row[0], bytes) else (b"", b"", b"")
    if crc != b"%08x" % zlib.crc32(text):
        raise ValueError("what was remembered is damaged")
    return msgspec.json.decode(text, type=Memory)


def _to_version_2(db: sqlite3.Connection) -> None:
    """Blocks and what is remembered get checksums. The old blocks go without."""
    db.execute("BEGIN IMMEDIATE")
    db.execute("ALTER TABLE block ADD after_seq INTEGER")
    db.execute("ALTER TABLE block ADD crc INTEGER")
    for key, text in db.execute("SELECT key, value FROM state").fetchall():
        checked = b"%s %08x" % (text, zlib.crc32(text))
        db.execute("UPDATE state SET value = ? WHERE key = ?", (checked, key))
    db.execute("PRAGMA user_version = 2")
    db.execute("COMMIT")


def _to_version_3(db: sqlite3.Connection) -> None:
    """Blocks get their place in the evidence chain. The old ones stand before its beginning."""
    db.execute("BEGIN IMMEDIATE")
    for column in ("number INTEGER", "previous BLOB", "public BLOB", "signature BLOB"):
        db.execute(f"ALTER TABLE block ADD {column}")
    db.execute("PRAGMA user_version = 3")
    db.execute("COMMIT")


def _not_the_file(e: Exception, path: Path) -> bool:
    """Whether the disk or the system is to blame rather than what the file holds."""
    name = getattr(e, "sqlite_errorname", "")
    if name.startswith("SQLITE_READONLY"):  # SQLite says so too of a file whose header is damaged
        return not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
    return bool(name.startswith(_NOT_THE_FILE) and not name.startswith(_YET_THE_FILE))
