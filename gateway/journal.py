"""The journal: the only meeting point of the parts. Upstream of it things may be lost, downstream nothing
may be.

    append ─► folds ─► pending ─ commit ─► tail file ─ settle ─► SQLite block
             (memory)            (1 s: survives a killed process;   (30 min or 1 MB)
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
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.clock import Clock
from gateway.errors import JournalError
from gateway.journal_chain import head_detail
from gateway.journal_disk import Disk, Page
from gateway.journal_folds import Fold as Fold
from gateway.journal_folds import Folds
from gateway.journal_pending import Pending
from gateway.journal_recent import Recent
from gateway.journal_rhythm import Rhythm
from gateway.journal_store import Memory
from gateway.model import Body, Event, Record

log = logging.getLogger(__name__)

SETTLE_BYTES = 1024 * 1024  # of records: what folds remember is not kept in blocks
SETTLE_S = 1800.0
SETTLE_AGAIN_S = 10.0
"""When SQLite took no block: the tail grows meanwhile, up to its limit."""
RESERVE = 1000
"""Numbers reserved ahead at least: what a power cut makes the numbering jump by."""
RECENT = 300
"""Records kept in memory for followers that are up to date."""
PENDING_LIMIT = 20_000
"""Records held in memory while the disk takes none; beyond, the oldest are lost, counted and said."""

_line = msgspec.json.Encoder()
T = TypeVar("T")


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
        make_key: bool = False,
    ) -> None:
        """`make_key`: the station's key is made where there is none; one that is there always signs."""
        self.folder = folder
        self._clock = clock
        self._folds = Folds(folds)
        self._rhythm = Rhythm(commit_s, sync_s)
        self._keep_s, self._limit_bytes = keep_s, limit_bytes
        self._disk = Disk(folder, make_key=make_key)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._lock = asyncio.Lock()  # one disk job at a time, in order
        self._committed = asyncio.Event()  # replaced at each commit: whoever waits on the old one is woken
        self._memory = Memory()
        self._next_seq = 1
        self._committed_seq = 0
        self._pending = Pending()
        self._cursors_moved = False
        self._recent = Recent(self._load, self._unreadable)
        self._unsettled_bytes = 0
        self._settle_due_s = 0.0
        self._here: set[str] = set()  # the followers of this process
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
        try:
            await self._open()
        except JournalError:
            await self._let_go()
            raise

    async def _open(self) -> None:
        self._rhythm.start()
        at = self._clock.stamp()
        found = await self._in_thread(lambda: self._disk.recover(at.boot, at.utc_ms))
        self._memory = found.memory
        self._next_seq = found.next_seq
        self._folds.restore(self._memory.folds.items())
        for entry in found.replay:
            if isinstance(entry, Record):
                self._recent.add([entry])
                self._folds.replay(entry)
            else:
                self._folds.restore([entry])
        self._committed_seq = self._next_seq - 1
        at = self._clock.stamp()  # what the folds remember may tell the clock better
        for what, detail in found.said:
            log.log(logging.INFO if what == "chain_key" else logging.ERROR, "journal: %s %s", what, detail)
            self.append([Event(at, what, detail)])
        self._memory.boot = at.boot
        if not await self._settle():
            await self._commit(durable=True)  # a full disk is no reason not to start

    def append(self, bodies: Sequence[Body]) -> list[Record]:
        """Number the bodies and all that the folds derive from them. Does not block; committed within
        `commit`.
        """
        if not bodies:
            return []
        self._rhythm.records()
        waiting = deque(bodies)
        records = []
        while waiting:
            record = Record(self._next_seq, waiting.popleft())
            self._next_seq += 1
            records.append(record)
            waiting.extend(self._folds.step(record))
        self._pending.extend(records)
        if self._pending.under_way and len(self._pending) > 2 * PENDING_LIMIT:
            self._shed("the disk does not answer")
        return records

    def tick(self) -> None:
        """Let the folds see that time passes."""
        self.append(self._folds.tick(self._clock.stamp()))

    async def sync(self) -> None:
        """Make everything appended so far survive a power cut. Blocks on the disk. Raises JournalError.

        A disk that takes nothing now is tried again with the next commit; `trouble` says so.
        """
        async with self._lock:
            await self._to_the_end(self._commit(durable=True))

    async def after(self, seq: int, limit: int) -> list[Record]:
        """Committed records beyond `seq`, oldest first, at most `limit`. Blocks on the disk for what is
        long ago. Numbers may be missing: after a power cut, and where a block cannot be read.
        """
        return await self._recent.after(seq, limit)

    async def more(self, seq: int) -> None:
        """Return when committed records beyond `seq` exist."""
        while self._committed_seq <= seq:
            await self._committed.wait()

    def cursor(self, name: str) -> int:
        """The last seq this follower is done with; a new follower begins with what comes next.

        Retention waits for those who have asked, and for no others.
        """
        self._here.add(name)
        if name not in self._memory.cursors:
            self._memory.cursors[name] = self._committed_seq
            self._cursors_moved = True  # also where it begins must outlive a kill
            self._rhythm.cursors()
        return self._memory.cursors[name]

    def finish(self, name: str, seq: int) -> None:
        """Move a follower's cursor, never backwards; kept with the next commit."""
        if seq > self._memory.cursors.get(name, -1):
            self._memory.cursors[name] = seq
            self._cursors_moved = True
            self._rhythm.cursors()

    def cursors_of(self, name: str) -> dict[str, int]:
        """A follower's own cursor and those of the stretches it still owes, which are named NAME/…"""
        return {of: seq for of, seq in self._memory.cursors.items() if of.partition("/")[0] == name}

    def drop(self, name: str) -> None:
        """Keep a cursor no longer; forgotten with the next commit."""
        if self._memory.cursors.pop(name, None) is not None:
            self._cursors_moved = True
            self._rhythm.cursors()

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

    def chain_head(self) -> dict[str, Any] | None:
        """The end of the evidence chain, signed: the detail of an event "chain_head". None where there is
        none.
        """
        head, signer = self._disk.head, self._disk.signer
        return None if head is None or signer is None else head_detail(head, signer)

    async def run(self) -> None:
        """Commit, sync, settle and forget, each in its time, until cancelled. Raises JournalError."""
        while True:
            durable = await self._rhythm.due()
            async with self._lock:
                taken = await self._to_the_end(self._commit(durable=durable))
            if not taken:
                await self._rhythm.pause()

    async def close(self) -> None:
        """Keep what is there and mark a clean end. Raises JournalError when the disk does not take it."""
        async with self._lock:
            try:
                kept = await self._write_tail(durable=True, closed=True)
                if not await self._settle(closed=True) and not kept:
                    raise JournalError(
                        f"{self.folder}: {self.trouble}; {len(self._pending)} records are lost"
                    )
            finally:
                await self._let_go()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    async def _commit(self, *, durable: bool) -> bool:
        """Write what is pending to the tail, and now and then settle. Whether the disk took it."""
        self._rhythm.begin()
        taken = await self._write_tail(durable=durable)
        now_s = asyncio.get_running_loop().time()
        due = now_s >= self._settle_due_s
        if "blocks" not in self._troubles:
            due = due or self._unsettled_bytes >= SETTLE_BYTES
        if due:
            await self._retain()
            taken = await self._settle() or taken
        return taken

    async def _write_tail(self, *, durable: bool, closed: bool = False) -> bool:
        records, began_s, lines = self._pending.begin(), asyncio.get_running_loop().time(), []
        reserved = self._memory.reserved
        durable = durable or bool(records and records[-1].seq >= reserved)
        if durable:
            reserved = max(reserved, self._next_seq + max(RESERVE, 4 * len(records)))
            lines.append(_line.encode({"reserved": reserved, "boot": self._memory.boot}))
        lines += map(_line.encode, records)
        if self._cursors_moved:
            lines.append(_line.encode({"cursors": self._memory.cursors}))
        lines += (_line.encode({"fold": fold}) for fold in self._folds.changed().items())
        if closed:
            lines.append(_line.encode({"closed": True}))
        if not lines:
            return True
        text = b"\n".join(lines) + b"\n"
        if not await self._write("records", lambda: self._disk.write(text, durable=durable)):
            if durable:  # what was taken before is safe
                self._rhythm.synced(began_s if self._pending else None)
            self._rhythm.failed()
            self._shed(self._troubles["records"])
            return False
        self._memory.reserved = reserved
        self._unsettled_bytes += sum(len(line) for line in lines if line.startswith(b"["))
        self._taken(records)
        if durable:
            self._rhythm.synced(began_s if self._pending else None)
        return True

    async def _settle(self, *, closed: bool = False) -> bool:
        """Move what SQLite has not, also what is pending, into one block, together with what the folds
        remember and how far the followers are; begin the tail's next generation. Whether the disk took it.
        """
        loop = asyncio.get_running_loop()
        pending, began_s = self._pending.begin(), loop.time()
        records = [*self._recent.late(), *pending]
        memory = msgspec.structs.replace(
            self._memory,
            last_seq=pending[-1].seq if pending else self._committed_seq,
            reserved=self._next_seq if closed else max(self._memory.reserved, self._next_seq + RESERVE),
            closed=closed,
            cursors=dict(self._memory.cursors),
            folds=self._folds.states(),
        )
        if not await self._write("blocks", lambda: self._disk.settle(records, len(pending), memory)):
            self._settle_due_s = loop.time() + SETTLE_AGAIN_S  # the tail has the records, and grows
            return False
        self._settle_due_s = loop.time() + SETTLE_S
        self._unsettled_bytes = 0
        memory.cursors = self._memory.cursors  # they may have moved meanwhile
        self._memory = memory
        self._taken(pending)
        self._rhythm.synced(began_s if self._pending else None)
        self._recent.settled(RECENT)
        return True

    async def _write(self, what: str, job: Callable[[], None]) -> bool:
        """Have the disk take what is pending, the cursors and the folds' states. Whether it did."""
        moved, self._cursors_moved = self._cursors_moved, False
        kept = self._folds.kept()
        try:
            await self._in_thread(job)
        except OSError as e:
            self._cursors_moved |= moved
            self._folds.not_kept(kept)
            self._pending.failed()
            if what not in self._troubles:
                log.error("journal: the disk takes no %s: %s", what, e.strerror)
            self._troubles[what] = e.strerror or str(e)
            return False
        for well in {"records", what} & set(self._troubles):  # what SQLite took needs no tail
            del self._troubles[well]
            log.warning("journal: the disk takes %s again", well)
        return True

    def _taken(self, records: Sequence[Record]) -> None:
        """The pending records are on the disk: followers may have them."""
        self._pending.taken()
        if records:
            self._recent.add(records)
            self._committed_seq = records[-1].seq
            self._committed.set()
            self._committed = asyncio.Event()

    def _shed(self, why: str) -> None:
        self._pending.shed(PENDING_LIMIT, why, self._say_loss)

    def _say_loss(self, detail: dict[str, Any]) -> Record:
        return self.append([Event(self._clock.stamp(), "loss", detail)])[0]

    async def _retain(self) -> None:
        """Forget what is older than `keep`, then the oldest beyond `limit`; what a follower still wanted is
        a loss.
        """
        before_ms, now = None, self._clock.stamp()
        if self._keep_s is not None and now.synced:  # a wrong clock must not make everything old
            before_ms = now.utc_ms - int(self._keep_s * 1000)
        cursors = {of: seq for name in self._here for of, seq in self.cursors_of(name).items()}
        slowest = min(cursors.values(), default=self._committed_seq)
        try:
            lost = await self._in_thread(lambda: self._disk.forget(before_ms, slowest, self._limit_bytes))
        except OSError:
            return  # without room for forgetting; settling says it
        if lost is not None:
            behind = sorted({name.partition("/")[0] for name, seq in cursors.items() if seq < lost[1]})
            log.warning("journal: full; records %d to %d went before %s had them", *lost, ", ".join(behind))
            detail = {
                "from_seq": lost[0],
                "to_seq": lost[1],
                "why": "journal limit",
                "not_delivered_to": behind,
            }
            self._say_loss(detail)

    async def _load(self, seq: int) -> Page:
        async with self._lock:
            return await self._in_thread(lambda: self._disk.load(seq))

    def _unreadable(self, from_seq: int, to_seq: int) -> None:
        self._say_loss({"from_seq": from_seq, "to_seq": to_seq, "why": "a block cannot be read"})

    async def _let_go(self) -> None:
        await self._in_thread(self._disk.close)
        self._thread.shutdown()

    async def _in_thread(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    @staticmethod
    async def _to_the_end(job: Coroutine[Any, Any, T]) -> T:
        """Do the job even if the caller is cancelled meanwhile: what the disk took must be known."""
        task = asyncio.ensure_future(job)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise
