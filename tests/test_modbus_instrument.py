"""The life of a Modbus instrument in virtual time: when it is asked, and when its numbers are none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest

from drivers import catalogue, profile
from drivers.base import Measurement, NoAnswer, NotReady
from drivers.emulators.base import Answer
from drivers.emulators.modbus_models import Y510, Y511, Y532, AqualaboNtu
from drivers.emulators.modbus_unit import ModbusUnit, Spot
from drivers.emulators.port import PtyPort
from drivers.link import Link
from drivers.modbus_instrument import ModbusInstrument
from tests import virtual_time

T = TypeVar("T")


class Heard:
    """A unit with a notebook: when which request came, and its PDU in hex. `deaf` makes it silent."""

    def __init__(self, unit: ModbusUnit) -> None:
        self.unit = unit
        self.name = unit.name
        self.requests: list[tuple[float, str]] = []
        self.deaf = False

    def feed(self, data: bytes, now_s: float) -> list[Answer]:
        self.requests.append((now_s, data[1:-2].hex(" ")))
        return [] if self.deaf else self.unit.feed(data, now_s)

    def due_s(self, now_s: float) -> float | None:
        return None

    def speak(self, now_s: float) -> list[Answer]:
        return []

    def take(self) -> list[str]:
        """The requests since the last time."""
        got = [request for _, request in self.requests]
        self.requests.clear()
        return got


def constant(value: float) -> Callable[[str, float], float]:
    return lambda quantity, now_s: value


def on_a_wire(unit: Heard, story: Callable[[Link], Awaitable[T]]) -> T:
    """Run a story with a link to this unit, in virtual time."""

    async def run() -> T:
        port = PtyPort([unit], name="p")
        await port.start()
        link = Link(port.path)
        try:
            return await story(link)
        finally:
            link.close()
            await port.stop()

    return virtual_time.run(run())


def test_an_aqualabo_is_given_its_time_between_requests_and_before_it_is_read() -> None:
    unit = AqualaboNtu("ntu", 40, constant(5.0))
    unit.wait_ms = 730
    heard = Heard(unit)

    async def story(link: Link) -> Measurement:
        return await catalogue.find("aqualabo-ntu").make().read(link)

    assert on_a_wire(heard, story).values["turbidity"] == 5.0
    (start_s, start), (ask_s, ask), (read_s, read) = heard.requests
    assert (start, ask, read) == ("06 00 01 00 0f", "03 00 a4 00 01", "03 00 53 00 08")
    assert ask_s - start_s >= 0.1
    assert 0.74 <= read_s - ask_s < 0.9


def test_zeros_are_asked_again_after_a_second_three_times() -> None:
    unit = AqualaboNtu("ntu", 40, constant(0.0))  # a probe that never gets ready
    heard = Heard(unit)

    async def story(link: Link) -> None:
        with pytest.raises(NotReady, match="zeros") as e:
            await catalogue.find("aqualabo-ntu").make().read(link)
        assert e.value.wait_s == 1.0

    on_a_wire(heard, story)
    times = [at_s for at_s, request in heard.requests if request == "03 00 53 00 08"]
    assert len(times) == 4
    assert all(1.0 <= b - a < 1.2 for a, b in pairwise(times))


def test_a_wait_that_cannot_be_meant_is_cut_short() -> None:
    unit = AqualaboNtu("ntu", 40, constant(5.0))
    unit.wait_ms = 60000  # the profile believes 5 s
    heard = Heard(unit)

    async def story(link: Link) -> float:
        with pytest.raises(NotReady):
            await catalogue.find("aqualabo-ntu").make().read(link)
        return asyncio.get_running_loop().time()

    on_a_wire(heard, story)
    asked_s = next(at_s for at_s, request in heard.requests if request == "03 00 a4 00 01")
    read_s = next(at_s for at_s, request in heard.requests if request == "03 00 53 00 08")
    assert 5.0 <= read_s - asked_s < 5.2


SLOW = """
model = "slow"
maker = "Somebody"
title = "slow"
medium = "water"
verified = "no"
line = { baudrate = 9600, format = "8N1" }
source = { manual = "m", revision = "r", table = "t" }
timing = { warm_up_s = 10 }
[[register]]
quantity = "level"
unit = "m"
digits = 2
address = 0
format = "int16"
scale = 0.01
[[before]]
read_one = 1
[[before]]
wait_s = 2.5
"""


class Slow(ModbusUnit):
    model = "slow"
    spots = (Spot("level", 0, "int16", factor=100), Spot("trigger", 1, "int16"))


def slow(tmp_path: Path) -> ModbusInstrument:
    (tmp_path / "slow.toml").write_text(SLOW)
    return ModbusInstrument(profile.load(tmp_path / "slow.toml"))


def test_a_step_may_wait(tmp_path: Path) -> None:
    heard = Heard(Slow("slow", 1, constant(1.5)))
    instrument = slow(tmp_path)

    async def story(link: Link) -> Measurement:
        await link.open()
        await asyncio.sleep(10)
        return await instrument.read(link)

    assert on_a_wire(heard, story).values == {"level": 1.5}
    (first_s, first), (second_s, second) = heard.requests
    assert (first, second) == ("03 00 01 00 01", "03 00 00 00 01")
    assert 2.5 <= second_s - first_s < 2.6


def test_the_frame_is_what_came_from_the_address_to_the_last_data_byte() -> None:
    heard = Heard(Y532("ph", 5, constant(6.5)))

    async def story(link: Link) -> Measurement:
        return await catalogue.find("yosemitech-y532").make(5, {"warm_up_s": 0}).read(link)

    frame = on_a_wire(heard, story).frame
    assert frame.hex(" ") == " ".join(["05 03 04 00 00 d0 40"] * 3)


def test_after_a_silence_an_instrument_without_a_start_warms_up_from_its_first_answer() -> None:
    """And one lost answer between good ones is noise on the wire, not a power cut."""
    unit = Y532("ph", 1, constant(6.5))
    heard = Heard(unit)
    instrument: Any = catalogue.find("yosemitech-y532").make()  # 4.5 s

    async def story(link: Link) -> None:
        async def silent() -> None:
            heard.deaf = True
            with pytest.raises(NoAnswer):
                await instrument.read(link)
            heard.deaf = False
            await asyncio.sleep(5)

        await link.open()
        await asyncio.sleep(5)
        for _ in range(3):
            await silent()
            assert (await instrument.read(link)).values["ph"] == 6.5
        await silent()
        await silent()
        heard.take()
        with pytest.raises(NotReady, match="warming up") as e:
            await instrument.read(link)
        assert e.value.wait_s == pytest.approx(4.5, abs=0.1)
        assert heard.take() == ["03 12 00 00 02"]  # one request: a sign of life
        await asyncio.sleep(4.4)
        with pytest.raises(NotReady, match="warming up"):
            await instrument.read(link)
        assert heard.take() == []
        await asyncio.sleep(0.2)
        assert (await instrument.read(link)).values["ph"] == 6.5

    on_a_wire(heard, story)


def test_a_port_that_was_opened_anew_starts_the_instrument_again_whoever_opened_it() -> None:
    unit = Y510("turb", 1, constant(6.5))
    heard = Heard(unit)
    instrument: Any = catalogue.find("yosemitech-y510").make(1, {"warm_up_s": 3})

    async def story(link: Link) -> None:
        with pytest.raises(NotReady, match="starting up"):
            await instrument.read(link)
        await asyncio.sleep(1)
        with pytest.raises(NotReady, match="warming up"):
            await instrument.read(link)
        await asyncio.sleep(3)
        await instrument.read(link)
        assert heard.take() == ["03 25 00 00 00", "03 26 00 00 05"]
        link.close()
        await asyncio.sleep(60)
        await link.open()  # by a neighbour on the bus
        await asyncio.sleep(1)
        with pytest.raises(NotReady, match="warming up"):
            await instrument.read(link)
        assert heard.take() == ["03 25 00 00 00"]

    on_a_wire(heard, story)


def test_a_start_that_is_not_answered_is_tried_again() -> None:
    unit = Y511("turb", 1, constant(6.5))
    heard = Heard(unit)
    instrument: Any = catalogue.find("yosemitech-y511").make(1, {"warm_up_s": 0, "wipe_interval_min": 15})

    async def story(link: Link) -> Measurement:
        heard.deaf = True
        for _ in range(3):
            with pytest.raises(NoAnswer):
                await instrument.read(link)
            await asyncio.sleep(1)
        heard.deaf = False
        got: Measurement = await instrument.read(link)
        return got

    assert on_a_wire(heard, story).values["turbidity"] == 6.5
    assert unit.memory[3][0x3200] == bytes((15, 0))
    assert [request for _, request in heard.requests] == [
        *["03 25 00 00 00"] * 4, "10 32 00 00 01 02 0f 00", "03 32 00 00 01", "03 26 00 00 05",
    ]  # fmt: skip
