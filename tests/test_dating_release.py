"""What is held back for the clock: it goes out with its true time, once and always with the same, whatever
happens in between: outages, kills, power cuts, a clock that nobody ever sets.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import shutil
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.averages import AveragesFold
from gateway.clock import FAR_MS, Clock
from gateway.dating import Dated, DatingFold
from gateway.dating_release import GRACE_S, DatedStamp, Release, redated
from gateway.errors import Unreachable
from gateway.follow import Follower
from gateway.influx_lines import Lines
from gateway.journal import Journal
from gateway.model import Average, Body, Event, Mean, Reading, Record, Stamp, Value
from gateway.mqtt_messages import average_json, event_json, reading_json
from gateway.qc import Expect
from gateway.qc_spike import SpikeFold
from tests.clocks import DAY_S, HOUR_S, START_MS, LoopWorld
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


# ── stories ──


def test_what_was_read_before_the_sync_waits_for_it(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        await life.read(600)
        assert [len(sink.told) for sink in life.sinks.values()] == [0, 0]
        assert [f.progress.held > 15 for f in life.followers.values()] == [True, True]
        life.sync()
        await life.read(60)
        await life.delivered()
        await life.check()
        assert [f.progress.held for f in life.followers.values()] == [0, 0]

    life = story(tmp_path, tell)
    for sink in life.sinks:
        assert life.trusts(sink) == ["dated", "synced"]
        assert max(map(abs, life.errors_ms(sink))) <= 1


def test_live_is_first_what_is_older_is_history(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        await life.read(600)
        life.sync()
        await asyncio.sleep(15)
        seqs = sorted(life.sinks["mqtt"].told)
        assert set(life.sinks["mqtt"].live) <= set(seqs[-3:]), "the last minute"
        assert len(seqs) > 15
        await life.delivered()
        await life.check()

    story(tmp_path, tell)


def test_a_sync_in_the_middle_of_an_outage(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        for sink in life.sinks.values():
            sink.is_up = False
        await life.read(HOUR_S, 60)
        life.sync()
        await life.read(600, 60)
        for sink in life.sinks.values():
            sink.is_up = True
        await life.delivered()
        await life.check()
        assert await life.events("clock_unknown") == []

    life = story(tmp_path, tell)
    assert [life.trusts(sink) for sink in life.sinks] == [["dated", "synced"]] * 2
    assert max(map(abs, life.errors_ms("influxdb"))) <= 1


def test_network_and_time_come_back_together_and_the_time_a_little_later(tmp_path: Path) -> None:
    """`hold` is long over by then, but nobody could have been told anything."""

    async def tell(life: Life) -> None:
        for sink in life.sinks.values():
            sink.is_up = False
        await life.read(2 * HOLD_S, 60)
        for sink in life.sinks.values():
            sink.is_up = True
        await life.read(GRACE_S - 180)
        assert [len(sink.told) for sink in life.sinks.values()] == [0, 0]
        life.sync()
        await life.read(60)
        await life.delivered()
        await life.check()

    life = story(tmp_path, tell)
    assert [life.trusts(sink) for sink in life.sinks] == [["dated", "synced"]] * 2


def test_a_clock_that_nobody_sets_holds_up_nothing_for_ever(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        await life.read(HOLD_S - 120, 60)
        assert [len(sink.told) for sink in life.sinks.values()] == [0, 0]
        await life.read(240, 60)
        assert [len(sink.told) > 25 for sink in life.sinks.values()] == [True, True]
        await life.read(HOUR_S, 60)
        for sink in life.sinks.values():
            assert len(sink.told) > 85, "what comes then goes at once"
        said = await life.events("clock_unknown")
        assert sorted(e["sink"] for e in said) == ["influxdb", "mqtt"]
        assert [e["boot"] for e in said] == ["boot0001"] * 2
        life.sync()
        await life.read(600)
        await life.delivered()
        await life.check()

    life = story(tmp_path, tell)
    assert [life.trusts(sink) for sink in life.sinks] == [["unsynced", "synced"]] * 2
    stamp = life.sinks["mqtt"].readings[min(life.sinks["mqtt"].readings)].at
    assert isinstance(stamp, DatedStamp)
    assert stamp.uncertainty_ms > FAR_MS // 2


def test_no_hold_is_no_waiting(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        await life.read(60)
        await asyncio.sleep(3)
        assert [len(sink.told) for sink in life.sinks.values()] == [2, 2]
        await life.check()

    story(tmp_path, tell, hold_s=0.0)


def test_many_short_boots_add_up_to_the_hold(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        for _ in range(3):
            await life.read(GRACE_S + 180, 60)
            await life.power_cut(HOUR_S)
        assert [len(sink.told) > 20 for sink in life.sinks.values()] == [True, True]
        life.sync()
        await life.read(60)
        await life.delivered()
        await life.check()

    story(tmp_path, tell)


def test_boots_without_time_lie_between_their_neighbours(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        life.sync()
        await life.read(600)
        for off_s in (HOUR_S, 600, 3 * HOUR_S):
            await life.power_cut(off_s)
            await life.read(600)
        life.sync()
        await life.read(60)
        await life.delivered()
        await life.check()
        assert [e["trust"] for e in await life.events("clock_set")] == ["estimated", "estimated", "dated"]

    life = story(tmp_path, tell, drift_ppm=40.0)
    assert life.trusts("influxdb") == ["synced", "estimated", "dated", "synced"]
    times = [reading.at.utc_ms for _, reading in sorted(life.sinks["influxdb"].readings.items())]
    assert times == sorted(times)


@pytest.mark.parametrize("answers", [True, False])
def test_a_power_cut_right_after_the_sync_changes_no_time(tmp_path: Path, answers: bool) -> None:
    """What dates a boot is on the disk before it is used; else the boot would be "estimated" now, and the
    readings would go out again, with another time.
    """

    async def tell(life: Life) -> None:
        for sink in life.sinks.values():
            sink.is_deaf = not answers
        await life.read(600)
        life.sync()
        await asyncio.gather(*(sink.first.wait() for sink in life.sinks.values()))
        for sink in life.sinks.values():
            sink.is_deaf = False
        await life.power_cut(HOUR_S)
        await life.read(60)
        life.sync()
        await life.read(60)
        await life.delivered()
        await life.check()

    life = story(tmp_path, tell)
    assert life.trusts("influxdb")[0] == "dated"


@pytest.mark.parametrize("answers", [True, False])
def test_a_power_cut_right_after_the_end_of_the_hold_changes_no_time(tmp_path: Path, answers: bool) -> None:
    async def tell(life: Life) -> None:
        for sink in life.sinks.values():
            sink.is_deaf = not answers
        await life.read(HOLD_S - 60, 60)
        await asyncio.gather(*(sink.first.wait() for sink in life.sinks.values()))
        for sink in life.sinks.values():
            sink.is_deaf = False
        await life.power_cut(HOUR_S)
        life.sync()
        await life.read(60)
        await life.delivered()
        await life.check()

    life = story(tmp_path, tell)
    assert life.trusts("influxdb")[0] == "unsynced"


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_each_reading_has_one_time_and_that_is_right(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    async def tell(life: Life) -> None:
        for _ in range(8):
            sink = life.sinks[chance.choice(("mqtt", "influxdb"))]
            match chance.randrange(8):
                case 0:
                    sink.is_up = not sink.is_up
                case 1:
                    sink.is_deaf = not sink.is_deaf
                case 2:
                    life.sync()
                case 3:
                    life.world.catch_up()
                    life.world.set_by_hand(chance.choice((HOUR_S, -HOUR_S, 20 * 365 * DAY_S, -3.0)))
                case 4:
                    await life.kill()
                    await life.start()
                case 5:
                    await life.power_cut(chance.choice((5.0, HOUR_S, 9 * DAY_S)))
                case _:
                    pass
            await life.read(chance.choice((60, 300, HOLD_S)), 60)
            await asyncio.sleep(chance.uniform(0, 3))
        for sink in life.sinks.values():
            sink.is_up, sink.is_deaf = True, False
        life.sync()
        await life.read(120)
        await life.delivered()
        await life.check()

    story(tmp_path, tell, drift_ppm=chance.uniform(-90, 90))


# ── single records ──

AT = Stamp(START_MS, "b", 60_000, False)


def test_what_is_flagged_already_stays_at_least_so() -> None:
    values = {
        name: Value(1.0, 1.0, "pH", flag, why)
        for name, flag, why in (("a", 1, ""), ("b", 2, ""), ("c", 3, "rate"), ("d", 4, "gross"), ("e", 9, ""))
    }
    body = redated(Reading("s", "m", "water", AT, values), Dated(START_MS + 5, "estimated", 7))
    assert isinstance(body, Reading)
    found = {name: (v.flag, v.why) for name, v in body.values.items()}
    assert found == {
        "a": (3, "clock"), "b": (3, "clock"), "c": (3, "rate; clock"), "d": (4, "gross; clock"),
        "e": (9, "clock"),
    }  # fmt: skip
    sure = redated(Reading("s", "m", "water", AT, values), Dated(START_MS + 5, "dated", 7))
    assert isinstance(sure, Reading)
    assert sure.values == values


def test_an_average_moves_as_a_whole() -> None:
    mean = Mean(1.0, 0.5, 1.5, 6, 6, "pH", 1)
    average = Average("s", "m", "water", AT, START_MS - 60_000, 60, {"ph": mean})
    body = redated(average, Dated(START_MS + 37_000, "dated", 80))
    assert isinstance(body, Average)
    assert (body.start_ms, body.at.utc_ms) == (START_MS - 23_000, START_MS + 37_000)
    assert body.values == {"ph": mean}
    said = json.loads(average_json("s", 1, body))
    assert (said["clock"], said["uncertainty_ms"]) == ("dated", 80)


def test_what_the_sinks_say_of_it() -> None:
    value = Value(7.0, 7.0, "pH", 1)
    reading = redated(Reading("s", "m", "water", AT, {"ph": value}), Dated(START_MS + 5, "unknown", 7000))
    assert isinstance(reading, Reading)
    said = json.loads(reading_json("s1", 1, reading))
    assert (said["clock"], said["uncertainty_ms"]) == ("unsynced", 7000)
    assert said["time"] == "2026-11-23T10:00:00.005Z"
    assert said["values"]["ph"]["flag"] == 3
    line = Lines("s1").reading(reading)
    assert (
        line == f"water,station=s1,sensor=s uncertainty_ms=7000i,ph=7.0,ph_raw=7.0,ph_flag=3i {START_MS + 5}"
    )
    event = redated(Event(AT, "x", {}), Dated(START_MS + 5, "estimated", 7))
    assert isinstance(event, Event)
    said = json.loads(event_json("s1", 1, event))
    assert (said["clock"], said["uncertainty_ms"]) == ("estimated", 7)


def test_the_average_of_an_unsure_window_is_stamped_by_its_readings_clock() -> None:
    """It is given out after the sync, when the clock shows something else; and in the next boot."""
    for closing in (Stamp(START_MS + 10**9, "b", 130_000, True), Stamp(START_MS + 10**9, "c", 5000, False)):
        fold = AveragesFold([60], {"s": 10.0})
        for i in range(6):
            at = Stamp(START_MS + i * 10_000, "b", 60_000 + i * 10_000, False)
            fold.step(Record(i + 1, Reading("s", "m", "water", at, {"ph": Value(7.0, 7.0, "pH", 1)})))
        kept = AveragesFold([60], {"s": 10.0})
        kept.restore(fold.save())
        [average] = kept.tick(closing)
        assert average.at == Stamp(START_MS + 60_000, "b", 120_000, False)


def test_a_verdict_on_a_spike_finds_its_point_at_its_new_time() -> None:
    """The reading was dated anew, and its verdict comes from a synced one."""
    fold, spikes = DatingFold(), SpikeFold({"s": (10.0, {"ph": Expect(spike=(0.5, 1.0))})})
    derived: list[Body] = []
    for i, ph in enumerate((7.0, 9.0, 7.0)):
        synced = i == 2
        at = Stamp(START_MS + i * 10_000 + (10**9 if synced else 0), "b", 60_000 + i * 10_000, synced)
        record = Record(i + 1, Reading("s", "m", "water", at, {"ph": Value(ph, ph, "pH", 1)}))
        fold.step(record)
        derived += spikes.step(record)
    [flagged] = derived
    assert isinstance(flagged, Event)
    release = Release(fold, None, "influxdb", stamp=lambda: AT, hold_s=0)  # type: ignore[arg-type]  # not used
    release._safe_seq = 3
    point = release.take(
        Record(2, Reading("s", "m", "water", Stamp(START_MS + 10_000, "b", 70_000, False), {}))
    )
    verdict = release.take(Record(4, flagged))
    assert point is not None
    assert verdict is not None
    assert isinstance(verdict.body, Event)
    assert verdict.body.detail["time_ms"] == point.body.at.utc_ms == START_MS + 10_000 + 10**9


def test_a_disk_that_takes_nothing_lets_nothing_out() -> None:
    """A date that is not kept could be another one after a power cut."""

    class Full:
        committed_seq = 0
        synced = 0

        def append(self, bodies: Sequence[Body]) -> list[Record]:
            return [Record(7, body) for body in bodies]

        async def sync(self) -> None:
            self.synced += 1

    fold, journal = DatingFold(), Full()
    value = {"ph": Value(7.0, 7.0, "pH", 1)}
    before = Record(1, Reading("s", "m", "water", AT, value))
    fold.step(before)
    fold.step(Record(2, Reading("s", "m", "water", Stamp(START_MS, "b", 70_000, True), value)))
    release = Release(fold, journal, "mqtt", stamp=lambda: AT, hold_s=0)

    async def there() -> bool:
        return True

    async def main() -> None:
        for _ in range(3):
            assert release.take(before) is None
            await release.look(before, there)
        journal.committed_seq = 2
        await release.look(before, there)
        assert release.take(before) is not None
        assert journal.synced == 4

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(main())
