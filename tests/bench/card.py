"""What the journal writes on the card in a day: the reference station (8 channels at 10 s, dust at 1 s),
defaults, virtual time.

Bytes are the kernel's own count for this process (/proc/self/io, write_bytes: pages handed to the block
layer), taken over six hours of the station's time. The folder must lie on a real disk, not in memory.

    python -m tests.bench.card
"""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
from pathlib import Path

from gateway.clock import Clock
from gateway.journal import Journal
from gateway.model import Reading, Stamp, Value
from tests.virtual_time import run as run_virtually

HOURS = 6
CHANNELS = (
    ("ph1", "water", {"ph": "pH", "water_temperature": "degC", "electrode_potential": "mV"}),
    ("turb1", "water", {"turbidity": "NTU", "water_temperature": "degC"}),
    ("air1", "air", {"air_temperature": "degC", "humidity": "%", "pressure": "hPa"}),
)
DUST = {"pm1": "ug/m3", "pm2_5": "ug/m3", "pm10": "ug/m3"}


class VirtualClock(Clock):
    """Stamps by the loop's time."""

    def __init__(self) -> None:
        super().__init__()
        self.start_s = 0.0

    def stamp(self) -> Stamp:
        mono_ms = round((asyncio.get_running_loop().time() - self.start_s) * 1000)
        return Stamp(1_795_428_000_000 + mono_ms, self.boot, mono_ms, True)


def run() -> list[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory(prefix="suuaba-card-", dir=Path.cwd()) as folder:
        return run_virtually(_station(Path(folder)))


async def _station(folder: Path) -> list[tuple[str, str, str]]:
    clock = VirtualClock()
    loop = asyncio.get_running_loop()
    clock.start_s = loop.time()
    journal = Journal(folder, clock)
    await journal.open()
    keeping = asyncio.create_task(journal.run())
    noise = random.Random(7)
    before = _written()
    for second in range(HOURS * 3600):
        bodies = [_reading(clock, "dust1", "air", DUST, second, noise)]
        if second % 10 == 0:
            bodies += [_reading(clock, *channel, second, noise) for channel in CHANNELS]
        journal.append(bodies)
        journal.finish("mqtt", journal.committed_seq)
        await asyncio.sleep(1.0)
    written = _written() - before
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await journal.close()
    records = journal.last_seq
    size = (folder / "journal.db").stat().st_size
    days = HOURS / 24
    return [
        ("card: MB a day, reference station, defaults", "25", f"{written / days / 1e6:.1f}"),
        ("card: bytes a record in the journal", "", f"{size / records:.1f}"),
        ("card: MB kept for 90 d of readings", "1000 with averages", f"{size / days * 90 / 1e6:.0f}"),
    ]


def _reading(
    clock: Clock, sensor: str, medium: str, units: dict[str, str], second: int, noise: random.Random
) -> Reading:
    values = {}
    for i, (name, unit) in enumerate(units.items()):
        raw = round(20 + 5 * math.sin(second / 3600 + i) + noise.gauss(0, 0.3), 3)
        values[name] = Value(raw, raw, unit, 1)
    return Reading(sensor, "reference", medium, clock.stamp(), values)


def _written() -> int:
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise AssertionError("no write_bytes")


if __name__ == "__main__":
    for what, goal, figure in run():
        print(f"{what:50} {goal:>20}  {figure}")
