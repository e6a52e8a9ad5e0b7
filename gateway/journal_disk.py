"""What the journal does on the disk: repair at start, append, settle into SQLite, forget. Synchronous and
blocking.

The journal calls it from one thread, one job at a time. It decides nothing about time or followers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import JournalError
from gateway.journal_chain import NOTHING, Head, Signer, chained, signer_of
from gateway.journal_store import Block, Memory, Span, Store, Unreadable
from gateway.journal_tail import Tail, TailFile, only_its_owner, private, read_tail, sync_name
from gateway.model import Record

KEEP_FREE_BYTES = 500_000_000
"""What the system needs: with less free on the disk the journal grows no more, it forgets instead."""
SPARE_BYTES = 2_000_000
"""Room inside the SQLite file that is made when it may not grow: what comes goes there."""
FORGET_AT_ONCE = 200
"""Blocks removed in one go at most, so that retention never holds the disk for long."""

_line = msgspec.json.Encoder()
_record = msgspec.json.Decoder(Record)
_numbered = msgspec.json.Decoder(tuple[int, msgspec.Raw])


class Note(msgspec.Struct):
    """A line of the tail that is not a record; see gateway.journal_tail."""

    cursors: dict[str, int] = {}
    fold: tuple[str, str] | None = None
    reserved: int = 0
    boot: str = ""
    closed: bool = False
    block: int = 0
    link: str = ""


_note = msgspec.json.Decoder(Note)


class Recovered(msgspec.Struct):
    """What was found at start."""

    memory: Memory
    replay: list[Record | tuple[str, str]]
    """The records of the tail, and between them what folds had kept."""
    next_seq: int
    said: list[tuple[str, dict[str, Any]]]
    """What has to be said about it, as Events: what, detail."""


class Page(msgspec.Struct, frozen=True):
    """Records of the past: all that are left beyond `after_seq`, up to `last_seq`."""

    after_seq: int
    last_seq: int
    records: list[Record]
    lost: tuple[int, int] | None = None
    """First and last seq of what is there and cannot be read, or None."""


class Disk:
    """The journal's folder: `journal.db`, `tail`, `lock`, and the key that signs: `station.key`."""

    def __init__(self, folder: Path, *, make_key: bool = False) -> None:
        self.folder = folder
        self.signer: Signer | None = None
        self.head: Head | None = None
        """The newest block of the evidence chain, of those that this process made."""
        self._make_key = make_key
        self._store: Store | None = None
        self._tail: TailFile | None = None
        self._memory = Memory()  # as SQLite has it, or the tail behind it
        self._unknown: list[int] = []  # numbers of records in the tail that this version cannot read
        self._now_ms = 0
        self._lock_fd = -1

    def recover(self, boot: str, now_ms: int) -> Recovered:
        """Open everything, cut off a torn tail, and say what is there.

        Raises JournalError when the folder cannot be used, or when another process has it.
        """
        path = self.folder / "tail"
        try:
            if not self.folder.exists():
                self.folder.mkdir(parents=True, mode=0o750)
                self.folder.chmod(0o750)  # whatever the umask took
                sync_name(self.folder)
            private(self.folder / "lock")
            self._lock_fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CLOEXEC)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for pattern in ("journal.db*", "history.db*", "tail"):  # an older version let others read
                for file in self.folder.glob(pattern):
                    only_its_owner(file)
            tail = _read(path)
            touched_ms = max((int(file.stat().st_mtime * 1000) for file in self.folder.iterdir()), default=0)
            found_tail = path.exists() and path.stat().st_size > 0
        except BlockingIOError as e:
            raise JournalError(f"{self.folder}: in use by another suuaba process") from e
        except OSError as e:
            raise JournalError(f"{self.folder}: {e.strerror}") from e
        self._store = store = Store(self.folder / "journal.db")
        self.signer, said_of_key = signer_of(self.folder, make=self._make_key)
        store.signer = self.signer
        self._now_ms = now_ms
        memory, replay = store.memory, list[Record | tuple[str, str]]()
        settled, settled_seq = memory.generation, memory.last_seq
        never_remembered = memory.reserved == 0
        seqs: list[int] = []
        if tail.generation > settled:  # else SQLite has it all
            seqs = self._replay(tail, memory, replay)
            try:
                self._tail = TailFile.resumed(path, tail)  # to go on with, should SQLite take nothing
            except OSError as e:
                raise JournalError(f"{path}: {e.strerror}") from e
        next_seq = max([settled_seq, *seqs]) + 1
        said: list[tuple[str, dict[str, Any]]] = said_of_key
        if memory.link and memory.last_seq == settled_seq:
            with contextlib.suppress(Unreadable):
                if (last := store.newest()) is not None:
                    self.head = Head(memory.block, last.first_seq, last.last_seq, bytes.fromhex(memory.link))
        if never_remembered and (found_tail or store.set_aside is not None):
            store.begun = "the journal before could not be read"
            known = {"goes_on_from_block": memory.block, "hash": memory.link} if memory.link else {}
            said.append(("chain_begun", {"why": store.begun, **known}))
        if store.set_aside is not None:
            said.append(("journal_unreadable", {"kept_as": str(store.set_aside)}))
        ahead = tail.generation > settled + 1  # SQLite once had more than it has now
        why = "blocks are missing" if store.set_aside is None else "the journal could not be read"
        if ahead and seqs and seqs[0] > settled_seq + 1:
            said.append(_loss(settled_seq + 1, seqs[0] - 1, why))
        elif (
            ahead and memory.closed and not seqs and memory.reserved > next_seq
        ):  # all numbers that were given out
            said.append(_loss(next_seq, memory.reserved - 1, why))
            next_seq = memory.reserved
        if self._unknown:
            numbers = {
                "from_seq": self._unknown[0],
                "to_seq": self._unknown[-1],
                "records": len(self._unknown),
            }
            said.append(("records_unknown", numbers))
        # In one boot the kernel has everything, so a tail that does not fit was damaged.
        damaged = tail.broken or tail.generation < settled or (ahead and not seqs)
        if memory.reserved == 0 and (found_tail or any(self.folder.glob("journal.db.unreadable-*"))):
            # Nothing tells which numbers were given out: begin where none can have been.
            said.append(_loss(next_seq, max(now_ms, touched_ms) - 1, "the journal could not be read"))
            next_seq = max(now_ms, touched_ms)
        elif not memory.closed and (memory.boot != boot or damaged) and memory.reserved > next_seq:
            why = "power cut" if memory.boot != boot else "the journal was damaged"
            said.append(_loss(next_seq, memory.reserved - 1, why))
            next_seq = memory.reserved
        self._memory = msgspec.structs.replace(memory)
        return Recovered(memory, replay, next_seq, said)

    def _replay(self, tail: Tail, memory: Memory, replay: list[Record | tuple[str, str]]) -> list[int]:
        """Take over what the tail's lines say; give the records' numbers."""
        seqs: list[int] = []
        memory.generation = tail.generation
        for line in tail.lines:
            memory.closed = False
            try:
                if not line.startswith(b"["):
                    note = _note.decode(line)
                    memory.cursors = note.cursors or memory.cursors  # a line has all of them
                    memory.reserved = max(memory.reserved, note.reserved)
                    memory.boot = note.boot or memory.boot
                    memory.closed = note.closed
                    if note.block > memory.block:
                        memory.block, memory.link = note.block, note.link
                    if note.fold is not None:
                        replay.append(note.fold)
                    continue
                seqs.append(_numbered.decode(line)[0])
                replay.append(_record.decode(line))
            except msgspec.DecodeError:  # a kind of a newer version: kept as it is, and left alone
                if line.startswith(b"[") and seqs:
                    self._unknown.append(seqs[-1])
        return seqs

    def write(self, lines: bytes, *, durable: bool) -> None:
        """Append lines to the tail.

        Raises OSError when nothing was taken (what was there before is then durable nevertheless, if that was
        wanted), JournalError when the disk cannot be trusted.
        """
        if self._store is None:
            raise JournalError(f"{self.folder}: not open")
        if self._tail is None:
            self._tail = self._begin()
        try:
            self._tail.write(lines)
        finally:
            if durable:
                try:
                    self._tail.sync()
                except OSError as e:
                    raise JournalError(
                        f"{self.folder}: the disk did not keep what was written: {e.strerror}"
                    ) from e

    def settle(self, records: Sequence[Record], fresh: int, memory: Memory) -> None:
        """Keep the records as one block in SQLite, together with `memory`, and begin the tail's next
        generation. The last `fresh` of the records are not in the tail yet.

        Raises OSError when the disk takes nothing, JournalError when it cannot be trusted; nothing has
        changed then, and the tail goes on.
        """
        if self._store is None:
            raise JournalError(f"{self.folder}: not open")
        block = None
        seqs = sorted([*self._unknown, *(record.seq for record in records)])
        if seqs:
            more = b"".join(_line.encode(record) + b"\n" for record in records[len(records) - fresh :])
            body = self._tail.body(more) if self._tail is not None else _deflated(more)
            times = [record.body.at.utc_ms for record in records] or [self._now_ms]
            block = Block(seqs[0], seqs[-1], min(times), max(times), len(seqs), body, self._memory.last_seq)
            before = bytes.fromhex(self._memory.link) or NOTHING
            block, link = chained(block, self._memory.block + 1, before, self.signer)
            memory.block, memory.link = self._memory.block + 1, link.hex()
        memory.generation = self._tail.generation if self._tail is not None else self._memory.generation
        self._store.settle(block, memory)
        self._memory = memory
        if block is not None:
            self._store.begun = ""
            self.head = Head(memory.block, block.first_seq, block.last_seq, bytes.fromhex(memory.link))
        self._unknown = []
        if self._tail is not None:
            with contextlib.suppress(OSError):
                if memory.closed:  # no next generation says it
                    self._tail.write(_line.encode(self._first() | {"closed": True}) + b"\n")
                self._tail.close()
            self._tail = None
        if not memory.closed:
            with contextlib.suppress(OSError):  # the next write tries again, and says why it cannot
                self._tail = self._begin()

    def _begin(self) -> TailFile:
        """The next generation. It says by itself how far the numbers and the chain went, should SQLite's file
        be unreadable.
        """
        tail = TailFile(self.folder / "tail", self._memory.generation + 1)
        try:
            tail.write(_line.encode(self._first()) + b"\n")
        except OSError:
            tail.close()
            raise
        return tail

    def _first(self) -> dict[str, Any]:
        first: dict[str, Any] = {"reserved": self._memory.reserved, "boot": self._memory.boot}
        if self._memory.link:  # the chain goes on behind it even then
            first |= {"block": self._memory.block, "link": self._memory.link}
        return first

    def load(self, seq: int) -> Page:
        """The records of the first block beyond `seq`; a page that ends at `seq` when SQLite has none."""
        if self._store is None:
            return Page(seq, seq, [])
        store, last_seq = self._store, max(self._memory.last_seq, seq)
        here = max(seq, store.forgotten_seq)
        behind = seq
        try:
            span = store.span_after(seq)
            if span is None:
                return Page(seq, last_seq, [], (here + 1, last_seq) if last_seq > here else None)
            behind = span.first_seq
            with contextlib.suppress(Unreadable):
                block = store.block(span.first_seq)
                if (
                    block.after_seq is not None
                    and block.after_seq > here
                    and block.first_seq > block.after_seq
                ):
                    return Page(seq, block.after_seq, [], (here + 1, block.after_seq))  # a block vanished
                return Page(seq, block.last_seq, _records(block, seq))
            span = store.span_behind(behind)
        except Unreadable:
            span = self._span_somewhere_behind(store, behind)
        end = last_seq if span is None else min(span.first_seq - 1, last_seq)
        end = max(end, here + 1)
        return Page(seq, end, [], (here + 1, end))

    def _span_somewhere_behind(self, store: Store, seq: int) -> Span | None:
        """Where SQLite can be read again, in growing steps."""
        step = 1
        while seq + step < self._memory.last_seq:
            with contextlib.suppress(Unreadable):
                return store.span_behind(seq + step)
            step *= 2
        return None

    def forget(
        self, before_ms: int | None, slowest_seq: int, limit_bytes: int | None
    ) -> tuple[int, int] | None:
        """Remove blocks older than `before_ms` that every follower has passed, then the oldest while over
        the limit.

        Gives the first and last seq removed that a follower had not passed, or None. Raises OSError when the
        disk takes nothing.
        """
        if self._store is None:
            return None
        store, free_bytes = self._store, self.free_bytes()

        def wanted(span: Span) -> bool:
            used, spare = store.used_bytes()
            full = limit_bytes is not None and used > limit_bytes
            full = full or (free_bytes < KEEP_FREE_BYTES and spare < SPARE_BYTES)
            return full or (before_ms is not None and span.to_ms < before_ms and span.last_seq <= slowest_seq)

        gone = store.forget(wanted, FORGET_AT_ONCE)
        missed = [span for span in gone if span.last_seq > slowest_seq]
        return (max(missed[0].first_seq, slowest_seq + 1), missed[-1].last_seq) if missed else None

    def free_bytes(self) -> int:
        """What the disk has left for a plain user."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def close(self) -> None:
        if self._tail is not None:
            with contextlib.suppress(OSError):
                self._tail.close()
            self._tail = None
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def _read(path: Path) -> Tail:
    """Read the tail; one on a broken place of the card is moved away. Raises OSError."""
    try:
        return read_tail(path)
    except OSError as e:
        if e.errno != errno.EIO:
            raise
    os.replace(path, path.with_name("tail.unreadable"))
    return Tail(broken=True)


def _records(block: Block, seq: int) -> list[Record]:
    """The block's records beyond `seq`; those of a kind that only a newer version knows are left out. Raises
    Unreadable.
    """
    records: list[Record] = []
    for line in block.lines():
        with contextlib.suppress(msgspec.DecodeError):
            record = _record.decode(line)
            if seq < record.seq <= block.last_seq:
                records.append(record)
                seq = record.seq
    return records


def _loss(from_seq: int, to_seq: int, why: str) -> tuple[str, dict[str, Any]]:
    return "loss", {"from_seq": from_seq, "to_seq": to_seq, "why": why, "at_most": True}


def _deflated(text: bytes) -> bytes:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    return deflate.compress(text) + deflate.flush()
