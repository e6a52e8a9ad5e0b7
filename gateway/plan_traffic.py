"""What a station's records weigh on the way to a broker or a database. No I/O.

Nothing here is a rule of thumb: example readings of the station's own instruments are encoded by the code
that encodes the real ones, and what carries them is counted:

    MQTT       PUBLISH (head, topic, packet id, payload), PUBACK              MQTT 5, 3.3 and 3.4
    InfluxDB   request and answer head, gzip of the lines                     measured, see HEADS
    TLS 1.3    22 bytes a record: head 5, content type 1, tag 16              RFC 8446, 5.1 and 5.2
    TCP/IPv4   52 bytes a packet: IP 20, TCP 20, timestamps 12; a batch costs the packets of its data, one
               with the answer, and one that only acknowledges
"""

from __future__ import annotations

import gzip
import math
import random
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from drivers.base import Quantity
from gateway.config import Sensor, Station
from gateway.influx import Lines
from gateway.model import Average, Reading, Record, Stamp, Value
from gateway.mqtt import STATUS_S
from gateway.mqtt_messages import StatusMessage, average_json, encode, reading_json
from gateway.mqtt_pack import PACKED_STATUS_S

DAY_S = 86400.0
PUBACK_BYTES = 5
"""4 when somebody has subscribed; a byte more says that nobody has (MQTT 5, 3.4.2.1: 0x10)."""
PACKET_BYTES = 52
SEGMENT_BYTES = 1400
TLS_BYTES = 22
HEADS = {1: 251 + 252, 2: 375 + 252, 3: 375 + 252}
"""Bytes of request and answer head by version: the request as our sink sends it, InfluxDB 1.6.7's answer."""
LIVE_HEADS = 241 + 250
"""The request, measured, with a token of Grafana's usual 46 letters; the answer assumed: none was at hand."""

TYPICAL = {
    "ph": 7.4, "orp": 210.0, "turbidity": 38.0, "conductivity": 480.0, "dissolved_oxygen": 9.2, "level": 1.2,
    "water_temperature": 11.0, "air_temperature": 14.0, "pm1": 9.0, "pm2_5": 17.0, "pm4": 21.0, "pm10": 26.0,
    "humidity": 55.0, "pressure": 840.0, "voltage": 12.9, "charge": 80.0,
    "n0_3": 400.0, "n0_5": 200.0, "n1_0": 100.0, "n2_5": 60.0, "n4_0": 40.0, "n5_0": 5.0, "n10": 2.0,
}  # fmt: skip
"""Values to encode; one that is not named here is 10."""
_DUST = re.compile(r"pm\d|n\d")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes a day: what the protocol itself says, and what TLS and TCP/IP add to carry it."""

    messages: float
    payload: float
    carriage: float

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.messages + other.messages, self.payload + other.payload, self.carriage + other.carriage
        )

    @property
    def month_mb(self) -> float:
        return (self.payload + self.carriage) * 30 / 1e6


def samples(station: Station, sensor: Sensor, count: int, dust_spread: float = 0.0) -> list[Record]:
    """Readings of one sensor as they will be: its quantities, a wandering value, as many digits as it has.

    An instrument on a bus gives 32-bit floats, which are written with all their digits. `dust_spread`: by how
    much of its value a dust sensor's next one differs, for what depends on it.
    """
    chance = random.Random(sensor.id)
    model = sensor.model
    made = []
    at_ms = 1_795_428_000_000
    wander: dict[str, float] = {}
    for number in range(count):
        values = {}
        for q in station.quantities[sensor.id]:
            usual = TYPICAL.get(q.name, 10.0)
            spread = max(2.0 * 10**-q.digits, dust_spread * usual if _DUST.match(q.name) else 0.0)
            wander[q.name] = 0.9 * wander.get(q.name, 0.0) + chance.gauss(0.0, spread)
            raw = _as_sent(usual + wander[q.name], q, sensor.bus is not None)
            values[q.name] = Value(raw, raw, q.unit, 1 if q.name in sensor.expect else 2)
        at = Stamp(
            at_ms + int(number * sensor.every_s * 1000) + chance.randrange(40),
            "39e039a1",
            1000 * number,
            True,
        )
        made.append(Record(1_000_000 + number, Reading(sensor.id, model, sensor.medium or "", at, values)))
    return made


def _as_sent(value: float, quantity: Quantity, float32: bool) -> float:
    if float32:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    return round(value, quantity.digits)


def moments(station: Station, step_s: float) -> list[tuple[Sensor, ...]]:
    """Which sensors are read together in each step of an hour that has any: what one commit holds."""
    found: dict[int, list[Sensor]] = {}
    for sensor in station.sensors:
        for number in range(math.ceil(3600 / sensor.every_s)):
            found.setdefault(int(number * sensor.every_s / step_s), []).append(sensor)
    return [tuple(found[moment]) for moment in sorted(found)]


def readings_a_day(station: Station) -> float:
    return sum(DAY_S / sensor.every_s for sensor in station.sensors)


def mqtt(station: Station, *, tls: bool, embedded: bool = False, readings: bool = True) -> Traffic:
    """What the readings (if they are sent) and the status message weigh by MQTT. Events come on top; they
    are few.
    """
    messages = [
        (DAY_S / sensor.every_s, publish_bytes(topic(station, sensor), payload(station, sensor)))
        for sensor in (station.sensors if readings else ())
    ]
    batches = 24.0 * len(moments(station, station.journal.commit_s)) if readings else 0.0
    said = sum(a_day * (size + PUBACK_BYTES) for a_day, size in messages)
    own = Traffic(
        sum(a_day for a_day, _ in messages), said, 0.0 if embedded else carriage(said, batches, tls)
    )
    return own + status(station, tls=tls, embedded=embedded)


def status(station: Station, *, tls: bool, embedded: bool = False) -> Traffic:
    """What the status message weighs by MQTT."""
    own = station.mqtt
    every_s = STATUS_S if own is None else own.status_s or (PACKED_STATUS_S if own.pack_s else STATUS_S)
    a_day = DAY_S / every_s
    size = publish_bytes(f"suuaba/1/{station.id}/status", encode(example_status(station)))
    said = a_day * (size + PUBACK_BYTES)
    return Traffic(a_day, said, 0.0 if embedded else carriage(said, a_day, tls))


def mqtt_averages(
    station: Station, examples: Sequence[Record], windows_a_day: float, *, tls: bool, embedded: bool = False
) -> Traffic:
    """What averages weigh by MQTT, so many windows a day of each instrument; a window's come together."""
    said = windows_a_day * sum(
        PUBACK_BYTES
        + publish_bytes(
            f"suuaba/1/{station.id}/average/{r.body.sensor}", average_json(station.id, r.seq, r.body)
        )
        for r in examples
        if isinstance(r.body, Average)
    )
    return Traffic(
        windows_a_day * len(examples), said, 0.0 if embedded else carriage(said, windows_a_day, tls)
    )


