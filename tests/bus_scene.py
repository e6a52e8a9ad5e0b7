"""A bus of scripted instruments in time that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from drivers.base import GarbledAnswer, InstrumentError, Measurement, NoAnswer, PortLost, Quantity
from drivers.link import Link
from gateway.bus import Bus, Sensor
from gateway.model import Body, Event, Reading, Stamp
from gateway.qc import Checks
from tests.virtual_time import run

Outcome = float | InstrumentError


class Scripted:
    """An instrument that takes `takes_s` to answer and then does what the script says; the last entry
    repeats.
    """

    quantities = (Quantity("ph", "pH", 2),)

    def __init__(self, script: Sequence[Outcome], takes_s: float = 0.1, silent_s: float = 1.0) -> None:
        self.script = list(script)
        self.takes_s, self.silent_s = takes_s, silent_s
        self.asked_s: list[float] = []

    async def read(self, link: Link) -> Measurement:
        self.asked_s.append(asyncio.get_running_loop().time())
        outcome = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        await asyncio.sleep(self.silent_s if isinstance(outcome, NoAnswer) else self.takes_s)
        if isinstance(outcome, InstrumentError):
            raise outcome
        return Measurement({"ph": outcome}, b"\x01\x03")


class FakeLink(Link):
    """A port that opens only when told."""

    def __init__(self) -> None:
        super().__init__("/dev/none")
        self.opens_from_s = 0.0
        self.tries_s: list[float] = []

    async def open(self) -> None:
        self.tries_s.append(asyncio.get_running_loop().time())
        if asyncio.get_running_loop().time() < self.opens_from_s:
            raise PortLost("/dev/none: cannot open: No such file or directory")

    def close(self) -> None:
        pass


class Scene:
    """A bus with scripted instruments, and what it handed on. Times are seconds since the start."""

    def __init__(self, boot_s: float = 0.0, **instruments: tuple[float, Scripted]) -> None:
        self.boot_s = boot_s
        """What the boot's clock shows at the start."""
        self.link = FakeLink()
        self.instruments = {name: instrument for name, (_, instrument) in instruments.items()}
        sensors = [
            Sensor(name, "scripted", "water", every_s, instrument, Checks({}))
            for name, (every_s, instrument) in instruments.items()
        ]
        self.bodies: list[Body] = []
        self.bus = Bus("river", self.link, sensors, self.bodies.extend, self._stamp)
        self.start_s = 0.0

    def _stamp(self) -> Stamp:
        now_ms = round((asyncio.get_running_loop().time() - self.start_s) * 1000)
        return Stamp(now_ms, "boot0001", now_ms + round(self.boot_s * 1000), True)

    def play(self, seconds: float, meanwhile: Callable[[Scene], None] | None = None) -> Scene:
        async def job() -> None:
            self.start_s = asyncio.get_running_loop().time()
            if meanwhile is not None:
                meanwhile(self)
            task = asyncio.create_task(self.bus.run())
            await asyncio.sleep(seconds)
            self.bus.stop()
            await task

        run(job())
        return self

    def asked(self, name: str) -> list[float]:
        return [round(s - self.start_s, 3) for s in self.instruments[name].asked_s]

    def readings(self, name: str) -> list[tuple[float, float]]:
        return [
            (body.at.utc_ms / 1000, body.values["ph"].raw)
            for body in self.bodies
            if isinstance(body, Reading) and body.sensor == name
        ]

    def events(self) -> list[tuple[float, str, str, str]]:
        return [
            (e.at.utc_ms / 1000, e.detail["sensor"], e.detail["before"], e.detail["state"])
            for e in self.bodies
            if isinstance(e, Event) and e.what == "sensor"
        ]

    def missed(self, name: str) -> list[tuple[str, int, int]]:
        """Runs of missed slots: why, the first, and the one behind the last."""
        [every_ms] = [round(sensor.every_s * 1000) for sensor in self.bus.sensors if sensor.id == name]
        runs = []
        for e in self.bodies:
            if isinstance(e, Event) and e.what == "missed" and e.detail["sensor"] == name:
                first, end = e.detail["from_mono_ms"] // every_ms, e.detail["to_mono_ms"] // every_ms
                assert e.detail["slots"] == end - first > 0
                runs.append((e.detail["why"], first, end))
        return runs

    def slots(self, name: str) -> list[int]:
        """The slots that have a reading."""
        [every_ms] = [round(sensor.every_s * 1000) for sensor in self.bus.sensors if sensor.id == name]
        return [
            body.at.mono_ms // every_ms
            for body in self.bodies
            if isinstance(body, Reading) and body.sensor == name
        ]

    def balance(self, name: str) -> None:
        """Every slot between the first and the last one told of is told of once, and the counters agree."""
        told = self.slots(name)
        told += [slot for _, first, end in self.missed(name) for slot in range(first, end)]
        assert sorted(told) == list(range(min(told), max(told) + 1))
        sensor = self.sensor(name)
        assert sensor.expected == len(told)
        assert sensor.expected == sensor.taken + sensor.failed + sensor.not_ready + sensor.skipped

    def sensor(self, name: str) -> Sensor:
        return next(sensor for sensor in self.bus.sensors if sensor.id == name)


# ── missed slots ───────────────────────────────────────────────────────────────────────────────────────────

SILENT, RUBBISH = NoAnswer("nothing"), GarbledAnswer("bad CRC", b"\x01")
