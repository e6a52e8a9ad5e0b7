"""The demo: the real station on emulated instruments and modem. Nothing else in the program knows the
emulators.

Everything but the instruments is what a station in the field runs: the buses, the journal, the sinks, the
alarms, the SMS dialogue with the modem. What was lost is not asked of the gateway: it is counted from the
instruments' own record.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from alerts.pdu import segments
from drivers.emulators.faults import BadFault
from drivers.emulators.modem_network import EmulatedSms
from drivers.emulators.station import EmulatedStation
from drivers.emulators.station import simulate as emulate
from gateway import config
from gateway.errors import ConfigError
from gateway.journal import Journal
from gateway.model import Average, Event, Reading, Record
from gateway.station import Station, live

Say = Callable[[str], object]

BATCH = 1000
USUAL_MQTT_PORT = 1883


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user wants of the demo. `seconds` None: until Ctrl-C."""

    seconds: float | None = None
    as_json: bool = False
    mqtt: str | None = None
    influxdb: str | None = None
    data: Path | None = None
    parts: Path | None = None
    """A file with [mqtt], [influxdb], [web] or more, in place of the demo's own."""


@dataclass(slots=True)
class Counts:
    """What the journal holds of this run, counted while it is watched."""

    seq: int
    readings: list[int]
    raws: Counter[tuple[str, str, float]]


async def demo(wishes: Wishes, say: Say) -> int:
    """Run the demo. Gives 1 if something an instrument said was lost. Raises ConfigError, JournalError."""
    say_live = _to_stderr if wishes.as_json else say  # then standard output is the result
    sent: list[EmulatedSms] = []

    def on_sms(message: EmulatedSms) -> None:
        sent.append(message)
        say_live(f"\n    ┌ SMS to {message.to}, {_segments(message)}\n    │ {message.text}\n    └\n")

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="suuaba-demo-")))
        outside = EmulatedStation(folder / "ports", on_sms=on_sms)
        port = _free_port(USUAL_MQTT_PORT)
        influx = {"url": wishes.influxdb} if wishes.influxdb else None
        file = folder / "station.toml"
        text = outside.station_toml(
            data=wishes.data or folder / "data", mqtt_url=wishes.mqtt or "embedded", influx=influx
        )
        if wishes.parts is not None:
            text = await asyncio.to_thread(_with_parts, text, wishes.parts)
        await asyncio.to_thread(file.write_text, text, encoding="utf-8")
        station = Station(config.load(file), embedded_port=port, say=say_live)
        say_live(f"{station.config.name}: {len(station.config.sensors)} emulated instruments")
        if wishes.mqtt is None:
            say_live(f"embedded MQTT broker; watch it: mosquitto_sub -p {port} -t 'suuaba/#' -v")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, station.stop)
        if wishes.seconds is not None:
            loop.call_later(wishes.seconds, station.stop)
        counts = Counts(0, [], Counter())
        with outside.in_thread():
            started_s = loop.time()
            watching = asyncio.create_task(_watch(station, counts, say_live))
            code = await live(station, before_close=lambda: _finish(station.journal, counts, watching))
            seconds = loop.time() - started_s
        lost = _lost(outside, counts)
        delivered = {
            name: sum(seq <= follower.progress.cursor for seq in counts.readings) - follower.progress.refused
            for name, follower in station.followers.items()
        }
        result = {
            "seconds": round(seconds, 1),
            "sensors": len(station.config.sensors),
            "journaled": len(counts.readings),
            "delivered": delivered,
            "lost": lost,
            "alarms": [{"rule": row["rule"], "state": row["state"]} for row in station.alarms.standing()],
            "sms": [{"to": m.to, "text": m.text, "segments": segments(m.text).count} for m in sent],
        }
    if wishes.as_json:
        say(json.dumps(result, ensure_ascii=False))
    else:
        shown = ", ".join(f"{name} {count}" for name, count in delivered.items())
        say(f"{len(counts.readings)} readings journaled; delivered: {shown}; lost: {lost}")
    return 1 if lost else code


def _with_parts(text: str, file: Path) -> str:
    """The demo's station.toml with a file's tables in place of its own. Raises ConfigError."""
    try:
        given = file.read_text(encoding="utf-8")
        names = set(tomllib.loads(given))
    except (OSError, ValueError) as e:
        raise ConfigError([f"{file}: {e}"]) from e
    own = (part for part in text.split("\n\n") if part.split("]")[0].strip("[\n ") not in names)
    return "\n\n".join([*own, given])


