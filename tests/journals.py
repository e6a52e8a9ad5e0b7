"""What the tests of the journal share: a clock that is told, readings that count, an end as by a kill."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from gateway.clock import Clock
from gateway.journal import Journal
from gateway.model import Body, Event, Reading, Record, Stamp, Value


class FixedClock(Clock):
    """A clock that only goes when told, and whose boot can be chosen."""

    def __init__(self, boot: str = "boot0001") -> None:
        self.boot = boot
        self.now_ms = 1_763_892_000_000

    def stamp(self) -> Stamp:
        return Stamp(self.now_ms, self.boot, self.now_ms - 1_763_000_000_000, True)


def reading(clock: FixedClock, number: float) -> Reading:
    return Reading("ph1", "yosemitech-y532", "water", clock.stamp(), {"ph": Value(number, number, "pH", 1)})


async def drop(journal: Journal) -> None:
    """End as a killed process does: nothing is committed any more, the files are let go."""
    await journal._in_thread(journal._disk.close)


async def everything(journal: Journal, seq: int = 0) -> list[Record]:
    found: list[Record] = []
    while batch := await journal.after(seq, 7):
        found += batch
        seq = batch[-1].seq
    return found


def numbers(records: Sequence[Record]) -> list[float]:
    return [record.body.values["ph"].raw for record in records if isinstance(record.body, Reading)]


def events(records: Sequence[Record], what: str) -> list[dict[str, object]]:
    return [r.body.detail for r in records if isinstance(r.body, Event) and r.body.what == what]


def play(job: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            await job()

    asyncio.run(within())


class Counter:
    """A fold that derives an event from every third reading, and one tick event."""

    name = "counter"

    def __init__(self) -> None:
        self.count = 0
        self.ticked = False

    def step(self, record: Record) -> Sequence[Body]:
        if not isinstance(record.body, Reading):
            return []
        self.count += 1
        if self.count % 3:
            return []
        return [Event(record.body.at, "third", {"count": self.count, "seq": record.seq})]

    def tick(self, at: Stamp) -> Sequence[Body]:
        if self.ticked:
            return []
        self.ticked = True
        return [Event(at, "ticked", {})]

    def save(self) -> bytes:
        return b"%d %d" % (self.count, self.ticked)

    def restore(self, state: bytes) -> None:
        self.count, self.ticked = int(state.split()[0]), state.split()[1] == b"1"
