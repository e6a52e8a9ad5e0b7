"""CPU, memory and start-up of the whole station under two loads, with Mosquitto as the broker.

W1: 3 Modbus TCP units of 4 float32 at 1 Hz. W2: 50 units of 40 float32 at 1 Hz. Each unit has a TCP port of
its own. A "reading" is one number, as in the table of peers in README.md. CPU is user + system of the
station's process, between two looks at /proc after it has settled.

    python -m tests.bench.load --seconds 30
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.services import Mosquitto, Subscriber, running

Row = tuple[str, str, str]
SETTLE_S = 5.0

PROFILE = """model = "bench-{floats}"
maker = "none"
title = "{floats} floats to measure with"
medium = "power"
verified = "by the benchmark only"
line = {{ baudrate = 9600, format = "8N1" }}
address = 1
source = {{ manual = "drivers/emulators/load.py", revision = "1", table = "module docstring" }}
timing = {{ answer_s = 1, boot_s = 0, warm_up_s = 0 }}
"""


def run(seconds: float = 20.0) -> list[Row]:
    rows: list[Row] = []
    # as pip installs it: without, each start compiles, which takes 0.2 s and memory that does not come back
    packages = ["gateway", "drivers", "alerts"]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *packages], check=True, timeout=120)
    for name, units, floats, goal in (("W1", 3, 4, "200"), ("W2", 50, 40, "6")):
        rows += _load(name, units, floats, goal, seconds)
    return rows


def _load(name: str, units: int, floats: int, goal: str, seconds: float) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="suuaba-bench-") as temporary:
        folder = Path(temporary)
        with running(Mosquitto(folder / "mosquitto")) as broker, _units(units, floats) as ports:
            subscriber = Subscriber(broker.port, "suuaba/1/+/reading/#")
            file = _station(folder, ports, floats, broker.url)
            began_s = time.monotonic()
            process = subprocess.Popen([sys.executable, "-m", "gateway.cli", "run", str(file)])
            try:
                subscriber.wait("the first reading", lambda got: got)
                published_s = time.monotonic() - began_s
                time.sleep(SETTLE_S)
                cpu_before_s, seen_before = _cpu_s(process.pid), len(subscriber.got)
                time.sleep(seconds)
                cpu_s, seen = _cpu_s(process.pid) - cpu_before_s, len(subscriber.got) - seen_before
                rss_mb = _rss_mb(process.pid)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(20)
                subscriber.close()
            numbers = seen * floats
            return [
                (f"{name}: CPU per reading, us", goal, f"{cpu_s / max(numbers, 1) * 1e6:.1f}"),
                (f"{name}: readings a second", f"{units * floats}", f"{numbers / seconds:.0f}"),
                (f"{name}: RSS, headless with MQTT, MB", "40", f"{rss_mb:.1f}"),
                (f"{name}: process start to first reading published, s", "0.8", f"{published_s:.2f}"),
            ]


@contextlib.contextmanager
def _units(units: int, floats: int) -> Iterator[list[int]]:
    command = [sys.executable, "-m", "drivers.emulators.load", "--units", str(units), "--floats", str(floats)]
    process = subprocess.Popen([*command, "--port-per-unit"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["ports"]
    finally:
        process.terminate()
        process.communicate(timeout=10)


def _station(folder: Path, ports: list[int], floats: int, broker: str) -> Path:
    (folder / "profiles").mkdir()
    registers = "".join(
        f'\n[[register]]\nquantity = "q{i}"\nunit = "V"\ndigits = 2\ntable = "holding"\naddress = {2 * i}\n'
        f'format = "float32"\norder = "ABCD"\n'
        for i in range(floats)
    )
    profile = PROFILE.format(floats=floats) + registers
    (folder / "profiles" / f"bench-{floats}.toml").write_text(profile)
    lines = [
        '[station]\nid = "bench"',
        f'data = "{folder}/data"',
        '[clock]\nsource = "trust"',
        f'[mqtt]\nurl = "{broker}"',
    ]
    lines += [
        f'[[sensor]]\nid = "unit{unit}"\nport = "tcp://127.0.0.1:{port}"\nmodel = "bench-{floats}"\n'
        f'address = {unit}\nmedium = "power"\nevery = "1 s"'
        for unit, port in enumerate(ports, 1)
    ]
    file = folder / "station.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def _cpu_s(pid: int) -> float:
    """CPU of all threads, user + system; in nanoseconds by the scheduler, where /proc/PID/stat knows only
    hundredths.
    """
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    for what, goal, figure in run(parser.parse_args().seconds):
        print(f"{what:55} {goal:>8}  {figure}")
