"""From a sample to its SMS: an instantaneous critical rule on the whole station, under load W2.

    python -m tests.bench sms

The station is a process that reads 50 Modbus TCP units of 40 float32 at 1 Hz, publishes to Mosquitto, and
reads one more unit whose 40 numbers are made here. Each number has two limits, and each limit a rule and a
contact of its own (one contact would get a digest after ten). One limit after the other is exceeded, at
random moments. The time runs from when the instrument's answer leaves to when the emulated modem, on a PTY,
has the whole PDU.
"""

from __future__ import annotations

import asyncio
import random
import struct
import sys
import tempfile
import time
from pathlib import Path

from drivers.emulators.modem import ModemEmulator
from drivers.emulators.modem_network import EmulatedSms
from drivers.emulators.port import PtyPort
from drivers.link import Line
from tests.bench.load import _station, _units
from tests.services import Mosquitto, running

FLOATS = 40
LIMITS = (50, 500)
SETTLE_S = 12.0
WITHIN_S = 60.0
Row = tuple[str, str, str]


class Unit:
    """A Modbus TCP unit with 40 float32 in holding registers; notes when a new value was first answered."""

    def __init__(self) -> None:
        self.values = [1.0] * FLOATS
        self.answered_s: dict[tuple[int, float], float] = {}
        self.asked = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readexactly(7)
                transaction, _, length, unit = struct.unpack(">HHHB", head)
                function, first, count = struct.unpack(">BHH", await reader.readexactly(length - 1))
                assert function == 3
                registers = b"".join(struct.pack(">f", value) for value in self.values)
                data = registers[2 * first : 2 * (first + count)]
                now_s = time.monotonic()
                self.asked.set()
                for i in range(first // 2, (first + count) // 2):
                    self.answered_s.setdefault((i, self.values[i]), now_s)
                body = struct.pack(">BBB", unit, 3, len(data)) + data
                writer.write(struct.pack(">HHH", transaction, 0, len(body)) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def run(samples: int = FLOATS * len(LIMITS)) -> list[Row]:
    """Rows of (what, goal, figure)."""
    with tempfile.TemporaryDirectory(prefix="suuaba-bench-") as temporary:
        folder = Path(temporary)
        with running(Mosquitto(folder / "mosquitto")) as broker, _units(50, FLOATS) as ports:
            took_s = asyncio.run(_measure(folder, broker.url, ports, samples))
    took_s.sort()
    p50, p99 = (took_s[min(int(len(took_s) * share), len(took_s) - 1)] for share in (0.5, 0.99))
    what = f"W2: sample to SMS in the modem, critical, of {len(took_s)}"
    return [
        (f"{what}: p50, s", "", f"{p50:.3f}"),
        (f"{what}: p99, s", "<= 1", f"{p99:.3f}"),
        (f"{what}: worst, s", "", f"{took_s[-1]:.3f}"),
    ]


async def _measure(folder: Path, broker: str, ports: list[int], samples: int) -> list[float]:
    unit, came_s = Unit(), dict[str, float]()
    changed = asyncio.Event()

    def on_sms(message: EmulatedSms) -> None:
        came_s.setdefault(message.to, time.monotonic())
        changed.set()

    modem = PtyPort([ModemEmulator("modem", on_sms=on_sms)], link_path=folder / "modem", line=Line(115200))
    await modem.start()
    server = await asyncio.start_server(unit.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    file = await asyncio.to_thread(_whole_station, folder, broker, [*ports, port], modem.path)
    station = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway.cli", "run", str(file))
    chance = random.Random(4)
    took_s: list[float] = []
    try:
        async with asyncio.timeout(WITHIN_S):
            await unit.asked.wait()
        await asyncio.sleep(SETTLE_S)
        for sample in range(samples):
            await asyncio.sleep(chance.uniform(0.2, 1.2))
            i, level = sample % FLOATS, sample // FLOATS
            unit.values[i] = value = LIMITS[level] + 30.0
            async with asyncio.timeout(WITHIN_S):
                while _phone(i, level) not in came_s:
                    changed.clear()
                    await changed.wait()
            took_s.append(came_s[_phone(i, level)] - unit.answered_s[i, value])
    finally:
        station.terminate()
        try:
            await asyncio.wait_for(station.wait(), 20)
        except TimeoutError:
            station.kill()
        server.close()
        await modem.stop()
    return took_s


def _whole_station(folder: Path, broker: str, ports: list[int], modem: str) -> Path:
    file = _station(folder, ports, FLOATS, broker)
    parts = [file.read_text(), f'[sms]\nmodem = "{modem}"']
    parts += [
        f'[[contact]]\nid = "c{level}x{i}"\nphone = "{_phone(i, level)}"\nlanguage = "en"\n'
        f'[[rule]]\nid = "r{level}x{i}"\nsensor = "unit{len(ports)}"\nquantity = "q{i}"\nunit = "V"\n'
        f'above = {limit}\npriority = "critical"\nsend = [["c{level}x{i}"]]'
        for level, limit in enumerate(LIMITS)
        for i in range(FLOATS)
    ]
    file.write_text("\n".join(parts) + "\n")
    return file


def _phone(i: int, level: int) -> str:
    return f"+99655500{level:02}{i:02}"


if __name__ == "__main__":
    for row in run():
        print(*row)
