"""The UART drivers against their emulated instruments on pseudo-terminals, in virtual time: warm-up, power
cuts, sleep, faults, unplugged ports. tests/dialogues and tests/test_uart_emulators.py test the bytes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import atlas, catalogue, plantower, sds011, sps30
from drivers.base import (
    GarbledAnswer,
    InstrumentError,
    InstrumentFault,
    Measurement,
    NoAnswer,
    NotReady,
    PortLost,
)
from drivers.emulators.atlas import Atlas
from drivers.emulators.base import Emulator
from drivers.emulators.plantower import Plantower
from drivers.emulators.port import PtyPort
from drivers.emulators.sds011 import Sds011
from drivers.emulators.sps30 import Sps30
from drivers.link import Line, Link
from tests.virtual_time import run


@dataclass
class Air:
    """What the sensors sense: with each question a little more, so that no number stands still."""

    asked: int = 0
    base: dict[str, float] = field(default_factory=lambda: {"ph": 7.0, "air_temperature": -5.0})

    def __call__(self, quantity: str, now_s: float) -> float:
        self.asked += 1
        return self.base.get(quantity, 20.0) + self.asked % 50 * 0.1


@dataclass
class Bench:
    """A sensor on a pseudo-terminal, and a link to it."""

    sensor: Any
    port: PtyPort
    link: Link

    @property
    def now_s(self) -> float:
        """What the emulated sensor calls now."""
        return asyncio.get_running_loop().time() - self.port.wire.zero_s

    def power_cycle(self, *reason: str) -> None:
        self.sensor.power_cycle(self.now_s, *reason)
        self.poke()

    def poke(self) -> None:
        """Let the wire see that the sensor's schedule has changed."""
        self.port.wire.from_host(b"")

    @property
    def last_said(self) -> dict[str, float]:
        return dict(self.port.wire.record.snapshot()[-1].values)


@asynccontextmanager
async def bench(sensor: Emulator, line: Line) -> AsyncIterator[Bench]:
    port = PtyPort([sensor], line=line)
    await port.start()
    link = Link(port.path, line)
    try:
        yield Bench(sensor, port, link)
    finally:
        link.close()
        await port.stop()


async def fails(driver: Any, link: Link, error: type[InstrumentError], text: str) -> InstrumentError:
    with pytest.raises(error, match=text) as caught:
        await driver.read(link)
    return caught.value


async def read(driver: Any, bench: Bench) -> Measurement:
    """Read, and compare with what the sensor says it said."""
    measurement: Measurement = await driver.read(bench.link)
    assert measurement.values == bench.last_said
    assert [q.name for q in driver.quantities if q.name in measurement.values] == list(
        dict.fromkeys(q.name for q in driver.quantities)
    )
    return measurement


# ── options ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "address", "options", "hint"),
    [
        ("atlas", 1, {}, "no address"),
        ("atlas", None, {"temperature": 20}, "did you mean temperature_degc"),
        ("atlas", None, {"temperature_degc": 200}, "temperature of water"),
        ("atlas", None, {"temperature_degc": "warm"}, "a number"),
        ("atlas", None, {"temperature_degc": math.nan}, "temperature of water"),
        ("plantower", 1, {}, "no address"),
        ("plantower", None, {"mode": "query"}, "passive or active"),
        ("plantower", None, {"variant": "pms9003"}, "pms5003t"),
        ("plantower", None, {"warm_up_s": "30 s"}, "number of seconds"),
        ("plantower", None, {"warm_up_s": math.nan}, "number of seconds"),
        ("plantower", None, {"warmup_s": 1}, "did you mean warm_up_s"),
        ("sds011", 0xFFFF, {}, "0 to 0xFFFE"),
        ("sds011", None, {"mode": "passive"}, "query or active"),
        ("sds011", None, {"warm_up_s": -1}, "number of seconds"),
        ("sps30", 1, {}, "always 0"),
        ("sps30", None, {"warm_up_s": True}, "number of seconds"),
    ],
)
def test_a_bad_option_says_what_is_allowed(
    model: str, address: int | None, options: dict[str, Any], hint: str
) -> None:
    with pytest.raises(ValueError, match=hint):
        catalogue.find(model).make(address, options)


