"""What `suuaba check` promises beside what the running reference station does: traffic, and the card.

The whole station in virtual time on real servers (tests/promises.py), for 17 minutes of its life.

    python -m tests.bench.promises
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from gateway.plan import plan
from tests.promises import measure, reference
from tests.services import InfluxDB, Mosquitto, running

MINUTES = 17.0
CASES = (
    ("readings, averages, events", ["reading", "average:1 min", "event"]),
    ("1 min averages, events", ["average:1 min", "event"]),
)


def run() -> list[tuple[str, str, str]]:
    """Rows of (what, goal, figure)."""
    rows = []
    for words, send in CASES:
        with tempfile.TemporaryDirectory(prefix="suuaba-promises-", dir=Path.cwd()) as name:
            folder = Path(name)
            with (
                running(Mosquitto(folder / "mosquitto")) as broker,
                running(InfluxDB(folder / "influxdb")) as influxdb,
            ):
                outside, wanted = reference(folder, broker.url, influxdb.url, send)
                promised, found = plan(wanted), measure(outside, wanted, MINUTES)
        for sink in promised.sinks:
            if sink.name == "influxdb" and words != CASES[0][0]:
                continue  # it gets the readings here too
            goal = "0.5" if words == CASES[1][0] else ""
            planned_mb = (sink.traffic.payload + sink.traffic.carriage) / 1e6
            figure = f"{found.line[sink.name] / 1e6:.2f} (check: {planned_mb:.2f})"
            rows.append((f"MB a day over the air, {sink.name}: {words}", goal, figure))
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
