"""The bus with real drivers on an emulated RS-485 wire whose bytes take their time: one and two dead of
eight, late answers, crosstalk, rubbish, an instrument that refuses what others take. In virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from drivers import catalogue, profile
from drivers.base import GarbledAnswer, NoAnswer
from drivers.emulators.faults import Faults, parse
from drivers.emulators.modbus_models import Y532
from drivers.emulators.modbus_unit import ModbusUnit, Refused, Spot
from drivers.emulators.port import PtyPort, Record
from drivers.link import Line, Link
from drivers.modbus import ask, read_pdu
from drivers.modbus_instrument import JOIN_AGAIN_S, ModbusInstrument
from gateway.bus import Bus, Sensor
from gateway.model import Body, Event, Reading, Stamp
from gateway.qc import Checks
from tests.virtual_time import run

LINE = Line(9600, "8N1")
LIMIT_S = 0.5
"""What the profile of the Y532 gives it to answer."""


class Wired:
    """Units on one wire, read by a bus. Times are seconds since the start."""

    def __init__(
        self, units: list[ModbusUnit], instruments: list[Any], *, every_s: float = 1.0, faults: str = ""
    ) -> None:
        self.faults = Faults(parse(faults))
        self.record = Record()
        self.units, self.instruments, self.every_s = units, instruments, every_s
        self.bodies: list[Body] = []
        self.sensors: list[Sensor] = []
        self.broken_silences = 0
        self.busy_s: dict[str, float] = {}
        """How long each instrument's requests held the bus from `count_from_s` on."""
        self.count_from_s = 0.0
        self._start_s = 0.0

    def now_s(self) -> float:
        return asyncio.get_running_loop().time() - self._start_s

    def play(self, seconds: float, meanwhile: Callable[[Wired], None] | None = None) -> Wired:
        async def job() -> None:
            port = PtyPort(
                self.units, name="wire", line=LINE, timed=True, faults=self.faults, record=self.record
            )
            await port.start()
            self._start_s = asyncio.get_running_loop().time()
            self.sensors = [
                Sensor(
                    unit.name,
                    unit.model,
                    "water",
                    self.every_s,
                    _Timed(instrument, unit.name, self),
                    Checks({}),
                )
                for unit, instrument in zip(self.units, self.instruments, strict=True)
            ]
            bus = Bus("wire", Link(port.path, LINE), self.sensors, self.bodies.extend, self._stamp)
            if meanwhile is not None:
                meanwhile(self)
            task = asyncio.create_task(bus.run())
            await asyncio.sleep(seconds)
            bus.stop()
            await task
            self.broken_silences = port.wire.counts.broken_silences
            await port.stop()

        run(job())
        return self

    def _stamp(self) -> Stamp:
        now_ms = round(self.now_s() * 1000)
        return Stamp(now_ms, "boot0001", now_ms, True)

    def readings(self, name: str) -> list[tuple[float, float]]:
        return [
            (body.at.mono_ms / 1000, next(iter(body.values.values())).raw)
            for body in self.bodies
            if isinstance(body, Reading) and body.sensor == name
        ]

    def events(self, what: str) -> list[Event]:
        return [body for body in self.bodies if isinstance(body, Event) and body.what == what]

    def states(self, name: str) -> list[str]:
        return [e.detail["state"] for e in self.events("sensor") if e.detail["sensor"] == name]

    def missed(self, name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for e in self.events("missed"):
            if e.detail["sensor"] == name:
                found[e.detail["why"]] = found.get(e.detail["why"], 0) + e.detail["slots"]
        return found


class _Timed:
    """An instrument, and how long asking it takes."""

    def __init__(self, instrument: Any, name: str, wired: Wired) -> None:
        self.__dict__.update(_instrument=instrument, _name=name, _wired=wired)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instrument, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._instrument, name, value)

    async def read(self, link: Link) -> Any:
        began_s = self._wired.now_s()
        try:
            return await self._instrument.read(link)
        finally:
            if began_s >= self._wired.count_from_s:
                spent_s = self._wired.now_s() - began_s
                self._wired.busy_s[self._name] = self._wired.busy_s.get(self._name, 0.0) + spent_s


def eight() -> tuple[list[ModbusUnit], list[Any]]:
    """Eight pH probes, each of which answers the time as its pH, so that an old answer shows."""
    numbers = range(1, 9)
    units: list[ModbusUnit] = [Y532(f"u{n}", n, lambda quantity, now_s: now_s % 14) for n in numbers]
    instruments = [catalogue.find("yosemitech-y532").make(n, {"warm_up_s": 0}) for n in numbers]
    return units, list(instruments)