@pytest.mark.parametrize(
    ("model", "line", "medium", "first"),
    [
        ("atlas", Line(9600, "8N1"), "water", ("ph", "pH")),
        ("plantower", Line(9600, "8N1"), "air", ("pm1_cf1", "ug/m3")),
        ("sds011", Line(9600, "8N1"), "air", ("pm2_5", "ug/m3")),
        ("sps30", Line(115200, "8N1"), "air", ("pm1", "ug/m3")),
    ],
)
def test_the_catalogue_knows_them(model: str, line: Line, medium: str, first: tuple[str, str]) -> None:
    found = catalogue.find(model)
    assert (found.line, found.medium, found.shares_bus) == (line, medium, False)
    assert (found.quantities[0].name, found.quantities[0].unit) == first
    assert found.make().quantities == found.quantities
    assert "hardware" in found.verified


def test_the_pms5003t_has_other_quantities() -> None:
    names = [q.name for q in catalogue.find("plantower").make(None, {"variant": "pms5003t"}).quantities]
    assert names[-2:] == ["air_temperature", "humidity"]
    assert "n10" not in names


# ── Plantower ─────────────────────────────────────────────────────────────────────────────────────────────


def test_plantower_warms_up_and_then_reads() -> None:
    async def main() -> None:
        driver = plantower.Driver()
        async with bench(Plantower(Air()), plantower.LINE) as b:
            error = await fails(driver, b.link, NotReady, "warming up for another 30 s")
            assert isinstance(error, NotReady)
            assert error.wait_s == pytest.approx(30.0)
            assert await driver.identify(b.link) == {"model": "pms5003", "firmware": "0x97"}
            await asyncio.sleep(29.0)
            await fails(driver, b.link, NotReady, "another")
            await asyncio.sleep(1.0)
            for _ in range(3):
                await read(driver, b)
                await asyncio.sleep(1.0)

    run(main())


@pytest.mark.parametrize("every_s", [1.0, 2.0, 10.0, 600.0])
def test_plantower_warms_up_again_after_a_power_cut(every_s: float) -> None:
    """In passive mode only its streaming tells; nothing may be believed for 30 s after that is noticed."""

    async def main() -> None:
        sensor = Plantower(Air())
        driver = plantower.Driver()
        async with bench(sensor, plantower.LINE) as b:
            await fails(driver, b.link, NotReady, "warming")
            await asyncio.sleep(31.0)
            await read(driver, b)
            b.power_cycle()
            cut_s = b.now_s
            while True:
                await asyncio.sleep(every_s)
                try:
                    await read(driver, b)
                except (NotReady, NoAnswer):
                    continue
                break
            assert b.now_s - cut_s >= 30.0
            assert not sensor.active  # quiet again

    run(main())


@pytest.mark.parametrize("mode", ["passive", "active"])
def test_plantower_that_was_put_to_sleep_is_woken(mode: str) -> None:
    async def main() -> None:
        sensor = Plantower(Air())
        driver = plantower.Driver(mode=mode, warm_up_s=30)
        async with bench(sensor, plantower.LINE) as b:
            await fails(driver, b.link, NotReady, "warming")
            await asyncio.sleep(31.0)
            await read(driver, b)
            await driver.sleep(b.link)
            assert not sensor.awake
            await fails(driver, b.link, NotReady, "warming up for another 30 s")
            assert sensor.awake
            await asyncio.sleep(31.0)
            await read(driver, b)
            sensor.awake = False  # by someone else
            await fails(driver, b.link, NoAnswer, "no answer")
            if mode == "passive":  # one missing answer may be noise
                await fails(driver, b.link, NoAnswer, "no answer")
            await fails(driver, b.link, NotReady, "warming")

    run(main())


