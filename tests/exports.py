"""What the tests of exports share: a small journal of a station with a pH probe and a dust sensor."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway import cli
from gateway.export_rows import Site
from gateway.export_source import Span
from gateway.journal import Journal
from gateway.model import Average, Body, Event, Mean, Reading, Stamp, Value
from tests.journals import FixedClock

START_MS = 1_795_428_000_000  # 2026-11-23T10:00Z
TOML = """
[station]
id = "kyia"
name = "Kanysh-Kyia"
timezone = "Asia/Bishkek"
language = "{language}"
latitude = 41.7
longitude = 71.6
data = "data"

[[sensor]]
id = "ph1"
port = "/dev/ttyUSB0"
model = "yosemitech-y532"
address = 1

[[sensor]]
id = "dust1"
port = "/dev/ttyUSB1"
model = "plantower"
"""
FOREVER = Span(0, 1 << 60)
SITE = Site("kyia", "Kanysh-Kyia", "Asia/Bishkek", 41.7, 71.6)


def stamp(second: float, *, boot: str = "boot0001", synced: bool = True, off_ms: int = 0) -> Stamp:
    ms = round(second * 1000)
    return Stamp(START_MS + ms + off_ms, boot, 1_000_000 + ms, synced)


def ph(second: float, number: float, **about: Any) -> Reading:
    return Reading(
        "ph1", "y532", "water", stamp(second, **about), {"ph": Value(number, number + 0.25, "pH", 1)}, 4
    )


def dust(second: float, number: float) -> Reading:
    values = {q: Value(number + i, number + i, "ug/m3", 1) for i, q in enumerate(("pm2_5", "pm10"))}
    return Reading("dust1", "plantower", "air", stamp(second), values)


def flagged(second: float, seq: int) -> Event:
    detail = {"sensor": "ph1", "medium": "water", "quantity": "ph", "seq": seq, "time_ms": 0, "raw": 1.0, "unit": "pH",  # noqa: E501  a table
              "flag": 4, "why": "spike", "before": 1}  # fmt: skip
    return Event(stamp(second), "flagged", detail)


def average(second: float) -> Average:
    means = {
        "pm2_5": Mean(11.5, 10.0, 13.0, 55, 60, "ug/m3", 1),
        "pm10": Mean(None, None, None, 0, 60, "ug/m3", 9, "none"),
    }
    return Average(
        "dust1", "plantower", "air", stamp(second), START_MS + int((second - 60) * 1000), 60, means
    )


def keep(folder: Path, groups: Sequence[Sequence[Body]], *, tail: Sequence[Body] = ()) -> None:
    """A journal with these blocks; what is in the tail stays there."""

    async def job() -> None:
        journal = Journal(folder / "data", FixedClock(), make_key=True)
        await journal.open()
        for group in groups:
            journal.append(group)
            assert await journal._settle()
        if tail:
            journal.append(tail)
            await journal.sync()
            await journal._in_thread(journal._disk.close)
            journal._thread.shutdown()
        else:
            await journal.close()

    (folder / "station.toml").write_text(TOML.format(language="ru"), encoding="utf-8")
    asyncio.run(job())


def some_of_all(folder: Path) -> Path:
    """Seq 1 says of the key; 2…21 readings, the 5th is a spike; then averages; the tail has two."""
    first = [b for s in range(0, 100, 10) for b in (ph(s, 7 + s / 1000), dust(s, 10.0))]
    missed = Event(stamp(121), "missed", {"sensor": "ph1", "why": "no answer"})
    keep(folder, [first, [flagged(101, 6), average(120), missed]], tail=[ph(130, 7.5), dust(130, 12.0)])
    return folder


def suuaba(*arguments: str) -> int:
    return cli.main(["export", "station.toml", *arguments])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
