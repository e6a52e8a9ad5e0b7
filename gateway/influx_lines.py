"""InfluxDB line protocol of records; see gateway.influx for what the lines look like. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.dating_release import uncertainty_ms
from gateway.model import Average, Event, Flag, Reading, Record, Stamp

DETAIL_LIMIT = 32 * 1024
"""Bytes of an event's detail; InfluxDB 1 takes strings up to 64 KB."""


class Lines:
    """Makes line protocol of records. Pure; keeps the escaped names."""

    def __init__(self, station: str) -> None:
        self._station = f",station={escaped(station)}"
        self._heads: dict[tuple[str, str], str] = {}
        self._fields: dict[str, tuple[str, str, str]] = {}

    @property
    def names(self) -> int:
        """How many names it keeps, of sensors and quantities."""
        return len(self._heads) + len(self._fields)

    def join(self, records: Iterable[Record]) -> bytes:
        """One line each; records without a number and a flag give none."""
        lines = []
        for record in records:
            body = record.body
            if isinstance(body, Reading):
                line = self.reading(body)
            elif isinstance(body, Average):
                line = self.average(body)
            else:
                line = self.event(record.seq, body)
            if line:
                lines.append(line)
        return "\n".join(lines).encode("utf-8", "replace")

    def reading(self, reading: Reading) -> str:
        """The line of a reading, in ms; "" when it holds no value. What is no number gets flag 9 alone."""
        key = (reading.medium, reading.sensor)
        head = self._heads.get(key)
        if head is None:
            head = f"{_measurement(reading.medium)}{self._station}{_tag_if('sensor', reading.sensor)} "
            self._heads[key] = head
        known = self._fields
        fields = [] if reading.at.synced else _unsure(reading.at)
        for name, v in reading.values.items():
            try:
                value_is, raw_is, flag_is = known[name]
            except KeyError:
                value_is, raw_is, flag_is = self._name(name)
            fields.append(f"{value_is}{v.value!r}{raw_is}{v.raw!r}{flag_is}{v.flag}i")
        if not reading.values:
            return ""
        line = f"{head}{','.join(fields)} {reading.at.utc_ms}"
        # Looking at the text once costs less than at each number; a name with these letters only costs time.
        return self._without_nan(head, reading) if "nan" in line or "inf" in line else line

    def average(self, average: Average) -> str:
        """The line of an average, in ms (see the module's head)."""
        where = _measurement(f"{average.medium}_{_length(average.length_s)}")
        fields = [] if average.at.synced else _unsure(average.at)
        for name, m in average.values.items():
            key = escaped(name)
            if m.mean is not None and math.isfinite(m.mean):
                fields.append(f"{key}={m.mean!r}")
            if m.minimum is not None and m.maximum is not None:
                fields.append(f"{key}_min={m.minimum!r},{key}_max={m.maximum!r}")
            fields.append(f"{key}_n={m.used}i,{key}_of={m.expected}i,{key}_flag={m.flag}i")
        fields.append(f"revision={average.revision}i")
        head = f"{where}{self._station}{_tag_if('sensor', average.sensor)}"
        return f"{head} {','.join(fields)} {average.start_ms}"

    def event(self, seq: int, event: Event) -> str:
        """The line of an event, in ns (see the module's head)."""
        detail = event.detail
        head = f"{'alarm' if event.what == 'alarm' else 'event'}{self._station}"
        sensor = detail.get("sensor")
        if isinstance(sensor, str):
            head += _tag_if("sensor", sensor)
        text = msgspec.json.encode(detail)
        if len(text) > DETAIL_LIMIT:
            text = msgspec.json.encode({"too_long_bytes": len(text)})
        fields = [f"what={_string(event.what)}", f"detail={_string(text.decode())}", f"seq={seq}i"]
        if event.what == "alarm":
            known = {"rule": "rule", "state": "to", "quantity": "quantity", "priority": "priority"}
            fields += [f"{name}={_string(str(detail[key]))}" for name, key in known.items() if key in detail]
            fields += _numbers(detail, value=1e300, limit=1e300)
        elif event.what == "started":
            fields += _numbers(detail, latitude=90.0, longitude=180.0)
            if isinstance(detail.get("name"), str):
                fields.append(f"name={_string(detail['name'][:200])}")
        line = f"{head} {','.join(fields)} {event.at.utc_ms * 1_000_000 + seq % 1_000_000}"
        return f"{line}\n{self._corrected(detail)}" if event.what == "flagged" else line

    def _corrected(self, detail: dict[str, Any]) -> str:
        """The line that puts another flag on one value of a point; see gateway.qc_spike."""
        point = f"{_measurement(detail['medium'])}{self._station}{_tag_if('sensor', detail['sensor'])}"
        return f"{point} {escaped(detail['quantity'])}_flag={detail['flag']}i {detail['time_ms'] * 1_000_000}"

    def _without_nan(self, head: str, reading: Reading) -> str:
        fields = [] if reading.at.synced else _unsure(reading.at)
        for name, v in reading.values.items():
            value_is, raw_is, flag_is = self._fields[name]
            if math.isfinite(v.value) and math.isfinite(v.raw):
                fields.append(f"{value_is}{v.value!r}{raw_is}{v.raw!r}{flag_is}{v.flag}i")
            else:
                fields.append(f"{escaped(name)}_flag={Flag.MISSING.value}i")
        return f"{head}{','.join(fields)} {reading.at.utc_ms}"

    def _name(self, name: str) -> tuple[str, str, str]:
        key = escaped(name)
        made = self._fields[name] = (f"{key}=", f",{key}_raw=", f",{key}_flag=")
        return made


def _numbers(detail: dict[str, Any], **highest: float) -> list[str]:
    """Fields that dashboards ask for, as floats: a field that once was an integer takes no float any more."""
    return [
        f"{key}={float(number)!r}"
        for key, most in highest.items()
        if isinstance(number := detail.get(key), int | float)
        and not isinstance(number, bool)
        and -most <= number <= most
    ]


def _unsure(at: Stamp) -> list[str]:
    return [f"uncertainty_ms={uncertainty_ms(at)}i"]


# Escapes: InfluxDB line protocol reference, "Special characters". A backslash before one of these, or at the
# end of a name, cannot be said (InfluxDB 1.6.7 refuses the line), and a line break in a name neither.
_TAG = str.maketrans({",": "\\,", " ": "\\ ", "=": "\\=", "\\": "/", "\n": "\\ ", "\r": "\\ ", "\t": "\\ "})
_MEASUREMENT = {**_TAG, ord("="): "="}
_STRING = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": " ", "\r": " "})


def _length(length_s: int) -> str:
    """The length of an average's window, as its measurement says it: 1min, 10min, 1h, 24h."""
    return f"{length_s // 3600}h" if length_s % 3600 == 0 else f"{length_s // 60}min"


def _measurement(text: str) -> str:
    return text.lstrip("#").translate(_MEASUREMENT) or "_"


def escaped(text: str) -> str:
    """The text as a tag, or as the name of a field."""
    return text.translate(_TAG) or "_"


def _tag_if(key: str, text: str) -> str:
    return f",{key}={escaped(text)}" if text else ""


def _string(text: str) -> str:
    return f'"{text.translate(_STRING)}"'
