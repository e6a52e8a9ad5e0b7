"""What the journal does on the disk: repair at start, append, settle into SQLite, forget. Synchronous and
blocking.

The journal calls it from one thread, one job at a time. It decides nothing about time or followers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.errors import JournalError
from gateway.journal_store import Block, Memory, Store
from gateway.journal_tail import TailFile, read_tail
from gateway.model import Record

KEEP_FREE_BYTES = 500_000_000
"""What the system needs: with less free on the disk the journal grows no more, it forgets instead."""
SPARE_BYTES = 2_000_000
"""Room inside the SQLite file that is made when it may not grow: what comes goes there."""
FORGET_AT_ONCE = 200
"""Blocks removed in one go at most, so that retention never holds the disk for long."""

_line = msgspec.json.Encoder()
_record = msgspec.json.Decoder(Record)


class Note(msgspec.Struct):
    """A line of the tail that is not a record; see gateway.journal_tail."""

    cursors: dict[str, int] = {}
    fold: tuple[str, str] | None = None
    reserved: int = 0
    boot: str = ""


_note = msgspec.json.Decoder(Note)


class Recovered(msgspec.Struct):
    """What was found at start. `replay` holds the records of the tail, and between them what folds had
    kept.
    """

    memory: Memory
    replay: list[Record | tuple[str, str]]
    next_seq: int
    missing: tuple[int, int] | None = None
    """First and last seq that a power cut may have taken, or None."""
    set_aside: str | None = None
    """Where an unreadable file went, or None."""


class Disk:
    """The journal's folder: `journal.db`, `tail`, `lock`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store: Store | None = None
        self._tail: TailFile | None = None
        self._memory = Memory()
        self._lock_fd = -1

    def recover(self, boot: str, now_ms: int) -> Recovered:
        """Open everything, cut off a torn tail, and say what is there.

        Raises JournalError when the folder cannot be used, or when another process has it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._lock_fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            generation, lines = read_tail(self.folder / "tail")
        except BlockingIOError as e:
            raise JournalError(f"{self.folder}: in use by another suuaba process") from e
        except OSError as e:
            raise JournalError(f"{self.folder}: {e.strerror}") from e
        self._store = Store(self.folder / "journal.db")
        memory = self._store.memory()
        replay: list[Record | tuple[str, str]] = []
        last_seq = memory.last_seq
        if generation > memory.generation:  # else SQLite has it all
            memory.generation = generation
            memory.closed = False
            for line in lines:
                if line.startswith(b"["):
                    record = _record.decode(line)
                    if record.seq > last_seq:
                        replay.append(record)
                        last_seq = record.seq
                else:
                    note = _note.decode(line)
                    memory.cursors.update(note.cursors)
                    memory.reserved = max(memory.reserved, note.reserved)
                    memory.boot = note.boot or memory.boot
                    if note.fold is not None:
                        replay.append(note.fold)
        next_seq, missing = last_seq + 1, None
        aside = self._store.set_aside
        if not memory.closed and memory.boot != boot and memory.reserved > next_seq:
            missing = (next_seq, memory.reserved - 1)
            next_seq = memory.reserved
        if aside is not None and memory.reserved == 0:
            next_seq = now_ms  # nothing tells which numbers were given out: begin where none can have been
        return Recovered(memory, replay, next_seq, missing, str(aside) if aside else None)

    def write(self, lines: bytes, *, durable: bool) -> None:
        """Append lines to the tail. Raises OSError when nothing was taken, JournalError when the disk
        cannot be trusted.
        """
        if self._tail is None:
            raise JournalError(f"{self.folder}: not open")
        self._tail.write(lines)
        if durable:
            try:
                self._tail.sync()
            except OSError as e:
                raise JournalError(
                    f"{self.folder}: the disk did not keep what was written: {e.strerror}"
                ) from e

    def settle(self, records: Sequence[Record], memory: Memory) -> None:
        """Keep the records as one block in SQLite, and begin the tail's next generation.
        `memory.generation` grows by one.

        Raises OSError or JournalError; nothing has changed then, and the tail goes on.
        """
        if self._store is None:
            raise JournalError(f"{self.folder}: not open")
        block = None
        if records:
            if self._tail is not None:
                body = self._tail.body
            else:
                body = _deflated(b"".join(_line.encode(record) + b"\n" for record in records))
            times = [record.body.at.utc_ms for record in records]
            block = Block(records[0].seq, records[-1].seq, min(times), max(times), len(records), body)
        if self._tail is not None:
            memory.generation = self._tail.generation
        self._store.settle(block, memory)
        self._memory = memory
        if self._tail is not None:
            self._tail.close()
            self._tail = None
        if not memory.closed:
            with contextlib.suppress(OSError):  # the next write tries again, and says why it cannot
                self._tail = self._begin()

    def _begin(self) -> TailFile:
        """The next generation. It says by itself how far the numbers went, should SQLite's file be
        unreadable.
        """
        tail = TailFile(self.folder / "tail", self._memory.generation + 1)
        try:
            tail.write(_line.encode({"reserved": self._memory.reserved, "boot": self._memory.boot}) + b"\n")
        except OSError:
            tail.close()
            raise
        return tail

    def load(self, seq: int) -> list[Record]:
        """The records of the first block beyond `seq`; empty when SQLite has none. Raises JournalError."""
        block = self._store.block_after(seq) if self._store else None
        if block is None:
            return []
        return [_record.decode(line) for line in block.lines()]

    def forget(
        self, before_ms: int | None, slowest_seq: int, limit_bytes: int | None
    ) -> tuple[int, int] | None:
        """Remove blocks older than `before_ms` that every follower has passed, then the oldest while over
        the limit.

        Gives the first and last seq removed that a follower had not passed, or None.
        """
        if self._store is None:
            return None
        lost: tuple[int, int] | None = None
        for _ in range(FORGET_AT_ONCE):
            oldest = self._store.oldest()
            if oldest is None:
                break
            used, spare = self._store.used_bytes()
            full = limit_bytes is not None and used > limit_bytes
            full = full or (self.free_bytes() < KEEP_FREE_BYTES and spare < SPARE_BYTES)
            old = before_ms is not None and oldest.to_ms < before_ms and oldest.last_seq <= slowest_seq
            if not (full or old):
                break
            self._store.forget(oldest)
            if oldest.last_seq > slowest_seq:
                first = max(oldest.first_seq, slowest_seq + 1)
                lost = (lost[0] if lost else first, oldest.last_seq)
        return lost

    def free_bytes(self) -> int:
        """What the disk has left for a plain user."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def close(self) -> None:
        if self._tail is not None:
            self._tail.close()
        if self._store is not None:
            self._store.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)


def _deflated(text: bytes) -> bytes:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    return deflate.compress(text) + deflate.flush()
