"""A spike's verdict on its way: in the journal behind its reading, once; in InfluxDB over the first flag."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gateway import config
from gateway.clock import Clock
from gateway.errors import Unreachable
from gateway.influx import Answer, InfluxSink, Lines
from gateway.influx_doors import version1
from gateway.journal import Journal
from gateway.model import Average, Body, Event, Mean, Reading, Record, Value
from gateway.qc_spike import SpikeFold
from gateway.station import Station
from tests.journals import drop
from tests.memory_journal import START_MS
from tests.qc_series import START_S, stamp
from tests.services import InfluxDB
from tests.test_qc import SPIKE, STATION

VALUES = (7.0, 7.0, 9.0, 7.0, 7.0, 7.0)


def reading(i: int) -> Reading:
    value = Value(VALUES[i], VALUES[i], "pH", 1)
    return Reading("ph1", "yosemitech-y532", "water", stamp(10 * i), {"ph": value})


def folds() -> list[SpikeFold]:
    return [SpikeFold({"ph1": (10.0, {"ph": SPIKE})})]


def in_journal(folder: Path, kill_after: int | None) -> list[Record]:
    """Append the readings one by one, the process being killed once on the way; give what is journaled."""

    async def job() -> list[Record]:
        journal = Journal(folder, Clock(), folds=folds())
        await journal.open()
        for i in range(len(VALUES)):
            journal.append([reading(i)])
            if i == kill_after:
                await journal.sync()
                await drop(journal)
                journal = Journal(folder, Clock(), folds=folds())
                await journal.open()
        await journal.sync()
        records = await journal.after(0, 1000)
        await journal.close()
        return records

    return asyncio.run(job())


@pytest.mark.parametrize("kill_after", [None, *range(len(VALUES))])
def test_each_verdict_is_journaled_once_whenever_the_process_dies(
    tmp_path: Path, kill_after: int | None
) -> None:
    records = in_journal(tmp_path, kill_after)
    seqs = {r.seq: r.body.at.mono_ms for r in records if isinstance(r.body, Reading)}
    flagged = [r.body for r in records if isinstance(r.body, Event) and r.body.what == "flagged"]
    assert [(seqs[e.detail["seq"]], e.detail["flag"]) for e in flagged] == [
        (stamp(10).mono_ms, 3),
        (stamp(20).mono_ms, 4),
        (stamp(30).mono_ms, 3),
    ]
    assert [e.at for e in flagged] == [stamp(20), stamp(30), stamp(40)]


def test_the_station_has_the_test_where_it_is_asked_for(tmp_path: Path) -> None:
    def said(expect: str) -> list[Body]:
        file = tmp_path / "station.toml"
        file.write_text(
            f"{STATION}[sensor.expect.ph]\n{expect}\n".replace(
                "[station]", f'[station]\ndata = "{tmp_path}/{len(expect)}"'
            )
        )

        async def job() -> list[Body]:
            station = Station(config.load(file))
            await station.open()
            records = [r for i in range(len(VALUES)) for r in station.journal.append([reading(i)])]
            await station.close()
            return [r.body for r in records]

        return asyncio.run(job())

    def flagged(bodies: list[Body]) -> int:
        return sum(isinstance(body, Event) and body.what == "flagged" for body in bodies)

    assert flagged(said("spike = [0.5, 1.0]")) == 3
    assert flagged(said("gross = [0, 14]")) == 0


def flagged(quantity: str = "ph") -> Event:
    detail = {"sensor": "ph1", "medium": "water", "quantity": quantity, "flag": 4, "why": "spike", "seq": 3}
    return Event(stamp(30), "flagged", detail | {"time_ms": START_S * 1000 + 20_000})


def test_the_line_that_corrects() -> None:
    [event, correction] = Lines("k 1").join([Record(5, flagged("p h"))]).decode().split("\n")
    assert event.startswith('event,station=k\\ 1,sensor=ph1 what="flagged",')
    assert correction == f"water,station=k\\ 1,sensor=ph1 p\\ h_flag=4i {START_MS + 20_000}000000"


def test_influxdb_has_the_corrected_flag(influxdb: InfluxDB) -> None:
    async def job() -> None:
        sink = InfluxSink("k1", version1(influxdb.url, "flagged"))
        await sink.deliver([Record(i + 1, reading(i)) for i in range(4)])
        await sink.deliver([Record(5, flagged())])
        await sink.close()

    asyncio.run(job())
    rows = influxdb.rows("SELECT ph, ph_raw, ph_flag FROM water", "flagged")
    assert [(row["ph"], row["ph_raw"], row["ph_flag"]) for row in rows] == [
        (7, 7, 1),
        (7, 7, 1),
        (9, 9, 4),
        (7, 7, 1),
    ]


class SlowDoor:
    """A way into a database whose first write takes until it is let go."""

    where = "slow"
    remedy = ""

    def __init__(self, first: int) -> None:
        self.begun, self.go, self.overtaken = threading.Event(), threading.Event(), threading.Event()
        self.first = first
        self.written: list[bytes] = []

    def write(self, lines: bytes, precision: str) -> Answer:
        if not self.begun.is_set():
            self.begun.set()
            assert self.go.wait(20)
            if self.first >= 300:
                return Answer(self.first, "later")
        if not self.go.is_set():
            self.overtaken.set()
        self.written.append(lines)
        return Answer(204, "")

    def create(self) -> bool:
        return False

    def close(self) -> None:
        return


def overlapping(door: SlowDoor, first: Body, second: Body) -> list[object]:
    """Two batches on their way at the same time; what became of each."""

    async def job() -> list[object]:
        sink = InfluxSink("k1", lambda: door, averages_s=[60])
        batches: Sequence[Record] = (Record(1, first), Record(2, second))
        async with asyncio.timeout(20):
            one = asyncio.create_task(sink.deliver([batches[0]]))
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, door.begun.wait, 20)
            two = asyncio.create_task(sink.deliver([batches[1]]))
            assert not await loop.run_in_executor(None, door.overtaken.wait, 0.2)
            door.go.set()
            done = await asyncio.gather(one, two, return_exceptions=True)
        return [type(end) for end in done]

    return asyncio.run(job())


def average(revision: int) -> Average:
    mean = Mean(7.0, 7.0, 7.0, 6, 6, "pH", 1)
    return Average("ph1", "y", "water", stamp(60), START_MS, 60, {"ph": mean}, revision)


@pytest.mark.parametrize("correction", [flagged, lambda: average(1)])
def test_a_correction_is_never_overtaken_by_what_it_corrects(correction: Callable[[], Body]) -> None:
    door = SlowDoor(204)
    assert overlapping(door, reading(2), correction()) == [type(None), type(None)]
    assert door.written[0].startswith(b"water,station=k1,sensor=ph1 ph=9.0")
    assert len(door.written) == 2


def test_a_correction_waits_for_what_could_not_be_written() -> None:
    door = SlowDoor(503)
    assert overlapping(door, reading(2), flagged()) == [Unreachable, Unreachable]
    assert door.written == []


def test_flags_are_corrected_where_no_events_are_wanted() -> None:
    only = InfluxSink("k1", lambda: SlowDoor(204), send=["reading"])
    assert only.wants(flagged())
    assert not only.wants(Event(stamp(0), "started", {}))
    assert not InfluxSink("k1", lambda: SlowDoor(204), send=["average"]).wants(flagged())
