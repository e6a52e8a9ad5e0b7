"""The one scan of a running station, whoever asked for it: the page or the control socket (decision D22).

    scans.begin(["/dev/ttyUSB1"], quick=False, by="Aibek")      raises ControlError
    scans.stop()                                                ends it with what was found

The scan is the station's, not its listener's: a phone that sleeps finds it again, and its result stands until
the next. It works in a process of its own (gateway.scan_child) and ends by itself within 15 minutes. Of a
port that the station reads the bus lets go meanwhile, and its instruments are in maintenance: no alarm, and
the gap is accounted for. The modem's port is never scanned.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from drivers.base import PortLost
from gateway.bus_lent import lent
from gateway.errors import ControlError
from gateway.model import Event
from gateway.scan_child import CHILD_WITHIN_S, child, text
from gateway.scan_ports import KINDS, serial_ports
from gateway.scan_result import Progress, Report
from gateway.station_parts import Beat

if TYPE_CHECKING:
    from gateway.bus import Bus
    from gateway.station import Station

log = logging.getLogger(__name__)

PORTS_AT_MOST = 32
WHY = "scan"
LENT_MIN = CHILD_WITHIN_S / 60 + 2
"""The maintenance of what is not read meanwhile ends by itself after this."""
_SERIAL = re.compile("|".join(kind.replace("*", r"\w*") for kind in KINDS))


class Scans:
    """`run` belongs under `supervise`; everything else may be called at any time from the same loop."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self.changes = 0
        """Counts: who has seen so many has seen all."""
        self.under_way = False
        self.by, self.began_ms, self.quick = "", 0, False
        self.progress: list[Progress] = []
        self.report: Report | None = None
        """What the last scan found."""
        self.error = ""
        self._ports: list[str] = []
        self._asked = asyncio.Event()
        self._stop = asyncio.Event()
        self._draft: tuple[Report, str] | None = None
        self._drafting = asyncio.Lock()
        self._change: asyncio.Future[None] | None = None

    def begin(self, ports: Sequence[str], *, quick: bool, by: str) -> None:
        """Begin one; without ports of all that are free. Raises ControlError."""
        if self.under_way:
            raise ControlError(f"a scan is under way, begun by {self.by}; wait for its end, or stop it")
        for port in ports[: PORTS_AT_MOST + 1]:
            self._check(port)
        if len(ports) > PORTS_AT_MOST:
            raise ControlError(f"scan: {PORTS_AT_MOST} ports at most")
        if not ports:
            ports = [port for port in serial_ports() if self._own(port) is None and not self._is_modem(port)]
        if not ports:
            raise ControlError("scan: there is no free serial port; plug an adapter in, or name a port")
        self._ports = list(dict.fromkeys(ports))
        self.under_way, self.quick, self.by = True, quick, by
        self.began_ms = self._station.clock.stamp().utc_ms
        self.progress, self.report, self.error = [], None, ""
        self._stop.clear()
        self._asked.set()
        self._changed()

    def stop(self) -> None:
        """End the one under way; what it found so far stays."""
        self._stop.set()

    async def changed(self, since: int) -> None:
        """Wait until something is new since that count. Wait for it with a deadline."""
        while self.changes == since:
            if self._change is None or self._change.done():
                self._change = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._change)

    async def run(self) -> None:
        """Do what is asked for, until cancelled."""
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                await self._scan()
        finally:
            self._over("the station ends")

    def ports(self) -> list[dict[str, Any]]:
        """What can be scanned: the station's own ports with their instruments, and those that are free.

        Reads /dev: some milliseconds.
        """
        rows = [
            {"port": wire.port, "bus": wire.id, "sensors": [sensor.id for sensor in wire.sensors]}
            for wire in self._station.config.wires
        ]
        free = [port for port in serial_ports() if self._own(port) is None and not self._is_modem(port)]
        return [*rows, *({"port": port, "bus": "", "sensors": []} for port in free)]

    async def draft(self) -> str:
        """A station.toml of what the last scan found. Raises ControlError."""
        report, wanted = self.report, self._station.config
        if report is None or not report.instruments:
            raise ControlError("there is nothing to write down: no scan has found an instrument yet")
        async with self._drafting:
            if self._draft is None or self._draft[0] is not report:
                words = ["init", "--from", "-", "--output", "-", "--id", wanted.id]
                words += ["--name", wanted.name or wanted.id, "--language", wanted.language]
                self._draft = report, await text(words, msgspec.json.encode(report))
            return self._draft[1]

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    async def _scan(self) -> None:
        station, buses = self._station, [self._own(port) for port in self._ports]
        detail: dict[str, Any] = {"by": self.by, "ports": self._ports, "quick": self.quick}
        try:
            async with contextlib.AsyncExitStack() as stack:
                for bus in buses:
                    if bus is not None:
                        await stack.enter_async_context(self._lent(bus))
                words = [word for port in self._ports for word in ("--port", port)]
                words = ["scan", *words, *(["--quick"] if self.quick else []), "--stream"]
                async with contextlib.aclosing(child(words, stop=self._stop)) as answers:
                    async for answer in answers:
                        self._heard(answer)
        except (ControlError, PortLost) as e:
            self.error = str(e)
            detail["error"] = self.error
        if self.report is not None:
            found = [
                f"{found.model or '?'} {found.address or ''}".strip() for found in self.report.instruments
            ]
            problems = sorted({problem.code for port in self.report.ports for problem in port.problems})
            detail |= {"complete": self.report.complete, "found": found[:50], "problems": problems}
        self._over("")
        station.journal.append([Event(station.clock.stamp(), "scan", detail)])

    def _heard(self, answer: dict[str, Any]) -> None:
        try:
            if "progress" in answer:
                self.progress = msgspec.convert(answer["progress"], list[Progress])
            else:
                self.report = msgspec.convert(answer["report"], Report)
        except msgspec.ValidationError as e:
            raise ControlError(f"scan: broken off: {e}") from e
        self._changed()

    @contextlib.asynccontextmanager
    async def _lent(self, bus: Bus) -> Any:
        station = self._station
        mine = [s.id for s in bus.sensors if not station.maintenance.is_on(s.id)]
        self._maintenance(mine, LENT_MIN)
        try:
            async with lent(bus, Beat(station.pulse, f"bus.{bus.name}")):
                yield
        finally:
            standing = {w["sensor"]: w for w in station.maintenance.standing(station.clock.stamp())}
            self._maintenance([s for s in mine if standing.get(s, {}).get("why") == WHY], 0)

    def _maintenance(self, sensors: Sequence[str], minutes: float) -> None:
        at = self._station.clock.stamp()
        detail = {"minutes": minutes, "by": self.by, "why": WHY}
        self._station.journal.append([Event(at, "maintenance", {"sensor": s, **detail}) for s in sensors])

    def _check(self, port: str) -> None:
        if self._is_modem(port):
            raise ControlError("scan: that is the modem's port; messages would not go out meanwhile")
        if self._own(port) is not None:
            return
        real = os.path.realpath(port)
        is_serial = real.startswith("/dev/pts/") or _SERIAL.fullmatch(os.path.basename(real))
        if len(port) > 200 or not port.startswith("/dev/") or not real.startswith("/dev/") or not is_serial:
            raise ControlError(
                "scan: port: a serial port begins with /dev/tty or /dev/serial/; or one of ours"
            )

    def _own(self, port: str) -> Bus | None:
        """The bus that reads this port."""
        for bus, wire in zip(self._station.buses, self._station.config.wires, strict=True):
            if _same(wire.port, port):
                return bus
        return None

    def _is_modem(self, port: str) -> bool:
        sms = self._station.config.sms
        modems = [] if sms is None else [sms.modem, sms.second.modem if sms.second is not None else None]
        return any(modem is not None and _same(modem, port) for modem in modems)

    def _over(self, why: str) -> None:
        self.under_way = False
        self.progress = []
        self.error = self.error or ("" if self.report is not None else why)
        self._changed()

    def _changed(self) -> None:
        self.changes += 1
        if self._change is not None and not self._change.done():
            self._change.set_result(None)


def _same(one: str, other: str) -> bool:
    return one == other or ("://" not in one and os.path.realpath(one) == os.path.realpath(other))
