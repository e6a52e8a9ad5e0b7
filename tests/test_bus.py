"""The bus: fixed rates on a grid, retries, dead and unplugged sensors that cost the others nothing. In
virtual time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

import pytest

from drivers.base import (
    GarbledAnswer,
    InstrumentError,
    InstrumentFault,
    Measurement,
    NoAnswer,
    NotReady,
    PortLost,
    Quantity,
    RequestRefused,
)
from drivers.link import Link
from gateway.bus import Bus, Sensor
from gateway.model import Body, Event, Reading, Stamp
from gateway.qc import Checks, Expect
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

    def __init__(self, **instruments: tuple[float, Scripted]) -> None:
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
        return Stamp(now_ms, "boot0001", now_ms, True)

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

    def sensor(self, name: str) -> Sensor:
        return next(sensor for sensor in self.bus.sensors if sensor.id == name)


def test_each_sensor_is_read_on_its_own_grid() -> None:
    scene = Scene(a=(10.0, Scripted([7.0])), b=(3.0, Scripted([8.0]))).play(20.5)
    assert scene.asked("a") == [0.0, 10.0, 20.0]
    assert scene.asked("b") == [0.1, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0]
    assert scene.readings("a") == [(0.1, 7.0), (10.1, 7.0), (20.1, 7.0)]
    assert scene.sensor("b").expected == 7
    assert scene.events() == []


def test_what_is_missed_is_counted_and_never_caught_up() -> None:
    slow = Scripted([7.0], takes_s=2.5)
    scene = Scene(a=(1.0, slow)).play(10.0)
    assert scene.asked("a") == [0.0, 3.0, 6.0, 9.0]
    assert scene.sensor("a").taken == 4
    assert scene.sensor("a").skipped == 8
    assert scene.sensor("a").expected == 12


@pytest.mark.parametrize(
    ("first", "readings"),
    [
        (GarbledAnswer("bad CRC", b"\x01"), 3),
        (NoAnswer("nothing"), 3),
        (NotReady("warming up"), 2),
        (InstrumentFault("laser"), 2),
        (RequestRefused("illegal function"), 2),
    ],
)
def test_only_what_a_retry_may_mend_is_retried(first: InstrumentError, readings: int) -> None:
    scene = Scene(a=(10.0, Scripted([first, 7.0]))).play(20.5)
    assert len(scene.readings("a")) == readings


def test_not_ready_is_no_failure() -> None:
    scene = Scene(a=(1.0, Scripted([*[NotReady("warming up", 5.0)] * 5, 7.0]))).play(5.5)
    sensor = scene.sensor("a")
    assert (sensor.not_ready, sensor.failed, sensor.taken) == (5, 0, 1)
    assert scene.events() == []  # that a new sensor warms up is no news


def test_a_dead_sensor_is_said_once_and_costs_the_others_little() -> None:
    dead = Scripted([7.0, 7.0, NoAnswer("silent")])
    scene = Scene(a=(10.0, dead), b=(1.0, Scripted([8.0], takes_s=0.05))).play(3600.0)
    assert scene.events() == [(42.0, "a", "alive", "dead")]
    after = [s for s in scene.asked("a") if s > 60]
    assert max(b - a for a, b in itertools.pairwise(after)) == 60.0
    # Each probe of the dead one takes a second of the other's time: at most one of its turns in sixty.
    assert scene.sensor("b").taken > 3600 * 0.97
    assert all(s % 1.0 < 0.11 for s, _ in scene.readings("b") if s > 60)


def test_a_dead_sensor_comes_back_by_itself() -> None:
    script: list[Outcome] = [7.0, *[NoAnswer("silent")] * 8, 7.5]
    scene = Scene(a=(10.0, Scripted(script))).play(600.0)
    assert [event[2:] for event in scene.events()] == [("alive", "dead"), ("dead", "alive")]
    back_s = scene.events()[1][0]
    tail = [s for s, _ in scene.readings("a") if s >= back_s]
    assert [round(b - a, 3) for a, b in itertools.pairwise(tail)] == [10.0] * (len(tail) - 1)


def test_a_fault_is_an_event_and_never_a_number() -> None:
    script: list[Outcome] = [7.0, InstrumentFault("fan fault"), InstrumentFault("fan fault"), 7.2]
    scene = Scene(a=(1.0, Scripted(script))).play(4.0)
    assert [event[2:] for event in scene.events()] == [("alive", "faulty"), ("faulty", "alive")]
    assert [raw for _, raw in scene.readings("a")] == [7.0, 7.2]
    assert next(e for e in scene.bodies if isinstance(e, Event)).detail["why"] == "fan fault"


def test_a_lost_port_is_opened_again_with_growing_pauses() -> None:
    lost = Scripted([7.0, PortLost("/dev/none: unplugged"), 7.2])

    def unplug(scene: Scene) -> None:
        scene.link.opens_from_s = scene.start_s + 8.0

    scene = Scene(a=(1.0, lost)).play(20.5, unplug)
    assert [round(s - scene.start_s, 1) for s in scene.link.tries_s] == [1.3, 1.7, 2.5, 4.1, 7.3, 13.7]
    assert scene.events() == [(1.1, "a", "alive", "unplugged"), (13.8, "a", "unplugged", "alive")]
    assert [s for s, _ in scene.readings("a")][:3] == [0.1, 13.8, 14.1]  # at once, then on the old grid
    assert scene.sensor("a").expected == 21


def test_a_stop_lets_the_reading_under_way_end() -> None:
    scene = Scene(a=(10.0, Scripted([7.0], takes_s=2.0))).play(1.0)
    assert scene.readings("a") == [(2.0, 7.0)]


def test_a_number_that_is_none_goes_no_further() -> None:
    scene = Scene(a=(1.0, Scripted([float("nan"), float("inf"), 7.0]))).play(2.5)
    assert [raw for _, raw in scene.readings("a")] == [7.0]
    assert scene.sensor("a").failed == 2


@pytest.mark.parametrize(
    ("value", "flag", "why"),
    [(7.0, 1, ""), (5.0, 1, ""), (4.9, 3, "user range"), (14.0, 3, "user range"), (14.1, 4, "gross range")],
)
def test_flags(value: float, flag: int, why: str) -> None:
    checks = Checks({"ph": Expect(gross=(0.0, 14.0), usual=(5.0, 9.5))})
    at = Stamp(0, "boot0001", 0, True)
    assert checks.flag("ph", value, at) == (flag, why)
    assert checks.flag("orp", value, at) == (2, "")
