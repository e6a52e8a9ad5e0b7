"""A bus: one port and the instruments on it, each read at its own fixed rate.

The schedule is a grid on the event loop's time: a reading that comes late does not move the next, a cycle
that is missed is counted and skipped, never caught up. One task owns the port; a sensor alone on a port is
a bus of one.

What a sensor can be, each change an event "sensor":

    alive ──3 cycles without an answer──► dead       probed ever more rarely, once per turn, so that it
    costs the others little
      ▲ ◄─────────any answer──────────────┘
      ├──the instrument reports a fault or refuses──► faulty      asked on at its rate
      └──its port is gone──► unplugged                            the port is opened again with back-off, on
      any tty it gets
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drivers.base import (
    GarbledAnswer,
    Instrument,
    InstrumentError,
    InstrumentFault,
    Measurement,
    NoAnswer,
    NotReady,
    PortLost,
    RequestRefused,
)
from drivers.link import Link
from gateway.model import Body, Event, Reading, Stamp, Value
from gateway.qc import Checks

TRIES = 2
"""Requests per reading while the sensor is alive: one retry, at once."""
DEAD_AFTER = 3
"""Cycles in a row without an answer that make a sensor dead."""
PROBE_LIMIT_S = 60.0
REOPEN_S = (0.2, 30.0)
"""First and longest pause before a lost port is opened again; doubled in between."""


@dataclass(slots=True)
class Sensor:
    """One instrument as the bus sees it. The counters are since the start of the process."""

    id: str
    model: str
    medium: str
    every_s: float
    instrument: Instrument
    checks: Checks
    state: str = "new"
    why: str = ""
    last: Reading | None = None
    last_frame: bytes = b""
    expected: int = 0
    taken: int = 0
    not_ready: int = 0
    failed: int = 0
    skipped: int = 0
    units: dict[str, str] = field(default_factory=dict)
    due_s: float = 0.0
    silent_cycles: int = 0
    probe_s: float = 0.0
    identified: bool = False

    def __post_init__(self) -> None:
        self.units = {quantity.name: quantity.unit for quantity in self.instrument.quantities}


class Bus:
    """Reads its sensors for ever and hands readings and events to `take`."""

    def __init__(
        self,
        name: str,
        link: Link,
        sensors: Sequence[Sensor],
        take: Callable[[list[Body]], object],
        stamp: Callable[[], Stamp],
        beat: Callable[[float], None] = lambda within_s: None,
    ) -> None:
        self.name = name
        self.link = link
        self.sensors = list(sensors)
        self._take = take
        self._stamp = stamp
        self._beat = beat
        self._stopping = False
        self._pausing: asyncio.Future[None] | None = None
        self._log = logging.getLogger(f"{__name__}.{name}")

    def stop(self) -> None:
        """Let the reading under way end, then end `run`: nothing an instrument answered is thrown away."""
        self._stopping = True
        if self._pausing is not None:
            _end(self._pausing)

    async def run(self) -> None:
        """Read until stopped or cancelled; then the port is closed."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for sensor in self.sensors:
            sensor.due_s = now_s
        try:
            while not self._stopping:
                sensor = min(self.sensors, key=_due)
                wait_s = sensor.due_s - loop.time()
                self._beat(max(wait_s, 0.0) + 60.0)
                if wait_s > 0 and await self._pause(wait_s):
                    break
                try:
                    await self._cycle(sensor)
                except PortLost as e:
                    self._count_failure(sensor)
                    self._plan(sensor)
                    await self._reopen(e)
        finally:
            self.link.close()

    async def _pause(self, wait_s: float) -> bool:
        """Wait; True when the bus was stopped meanwhile."""
        loop = asyncio.get_running_loop()
        self._pausing = loop.create_future()
        timer = loop.call_later(wait_s, _end, self._pausing)
        try:
            await self._pausing
        finally:
            timer.cancel()
        return self._stopping

    async def _cycle(self, sensor: Sensor) -> None:
        """Take one reading of one sensor, note what came of it, and plan its next turn. Raises PortLost."""
        sensor.expected += 1
        tries = 1 if sensor.state == "dead" else TRIES
        for left in range(tries - 1, -1, -1):
            try:
                measurement = await sensor.instrument.read(self.link)
            except (NoAnswer, GarbledAnswer) as e:
                if left == 0:
                    self._count_failure(sensor)
                    sensor.silent_cycles += 1
                    if sensor.silent_cycles >= DEAD_AFTER or sensor.state == "new":
                        self._turn(sensor, "dead", e)
            except NotReady as e:
                sensor.not_ready += 1
                sensor.silent_cycles = 0
                if sensor.state in ("dead", "unplugged", "new"):
                    self._turn(sensor, "alive", e)
                break
            except (InstrumentFault, RequestRefused) as e:
                self._count_failure(sensor)
                sensor.silent_cycles = 0
                self._turn(sensor, "faulty", e)
                break
            else:
                self._taken(sensor, measurement)
                break
        self._plan(sensor)
        if sensor.state == "alive" and not sensor.identified:
            await self._identify(sensor)

    def _taken(self, sensor: Sensor, measurement: Measurement) -> None:
        at = self._stamp()
        values = {}
        flag = sensor.checks.flag
        for name, raw in measurement.values.items():
            if math.isfinite(raw):  # a driver that lets a NaN through is wrong, but it must not poison a sink
                level, why = flag(name, raw, at)
                values[name] = Value(raw, raw, sensor.units[name], level, why)
        sensor.last_frame = measurement.frame
        sensor.silent_cycles = 0
        if sensor.state != "alive":
            self._turn(sensor, "alive", None)
        if not values:
            self._count_failure(sensor)
            return
        sensor.taken += 1
        sensor.last = Reading(sensor.id, sensor.model, sensor.medium, at, values)
        self._take([sensor.last])

    def _plan(self, sensor: Sensor) -> None:
        """Set the sensor's next turn on its grid; count the turns that are already over."""
        now_s = asyncio.get_running_loop().time()
        sensor.due_s += sensor.every_s
        late = math.floor((now_s - sensor.due_s) / sensor.every_s) + 1
        if late > 0:
            sensor.due_s += late * sensor.every_s
            sensor.skipped += late
            sensor.expected += late
        if sensor.state == "dead":
            sensor.probe_s = min(max(2 * sensor.probe_s, sensor.every_s), max(PROBE_LIMIT_S, sensor.every_s))
            turns = math.floor(sensor.probe_s / sensor.every_s) - 1
            sensor.due_s += turns * sensor.every_s
            sensor.skipped += turns
            sensor.expected += turns

    def _count_failure(self, sensor: Sensor) -> None:
        sensor.failed += 1

    def _turn(self, sensor: Sensor, state: str, error: InstrumentError | None) -> None:
        """Change a sensor's state: said once in the log and as an event, not at each repetition."""
        why = str(error) if error else ""
        sensor.why = why
        if sensor.state == state:
            return
        before, sensor.state = sensor.state, state
        if state == "alive":
            sensor.probe_s = 0.0
            if before == "new":
                return  # that a station's sensors answer is no news
            self._log.info("%s: %s again", sensor.id, state)
        else:
            sensor.identified = False  # it may be another instrument when it comes back
            self._log.warning("%s: %s: %s", sensor.id, state, why)
        detail = {"sensor": sensor.id, "bus": self.name, "state": state, "before": before, "why": why}
        self._take([Event(self._stamp(), "sensor", detail)])

    async def _identify(self, sensor: Sensor) -> None:
        """Ask once who is there (serial number, firmware, slope …) where the driver can."""
        sensor.identified = True
        identify = getattr(sensor.instrument, "identify", None)
        if identify is None:
            return
        try:
            found: dict[str, str] = await identify(self.link)
        except PortLost:
            raise
        except InstrumentError as e:
            self._log.info("%s: does not say who it is: %s", sensor.id, e)
            return
        if found:
            self._take(
                [Event(self._stamp(), "identified", {"sensor": sensor.id, "model": sensor.model, **found})]
            )

    async def _reopen(self, error: PortLost) -> None:
        """Say that the port is gone, and wait, ever longer, until it opens again."""
        for sensor in self.sensors:
            self._turn(sensor, "unplugged", error)
        pause_s, longest_s = REOPEN_S
        while not await self._pause(pause_s):
            self._beat(longest_s + 60.0)
            try:
                await self.link.open()
            except PortLost as e:
                for sensor in self.sensors:
                    sensor.why = str(e)
                pause_s = min(2 * pause_s, longest_s)
            else:
                return


def _due(sensor: Sensor) -> float:
    return sensor.due_s


def _end(pausing: asyncio.Future[None]) -> None:
    if not pausing.done():
        pausing.set_result(None)
