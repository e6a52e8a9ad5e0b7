"""[sensor.calibration] and [sensor.correct.…] of station.toml, from the text to the next reading."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from drivers.base import Measurement, Quantity
from drivers.catalogue import find
from drivers.emulators.modbus_calibrated import Dfrobot, SeeedPh
from drivers.emulators.modbus_unit import ModbusUnit
from drivers.emulators.port import PortThread, PtyPort
from drivers.link import Link
from gateway import config
from gateway.bus_sensor import Sensor
from gateway.calibration_fold import CalibrationFold
from gateway.calibration_setup import configured, wants
from gateway.errors import ConfigError
from gateway.model import Reading, Record, Stamp, Value
from gateway.qc import Checks, Expect

STATION = """
[station]
id = "s"
[[sensor]]
id = "dust1"
port = "tcp://127.0.0.1:4001"
model = "plantower"
{dust}
[[sensor]]
id = "climate1"
port = "rtu+tcp://127.0.0.1:4002"
model = "xy-md02"
medium = "air"
[[sensor]]
id = "ph1"
port = "rtu+tcp://127.0.0.1:4003"
model = "yosemitech-y532"
{ph}
"""
BARKJOHN = '[sensor.correct.pm2_5]\nformula = "barkjohn-2021"\nbeside = "climate1.humidity"\n'
COLOCATED = BARKJOHN + 'colocated = "BAM 1020, 2026-05"\n'


def load(folder: Path, dust: str = "", ph: str = "") -> config.Station:
    file = folder / "station.toml"
    file.write_text(STATION.format(dust=dust, ph=ph), encoding="utf-8")
    return config.load(file)


@pytest.mark.parametrize(
    ("dust", "ph", "said"),
    [
        (BARKJOHN, "", "correct.pm2_5.colocated (dust1): is missing"),
        (COLOCATED.replace("pm2_5]", "pm10]"), "", "corrects pm2_5 and nothing else"),
        (COLOCATED.replace("climate1.humidity", "climate2.humidity"), "", "there is no sensor"),
        (
            COLOCATED.replace("climate1.humidity", "climate1.air_temperature"),
            "",
            "the formula needs humidity",
        ),
        (COLOCATED.replace("climate1.humidity", "climate1.rain"), "", "does not measure"),
        (
            "",
            '[sensor.correct.ph]\nformula = "nernst"\nbeside = "ph1.water_temperature"',
            "compensates by itself",
        ),
        ("", "[sensor.calibration]\naccept = [0, 105]", "is no slope"),
        ("", '[sensor.calibration]\nevery = "1 s"', "calibration.every"),
        ("", '[sensor.calibration]\nmethod = "magic"', "calibration.method"),
    ],
)
def test_what_the_file_may_not_say(tmp_path: Path, dust: str, ph: str, said: str) -> None:
    with pytest.raises(ConfigError) as e:
        load(tmp_path, dust, ph)
    [line] = e.value.lines
    assert said in line


def at(ms: int) -> Stamp:
    return Stamp(ms, "a", ms, synced=True)


class Instrument:
    quantities = (Quantity("pm2_5", "ug/m3", 1), Quantity("pm2_5_cf1", "ug/m3", 1))

    async def read(self, link: Link) -> Measurement:
        raise NotImplementedError


def test_a_formula_becomes_a_version_once_and_corrects_the_next_reading(tmp_path: Path) -> None:
    station = load(tmp_path, COLOCATED)
    fold = CalibrationFold(*wants(station))
    events = configured(station, fold, at(1))
    for i, event in enumerate(events):
        fold.step(Record(i + 1, event))
    assert [e.detail["basis"] for e in events] == ["co-located: BAM 1020, 2026-05"]
    assert list(configured(station, fold, at(2))) == [], "it stands in the ledger already"

    fold.step(Record(9, Reading("climate1", "x", "air", at(3), {"humidity": Value(60.0, 60.0, "%", 2)})))
    dust = Sensor("dust1", "plantower", "air", 1.0, Instrument(), Checks({}), live=fold.live("dust1"))
    measured = Measurement({"pm2_5": 40.0, "pm2_5_cf1": 50.0}, b"")
    value = dust.corrected("pm2_5", measured, at(4))
    assert (value.raw, value.flag, value.why) == (40.0, 2, "")
    assert value.value == pytest.approx(0.524 * 50 - 0.0862 * 60 + 5.75)
    assert dust.corrected("pm2_5_cf1", measured, at(4)).value == 50.0
    strict = Checks({"pm2_5": Expect(gross=(30, 100))})
    judged = Sensor("dust1", "plantower", "air", 1.0, Instrument(), strict, live=fold.live("dust1"))
    assert judged.corrected("pm2_5", measured, at(4)).flag == 4, "26.8 is judged, not 40"
    stale = dust.corrected("pm2_5", measured, at(4 + 3_600_000))
    assert (stale.value, stale.flag, stale.why) == (40.0, 3, "no humidity for the correction")
    fold.live("dust1").maintenance = True
    assert dust.corrected("pm2_5_cf1", measured, at(4)).why == "maintenance"

    again = configured(load(tmp_path), fold, at(5))
    assert [(e.detail["kind"], e.detail["number"]) for e in again] == [("none", 2)], "taken out of the file"


@pytest.mark.parametrize(
    ("kind", "quantity", "bottles"),
    [(SeeedPh, "ph", (4.01, 7.0, 10.01)), (Dfrobot, "turbidity", (0.0, 1000.0))],
)
def test_a_profile_takes_points_and_the_next_reading_is_right(
    tmp_path: Path, kind: type[ModbusUnit], quantity: str, bottles: tuple[float, ...]
) -> None:
    unit = kind("probe", 1, lambda name, t_s: {"ph": 6.0, "turbidity": 55.0, "water_temperature": 12.0}[name])
    assert isinstance(unit, SeeedPh | Dfrobot)
    unit.wear.offset, unit.wear.base = 0.3, 0.95
    model = find(kind.model)
    port = PtyPort([unit], name="probe", line=model.line, link_path=tmp_path / "port")
    instrument = model.make(1, {"warm_up_s": 0})
    link = Link(str(tmp_path / "port"), model.line)

    async def points() -> float:
        await link.open()
        for bottle in bottles:
            unit.bath[quantity] = bottle
            await instrument.calibrate(link, bottle, bottle)  # type: ignore[attr-defined]  # optional
        unit.bath[quantity] = bottles[-1] * 0.8
        try:
            await asyncio.sleep(0)
            return (await instrument.read(link)).values[quantity]
        finally:
            link.close()

    with PortThread(port):
        assert asyncio.run(points()) == pytest.approx(bottles[-1] * 0.8, abs=0.06)
