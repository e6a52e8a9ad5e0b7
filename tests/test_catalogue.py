"""Which models there are: the station's own profiles, those that come with the product, drivers in code."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from drivers import catalogue
from drivers.catalogue import BadProfile, UnknownModel
from drivers.link import Line
from drivers.modbus_instrument import ModbusInstrument

OWN = """
model = "{model}"
maker = "Somebody"
title = "our own"
medium = "air"
verified = "no"
line = {{ baudrate = 1200, format = "7E1" }}
address = 9
source = {{ manual = "m", revision = "r", table = "t" }}
[[register]]
quantity = "wind_speed"
unit = "m/s"
digits = 1
address = 0
format = "uint16"
"""


def test_a_profile_that_comes_with_the_product() -> None:
    model = catalogue.find("yosemitech-y532")
    assert (model.name, model.kind, model.medium, model.address) == ("yosemitech-y532", "profile", "water", 1)
    assert model.line == Line(9600, "8N1")
    assert model.shares_bus
    assert [(q.name, q.unit) for q in model.quantities] == [
        ("ph", "pH"), ("water_temperature", "degC"), ("electrode_potential", "mV"),
    ]  # fmt: skip
    assert "EnviroDIY" in model.source
    assert model.title == "Yosemitech Y532 pH probe"
    assert model.file.name == "yosemitech-y532.toml"
    made, default = model.make(5, {}), model.make()
    assert isinstance(made, ModbusInstrument)
    assert isinstance(default, ModbusInstrument)
    assert (made.address, default.address) == (5, 1)
    assert made.quantities == model.quantities


@pytest.mark.parametrize("name", ["atlas", "plantower", "sds011", "sps30"])
def test_a_driver_in_code(name: str) -> None:
    model = catalogue.find(name)
    assert model.kind == "driver"
    assert not model.shares_bus
    assert model.quantities
    assert model.make().quantities == model.quantities
    with pytest.raises(ValueError, match="colour"):
        model.make(None, {"colour": "red"})


def test_the_station_s_own_profiles_come_first(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, model in ((first, "xy-md02"), (second, "xy-md02"), (second, "our-vane")):
        folder.mkdir(exist_ok=True)
        (folder / f"{model}.toml").write_text(OWN.format(model=model))
    assert catalogue.find("xy-md02").line == Line(9600, "8N1")
    own = catalogue.find("xy-md02", [first, second])
    assert own.line == Line(1200, "7E1")
    assert own.file == first / "xy-md02.toml"
    assert catalogue.find("our-vane", [first, second]).address == 9
    assert "our-vane" in catalogue.names([first, second])
    assert "our-vane" not in catalogue.names([tmp_path / "is-not-there"])
    with pytest.raises(UnknownModel):
        catalogue.find("our-vane")


def test_a_broken_profile_of_one_s_own_does_not_fall_back_to_ours(tmp_path: Path) -> None:
    (tmp_path / "xy-md02.toml").write_text("model = ")
    with pytest.raises(BadProfile, match=r"xy-md02\.toml: is not TOML"):
        catalogue.find("xy-md02", [tmp_path])


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("yosemitech-y523", "no model 'yosemitech-y523': did you mean yosemitech-y53"),
        ("y532", "no model 'y532': did you mean yosemitech-y532"),
        ("plantover", "no model 'plantover': did you mean plantower?"),
        ("xyzzy", "no model 'xyzzy': there are: aqualabo-ntu, "),
    ],
)
def test_an_unknown_model_gets_the_closest_names(asked: str, says: str) -> None:
    with pytest.raises(UnknownModel) as e:
        catalogue.find(asked)
    assert says in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "name",
    [
        "../profiles/xy-md02", "/etc/passwd", "xy-md02.toml", "", ".", "XY-MD02", "xy md02", "xy_md02", "-xy",
        "рн", "a" * 65, "xy-md02\n", "xy-md02\0", "base", "link", "modbus", "profile", "catalogue",
    ],
)  # fmt: skip
def test_names_that_are_no_models(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel) as e:
        catalogue.find(name, [tmp_path])
    assert "\n" not in str(e.value)


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    inner = tmp_path / "profiles"
    (inner / "xy").mkdir(parents=True)
    (tmp_path / "secret.toml").write_text(OWN.format(model="secret"))
    for name in ("../secret", "xy/../../secret", str(tmp_path / "secret")):
        assert (inner / f"{name}.toml").is_file()
        with pytest.raises(UnknownModel):
            catalogue.find(name, [inner])


def test_a_station_without_modbus_does_not_pay_for_it() -> None:
    """Listing models imports no driver and no pydantic; neither does finding a driver in code."""
    program = textwrap.dedent("""
        import sys
        from drivers import catalogue
        catalogue.names()
        assert not {m for m in sys.modules if m in ("pydantic", "drivers.sds011", "drivers.modbus")}, "names"
        catalogue.find("sds011")
        assert "drivers.sds011" in sys.modules
        assert "pydantic" not in sys.modules, "find"
    """)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=Path(__file__).parent.parent)