@pytest.mark.parametrize("dead", [(), ("u3",), ("u3", "u4"), ("u1", "u8")])
def test_the_dead_of_eight_at_9600_baud(dead: tuple[str, ...]) -> None:
    wired = Wired(*eight(), faults=" ".join(f"dead:{name}@20+" for name in dead))
    wired.count_from_s = 25.0  # known by then
    wired.play(145.0)
    assert wired.broken_silences == 0
    assert [e.detail["state"] for e in wired.events("sensor")] == ["dead"] * len(dead)
    cost = sum(wired.busy_s[name] for name in dead) / 120
    assert cost <= 0.05
    assert not dead or cost > 0.001  # they are looked for
    for unit in wired.units:
        if unit.name in dead:
            assert set(wired.missed(unit.name)) == {"no_answer", "dead"}
            continue
        assert wired.missed(unit.name) == {}
        after = [s for s, _ in wired.readings(unit.name) if s >= 25]
        assert len(after) == 120
        assert all(abs(b - a - 1.0) <= 0.003 for a, b in pairwise(after))


def test_one_that_comes_back_is_found_within_a_minute_or_so() -> None:
    wired = Wired(*eight(), faults="dead:u3@20+100").play(200.0)
    assert wired.states("u3") == ["dead", "alive"]
    back_s = next(s for s, _ in wired.readings("u3") if s > 30)
    assert 120 <= back_s < 185
    last = [s for s, _ in wired.readings("u3")][-10:]
    assert all(abs(b - a - 1.0) <= 0.003 for a, b in pairwise(last))


@pytest.mark.parametrize("late_s", [0.15, 0.3, 0.45, 0.55, 0.7, 0.95])
def test_no_late_answer_is_taken_for_the_next_ones(late_s: float) -> None:
    """Late by more than was learned, than the maker's figure, than both together; on a bus and alone."""
    for count in (1, 3):
        units, instruments = eight()
        wired = Wired(
            units[:count], instruments[:count], every_s=2.0, faults=f"late={late_s}:u1@0.1@30+300"
        ).play(330.0)
        for unit in units[:count]:
            readings = wired.readings(unit.name)
            assert len(readings) > 100
            for at_s, said_s in readings:
                took_s = (at_s - said_s) % 14
                assert took_s < LIMIT_S + 0.1, f"{unit.name} at {at_s}: an answer of {took_s:.2f} s before"
            told = len(readings) + sum(wired.missed(unit.name).values())
            assert told == 165
        assert wired.faults.counts["late"] > 10


def test_answers_that_were_late_make_the_time_out_longer() -> None:
    units, instruments = eight()
    wired = Wired(units[:2], instruments[:2], every_s=2.0, faults="late=0.3:u1@60+")
    wired.play(120.0)
    assert instruments[1].answer_within_s == 0.1
    assert instruments[0].answer_within_s == pytest.approx(0.3 * 1.5 + 0.02, abs=0.1)
    assert len(wired.readings("u1")) >= 58


def test_an_instrument_that_needs_all_its_time_is_slow() -> None:
    units, instruments = eight()
    units[0].answer_after_s = 0.45
    wired = Wired(units[:2], instruments[:2], every_s=2.0).play(60.0)
    assert wired.states("u1") == ["slow"]
    assert "time-out" in wired.sensors[0].why
    assert wired.states("u2") == []


def test_noise_is_asked_again_at_once_and_said_when_it_is_often() -> None:
    units, instruments = eight()
    wired = Wired(units[:2], instruments[:2], every_s=2.0, faults="garbled:u1@0.1@20+100").play(300.0)
    assert wired.states("u1") == ["slow", "alive"]
    assert sum(wired.missed("u1").values()) <= 4
    assert wired.missed("u2") == {}


def test_only_rubbish_is_quarantined_and_leaves_the_others_alone() -> None:
    units, instruments = eight()
    wired = Wired(units, instruments, every_s=2.0, faults="garbled=20:u3@20+").play(120.0)
    assert wired.states("u3") == ["quarantined"]
    assert set(wired.missed("u3")) == {"garbled", "quarantined"}
    assert all(wired.missed(unit.name) == {} for unit in units if unit.name != "u3")


def test_another_ones_answers_are_crosstalk() -> None:
    units, instruments = eight()
    wired = Wired(units[:3], instruments[:3], every_s=2.0, faults="wrong-unit=1:u1@0.5@20+60").play(200.0)
    assert wired.states("u1")[0] == "crosstalk"
    assert wired.states("u1")[-1] == "alive"
    assert "unit" in wired.events("sensor")[0].detail["why"]
    for at_s, said_s in wired.readings("u2"):
        assert (at_s - said_s) % 14 < 0.6


def test_who_answered_instead_is_said() -> None:
    async def job() -> None:
        units, _ = eight()
        port = PtyPort(units[:1], name="wire", line=LINE, faults=Faults(parse("wrong-unit=4:u1")))
        await port.start()
        link = Link(port.path, LINE)
        with pytest.raises(GarbledAnswer, match="unit 5 answered instead") as e:
            await ask(link, 1, read_pdu(3, 0x2800, 2), within_s=0.2)
        assert e.value.crosstalk
        port.wire.faults.clear()
        port.wire.faults.plant("truncated", "u1")
        await asyncio.sleep(1)
        with pytest.raises(GarbledAnswer) as e:
            await ask(link, 1, read_pdu(3, 0x2800, 2), within_s=0.2)
        assert not e.value.crosstalk
        link.close()
        await port.stop()

    run(job())


