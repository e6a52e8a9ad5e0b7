"""Flags and averages together, as in a station: what a value costs, and what all of it takes in memory.

    python -m tests.bench defence

Instruments of five quantities, each with every test there is and a spike test, read each 10 s; averages over
1 min, 10 min, 1 h and 24 h, with NowCast and index. The values are noise of two decimals, as instruments
give. What the tests remember of a window that slides grows with an endless slope of ever new numbers,
which no instrument gives: it is shown as the most there can be.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Iterator

from gateway.averages import AveragesFold
from gateway.model import Reading, Record, Stamp, Value
from gateway.qc import Checks, Expect
from gateway.qc_spike import SpikeFold
from tests.bench.qc import EVERYTHING, Row

EVERY_S = 10.0
LENGTHS_S = (60, 600, 3600, 86_400)
QUANTITIES = ("ph", "pm2_5", "pm10", "conductivity", "turbidity")
"""Two that are derived from, one with a mean of its own kind."""
UNITS = {"ph": "pH", "pm2_5": "ug/m3", "pm10": "ug/m3", "conductivity": "uS/cm", "turbidity": "NTU"}
CPU_CYCLES = 1500
MEMORY_H = 13.5
"""Longer than any window that slides, and than a NowCast."""
GOAL_US, GOAL_KB = "15", "1000"


class Whole:
    """What flags and averages what so many instruments say."""

    def __init__(self, sensors: int, slope: float = 0.0) -> None:
        names = [f"s{n}" for n in range(sensors)]
        expect = dict.fromkeys(QUANTITIES, EVERYTHING)
        spiked = dict.fromkeys(QUANTITIES, Expect(spike=(0.5, 1.0)))
        self.checks = {name: Checks(expect, EVERY_S) for name in names}
        self.spikes = SpikeFold(dict.fromkeys(names, (EVERY_S, spiked)))
        self.means = AveragesFold(LENGTHS_S, dict.fromkeys(names, EVERY_S), judged_later=names)
        self._slope = slope
        self._seq = 0
        self._chance = random.Random(1)

    def prepare(self, cycle: int) -> list[tuple[str, Stamp, dict[str, float]]]:
        """What the instruments say in one cycle."""
        ms = round(cycle * EVERY_S * 1000)
        at = Stamp(1_795_428_000_000 + ms, "39e039a1", 120_431 + ms, True)
        return [(name, at, {q: self._value(cycle) for q in QUANTITIES}) for name in self.checks]

    def _value(self, cycle: int) -> float:
        return 7 + cycle * self._slope if self._slope else round(self._chance.gauss(7, 0.01), 2)

    def see(self, said: list[tuple[str, Stamp, dict[str, float]]]) -> None:
        """Flag it, make readings of it, and average these."""
        for name, at, values in said:
            flag = self.checks[name].flag
            judged = {q: Value(x, x, UNITS[q], *flag(q, x, at)) for q, x in values.items()}
            self._seq += 1
            record = Record(self._seq, Reading(name, "m", "air", at, judged))
            for event in self.spikes.step(record):
                self.means.step(Record(self._seq, event))
            self.means.step(record)


def run() -> Iterator[Row]:
    """Rows of (what, goal, figure)."""
    for sensors in (4, 20):
        channels = sensors * len(QUANTITIES)
        yield f"flags and averages of {channels} channels: CPU, us a value", GOAL_US, f"{_us(sensors):.1f}"
    for sensors in (4, 20):
        channels = sensors * len(QUANTITIES)
        said = f"flags and averages of {channels} channels: memory in all, KB"
        yield said, GOAL_KB, f"{memory_kb(sensors, MEMORY_H):.0f}"
    said = f"flags and averages of {channels} channels, all on an endless slope: memory in all, KB"
    yield said, "", f"{memory_kb(sensors, 2, 1e-6):.0f}"


def _us(sensors: int) -> float:
    """The best of three runs: what others do on the machine is not ours."""
    best_s = float("inf")
    cycles = max(200, CPU_CYCLES // sensors)
    for _ in range(3):
        whole = Whole(sensors)
        said = [whole.prepare(cycle) for cycle in range(cycles)]
        began_s = time.process_time()
        for one in said:
            whole.see(one)
        best_s = min(best_s, time.process_time() - began_s)
    return best_s / cycles / sensors / len(QUANTITIES) * 1e6


def memory_kb(sensors: int, hours: float, slope: float = 0.0) -> float:
    """What is there after so many hours, the objects of the last readings included."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        whole = Whole(sensors, slope)
        for cycle in range(round(hours * 3600 / EVERY_S)):
            whole.see(whole.prepare(cycle))
        return (tracemalloc.get_traced_memory()[0] - before) / 1024
    finally:
        tracemalloc.stop()
