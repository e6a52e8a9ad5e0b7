"""The UART drivers: their options, the EZO-pH, and ports that go away. tests/dialogues test the bytes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from drivers import atlas, catalogue, plantower, sds011, sps30
from drivers.base import (
    GarbledAnswer,
    InstrumentFault,
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
from tests.uart_bench import Air, bench, fails, read
from tests.virtual_time import run

# ── options ───────────────────────────────────────────────────────────────────────────────────────────


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


# ── EZO-pH ────────────────────────────────────────────────────────────────────────────────────────────


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


# ── ports ─────────────────────────────────────────────────────────────────────────────────────────────


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
