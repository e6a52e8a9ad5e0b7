"""The journal as somebody else reads it: beside the station that writes it, or where none runs.

Nothing is changed and nothing is locked. SQLite's file is opened read-only, and each block is a question of
its own, so that no long transaction keeps the write-ahead log from being reused. Where no process has the
journal and nothing waits in the write-ahead log, SQLite is told that the file is immutable: then it makes no
files beside it either (sqlite.org/uri.html, "immutable"; wal.html, "Read-Only Databases").

Who has the journal is read in /proc/locks (proc(5)): trying the lock would itself lock out a station that is
just starting.

    7: FLOCK  ADVISORY  WRITE 4711 fe:01:131090 0 EOF       kind, pid, device and inode of `lock`
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import msgspec

from gateway.journal_block import Block, Unreadable, block_crc
from gateway.journal_disk import Note
from gateway.journal_store import VERSION, Memory, _memory
from gateway.journal_tail import Tail, read_tail
from gateway.model import Record

BUSY_S = 2.0
NOW_MS = 1 << 62
"""Later than every block."""

_note = msgspec.json.Decoder(Note)
_record = msgspec.json.Decoder(Record)


@dataclass(slots=True)
class Walk:
    """What a walk through the blocks, from the newest to the oldest, has found."""

    blocks: int = 0
    """How many there are."""
    read: int = 0
    wrong: list[str] = field(default_factory=list)
    """One line for each block that cannot be read, and for each that is missing."""
    oldest_ms: int | None = None
    """How far back the walk came."""

    @property
    def whole(self) -> bool:
        """Whether it came to the end."""
        return self.read >= self.blocks


class JournalReader:
    """Open with a folder; `close` in the end. Everything here blocks on the disk. Raises OSError where the
    folder cannot be read, Unreadable where SQLite's file cannot.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer_pid = writer_pid(folder)
        """The process that has the journal open for writing; None where there is none."""
        self.memory = Memory()
        """As SQLite has it, with what the tail says since."""
        # A frame that is just being written is not there yet. Read before SQLite's file, and of use only
        # where that does not have the same records already.
        self.tail = read_tail(folder / "tail")
        self._path = folder / "journal.db"
        self._db: sqlite3.Connection | None = None
        if self._path.exists():
            self._db = self._open()
        self._replay()

    def blocks(
        self,
        until_s: float = math.inf,
        walk: Walk | None = None,
        *,
        all_since_ms: int = 0,
        else_with: Sequence[bytes] = (),
    ) -> Iterator[tuple[int, list[bytes]]]:
        """When a block ends (UTC as dated then) and its records as lines of JSON: first the tail, which has
        no such time yet, then the newest block, and so on. Each is checked against its checksum; what is
        wrong goes into `walk`. Of blocks that ended before `all_since_ms` only the lines that hold one of
        the words `else_with` are given. Stops at `until_s` (time.monotonic). Raises Unreadable.
        """
        walk = walk if walk is not None else Walk()
        yield NOW_MS, [line for line in self.tail.lines if line.startswith(b"[")]
        spans = self._spans()
        walk.blocks = len(spans)
        ended_seq: int | None = None
        for first_seq, last_seq, to_ms in spans:
            if time.monotonic() >= until_s:
                return
            lines: list[bytes] = []
            try:
                block = self._block(first_seq)
                if ended_seq is not None and ended_seq > last_seq:
                    walk.wrong.append(f"a block is missing: records {last_seq + 1} to {ended_seq}")
                if to_ms >= all_since_ms or any(word in block.text() for word in else_with):
                    lines = block.lines()
                ended_seq = block.after_seq
            except Unreadable as e:
                walk.wrong.append(f"the block of records {first_seq} to {last_seq}: {e}")
                ended_seq = None
            walk.read += 1
            walk.oldest_ms = to_ms
            yield to_ms, lines

    def count(self) -> tuple[int, int]:
        """How many blocks there are, and the bytes that SQLite's file takes."""
        used = sum(file.stat().st_size for file in self.folder.glob("journal.db*") if file.is_file())
        return len(self._spans()), used

    def quick_check(self, until_s: float) -> list[str] | None:
        """SQLite's own look at its pages: the mistakes found; None when the time was over before the end."""
        if self._db is None:
            return []
        self._db.set_progress_handler(lambda: int(time.monotonic() >= until_s), 10_000)
        try:
            said = [str(row[0]) for row in self._db.execute("PRAGMA quick_check(5)")]
        except sqlite3.OperationalError as e:
            if getattr(e, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
                return None
            return [str(e)]
        except sqlite3.Error as e:
            return [str(e)]
        finally:
            self._db.set_progress_handler(None, 0)
        return [] if said == ["ok"] else said

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _open(self) -> sqlite3.Connection:
        wal = self._path.with_name("journal.db-wal")
        waits = wal.exists() and wal.stat().st_size > 0
        how = "mode=ro" if waits or self.writer_pid is not None else "immutable=1"
        if not os.access(self._path, os.R_OK):
            raise PermissionError(13, "Permission denied", str(self._path))
        db = None
        try:
            db = sqlite3.connect(
                f"file:{quote(str(self._path))}?{how}", uri=True, timeout=BUSY_S, isolation_level=None,
                check_same_thread=False,
            )  # fmt: skip
            found = int(db.execute("PRAGMA user_version").fetchone()[0])
            if not 1 <= found <= VERSION:
                raise Unreadable(f"it is of version {found}; this program knows {VERSION}")
            self.memory = _memory(db) if found > 1 else Memory()
        except (sqlite3.Error, msgspec.DecodeError, ValueError, Unreadable) as e:
            if db is not None:
                db.close()
            raise Unreadable(str(e)) from e
        return db

    def _replay(self) -> None:
        """What the tail says of cursors and folds, where it is newer than SQLite."""
        memory = self.memory
        if self.tail.generation <= memory.generation:
            self.tail = Tail(self.tail.generation, end=self.tail.end, broken=False)
            return
        for line in self.tail.lines:
            if line.startswith(b"["):
                continue
            with contextlib.suppress(msgspec.DecodeError):
                note = _note.decode(line)
                memory.cursors = note.cursors or memory.cursors
                memory.reserved = max(memory.reserved, note.reserved)
                if note.fold is not None:
                    memory.folds[note.fold[0]] = note.fold[1]

    def _spans(self) -> list[tuple[int, int, int]]:
        if self._db is None:
            return []
        try:
            rows = self._db.execute(
                "SELECT first_seq, last_seq, to_ms FROM block ORDER BY first_seq DESC"
            ).fetchall()
        except sqlite3.Error as e:
            raise Unreadable(str(e)) from e
        return [row for row in rows if all(isinstance(number, int) for number in row)]

    def _block(self, first_seq: int) -> Block:
        if self._db is None:
            raise Unreadable("it is not there")
        try:
            row = self._db.execute("SELECT * FROM block WHERE first_seq = ?", (first_seq,)).fetchone()
        except sqlite3.Error as e:
            raise Unreadable(str(e)) from e
        if row is None:
            raise Unreadable("it is not there")
        if not (isinstance(row[5], bytes) and all(isinstance(number, int) for number in row[:5])):
            raise Unreadable("it holds no block")
        block = Block(*row[:7])
        if len(row) > 7 and row[7] not in (None, block_crc(block)):
            raise Unreadable("its checksum is wrong")
        return block


def writer_pid(folder: Path, locks: Path = Path("/proc/locks")) -> int | None:
    """The process that holds the journal's lock, or None. Never raises."""
    try:
        at = (folder / "lock").stat()
        text = locks.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    inode = f"{os.major(at.st_dev):02x}:{os.minor(at.st_dev):02x}:{at.st_ino}"
    for line in text.splitlines():
        found = re.match(r"\d+: FLOCK\s+ADVISORY\s+WRITE\s+(-?\d+)\s+(\S+)", line)
        if found and found[2] == inode and int(found[1]) > 0:
            return int(found[1])
    return None


def set_aside(folder: Path) -> list[Path]:
    """Files of a journal that could not be read and were kept: the newest last. Raises OSError."""
    found = [*folder.glob("journal.db.unreadable-*"), *folder.glob("tail.unreadable*")]
    return sorted(file for file in found if not file.name.endswith(("-wal", "-shm")))


def decoded(lines: Iterable[bytes]) -> Iterator[Record]:
    """The lines as records; what a newer version wrote is left out."""
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):
            yield _record.decode(line)