def test_a_late_answer_that_is_dropped_tells_how_long_it_took() -> None:
    async def job() -> None:
        units, _ = eight()
        port = PtyPort(units[:1], name="wire", line=LINE, timed=True, faults=Faults(parse("late=0.4:u1")))
        await port.start()
        link = Link(port.path, LINE)
        with pytest.raises(NoAnswer):
            await ask(link, 1, read_pdu(3, 0x2800, 2), within_s=0.1, late_s=0.5)
        port.wire.faults.clear()
        link.took_s = 0.0
        await ask(link, 1, read_pdu(3, 0x2800, 2), within_s=0.1, late_s=0.5)
        assert link.took_s == pytest.approx(0.42, abs=0.03)
        link.close()
        await port.stop()

    run(job())


# ── requests taken apart ───────────────────────────────────────────────────────────────────────────────────

WEATHER = """
model = "weather"
maker = "Somebody"
title = "weather"
medium = "air"
verified = "no"
gap = 4
line = { baudrate = 9600, format = "8N1" }
source = { manual = "m", revision = "r", table = "t" }
""" + "".join(
    f'[[register]]\nquantity = "{name}"\nunit = "V"\ndigits = 1\naddress = {address}\nformat = "int16"\n'
    for name, address in (("q1", 0), ("q2", 1), ("q3", 4))
)


class Weather(ModbusUnit):
    """Registers 0, 1 and 4; `most` is how many it gives at once, `holes` whether it fills 2 and 3."""

    model = "weather"
    spots = (Spot("q1", 0, "int16"), Spot("q2", 1, "int16"), Spot("q3", 4, "int16"))
    most = 125
    holes = True
    mapped = True

    def __init__(self) -> None:
        super().__init__("w", 1, lambda quantity, now_s: float(quantity[1:]))
        self.asked: list[tuple[int, int]] = []

    def read(self, function: int, address: int, count: int, now_s: float) -> tuple[bytes, dict[str, float]]:
        self.asked.append((address, count))
        if count > self.most:
            raise Refused(3)
        if not self.mapped or (self.holes and address <= 2 < address + count):
            raise Refused(2)
        if not self.holes:
            self.put(3, 2, bytes(4))
        return super().read(function, address, count, now_s)


WHOLE, NO_HOLE, SINGLE = [(0, 5)], [(0, 2), (4, 1)], [(0, 1), (1, 1), (4, 1)]


@pytest.mark.parametrize(
    ("most", "holes", "mapped", "first", "then"),
    [
        (125, False, True, WHOLE, WHOLE),
        (125, True, True, WHOLE + NO_HOLE, NO_HOLE),
        (1, False, True, WHOLE + NO_HOLE[:1] + SINGLE, SINGLE),
        (125, True, False, WHOLE + NO_HOLE[:1] + SINGLE[:1], WHOLE),
    ],
)
def test_requests_are_taken_apart_where_an_instrument_refuses_them(
    tmp_path: Path,
    most: int,
    holes: bool,
    mapped: bool,
    first: list[tuple[int, int]],
    then: list[tuple[int, int]],
) -> None:
    (tmp_path / "weather.toml").write_text(WEATHER)
    unit = Weather()
    unit.most, unit.holes, unit.mapped = most, holes, mapped
    instrument = ModbusInstrument(profile.load(tmp_path / "weather.toml"))
    wired = Wired([unit], [instrument], every_s=3600.0)
    wired.play(JOIN_AGAIN_S - 10)
    assert unit.asked == first + 5 * then
    assert len(wired.events("split")) == (then != WHOLE)
    if then != WHOLE:
        assert str(wired.events("split")[0].detail["why"]).startswith(f"it takes {len(then)} requests now")
    assert wired.missed("w") == ({} if mapped else {"refused": 6})
    assert all(
        [value.raw for value in body.values.values()] == [1, 2, 3]
        for body in wired.bodies
        if isinstance(body, Reading)
    )


def test_requests_that_were_taken_apart_are_tried_together_again(tmp_path: Path) -> None:
    (tmp_path / "weather.toml").write_text(WEATHER)
    unit = Weather()
    instrument = ModbusInstrument(profile.load(tmp_path / "weather.toml"))

    def exchange(wired: Wired) -> None:
        asyncio.get_running_loop().call_later(JOIN_AGAIN_S - 100, setattr, unit, "holes", False)

    wired = Wired([unit], [instrument], every_s=600.0).play(JOIN_AGAIN_S + 2000, exchange)
    assert unit.asked[:3] == WHOLE + NO_HOLE
    assert unit.asked[-3:] == WHOLE * 3
    assert unit.asked.count((0, 5)) == 5
    assert wired.missed("w") == {}
    assert len(wired.events("split")) == 1
