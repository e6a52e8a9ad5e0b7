"""What dead instruments cost their bus: eight pH probes at 9600 Bd, each read once in two seconds in three
requests, on a wire whose bytes take their time; one dead, then two.

    python -m tests.bench.bus

The wire and the instruments are another process. Cost is the time that requests to the dead held the bus, of
all time, from when they are known to be dead. Phase error is how far the others' readings lie from their
rhythm: from the time at which they are usually there after their slot began.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from statistics import median
from typing import Any

from drivers import catalogue
from drivers.emulators.faults import Faults, parse
from drivers.emulators.modbus_models import Y532
from drivers.emulators.port import PtyPort
from drivers.link import Line, Link
from gateway.bus import Bus, Sensor
from gateway.clock import Clock
from gateway.model import Body, Event, Reading
from gateway.qc import Checks

LINE = Line(9600, "8N1")
EVERY_S = 2.0
HEALTHY_S, LEARN_S = 20.0, 10.0
"""How long all are well, and what it takes at most until a dead one is known."""


def run(seconds: float = 40.0) -> list[tuple[str, str, str]]:
    """Rows of (what, goal, figure)."""
    rows = []
    for dead in (("u3",), ("u3", "u6")):
        faults = " ".join(f"dead:{name}@{HEALTHY_S:g}+" for name in dead)
        command = [sys.executable, "-m", "tests.bench.bus", "--wire", faults]
        wire = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert wire.stdout is not None
        try:
            port = json.loads(wire.stdout.readline())["port"]
            cost, errors_ms, lost = asyncio.run(_measure(port, dead, seconds))
        finally:
            wire.communicate(timeout=20)  # its input ends, and so it does
        words = "one dead" if len(dead) == 1 else "two dead"
        rows += [
            (f"bus of eight at 9600 Bd, {words}: cost, % of the time", "<= 5", f"{cost:.1f}"),
            (f"bus of eight at 9600 Bd, {words}: phase error of the others, ms", "", _spread(errors_ms)),
            (f"bus of eight at 9600 Bd, {words}: slots the others lost", "0", f"{lost}"),
        ]
    return rows


def _spread(errors_ms: list[float]) -> str:
    at = [errors_ms[int(len(errors_ms) * share)] for share in (0.5, 0.99)]
    return f"{at[0]:.1f} median, {at[1]:.1f} p99, {errors_ms[-1]:.1f} worst"


async def _measure(port: str, dead: tuple[str, ...], seconds: float) -> tuple[float, list[float], int]:
    """Cost in %, the others' phase errors in ms by size, and how many slots they lost."""
    clock, bodies = Clock(), list[Body]()
    spent_s: dict[str, list[tuple[float, float]]] = {}
    sensors = []
    for number in range(1, 9):
        instrument = _Timed(catalogue.find("yosemitech-y532").make(number, {"warm_up_s": 0}))
        spent_s[f"u{number}"] = instrument.spent_s
        sensors.append(Sensor(f"u{number}", "yosemitech-y532", "water", EVERY_S, instrument, Checks({})))
    bus = Bus("bench", Link(port, LINE), sensors, bodies.extend, clock.stamp)
    began_s = time.monotonic()
    task = asyncio.create_task(bus.run())
    await asyncio.sleep(HEALTHY_S + LEARN_S + seconds)
    bus.stop()
    await task
    from_s = began_s + HEALTHY_S + LEARN_S
    assert {sensor.id for sensor in sensors if sensor.state == "dead"} == set(dead)
    cost_s = sum(took_s for name in dead for at_s, took_s in spent_s[name] if at_s >= from_s)
    ahead_ms = (time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()) * 1000
    errors_ms: list[float] = []
    for sensor in sensors:
        phases_ms = [
            body.at.mono_ms % (EVERY_S * 1000)
            for body in bodies
            if isinstance(body, Reading)
            and body.sensor == sensor.id
            and body.at.mono_ms - ahead_ms >= from_s * 1000
        ]
        if phases_ms:
            usual_ms = median(phases_ms)
            errors_ms += [abs(phase_ms - usual_ms) for phase_ms in phases_ms]
    lost = sum(
        body.detail["slots"]
        for body in bodies
        if isinstance(body, Event) and body.what == "missed" and body.detail["sensor"] not in dead
    )
    return cost_s / seconds * 100, sorted(errors_ms), lost


class _Timed:
    """An instrument, and when and how long it was asked."""

    def __init__(self, instrument: Any) -> None:
        self.__dict__.update(_instrument=instrument, spent_s=[])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instrument, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._instrument, name, value)

    async def read(self, link: Link) -> Any:
        began_s = time.monotonic()
        try:
            return await self._instrument.read(link)
        finally:
            self.spent_s.append((began_s, time.monotonic() - began_s))


async def _be_the_wire(faults: str) -> None:
    """The instruments and their wire, until standard input ends."""
    units = [Y532(f"u{n}", n, lambda quantity, now_s: 7.0) for n in range(1, 9)]
    port = PtyPort(units, name="bench", line=LINE, timed=True, faults=Faults(parse(faults)))
    await port.start()
    print(json.dumps({"port": port.path}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await port.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--wire"]:
        asyncio.run(_be_the_wire(sys.argv[2]))
    else:
        for what, goal, figure in run():
            print(f"{what:66} {goal:>8}  {figure}")
