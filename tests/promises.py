"""What a running station really writes, sends and risks, to hold against what `suuaba check` promises.

The whole station in virtual time, with its emulated instruments in the same loop and real servers:
minutes of its life take seconds, and the kernel counts. Bytes on the line are those of TCP_INFO with a head
of 52 bytes a packet (gateway.tcp); bytes on the card are the pages of the tail that each sync writes, and
what SQLite handed to the block layer (/proc/self/io, write_bytes: proc(5)), so the folder must lie on a disk
and not in memory.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from drivers.emulators.station import EmulatedStation
from gateway import config, station
from gateway.clock import Clock, Machine
from gateway.model import Record
from tests.services import free_port
from tests.virtual_time import VirtualTimeLoop, run

EVERY = {"ph1": "10 s", "turb1": "10 s", "dust1": "1 s", "dust2": "10 s"}
"""The reference station: eight channels and more at 10 s, dust at 1 s."""
PAGE = 4096
SETTLE_S = 30.0
"""What comes first is not counted: the start, greetings, what instruments are."""


@dataclass
class Measured:
    """What came of it, by the day where it is bytes."""

    records_a_day: float = 0.0
    line: dict[str, float] = field(default_factory=dict)
    """Bytes of each sink over the air."""
    written: float = 0.0
    kept: float = 0.0
    commit_s: float = 0.0
    """The oldest record that a killed process would have lost at any moment, and a power cut."""
    sync_s: float = 0.0


class VirtualMachine(Machine):
    def read_ms(self) -> tuple[int, int]:
        mono_ms = round(asyncio.get_running_loop().time() * 1000)
        return 1_795_428_000_000 + mono_ms, mono_ms


class Held:
    """A sink; while it talks to its server no virtual time passes."""

    def __init__(self, sink: Any) -> None:
        self.__dict__["_sink"] = sink

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._sink, name)
        if name not in ("deliver", "beat", "knock", "close"):
            return found

        async def held(*args: Any, **named: Any) -> Any:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            with loop.hold():
                return await found(*args, **named)

        return held

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._sink, name, value)


class Ages:
    """How long records wait until the file, and then the disk, has them."""

    def __init__(self) -> None:
        self._waiting: list[float] = []
        self._unsynced: list[float] = []
        self.commit_s = self.sync_s = 0.0
        self.pages: set[int] = set()
        """Of the tail, written and not synced."""
        self.bytes = 0
        """On the card till now."""

    def appended(self, now_s: float) -> None:
        self._waiting.append(now_s)

    def written(self, now_s: float, *, durable: bool) -> None:
        if self._waiting:
            self.commit_s = max(self.commit_s, now_s - self._waiting[0])
        self._unsynced += self._waiting
        self._waiting = []
        if durable:
            if self._unsynced:
                self.sync_s = max(self.sync_s, now_s - self._unsynced[0])
            self._unsynced = []


def reference(
    folder: Path, mqtt_url: str, influx_url: str, send: Sequence[str], mqtt: str = ""
) -> tuple[EmulatedStation, config.Station]:
    """The reference station: its instruments, and its configuration. `mqtt`: more lines of that section."""
    outside = EmulatedStation(folder / "ports", story="calm")
    toml = outside.station_toml(
        data=folder / "data",
        mqtt_url=mqtt_url,
        influx={"url": influx_url} if influx_url else None,
        listen=f"127.0.0.1:{free_port()}",
    )
    for sensor, every in EVERY.items():
        toml = re.sub(rf'(id = "{sensor}"\n(?:.*\n)*?every = )"[^"]*"', rf'\1"{every}"', toml, count=1)
    toml = re.sub(r"send = \[.*\]", f"send = {json.dumps(list(send))}\n{mqtt}", toml, count=1)
    file = folder / "station.toml"
    file.write_text(toml, encoding="utf-8")
    return outside, config.load(file, environment={})


def measure(outside: EmulatedStation, wanted: config.Station, minutes: float) -> Measured:
    """Let it work for so long, and count. About 17 minutes are two blocks in SQLite."""
    return run(_measure(outside, wanted, minutes))


async def _measure(outside: EmulatedStation, wanted: config.Station, minutes: float) -> Measured:
    loop, ages, found = asyncio.get_running_loop(), Ages(), Measured()
    sinks: dict[str, Any] = {}
    make = station.make_sinks

    async def make_held(*args: Any, **named: Any) -> tuple[dict[str, Any], Any]:
        made, embedded = await make(*args, **named)
        sinks.update({name: Held(sink) for name, sink in made.items()})
        return sinks, embedded

    def clock(source: Any, **named: Any) -> Clock:
        return Clock(source, **named, machine=VirtualMachine())

    with (
        patch.object(station, "make_sinks", make_held),
        patch.object(station, "Clock", clock),
        patch("paho.mqtt.client.time_func", loop.time),  # so that it pings as in real time
    ):
        here = station.Station(wanted)
        _note(here.journal, ages, loop.time)
        await outside.start()
        await here.open()
        began_s, written = loop.time(), ages.bytes
        working = asyncio.create_task(here.work())
        await asyncio.sleep(SETTLE_S)
        line = _line(sinks)
        seq = here.journal.last_seq
        await asyncio.sleep(minutes * 60)
        days = minutes / 1440
        found.records_a_day = (here.journal.last_seq - seq) / days
        found.line = {name: (now - line[name]) / days for name, now in _line(sinks).items()}
        found.commit_s, found.sync_s = ages.commit_s, ages.sync_s
        here.stop()
        await working
        lived_s = loop.time() - began_s
        await here.close()
        found.written = (ages.bytes - written) / lived_s * 86400
        found.kept = _kept(wanted.data) / lived_s * 86400
        await outside.stop()
    return found


def _note(journal: Any, ages: Ages, now_s: Callable[[], float]) -> None:
    """Look on while the journal works."""
    append, disk, in_thread = journal.append, journal._disk, journal._in_thread
    write, settle = disk.write, disk.settle

    def noted_append(bodies: Sequence[Any]) -> list[Record]:
        records: list[Record] = append(bodies)
        for _ in records:
            ages.appended(now_s())
        return records

    def noted_write(lines: bytes, *, durable: bool) -> None:
        before, at = _written(), 0 if disk._tail is None else disk._tail._at
        write(lines, durable=durable)
        ages.pages.update(range(at // PAGE, (disk._tail._at + 4) // PAGE + 1))  # 4: the end mark
        if durable:
            ages.bytes += len(ages.pages) * PAGE
            ages.pages.clear()
        ages.bytes -= _written() - before  # counted page by page: others' syncs may write one twice
        ages.written(now_s(), durable=durable)

    def noted_settle(*args: Any) -> None:
        settle(*args)
        ages.pages.clear()
        ages.written(now_s(), durable=True)

    async def noted_in_thread(job: Callable[[], Any]) -> Any:
        def noted_job() -> Any:
            before = _written()
            try:
                return job()
            finally:
                ages.bytes += _written() - before

        return await in_thread(noted_job)

    journal.append, journal._in_thread = noted_append, noted_in_thread
    disk.write, disk.settle = noted_write, noted_settle


def _line(sinks: dict[str, Any]) -> dict[str, int]:
    return {name: sink.carried_bytes for name, sink in sinks.items()}


def _kept(folder: Path) -> int:
    """Bytes of all blocks, of a journal that is closed; half a page each is lost at their ends."""
    with closing(sqlite3.connect(folder / "journal.db")) as db:
        blocks, size = db.execute("SELECT count(*), sum(length(body)) FROM block").fetchone()
    return int(size + blocks * 2048)


def _written() -> int:
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise AssertionError("no write_bytes")
