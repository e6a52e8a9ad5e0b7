"""A whole emulated station (a bus with two probes, dust sensors, an SMS modem) and the station.toml for it.

    outside = EmulatedStation(folder, story="rain", faults="dead:turb1@60+30")
    (folder / "station.toml").write_text(outside.station_toml(mqtt_url="embedded"))
    with outside.in_thread():
        …run the station…
    answered(outside.record), outside.modem.sent       what it must have seen, and what it sent

The ports' names are links in `folder`, so that the configuration stands before the ports do, and an
instrument that is pulled out and put back is found again. The instruments are warm: they have been under
power for long. Only the drivers' own waits remain, and station_toml sets those to nothing (`warm_up_s = 0`,
documented with each driver). A real station must not do that.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers.emulators import instruments
from drivers.emulators.base import Emulator
from drivers.emulators.faults import Faults, parse
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.modem_network import EmulatedSms
from drivers.emulators.port import Port, PortThread, PtyPort, Record, TcpPort
from drivers.emulators.world import World
from drivers.link import Line

EXTRAS = ("ezo", "sds011", "tcp", "serial-server")
"""What may be there beside the usual: see `LAYOUT`."""


@dataclass(frozen=True, slots=True)
class Place:
    """An instrument in its place: what its [[sensor]] in station.toml says."""

    id: str
    model: str
    medium: str
    address: int | None = None
    every: str = "1 s"
    options: Mapping[str, Any] = field(default_factory=lambda: {"warm_up_s": 0})
    expect: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outlet:
    """A port and the instruments on it. `kind`: "pty", "tcp" (Modbus TCP) or "rtu+tcp" (a serial server)."""

    name: str
    line: Line
    places: tuple[Place, ...]
    kind: str = "pty"
    extra: str = ""


_PH = {"ph": "gross = [0, 14]\nusual = [6, 9]\nspike = [0.5, 1.0]"}
_TURBIDITY = {"turbidity": "gross = [0, 1000]\nusual = [0, 400]"}
_DUST = {"pm2_5": "gross = [0, 1000]\nusual = [0, 500]"}

LAYOUT: tuple[Outlet, ...] = (
    Outlet(
        "river",
        Line(9600, "8N1"),
        (
            Place("ph1", "yosemitech-y532", "water", 1, "2 s", expect=_PH),
            Place("turb1", "yosemitech-y511", "water", 3, "2 s", expect=_TURBIDITY),
        ),
    ),
    Outlet("dust1-port", Line(9600, "8N1"), (Place("dust1", "plantower", "air", expect=_DUST),)),
    Outlet("dust2-port", Line(115200, "8N1"), (Place("dust2", "sps30", "air", expect=_DUST),)),
    Outlet("dust3-port", Line(9600, "8N1"), (Place("dust3", "sds011", "air", every="5 s"),), extra="sds011"),
    Outlet("ph2-port", Line(9600, "8N1"), (Place("ph2", "atlas", "water", every="2 s", options={}),),
    extra="ezo"), Outlet(
        "spring",
        Line(9600, "8N1"),
        (
            Place("ph3", "yosemitech-y532", "water", 1, "2 s"),
            Place("turb3", "yosemitech-y511", "water", 3, "2 s"),
        ),
        kind="tcp",
        extra="tcp",
    ),
    Outlet(
        "mast", Line(9600, "8N1"), (Place("climate1", "xy-md02", "air", 1, "5 s", options={}),),
        kind="rtu+tcp", extra="serial-server",
    ),
)  # fmt: skip
MODEM_LINE = Line(115200, "8N1")


class EmulatedStation:
    """The outside of a station. Start its ports in a loop of yours (`start`, `stop`) or with `in_thread()`.

    `also` adds what `EXTRAS` names. `timed` makes bytes take their time on the wires. `record_file` also
    keeps the record in a file (JSON lines). `on_sms` is called, in the ports' loop, for each message handed
    to the network. Raises BadFault for faults that cannot be understood.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 1,
        story: str = "rain",
        faults: str = "",
        also: Collection[str] = (),
        timed: bool = False,
        record_file: Path | None = None,
        on_sms: Callable[[EmulatedSms], None] | None = None,
    ) -> None:
        unknown = set(also) - set(EXTRAS)
        if unknown:
            raise ValueError(f"no {', '.join(sorted(unknown))}: there are {', '.join(EXTRAS)}")
        self.folder = folder
        self.world = World(seed, story)
        self.outlets = tuple(outlet for outlet in LAYOUT if not outlet.extra or outlet.extra in also)
        self.places = {place.id: place for outlet in self.outlets for place in outlet.places}
        targets = ("modem", *(outlet.name for outlet in self.outlets), *self.places)
        self.faults = Faults(parse(faults, targets), seed)
        self.record = Record(record_file)
        self.instruments: dict[str, Emulator] = {}
        """By the sensor's id; change them only in the ports' loop."""
        self.modem = ModemEmulator("modem", on_sms=on_sms)
        self.modem_port = PtyPort(
            [self.modem], name="modem", line=MODEM_LINE, link_path=folder / "modem", faults=self.faults,
            record=self.record, check_line=True,
        )  # fmt: skip
        self.ports: dict[str, Port] = {outlet.name: self._port(outlet, timed) for outlet in self.outlets}
        self.ports["modem"] = self.modem_port

    async def start(self) -> None:
        """Put everything on its port. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for port in self.ports.values():
            await port.start()

    async def stop(self) -> None:
        """Take the ports away. Safe after a start that failed."""
        for port in self.ports.values():
            await port.stop()
        self.record.close()

    def in_thread(self) -> PortThread:
        """The same in a thread of its own: a context manager.

        `call` on it does something in the ports' loop.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        return PortThread(*self.ports.values())

    def station_toml(
        self,
        *,
        station_id: str = "kanysh-kyia-1",
        data: Path | None = None,
        mqtt_url: str = "",
        influx: Mapping[str, Any] | None = None,
        listen: str = "127.0.0.1:8080",
        language: str = "ru",
        phone: str = "+996555000001",
        on_delay: str = "0 s",
        off_delay: str = "5 s",
    ) -> str:
        """The station.toml that reads all of it.

        `influx`: the keys of [influxdb]; a URL alone means version 1.

        TCP ports have numbers only once they are started.
        """
        parts = [
            _table(
                "[station]",
                id=station_id,
                name="Kanysh-Kyia, below the tailings dam (emulated)",
                timezone="Asia/Bishkek",
                language=language,
                latitude=41.7,
                longitude=71.6,
                **({"data": str(data)} if data else {}),
            ),
            _table("[clock]", source="trust"),  # this machine's clock is what the emulators live by
            _table("[journal]", keep="30 d", limit="100 MB"),
        ]
        parts += [self.snippet(outlet) for outlet in self.outlets]
        if mqtt_url:
            parts.append(_table("[mqtt]", url=mqtt_url, send=["reading", "average:1 min", "event"]))
        if influx:
            parts.append(_table("[influxdb]", **({"version": 1, "database": "suuaba"} | dict(influx))))
        parts += [
            _table("[sms]", modem=self.modem_port.path),
            _table("[[contact]]", id="duty", phone=phone, language=language),
            _table(
                "[[rule]]", id="turbidity-high", sensor="turb1", quantity="turbidity", unit="NTU", above=50,
                hysteresis=5, over="reading", on_delay=on_delay, off_delay=off_delay, priority="critical",
                send=[["duty"]],
            ),
            _table("[web]", listen=listen),
        ]  # fmt: skip
        return "\n\n".join(parts) + "\n"

    def snippet(self, outlet: Outlet) -> str:
        """What station.toml says of a port and its instruments. TCP ports have numbers only once started."""
        path = self.ports[outlet.name].path
        serial = outlet.kind == "pty"
        line = {"baudrate": outlet.line.baudrate, "format": outlet.line.format} if serial else {}
        if len(outlet.places) == 1:
            return _sensor_toml(outlet.places[0], port=path, **line)
        bus = _table("[[bus]]", id=outlet.name, port=path, **line)
        return "\n\n".join([bus, *(_sensor_toml(place, bus=outlet.name) for place in outlet.places)])

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────

    def _port(self, outlet: Outlet, timed: bool) -> Port:
        framing = "tcp" if outlet.kind == "tcp" else "rtu"
        emulators = [
            instruments.make(place.model, place.address, self.world, place.id, framing)
            for place in outlet.places
        ]
        self.instruments |= {emulator.name: emulator for emulator in emulators}
        if outlet.kind == "pty":
            return PtyPort(
                emulators, name=outlet.name, line=outlet.line, link_path=self.folder / outlet.name,
                timed=timed, faults=self.faults, record=self.record, check_line=True,
            )  # fmt: skip
        return TcpPort(
            emulators,
            name=outlet.name,
            framing=framing,
            line=outlet.line,
            faults=self.faults,
            record=self.record,
        )


