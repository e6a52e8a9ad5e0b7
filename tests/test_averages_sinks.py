"""Averages on their way out: the JSON and its schema, the lines, and both against real servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest

from gateway.averages import AveragesFold
from gateway.follow import Follower
from gateway.follow_lane import weigh
from gateway.influx import InfluxSink, Lines
from gateway.influx_doors import version1
from gateway.model import Average, Body, Mean, Reading, Record, Stamp, Value
from gateway.mqtt import MqttSink
from gateway.mqtt_messages import average_json, schemas
from tests.memory_journal import START_MS, MemoryJournal, reading, stamp
from tests.services import InfluxDB, Mosquitto, Subscriber

MINUTE = Average(
    "ph1",
    "y532",
    "water",
    Stamp(START_MS + 60_000, "boot0001", 60_000, True),
    START_MS,
    60,
    {
        "ph": Mean(7.1, 7.0, 7.25, 6, 6, "pH", 1),
        "water_temperature": Mean(None, None, None, 0, 6, "degC", 9, "no usable value"),
    },
)
HOUR = Average(
    "ph1",
    "y532",
    "water",
    Stamp(START_MS + 3_600_000, "boot0001", 0, False),
    START_MS,
    3600,
    {"ph": Mean(7.2, 7.0, 7.4, 300, 360, "pH", 2)},
)


def corrected(average: Average, value: float) -> Average:
    m = average.values["ph"]
    values = average.values | {"ph": Mean(value, m.minimum, value + 1, m.used, m.expected, m.unit, 3, "late")}
    a = average
    return Average(a.sensor, a.model, a.medium, a.at, a.start_ms, a.length_s, values, a.revision + 1)


def play(job: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(50):
            await job()

    asyncio.run(within())


@contextlib.asynccontextmanager
async def following(journal: MemoryJournal, sink: MqttSink | InfluxSink) -> AsyncIterator[Follower]:
    follower = Follower(journal, "sink", sink, stamp=stamp, random=lambda: 0.05)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_the_message() -> None:
    said = json.loads(average_json("kyia-1", 18231, MINUTE))
    assert said == {
        "station": "kyia-1",
        "seq": 18231,
        "start": "2026-11-23T10:00:00.000Z",
        "end": "2026-11-23T10:01:00.000Z",
        "length_s": 60,
        "sensor": "ph1",
        "model": "y532",
        "medium": "water",
        "values": {
            "ph": {"mean": 7.1, "min": 7.0, "max": 7.25, "n": 6, "of": 6, "unit": "pH", "flag": 1},
            "water_temperature": {
                "mean": None,
                "min": None,
                "max": None,
                "n": 0,
                "of": 6,
                "unit": "degC",
                "flag": 9,
                "why": "no usable value",
            },
        },
        "revision": 0,
        "clock": "synced",
    }
    jsonschema.validate(said, json.loads(schemas()["average.schema.json"]))
    del said["values"]["ph"]["min"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(said, json.loads(schemas()["average.schema.json"]))


@pytest.mark.parametrize(
    ("average", "line"),
    [
        (
            MINUTE,
            (
                "water_1min,station=s1,sensor=ph1 ph=7.1,ph_min=7.0,ph_max=7.25,ph_n=6i,ph_of=6i,ph_flag=1i,"
                "water_temperature_n=0i,water_temperature_of=6i,water_temperature_flag=9i,"
                "revision=0i 1795428000000"
            ),
        ),
        (
            HOUR,
            (
                "water_1h,station=s1,sensor=ph1 uncertainty_ms=473040000000i,"
                "ph=7.2,ph_min=7.0,ph_max=7.4,ph_n=300i,ph_of=360i,ph_flag=2i,"
                "revision=0i 1795428000000"
            ),
        ),
        (
            Average("d 1", "p", "air", Stamp(600_000, "b", 0, True), 0, 600, {}, 2),
            r"air_10min,station=s1,sensor=d\ 1 revision=2i 0",
        ),
        (
            Average("d", "p", "air", Stamp(86_400_000, "b", 0, True), 0, 86400, {}, 2),
            "air_24h,station=s1,sensor=d revision=2i 0",
        ),
    ],
)
def test_lines(average: Average, line: str) -> None:
    assert Lines("s1").join([Record(7, average)]) == line.encode()


def test_a_sink_takes_the_lengths_it_was_asked_for() -> None:
    every: list[Any] = [
        MqttSink("s", "mqtt://h", stamp=stamp, send=["reading"], averages_s=[0.0, 60.0]),
        InfluxSink("s", version1("http://h", "d"), send=["reading"], averages_s=[0.0, 60.0]),
    ]
    for sink in every:
        assert (sink.wants(MINUTE), sink.wants(HOUR), sink.wants(reading(7.0))) == (True, False, True)
    assert not MqttSink("s", "mqtt://h", stamp=stamp).wants(MINUTE)
    assert not InfluxSink("s", version1("http://h", "d")).wants(MINUTE)


def test_the_weight_of_a_batch_is_about_right() -> None:
    size = len(average_json("kanysh-kyia-1", 1_000_000, MINUTE))
    assert size / 2 < weigh(MINUTE) < size * 2


def test_mosquitto_gets_what_was_asked_for(mosquitto: Mosquitto) -> None:
    async def job() -> None:
        journal = MemoryJournal([reading(7.0), MINUTE, HOUR, corrected(MINUTE, 7.3)])
        sink = MqttSink("averages", mosquitto.url, stamp=stamp, send=["event"], averages_s=[60.0])
        subscriber = await asyncio.to_thread(Subscriber, mosquitto.port, "suuaba/1/averages/average/#")
        try:
            async with following(journal, sink) as follower:
                await follower.done(4)
            await asyncio.to_thread(subscriber.wait, "both", lambda got: len(got) >= 2)
        finally:
            await asyncio.to_thread(subscriber.close)
        assert [(got.topic, got.json["seq"], got.json["revision"]) for got in subscriber.got] == [
            ("suuaba/1/averages/average/ph1", 2, 0),
            ("suuaba/1/averages/average/ph1", 4, 1),
        ]
        for got in subscriber.got:
            jsonschema.validate(got.json, json.loads(schemas()["average.schema.json"]))

    play(job)


def test_a_correction_takes_the_place_of_the_point(influxdb: InfluxDB) -> None:
    async def job() -> None:
        journal = MemoryJournal([MINUTE, HOUR, corrected(MINUTE, 7.3)])
        sink = InfluxSink("s1", version1(influxdb.url, "averages"), averages_s=[60.0, 3600.0])
        async with following(journal, sink) as follower:
            await follower.done(3)

    play(job)
    [row] = influxdb.rows("SELECT * FROM water_1min", "averages")
    assert (row["ph"], row["ph_min"], row["ph_max"], row["ph_flag"]) == (7.3, 7.0, 8.3, 3)
    assert (row["ph_n"], row["ph_of"], row["revision"], row["station"], row["sensor"]) == (
        6,
        6,
        1,
        "s1",
        "ph1",
    )
    assert row["water_temperature_flag"] == 9
    [hour] = influxdb.rows("SELECT * FROM water_1h", "averages")
    assert (hour["ph"], hour["ph_n"]) == (7.2, 300)


def test_the_database_computes_the_same_from_the_readings(influxdb: InfluxDB) -> None:
    chance = Random(4)
    fold = AveragesFold([60, 600], {"t1": 10.0})
    bodies: list[Body] = []
    for i in range(180):
        value = chance.gauss(40, 10)
        at = Stamp(START_MS + 10_000 * i + chance.randrange(9000), "boot0001", 10_000 * i, True)
        one = Reading("t1", "y511", "water", at, {"turbidity": Value(value, value, "NTU", 1)})
        bodies += [one, *fold.step(Record(i, one))]
    bodies += fold.tick(Stamp(START_MS + 1_805_000, "boot0001", 1_805_000, True))

    async def job() -> None:
        sink = InfluxSink("s1", version1(influxdb.url, "oracle"), averages_s=[60.0, 600.0])
        async with following(MemoryJournal(bodies), sink) as follower:
            await follower.done(len(bodies))

    play(job)
    for name, length, count in (("water_1min", "1m", 30), ("water_10min", "10m", 3)):
        ours = influxdb.rows(f"SELECT * FROM {name}", "oracle")  # noqa: S608  our own words
        theirs = influxdb.rows(
            "SELECT mean(turbidity), min(turbidity), max(turbidity), count(turbidity) FROM water"  # noqa: S608  our own words
            f" WHERE time >= {START_MS}ms AND time < {START_MS + 1_800_000}ms GROUP BY time({length})",
            "oracle",
        )
        assert len(ours) == len(theirs) == count
        for our, their in zip(ours, theirs, strict=True):
            assert our["time"] == their["time"]
            assert our["turbidity"] == pytest.approx(their["mean"], rel=1e-12)
            assert (our["turbidity_min"], our["turbidity_max"]) == (their["min"], their["max"])
            assert our["turbidity_n"] == their["count"]


def test_the_schema_lies_in_the_documents() -> None:
    file = Path(__file__).parent.parent / "docs" / "schema" / "average.schema.json"
    assert file.read_text(encoding="utf-8") == schemas()["average.schema.json"]
