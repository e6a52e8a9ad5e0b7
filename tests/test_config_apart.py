"""station.toml read by a child: the same as read here, without pydantic."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from gateway import config, config_apart
from gateway.config_apart import Reading, again
from gateway.errors import ConfigError

FULL = """[station]
id = "kyia-1"
[[bus]]
id = "river"
port = "/dev/null"
[[sensor]]
id = "ph1"
bus = "river"
model = "yosemitech-y532"
address = 1
[sensor.expect.ph]
gross = [0, 14]
rate = "0.5 / 1 min"
flat = { within = 0.01, suspect = "30 min", fail = "2 h" }
[[sensor]]
id = "dust1"
port = "/dev/zero"
model = "plantower"
[mqtt]
url = "mqtt://127.0.0.1"
username = "kyia-1"
password = { file = "mqtt.password" }
send = ["reading", "average:1 min"]
budget = "20 MB / 30 d"
[[contact]]
id = "duty"
phone = "+996555000001"
pin = { file = "mqtt.password" }
[[rule]]
id = "acid"
sensor = "ph1"
quantity = "ph"
unit = "pH"
below = 5
send = [["duty"]]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    secret = tmp_path / "mqtt.password"
    secret.write_text("hush-1234\n")
    secret.chmod(0o600)
    station = tmp_path / "station.toml"
    station.write_text(FULL)
    return station


def plain(thing: Any) -> Any:
    """Anything of a configuration as dicts, lists and scalars."""
    if isinstance(thing, BaseModel) or type(thing).__name__ == "SimpleNamespace":
        return plain(vars(thing))
    if isinstance(thing, SecretStr | config_apart.Hidden):
        return thing.get_secret_value()
    if dataclasses.is_dataclass(thing):
        return {f.name: plain(getattr(thing, f.name)) for f in dataclasses.fields(thing) if f.name != "facts"}
    if isinstance(thing, dict):
        return {key: plain(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [plain(item) for item in thing]
    return thing


def test_a_child_reads_the_same(file: Path) -> None:
    found = Reading(file).station()
    assert plain(found) == plain(config.load(file, lenient=True))
    assert "hush" not in repr(found)
    assert found.mqtt is not None
    assert found.mqtt.budget is not None
    assert found.mqtt.budget.amount == 20e6  # a Rate, not a bare pair


def test_its_instruments_are_the_same(file: Path) -> None:
    # In a process of its own: a Reading forks only where no thread runs, and another test may have left one.
    file.write_text(FULL[: FULL.index("[[contact]]")])  # a file without mistakes: it is read strictly
    found, here = asyncio.run(again(file)), config.load(file, lenient=True)
    for apart, usual in zip(found.sensors, here.sensors, strict=True):
        made, wanted = found.instrument(apart), here.instrument(usual)
        assert type(made) is type(wanted)
        assert made.quantities == wanted.quantities
    profile = found.facts["yosemitech-y532"]
    assert type(profile).__name__ == "SimpleNamespace"
    assert plain(profile) == plain(vars(here.instrument(here.sensors[0]))["profile"])


def test_its_mistakes_are_the_same(file: Path) -> None:
    file.write_text("[station]\nid = 3\n")
    with pytest.raises(ConfigError) as apart:
        Reading(file).station()
    with pytest.raises(ConfigError) as here:
        config.load(file, lenient=True)
    assert apart.value.lines == here.value.lines != []


def test_without_a_child_the_file_is_read_here(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(12, "no memory")

    monkeypatch.setattr(os, "fork", fails)
    assert isinstance(Reading(file).station().journal, BaseModel)


def test_where_the_child_dies_the_file_is_read_here(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(config_apart, "_child", dies)
    assert isinstance(Reading(file).station().journal, BaseModel)


def test_a_child_that_hangs_is_not_waited_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_apart, "_child", lambda *_: signal.pause())
    monkeypatch.setattr(config_apart, "WITHIN_S", 0.1)
    assert isinstance(Reading(file).station().journal, BaseModel)


def test_a_running_station_has_no_pydantic(file: Path) -> None:
    """It takes 13 MB. Whoever imports it somewhere in the station's own modules finds out here."""
    program = (
        "import sys; from pathlib import Path; from gateway.config_apart import Reading\n"
        "from gateway import station\n"
        "made = station.Station(Reading(Path(sys.argv[1])).station())\n"
        "import gateway.mqtt_link\n"
        "print([name for name in sys.modules if name.partition('.')[0].startswith('pydantic')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
