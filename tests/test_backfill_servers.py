"""Backfill with real servers, and with the real journal, killed between any two steps."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema

from gateway.alarms_standing import LastAlarms
from gateway.backfill import (
    Stretches,
)
from gateway.clock import Clock
from gateway.follow import Follower
from gateway.journal import Journal
from gateway.model import Average, Event, Reading, Record, Stamp, Value
from gateway.mqtt import MqttSink
from gateway.mqtt_messages import schemas
from tests.backfills import TwoWays, following, now, read_for
from tests.bench.backlog import measure
from tests.memory_journal import MemoryJournal
from tests.services import InfluxDB, Mosquitto, Subscriber
from tests.virtual_time import run


def test_half_an_hour_of_backlog_into_real_servers_while_live_stays_quick(
    tmp_path: Path, own_mosquitto: Mosquitto, own_influxdb: InfluxDB
) -> None:
    found, points = measure(tmp_path, own_mosquitto, own_influxdb, 0.5)
    assert found.records == 1800 + 3 * 180
    assert found.readings == found.live | found.late
    assert points == len(found.readings)
    assert len(found.late) > 1800
    assert max(found.delays_s["mqtt"]) < 5.0
    assert max(found.delays_s["influxdb"]) < 5.0
    assert found.first_live_s < 5.0


def test_an_old_alarm_never_stands_over_a_newer_one(mosquitto: Mosquitto) -> None:
    """The live flow jumps over an alarm's changes: its present state is retained at once; what comes later
    as history touches nothing.
    """

    async def job() -> None:
        journal, fold = MemoryJournal(), LastAlarms()
        clock = Clock()

        def old(s: float) -> Stamp:
            at = clock.stamp()
            return Stamp(at.utc_ms - round(s * 1000), at.boot, at.mono_ms - round(s * 1000), True)

        for n, (rule, to) in enumerate([("a", "active"), ("b", "active"), ("a", "normal"), ("b", "acked")]):
            journal.append([Event(old(3600 - n), "alarm", {"rule": rule, "to": to})])
            journal.append([Event(old(3600 - n), "gap", {})] * 40)
        journal.append([Event(old(1), "alarm", {"rule": "c", "to": "active"})])
        for record in journal.records:
            fold.step(record)
        standing = lambda: fold.up_to(journal.cursor("mqtt"))  # noqa: E731  one word
        sink = MqttSink("jump", mosquitto.url, stamp=clock.stamp, standing=standing)
        follower = Follower(journal, "mqtt", sink, stamp=clock.stamp)
        watcher = Subscriber(mosquitto.port, "suuaba/1/jump/#")
        task = asyncio.create_task(follower.run())
        async with asyncio.timeout(30):
            await follower.done(journal.committed_seq)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.to_thread(watcher.wait, "the end", lambda got: got and b"offline" in got[-1].payload)
        watcher.close()
        topics = [got.topic.removeprefix("suuaba/1/jump/") for got in watcher.got]
        assert topics[1:4] == ["alarm/a", "alarm/b", "alarm/c"], "the states first, then what is live"
        assert set(topics[4:-1]) == {"backfill/event"}
        history = [got.json for got in watcher.got if got.topic.endswith("backfill/event")]
        assert [said["seq"] for said in history] == list(range(1, 165))
        for said in history:
            jsonschema.validate(said, json.loads(schemas()["event.schema.json"]))
        late_comer = Subscriber(mosquitto.port, "suuaba/1/jump/alarm/#")
        await asyncio.to_thread(late_comer.wait, "the states", lambda got: len(got) == 3)
        late_comer.close()
        states = {got.json["rule"]: got.json["state"] for got in late_comer.got}
        assert states == {"a": "normal", "b": "acked", "c": "active"}
        for got in late_comer.got:
            jsonschema.validate(got.json, json.loads(schemas()["alarm.schema.json"]))

    asyncio.run(job())


def test_history_has_the_same_shape_on_topics_of_its_own(mosquitto: Mosquitto) -> None:
    async def job() -> None:
        at = Clock().stamp()
        body = Reading("ph1", "m", "water", at, {"ph": Value(7.0, 7.0, "pH", 1)})
        average = Average("ph1", "m", "water", at, at.utc_ms - 60_000, 60, {})
        records = [Record(1, body), Record(2, average), Record(3, Event(at, "gap", {}))]
        sink = MqttSink("shape", mosquitto.url, stamp=Clock().stamp, averages_s=[60])
        watcher = Subscriber(mosquitto.port, "suuaba/1/shape/#")
        await sink.deliver(records)
        await sink.deliver(records, late=True)
        await sink.close()
        await asyncio.to_thread(watcher.wait, "all of it", lambda got: len(got) >= 8)
        watcher.close()
        live, late = watcher.got[1:4], watcher.got[4:7]
        assert [got.topic for got in live] == [
            "suuaba/1/shape/reading/ph1", "suuaba/1/shape/average/ph1", "suuaba/1/shape/event",
        ]  # fmt: skip
        assert [got.topic for got in late] == [
            "suuaba/1/shape/backfill/reading/ph1", "suuaba/1/shape/backfill/average/ph1",
            "suuaba/1/shape/backfill/event",
        ]  # fmt: skip
        assert [got.payload for got in live] == [got.payload for got in late]

    asyncio.run(job())


class WatchedJournal(Journal):
    """Calls `step` before and after everything that changes what is on the disk or will be."""

    step: Callable[[], None] = staticmethod(lambda: None)

    def finish(self, name: str, seq: int) -> None:
        self.step()
        super().finish(name, seq)
        self.step()

    def drop(self, name: str) -> None:
        self.step()
        super().drop(name)
        self.step()

    async def _commit(self, *, durable: bool) -> bool:
        self.step()
        taken = await super()._commit(durable=durable)
        self.step()
        return taken


class LoopClock(Clock):
    def stamp(self) -> Stamp:
        return now()


def test_a_kill_between_any_two_steps_loses_nothing(tmp_path: Path) -> None:
    states: list[tuple[Path, set[int]]] = []
    sink = TwoWays()
    sink.batch_records = 20

    def photograph() -> None:
        """What a kill -9 here would leave, and what the far side has by then."""
        to = tmp_path / f"state{len(states)}"
        shutil.copytree(tmp_path / "data", to, ignore=shutil.ignore_patterns("lock"))
        states.append((to, set(sink.confirmed)))

    async def life() -> list[int]:
        journal = WatchedJournal(tmp_path / "data", LoopClock())
        await journal.open()
        keeping = asyncio.create_task(journal.run())
        async with following(journal, sink) as follower:
            readings = await read_for(journal, 30)
            journal.step = photograph
            for _ in range(2):
                sink.away = "gone"
                readings += await read_for(journal, 900)
                sink.away = None
                readings += await read_for(journal, 40)
            await follower.done(journal.last_seq)
            await journal.sync()
            journal.step = lambda: None
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await journal.close()
        return readings

    readings = run(life())
    assert set(readings) <= set(sink.confirmed)
    assert len(sink.late) > 150
    owing = 0
    for folder, confirmed in states[:: max(len(states) // 60, 1)]:

        async def after(folder: Path = folder, confirmed: set[int] = confirmed) -> int:
            journal = Journal(folder, LoopClock())
            await journal.open()
            own = [
                record.seq for record in await journal.after(0, 100_000) if isinstance(record.body, Reading)
            ]
            owed = len(journal.cursors_of("mqtt"))
            again = TwoWays()
            async with following(journal, again) as follower:
                keeping = asyncio.create_task(journal.run())
                await follower.done(journal.committed_seq)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await journal.close()
            assert set(own) <= confirmed | set(again.confirmed)
            return owed

        owing += run(after()) > 1
        shutil.rmtree(folder)
    assert owing >= 3, "some of the kills came while history was owed"


def test_retention_waits_for_history(tmp_path: Path) -> None:
    async def job() -> None:
        journal = Journal(tmp_path, LoopClock(), keep_s=0.001)
        await journal.open()
        journal.cursor("mqtt")
        for _ in range(3):
            await read_for(journal, 50)
            await journal._settle()
        top = journal.committed_seq
        stretches = Stretches(journal, "mqtt")
        stretches.owe(2, top - 2)
        journal.finish("mqtt", top)
        await journal._retain()
        assert journal._disk.load(2).records[0].seq == 3
        for lane in stretches.lanes:
            lane.finish(top - 2)
        assert stretches.first is None
        await asyncio.sleep(10)
        await journal._retain()
        assert journal._disk.load(0).records == [], "paid and too old"
        await journal.close()

    run(job())
