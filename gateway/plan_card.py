"""What the journal does to the card: written a day, and what is left of a day for good. No I/O.

Example readings of the station's own instruments are packed as the journal packs them (gateway.journal_tail):
commit by commit on the way into the tail, and where those frames are small once more on the way into SQLite.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import msgspec

from gateway.config import Station
from gateway.journal_tail import SMALL_FRAME, deflated
from gateway.plan_traffic import DAY_S, moments, samples

PAGE_BYTES = 4096
FRAME_BYTES = 12
"""A frame's head."""
SETTLE_TEXT_BYTES = 1024 * 1024
SETTLE_S = 1800.0
SETTLE_PAGES = 10
"""What a block costs besides itself: indexes, what folds remember; in SQLite's log and in its file."""


@dataclass(frozen=True, slots=True)
class Weight:
    """Bytes a day of records: packed in the tail, with the notes between them; as text; packed in blocks."""

    tail: float
    text: float
    block: float

    def __add__(self, other: Weight) -> Weight:
        return Weight(self.tail + other.tail, self.text + other.text, self.block + other.block)


@dataclass(frozen=True, slots=True)
class Card:
    """Bytes a day."""

    written: float
    kept: float


def card(weight: Weight, commits: float, syncs: float) -> Card:
    """So many bytes, commits and syncs a day.

    A sync writes the pages of the tail that its records touch: one more than they fill, on average. Every
    half hour, or after a megabyte of records, what the tail holds goes into SQLite: once through its log,
    once into its place.
    """
    settles = max(DAY_S / SETTLE_S, weight.text / SETTLE_TEXT_BYTES)
    small = weight.tail < SMALL_FRAME * commits
    kept = (weight.block if small else weight.tail) + settles * PAGE_BYTES / 2
    tail = weight.tail + min(syncs, commits) * PAGE_BYTES
    return Card(tail + settles * SETTLE_PAGES * PAGE_BYTES + 2 * kept, kept)


def commits_a_day(station: Station) -> float:
    return 24.0 * len(moments(station, station.journal.commit_s))


def readings(station: Station) -> Weight:
    """What the readings weigh, with how far the sinks are, which stands in every commit."""
    step_s = station.journal.commit_s
    together = moments(station, step_s)
    some = together[: max(600, len(together) // 6)]  # ten minutes at a commit a second
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    wanted: dict[str, int] = {}
    for sensors in some:
        for sensor in sensors:
            wanted[sensor.id] = wanted.get(sensor.id, 0) + 1
    streams = {s.id: iter(samples(station, s, wanted.get(s.id, 0))) for s in station.sensors}
    encode = msgspec.json.Encoder().encode
    tail = text = 0
    records = b""
    sinks = [name for name in ("mqtt", "influxdb") if getattr(station, name) is not None]
    for number, sensors in enumerate(some):
        said = b"".join(encode(next(streams[sensor.id])) + b"\n" for sensor in sensors)
        records += said
        text += len(said)
        if sinks:
            said += encode({"cursors": dict.fromkeys(sinks, 1_000_000 + number)}) + b"\n"
        tail += len(stream.compress(said)) + len(stream.flush(zlib.Z_SYNC_FLUSH)) + FRAME_BYTES
    a_day = commits_a_day(station) / len(some) if some else 0.0
    return Weight(tail * a_day, text * a_day, len(deflated(records)) * a_day)
