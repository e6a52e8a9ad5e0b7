"""The dust drivers against their emulated sensors: warm-up, power cuts, sleep, faults."""

from __future__ import annotations

import asyncio

import pytest

from drivers import plantower, sds011, sps30
from drivers.base import (
    GarbledAnswer,
    InstrumentFault,
    NoAnswer,
    NotReady,
)
from drivers.emulators.plantower import Plantower
from drivers.emulators.sds011 import Sds011
from drivers.emulators.sps30 import Sps30
from tests.uart_bench import Air, bench, fails, read
from tests.virtual_time import run

# ── Plantower ─────────────────────────────────────────────────────────────────────────────────────────


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


# ── SDS011 ────────────────────────────────────────────────────────────────────────────────────────────


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


# ── SPS30 ─────────────────────────────────────────────────────────────────────────────────────────────


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
