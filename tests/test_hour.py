"""A far side that is away for an hour, in virtual time, on the real journal: nothing is lost or slowed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from gateway.clock import Clock
from gateway.errors import Unreachable
from gateway.follow import Follower
from gateway.journal import Journal
from gateway.model import Body, Event, Reading, Record, Stamp, Value
from tests.virtual_time import run

AWAY_FROM_S, AWAY_UNTIL_S = 60.0, 3660.0
END_S = 4200.0


class VirtualClock(Clock):
    def stamp(self) -> Stamp:
        mono_ms = round(asyncio.get_running_loop().time() * 1000)
        return Stamp(1_795_428_000_000 + mono_ms, "boot0001", mono_ms, True)


class Far:
    """A far side; `away` or not by the loop's time."""

    in_flight = 1
    batch_records = 100
    batch_bytes = 100_000
    beat_s: float | None = None
    history_per_s = 1e6
    carried_bytes = 0

    def __init__(self, *, leaves: bool) -> None:
        self.leaves = leaves
        self.took: list[int] = []
        self.late_s = 0.0
        self.tried_s: list[float] = []

    def wants(self, body: Body) -> bool:
        return isinstance(body, Reading)

    async def deliver(self, records: Sequence[Record], *, late: bool = False) -> None:
        now_s = asyncio.get_running_loop().time() - self.start_s
        if self.leaves and AWAY_FROM_S <= now_s < AWAY_UNTIL_S:
            self.tried_s.append(now_s)
            raise Unreachable("connection refused")
        self.took += [record.seq for record in records]
        newest = records[-1].body
        assert isinstance(newest, Reading)
        self.late_s = max(self.late_s, now_s - newest.values["ph"].raw)

    start_s = 0.0

    def corrects(self, body: Body) -> bool:
        return False

    async def beat(self) -> None:
        return

    async def knock(self) -> bool:
        return True

    def remarks(self) -> Iterable[tuple[str, dict[str, object]]]:
        return []

    async def close(self) -> None:
        return


def test_an_hour_away(tmp_path: Path) -> None:
    gone, there = Far(leaves=True), Far(leaves=False)

    async def job() -> list[Record]:
        clock = VirtualClock()
        loop = asyncio.get_running_loop()
        journal = Journal(tmp_path, clock)
        await journal.open()
        gone.start_s = there.start_s = loop.time()
        followers = [
            Follower(journal, name, far, stamp=clock.stamp)
            for name, far in (("gone", gone), ("there", there))
        ]
        tasks = [asyncio.create_task(follower.run()) for follower in followers]
        tasks.append(asyncio.create_task(journal.run()))
        for second in range(int(END_S)):
            number = float(second)
            values = {"ph": Value(number, number, "pH", 1)}
            journal.append([Reading("ph1", "reference", "water", clock.stamp(), values)])
            await asyncio.sleep(1.0)
        last_seq = journal.committed_seq
        async with asyncio.timeout(600):
            await asyncio.gather(*(follower.done(last_seq) for follower in followers))
        records: list[Record] = []
        while batch := await journal.after(records[-1].seq if records else 0, 1000):
            records += batch
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await journal.close()
        return records

    records = run(job())
    readings = [record.seq for record in records if isinstance(record.body, Reading)]
    assert len(readings) == END_S
    assert sorted(gone.took) == sorted(there.took) == readings
    assert there.late_s < 3.0  # the other far side never noticed
    said = [r.body.what for r in records if isinstance(r.body, Event)]
    assert (said.count("sink_down"), said.count("sink_up")) == (
        1,
        1,
    )  # once when it breaks, once when it is back
    pauses = [b - a for a, b in zip(gone.tried_s, gone.tried_s[1:], strict=False)]
    assert max(pauses) <= 300.5
    assert len(gone.tried_s) < 60  # it is not hammered
