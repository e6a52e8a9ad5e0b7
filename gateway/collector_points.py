"""From a message of a station to lines for the database. Pure; every message is hostile until it is read.

    suuaba/1/kyia-1/reading/ph1   {"station":"kyia-1","seq":18231,"time":"2026-11-23T10:00:00.000Z", …}
    water,station=kyia-1,sensor=ph1 ph=7.1,ph_raw=7.12,ph_flag=1i 1795428000000000000

The lines are those that the station itself would have written (gateway.influx_lines), in ns throughout. A
broker lets a station publish under its own topics only; so the topic says who speaks, and a message that
names another station or sensor is refused: else one station could write the numbers of another.
"""

from __future__ import annotations

import calendar
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from gateway.collector_account import SEQ_LIMIT, Claim, claim_of
from gateway.dating_release import DatedStamp
from gateway.influx_lines import Lines
from gateway.model import Average, Event, Flag, Mean, Reading, Stamp, Value
from gateway.mqtt_messages import (
    AlarmMessage,
    AverageMessage,
    EventMessage,
    MeanMessage,
    ReadingMessage,
    StatusMessage,
    ValueMessage,
    level,
)
from gateway.mqtt_pack import Unpackable, unpack

ROOT = "suuaba/1/"
VALUES_LIMIT = 500
NAME_LIMIT = 200
NAMES_LIMIT = 2000
"""Sensors and quantities of one station, a day: each new one is a new series, which costs the database memory
for ever. What makes up more is set aside.
"""
NAMES_FOR_MS = 86_400_000
STATIONS_LIMIT = 200_000
"""Stations that are remembered; a broker without rights lets anybody make up names."""
YEARS = (2015, 2100)
"""No station measured before, and what says it was measured later has no clock."""
MEDIA = frozenset({"water", "air", "soil", "power", "station"})
CLAIMS_KEPT = 60
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_INTEGERS = ("_flag", "_n", "_of")
_OURS = frozenset({"revision", "uncertainty_ms", "time", "station", "sensor"})
"""Names of our own integer fields. A quantity called so would make the field a float, and where it is the
first of the week (a shard) the database would refuse the readings of every other station.
"""
_FLAGS = frozenset(int(flag) for flag in Flag)
FLAGS_KEPT = 100_000
"""Corrected flags remembered, so that a reading that comes once more does not undo them."""


class Poison(Exception):
    """A message that can never be written; says why, in one line."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a message means: `lines` in ns (none for a status), and which record it was (seq 0: none)."""

    station: str
    kind: str
    seq: int = 0
    lines: str = ""


@dataclass(slots=True)
class Standing:
    """What is known of a station from its status, and when it was heard last."""

    state: str = "unknown"
    why: str = ""
    heard_ms: int = 0
    backlog: int = 0
    clock: str = ""
    claims: list[Claim] = field(default_factory=list)
    """What it said it has handed over, the latest last."""
    every_s: float = 0.0
    """How rarely it sends, where it packs."""
    head: dict[str, Any] = field(default_factory=dict)
    """The last head of its evidence chain that it published: a witness, kept by others than the station."""


