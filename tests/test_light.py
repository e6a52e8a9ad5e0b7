"""What a running station must not load: each of these takes memory that it never gives back."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway.version import VERSION

RUNS = (
    "import gateway.cli, gateway.config_apart, gateway.station, gateway.mqtt, gateway.mqtt_link,"
    " gateway.influx, drivers.modbus_instrument, drivers.plantower, drivers.sds011, drivers.sps30,"
    " drivers.atlas, gateway.sms"
)
HEAVY = ("pydantic", "importlib.metadata", "importlib.resources", "difflib")


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    line = f"{RUNS}\nfrom alerts.messages import packaged\npackaged('ky')\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", line], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", HEAVY)
def test_what_a_station_imports_is_light(loaded: set[str], module: str) -> None:
    assert "gateway.station" in loaded
    assert module not in loaded


def test_the_version_is_that_of_the_package() -> None:
    file = Path(__file__).parent.parent / "pyproject.toml"
    assert tomllib.loads(file.read_text(encoding="utf-8"))["project"]["version"] == VERSION
