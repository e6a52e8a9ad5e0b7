"""How long a scan takes on wires whose bytes take their time: until a probe at its factory settings is named,
on each kind of port, and until a full bus of eight is (python -m tests.bench.scan).

The wires are in a thread of their own. Dead ports beside them show what an empty one costs.
"""

from __future__ import annotations

import asyncio
import sys

from drivers.emulators.instruments import make
from drivers.emulators.modbus_models import unit_for
from drivers.emulators.port import PortThread, PtyPort
from drivers.emulators.world import World
from drivers.link import Line
from gateway.scan import scan
from gateway.scan_port import Wish
from gateway.scan_probe import kinds
from gateway.scan_result import PortReport

BUS = (
    ("yosemitech-y532", 1), ("yosemitech-y511", 3), ("yosemitech-y520", 5), ("yosemitech-y510", 31),
    ("seeed-s-ph-01", 64), ("xy-md02", 101), ("yosemitech-y532", 200), ("yosemitech-y511", 247),
)  # fmt: skip
ALONE = {
    "yosemitech-y532": Line(9600, "8N1"), "renke-rs-ph-n01": Line(4800, "8N1"),
    "aqualabo-ntu": Line(9600, "8N2"), "hamilton-ph-arc": Line(19200, "8N2"),
    "plantower": Line(9600, "8N1"), "sds011": Line(9600, "8N1"), "atlas": Line(9600, "8N1"),
    "sps30": Line(115200, "8N1"),
}  # fmt: skip


def run() -> list[tuple[str, str, str]]:
    """Rows of (what, goal, figure)."""
    world = World(1, "rain")
    ports = {}
    for model, line in ALONE.items():
        address = 40 if model == "aqualabo-ntu" else 1
        instrument = make(model, address, world, model)
        ports[model] = PtyPort([instrument], name=model, line=line, timed=True, check_line=True)
    units = [unit_for(model, address, world.value, f"{model} {address}") for model, address in BUS]
    ports["bus"] = PtyPort(units, name="bus", line=Line(9600, "8N1"), timed=True, check_line=True)
    dead = make("yosemitech-y532", 1, world, "dead")
    ports["dead"] = PtyPort([dead], name="dead", line=Line(1200, "8O1"), timed=True, check_line=True)
    with PortThread(*ports.values()):
        names = {port.path: name for name, port in ports.items()}
        report = asyncio.run(scan(list(names), Wish(kinds=kinds())))
    by = {names[port.port]: port for port in report.ports}
    return list(_rows(by))


def _rows(by: dict[str, PortReport]) -> list[tuple[str, str, str]]:
    named = {}
    for model in ALONE:
        named[model] = [
            found.after_s for found in by[model].instruments if model in (found.model, *found.others)
        ]
    worst = max((max(times, default=999.0), model) for model, times in named.items())
    bus = by["bus"]
    whole = {(found.model, found.address) for found in bus.instruments} == set(BUS)
    broken = "" if whole else f" (only {len(bus.instruments)} named)"
    return [
        ("scan: a probe at factory settings is named, s", "< 20", f"{worst[0]:.1f} ({worst[1]}, worst of 8)"),
        ("scan: a bus of eight at 9600 Bd, all named, s", "< 180", f"{bus.seconds:.0f}{broken}"),
        ("scan: a port where nothing answers, s", "", f"{by['dead'].seconds:.0f}"),
    ]  # fmt: skip


if __name__ == "__main__":
    for row in run():
        sys.stdout.write("  ".join(row) + "\n")
