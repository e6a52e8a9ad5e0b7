"""How fast a backlog goes into InfluxDB 1.6.7: records in memory → lines → gzip → a real server here.

python -m tests.bench.influx
"""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gateway.follow import Follower
from gateway.influx import InfluxSink, Lines
from gateway.influx_doors import version1
from gateway.model import Body, Reading, Record, Stamp, Value
from tests.services import InfluxDB, running

RECORDS = 200_000
START_MS = 1_795_428_000_000


class Backlog:
    """A journal that holds a backlog and nothing else."""

    def __init__(self, bodies: Sequence[Body]) -> None:
        self._records = [Record(i + 1, body) for i, body in enumerate(bodies)]
        self.committed_seq = len(bodies)

    async def after(self, seq: int, limit: int) -> list[Record]:
        return self._records[seq : seq + limit]

    async def more(self, seq: int) -> None:
        await asyncio.Event().wait()

    def cursor(self, name: str) -> int:
        return 0

    def cursors_of(self, name: str) -> dict[str, int]:
        return {}

    def finish(self, name: str, seq: int) -> None:
        return

    def drop(self, name: str) -> None:
        return

    def refuse(self, name: str, record: Record, reason: str) -> None:
        raise AssertionError(reason)

    def append(self, bodies: Sequence[Body]) -> list[Record]:
        raise AssertionError(bodies)


def readings(count: int, quantities: int) -> list[Body]:
    """What eight sensors say every ten seconds."""
    rng = random.Random(1)

    def one(n: int) -> Reading:
        at = Stamp(START_MS + n // 8 * 10_000, "b", n, True)
        numbers = [round(rng.gauss(7, 0.3), 3) for _ in range(quantities)]
        values = {f"q{k}": Value(x, x + 0.01, "mg/L", 1) for k, x in enumerate(numbers)}
        return Reading(f"s{n % 8}", "bench", "water", at, values)

    return [one(n) for n in range(count)]


def run() -> list[tuple[str, str, str]]:
    """Rows of (what, goal, figure)."""
    with tempfile.TemporaryDirectory() as folder, running(InfluxDB(Path(folder))) as server:
        rows = [_measure(server, quantities, RECORDS // quantities) for quantities in (1, 4)]
    bodies = readings(20_000, 1)
    records = [Record(i + 1, body) for i, body in enumerate(bodies)]
    lines = Lines("bench")
    begin_s = time.process_time()
    for at in range(0, len(records), 5000):
        lines.join(records[at : at + 5000])
    cost_us = (time.process_time() - begin_s) / len(records) * 1e6
    rows.append(("InfluxDB: making a line of one value", "floor 1.2 us", f"{cost_us:.2f} us"))
    return rows


def _measure(server: InfluxDB, quantities: int, count: int) -> tuple[str, str, str]:
    database = f"bench{quantities}"
    server.post(f'CREATE DATABASE "{database}"')
    journal = Backlog(readings(count, quantities))
    sink = InfluxSink("bench", version1(server.url, database))
    gc.collect()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def drain() -> float:
        follower = Follower(journal, "influxdb", sink, stamp=lambda: Stamp(START_MS, "b", 0, True))
        task = asyncio.create_task(follower.run())
        begin_s = time.perf_counter()
        async with asyncio.timeout(300):
            await follower.done(count)
        took_s = time.perf_counter() - begin_s
        task.cancel()
        await asyncio.wait([task])
        return took_s

    cpu_s = time.process_time()
    took_s = asyncio.run(drain())
    cpu_s = time.process_time() - cpu_s
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    stored = server.rows('SELECT count("q0") FROM "water"', database)[0]["count"]
    assert stored == count, f"{stored} of {count} points are there"
    rate = count * quantities / took_s
    cost_us = cpu_s / count / quantities * 1e6
    figure = f"{rate:,.0f}/s, {cost_us:.1f} us CPU each, RSS grew by {grown_mb:.1f} MB"
    return (f"InfluxDB backlog, values/s ({quantities} a line)", ">= 150,000/s", figure)


if __name__ == "__main__":
    for what, goal, figure in run():
        print(f"{what:45} {goal:15} {figure}")
