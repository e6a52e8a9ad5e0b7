"""What the tests of InfluxDB share: readings, and what a database holds of them."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.model import Event, Reading, Record
from tests.memory_journal import START_MS, reading
from tests.services import InfluxDB


def series(count: int, sensor: str = "ph1") -> list[Reading]:
    """Readings a second apart."""
    return [reading(float(n), sensor, START_MS + 1000 * n) for n in range(count)]


def records(bodies: Sequence[Reading | Event]) -> list[Record]:
    return [Record(n + 1, body) for n, body in enumerate(bodies)]


def stored(server: InfluxDB, db: str, sensor: str = "ph1") -> list[float]:
    """The raw numbers of a sensor in the order of their time."""
    rows = server.rows(f"SELECT ph_raw FROM water WHERE sensor = '{sensor}'", db)  # noqa: S608  our own text
    return [row["ph_raw"] for row in rows]
