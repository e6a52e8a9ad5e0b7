"""What packed messages weigh (`[mqtt] pack`): examples, packed by what packs the real ones. No I/O.

The events that go along are few and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from statistics import fmean

from gateway.config import Sensor, Station
from gateway.model import Average, Mean, Reading, Record, Stamp
from gateway.mqtt_messages import average_json
from gateway.mqtt_pack import PACKED_KEEPALIVE_S, Packer, packs
from gateway.plan_traffic import (
    DAY_S,
    PUBACK_BYTES,
    Traffic,
    carriage,
    pings,
    publish_bytes,
    reading,
    samples,
    status,
)

EXAMPLES = 30
"""Windows or readings of one instrument in the example; longer packs are reckoned from it."""
READINGS = 6
"""In a window of the examples."""
DUST_SPREAD = 0.04
"""Dust sensors count single grains; what does not repeat does not pack."""
START_MS = 1_795_428_000_000


def packed(
    station: Station, lengths_s: Iterable[float], pack_s: float, *, readings: bool, tls: bool, embedded: bool
) -> Traffic:
    """What a day of packs and status messages weighs."""
    digits = {(s, q.name): q.digits for s, found in station.quantities.items() for q in found}
    packer = Packer(pack_s, digits)
    whole: list[tuple[int, str, bytes]] = []
    share = 1.0
    for sensor in station.sensors:
        for length_s in lengths_s:
            n = min(max(round(pack_s / length_s), 1), EXAMPLES)
            share = min(share, n * length_s / pack_s)
            for record in _averages(station, sensor, n, length_s):
                if isinstance(record.body, Average):
                    payload = average_json(station.id, record.seq, packer.rounded(record.body))
                    whole.append((record.seq, f"average/{sensor.id}", payload))
        if readings:
            n = min(max(round(pack_s / sensor.every_s), 1), EXAMPLES)
            share = min(share, n * sensor.every_s / pack_s)
            whole += [
                (record.seq, f"reading/{sensor.id}", reading(station, record))
                for record in samples(station, sensor, n)
            ]
    whole.sort()
    sizes = [len(payload) for _, payload in packs(whole)]
    a_day = DAY_S / (pack_s * share)
    said = a_day * sum(
        publish_bytes(f"suuaba/1/{station.id}/packed", bytes(size)) + PUBACK_BYTES for size in sizes
    )
    weight = Traffic(a_day * len(sizes), said, 0.0 if embedded else carriage(said, a_day * len(sizes), tls))
    silent = a_day * ((pack_s - 1) // PACKED_KEEPALIVE_S)
    weight += pings(silent, tls=tls, embedded=embedded)
    return weight + status(station, tls=tls, embedded=embedded)


def _averages(station: Station, sensor: Sensor, windows: int, length_s: float) -> Iterator[Record]:
    found = iter(samples(station, sensor, windows * READINGS, DUST_SPREAD))
    for number in range(windows):
        bodies = [record.body for record in (next(found) for _ in range(READINGS))]
        numbers = [body.values for body in bodies if isinstance(body, Reading)]
        expected = math.ceil(length_s / sensor.every_s)
        values = {}
        for quantity, first in numbers[0].items():
            found_here = [one[quantity].value for one in numbers]
            values[quantity] = Mean(
                fmean(found_here),
                min(found_here),
                max(found_here),
                expected,
                expected,
                first.unit,
                first.flag,
            )
        start_ms = START_MS + int(number * length_s * 1000)
        end = Stamp(start_ms + int(length_s * 1000), "39e039a1", 0, True)
        seq = 1_000_000 + number * 80
        medium = sensor.medium or ""
        yield Record(seq, Average(sensor.id, sensor.model, medium, end, start_ms, int(length_s), values))
