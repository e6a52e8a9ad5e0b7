"""A day without network: the reference station's 24 hours go into real servers while it goes on measuring.

The journal is a real one on the disk, filled quickly by another process: 8 channels at 10 s, dust at 1 s.
Then the station's followers drain it into Mosquitto and InfluxDB 1.6.7 while new readings come as they would.
The live delay is from the reading to a second MQTT client (live topics), and to InfluxDB's confirmation.

    python -m tests.bench.backlog
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from gateway.clock import Clock
from gateway.follow import Follower
from gateway.influx import InfluxSink
from gateway.influx_doors import version1
from gateway.journal import Journal
from gateway.model import Body, Reading, Record, Stamp, Value
from gateway.mqtt import MqttSink
from tests.services import InfluxDB, Mosquitto, running

CHANNELS = (
    ("ph1", "water", {"ph": "pH", "water_temperature": "degC", "electrode_potential": "mV"}),
    ("turb1", "water", {"turbidity": "NTU", "water_temperature": "degC"}),
    ("air1", "air", {"air_temperature": "degC", "humidity": "%", "pressure": "hPa"}),
)
DUST = ("dust1", "air", {"pm1": "ug/m3", "pm2_5": "ug/m3", "pm10": "ug/m3"})
GOAL_S = 5.0


def moment(second: int, at: Stamp, noise: random.Random) -> list[Body]:
    """What the reference station reads in a second."""
    due = [DUST, *CHANNELS] if second % 10 == 0 else [DUST]
    return [
        Reading(
            sensor,
            "reference",
            medium,
            at,
            {
                name: Value(x, x, unit, 1)
                for name, unit in units.items()
                for x in [round(noise.gauss(20, 3), 3)]
            },
        )
        for sensor, medium, units in due
    ]


def fill(folder: Path, hours: float) -> None:
    """A journal that holds so many hours up to now, none of it delivered."""

    async def job() -> None:
        clock = Clock()
        journal = Journal(folder, clock)
        await journal.open()
        journal.cursor("mqtt")
        journal.cursor("influxdb")
        noise, now = random.Random(7), clock.stamp()
        seconds = round(hours * 3600)
        for second in range(seconds):
            ago_ms = (seconds - second) * 1000
            at = Stamp(now.utc_ms - ago_ms, now.boot, now.mono_ms - ago_ms, True)
            journal.append(moment(second, at, noise))
            if second % 600 == 599:
                await journal.sync()
        await journal.close()

    asyncio.run(job())


@dataclass
class Drained:
    """What came of it."""

    records: int = 0
    values: int = 0
    took_s: dict[str, float] = field(default_factory=dict)
    delays_s: dict[str, list[float]] = field(default_factory=dict)
    rss_mb: list[float] = field(default_factory=list)
    """Second by second."""
    live: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)
    """Numbers of the readings that came by MQTT, live and as history."""
    readings: set[int] = field(default_factory=set)
    """Those in the journal."""
    first_live_s: float = 0.0

    def worst_s(self, sink: str, share: float) -> float:
        found = sorted(self.delays_s[sink])
        return found[min(int(len(found) * share), len(found) - 1)]


class Listener:
    """A second client that notes when a reading came."""

    def __init__(self, port: int) -> None:
        self.live: dict[int, float] = {}
        self.late = bytearray(1_000_000)  # a byte for each number: what it takes is not the station's
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe("suuaba/#", 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(20)

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        now_s = time.monotonic()
        levels = message.topic.split("/")
        if levels[3] == "reading":
            self.live.setdefault(json.loads(message.payload)["seq"], now_s)
        elif levels[3:5] == ["backfill", "reading"]:
            self.late[json.loads(message.payload)["seq"]] = 1

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class NotedInflux(InfluxSink):
    """Notes when each live record was confirmed."""

    live: dict[int, float]

    async def deliver(self, records: Sequence[Record], *, late: bool = False) -> None:
        await super().deliver(records, late=late)
        if not late:
            now_s = time.monotonic()
            for record in records:
                self.live[record.seq] = now_s


async def drain(folder: Path, mqtt_url: str, influx_url: str, listener: Listener) -> Drained:
    """Deliver everything while readings go on, and measure."""
    clock, found = Clock(), Drained(delays_s={"mqtt": [], "influxdb": []})
    journal = Journal(folder, clock)
    await journal.open()
    backlog_seq = journal.last_seq
    influx = NotedInflux("bench", version1(influx_url, "bench"))
    influx.live = {}
    sinks = {"mqtt": MqttSink("bench", mqtt_url, stamp=clock.stamp), "influxdb": influx}
    followers = {name: Follower(journal, name, sink, stamp=clock.stamp) for name, sink in sinks.items()}
    tasks = [asyncio.create_task(journal.run())]
    began_s = time.monotonic()
    tasks += [asyncio.create_task(follower.run()) for follower in followers.values()]
    appended: dict[int, float] = {}

    async def finished(name: str) -> None:
        while followers[name].progress.cursor < backlog_seq:
            await followers[name].done(followers[name].progress.cursor + 1)
        found.took_s[name] = time.monotonic() - began_s

    async def measure() -> None:
        noise, second = random.Random(8), 0
        while True:
            at_s = time.monotonic()
            for record in journal.append(moment(second, clock.stamp(), noise)):
                appended[record.seq] = at_s
            found.rss_mb.append(_rss_mb())
            second += 1
            await asyncio.sleep(1.0)

    measuring = asyncio.create_task(measure())
    async with asyncio.timeout(900):
        await asyncio.gather(*(finished(name) for name in followers))
        await asyncio.sleep(1.0)
        measuring.cancel()
        await journal.sync()
        await asyncio.gather(*(follower.done(journal.last_seq) for follower in followers.values()))
        while len(listener.live.keys() & appended.keys()) < len(appended):  # noqa: ASYNC110  another thread's
            await asyncio.sleep(0.05)
    for seq, at_s in appended.items():
        found.delays_s["mqtt"].append(listener.live[seq] - at_s)
        found.delays_s["influxdb"].append(influx.live[seq] - at_s)
    found.first_live_s = min(listener.live.values()) - began_s
    seq = 0
    while records := await journal.after(seq, 1000):
        seq = records[-1].seq
        own = [record for record in records if isinstance(record.body, Reading)]
        found.readings |= {record.seq for record in own}
        found.values += sum(len(r.body.values) for r in own if isinstance(r.body, Reading))
    found.records = len(found.readings) - len(appended)
    for task in [*tasks, measuring]:
        task.cancel()
    await asyncio.gather(*tasks, measuring, return_exceptions=True)
    await journal.close()
    found.live = set(listener.live)
    found.late = {seq for seq, came in enumerate(listener.late) if came}
    return found


def measure(folder: Path, mosquitto: Mosquitto, influxdb: InfluxDB, hours: float) -> tuple[Drained, int]:
    """Fill, drain, and count InfluxDB's points."""
    journal = folder / "journal"
    subprocess.run(
        [sys.executable, "-m", "tests.bench.backlog", "--fill", str(journal), "--hours", str(hours)],
        check=True,
        cwd=Path(__file__).parents[2],
    )
    influxdb.post('CREATE DATABASE "bench"')
    listener = Listener(mosquitto.port)
    try:
        found = asyncio.run(drain(journal, mosquitto.url, influxdb.url, listener))
    finally:
        listener.close()
    points = 0
    for medium, name in (("water", "water_temperature"), ("air", "pm2_5"), ("air", "air_temperature")):
        rows = influxdb.rows(f'SELECT count("{name}") FROM "{medium}"', "bench")  # noqa: S608  our own words
        points += sum(row["count"] for row in rows)
    return found, points


