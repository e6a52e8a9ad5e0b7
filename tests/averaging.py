"""What the tests of averages share: readings after ten o'clock; a fold, what it saw and what it gave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from zoneinfo import ZoneInfo

from gateway.averages import AveragesFold
from gateway.clock import Clock
from gateway.journal import Journal
from gateway.model import Average, Body, Reading, Record, Stamp, Value

TEN_MS = 1_795_428_000_000
"""2026-11-23 10:00 UTC."""
BISHKEK = ZoneInfo("Asia/Bishkek")


def at(ms: int, *, mono_ms: int | None = None, boot: str = "boot0001", synced: bool = True) -> Stamp:
    """So many ms after ten o'clock."""
    return Stamp(TEN_MS + ms, boot, 1_000_000 + ms if mono_ms is None else mono_ms, synced)


def reading(ms: int, value: float, flag: int = 1, *, stamp: Stamp | None = None, **more: Value) -> Reading:
    return Reading(
        "t1", "y511", "water", stamp or at(ms), {"turbidity": Value(value, value, "NTU", flag), **more}
    )


def fold(lengths_s: Sequence[float] = (60,), every_s: float = 10.0, **wishes: object) -> AveragesFold:
    return AveragesFold(lengths_s, {"t1": every_s, "wind": 1.0}, **wishes)  # type: ignore[arg-type]  as given


class Run:
    """A fold, what it is shown, and what it gave."""

    def __init__(self, fold: AveragesFold) -> None:
        self.fold = fold
        self.seq = 0
        self.given: list[Body] = []

    def see(self, *bodies: Body) -> list[Body]:
        given: list[Body] = []
        for body in bodies:
            self.seq += 1
            given += self.fold.step(Record(self.seq, body))
        self.given += given
        return given

    def tick(self, ms: int, stamp: Stamp | None = None) -> list[Body]:
        given = list(self.fold.tick(stamp or at(ms)))
        self.given += given
        return given

    def averages(self) -> list[Average]:
        return [body for body in self.given if isinstance(body, Average)]


def one(bodies: Sequence[Body]) -> Average:
    [average] = bodies
    assert isinstance(average, Average)
    return average


class FixedClock(Clock):
    def __init__(self) -> None:
        self.boot = "boot0001"
        self.now = at(0)

    def stamp(self) -> Stamp:
        return self.now


async def everything(journal: Journal) -> list[Record]:
    found: list[Record] = []
    while batch := await journal.after(found[-1].seq if found else 0, 500):
        found += batch
    return found


def in_time(job: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(40):
            await job()

    asyncio.run(within())