def test_plantower_in_active_mode_gives_no_old_frame() -> None:
    async def main() -> None:
        sensor = Plantower(Air(), warm_up_s=0)
        driver = plantower.Driver(mode="active", warm_up_s=0)
        async with bench(sensor, plantower.LINE) as b:
            for _ in range(3):
                await read(driver, b)  # compares with the newest
                await asyncio.sleep(60.0)
            sensor.power_off()
            await asyncio.sleep(60.0)
            await fails(driver, b.link, NoAnswer, "no answer within 4 s")  # not what waits in the buffer

    run(main())


def test_plantower_faults_are_no_numbers() -> None:
    async def main() -> None:
        sensor = Plantower(Air(), warm_up_s=0)
        driver = plantower.Driver(warm_up_s=0)
        async with bench(sensor, plantower.LINE) as b:
            await read(driver, b)
            sensor.error_byte = 0x41
            await fails(driver, b.link, InstrumentFault, "0x41")
            sensor.error_byte, sensor.zero_counts = 0, True
            await fails(driver, b.link, GarbledAnswer, "inconsistent")
            sensor.zero_counts, sensor.zeros = False, True
            for _ in range(12):
                await fails(driver, b.link, NotReady, "all zero")
                await asyncio.sleep(10.0)
            await fails(driver, b.link, InstrumentFault, "all zero for 1")
            sensor.zeros = False
            await read(driver, b)

    run(main())


# ── SDS011 ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("any_byte", [True, False])
def test_sds011_starts_from_the_factory_and_spares_its_flash(any_byte: bool) -> None:
    async def main() -> None:
        sensor = Sds011(Air(), period_min=5, wakes_by_any_byte=any_byte)
        async with bench(sensor, sds011.LINE) as b:
            driver = sds011.Driver()
            await fails(driver, b.link, NotReady, "another 30 s")
            assert (sensor.active, sensor.period_min, sensor.flash_writes) == (False, 0, 2)
            assert await driver.identify(b.link) == {"firmware": "2018-11-16", "serial": "A160"}
            await asyncio.sleep(30.0)
            await read(driver, b)
            await driver.sleep(b.link)
            assert not sensor.awake
            await fails(driver, b.link, NotReady, "another 30 s")  # awake again
            again = sds011.Driver(0xA160)
            await fails(again, b.link, NotReady, "another 30 s")
            await asyncio.sleep(30.0)
            await read(again, b)
            assert sensor.flash_writes == 2
            sensor.sensor_id = 0x1234
            await asyncio.sleep(3.0)
            await fails(again, b.link, NoAnswer, "no answer")

    run(main())


def test_sds011_warms_up_again_after_a_power_cut() -> None:
    """Its mode persists, so that only zeros tell."""

    async def main() -> None:
        sensor = Sds011(Air(), active=False)
        driver = sds011.Driver()
        async with bench(sensor, sds011.LINE) as b:
            await fails(driver, b.link, NotReady, "warming")
            await asyncio.sleep(30.0)
            await read(driver, b)
            await asyncio.sleep(3.0)
            b.power_cycle()
            await fails(driver, b.link, NotReady, "all zero")
            await asyncio.sleep(20.0)
            await fails(driver, b.link, NotReady, "warming up for another 10 s")
            await asyncio.sleep(10.1)
            await read(driver, b)

    run(main())


def test_sds011_is_not_asked_too_often() -> None:
    async def main() -> None:
        air = Air()
        driver = sds011.Driver(warm_up_s=0)
        async with bench(Sds011(air, warm_up_s=0), sds011.LINE) as b:
            await read(driver, b)
            asked = air.asked
            await asyncio.sleep(1.0)
            error = await fails(driver, b.link, NotReady, "3 s between")
            assert isinstance(error, NotReady)
            assert error.wait_s == pytest.approx(2.0, abs=0.1)
            assert air.asked == asked
            for _ in range(3):
                await asyncio.sleep(3.0)
                await read(driver, b)

    run(main())


