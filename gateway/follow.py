"""A follower of the journal with an effect outside the machine: name, cursor, batch, sink. At least once.

    JOURNAL ─ after(cursor) ─► batch ─► deliver ─┬─ returns      the far side has confirmed: the cursor moves
                                 ▲               ├─ Unreachable  back off (full jitter), the same batch again
                                 └─ halved ◄─────┴─ Refused      until one stands alone: set aside, go on

Every sink has its own follower and its own cursor, so a dead one slows nothing else. An outage is said once
when it begins and once when it ends: in the log, and as the Events "sink_down" and "sink_up". Time is the
loop's only.

Full jitter: sleep = random(0, min(cap, base * 2^n)); M. Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random as _random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.errors import Refused, Unreachable
from gateway.model import Average, Body, Event, Reading, Record, Stamp

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
LONGEST_RETRY_AFTER_S = 3600.0
"""A far side that asks for more patience than this is asked again nevertheless."""
READ_RECORDS = 1000
"""Records taken from the journal in one go."""
GRACE_S = 0.7
"""At the end: how long what is on its way may still be confirmed. A station stops within five seconds."""
GOODBYE_S = 0.7
"""At the end, after that: how long the sink may take to say goodbye."""


class Journal(Protocol):
    """What a follower needs of the journal (gateway.journal.Journal has it)."""

    @property
    def committed_seq(self) -> int: ...
    async def after(self, seq: int, limit: int) -> list[Record]: ...
    async def more(self, seq: int) -> None: ...
    def cursor(self, name: str) -> int: ...
    def finish(self, name: str, seq: int) -> None: ...
    def refuse(self, name: str, record: Record, reason: str) -> None: ...
    def append(self, bodies: Sequence[Body]) -> list[Record]: ...


class Sink(Protocol):
    """Where records go. The attributes may change while it runs, for instance after "413 too large"."""

    in_flight: int
    """Batches that may be delivered at the same time."""
    batch_records: int
    batch_bytes: int
    beat_s: float | None
    """How often `beat` is wanted; None: never."""

    def wants(self, body: Body) -> bool:
        """Whether this sink takes such records; the others are passed over."""
        ...

    async def deliver(self, records: Sequence[Record]) -> None:
        """Hand over the batch. Blocks until the far side has confirmed all of it, within a deadline of the
        sink's own.

        Raises Unreachable (the same batch will come again, perhaps split) or Refused (it will come again in
        halves; what was confirmed may come again too).
        """
        ...

    async def beat(self) -> None:
        """Show life on the far side; also the first thing asked, so a sink may connect here. Raises
        Unreachable.
        """
        ...

    def remarks(self) -> Iterable[tuple[str, dict[str, object]]]:
        """What the sink has to say since the last time: (what, detail) of Events. Asked after each batch."""
        ...

    async def close(self) -> None:
        """Say goodbye, if the far side is there, and let go. Never raises."""
        ...


@dataclass(slots=True)
class Progress:
    """How a follower is doing: for the status message, the page and `doctor`."""

    delivered: int = 0
    """Records the far side has confirmed since the start."""
    refused: int = 0
    """Records set aside since the start."""
    cursor: int = 0
    backlog: int = 0
    """Committed journal records that the follower is not yet done with."""
    attempts: int = 0
    """Failures in a row; 0 while the far side answers."""
    down_since_ms: int | None = None
    last_error: str | None = None


@dataclass(slots=True)
class _Batch:
    last_seq: int  # the cursor may move here once everything before is done; records passed over are included
    parts: list[list[Record]]  # what is left to hand over, the next one last; halves after a refusal
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Outage:
    since_s: float
    waited_s: float = field(default=0.0)


class Follower:
    """Make one per sink and keep `run` running. `progress` may be read at any time."""

    def __init__(
        self,
        journal: Journal,
        name: str,
        sink: Sink,
        *,
        stamp: Callable[[], Stamp],
        random: Callable[[], float] = _random.random,
    ) -> None:
        self.name = name
        self.sink = sink
        self._progress = Progress()
        self._journal = journal
        self._stamp = stamp
        self._random = random
        self._flying: deque[_Batch] = deque()
        self._read_seq = 0
        self._outage: _Outage | None = None
        self._beat_due_s = 0.0
        self._moved = asyncio.Event()  # replaced whenever the cursor moves

    @property
    def progress(self) -> Progress:
        """How it is doing, as of now."""
        self._progress.backlog = max(self._journal.committed_seq - self._progress.cursor, 0)
        return self._progress

    async def run(self) -> None:
        """Follow until cancelled; then take the confirmations that still come, and close the sink."""
        loop = asyncio.get_running_loop()
        self._read_seq = self._journal.cursor(self.name)
        self._at(self._read_seq)
        self._beat_due_s = loop.time()
        try:
            while True:
                try:
                    await self._round()
                except Unreachable as e:
                    await asyncio.sleep(self._went_down(e))
        finally:
            await self._wind_down()

    async def done(self, seq: int) -> None:
        """Return when the follower is done with everything up to `seq`. No deadline: the caller sets one."""
        while self._progress.cursor < seq:
            await self._moved.wait()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    async def _round(self) -> None:
        """One step: show life if it is time, keep the batches flying, wait for the first of them or for new
        records.
        """
        loop = asyncio.get_running_loop()
        every_s = self.sink.beat_s
        # While a batch waits for the far side, that batch is the probe: a beat must not make it look well.
        if every_s is not None and loop.time() >= self._beat_due_s and not (self._outage and self._flying):
            self._beat_due_s = loop.time()  # due at once again if it fails
            await self.sink.beat()
            self._beat_due_s = loop.time() + every_s
            self._came_up()
        await self._fill()
        if self._flying:
            await self._land()
        else:
            wait_s = None if every_s is None else max(self._beat_due_s - loop.time(), 0.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._journal.more(self._read_seq)

    async def _fill(self) -> None:
        """Start what may fly: all batches, or only the first while the far side is away."""
        while self._outage is None and len(self._flying) < self.sink.in_flight:
            batch = await self._read()
            if batch is None:
                break
            if batch.parts:
                self._flying.append(batch)
            elif self._flying:
                self._flying[-1].last_seq = batch.last_seq
            else:
                self._finish(batch.last_seq)
            if self._flying:
                self._start(self._flying[-1])
        for batch in self._flying:
            self._start(batch)
            if self._outage is not None:
                break

    async def _read(self) -> _Batch | None:
        """Take the next batch from the journal, by count and by bytes; None when there is nothing beyond."""
        sink = self.sink
        chosen: list[Record] = []
        size, seq, full = 0, self._read_seq, False
        while not full:
            committed_seq = self._journal.committed_seq
            records = await self._journal.after(seq, READ_RECORDS)
            if not records:
                seq = max(seq, committed_seq)  # numbers that were lost or forgotten are not waited for
                break
            for record in records:
                body = record.body
                if sink.wants(body) and (type(body) is Reading or not self._own_refusal(body)):
                    weight = weigh(body)
                    full = len(chosen) >= sink.batch_records or (
                        bool(chosen) and size + weight > sink.batch_bytes
                    )
                    if full:
                        break
                    chosen.append(record)
                    size += weight
                seq = record.seq
            if not chosen and seq - self._read_seq >= 10 * READ_RECORDS:
                break  # nothing wanted for a long while: let the cursor move
        if seq == self._read_seq:
            return None
        self._read_seq = seq
        return _Batch(seq, [chosen] if chosen else [])

    def _start(self, batch: _Batch) -> asyncio.Task[None]:
        if batch.task is None:
            batch.task = asyncio.create_task(self._place(batch), name=f"sink.{self.name}.{batch.last_seq}")
        return batch.task

    async def _place(self, batch: _Batch) -> None:
        """Deliver the batch, halving what is refused. Raises Unreachable; the rest then stays in `parts`."""
        while batch.parts:
            part = batch.parts[-1]
            try:
                await self.sink.deliver(part)
            except Refused as e:
                batch.parts.pop()
                taken = min(max(e.accepted, 0), len(part) - 1)  # at least one record is at fault
                self._progress.delivered += taken
                part = part[taken:]
                if len(part) == 1:
                    self._set_aside(part[0], str(e))
                else:
                    half = len(part) // 2
                    batch.parts += [part[half:], part[:half]]
            else:
                batch.parts.pop()
                self._progress.delivered += len(part)

    def _set_aside(self, record: Record, reason: str) -> None:
        self._progress.refused += 1
        self._progress.last_error = reason
        log.warning("%s: record %d refused and set aside: %s", self.name, record.seq, reason)
        # A refusal of the news of a refusal makes no news: two sinks that refuse everything would talk for
        # ever.
        if not (isinstance(record.body, Event) and record.body.what == "refused"):
            self._journal.refuse(self.name, record, reason)

    async def _land(self) -> None:
        """Wait for the first batch. Raises Unreachable when it could not be handed over."""
        head = self._flying[0]
        task = self._start(head)
        await asyncio.wait([task])
        try:
            task.result()
        except Unreachable:
            await self._settle()
            raise
        self._flying.popleft()
        self._finish(head.last_seq)
        self._came_up()
        for what, detail in self.sink.remarks():
            self._journal.append([Event(self._stamp(), what, {"sink": self.name, **detail})])

    async def _settle(self) -> None:
        """Wait for everything that flies; what failed can be started again, what was confirmed stays
        confirmed.
        """
        tasks = [batch.task for batch in self._flying if batch.task is not None]
        await asyncio.wait(tasks)
        for batch in self._flying:
            if batch.task is not None and isinstance(batch.task.exception(), Unreachable):
                batch.task = None

    def _finish(self, seq: int) -> None:
        self._journal.finish(self.name, seq)
        self._at(seq)

    def _at(self, seq: int) -> None:
        self._progress.cursor = seq
        self._moved.set()
        self._moved = asyncio.Event()

    def _went_down(self, e: Unreachable) -> float:
        """Note the failure; give how long to wait."""
        progress = self._progress
        progress.last_error = str(e)
        pause_s = self._random() * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(progress.attempts, 30))
        progress.attempts += 1
        if e.retry_after_s is not None:
            # Its own wish, and some jitter, so that many stations do not come back in the same second.
            pause_s += min(max(e.retry_after_s, 0.0), LONGEST_RETRY_AFTER_S)
        if self._outage is None:
            self._outage = _Outage(asyncio.get_running_loop().time())
            at = self._stamp()
            progress.down_since_ms = at.utc_ms
            log.warning("%s: down: %s", self.name, e)
            detail = {"sink": self.name, "why": str(e), "backlog": self.progress.backlog}
            self._journal.append([Event(at, "sink_down", detail)])
        return pause_s

    def _came_up(self) -> None:
        progress = self._progress
        if self._outage is None:
            return
        down_s = round(asyncio.get_running_loop().time() - self._outage.since_s, 1)
        backlog = self.progress.backlog
        log.warning(
            "%s: up again after %g s and %d attempts; backlog %d",
            self.name,
            down_s,
            progress.attempts,
            backlog,
        )
        detail = {"sink": self.name, "down_s": down_s, "attempts": progress.attempts, "backlog": backlog}
        self._journal.append([Event(self._stamp(), "sink_up", detail)])
        self._outage = None
        progress.down_since_ms = None
        progress.attempts = 0

    def _own_refusal(self, body: Body) -> bool:
        return isinstance(body, Event) and body.what == "refused" and body.detail.get("sink") == self.name

    async def _wind_down(self) -> None:
        tasks = [batch.task for batch in self._flying if batch.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=GRACE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=GRACE_S)
        for batch in self._flying:
            if batch.task is None or not _succeeded(batch.task):
                break
            self._finish(batch.last_seq)
        for task in tasks:
            _succeeded(
                task
            )  # so that no failure is reported as never looked at: the records come again anyway
        self._flying.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self.sink.close()


async def follow(
    journal: Journal,
    name: str,
    sink: Sink,
    *,
    stamp: Callable[[], Stamp],
    random: Callable[[], float] = _random.random,
) -> None:
    """Follow the journal until cancelled, for whoever needs no counters. See `Follower`."""
    await Follower(journal, name, sink, stamp=stamp, random=random).run()


def weigh(body: Body) -> int:
    """About how many bytes a record takes on its way; an estimate is enough for cutting batches."""
    if isinstance(body, Reading):
        return 180 + 60 * len(body.values)
    if isinstance(body, Average):
        return 240 + 100 * len(body.values)
    return 300 + 40 * len(body.detail)


def _succeeded(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
