"""The walk-through in drivers/README.md, done as it is written: its profile, its station.toml, its dialogue.

Then the same profile with the mistakes people make; and the README's table against what there is.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from drivers import catalogue
from drivers.base import InstrumentFault, Measurement
from drivers.catalogue import BadProfile
from drivers.emulators.instruments import make
from drivers.emulators.modbus_unit import ModbusUnit, Spot
from drivers.emulators.port import PtyPort
from drivers.emulators.world import World
from drivers.link import Line, Link
from drivers.profile_format import Profile
from gateway import config
from gateway.errors import ConfigError
from tests import virtual_time
from tests.dialogue import WAYS, Way, parse, play

README = (Path(__file__).parent.parent / "drivers" / "README.md").read_text(encoding="utf-8")
DIALOGUES = Path(__file__).parent / "dialogues"

PROFILE, SENSOR = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
(DIALOGUE,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)

STATION = """
[station]
id = "example-1"
name = "Example"
timezone = "Asia/Bishkek"
language = "en"
data = "data"

[[bus]]
id = "river"
port = "{port}"
baudrate = 19200
format = "8E1"

"""


class Ct20(ModbusUnit):
    """The transmitter of the walk-through, from its manual's table and not from the profile."""

    model = "example-ct20"
    functions = (3,)
    spots = (
        Spot("conductivity", 100, "uint32", "CDAB", factor=10),
        Spot("water_temperature", 102, "int16", factor=10),
    )

    def __init__(self, name: str, address: int, values: dict[str, float]) -> None:
        super().__init__(name, address, lambda quantity, now_s: values[quantity])
        self.put(3, 103, bytes(2))
        self.put(3, 200, b"CT20-077")


def write_station(folder: Path, profile: str, port: str = "/dev/ttyUSB0") -> Path:
    """A station.toml with the README's sensor, and a profile in the folder beside it."""
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles" / "example-ct20.toml").write_text(profile, encoding="utf-8")
    file = folder / "station.toml"
    file.write_text(STATION.format(port=port) + SENSOR, encoding="utf-8")
    return file


def test_a_new_model_is_a_file_beside_station_toml_and_reads_an_instrument(tmp_path: Path) -> None:
    values = {"conductivity": 425.3, "water_temperature": 11.5}
    unit = Ct20("ct20", 12, values)

    async def story() -> tuple[Measurement, dict[str, str], Measurement]:
        port = PtyPort([unit], name="river", line=Line(19200, "8E1"))
        await port.start()
        station = config.load(write_station(tmp_path, PROFILE, port.path))
        (sensor,) = station.sensors
        instrument: Any = station.instrument(sensor)
        link = Link(port.path, Line(19200, "8E1"))
        try:
            await link.open()
            await asyncio.sleep(5.0)  # its warm-up
            first = await instrument.read(link)
            who = await instrument.identify(link)
            values["water_temperature"] = 3276.7  # the sensor's wire is off
            second = await instrument.read(link)
            unit.put(3, 103, bytes((0, 8)))
            with pytest.raises(InstrumentFault, match="status 8: electrode fault"):
                await instrument.read(link)
        finally:
            link.close()
            await port.stop()
        return first, who, second

    first, who, second = virtual_time.run(story())
    assert first.values == {"conductivity": 425.3, "water_temperature": 11.5}
    assert first.notes == ()
    assert who == {"serial": "CT20-077"}
    assert second.values == {"conductivity": 425.3}
    assert second.notes == ("water_temperature: 32767 stands for no number",)


@pytest.mark.parametrize("way", WAYS)
def test_the_dialogue_of_the_walk_through_plays(tmp_path: Path, way: Way) -> None:
    write_station(tmp_path, PROFILE)
    play(parse(DIALOGUE, "README"), way, lambda model: catalogue.find(model, [tmp_path / "profiles"]))


SOURCE = next(line for line in PROFILE.splitlines() if line.startswith("source"))
ONE, TWO = "register 1 (conductivity)", "register 2 (water_temperature)"
# what is changed in the profile, into what, and what is said about it
WRONG = [
    ("address = 100", "adress = 100", f"{ONE}.adress: no such key; did you mean address?"),
    (SOURCE, "", "source: is missing; { manual = "),
    ('format = "8E1"', 'format = "8E3"', "line.format: '8E3' cannot be used; data bits, parity, stop bits: "),
    ('format = "uint32"', 'format = "uint31"', f"{ONE}.format: 'uint31' cannot be used; one of int16, "),
    (
        "address = 100",
        "address = 70000",
        f"{ONE}.address: 70000 cannot be used; the address on the wire, 0 to ",
    ),
    ("address = 102", "address = 101", f"{TWO}.address: overlaps the register of conductivity; compare"),
    ('"uS/cm"', '"µS/cm"', f"{ONE}.unit: 'µS/cm' cannot be used; ASCII without spaces"),
    ('"uS/cm"', '"mS/cm"', f"{ONE}.unit: conductivity is kept in uS/cm, not mS/cm; convert with scale"),
    (
        "[[register]]",
        "[[register]",
        "is not TOML: Expected ']]' at the end of an array declaration (at line ",
    ),
    ('"example-ct20"', '"ct20"', "model: 'ct20' is not the file's name; name the file ct20.toml, or write"),
    ("digits = 1", "digits = 9", f"{ONE}.digits: 9 cannot be used; digits behind the point"),
]


@pytest.mark.parametrize(("right", "wrong", "says"), WRONG, ids=range(len(WRONG)))
def test_a_mistake_in_it_is_named_with_file_key_and_remedy(
    tmp_path: Path, right: str, wrong: str, says: str
) -> None:
    assert right in PROFILE
    station = write_station(tmp_path, PROFILE.replace(right, wrong, 1))
    with pytest.raises(BadProfile) as e:
        catalogue.find("example-ct20", [tmp_path / "profiles"])
    assert str(e.value).startswith(f"{tmp_path / 'profiles' / 'example-ct20.toml'}: {says}")
    with pytest.raises(ConfigError) as checked:  # what `suuaba check` prints
        config.load(station)
    line = next(line for line in checked.value.lines if "example-ct20.toml" in line)
    assert line.startswith("station.toml")
    assert says in line


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────


def test_every_model_has_a_row_a_dialogue_and_an_emulator() -> None:
    table = README.split("\n## ")[1]
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", table, re.MULTILINE)
    models = catalogue.names()
    assert sorted(rows) == models
    played = {parse(file.read_text(encoding="utf-8"), file.name).model for file in DIALOGUES.glob("*.txt")}
    assert played == set(models)
    world = World(1)
    for model in models:
        assert make(model, None, world, "it").name == "it"


def test_the_table_says_the_line_settings_of_the_code() -> None:
    for name in catalogue.names():
        model = catalogue.find(name)
        (row,) = re.findall(rf"^\| `{name}` \|[^|]*\|([^|]*)\|", README, re.MULTILINE)
        if "as above" in row or "TCP" in row:
            continue
        assert f"{model.line.baudrate} {model.line.format}" in row
        assert ("alone on its wire" in row) == (not model.shares_bus)
        if model.address is not None:
            assert f"address {model.address}" in row


def test_the_readme_names_every_key_of_a_profile() -> None:
    for name, field in Profile.model_fields.items():
        key = field.alias or name
        assert any(text in README for text in (f"`{key}`", f"[{key}]", f"`{key} =")), key