def test_sds011_streams_and_a_change_of_its_mode_is_noticed() -> None:
    async def main() -> None:
        sensor = Sds011(Air(), warm_up_s=0)
        async with bench(sensor, sds011.LINE) as b:
            active = sds011.Driver(mode="active", warm_up_s=0)
            await read(active, b)
            await asyncio.sleep(60.0)
            await read(active, b)
            query = sds011.Driver(warm_up_s=5)
            await fails(query, b.link, NotReady, "warming")
            await asyncio.sleep(6.0)
            await read(query, b)
            sensor.active = True  # someone else has set it
            sensor._next_s = b.now_s
            b.poke()
            await asyncio.sleep(5.0)
            await fails(query, b.link, NotReady, "warming")
            assert not sensor.active

    run(main())


# ── SPS30 ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_sps30_starts_reads_and_starts_again_after_a_power_cut() -> None:
    async def main() -> None:
        sensor = Sps30(Air())
        driver = sps30.Driver()
        async with bench(sensor, sps30.LINE) as b:
            assert (await driver.identify(b.link))["serial"] == "8FCB5ED08D89F10B"
            await fails(driver, b.link, NotReady, "another 30 s")
            await asyncio.sleep(30.0)
            await read(driver, b)
            await fails(driver, b.link, NotReady, "no new value")
            await asyncio.sleep(1.0)
            await read(driver, b)
            b.power_cycle()
            await fails(driver, b.link, NotReady, "it was not measuring")
            assert sensor.measuring == "float"
            await asyncio.sleep(29.0)
            await fails(driver, b.link, NotReady, "another 1 s")
            await asyncio.sleep(1.1)
            await read(driver, b)

    run(main())


@pytest.mark.parametrize("measuring", ["", "float", "uint16", "asleep"])
def test_sps30_is_started_from_any_state(measuring: str) -> None:
    async def main() -> None:
        sensor = Sps30(Air())
        sensor.asleep = measuring == "asleep"
        sensor.measuring = "" if sensor.asleep else measuring
        driver = sps30.Driver(warm_up_s=0)
        async with bench(sensor, sps30.LINE) as b:
            await fails(driver, b.link, NotReady, "no new value")
            await asyncio.sleep(1.0)
            await read(driver, b)
            await driver.sleep(b.link)
            assert sensor.asleep
            await driver.wake(b.link)
            await asyncio.sleep(1.0)
            await read(driver, b)
            sensor.measuring = "uint16"  # someone else's doing
            await asyncio.sleep(1.0)
            await fails(driver, b.link, GarbledAnswer, "20 bytes")
            await fails(driver, b.link, NotReady, "no new value")
            assert sensor.measuring == "float"

    run(main())


def test_sps30_old_firmware_has_no_sleep() -> None:
    async def main() -> None:
        sensor = Sps30(Air(), firmware=(1, 0))
        driver = sps30.Driver(warm_up_s=0)
        async with bench(sensor, sps30.LINE) as b:
            await driver.sleep(b.link)
            assert (sensor.asleep, sensor.measuring) == (False, "")

    run(main())


def test_sps30_faults_are_no_numbers_until_they_are_gone() -> None:
    async def main() -> None:
        sensor = Sps30(Air())
        driver = sps30.Driver(warm_up_s=0)
        async with bench(sensor, sps30.LINE) as b:
            await driver.wake(b.link)
            await asyncio.sleep(1.0)
            sensor.fan_speed_warning = True
            assert (await read(driver, b)).notes == ("fan speed out of range",)
            sensor.fan_speed_warning = False
            sensor.laser_fault = True
            for _ in range(30):
                await asyncio.sleep(1.0)
                await fails(driver, b.link, InstrumentFault, "laser")
            sensor.laser_fault = False
            await fails(
                driver, b.link, InstrumentFault, "laser"
            )  # until the sensor had time to find it again
            await asyncio.sleep(10.0)
            assert (await read(driver, b)).notes == ()
            sensor.not_a_number, sensor.state_error = True, 0x28
            await asyncio.sleep(1.0)
            measurement = await driver.read(b.link)
            assert "typical_particle_size" not in measurement.values
            assert measurement.notes == ("state 0x28", "typical_particle_size: not a number")

    run(main())