def topic(station: Station, sensor: Sensor) -> str:
    return f"suuaba/1/{station.id}/reading/{sensor.id}"


def payload(station: Station, sensor: Sensor) -> bytes:
    """A reading's payload; of several examples the one in the middle by length."""
    return sorted((reading(station, record) for record in samples(station, sensor, 15)), key=len)[7]


def reading(station: Station, record: Record) -> bytes:
    """The payload of one example."""
    return reading_json(station.id, record.seq, record.body) if isinstance(record.body, Reading) else b""


def publish_bytes(topic: str, payload: bytes) -> int:
    """The length of a PUBLISH at QoS 1 without properties (MQTT 5: one byte says that there are none)."""
    rest = 2 + len(topic.encode()) + 2 + 1 + len(payload)
    return 1 + (1 if rest < 128 else 2 if rest < 16384 else 3) + rest


def example_status(station: Station) -> StatusMessage:
    """The status message of a station that has been well for a day."""
    sensors = {
        sensor.id: {
            "state": "alive",
            "expected": int(DAY_S / sensor.every_s),
            "taken": int(DAY_S / sensor.every_s),
            "failed": 0,
            "not_ready": 0,
            "skipped": 0,
        }
        for sensor in station.sensors
    }
    sinks = {name: {"backlog": 0} for name in ("mqtt", "influxdb") if getattr(station, name) is not None}
    clock = {"synced": True, "source": "ntp", "held": 0}
    health = {"sensors": sensors, "sinks": sinks, "seq": 1_000_000, "clock": clock}
    return StatusMessage("online", station.id, "2026-11-23T10:00:00.000Z", health=health)


def influxdb(station: Station, *, version: int, tls: bool) -> Traffic:
    """What the readings weigh as compressed lines: one request for each commit that holds any."""
    together = moments(station, station.journal.commit_s)
    lines = Lines(station.id)
    examples = {sensor.id: samples(station, sensor, 8) for sensor in station.sensors}
    bodies: dict[tuple[str, ...], float] = {}
    said = 0.0
    for sensors in together:
        kind = tuple(sorted(sensor.id for sensor in sensors))
        if kind not in bodies:
            packed = [gzip.compress(lines.join(_take(kind, examples, n)), 1) for n in range(8)]
            bodies[kind] = sum(map(len, packed)) / len(packed)
        said += bodies[kind] + HEADS[version]
    said *= 24.0
    batches = 24.0 * len(together)
    return Traffic(batches, said, carriage(said, batches, tls))


def grafana_live(station: Station, *, tls: bool) -> Traffic:
    """What Grafana Live is shown: the lines of each commit as they are, one request each."""
    lines = Lines(station.id)
    weights = {
        sensor.id: fmean(len(lines.join([record])) + 7 for record in samples(station, sensor, 8))
        for sensor in station.sensors
    }  # 7: the zeros of nanoseconds, and the end of the line
    batches = 24.0 * len(moments(station, station.journal.commit_s))
    said = batches * LIVE_HEADS + sum(DAY_S / s.every_s * weights[s.id] for s in station.sensors)
    return Traffic(batches, said, carriage(said, batches, tls))


def influxdb_averages(
    station: Station, examples: Sequence[Record], windows_a_day: float, *, version: int, tls: bool
) -> Traffic:
    """What averages weigh as compressed lines: one request for each window."""
    said = windows_a_day * (len(gzip.compress(Lines(station.id).join(examples), 1)) + HEADS[version])
    return Traffic(windows_a_day, said, carriage(said, windows_a_day, tls))


def _take(kind: Sequence[str], examples: Mapping[str, list[Record]], number: int) -> Iterable[Record]:
    seen: dict[str, int] = {}
    for sensor in kind:
        seen[sensor] = seen.get(sensor, -1) + 1
        yield examples[sensor][(number + seen[sensor]) % 8]


def pings(a_day: float, *, tls: bool, embedded: bool = False) -> Traffic:
    """What keeps a silent connection alive: PINGREQ, PINGRESP, and one packet that acknowledges."""
    return Traffic(
        0.0, 4.0 * a_day, 0.0 if embedded else a_day * (3 * PACKET_BYTES + (2 * TLS_BYTES if tls else 0))
    )


def carriage(said: float, batches: float, tls: bool) -> float:
    """What TLS and TCP/IP add to so many bytes, in so many batches."""
    packets = max(batches, said / SEGMENT_BYTES) + 2 * batches
    return packets * PACKET_BYTES + (2 * TLS_BYTES * batches if tls else 0.0)
