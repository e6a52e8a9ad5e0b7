"""How fast one collector takes what stations send: real Mosquitto → `suuaba collect` → real InfluxDB 1.6.7.

python -m tests.bench.collect

The messages wait at the broker (as after an outage of the centre); then the collector is started and does
nothing else. The CPU time of its process, all threads, without that of starting, is held against the values
that it brought into the database: so many values a second a core of this machine can do, whatever broker and
database cost beside it.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.centre import T0_MS, Process
from tests.fleet import Fleet, reading
from tests.services import InfluxDB, Mosquitto, until

STATIONS = 200
MESSAGES = 20_000


def run() -> list[tuple[str, str, str]]:
    """Rows of (what, goal, figure). The reference station groups four or more: the goal is for those."""
    return [_measure(quantities, MESSAGES) for quantities in (1, 4, 40)]


def _measure(quantities: int, messages: int) -> tuple[str, str, str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker, influx = Mosquitto(folder / "broker"), InfluxDB(folder / "influx")
        broker.start()
        influx.start()
        influx.post('CREATE DATABASE "stations"')
        process = Process(folder / "c", "c1", broker, influx)
        try:
            process.start()  # makes its session, and the database
            until("the collector", process.healthy)
            idle_s = process.cpu_s()  # what starting costs
            process.end()
            fleet = Fleet(broker.port)
            for n in range(messages):
                seq = n // STATIONS + 1
                fleet.publish(*reading(f"st-{n % STATIONS}", seq, T0_MS + seq * 1000, quantities))
            fleet.wait(300)
            fleet.close()
            process.start()
            began_s = time.perf_counter()

            def done() -> bool:  # asks the database: what the collector is asked costs its CPU time
                found = influx.rows('SELECT count("q0") FROM "water"', "stations")
                return bool(found) and bool(found[0]["count"] == messages)

            until("all of them", done, 300)
            took_s, cpu_s = time.perf_counter() - began_s, process.cpu_s()
            rss_mb = process.rss_mb()
        finally:
            process.end()
            broker.stop()
            influx.stop()
    values = messages * quantities
    rate = values / (cpu_s - idle_s)
    figure = f"{rate:,.0f}/s a core, {messages / took_s:,.0f} messages/s here, RSS {rss_mb:.0f} MB"
    return (f"collector, values/s a core ({quantities} a message)", ">= 50,000/s", figure)


if __name__ == "__main__":
    for what, goal, figure in run():
        print(f"{what:50} {goal:15} {figure}")
