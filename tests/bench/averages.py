"""What an average costs: processor time a value, memory, and how much the fold keeps each time."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from random import Random

from gateway.averages import AveragesFold
from gateway.model import Reading, Record, Stamp, Value

READINGS = 20_000


def run() -> Iterator[tuple[str, str, str]]:
    """The figures."""
    for lengths_s, said in (((60,), "1 min"), ((60, 600, 3600, 86400), "1 min, 10 min, 1 h, 24 h")):
        for quantities in (1, 12):
            records = _records(quantities)
            fold = AveragesFold(lengths_s, {"s": 10.0})
            began_s = time.process_time()
            for record in records:
                fold.step(record)
            us = (time.process_time() - began_s) / READINGS / quantities * 1e6
            yield (
                f"averages over {said}: CPU a value, {quantities} a reading, us",
                "15 (flags included)",
                f"{us:.1f}",
            )
    records = _records(5)[:1000]
    tracemalloc.start()
    kept = AveragesFold((60, 600, 3600, 86400), {f"s{n}": 10.0 for n in range(20)})
    for record in records:
        reading = record.body
        if isinstance(reading, Reading):
            for n in range(20):
                kept.step(Record(1, Reading(f"s{n}", "m", "water", reading.at, reading.values)))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    yield "averages of 100 channels, four lengths: memory, KB", "1000", f"{grown / 1000:.0f}"
    yield "the same: what is kept at each average, KB before deflate", "", f"{len(kept.save()) / 1000:.1f}"


def _records(quantities: int) -> list[Record]:
    chance = Random(1)
    names = ["ph", *(f"q{n}" for n in range(quantities - 1))]
    return [
        Record(
            i,
            Reading(
                "s",
                "m",
                "water",
                Stamp(1_795_428_000_000 + 10_000 * i, "39e039a1", 10_000 * i, True),
                {name: Value(v := 7 + chance.random(), v, "x", 1) for name in names},
            ),
        )
        for i in range(READINGS)
    ]
