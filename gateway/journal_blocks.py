"""Reads a journal without touching it: a copy, or that of the running service. The one door for whoever
looks back: verify, export, the report.

    reader = Reader(folder)                     # or the journal.db of a copy
    for block in reader.blocks():               # one at a time, oldest first; none is held
        for line in block.lines(): …            # [seq, {…}] as JSON

Each block is a question of its own to SQLite, so the service is never held up, and what it adds or forgets
meanwhile does no harm. Everything blocks on the disk.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.errors import JournalError
from gateway.journal_block import Block, Unreadable, block_of
from gateway.journal_block import block_crc as crc_of
from gateway.journal_store import COLUMNS, VERSION, Memory
from gateway.journal_tail import Tail, read_tail

MANY = 16
"""Blocks fetched at a time: some hundred KB."""
NEW_COLUMNS = ("after_seq", "number", "previous", "public", "signature", "crc")
"""What older versions do not have."""


class Anchor(msgspec.Struct):
    """Where a chain begins that does not begin with its first block, signed by the station."""

    block: int
    previous: str
    why: str
    public: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """What a block covers, without its body."""

    first_seq: int
    last_seq: int
    from_ms: int
    to_ms: int


class Reader:
    """Open until `close`. Raises JournalError when there is no journal, or none that can be read."""

    def __init__(self, path: Path) -> None:
        file = path / "journal.db" if path.is_dir() else path
        self.folder = file.parent
        self.file = file
        if not file.is_file():
            raise JournalError(f"{path}: there is no journal here (journal.db)")
        try:
            self._db = self._open()
        except sqlite3.Error as e:
            raise JournalError(f"{file}: {e}") from e

    def _open(self) -> sqlite3.Connection:
        try:
            return self._try("mode=ro")
        except sqlite3.OperationalError:  # a folder that takes no -shm, as on a read-only disk
            wal = self.file.with_name(self.file.name + "-wal")
            if wal.exists() and wal.stat().st_size > 0:
                raise
            return self._try("immutable=1")

    def _try(self, how: str) -> sqlite3.Connection:
        where = f"file:{quote(str(self.file.absolute()))}?{how}"
        db = sqlite3.connect(where, uri=True, isolation_level=None, timeout=10)
        try:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            if not 1 <= version <= VERSION:
                raise JournalError(f"{self.file}: of version {version}; this suuaba reads up to {VERSION}")
            there = {str(row[1]) for row in db.execute("PRAGMA table_info(block)")}
        except BaseException:
            db.close()
            raise
        columns = f"{COLUMNS}, crc"
        for name in NEW_COLUMNS:
            if name not in there:
                columns = columns.replace(name, "NULL")
        self._sql = f"SELECT {columns} FROM block WHERE first_seq > ? ORDER BY first_seq LIMIT ?"  # noqa: S608  our own words
        return db

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, after_seq: int = 0) -> Iterator[tuple[int, Block | Unreadable, bool]]:
        """Every block that begins beyond this number, with its first seq, or why it cannot be read; and
        whether its own checksum is right. A file that cannot be read on from somewhere ends with the number
        -1.
        """
        at, many = after_seq, MANY
        while True:
            try:
                rows = self._db.execute(self._sql, (at, many)).fetchall()
            except sqlite3.Error as e:
                if many > 1:  # what can be read before the bad place
                    many = 1
                    continue
                yield -1, Unreadable(str(e)), False
                return
            if not rows:
                return
            for row in rows:
                if not isinstance(row[0], int) or row[0] <= at:
                    yield -1, Unreadable("blocks without order"), False
                    return
                at = row[0]
                try:
                    found = block_of(row, trusted=False)
                except Unreadable as e:
                    yield at, e, False
                else:
                    yield at, found, row[11] in (None, crc_of(found))

    def blocks(self, after_seq: int = 0) -> Iterator[Block]:
        """The blocks that can be read, and that begin beyond this number."""
        for _, block, sound in self.rows(after_seq):
            if isinstance(block, Block) and sound:
                yield block

    def places(self) -> Iterator[Place]:
        """What each block covers, oldest first. Raises JournalError."""
        at = 0
        while True:
            sql = "SELECT first_seq, last_seq, from_ms, to_ms FROM block WHERE first_seq > ?"
            try:
                rows = self._db.execute(f"{sql} ORDER BY first_seq LIMIT 1000", (at,)).fetchall()
            except sqlite3.Error as e:
                raise JournalError(f"{self.file}: {e}") from e
            if not rows:
                return
            for row in rows:
                if all(isinstance(value, int) for value in row):
                    yield Place(*row)
                    at = max(at, row[0])

    def count(self) -> tuple[int, int]:
        """How many blocks and how many bytes of bodies there are, about. Raises JournalError."""
        try:
            blocks = int(self._db.execute("SELECT count(*) FROM block").fetchone()[0])
        except sqlite3.Error as e:
            raise JournalError(f"{self.file}: {e}") from e
        return blocks, self.file.stat().st_size

    def misnumbered(self) -> list[tuple[int, int]]:
        """First and last seq of rows no journal writes, for numbers begin at 1; a hundred at most. `rows`
        does not give them; it says what cannot be read.
        """
        sql = "SELECT first_seq, last_seq FROM block WHERE first_seq < 1 ORDER BY first_seq LIMIT 100"
        try:
            return self._db.execute(sql).fetchall()
        except sqlite3.Error:
            return []

    def memory(self) -> Memory | None:
        """What was remembered with the newest block; None when it cannot be read."""
        text = self._state("memory")
        if text is None:
            return None
        plain, _, crc = text.rpartition(b" ")
        if crc == b"%08x" % zlib.crc32(plain):
            text = plain
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(text, type=Memory)
        return None

    def forgotten_seq(self) -> int:
        """Up to here blocks were removed by retention."""
        value: Any = self._state("forgotten")
        return value if isinstance(value, int) else 0

    def anchor(self) -> Anchor | None:
        """Where the chain begins, when its start was forgotten; None when nothing says so."""
        text = self._state("anchor")
        with contextlib.suppress(msgspec.DecodeError):
            return None if text is None else msgspec.json.decode(text, type=Anchor)
        return None

    def tail(self) -> Tail:
        """The newest records, which stand in no block yet: nothing where there is no tail, or SQLite has it
        all. Raises JournalError.
        """
        try:
            tail = read_tail(self.folder / "tail")
        except OSError as e:
            raise JournalError(f"{self.folder / 'tail'}: {e.strerror}") from e
        memory = self.memory()
        if memory is not None and tail.generation <= memory.generation:
            return Tail(tail.generation, broken=tail.broken)
        return tail

    def newest(self) -> list[bytes]:
        """The records that stand in no block yet, as lines. Raises JournalError."""
        return [line for line in self.tail().lines if line.startswith(b"[")]

    def _state(self, key: str) -> Any:
        try:
            row = self._db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error:
            return None
        return None if row is None else row[0]
