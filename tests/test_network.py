"""The real station and its sinks over a bad network: nothing lost, nothing doubled in InfluxDB, at least once
by MQTT.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import Unreachable
from gateway.influx import InfluxSink
from gateway.influx_doors import version1
from gateway.model import Record
from gateway.mqtt import MqttSink
from tests.memory_journal import START_MS, reading, stamp
from tests.netproxy import WAYS, Proxy
from tests.services import InfluxDB, Mosquitto, fetch, running
from tests.site import KEEPING, Keeper, journaled, site, stored

WEATHER_S = 15.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "mosquitto"
    with running(Mosquitto(folder, settings=KEEPING.format(folder=folder))) as server:
        yield server


class Behind:
    """A server as seen through a proxy."""

    def __init__(self, url: str) -> None:
        self.url = url


def test_the_station_over_a_bad_network(tmp_path: Path, broker: Mosquitto, own_influxdb: InfluxDB) -> None:
    weather(tmp_path, broker, own_influxdb, 2, WEATHER_S)


def weather(folder: Path, broker: Mosquitto, influxdb: InfluxDB, seed: int, seconds: float) -> dict[str, int]:
    """Let the station work over two bad lines for so long, then in the clear until everything is there."""
    keeper = Keeper(broker.port)
    with (
        Proxy(broker.port, seed=seed).running() as mqtt_line,
        Proxy(influxdb.port, seed=seed + 100, corrupts=300).running() as influx_line,
        site(
            folder,
            Behind(f"mqtt://127.0.0.1:{mqtt_line.port}"),
            Behind(f"http://127.0.0.1:{influx_line.port}"),
        ) as place,
    ):
        place.start()
        keeper.wait("readings", lambda got: len(got) > 10)
        mqtt_line.weather()
        influx_line.weather()
        time.sleep(seconds)
        mqtt_line.set("clear")
        influx_line.set("clear")
        influx_line.corrupts = 0
        last = len(keeper.got)
        keeper.wait("messages in the clear", lambda got: len(got) > last + 3, 90)
        place.stop()
        place.start()  # what is left goes now
        keeper.wait("messages of the second life", lambda got: keeper.events("started") >= 2, 60)
        place.stop()
        records, _ = place.journal()
        given, kept = place.given(), journaled(records)
        assert given == kept, "the bus has nothing to do with the network"
        points = stored(influxdb)
        assert points == kept, f"missing {kept - points}, too many {points - kept}"
        seqs = {record.seq for record in records if type(record.body).__name__ == "Reading"}
        keeper.wait("every reading by MQTT", lambda got: set(keeper.seqs()) == seqs)
        assert len(mqtt_line.ways) >= 4
        assert len(influx_line.ways) >= 4
        assert influx_line.corrupted > 0
        refused = [r for r in records if getattr(r.body, "what", "") == "refused"]
        assert refused == [], "damage on the way is no reason to set a record aside"
        twice = sum(count - 1 for count in keeper.seqs().values())
    keeper.close()
    return {"readings": len(seqs), "twice by MQTT": twice, "changes": sum(mqtt_line.ways.values())}


# ── the proxy itself ────────────────────────────────────────────────────────────────────────────────


def test_every_way_is_what_it_says(influxdb: InfluxDB) -> None:
    with Proxy(influxdb.port).running() as line:
        url = f"http://127.0.0.1:{line.port}/ping"
        for way in ("clear", "cut", "delay", "drip"):
            line.set(way)
            fetch(url)
        line.set("shut")
        with pytest.raises(OSError, match="refused"):
            fetch(url)
        line.set("clear")
        fetch(url)
        assert line.passed["there"] > 5 * 40
    assert {"clear", "cut", "delay", "drip", "shut"} < set(WAYS)


def test_only_packed_bodies_are_corrupted(influxdb: InfluxDB) -> None:
    influxdb.post('CREATE DATABASE "corrupt"')
    with Proxy(influxdb.port, corrupts=20_000).running() as line:
        sink = InfluxSink("s", version1(f"http://127.0.0.1:{line.port}", "corrupt"))
        said: list[str] = []

        async def job() -> None:
            for n in range(30):
                records = [Record(1 + n * 20 + k, reading(n, ms=START_MS + n * 20 + k)) for k in range(20)]
                while True:
                    try:
                        await sink.deliver(records)
                        break
                    except Unreachable as e:  # "again"; Refused, which is "never", would end the test
                        said.append(str(e))
            await sink.close()

        asyncio.run(job())
        assert line.corrupted > 50
        assert said
        assert all("damaged on the way" in text for text in said)
    rows = influxdb.rows('SELECT "ph" FROM "water"', "corrupt")
    assert len(rows) == 600


# ── what the line carried ───────────────────────────────────────────────────────────────────────────


def test_the_sinks_know_what_the_line_carried(mosquitto: Mosquitto, influxdb: InfluxDB) -> None:
    """Against the bytes that the proxy passed on: the payload is the same, the packets' heads come on top."""
    influxdb.post('CREATE DATABASE "carried"')
    records = [Record(n + 1, reading(n, ms=START_MS + n)) for n in range(500)]
    with Proxy(mosquitto.port).running() as mqtt_line, Proxy(influxdb.port).running() as influx_line:
        mqtt = MqttSink("carried", f"mqtt://127.0.0.1:{mqtt_line.port}", stamp=stamp)
        influx = InfluxSink("carried", version1(f"http://127.0.0.1:{influx_line.port}", "carried"))

        async def job() -> None:
            for sink in (mqtt, influx):
                for part in range(0, 500, 50):
                    await sink.deliver(records[part : part + 50])
                await sink.close()

        asyncio.run(job())
        for sink, line in ((mqtt, mqtt_line), (influx, influx_line)):
            passed = sum(line.passed.values())
            assert passed < sink.carried_bytes < 1.3 * passed + 3000, (passed, sink.carried_bytes)
