"""Small station.toml files for tests, and what reading them says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Station, load
from gateway.errors import ConfigError

HEAD = """
[station]
id = "river-1"
"""
DUST = """
[[sensor]]
id = "dust1"
port = "/dev/serial/by-id/dust"
model = "plantower"
every = "1 s"
"""
RIVER = """
[[bus]]
id = "river"
port = "rtu+tcp://127.0.0.1:4001"
[[sensor]]
id = "ph1"
bus = "river"
model = "yosemitech-y532"
address = 1
[[sensor]]
id = "turb1"
bus = "river"
model = "yosemitech-y511"
address = 2
every = "5 s"
"""
RULE = """
[[rule]]
id = "turbid"
sensor = "turb1"
quantity = "turbidity"
unit = "NTU"
above = 50
"""


def write(folder: Path, text: str, **secrets: str) -> Path:
    """A station.toml in a folder of its own, with secrets beside it that nobody else may read."""
    file = folder / "station.toml"
    file.write_text(text, encoding="utf-8")
    for name, value in secrets.items():
        secret = folder / "secrets" / name.replace("__", ".")
        secret.parent.mkdir(exist_ok=True)
        secret.touch(mode=0o600)
        secret.write_text(value, encoding="utf-8")
    return file


def read(folder: Path, text: str, *, lenient: bool = False, **environment: str) -> Station:
    return load(write(folder, text), lenient=lenient, environment=environment)


def lines(folder: Path, text: str, *, lenient: bool = False, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, lenient=lenient, **environment)
    return caught.value.lines
