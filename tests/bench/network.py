"""The whole station over two bad lines for many minutes, then the sum: nothing lost, nothing doubled.

Between the station and the real Mosquitto and InfluxDB stand proxies that cut, close, stall, delay, drip and
hold back by a seed, and spoil bodies that a checksum covers (tests/netproxy.py).

    python -m tests.bench.network --minutes 60 --seed 1
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from gateway import config
from gateway.model import Reading, Record
from tests.netproxy import Proxy
from tests.services import InfluxDB, Mosquitto, running
from tests.site import KEEPING, Keeper, events, journaled, site, stored, unsaid

SPOILS = 300
"""Of a million body bytes, how many get a wrong bit."""
DRY_S = 600.0
"""Within this everything must be there once the lines are clear: the longest back-off is five minutes."""


class Behind:
    """A server as seen through a proxy."""

    def __init__(self, url: str) -> None:
        self.url = url


def run(minutes: float = 60.0, seed: int = 1) -> list[tuple[str, str, str]]:
    """Rows of (what, goal, figure)."""
    with tempfile.TemporaryDirectory(prefix="suuaba-network-") as name:
        folder = Path(name)
        with (
            running(
                Mosquitto(folder / "mosquitto", settings=KEEPING.format(folder=folder / "mosquitto"))
            ) as broker,
            running(InfluxDB(folder / "influxdb")) as influxdb,
            Proxy(broker.port, seed=seed).running() as mqtt_line,
            Proxy(influxdb.port, seed=seed + 100, corrupts=SPOILS).running() as influx_line,
            site(
                folder,
                Behind(f"mqtt://127.0.0.1:{mqtt_line.port}"),
                Behind(f"http://127.0.0.1:{influx_line.port}"),
            ) as place,
        ):
            keeper = Keeper(broker.port)
            place.start()
            keeper.wait("readings", lambda got: len(got) > 10)
            for line in (mqtt_line, influx_line):
                line.weather()
            time.sleep(minutes * 60)
            for line in (mqtt_line, influx_line):
                line.set("clear")
            influx_line.corrupts = 0
            clear_s = time.monotonic()
            given = place.given()
            while given - stored(influxdb) and time.monotonic() < clear_s + DRY_S:
                time.sleep(2.0)
            dry_s = time.monotonic() - clear_s
            place.stop()
            place.start()  # what is left goes now
            keeper.wait("messages of the second life", lambda got: keeper.events("started") >= 2, 120)
            place.stop()
            records, _ = place.journal()
            every_s = {sensor.id: sensor.every_s for sensor in config.load(place.file).sensors}
            lost = unsaid(place.outside.record.snapshot(), records, every_s)
            given, kept, points = place.given(), journaled(records), stored(influxdb)
            readings = {record.seq for record in records if isinstance(record.body, Reading)}
            end_s = time.monotonic() + DRY_S
            while not readings <= set(keeper.seqs()) and time.monotonic() < end_s:
                time.sleep(1.0)
            seqs: Counter[int] = keeper.seqs()
            keeper.close()
    ways = mqtt_line.ways + influx_line.ways
    return [
        ("network: minutes over bad lines, seed", "60", f"{minutes:g}, {seed}"),
        ("network: changes of weather, bits spoilt", "", f"{ways.total()}, {influx_line.corrupted}"),
        ("network: numbers the instruments gave", "", str(given.total())),
        ("network: of these too late for the journal, and said", "", str((given - kept).total())),
        ("network: answers in no slot that the journal speaks of", "0", str(len(lost))),
        ("network: journal numbers not in InfluxDB", "0", str((kept - points).total())),
        ("network: doubled or unknown in InfluxDB", "0", str((points - kept).total())),
        ("network: readings not received by MQTT", "0", str(len(readings - set(seqs)))),
        ("network: received by MQTT, in no journal", "0", str(len(set(seqs) - readings))),
        ("network: received again by MQTT", "", str(sum(n - 1 for n in seqs.values()))),
        ("network: set aside as refused, losses said", "0, 0", _said(records)),
        ("network: InfluxDB up to date after the weather, s", "< 300", f"{dry_s:.0f}"),
    ]


def _said(records: list[Record]) -> str:
    return f"{len(events(records, 'refused'))}, {len(events(records, 'loss'))}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    wishes = parser.parse_args()
    for what, goal, figure in run(wishes.minutes, wishes.seed):
        print(f"{what:62} {goal:>8}  {figure}", flush=True)
