"""A sink that does as it is told, and a follower of it in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence

from gateway.errors import Refused, Unreachable
from gateway.follow import Follower
from gateway.model import Body, Record
from tests.memory_journal import MemoryJournal, stamp
from tests.virtual_time import run


class FakeSink:
    """Takes everything unless told otherwise: `answers` are used up first, one per delivery; `poison` is
    always refused.
    """

    def __init__(self) -> None:
        self.in_flight = 1
        self.history_per_s = 1000.0
        self.correcting: Callable[[Body], bool] = lambda _: False
        self.open = True
        self.knocks = 0
        self.carried_bytes = 0
        self.batch_records = 100
        self.batch_bytes = 1_000_000
        self.beat_s: float | None = None
        self.answers: list[Exception | None] = []
        self.poison: set[int] = set()
        self.away: str | None = None
        self.got: list[list[int]] = []
        """Every batch offered, confirmed or not."""
        self.confirmed: list[int] = []
        self.at_s: list[float] = []
        self.beats: list[float] = []
        self.beat_answers: list[Exception | None] = []
        self.closed = 0
        self.takes_s = 0.0
        self.wanted: Callable[[Body], bool] = lambda _: True
        self.said: list[tuple[str, dict[str, object]]] = []

    def wants(self, body: Body) -> bool:
        return self.wanted(body)

    def corrects(self, body: Body) -> bool:
        return self.correcting(body)

    async def knock(self) -> bool:
        self.knocks += 1
        return self.open

    async def deliver(self, records: Sequence[Record], *, late: bool = False) -> None:
        self.got.append([record.seq for record in records])
        self.at_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes_s)
        if self.away:
            raise Unreachable(self.away)
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer
        if bad := [r.seq for r in records if r.seq in self.poison]:
            raise Refused(f"poison {bad[0]}")
        self.confirmed += [record.seq for record in records]

    async def beat(self) -> None:
        self.beats.append(asyncio.get_running_loop().time())
        if self.beat_answers and (answer := self.beat_answers.pop(0)) is not None:
            raise answer

    def remarks(self) -> Iterable[tuple[str, dict[str, object]]]:
        said, self.said = self.said, []
        return said

    async def close(self) -> None:
        self.closed += 1


@contextlib.asynccontextmanager
async def following(journal: MemoryJournal, sink: FakeSink, name: str = "mqtt"):  # type: ignore[no-untyped-def]  # a generator
    follower = Follower(journal, name, sink, stamp=stamp, random=lambda: 1.0)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def play(job: Callable[[], Awaitable[None]], within_s: float = 1e6) -> None:
    async def within() -> None:
        async with asyncio.timeout(within_s):
            await job()

    run(within())


def seqs(sink: FakeSink) -> list[int]:
    return [seq for batch in sink.got for seq in batch]