async def simulate(
    faults: str, prints: Callable[[str], None], *, folder: Path, seed: int = 1, story: str = "rain"
) -> None:
    """Run the whole emulated station, TCP ports too, and say what is where; until cancelled.

    Raises BadFault, OSError.
    """

    def sms(message: EmulatedSms) -> None:
        prints(f"SMS to {message.to}: {message.text}")

    outside = EmulatedStation(folder, seed=seed, story=story, faults=faults, also=EXTRAS, on_sms=sms)
    try:
        await outside.start()
        for outlet in outside.outlets:
            port = outside.ports[outlet.name]
            serial = f"{outlet.line.baudrate} {outlet.line.format}, " if outlet.kind == "pty" else ""
            on_it = ", ".join(
                f"{place.id}: {place.model}" + (f" at address {place.address}" if place.address else "")
                for place in outlet.places
            )
            prints(f"{port.path}   {serial}{on_it}")
        prints(f"{outside.modem_port.path}   {MODEM_LINE.baudrate} {MODEM_LINE.format}, SMS modem")
        prints("")
        for outlet in outside.outlets:
            prints(outside.snippet(outlet) + "\n")
        await asyncio.Event().wait()
    finally:
        await outside.stop()


def _sensor_toml(place: Place, **where: Any) -> str:
    address = {"address": place.address} if place.address is not None else {}
    about = {"model": place.model, **address, "medium": place.medium, "every": place.every}
    text = _table("[[sensor]]", id=place.id, **where, **about)
    if place.options:
        text += "\n" + _table("[sensor.options]", **place.options)
    for quantity, tests in place.expect.items():
        text += f"\n[sensor.expect.{quantity}]\n{tests}"
    return text


def _table(head: str, **keys: Any) -> str:
    """A TOML table. JSON's strings, numbers and lists are TOML's too."""
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    return "\n".join([head, *lines])