class Points:
    """Reads messages. Keeps what it knows of the stations, and the flags that were corrected lately."""

    def __init__(self) -> None:
        self.standing: dict[str, Standing] = {}
        self._lines: dict[str, Lines] = {}
        self._names: dict[str, tuple[set[str], int]] = {}
        self._now_ms = 0
        self._second: tuple[str, int] = ("", 0)
        self._flags: dict[tuple[str, str, str, int], int] = {}

    def parts(self, topic: str, payload: bytes) -> Iterator[tuple[str, bytes]]:
        """The message, or what is packed in it, in order. Raises Poison, perhaps behind some good ones."""
        if not topic.endswith("/packed"):
            yield topic, payload
            return
        station, _, _ = _topic(topic)
        try:
            for below, message in unpack(payload):
                yield f"{ROOT}{station}/{below}", message
        except Unpackable as e:
            raise Poison(f"packed: {e}") from None

    def take(self, topic: str, payload: bytes, now_ms: int) -> Taken:
        """Raises Poison."""
        station, kind, name = _topic(topic)
        standing = self.standing.get(station)
        if standing is None:
            if len(self.standing) >= STATIONS_LIMIT:
                raise Poison(f"more than {STATIONS_LIMIT} stations")
            standing = self.standing[station] = Standing()
        standing.heard_ms = self._now_ms = now_ms
        try:
            match kind:
                case "packed":
                    raise Poison("a pack within a pack")
                case "again" | "doctor":
                    return Taken(
                        station, kind
                    )  # a collector's request, a station's own test: nothing to keep
                case "reading":
                    return self._reading(station, name, payload)
                case "average":
                    return self._average(station, name, _AVERAGE.decode(payload))
                case "event":
                    return self._event(station, _EVENT.decode(payload), standing)
                case "alarm":
                    return self._alarm(station, name, payload)
            return self._status(station, payload, standing)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise Poison(f"{kind}: {str(e)[:200]}") from None

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _reading(self, station: str, sensor: str, payload: bytes) -> Taken:
        message = _READING.decode(payload)
        _same(station, message.station, message.seq, sensor, message.sensor)
        _sound(message.medium, message.sensor, message.values)
        self._count(station, message.sensor, *message.values)
        at = self._stamp(message.time, message.uncertainty_ms)
        if b"null" in payload:  # a number that the station does not have
            values = {
                q: Value(
                    math.nan if v.raw is None else v.raw, math.nan if v.value is None else v.value, "", v.flag
                )
                for q, v in message.values.items()
            }
        else:
            # The same fields as a Value's; a copy would double the cost.
            values = cast("dict[str, Value]", message.values)
        for quantity in message.values if self._flags else ():
            flag = self._flags.get((station, message.sensor, quantity, at.utc_ms))
            if flag is not None:
                v = values[quantity]
                values[quantity] = Value(v.raw, v.value, "", flag)
        reading = Reading(message.sensor, "", message.medium, at, values)
        return Taken(station, "reading", message.seq, f"{self._of(station).reading(reading)}000000")

    def _average(self, station: str, sensor: str, message: AverageMessage) -> Taken:
        _same(station, message.station, message.seq, sensor, message.sensor)
        _sound(message.medium, message.sensor, message.values)
        self._count(station, message.sensor, *message.values)
        length_s = message.length_s
        if not 0 < length_s <= 86400 or length_s % 60 or 86400 % length_s:  # as [mqtt] send allows
            raise Poison(f"an average over {length_s} s")
        if not -SEQ_LIMIT < message.revision < SEQ_LIMIT:
            raise Poison(f"{message.revision} is no revision")
        for mean in message.values.values():
            if not (0 <= mean.n < 2**53 and 0 <= mean.of < 2**53):
                raise Poison("an average of so many values cannot be")
        average = Average(
            message.sensor,
            "",
            message.medium,
            self._stamp(message.end, message.uncertainty_ms),
            self._ms(message.start),
            message.length_s,
            {q: Mean(m.mean, m.minimum, m.maximum, m.n, m.of, "", m.flag) for q, m in message.values.items()},
            message.revision,
        )
        return Taken(station, "average", message.seq, f"{self._of(station).average(average)}000000")

    def _event(self, station: str, message: EventMessage, standing: Standing) -> Taken:
        _same(station, message.station, message.seq)
        detail = message.detail
        if message.what == "chain_head":
            standing.head = detail
        what = message.what[:NAME_LIMIT]
        if what == "flagged":
            if _can_be_flagged(detail):
                key = (station, detail["sensor"], detail["quantity"], detail["time_ms"])
                self._flags[key] = detail["flag"]
                if len(self._flags) > FLAGS_KEPT:
                    del self._flags[next(iter(self._flags))]
            else:
                what = "flagged?"  # said, and nothing is changed by it
        return self._said(station, message.seq, Event(self._stamp(message.time), what, detail))

    def _alarm(self, station: str, rule: str, payload: bytes) -> Taken:
        if not payload:
            return Taken(station, "alarm")  # somebody cleared a retained state
        message = _ALARM.decode(payload)
        _same(station, message.station, message.seq, rule, message.rule)
        return self._said(station, message.seq, Event(self._stamp(message.time), "alarm", message.detail))

    def _said(self, station: str, seq: int, event: Event) -> Taken:
        sensor = event.detail.get("sensor")
        if isinstance(sensor, str) and sensor:
            _named(sensor)
            self._count(station, sensor)
        return Taken(station, "event", seq, self._of(station).event(seq, event))

    def _status(self, station: str, payload: bytes, standing: Standing) -> Taken:
        if payload:
            message = _STATUS.decode(payload)
            _same(station, message.station, 1)
            standing.state, standing.why = message.state, message.why[:200]
            health = message.health
            if (claim := claim_of(health)) is not None and claim not in standing.claims[-1:]:
                standing.claims.append(claim)
                del standing.claims[:-CLAIMS_KEPT]
            sink = _inside(health, "sinks", "mqtt")
            backlog, every_s = sink.get("backlog"), sink.get("every_s")
            standing.backlog = backlog if isinstance(backlog, int) else 0
            standing.every_s = min(max(every_s, 0.0), 86400.0) if isinstance(every_s, int | float) else 0.0
            clock = _inside(health, "clock")
            standing.clock = str(clock.get("doubt") or ("synced" if clock.get("synced") else "unsynced"))[
                :100
            ]
        return Taken(station, "status")

    def _count(self, station: str, *names: str) -> None:
        """Raises Poison for a station that makes up names for ever."""
        known, since_ms = self._names.get(station, (None, 0))
        if known is None or self._now_ms - since_ms > NAMES_FOR_MS:
            known = set()
            self._names[station] = (known, self._now_ms)
        if not known.issuperset(names):
            if len(known) + len(names) > NAMES_LIMIT:
                raise Poison(f"more than {NAMES_LIMIT} names of sensors and quantities in a day")
            known.update(names)

    def _of(self, station: str) -> Lines:
        lines = self._lines.get(station)
        if lines is None or lines.names > 2 * NAMES_LIMIT:
            lines = self._lines[station] = Lines(station)
        return lines

    def _stamp(self, when: str, uncertainty_ms: int | msgspec.UnsetType = msgspec.UNSET) -> Stamp:
        """Raises Poison."""
        if isinstance(uncertainty_ms, int):
            if uncertainty_ms >= SEQ_LIMIT:
                raise Poison(f"{uncertainty_ms} ms of uncertainty cannot be")
            return DatedStamp(self._ms(when), "", 0, False, "dated", uncertainty_ms)
        return Stamp(self._ms(when), "", 0, True)

    def _ms(self, text: str) -> int:
        """Milliseconds of 2026-11-23T10:00:00.000Z. Raises Poison."""
        second = text[:19]
        if second != self._second[0]:
            try:
                parsed_s = calendar.timegm(time.strptime(second, "%Y-%m-%dT%H:%M:%S"))
            except ValueError:
                raise Poison(f"{text[:40]!r} is no time") from None
            if not YEARS[0] <= int(second[:4]) < YEARS[1]:
                raise Poison(f"{text} cannot be the time of a measurement")
            self._second = (second, parsed_s)
        return self._second[1] * 1000 + int(text[20:23])


