"""The journal: the only meeting point of the parts. Upstream of it things may be lost, downstream nothing
may be.

    append ─► folds ─► pending ─ commit ─► tail file ─ settle ─► SQLite block
             (memory)            (1 s: survives a killed process;   (10 min or 512 KB)
                                  15 s sync: survives a power cut)
                                     └──► followers may take it

`append` numbers the records and lets every fold see them at once; what a fold derives is appended right
behind. Records, what was derived from them, what the folds remember and how far the followers are stand in
the same frame of the tail: after a crash all of it is there or none, so everything is derived exactly once.

`seq` is never given out twice. Numbers are reserved ahead, durably, before a follower can see them; after a
power cut the next start jumps past the reservation and says which numbers may be missing (Event "loss").
After a killed process nothing is missing: what was committed is in the kernel's hands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from gateway.clock import Clock
from gateway.errors import JournalError
from gateway.journal_disk import Disk
from gateway.journal_store import Memory
from gateway.model import Body, Event, Record, Stamp

log = logging.getLogger(__name__)

GATHER_S = 0.05
"""A commit waits this long for the other readings of the same moment."""
SETTLE_BYTES = 512 * 1024
SETTLE_S = 600.0
RESERVE = 1000
"""Numbers reserved ahead at least: what a power cut makes the numbering jump by."""
RECENT = 300
"""Records kept in memory for followers that are up to date."""
PENDING_LIMIT = 20_000
"""Records held in memory while the disk takes none; beyond, the oldest are lost, counted and said."""

_line = msgspec.json.Encoder()
T = TypeVar("T")


class Fold(Protocol):
    """Derives records from records, exactly once. Synchronous, without I/O; time comes with the records and
    with `tick`.
    """

    name: str

    def step(self, record: Record) -> Sequence[Body]:
        """See one record, in order, also those that folds derived; give what follows from it.

        After a crash the records since the last kept state are shown again, and what this gives then is not
        used.
        """
        ...

    def tick(self, at: Stamp) -> Sequence[Body]:
        """See that time passes; called about every second."""
        ...

    def save(self) -> bytes:
        """What must be remembered, as text (JSON); small."""
        ...

    def restore(self, state: bytes) -> None: ...


class Journal:
    """Open with `open`, then keep `run` running. Belongs to one event loop; the disk has a thread of its
    own.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        folds: Sequence[Fold] = (),
        commit_s: float = 1.0,
        sync_s: float = 15.0,
        keep_s: float | None = None,
        limit_bytes: int | None = None,
    ) -> None:
        self.folder = folder
        self._clock = clock
        self._folds = list(folds)
        self._commit_s, self._sync_s = commit_s, sync_s
        self._keep_s, self._limit_bytes = keep_s, limit_bytes
        self._disk = Disk(folder)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._lock = asyncio.Lock()  # one disk job at a time, in order
        self._dirty = asyncio.Event()
        self._committed = asyncio.Event()  # replaced at each commit: whoever waits on the old one is woken
        self._memory = Memory()
        self._next_seq = 1
        self._committed_seq = 0
        self._pending: deque[Record] = deque()
        self._derived: set[str] = set()  # folds whose state must be kept with the next commit
        self._cursors_moved = False
        self._recent: list[Record] = []
        self._unsettled = 0  # how many of the recent records are not in SQLite yet
        self._unsettled_bytes = 0
        self._settle_at_bytes = SETTLE_BYTES
        self._settled_s = 0.0
        self._synced_s = 0.0
        self._unsynced = False
        self._read: list[Record] = []  # the block in which a late follower is
        self._troubles: dict[str, str] = {}  # what the disk does not take at present, and why

    @property
    def trouble(self) -> str | None:
        """What the disk does not take at present, and why; None when all is well."""
        return "; ".join(f"{what}: {why}" for what, why in self._troubles.items()) or None

    async def open(self) -> None:
        """Open, repair and replay; what was found (a loss, an unreadable file) is appended as events.
        Blocks on the disk.

        Raises JournalError when the folder cannot be used at all.
        """
        loop = asyncio.get_running_loop()
        at = self._clock.stamp()
        found = await self._in_thread(lambda: self._disk.recover(at.boot, at.utc_ms))
        self._memory = found.memory
        self._next_seq = found.next_seq
        by_name = {fold.name: fold for fold in self._folds}
        for name, state in self._memory.folds.items():
            if name in by_name:
                by_name[name].restore(state.encode())
        for entry in found.replay:
            if isinstance(entry, Record):
                self._recent.append(entry)
                for fold in self._folds:
                    fold.step(entry)  # what it derived then stands behind it in the tail
            elif entry[0] in by_name:
                by_name[entry[0]].restore(entry[1].encode())
        self._unsettled = len(self._recent)
        self._committed_seq = self._next_seq - 1
        self._memory.boot, self._memory.closed = at.boot, False
        self._memory.reserved = max(self._memory.reserved, self._next_seq + RESERVE)
        await self._settle(self._fold_states())
        self._synced_s = loop.time()
        if found.missing:
            detail = {
                "from_seq": found.missing[0],
                "to_seq": found.missing[1],
                "why": "power cut",
                "at_most": True,
            }
            log.warning("journal: after a power cut records %d to %d may be missing", *found.missing)
            self.append([Event(at, "loss", detail)])
        if found.set_aside:
            log.error(
                "journal: the file could not be read; it was kept as %s, a new one begun", found.set_aside
            )
            self.append([Event(at, "journal_unreadable", {"kept_as": found.set_aside})])
        if self._pending:
            await self.sync()

    def append(self, bodies: Sequence[Body]) -> list[Record]:
        """Number the bodies and all that the folds derive from them. Does not block; committed within
        `commit`.
        """
        if not bodies:
            return []
        self._dirty.set()
        waiting = deque(bodies)
        records = []
        while waiting:
            record = Record(self._next_seq, waiting.popleft())
            self._next_seq += 1
            records.append(record)
            for fold in self._folds:
                derived = fold.step(record)
                if derived:
                    waiting.extend(derived)
                    self._derived.add(fold.name)
        self._pending.extend(records)
        return records

    def tick(self) -> None:
        """Let the folds see that time passes."""
        at = self._clock.stamp()
        for fold in self._folds:
            derived = fold.tick(at)
            if derived:
                self._derived.add(fold.name)
                self.append(derived)

    async def sync(self) -> None:
        """Make everything appended so far survive a power cut. Blocks on the disk. Raises JournalError."""
        async with self._lock:
            await self._commit(durable=True)

    async def after(self, seq: int, limit: int) -> list[Record]:
        """Committed records beyond `seq`, oldest first, at most `limit`. Blocks on the disk for what is
        long ago.
        """
        recent = self._recent
        if not recent or seq < recent[0].seq - 1:
            if not self._read or not self._read[0].seq - 1 <= seq < self._read[-1].seq:
                async with self._lock:
                    self._read = await self._in_thread(lambda: self._disk.load(seq))
            if self._read:
                at = bisect_right(self._read, seq, key=_seq)
                return self._read[at : at + limit]
            recent = self._recent
        at = bisect_right(recent, seq, key=_seq)
        return recent[at : at + limit]

    async def more(self, seq: int) -> None:
        """Return when committed records beyond `seq` exist."""
        while self._committed_seq <= seq:
            await self._committed.wait()

    def cursor(self, name: str) -> int:
        """The last seq this follower is done with; a new follower begins with what comes next."""
        return self._memory.cursors.setdefault(name, self._committed_seq)

    def finish(self, name: str, seq: int) -> None:
        """Move a follower's cursor, never backwards; kept with the next commit."""
        if seq > self._memory.cursors.get(name, -1):
            self._memory.cursors[name] = seq
            self._cursors_moved = True
            self._dirty.set()

    def refuse(self, name: str, record: Record, reason: str) -> None:
        """Note that a sink will never take this record. The record itself stays in the journal."""
        detail = {"sink": name, "seq": record.seq, "reason": reason}
        self.append([Event(self._clock.stamp(), "refused", detail)])

    @property
    def last_seq(self) -> int:
        """The number given out last, committed or not."""
        return self._next_seq - 1

    @property
    def committed_seq(self) -> int:
        return self._committed_seq

    async def run(self) -> None:
        """Commit, sync, settle and forget, each in its time, until cancelled. Raises JournalError."""
        loop = asyncio.get_running_loop()
        last_s = loop.time() - self._commit_s
        while True:
            due_s = self._synced_s + self._sync_s if self._unsynced else None
            try:
                async with asyncio.timeout_at(due_s):
                    await self._dirty.wait()
                    await asyncio.sleep(
                        max(last_s + self._commit_s - loop.time(), min(GATHER_S, self._commit_s))
                    )
            except TimeoutError:
                pass
            last_s = loop.time()
            async with self._lock:
                await self._commit(durable=self._unsynced and last_s - self._synced_s >= self._sync_s)

    async def close(self) -> None:
        """Commit and settle what is there and mark a clean end. Raises JournalError when the disk does not
        take it.
        """
        async with self._lock:
            try:
                await self._commit(durable=True, settle=False)
                if self._pending:
                    raise JournalError(
                        f"{self.folder}: {self.trouble}; {len(self._pending)} records are lost"
                    )
                self._memory.closed = True
                self._memory.reserved = self._next_seq
                with contextlib.suppress(OSError):  # then the tail keeps them: the next start repairs
                    await self._settle(self._fold_states())
            finally:
                await self._in_thread(self._disk.close)
                self._thread.shutdown()

    async def _commit(self, *, durable: bool, settle: bool = True) -> None:
        self._dirty.clear()
        records, lines = list(self._pending), []
        if records and records[-1].seq >= self._memory.reserved:
            durable = True
        reserved = self._memory.reserved
        if durable:
            ahead = max(RESERVE, 4 * len(records))
            self._memory.reserved = max(self._memory.reserved, self._next_seq + ahead)
            lines.append(_line.encode({"reserved": self._memory.reserved, "boot": self._memory.boot}))
        lines += map(_line.encode, records)
        if self._cursors_moved:
            lines.append(_line.encode({"cursors": self._memory.cursors}))
        for fold in self._folds:
            if fold.name in self._derived:
                lines.append(_line.encode({"fold": [fold.name, fold.save().decode()]}))
        if not lines:
            return
        self._cursors_moved = False
        derived, self._derived = self._derived, set()
        text = b"\n".join(lines) + b"\n"
        loop = asyncio.get_running_loop()
        old = loop.time() - self._settled_s >= SETTLE_S
        full = self._unsettled_bytes + len(text) >= self._settle_at_bytes
        # What the folds remember must be as of these records: others may be appended while the disk works.
        folds = self._fold_states() if settle and (old or full) else None
        try:
            await self._in_thread(lambda: self._disk.write(text, durable=durable))
        except OSError as e:
            self._memory.reserved = reserved
            self._cursors_moved = True
            self._derived |= derived
            self._no_space(e)
            return
        self._well("records")
        self._unsynced = not durable
        if durable:
            self._synced_s = loop.time()
        if records:
            for _ in records:
                self._pending.popleft()
            self._committed_seq = records[-1].seq
            self._recent += records
            self._unsettled += len(records)
            self._committed.set()
            self._committed = asyncio.Event()
        self._unsettled_bytes += len(text)
        if folds is not None:
            await self._retain()
            try:
                await self._settle(folds)
            except OSError as e:
                self._trouble("blocks", e)  # the tail has the records, and grows
                self._settle_at_bytes = self._unsettled_bytes + SETTLE_BYTES
                self._settled_s = loop.time()
            else:
                self._well("blocks")
                self._settle_at_bytes = SETTLE_BYTES

    def _no_space(self, e: OSError) -> None:
        """The disk took nothing: keep what is pending, up to the limit; the next commit tries again."""
        self._trouble("records", e)
        self._dirty.set()
        lost = len(self._pending) - PENDING_LIMIT
        if lost > 0:
            gone = [self._pending.popleft() for _ in range(lost)]
            why = e.strerror or str(e)
            detail = {"from_seq": gone[0].seq, "to_seq": gone[-1].seq, "records": lost, "why": why}
            self.append([Event(self._clock.stamp(), "loss", detail)])

    def _trouble(self, what: str, e: OSError) -> None:
        if what not in self._troubles:
            log.error("journal: the disk takes no %s: %s", what, e.strerror)
        self._troubles[what] = e.strerror or str(e)

    def _well(self, what: str) -> None:
        if self._troubles.pop(what, None) is not None:
            log.warning("journal: the disk takes %s again", what)

    def _fold_states(self) -> dict[str, str]:
        return {fold.name: fold.save().decode() for fold in self._folds}

    async def _settle(self, folds: dict[str, str]) -> None:
        """Move the unsettled records into one SQLite block and begin the tail's next generation."""
        records = self._recent[len(self._recent) - self._unsettled :]
        self._memory.folds = folds
        self._memory.last_seq = self._committed_seq
        self._settled_s = asyncio.get_running_loop().time()
        await self._in_thread(lambda: self._disk.settle(records, self._memory))
        self._unsettled = self._unsettled_bytes = 0
        if len(self._recent) > RECENT:
            del self._recent[:-RECENT]

    async def _retain(self) -> None:
        """Forget what is older than `keep`, then the oldest beyond `limit`; what a follower still wanted is
        a loss.
        """
        before_ms = None
        if self._keep_s is not None:
            before_ms = self._clock.stamp().utc_ms - int(self._keep_s * 1000)
        slowest = min(self._memory.cursors.values(), default=self._committed_seq)
        lost = await self._in_thread(lambda: self._disk.forget(before_ms, slowest, self._limit_bytes))
        if lost is not None:
            behind = sorted(name for name, seq in self._memory.cursors.items() if seq < lost[1])
            log.warning("journal: full; records %d to %d went before %s had them", *lost, ", ".join(behind))
            detail = {
                "from_seq": lost[0],
                "to_seq": lost[1],
                "why": "journal limit",
                "not_delivered_to": behind,
            }
            self.append([Event(self._clock.stamp(), "loss", detail)])

    async def _in_thread(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)


def _seq(record: Record) -> Any:
    return record.seq