async def simulate(faults: str, seconds: float | None, say: Say) -> int:
    """Only the emulated instruments, until Ctrl-C. Raises ConfigError for faults nobody understands."""
    with tempfile.TemporaryDirectory(prefix="suuaba-simulate-") as folder:
        try:
            async with asyncio.timeout(seconds):
                await emulate(faults, lambda line: (say(line), None)[1], folder=Path(folder))
        except BadFault as e:
            raise ConfigError([f"--faults: {e}"]) from e
        except TimeoutError:
            pass
    return 0


async def _watch(station: Station, counts: Counts, say: Say) -> None:
    """Show every reading and event as it is committed, and count."""
    zone = ZoneInfo(station.config.timezone)
    journal = station.journal
    while True:
        await journal.more(counts.seq)
        for record in await _next(journal, counts):
            line = _line(record, zone)
            if line:
                say(line)


async def _next(journal: Journal, counts: Counts) -> list[Record]:
    records = await journal.after(counts.seq, BATCH)
    for record in records:
        counts.seq = record.seq
        if isinstance(record.body, Reading):
            counts.readings.append(record.seq)
            for name, value in record.body.values.items():
                counts.raws[record.body.sensor, name, value.raw] += 1
    return records


async def _finish(journal: Journal, counts: Counts, watching: asyncio.Task[None]) -> None:
    watching.cancel()
    await asyncio.wait([watching])
    while await _next(journal, counts):
        pass


def _lost(outside: EmulatedStation, counts: Counts) -> int:
    """Numbers that an instrument gave when asked, readable on its wire, and not in the journal."""
    given: Counter[tuple[str, str, float]] = Counter()
    for said in outside.record.snapshot():
        if said.asked and not said.spoiled:
            for quantity, value in said.values.items():
                given[said.name, quantity, value] += 1
    return (given - counts.raws).total()


def _line(record: Record, zone: ZoneInfo) -> str:
    body = record.body
    clock = datetime.fromtimestamp(body.at.utc_ms / 1000, zone).strftime("%H:%M:%S")
    if isinstance(body, Reading):
        values = [(name, value) for name, value in body.values.items() if not _is_detail(name)][:3]
        shown = ", ".join(f"{name} {value.value:.4g} {value.unit}" for name, value in values)
        return f"{clock}  {body.medium:5} {body.sensor:6} {shown}"
    if isinstance(body, Average):
        means = [
            f"{name} {m.mean:.4g} {m.unit}"
            for name, m in body.values.items()
            if m.mean is not None and not _is_detail(name)
        ]
        return f"{clock}  mean  {body.sensor:6} {', '.join(means[:3])} over {body.length_s // 60} min"
    return _event_line(clock, body)


def _is_detail(quantity: str) -> bool:
    """Whether a quantity is left out of the demo's one line: particle counts, and masses for the makers'
    own scale.
    """
    return quantity.endswith("_cf1") or (quantity[0] == "n" and quantity[1:2].isdigit())


def _event_line(clock: str, event: Event) -> str:
    detail: dict[str, Any] = event.detail
    match event.what:
        case "alarm":
            value = f" at {detail['value']:g} {detail['unit']}" if detail.get("value") is not None else ""
            return f"{clock}  ALARM {detail['rule']}: {detail['from']} → {detail['to']}{value}"
        case "identified":
            words = [str(detail[key]) for key in ("model", "serial", "version", "firmware") if key in detail]
            return f"{clock}  found {detail['sensor']:6} {', '.join(words)}"
        case what if what in QUIET:
            return ""
        case "sms":
            return f"{clock}  sms   {detail['id']}: {detail['state']}"
        case _:
            return f"{clock}  event {event.what} {json.dumps(detail, ensure_ascii=False)[:100]}"


QUIET = {"notify", "started", "stopped", "configuration", "chain_key", "chain_head", "missed", "ledger"}
"""Events that a demo does not show; `suuaba export --what events` has them."""


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")


def _segments(message: EmulatedSms) -> str:
    return f"{message.parts} segment{'s' if message.parts > 1 else ''}, {message.alphabet}"


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(s.getsockname()[1])
    raise ConfigError([f"demo: no free port on 127.0.0.1: {os.strerror(98)}"])