def test_sps30_asks_for_its_status_now_and_then_in_any_case() -> None:
    async def main() -> None:
        sensor = Sps30(Air())
        driver = sps30.Driver(warm_up_s=0)
        async with bench(sensor, sps30.LINE) as b:
            await driver.wake(b.link)
            heard = 0
            for _ in range(2 * sps30.STATUS_EVERY):
                await asyncio.sleep(1.0)
                before = b.port.wire.counts.host_writes
                await read(driver, b)
                heard += b.port.wire.counts.host_writes - before == 2
            assert heard == 2

    run(main())


def test_sps30_gives_no_number_while_it_cleans() -> None:
    async def main() -> None:
        sensor = Sps30(Air())
        driver = sps30.Driver(warm_up_s=0)
        async with bench(sensor, sps30.LINE) as b:
            await driver.clean(b.link)
            assert sensor.cleanings == 1
            await asyncio.sleep(14.0)
            await fails(driver, b.link, NotReady, "another 1 s")
            await asyncio.sleep(1.0)
            await read(driver, b)

    run(main())


# ── EZO-pH ────────────────────────────────────────────────────────────────────────────────────────────────


def test_ezo_is_made_to_answer_only_when_asked() -> None:
    async def main() -> None:
        ezo = Atlas(Air())
        driver = atlas.Driver(temperature_degc=8.5)
        async with bench(ezo, atlas.LINE) as b:
            await b.link.open()
            await asyncio.sleep(10.3)  # it speaks meanwhile
            for _ in range(3):
                await read(driver, b)
                await asyncio.sleep(5.0)
            assert (ezo.continuous_s, ezo.temperature_degc) == (0, 8.5)
            found = await driver.identify(b.link)
            assert (found["firmware"], found["calibrated"], found["offset_mv"]) == (
                "2.10",
                "mid, low, high",
                "-0.89",
            )
            ezo.points.clear()
            assert (await driver.identify(b.link))["calibrated"] == "never"

    run(main())


@pytest.mark.parametrize("codes", [True, False])
@pytest.mark.parametrize("after_s", [0.0, 0.5, 3.0, 60.0])
def test_ezo_gets_its_temperature_again_after_a_restart(after_s: float, codes: bool) -> None:
    async def main() -> None:
        ezo = Atlas(Air())
        driver = atlas.Driver(temperature_degc=8.5)
        async with bench(ezo, atlas.LINE) as b:
            await read(driver, b)
            ezo.response_codes = codes
            b.power_cycle("B")
            assert ezo.temperature_degc == 25.0
            await asyncio.sleep(after_s)
            for _ in range(4):
                try:
                    await read(driver, b)
                except (NotReady, NoAnswer, GarbledAnswer):
                    await asyncio.sleep(2.0)
                    continue
                assert ezo.temperature_degc == 8.5  # the number was corrected with the right temperature
                break
            else:
                pytest.fail("never came back")
            assert (await driver.identify(b.link))["last_restart"] == "brown-out"

    run(main())


@pytest.mark.parametrize("told_by", ["tokens", "lines"])
def test_ezo_restart_between_two_readings_is_seen(told_by: str) -> None:
    async def main() -> None:
        ezo = Atlas(Air())
        driver = atlas.Driver(temperature_degc=8.5)
        async with bench(ezo, atlas.LINE) as b:
            await read(driver, b)
            ezo.power_cycle(b.now_s)
            if told_by == "tokens":
                b.poke()
                await asyncio.sleep(1.5)
                ezo.continuous_s = 0
            else:
                ezo._boot_lines.clear()
            b.poke()
            await asyncio.sleep(5.05)  # no line falls into the 0.9 s of the next reading
            await read(driver, b)
            assert ezo.temperature_degc == 8.5

    run(main())


