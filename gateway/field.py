"""What a technician does at the station outside the service: take a reading, send a test message."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path

from drivers.base import InstrumentError, NotReady, PortLost, Quantity
from drivers.link import Line, Link
from gateway import config
from gateway.capture_frames import Frames
from gateway.clock import Clock
from gateway.errors import ConfigError, NotRunning
from gateway.live import Lines, Shot, Table, shot, through_service

Say = Callable[[str], object]

READY_WITHIN_S = 120.0
"""A single reading waits this long at most for an instrument that warms up."""
PAUSE_S = 1.0
FRAMES_SHOWN = 40
"""Frames of one reading."""


async def read(
    file: Path, sensor_id: str, *, watch: bool, frames: bool, say: Say, terminal: bool = False
) -> int:
    """Take one reading, or with `watch` one after another, and show each; where the running service has the
    port, what it takes. Gives the exit code. Raises ConfigError, ControlError.
    """
    station = config.load(file)
    wire, sensor = _find(station, sensor_id)
    quantities = {quantity.name: quantity for quantity in station.quantities[sensor.id]}
    instrument = station.instrument(sensor)
    link = Link(wire.port, wire.line, framing=wire.framing, echo=wire.echo)
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + READY_WITHIN_S
    due_s = loop.time()
    code = 1
    screen = Table(frames=frames) if watch and terminal else Lines(say, frames=frames)
    seen: deque[str] = deque(maxlen=FRAMES_SHOWN)
    wire_frames = Frames(wire.id, link, Clock(station.clock.source).stamp, seen.append)
    link.tap = wire_frames if frames else None
    try:
        while True:
            try:
                measurement = await instrument.read(link)
            except PortLost as e:
                if "in use" in str(e):
                    try:
                        return await _served(station, sensor.id, quantities, screen, watch=watch)
                    except NotRunning:
                        pass
                screen.show(Shot(sensor.id, trouble=f"{e}{_in_use(e)}"))
                return 1
            except NotReady as e:
                if code == 1:
                    screen.show(Shot(sensor.id, trouble=str(e)))
                if not watch:
                    if loop.time() >= give_up_s:
                        return 1
                    await asyncio.sleep(PAUSE_S)
                    continue
            except InstrumentError as e:
                wire_frames.flush()
                screen.show(Shot(sensor.id, trouble=f"{type(e).__name__}: {e}", frame="\n".join(seen)))
                seen.clear()
                if not watch:
                    return 1
            else:
                code = 0
                wire_frames.flush()
                screen.show(shot(sensor.id, measurement, quantities, "\n".join(seen)))
                seen.clear()
                if not watch:
                    return 0
            due_s += sensor.every_s
            await asyncio.sleep(max(due_s - loop.time(), 0.0))
    finally:
        link.close()
        screen.close()


async def _served(
    station: config.Station,
    sensor_id: str,
    quantities: dict[str, Quantity],
    screen: Lines | Table,
    *,
    watch: bool,
) -> int:
    """Show what the running service reads. Raises NotRunning, ControlError."""
    code = 1
    async with contextlib.aclosing(through_service(station.data, sensor_id, quantities)) as shots:
        async for one in shots:
            screen.show(one)
            code = 0 if one.values else code
            if not watch:
                break
    return code


async def sms(file: Path, number: str, text: str, say: Say) -> int:
    """Send one message by the configured modem and say what became of it. Gives the exit code. Raises
    ConfigError.
    """
    from alerts.cms import SmsError
    from alerts.modem import Modem
    from alerts.pdu import NumberError, TextError, segments

    station = config.load(file)
    if station.sms is None or station.sms.modem is None:
        raise ConfigError(
            [f'{file.name}: sms.modem is missing; add [sms] with modem = "/dev/serial/by-id/…"']
        )
    link = Link(station.sms.modem, Line(station.sms.baudrate, "8N1"))
    pin = station.sms.pin.get_secret_value() if station.sms.pin else None
    modem = Modem(link, pin=pin)
    try:
        needed = segments(text)
        say(f"{needed.count} segment(s), {needed.alphabet}")
        health = await modem.health()
        signal = "no signal" if health.signal_dbm is None else f"{health.signal_dbm} dBm"
        place = ", ".join(word for word in (health.registration, health.operator, signal) if word)
        say(f"modem: {place}; {health.used} of {health.size} places for messages are taken")
        sent = await modem.send(number, text, reference=random.randrange(256))
    except (NumberError, TextError) as e:
        raise ConfigError([f"sms: {e}"]) from e
    except SmsError as e:
        say(f"not sent: {e}")
        return 1
    finally:
        modem.close()
    say(f"accepted by the network: reference {', '.join(str(r) for r in sent.references)}")
    return 0


def _find(station: config.Station, sensor_id: str) -> tuple[config.Wire, config.Sensor]:
    for wire in station.wires:
        for sensor in wire.sensors:
            if sensor.id == sensor_id:
                return wire, sensor
    known = ", ".join(sensor.id for sensor in station.sensors)
    raise ConfigError([f"{station.file.name}: there is no sensor {sensor_id!r}; there are {known}"])


def _in_use(e: PortLost) -> str:
    if "in use" not in str(e):
        return ""
    return "; another program has it, and no service of this station runs: sudo fuser -v PORT says who"