def run(hours: float = 24.0) -> list[tuple[str, str, str]]:
    """Rows of (what, goal, figure)."""
    with tempfile.TemporaryDirectory(prefix="suuaba-backlog-", dir=Path.cwd()) as temporary:
        folder = Path(temporary)
        with (
            running(Mosquitto(folder / "mosquitto", settings="max_inflight_messages 0")) as mosquitto,
            running(InfluxDB(folder / "influxdb")) as influxdb,
        ):
            found, points = measure(folder, mosquitto, influxdb, hours)
    missing = len(found.readings - found.live - found.late)
    a_record = found.values / len(found.readings)
    rows = [
        (
            f"backlog of {hours:g} h into {name}: values/s (records/s)",
            goal,
            f"{found.records * a_record / took_s:,.0f} ({found.records / took_s:,.0f}), {took_s:.1f} s",
        )
        for name, goal, took_s in (
            ("InfluxDB", "150,000", found.took_s["influxdb"]),
            ("Mosquitto", "bounded: 1,000 records", found.took_s["mqtt"]),
        )
    ]
    rows += [
        (
            f"backlog: live delay by {name} meanwhile, s: p50, p99, worst",
            f"< {GOAL_S:g}",
            ", ".join(f"{found.worst_s(sink, share):.2f}" for share in (0.5, 0.99, 1.0)),
        )
        for name, sink in (("MQTT", "mqtt"), ("InfluxDB", "influxdb"))
    ]
    return [
        *rows,
        ("backlog: start to first live reading, s", f"< {GOAL_S:g}", f"{found.first_live_s:.2f}"),
        (
            "backlog: readings missing by MQTT, in InfluxDB",
            "0, 0",
            f"{missing}, {len(found.readings) - points}",
        ),
        (
            "backlog: RSS at the start, after a tenth, at the end, MB",
            "flat",
            ", ".join(f"{found.rss_mb[int(share * (len(found.rss_mb) - 1))]:.0f}" for share in (0, 0.1, 1)),
        ),
    ]


def _rss_mb() -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fill", type=Path)
    parser.add_argument("--hours", type=float, default=24.0)
    wishes = parser.parse_args()
    if wishes.fill:
        fill(wishes.fill, wishes.hours)
    else:
        for what, goal, figure in run(wishes.hours):
            print(f"{what:62} {goal:>24}  {figure}")
