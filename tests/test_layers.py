"""Who may know whom, checked in the source text: imports only go down, also those inside functions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("drivers", "alerts", "gateway")  # from the ground up
ROWS = (  # of the gateway, from the ground up; a name stands for name_anything as well
    ("errors", "model", "version"),
    ("config", "wire_time"),
    ("journal", "calibration", "qc", "clock", "dating", "supervise", "governor", "control", "maintenance"),
    (
        "bus",
        "follow",
        "backfill",
        "budget",
        "alarms",
        "sms",
        "averages",
        "calibrate",
        "ledger",
        "mqtt",
        "influx",
        "grafana",
        "homeassistant",
        "tcp",
        "embedded",
        "refused",
    ),
    (
        "station",
        "capture",
        "evidence",
        "export",
        "verify",
        "retry",
        "sinks",
        "plan",
        "field",
        "guide",
        "demo",
        "collector",
        "doctor",
        "scan",
        "init",
        "live",
        "report",
        "web",
    ),
    ("cli",),
)
WITH_EMULATORS = ("gateway.demo", "gateway.cli")
ALERTS_USE = ("drivers.base", "drivers.link", "drivers.datafile")
SHARED_BY_DRIVERS = (
    "drivers.base",
    "drivers.calibrates",
    "drivers.dust",
    "drivers.link",
    "drivers.modbus",
    "drivers.registers",
    "drivers.frames",
)


def imports(module: str, source: str) -> Iterator[str]:
    """The full name of every module that this one imports, wherever the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:  # `from gateway import config` means gateway.config
                yield f"{origin}.{alias.name}" if origin in (*FLOORS, "drivers.emulators") else origin


def row(module: str) -> int:
    name = module.split(".")[1]
    found = [i for i, names in enumerate(ROWS) if any(re.fullmatch(rf"{n}(_\w+)?", name) for n in names)]
    assert found, f"{module}: give it a row in tests/test_layers.py"
    return found[0]


def violations(module: str, source: str) -> list[str]:
    """One line for each import that a module may not have."""
    floor = module.split(".")[0]
    is_driver = floor == "drivers" and re.search(r"^class Driver\b", source, re.MULTILINE)
    said = []
    for target in imports(module, source):
        why = ""
        other = target.split(".")[0]
        if other == "tests":
            why = "nothing that is shipped imports tests"
        elif other not in FLOORS or target == module:
            continue
        elif FLOORS.index(other) > FLOORS.index(floor):
            why = f"{other} stands above {floor}"
        elif target.startswith("drivers.emulators"):
            if not module.startswith("drivers.emulators") and module not in WITH_EMULATORS:
                why = "only demo and simulate know the emulators"
        elif floor == "alerts" and other == "drivers" and target not in ALERTS_USE:
            why = "alerts know of drivers only the link, its errors and data files"
        elif is_driver and target not in SHARED_BY_DRIVERS:
            why = "drivers do not import each other; what they share is in base, link, modbus, frames"
        elif floor == other == "gateway" and "." in module and "." in target and row(target) > row(module):
            why = "it stands in a higher row of the gateway"
        if why:
            said.append(f"{module} imports {target}: {why}")
    return said


def modules() -> list[tuple[str, Path]]:
    return [
        (".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), file)
        for floor in FLOORS
        for file in sorted((ROOT / floor).rglob("*.py"))
    ]


@pytest.mark.parametrize(("module", "file"), modules(), ids=lambda x: x if isinstance(x, str) else "")
def test_imports_go_down(module: str, file: Path) -> None:
    assert violations(module, file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source", "why"),
    [
        ("drivers.atlas", "import gateway.model", "gateway stands above drivers"),
        ("drivers.atlas", "def f():\n    from alerts import pdu", "alerts stands above drivers"),
        ("alerts.rules", "from gateway.model import Flag", "gateway stands above alerts"),
        ("alerts.modem", "from drivers.modbus import ask", "only the link, its errors"),
        ("drivers.sps30", "class Driver:\n    from drivers import plantower", "do not import each other"),
        ("gateway.station", "def f():\n    import drivers.emulators.world", "only demo and simulate"),
        ("gateway.config", "from gateway import journal", "higher row"),
        ("gateway.qc", "from gateway.bus import Bus", "higher row"),
        ("gateway.mqtt_link", "from . import station", "higher row"),
        ("gateway.bus", "import tests.services", "nothing that is shipped imports tests"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str, why: str) -> None:
    [line] = violations(module, source)
    assert why in line


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("drivers.atlas", "class Driver: ...\nfrom drivers.link import Link\nimport asyncio"),
        ("alerts.modem", "from drivers.base import NoAnswer"),
        ("gateway.cli", "def f():\n    from drivers.emulators import world"),
        ("gateway.mqtt", "from gateway.mqtt_link import Broker\nfrom gateway.journal import Journal"),
        ("drivers.emulators.atlas", "from drivers.emulators.base import Emulator\nfrom drivers import atlas"),
    ],
)
def test_what_is_allowed(module: str, source: str) -> None:
    assert violations(module, source) == []


@pytest.mark.parametrize(
    ("file", "source", "code"),
    [
        ("gateway/bus.py", "import time\n\nnow = time.time()\n", "TID251"),
        ("gateway/bus.py", "from datetime import UTC, datetime\n\nnow = datetime.now(UTC)\n", "TID251"),
        ("gateway/alarms.py", "import sqlite3\n\ndb = sqlite3.connect('x')\n", "TID251"),
        ("drivers/sps30.py", "import serial\n\nport = serial.Serial('x')\n", "TID251"),
        ("gateway/mqtt.py", "import os\n\nhome = os.environ['HOME']\n", "TID251"),
        ("gateway/station.py", "print(1)\n", "T201"),
        ("gateway/bus.py", "try:\n    f()\nexcept Exception:\n    raise ValueError from None\n", "BLE001"),
    ],
)
def test_the_doors_are_guarded(file: str, source: str, code: str) -> None:
    """What ruff forbids everywhere but in one place (pyproject.toml, banned-api), tried on a planted line."""
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise"]
    done = subprocess.run(
        [*ruff, "--stdin-filename", file, "-"],
        input=source,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert code in done.stdout


def test_a_station_runs_without_pydantic() -> None:
    """It takes 10 MB (decision D12): import gateway.config and what it is made of under TYPE_CHECKING."""
    program = "import sys, gateway.station, gateway.mqtt, gateway.mqtt_link; print('pydantic' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "False"
