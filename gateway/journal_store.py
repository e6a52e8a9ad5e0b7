"""The journal's body: a SQLite file of compressed blocks, a few hundred a day. The one door to SQL.

A block holds some minutes of records as a raw deflate stream of text lines (see gateway.journal_tail), so
anyone can read it with a few lines of any language. Everything here blocks on the disk and runs in the
journal's own thread.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import JournalError

SCHEMA = """
CREATE TABLE IF NOT EXISTS block (
    first_seq INTEGER PRIMARY KEY,
    last_seq  INTEGER NOT NULL,
    from_ms   INTEGER NOT NULL,     -- utc of its first and last record, as dated when written
    to_ms     INTEGER NOT NULL,
    records   INTEGER NOT NULL,
    body      BLOB NOT NULL         -- raw deflate of text lines
);
CREATE INDEX IF NOT EXISTS block_time ON block (to_ms);
CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB NOT NULL);
"""
VERSION = 1
_TAKES_NOTHING = ("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR_WRITE", "SQLITE_CANTOPEN")


class Memory(msgspec.Struct):
    """What the journal remembers beside its records, as of its newest block."""

    generation: int = 0
    last_seq: int = 0
    reserved: int = 0
    boot: str = ""
    closed: bool = False
    cursors: dict[str, int] = {}
    folds: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Block:
    first_seq: int
    last_seq: int
    from_ms: int
    to_ms: int
    records: int
    body: bytes

    def lines(self) -> list[bytes]:
        """The block's records as lines of JSON; the journal's own notes between them are left out."""
        text = zlib.decompress(self.body, -15)
        return [line for line in text.splitlines() if line.startswith(b"[")]


class Store:
    """The SQLite file. Raises JournalError when it cannot be opened, read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set_aside: Path | None = None
        """Where a file that could not be read was moved, or None."""
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as e:
            if isinstance(e, sqlite3.OperationalError) and "malformed" not in str(e):
                raise JournalError(
                    f"{path}: {e}"
                ) from e  # no space, no permission: the file itself may be good
            self.set_aside = self._put_aside()
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, timeout=10, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA wal_autocheckpoint = 64")  # pages; a small WAL, overwritten in place
            db.execute("PRAGMA journal_size_limit = 1048576")
            db.executescript(SCHEMA)
            found = int(db.execute("PRAGMA user_version").fetchone()[0])
            if found > VERSION:
                raise JournalError(
                    f"{self.path}: written by a newer Suu-Aba (version {found}); this one knows {VERSION}"
                )
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute("SELECT max(last_seq) FROM block").fetchone()
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _put_aside(self) -> Path:
        """Move an unreadable file out of the way, keeping it: the station always starts."""
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.unreadable-{number}")).exists():
            number += 1
        os.replace(self.path, aside)
        for suffix in ("-wal", "-shm"):
            beside = self.path.with_name(self.path.name + suffix)
            if beside.exists():
                os.replace(beside, aside.with_name(aside.name + suffix))
        return aside

    def memory(self) -> Memory:
        """What was remembered with the newest block; empty for a new journal."""
        row = self._one("SELECT value FROM state WHERE key = 'memory'")
        return Memory() if row is None else msgspec.json.decode(row[0], type=Memory)

    def settle(self, block: Block | None, memory: Memory) -> None:
        """Keep a block and what is remembered with it, both or neither; survives a power cut when it
        returns.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if block is not None:
                self._db.execute(
                    "INSERT OR REPLACE INTO block VALUES (?, ?, ?, ?, ?, ?)",
                    (block.first_seq, block.last_seq, block.from_ms, block.to_ms, block.records, block.body),
                )
            self._db.execute(
                "INSERT OR REPLACE INTO state VALUES ('memory', ?)", (msgspec.json.encode(memory),)
            )
            self._db.execute("COMMIT")
        except sqlite3.Error as e:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if getattr(e, "sqlite_errorname", "").startswith(_TAKES_NOTHING):
                raise OSError(errno.ENOSPC, f"{self.path.name}: {e}") from e
            raise JournalError(f"{self.path}: {e}") from e

    def block_after(self, seq: int) -> Block | None:
        """The first block that holds a record beyond `seq`."""
        row = self._one("SELECT * FROM block WHERE last_seq > ? ORDER BY first_seq LIMIT 1", seq)
        return None if row is None else Block(*row)

    def oldest(self) -> Block | None:
        row = self._one("SELECT * FROM block ORDER BY first_seq LIMIT 1")
        return None if row is None else Block(*row)

    def forget(self, block: Block) -> None:
        """Remove one block; its space is used again."""
        try:
            self._db.execute("DELETE FROM block WHERE first_seq = ?", (block.first_seq,))
        except sqlite3.Error as e:
            raise JournalError(f"{self.path}: {e}") from e

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
        self._db.close()

    def _one(self, sql: str, *values: int) -> Any:
        try:
            row = self._db.execute(sql, values).fetchone()
        except sqlite3.Error as e:
            raise JournalError(f"{self.path}: {e}") from e
        return row
