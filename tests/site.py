"""A whole station for tests: emulated instruments outside, the real program as a process, real servers, and
the sum at the end.

What the instruments say they answered is held against the journal, against what a second MQTT client
received, and against the points in InfluxDB.
"""

from __future__ import annotations

import asyncio
import json
import lzma
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from drivers.emulators.port import PortThread
from drivers.emulators.record import Said
from drivers.emulators.station import EmulatedStation
from gateway.clock import Clock
from gateway.journal import Journal
from gateway.model import Event, Reading, Record
from tests.services import InfluxDB, Mosquitto

Numbers = Counter[tuple[str, str, float]]
"""How often each (sensor, quantity, value) was seen."""

DATABASE = "suuaba"
KEEPING = "persistence true\npersistence_location {folder}/\nautosave_interval 0\nmax_inflight_messages 0"
"""Settings for a Mosquitto that keeps a client's messages while it or the client is away."""


class Keeper:
    """A second MQTT client whose session the broker keeps: what it confirmed to the station reaches it."""

    def __init__(self, port: int) -> None:
        self.got: list[tuple[str, Any]] = []
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="keeper", clean_session=False, protocol=paho.MQTTv311
        )
        self._client.reconnect_delay_set(0.05, 0.2)
        self._client.on_connect = lambda client, *_: client.subscribe("suuaba/#", 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(20)

    def wait(
        self, what: str, condition: Callable[[list[tuple[str, Any]]], Any], within_s: float = 60.0
    ) -> None:
        deadline_s = time.monotonic() + within_s
        with self._changed:
            while not condition(self.got):
                left_s = deadline_s - time.monotonic()
                assert left_s > 0, f"{what}: not within {within_s:g} s"
                self._changed.wait(left_s)

    def events(self, what: str, sink: str = "") -> int:
        """How many events of that name (and sink) have come."""
        return sum(
            topic.endswith("/event") and said["what"] == what and sink in ("", said["detail"].get("sink"))
            for topic, said in list(self.got)
        )

    def seqs(self) -> Counter[int]:
        return Counter(said["seq"] for topic, said in self.got if _kind(topic) == "reading")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        with self._changed:
            if message.topic.endswith("/packed"):  # as anybody would read it
                root = message.topic.removesuffix("packed")
                for line in lzma.decompress(message.payload).splitlines():
                    self.got += [(root + below, said) for below, said in json.loads(line).items()]
            else:
                self.got.append((message.topic, json.loads(message.payload)))
            self._changed.notify_all()


class Site:
    """The station's folder, its outside and its process."""

    def __init__(self, folder: Path, outside: EmulatedStation, ports: PortThread, toml: str) -> None:
        self.folder = folder
        self.outside = outside
        self.ports = ports  # the emulated ports' thread: `ports.call` does something with them
        self.file = folder / "station.toml"
        self.file.write_text(toml, encoding="utf-8")
        self.log = folder / "station.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.program = "gateway.cli"
        """The module that is `suuaba`; the proof of the kills takes one with shorter averages."""

    def start(self, environment: dict[str, str] | None = None) -> None:
        """Start `suuaba run`."""
        command = [sys.executable, "-m", self.program, "run", str(self.file)]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=os.environ | (environment or {}),
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """End it; give the seconds it took. With SIGTERM it must end by itself, with exit code 0."""
        assert self.process is not None
        began_s = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(30)
        if number is signal.SIGTERM:
            assert code == 0, self.log.read_text(errors="replace")[-3000:]
        self.process = None
        return time.monotonic() - began_s

    def journal(self) -> tuple[list[Record], dict[str, int]]:
        """All records and the followers' cursors, of a station that has ended."""

        async def read() -> tuple[list[Record], dict[str, int]]:
            journal = Journal(self.folder / "data", Clock())
            await journal.open()
            cursors = dict(journal._memory.cursors)
            records: list[Record] = []
            while batch := await journal.after(records[-1].seq if records else 0, 5000):
                records += batch
            await journal.close()
            return records, cursors

        return asyncio.run(read())

    def given(self) -> Numbers:
        """What the instruments answered when asked, and could be read."""
        return Counter(
            (said.name, quantity, value)
            for said in self.outside.record.snapshot()
            if said.asked and not said.spoiled
            for quantity, value in said.values.items()
        )


def unsaid(said: Iterable[Said], records: Sequence[Record], every_s: Mapping[str, float]) -> list[Said]:
    """Answers with numbers that are not in the journal, and it does not say what became of their slot either.
    One that came after its deadline is in a slot that is said to be missed, or that the next try has taken.
    """
    left = journaled(list(records))
    taken, missed = set[tuple[str, int]](), dict[str, list[tuple[int, int]]]()
    for record in records:
        body = record.body
        if isinstance(body, Reading):
            taken.add((body.sensor, int(body.at.mono_ms / 1000 // every_s[body.sensor])))
        elif isinstance(body, Event) and body.what == "missed":
            span = body.detail["from_mono_ms"], body.detail["to_mono_ms"]
            missed.setdefault(body.detail["sensor"], []).append(span)
    suspended_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    found: list[Said] = []
    for one in said:
        if not one.asked or one.spoiled:
            continue
        here = Counter((one.name, quantity, value) for quantity, value in one.values.items())
        if here <= left:
            left -= here
            continue
        at_s = one.at_s + suspended_s
        told = any(begin <= at_s * 1000 < end for begin, end in missed.get(one.name, ()))
        if not told and (one.name, int(at_s // every_s[one.name])) not in taken:
            found.append(one)
    return found


def _kind(topic: str) -> str:
    """suuaba/1/STATION/reading/… and suuaba/1/STATION/backfill/reading/… are both readings."""
    levels = topic.split("/")
    return levels[4] if levels[3] == "backfill" else levels[3]


def journaled(records: list[Record]) -> Numbers:
    return Counter(
        (record.body.sensor, name, value.raw)
        for record in records
        if isinstance(record.body, Reading)
        for name, value in record.body.values.items()
    )


def events(records: list[Record], what: str) -> list[dict[str, Any]]:
    return [r.body.detail for r in records if isinstance(r.body, Event) and r.body.what == what]


def stored(influxdb: InfluxDB) -> Numbers:
    """What InfluxDB holds, point by point."""
    found: Numbers = Counter()
    for medium in ("water", "air"):
        for row in influxdb.rows(f"SELECT * FROM {medium} GROUP BY sensor", DATABASE):  # noqa: S608  our own words
            for name, value in row.items():
                if name.endswith("_raw") and value is not None:
                    found[row["sensor"], name.removesuffix("_raw"), float(value)] += 1
    return found


@contextmanager
def site(
    folder: Path, mosquitto: Mosquitto | None, influxdb: InfluxDB | None, **wishes: Any
) -> Iterator[Site]:
    """A site that is ready to start, on real servers; ended whatever happens."""
    outside = EmulatedStation(folder / "ports", **wishes)
    place: Site | None = None
    ports = outside.in_thread()
    with ports:
        toml = outside.station_toml(
            data=folder / "data",
            mqtt_url=mosquitto.url if mosquitto else "",
            influx={"url": influxdb.url} if influxdb else None,
        )
        try:
            place = Site(folder, outside, ports, toml)
            yield place
        finally:
            if place is not None and place.process is not None:
                place.process.kill()
                place.process.wait(10)
