"""The process whose plug is pulled: it writes a journal with known numbers and says how far it got.

    python -m tests.crash.writer FOLDER SEED BOOT STEPS START

Everything it does is small, so that settling, checkpoints, generations, reservations and retention all happen
often. Its marks (see recorder.c), one JSON line each:

    {"made": [[seq, what], …]}      these records were appended; committed or not
    {"committed": seq, "oldest": n} followers may have seen everything up to here; n begins the oldest block
    {"synced": seq, "finished": n}  this much must survive a power cut, and "mqtt" is done with n at least
    {"finish": seq}                 the follower "mqtt" is done with this much
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

from gateway import journal as journal_module
from gateway import journal_disk, journal_store
from gateway.clock import Clock
from gateway.journal import Journal
from gateway.model import Body, Event, Reading, Record, Stamp, Value

LIMIT_BYTES = 60_000
START_MS = 1_763_892_000_000


def small() -> None:
    """Make everything happen often; also for whoever opens the journal afterwards."""
    journal_module.SETTLE_BYTES = 1750
    journal_module.RECENT = 15
    journal_module.RESERVE = 12
    journal_disk.FORGET_AT_ONCE = 3
    journal_store.CHECKPOINT_PAGES = 8


class ToldClock(Clock):
    """A clock that goes by itself with each stamp, in a boot of one's choice."""

    def __init__(self, boot: str, now_ms: int = START_MS) -> None:
        self.boot = boot
        self.now_ms = now_ms

    def stamp(self) -> Stamp:
        self.now_ms += 500
        return Stamp(self.now_ms, self.boot, self.now_ms - START_MS, True)


class Counter:
    """A fold that numbers every third reading in a derived event."""

    name = "counter"

    def __init__(self) -> None:
        self.count = 0

    def step(self, record: Record) -> Sequence[Body]:
        if not isinstance(record.body, Reading):
            return []
        self.count += 1
        if self.count % 3:
            return []
        return [Event(record.body.at, "third", {"count": self.count, "of": record.seq})]

    def tick(self, at: Stamp) -> Sequence[Body]:
        return []

    def save(self) -> bytes:
        return b"%d" % self.count

    def restore(self, state: bytes) -> None:
        self.count = int(state)


def what(body: Body) -> object:
    """What a record says, to be told from any other: the number of a reading, or an event."""
    if isinstance(body, Reading):
        return [body.values["ph"].raw, body.at.utc_ms]
    return [body.what, body.detail]


class MarkingJournal(Journal):
    marks: int

    def append(self, bodies: Sequence[Body]) -> list[Record]:
        records = super().append(bodies)
        self.mark(made=[[record.seq, what(record.body)] for record in records])
        return records

    def mark(self, **said: object) -> None:
        os.write(self.marks, json.dumps(said).encode())

    async def commit(self) -> None:
        async with self._lock:
            await self._commit(durable=False)

    def mark_committed(self) -> None:
        store = self._disk._store
        oldest = store.oldest() if store else None
        self.mark(committed=self.committed_seq, oldest=oldest.first_seq if oldest else 0)

    def mark_synced(self) -> None:
        self.mark(synced=self.committed_seq, finished=self._memory.cursors["mqtt"])


async def write(folder: Path, seed: int, boot: str, steps: int, start: int) -> None:
    random = Random(seed)
    marks = os.open(folder / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    clock = ToldClock(boot, START_MS + 1000 * start)
    number = start
    while steps > 0:
        journal = MarkingJournal(folder, clock, folds=[Counter()], limit_bytes=LIMIT_BYTES)
        journal.marks = marks
        await journal.open()
        finished = journal.cursor("mqtt")
        journal.mark_committed()
        journal.mark_synced()
        for _ in range(min(steps, random.randint(20, 90))):
            steps -= 1
            some = []
            for _ in range(random.randint(1, 4)):
                number += 1
                value = Value(float(number), number + random.random(), "pH", 1)
                some.append(Reading("ph1", "yosemitech-y532", "water", clock.stamp(), {"ph": value}))
            journal.append(some)
            choice = random.random()
            if choice < 0.65:
                await journal.commit()
                journal.mark_committed()
            elif choice < 0.85:
                await journal.sync()
                journal.mark_committed()
                journal.mark_synced()
            if random.random() < 0.4 and journal.committed_seq > finished:
                finished = random.randint(finished, journal.committed_seq)
                journal.mark(finish=finished)
                journal.finish("mqtt", finished)
        if random.random() < 0.5:
            await journal.close()
            journal.mark(committed=journal.committed_seq)
            journal.mark_synced()
        else:  # as a killed process ends; the kernel goes on
            await journal._in_thread(journal._disk.close)


if __name__ == "__main__":
    small()
    where, seed, boot, steps, start = sys.argv[1:]
    asyncio.run(write(Path(where), int(seed), boot, int(steps), int(start)))