def test_ezo_follows_another_thermometer() -> None:
    async def main() -> None:
        ezo = Atlas(Air(), continuous_s=0)
        driver = atlas.Driver()
        async with bench(ezo, atlas.LINE) as b:
            await read(driver, b)
            assert ezo.temperature_degc == 25.0
            for given, taken in ((4.04, 4.0), (4.01, 4.0), (math.nan, 4.0), (-40.0, -5.0), (12.25, 12.2)):
                driver.temperature_degc = given
                await read(driver, b)
                assert ezo.temperature_degc == taken

    run(main())


def test_ezo_faults_sleep_and_damaged_commands() -> None:
    async def main() -> None:
        ezo = Atlas(Air())
        driver = atlas.Driver(temperature_degc=8.5)
        async with bench(ezo, atlas.LINE) as b:
            await read(driver, b)
            ezo.tokens.append("*OV")
            await fails(driver, b.link, InstrumentFault, "too high")
            await asyncio.sleep(2.0)  # the answer behind it comes late
            await read(driver, b)
            ezo.errors = 1
            await fails(driver, b.link, GarbledAnswer, "did not understand")
            await read(driver, b)
            await driver.sleep(b.link)
            assert not ezo.awake
            await read(driver, b)
            ezo.awake = False  # by someone else
            await read(driver, b)
            ezo.silent = True
            await fails(driver, b.link, NoAnswer, "within 2 s")

    run(main())


# ── ports ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("driver", "sensor", "line"),
    [
        (lambda: plantower.Driver(warm_up_s=20), lambda: Plantower(Air()), plantower.LINE),
        (lambda: plantower.Driver(mode="active", warm_up_s=20), lambda: Plantower(Air()), plantower.LINE),
        (lambda: sds011.Driver(warm_up_s=20), lambda: Sds011(Air()), sds011.LINE),
        (lambda: sps30.Driver(warm_up_s=20), lambda: Sps30(Air()), sps30.LINE),
    ],
)
def test_a_port_that_was_away_means_warming_up_again(
    driver: Callable[[], Any], sensor: Callable[[], Emulator], line: Line, tmp_path: Any
) -> None:
    async def main() -> None:
        port = PtyPort([sensor()], line=line, link_path=tmp_path / "dust")
        await port.start()
        link = Link(port.path, line)
        dust = driver()
        try:
            await fails(dust, link, NotReady, "another 20 s")
            await asyncio.sleep(31.0)
            await dust.read(link)
            await asyncio.sleep(3.0)
            port.unplug()
            await fails(dust, link, PortLost, r"\S")
            await fails(dust, link, PortLost, r"\S")
            port.replug()
            await link.open()  # as the bus does
            await fails(dust, link, NotReady, "another 20 s")
            await asyncio.sleep(31.0)
            await dust.read(link)
        finally:
            link.close()
            await port.stop()

    run(main())


@pytest.mark.parametrize(
    ("driver", "sensor", "line"),
    [
        (plantower.Driver, Plantower, plantower.LINE),
        (sds011.Driver, Sds011, sds011.LINE),
        (sps30.Driver, Sps30, sps30.LINE),
        (atlas.Driver, Atlas, atlas.LINE),
    ],
)
def test_a_silent_sensor_is_no_answer_and_comes_back(driver: Any, sensor: Any, line: Line) -> None:
    async def main() -> None:
        dumb = sensor(Air())
        dumb.silent = True
        one = driver()
        async with bench(dumb, line) as b:
            for _ in range(3):
                start_s = b.now_s
                await fails(one, b.link, NoAnswer, "no answer")
                assert b.now_s - start_s < 10.0
            dumb.silent = False
            for _ in range(3):
                try:
                    await one.read(b.link)
                except NotReady as e:
                    await asyncio.sleep(e.wait_s or 1.0)
                else:
                    break
            else:
                pytest.fail("never came back")

    run(main())


