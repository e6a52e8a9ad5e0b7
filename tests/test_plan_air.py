"""What `check` says of the air quality index: which sensors have one, and what it is worth."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.plan import plan, render
from gateway.plan_averages import UNCORRECTED, air_lines

DUST = """[station]
id = "mine-1"
[[sensor]]
id = "dust1"
port = "/dev/serial/by-id/dust"
model = "plantower"
every = "1 s"
[[sensor]]
id = "ph1"
port = "/dev/serial/by-id/ph"
model = "yosemitech-y532"
[mqtt]
url = "mqtt://127.0.0.1:1"
"""


def station(folder: Path, more: str, text: str = DUST) -> config.Station:
    file = folder / "station.toml"
    file.write_text(text + more, encoding="utf-8")
    return config.load(file, environment={})


@pytest.mark.parametrize(
    ("more", "when"),
    [
        ('send = ["average:1 h"]', "hourly"),
        ('send = ["average:24 h"]', "daily"),
        ('send = ["average:1 h", "average:24 h"]', "hourly and daily"),
        ('send = ["average:1 min"]', ""),
        ('send = ["reading"]', ""),
        ('send = ["average:1 h"]\n[average]\naqi = "none"', ""),
    ],
)
def test_check_names_who_has_an_index(tmp_path: Path, more: str, when: str) -> None:
    lines = air_lines(station(tmp_path, more))
    assert [" ".join(line.split()) for line in lines] == (
        [f"AQI of dust1 {when}", f"pm2_5: {UNCORRECTED}", f"pm10: {UNCORRECTED}"] if when else []
    )


CORRECTED = """[sensor.correct.pm2_5]
formula = "barkjohn-2021"
beside = "climate1.humidity"
colocated = "BAM 1020, 2026-05"
[[sensor]]
id = "climate1"
port = "/dev/serial/by-id/climate"
model = "xy-md02"
"""


def test_what_is_corrected_is_not_called_uncorrected(tmp_path: Path) -> None:
    text = DUST.replace('every = "1 s"\n', f'every = "1 s"\n{CORRECTED}', 1)
    assert "pm2_5: " not in "".join(air_lines(station(tmp_path, 'send = ["average:1 h"]', text)))


def test_a_reference_instrument_is_not_doubted(tmp_path: Path) -> None:
    text = DUST.replace('"plantower"', '"teledyne-t640"')
    [line] = air_lines(station(tmp_path, 'send = ["average:1 h"]', text))
    assert "AQI of dust1" in line


def test_it_stands_in_the_plan(tmp_path: Path) -> None:
    assert "AQI of dust1" in render(plan(station(tmp_path, 'send = ["average:1 h"]')))
