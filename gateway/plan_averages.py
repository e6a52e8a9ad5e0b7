"""What a station's averages weigh: some windows of them are made by the fold that makes the real ones. No
I/O.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from alerts.air_quality import PARTICLES, UNIT
from gateway.averages import GRACE_S, AveragesFold
from gateway.averages_air import HOUR_S
from gateway.config import Send, Station
from gateway.model import Average, Reading, Record, Stamp
from gateway.plan_card import Weight
from gateway.plan_traffic import DAY_S, samples

WINDOWS = 6
READINGS = 23
"""In a window of the examples: enough to make sums as long as they get, and no mean a short decimal."""
START_MS = 1_795_428_000_000
OPTICAL = ("plantower", "sds011", "sps30")
"""Low-cost counters of light: their ug/m3 are the maker's guess at the dust's density and shape."""
UNCORRECTED = "not corrected beside a reference: a hint, no measurement (docs/quality.md)"


def lengths_s(sends: Iterable[Send]) -> tuple[float, ...]:
    """The lengths of the averages that a sink asks for, the shortest first."""
    return tuple(sorted({send.length_s for send in sends if send.kind == "average"}))


def windows_a_day(lengths: Sequence[float]) -> float:
    return sum(DAY_S / length_s for length_s in lengths)


@dataclass(frozen=True, slots=True)
class Averages:
    """The averages of all lengths that any sink asks for. `examples` holds one of each sensor."""

    a_day: float
    weight: Weight
    """In the journal, with what the fold remembers at each."""
    examples: tuple[Record, ...]


def air_lines(station: Station) -> list[str]:
    """Which sensors have an air quality index, and what it is worth."""
    sinks = [sink for sink in (station.mqtt, station.influxdb) if sink is not None]
    lengths = {float(HOUR_S), DAY_S} & set(lengths_s(send for sink in sinks for send in sink.send))
    if not lengths or (station.average is not None and station.average.aqi == "none"):
        return []
    lines = []
    for sensor in station.sensors:
        have = {q.name for q in station.quantities[sensor.id] if q.unit == UNIT} & set(PARTICLES)
        if sensor.medium == "air" and have:
            when = " and ".join(w for w, of_s in (("hourly", HOUR_S), ("daily", DAY_S)) if of_s in lengths)
            lines.append(f"  {'AQI of ' + sensor.id:<32}{when:>9}")
            doubted = have - set(sensor.correct) if sensor.model in OPTICAL else set()
            lines += [f"    {name}: {UNCORRECTED}" for name in PARTICLES if name in doubted]
    return lines


def averages(station: Station) -> Averages:
    """Work it out. Takes some milliseconds for a station of ten instruments."""
    sinks = [sink for sink in (station.mqtt, station.influxdb) if sink is not None]
    lengths = lengths_s(send for sink in sinks for send in sink.send)
    if not lengths:
        return Averages(0.0, Weight(0.0, 0.0, 0.0), ())
    aqi = station.average is None or station.average.aqi != "none"
    fold = AveragesFold(lengths, {s.id: lengths[0] / READINGS for s in station.sensors}, aqi=aqi)
    streams = {s.id: iter(samples(station, s, WINDOWS * READINGS)) for s in station.sensors}
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    encode = msgspec.json.Encoder().encode
    sizes: list[Weight] = []
    given: list[Record] = []

    def pack(lines: Sequence[object]) -> int:
        size = len(deflate.compress(b"".join(encode(line) + b"\n" for line in lines)))
        return size + len(deflate.flush(zlib.Z_SYNC_FLUSH))

    # Windows of sensors with a spike test wait for its verdict: what the fold remembers is kept twice then.
    commits = len({any(e.spike for e in sensor.expect.values()) for sensor in station.sensors})
    for number in range(WINDOWS):
        ms = int(number * lengths[0] * 1000)
        for i in range(READINGS):
            if i == 2 and number:  # the window before ends while this one has begun
                derived = fold.tick(_stamp(ms + int(GRACE_S * 1000)))
                given = [Record(1_000_000 + i, body) for i, body in enumerate(derived)]
                note = {"fold": ["averages", fold.save().decode()]}
                own, notes = pack(given), commits * pack([note])
                text = sum(len(encode(line)) for line in given)
                sizes.append(Weight(own + notes, text, own))
            at = _stamp(ms + int(lengths[0] * 1000 * i / READINGS))
            for stream in streams.values():
                body = next(stream).body
                if isinstance(body, Reading):
                    fold.step(Record(1, replace(body, at=at)))
                    pack([Record(1_000_000 + i, replace(body, at=at))])  # what is between them is not alike
    examples = [r for r in given if isinstance(r.body, Average) and r.body.length_s == lengths[0]]
    usual, windows = sizes[-1], windows_a_day(lengths)  # the first ones still fill the dictionary
    weight = Weight(windows * usual.tail, windows * usual.text, windows * usual.block)
    return Averages(windows * len(station.sensors), weight, tuple(examples))


def _stamp(ms: int) -> Stamp:
    return Stamp(START_MS + ms, "39e039a1", ms, True)