# ── framers ───────────────────────────────────────────────────────────────────────────────────────────────

PMS_FRAME = bytes.fromhex("424d001c000c00120015000c001200150906028a0062000c00030001970002b5")
SDS_FRAME = bytes.fromhex("aac0bb009c01a16059ab")
SPS_FRAME = bytes.fromhex("7e000300" + "00" + "fc7e")
CUTS = [
    (plantower.cut, PMS_FRAME, PMS_FRAME),
    (plantower.cut, bytes.fromhex("424d0004e1000174"), bytes.fromhex("424d0004e1000174")),
    (sds011.cut, SDS_FRAME, SDS_FRAME),
    (sps30.cut, SPS_FRAME, SPS_FRAME),
    (atlas.cut, b"7.156\r", b"7.156"),
    (atlas.cut, b"*OK\r", b"*OK"),
]
# No noise that could be a part of a frame: those are in the table below.
NOISE = st.lists(st.sampled_from([0x00, 0xFF, 0x80, 0x01, 0x0D])).map(bytes)


@pytest.mark.parametrize(("cut", "wire", "frame"), CUTS)
@settings(derandomize=True, deadline=None, max_examples=30)
@given(before=NOISE, behind=st.binary(max_size=40))
def test_a_frame_is_found_whole_by_pieces_and_with_more_behind(
    cut: Any, wire: bytes, frame: bytes, before: bytes, behind: bytes
) -> None:
    got = before + wire
    assert cut(got) == cut(got + behind) == (frame, len(got))
    assert [cut(got[:end]) for end in range(len(got))] == [None] * len(got)


@pytest.mark.parametrize(
    ("cut", "before", "wire"),
    [
        (plantower.cut, "424d", PMS_FRAME),
        (plantower.cut, "424d001c", PMS_FRAME),
        (plantower.cut, "424d0004e1", PMS_FRAME),
        (plantower.cut, "424d0014" + "00" * 20, PMS_FRAME),
        (plantower.cut, PMS_FRAME.hex()[:-2] + "00", PMS_FRAME),
        (plantower.cut, "42", PMS_FRAME),
        (sds011.cut, "aa", SDS_FRAME),
        (sds011.cut, "aac0", SDS_FRAME),
        (sds011.cut, "aac0bb009c01a16058ab", SDS_FRAME),
        (sds011.cut, "aac0bb009c01a16059", SDS_FRAME),
        (sps30.cut, "7e", SPS_FRAME),
        (sps30.cut, "7e0003007d7e", SPS_FRAME),
        (sps30.cut, "7e00030000fd7e", SPS_FRAME),
        (sps30.cut, "7e000300017d7dfc7e", SPS_FRAME),
        (sps30.cut, "00" * 600 + "7e" + "00" * 600, SPS_FRAME),
    ],
)
def test_a_frame_is_found_behind_a_damaged_one(cut: Any, before: str, wire: bytes) -> None:
    got = bytes.fromhex(before) + wire
    assert cut(got) == (wire, len(got))


@pytest.mark.parametrize("cut", [plantower.cut, sds011.cut, sps30.cut, atlas.cut])
@settings(derandomize=True, deadline=None, max_examples=100)
@given(got=st.binary(max_size=300))
def test_framers_bear_any_bytes(cut: Any, got: bytes) -> None:
    found = cut(got)
    if found is not None:
        assert 0 < found[1] <= len(got)


@pytest.mark.parametrize(
    "line", [b"", b"7", b"7.", b"7,1", b"7.1567", b"+7.156", b"7.156 ", b"nan", b"1e3", b"117.156"]
)
def test_what_is_no_ph(line: bytes) -> None:
    with pytest.raises(GarbledAnswer):
        atlas.decode(line)
