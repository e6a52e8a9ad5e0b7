"""What `suuaba check` promises beside what the running reference station does: traffic, and the card.

The whole station in virtual time on real servers (tests/promises.py), for 17 minutes of its life, and, where
it packs its messages, for 62. What is to be paid for by the byte goes over TLS; pings are counted.

    python -m tests.bench.promises
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from gateway.plan import plan
from tests.promises import measure, reference
from tests.services import InfluxDB, Mosquitto, running

ALL, AVERAGES = ["reading", "average:1 min", "event"], ["average:1 min", "event"]
CASES = (
    ("readings, averages, events", ALL, "", 17.0),
    ("1 min averages, events", AVERAGES, "", 17.0),
    ("the same, pack = 15 min", AVERAGES, 'pack = "15 min"', 62.0),
    ("the same, pack = 1 h", AVERAGES, 'pack = "1 h"', 62.0),
)


def run() -> list[tuple[str, str, str]]:
    """Rows of (what, goal, figure)."""
    rows = []
    for words, send, more, minutes in CASES:
        tls = send is AVERAGES
        with tempfile.TemporaryDirectory(prefix="suuaba-promises-", dir=Path.cwd()) as name:
            folder = Path(name)
            with (
                running(Mosquitto(folder / "mosquitto", tls=tls)) as broker,
                running(InfluxDB(folder / "influxdb")) as influxdb,
            ):
                more += f'\nca = "{broker.ca}"' if tls else ""
                outside, wanted = reference(folder, broker.url, "" if tls else influxdb.url, send, more)
                promised, found = plan(wanted), measure(outside, wanted, minutes)
        for sink in promised.sinks:
            goal = "0.5" if "pack" in more else ""
            planned_mb = (sink.traffic.payload + sink.traffic.carriage) / 1e6
            figure = f"{found.line[sink.name] / 1e6:.2f} (check: {planned_mb:.2f})"
            rows.append((f"MB a day over the air, {sink.name}{' with TLS' * tls}: {words}", goal, figure))
        if words == CASES[0][0]:
            rows += [
                ("MB a day on the card, whole station", "25", _beside(found.written, promised.card.written)),
                ("MB a day kept", "", _beside(found.kept, promised.card.kept)),
                (
                    "oldest record not committed, not synced, s",
                    "1, 15",
                    f"{found.commit_s:g}, {found.sync_s:g}",
                ),
            ]
    return rows


def _beside(found: float, promised: float) -> str:
    return f"{found / 1e6:.1f} (check: {promised / 1e6:.1f})"


if __name__ == "__main__":
    for what, goal, figure in run():
        print(f"{what:70} {goal:>8}  {figure}")
