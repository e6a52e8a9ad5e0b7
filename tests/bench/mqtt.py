"""What the MQTT sink costs: 50 messages of 40 values a second (W2), and a backlog into a real Mosquitto.

python -m tests.bench.mqtt
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from gateway.model import Reading, Record, Stamp, Value
from gateway.mqtt import MqttSink
from gateway.mqtt_messages import reading_json
from tests.services import Mosquitto, running

UNITS = 50
VALUES = 40
SECONDS = 10
BACKLOG = 20_000
AT = Stamp(1_795_428_000_000, "b", 0, True)


def readings(first: int, count: int, values: int) -> list[Record]:
    numbers = {f"q{k}": Value(k * 1.37 + 0.1, k * 1.37, "mg/L", 1) for k in range(values)}
    return [
        Record(first + n, Reading(f"unit{n % UNITS}", "bench", "water", AT, numbers)) for n in range(count)
    ]


def run() -> list[tuple[str, str, str]]:
    """Rows of (what, goal, figure)."""
    some = readings(1, UNITS, VALUES)
    begin_s = time.process_time()
    for _ in range(20):
        for record in some:
            assert isinstance(record.body, Reading)
            reading_json("bench", record.seq, record.body)
    json_us = (time.process_time() - begin_s) / (20 * UNITS * VALUES) * 1e6
    rows = [("MQTT: JSON of a value, 40 a message", "floor 0.26 us", f"{json_us:.2f} us")]
    with tempfile.TemporaryDirectory() as folder, running(Mosquitto(Path(folder))) as server:
        rows += asyncio.run(_measure(server.url))
    return rows


async def _measure(url: str) -> list[tuple[str, str, str]]:
    sink = MqttSink("bench", url, stamp=lambda: AT)
    await sink.beat()
    cpu_s, seq = 0.0, 1
    for _ in range(SECONDS):
        some = readings(seq, UNITS, VALUES)
        seq += UNITS
        begin_s = time.process_time()
        await sink.deliver(some)
        cpu_s += time.process_time() - begin_s
        await asyncio.sleep(1.0)
    value_us = cpu_s / (SECONDS * UNITS * VALUES) * 1e6
    backlog = readings(seq, BACKLOG, 4)
    begin_s, cpu_s = time.perf_counter(), time.process_time()
    for at in range(0, BACKLOG, sink.batch_records):
        await sink.deliver(backlog[at : at + sink.batch_records])
    took_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - cpu_s
    await sink.close()
    rate, cost_us = BACKLOG / took_s, cpu_s / BACKLOG * 1e6
    drained = f"{rate:,.0f}/s ({rate * 4:,.0f} values/s), {cost_us:.0f} us CPU each"
    return [
        ("MQTT: the sink's part of W2, CPU per value", "<= 6 us for all", f"{value_us:.2f} us"),
        ("MQTT backlog, messages/s of 4 values", "", drained),
    ]


if __name__ == "__main__":
    for what, goal, figure in run():
        print(f"{what:45} {goal:15} {figure}")
