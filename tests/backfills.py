"""What the tests of backfill share: a sink that tells live from history, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from gateway.follow import Follower
from gateway.model import Event, Reading, Record, Stamp, Value
from tests.followers import FakeSink
from tests.memory_journal import START_MS


def now() -> Stamp:
    """The station's clock: the loop's time."""
    ms = round(asyncio.get_running_loop().time() * 1000)
    return Stamp(START_MS + ms, "boot0001", ms, True)


def reading(number: float) -> Reading:
    return Reading("ph1", "m", "water", now(), {"ph": Value(number, number, "pH", 1)})


def alarm(rule: str, to: str) -> Event:
    return Event(now(), "alarm", {"rule": rule, "to": to})


class TwoWays(FakeSink):
    """Tells live from history. Takes `each_s` for a record."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_records = 500
        self.wanted = lambda body: isinstance(body, Reading)
        self.live: list[int] = []
        self.late: list[int] = []
        self.delays_s: list[float] = []
        """Of live readings."""
        self.slices: list[tuple[float, int]] = []
        self.each_s = 0.0

    async def deliver(self, records: Sequence[Record], *, late: bool = False) -> None:
        await asyncio.sleep(self.each_s * len(records))
        await super().deliver(records, late=late)
        loop_ms = asyncio.get_running_loop().time() * 1000
        if late:
            self.late += [record.seq for record in records]
            self.slices.append((loop_ms / 1000, len(records)))
        else:
            self.live += [record.seq for record in records]
            self.delays_s += [(loop_ms - record.body.at.mono_ms) / 1000 for record in records]


@contextlib.asynccontextmanager
async def following(journal: Any, sink: FakeSink) -> AsyncIterator[Follower]:
    follower = Follower(journal, "mqtt", sink, stamp=now, random=lambda: 1.0)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def read_for(journal: Any, seconds: int, every_s: float = 10.0) -> list[int]:
    """Readings in their time; their numbers."""
    seqs = []
    for n in range(round(seconds / every_s)):
        seqs += [record.seq for record in journal.append([reading(n)])]
        await asyncio.sleep(every_s)
    return seqs
