"""Ten thousand stations through a whole centre: real Mosquitto → two collectors → real InfluxDB 1.6.7.

    python -m tests.bench.fleet [STATIONS [MINUTES]]

Every station sends one message a minute, an average of four quantities, evenly spread over the minute: the
real pace, in real time. Then as fast as it goes: all stations at once, as after an outage of the network.
What each part of the centre costs is read from /proc; what arrived is counted in the database.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.centre import T0_MS, Process
from tests.fleet import Fleet, average
from tests.services import InfluxDB, Mosquitto, Server, until

STATIONS, MINUTES, BURST = 10_000, 1.0, 3
DATABASE = "stations"
QUANTITIES = 4


def run(stations: int = STATIONS, minutes: float = MINUTES) -> list[tuple[str, str, str]]:
    """Rows of (what, goal, figure)."""
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = "max_queued_messages 0\npersistence true\n"
        settings += f"persistence_location {folder}/broker/\nautosave_interval 60"
        broker = Mosquitto(folder / "broker", settings=settings)
        influx = InfluxDB(folder / "influx")
        collectors = [Process(folder / f"c{i}", f"c{i}", broker, influx) for i in (1, 2)]
        broker.start()
        influx.start()
        influx.post(f'CREATE DATABASE "{DATABASE}"')
        fleet = None
        try:
            for one in collectors:
                one.start()
            for one in collectors:
                until("a collector", one.healthy)
            fleet = Fleet(broker.port)
            parts = {"broker": _pid(broker), "influxd": _pid(influx)}
            parts |= {f"collector {i}": _pid(one) for i, one in enumerate(collectors, 1)}
            sent = round(stations * minutes)
            rows += _stretch("one a minute", fleet, influx, parts, stations, 0, sent, 60.0 / stations)
            rows += _stretch("all at once", fleet, influx, parts, stations, sent, sent + BURST * stations, 0)
            began_s = time.perf_counter()
            said = collectors[0].accounts()
            took_s, holes = time.perf_counter() - began_s, said.stdout.count("not there")
            rows.append((f"--accounts of {stations} stations", "", f"{took_s:.1f} s, {holes} with holes"))
            began_s = time.perf_counter()
            collectors[0].end()
            collectors[0].start()
            until("a collector", collectors[0].healthy)
            rows.append(
                ("collector killed until it collects again", "", f"{time.perf_counter() - began_s:.1f} s")
            )
        finally:
            if fleet is not None:
                fleet.close()
            for one in collectors:
                one.end()
            broker.stop()
            influx.stop()
    return rows


def _stretch(
    what: str,
    fleet: Fleet,
    influx: InfluxDB,
    parts: dict[str, int],
    stations: int,
    first: int,
    last: int,
    pause_s: float,
) -> list[tuple[str, str, str]]:
    """Send messages `first` to `last`, one each `pause_s`, until the database has them all."""
    before = {part: _cpu_s(pid) for part, pid in parts.items()}
    began_s = time.perf_counter()
    for n in range(first, last):
        ahead_s = began_s + (n - first) * pause_s - time.perf_counter()
        if ahead_s > 0.01:
            time.sleep(ahead_s)
        seq = n // stations + 1
        fleet.publish(*average(f"st-{n % stations}", seq, T0_MS + seq * 60_000, QUANTITIES))
    sent_s = time.perf_counter() - began_s
    fleet.wait(300)

    def there() -> int:
        found = influx.rows('SELECT count("q0_n") FROM "water_1min"', DATABASE)
        return int(found[0]["count"]) if found else 0

    until("all of them", lambda: there() == last, 300)
    took_s, n = time.perf_counter() - began_s, last - first
    name = f"{stations} stations, {what}:"
    figure = (
        f"{last - there()} of {n} messages; sent in {sent_s:.1f} s, in the database after {took_s:.1f} s: "
    )
    figure += f"{n / took_s:,.0f} messages/s, {n * QUANTITIES / took_s:,.0f} values/s"
    rows = [(f"{name} lost", "0", figure)]
    for part, pid in parts.items():
        cpu_s = _cpu_s(pid) - before[part]
        share = f"{100 * cpu_s / took_s:.0f} % of a core, {1e6 * cpu_s / n:.0f} us a message of all"
        rows.append((f"{name} {part}", "", f"{share}, RSS {_rss_mb(pid):.0f} MB"))
    return rows


def _pid(part: Server | Process) -> int:
    process = part._process
    assert process is not None
    return process.pid


def _cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


if __name__ == "__main__":
    for what, goal, figure in run(*(json.loads(text) for text in sys.argv[1:])):
        print(f"{what:50} {goal:6} {figure}")
