"""A station whose clock comes late: its journal, its sinks and what they got, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from gateway.clock import Clock
from gateway.dating import DatingFold
from gateway.dating_release import DatedStamp, Release
from gateway.errors import Unreachable
from gateway.follow import Follower
from gateway.journal import Journal
from gateway.model import Event, Reading, Record, Value
from tests.clocks import DAY_S, LoopWorld
from tests.followers import FakeSink
from tests.virtual_time import run

HOLD_S = 1800.0
COMMIT_S = 10.0


class Far(FakeSink):
    """A far side that may be away, may answer too late to be heard, and remembers every time it was told."""

    def __init__(self, *, separates: bool, beats: bool) -> None:
        super().__init__()
        self.separates = separates
        self.beat_s = 60.0 if beats else None
        self.wanted = lambda body: isinstance(body, Reading)
        self.told: dict[int, set[int]] = {}
        self.readings: dict[int, Reading] = {}
        self.first = asyncio.Event()
        self.live: list[int] = []
        self.is_up = True
        self.is_deaf = False

    async def deliver(self, records: Sequence[Record], *, late: bool = False) -> None:
        await asyncio.sleep(0.1)
        if not self.is_up:
            raise Unreachable("away")
        for record in records:
            assert isinstance(record.body, Reading)
            self.told.setdefault(record.seq, set()).add(record.body.at.utc_ms)
            self.readings[record.seq] = record.body
            self.live += [] if late else [record.seq]
        self.first.set()
        if self.is_deaf:
            raise Unreachable("the answer was lost")

    async def beat(self) -> None:
        if not self.is_up:
            raise Unreachable("away")

    async def knock(self) -> bool:
        return self.is_up


class Life:
    """A machine with a station on it: the world, the disk, and one process after the other."""

    def __init__(self, folder: Path, *, hold_s: float = HOLD_S, drift_ppm: float = 0.0) -> None:
        self.folder, self.safe = folder / "data", folder / "safe"
        self.world = LoopWorld(drift_ppm)
        self.hold_s = hold_s
        self.sinks = {
            "mqtt": Far(separates=True, beats=True),
            "influxdb": Far(separates=False, beats=False),
        }
        self.seqs: set[int] = set()
        """Of readings that are on the disk."""
        self._tasks: list[asyncio.Task[None]] = []

    async def power_on(self, system_ms: float = 0.0) -> None:
        self.world.catch_up()
        self.world.power_on(system_ms)
        await self.start()

    async def start(self) -> None:
        """A process begins."""
        self.fold = DatingFold()
        self.clock = Clock(memory=self.fold, machine=self.world)
        self.journal = Journal(self.folder, self.clock, folds=[self.fold], commit_s=COMMIT_S)
        self._keep_snapshots()
        await self.journal.open()
        stamp = self.clock.stamp
        self.followers = {
            name: Follower(
                self.journal, name, sink, stamp=stamp, random=lambda: 0.5,
                release=Release(self.fold, self.journal, name, stamp=stamp, hold_s=self.hold_s),
            )
            for name, sink in self.sinks.items()
        }  # fmt: skip
        jobs = [self.journal.run(), self._tick(), *(f.run() for f in self.followers.values())]
        self._tasks = [asyncio.create_task(job) for job in jobs]

    async def kill(self) -> None:
        """The process is gone; the kernel has what was committed."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.journal._in_thread(self.journal._disk.close)

    async def power_cut(self, off_s: float, system_ms: float = 0.0) -> None:
        """Only what was synced is there afterwards."""
        await self.kill()
        shutil.rmtree(self.folder)
        shutil.copytree(self.safe, self.folder)
        self.world.catch_up()
        self.world.off(off_s)
        await self.power_on(system_ms)

    async def read(self, seconds: float, every_s: float = 30.0) -> None:
        """Readings that say the true time."""
        for _ in range(int(seconds / every_s)):
            await asyncio.sleep(every_s)
            at = self.clock.stamp()
            true_ms = self.world.true_ms
            value = Value(true_ms, true_ms, "ms", 1)
            self.journal.append([Reading("clock", "m", "water", at, {"true": value})])

    def sync(self) -> None:
        self.world.catch_up()
        self.world.sync()

    async def delivered(self) -> None:
        """Return when both sinks have everything."""
        last_seq = self.journal.last_seq
        await asyncio.gather(*(follower.done(last_seq) for follower in self.followers.values()))

    def trusts(self, sink: str) -> list[str]:
        """How the times are known that a sink was told, without repetitions, in order."""
        readings = [reading for _, reading in sorted(self.sinks[sink].readings.items())]
        stamps = [reading.at for reading in readings]
        words = [at.trust if isinstance(at, DatedStamp) else "synced" for at in stamps]
        return [word for word, _ in itertools.groupby(words)]

    async def check(self) -> None:
        """Every reading of the journal was told, with one time, and that is within what was said of it."""
        records = await self.records()
        readings = {r.seq for r in records if isinstance(r.body, Reading)}
        for name, sink in self.sinks.items():
            assert readings <= set(sink.told), name
            for seq, reading in sink.readings.items():
                assert len(sink.told[seq]) == 1, f"{name}: {seq} was told with two times"
                at = reading.at
                error_ms = at.utc_ms - reading.values["true"].raw
                allowed_ms = at.uncertainty_ms if isinstance(at, DatedStamp) else 50
                assert abs(error_ms) <= allowed_ms, (name, seq, at, error_ms)
                flag, why = reading.values["true"].flag, reading.values["true"].why
                sure = not isinstance(at, DatedStamp) or at.trust == "dated"
                assert (flag, why) == ((1, "") if sure else (3, "clock"))

    async def records(self) -> list[Record]:
        """All of the journal."""
        found: list[Record] = []
        while some := await self.journal.after(found[-1].seq if found else 0, 5000):
            found += some
        return found

    async def events(self, what: str) -> list[dict[str, Any]]:
        records = await self.records()
        return [r.body.detail for r in records if isinstance(r.body, Event) and r.body.what == what]

    def errors_ms(self, sink: str) -> list[float]:
        return [r.at.utc_ms - r.values["true"].raw for r in self.sinks[sink].readings.values()]

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_S)
            self.journal.tick()

    def _keep_snapshots(self) -> None:
        """After each sync, note what a power cut would leave."""
        disk = self.journal._disk
        write, settle = disk.write, disk.settle

        def keep() -> None:
            shutil.rmtree(self.safe, ignore_errors=True)
            shutil.copytree(self.folder, self.safe)

        def writing(lines: bytes, *, durable: bool) -> None:
            write(lines, durable=durable)
            if durable:
                keep()

        def settling(*args: Any) -> None:
            settle(*args)
            keep()

        disk.write, disk.settle = writing, settling  # type: ignore[method-assign]  # a disk that is watched


def story(folder: Path, tell: Callable[[Life], Coroutine[Any, Any, None]], **wishes: Any) -> Life:
    life = Life(folder, **wishes)

    async def main() -> None:
        async with asyncio.timeout(DAY_S):
            await life.power_on()
            await tell(life)
            await life.kill()

    run(main())
    return life
