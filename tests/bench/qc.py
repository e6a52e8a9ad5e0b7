"""What the quality tests cost, in time and memory, and 10,000 random series against ioos_qc.

    python -m tests.bench qc

The values are pH with 0.01 noise at 10 s: two decimals, as most instruments have.
"""

from __future__ import annotations

import contextlib
import importlib.util
import random
import time
import tracemalloc

from gateway.averages import AveragesFold
from gateway.model import Reading, Record, Value
from gateway.qc import Attenuation, Checks, Expect, Flat
from gateway.qc_spike import SpikeFold
from tests.qc_many import TOGETHER, all_equal, random_heaps
from tests.qc_series import Series, Slots, stamp

COUNT = 20_000
SERIES = 10_000
EVERY_S = 10.0
RANGES = Expect(gross=(0.0, 14.0), usual=(5.0, 9.5))
EVERYTHING = Expect(
    gross=(0.0, 14.0),
    usual=(5.0, 9.5),
    rate_per_s=0.5 / 60,
    flat=Flat(0.01, 1800.0, 7200.0),
    attenuated=Attenuation(43_200.0, 0.02, 0.01),
    gap_s=300.0,
    climatology=dict.fromkeys(range(1, 13), (6.0, 9.0)),
)
Row = tuple[str, str, str]


def run(series: int = SERIES) -> list[Row]:
    """Rows of (what, goal, figure)."""
    rows = [
        ("flag: no expectation, us a value", "0.1", f"{_flag_us(None):.2f}"),
        ("flag: gross and user range, us a value", "0.3", f"{_flag_us(RANGES):.2f}"),
        ("flag: all tests, us a value", "4", f"{_flag_us(EVERYTHING):.2f}"),
        ("spike: us a reading of one value", "4", f"{_spike_us():.2f}"),
    ]
    for what, slope in (("of noise", 0.0), ("of an endless slope", 1e-6)):
        rows.append((f"memory of all tests on a quantity, 2 d {what}, KB", "50", f"{_memory_kb(slope):.0f}"))
    rows.append(
        ("flags, spike and averages of four lengths together, us a value", "15", f"{_together_us():.1f}")
    )
    return [*rows, _random_series(series)]


def _values(count: int, slope: float = 0.0) -> list[float]:
    rng = random.Random(1)
    return [7 + i * slope if slope else round(rng.gauss(7, 0.01), 2) for i in range(count)]


def _flag_us(expect: Expect | None) -> float:
    stamps = [stamp(i * EVERY_S) for i in range(COUNT)]
    values = _values(COUNT)
    best_s = float("inf")
    for _ in range(3):
        flag = Checks({"q": expect} if expect else {}, EVERY_S).flag
        began_s = time.process_time()
        for value, at in zip(values, stamps, strict=True):
            flag("q", value, at)
        best_s = min(best_s, time.process_time() - began_s)
    return best_s / COUNT * 1e6


def _spike_us() -> float:
    fold = SpikeFold({"s": (EVERY_S, {"q": Expect(spike=(0.5, 1.0))})})
    records = [
        Record(i, Reading("s", "m", "water", stamp(i * EVERY_S), {"q": Value(x, x, "pH", 1)}))
        for i, x in enumerate(_values(COUNT))
    ]
    began_s = time.process_time()
    for record in records:
        fold.step(record)
    return (time.process_time() - began_s) / COUNT * 1e6


def _together_us() -> float:
    """One value a reading, which is the dearest."""
    means = AveragesFold((60, 600, 3600, 86400), {"s": EVERY_S})
    records = [
        Record(i, Reading("s", "m", "water", stamp(i * EVERY_S), {"q": Value(x, x, "pH", 1)}))
        for i, x in enumerate(_values(COUNT))
    ]
    began_s = time.process_time()
    for record in records:
        means.step(record)
    averages_us = (time.process_time() - began_s) / COUNT * 1e6
    return averages_us + _flag_us(EVERYTHING) + _spike_us()


def _memory_kb(slope: float) -> float:
    count = int(2 * 86400 / EVERY_S)
    values = _values(count, slope)
    stamps = [stamp(i * EVERY_S) for i in range(count)]
    tracemalloc.start()
    with contextlib.ExitStack() as stack:
        stack.callback(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        checks = Checks({"q": EVERYTHING}, EVERY_S)
        for value, at in zip(values, stamps, strict=True):
            checks.flag("q", value, at)
        return (tracemalloc.get_traced_memory()[0] - before) / 1024


def _random_series(count: int) -> Row:
    what = "random series whose flags equal ioos_qc's"
    if importlib.util.find_spec("ioos_qc") is None:
        return what, str(count), "ioos_qc is not installed"
    from hypothesis import HealthCheck, given, settings

    seen = 0

    @settings(
        max_examples=count // TOGETHER, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(random_heaps())
    def judge(heap: tuple[Series, list[Slots]]) -> None:
        nonlocal seen
        seen += all_equal(*heap)

    judge()
    return what, str(count), str(seen)