_READING = msgspec.json.Decoder(ReadingMessage)
_AVERAGE = msgspec.json.Decoder(AverageMessage)
_EVENT = msgspec.json.Decoder(EventMessage)
_ALARM = msgspec.json.Decoder(AlarmMessage)
_STATUS = msgspec.json.Decoder(StatusMessage)
_NAMED = {"reading": True, "average": True, "event": False, "alarm": True, "status": False}
_NAMED |= {"again": False, "doctor": False, "packed": False}


def _topic(topic: str) -> tuple[str, str, str]:
    """Station, kind and name of a topic. Raises Poison."""
    words = topic.split("/")
    kind_at = 4 if len(words) > 4 and words[3] == "backfill" else 3
    kind = words[kind_at] if len(words) > kind_at else ""
    if not topic.startswith(ROOT) or not words[2] or len(words) != kind_at + 1 + _NAMED.get(kind, False):
        raise Poison(f"{topic[:100]!r} is no topic of a station")
    if kind not in _NAMED or _ID.fullmatch(words[2]) is None:
        raise Poison(f"{topic[:100]!r} is no topic of a station")
    return words[2], kind, words[kind_at + 1] if _NAMED[kind] else ""


def _same(station: str, said: str, seq: int, name: str = "", said_name: str = "") -> None:
    """Whether the message speaks of what its topic speaks of. Raises Poison."""
    if said != station and level(said) != station:
        raise Poison(f"the topic says station {station[:50]!r}, the message {said[:50]!r}")
    if said_name != name and level(said_name) != name:
        raise Poison(f"the topic says {name[:50]!r}, the message {said_name[:50]!r}")
    if not 0 < seq < SEQ_LIMIT:
        raise Poison(f"{seq} is no sequence number")


def _sound(medium: str, sensor: str, quantities: Mapping[str, ValueMessage | MeanMessage]) -> None:
    """Raises Poison for what InfluxDB would not take, or should not."""
    if medium not in MEDIA:
        raise Poison(f"medium {medium[:30]!r} is none of {', '.join(sorted(MEDIA))}")
    if not 0 < len(quantities) <= VALUES_LIMIT:
        raise Poison(f"{len(quantities)} values in one message")
    _named(sensor)
    for quantity, value in quantities.items():
        if value.flag not in _FLAGS:
            raise Poison(f"{quantity[:50]!r} has a flag that there is not")
        if not quantity.isidentifier() or len(quantity) > NAME_LIMIT:
            _named(quantity)
        if quantity.endswith(_INTEGERS) or quantity in _OURS:
            raise Poison(f"a quantity cannot be called {quantity[:50]!r}: our own fields are")


def _named(text: str) -> None:
    if not 0 < len(text) <= NAME_LIMIT or not text.isprintable():
        raise Poison(f"{text[:50]!r} is no name")


def _can_be_flagged(detail: Mapping[str, Any]) -> bool:
    """Whether an event says what a corrected flag needs; see gateway.qc_spike."""
    names = (detail.get("sensor"), detail.get("quantity"))
    at_ms = detail.get("time_ms")
    return (
        all(isinstance(name, str) and 0 < len(name) <= NAME_LIMIT and name.isprintable() for name in names)
        and detail.get("medium") in MEDIA
        and detail.get("flag") in set(Flag)
        and isinstance(at_ms, int)
        and 0 < at_ms < 10**13
    )


def _inside(found: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
