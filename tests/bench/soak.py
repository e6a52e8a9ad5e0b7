"""A station for many minutes on timed wires and real servers, with an outage of both in the middle; then
the sum.

python -m tests.bench.soak --minutes 10 --outage 60
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.services import InfluxDB, Mosquitto, running
from tests.site import KEEPING, Keeper, events, journaled, site, stored


def run() -> list[tuple[str, str, str]]:
    """Ten minutes with an outage of one."""
    return soak(10, 60)


def soak(minutes: float, outage_s: float) -> list[tuple[str, str, str]]:
    """Run, and give rows (what, goal, figure)."""
    with tempfile.TemporaryDirectory(prefix="suuaba-soak-") as name:
        folder = Path(name)
        keeping = KEEPING.format(folder=folder / "mosquitto")
        with (
            running(Mosquitto(folder / "mosquitto", settings=keeping)) as broker,
            running(InfluxDB(folder / "influxdb")) as influxdb,
            site(folder, broker, influxdb, timed=True, also=("ezo", "sds011")) as place,
        ):
            keeper = Keeper(broker.port)
            place.start()
            end_s = time.monotonic() + minutes * 60
            if outage_s:
                _wait(minutes * 30 - outage_s / 2)
                broker.stop()
                influxdb.kill()
                _wait(outage_s)
                broker.start()
                influxdb.start()

                def up(got: object) -> bool:
                    return all(keeper.events("sink_up", sink) for sink in ("mqtt", "influxdb"))

                keeper.wait("both sinks up again", up, 400)
            _wait(end_s - time.monotonic())
            took_s = place.stop()
            records, cursors = place.journal()
            given, kept, points = place.given(), journaled(records), stored(influxdb)
            readings = {record.seq for record in records if type(record.body).__name__ == "Reading"}
            keeper.wait("every reading by MQTT", lambda got: readings <= set(keeper.seqs()), 60)
            seqs: Counter[int] = keeper.seqs()
            keeper.close()
            return [
                ("soak: minutes, outage in seconds", "10, 60", f"{minutes:g}, {outage_s:g}"),
                ("soak: numbers the instruments gave", "", str(given.total())),
                ("soak: of these lost in the journal", "0", str((given - kept).total())),
                ("soak: journal numbers not in InfluxDB", "0", str((kept - points).total())),
                ("soak: InfluxDB numbers too many", "0", str((points - kept).total())),
                ("soak: readings not received by MQTT", "0", str(len(readings - set(seqs)))),
                ("soak: readings received twice by MQTT", "", str(sum(n > 1 for n in seqs.values()))),
                ("soak: losses said", "0", str(len(events(records, "loss")))),
                ("soak: end by SIGTERM, s", "5", f"{took_s:.1f}"),
                ("soak: cursors at the end", str(records[-1].seq), str(cursors)),
            ]


def _wait(seconds: float) -> None:
    time.sleep(max(seconds, 0.0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--outage", type=float, default=60)
    wanted = parser.parse_args()
    for what, goal, figure in soak(wanted.minutes, wanted.outage):
        print(f"{what:45} {goal:>10}  {figure}")
    sys.exit(0)
