"""What the station publishes by MQTT, as structs; their JSON and docs/schema/ are both made from these
definitions.

    {"station":"kyia-1","seq":18231,"time":"2026-11-23T10:00:00.000Z","sensor":"ph1","model":"yosemitech-y532",
     "medium":"water","values":{"ph":{"raw":7.12,"value":7.1,"unit":"pH","flag":1}},"calibration":4,"clock":"synced"}

Pure: no I/O. JSON has no NaN and no infinity: such a number is published as null with flag 9 (missing).
"""

from __future__ import annotations

import math
import re
import time
from typing import Annotated, Any, Literal

import msgspec

from gateway.dating_release import clock, uncertainty_ms
from gateway.model import Average, Event, Flag, Reading, Stamp

Clock = Annotated[
    Literal["synced", "dated", "estimated", "unsynced"],
    msgspec.Meta(
        description="how the time is known: by a right clock; by the first right moment of the boot, later; "
        "from the boots before and after; not at all"
    ),
]
Uncertainty = Annotated[
    int, msgspec.Meta(ge=0, description="the true time is not further away; left out where clock is synced")
]
FlagNumber = Annotated[
    int,
    msgspec.Meta(
        description="QARTOD: 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing",
        extra_json_schema={"enum": [1, 2, 3, 4, 9]},
    ),
]
Time = Annotated[
    str,
    msgspec.Meta(
        description="UTC, ISO 8601 with milliseconds", pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"
    ),
]
Seq = Annotated[
    int,
    msgspec.Meta(ge=1, description="the journal's number: grows by one for every record, never used again"),
]


class ValueMessage(msgspec.Struct, omit_defaults=True):
    """One number: `raw` as the instrument said it, `value` corrected; both null when there is no number."""

    raw: float | None
    value: float | None
    unit: str
    flag: FlagNumber
    why: str = ""


class ReadingMessage(msgspec.Struct):
    """One answer of one instrument."""

    station: str
    seq: Seq
    time: Time
    sensor: str
    model: str
    medium: str
    values: dict[str, ValueMessage]
    calibration: int
    clock: Clock
    uncertainty_ms: Uncertainty | msgspec.UnsetType = msgspec.UNSET


class MeanMessage(msgspec.Struct, omit_defaults=True):
    """One quantity of an average: `n` values of the `of` expected were used; null where there were none."""

    mean: float | None
    minimum: float | None = msgspec.field(name="min")
    maximum: float | None = msgspec.field(name="max")
    n: int
    of: int
    unit: str
    flag: FlagNumber
    why: str = ""


class AverageMessage(msgspec.Struct):
    """The values of one instrument over one window, from `start` up to and without `end`.

    Late readings correct an average: it comes again with the same start and length and a higher revision.
    """

    station: str
    seq: Seq
    start: Time
    end: Time
    length_s: Annotated[
        int, msgspec.Meta(description="names the window; 86400 is the station's local day, by its clocks")
    ]
    sensor: str
    model: str
    medium: str
    values: dict[str, MeanMessage]
    revision: int
    clock: Clock
    uncertainty_ms: Uncertainty | msgspec.UnsetType = msgspec.UNSET


class EventMessage(msgspec.Struct):
    """Something that happened at the station."""

    station: str
    seq: Seq
    time: Time
    what: str
    detail: dict[str, Any]
    clock: Clock
    uncertainty_ms: Uncertainty | msgspec.UnsetType = msgspec.UNSET


class AlarmMessage(msgspec.Struct):
    """The present state of an alarm: `state` as ISA-18.2 names it, `detail` as the Event has it."""

    station: str
    seq: Seq
    time: Time
    rule: str
    state: str
    detail: dict[str, Any]
    clock: Clock
    uncertainty_ms: Uncertainty | msgspec.UnsetType = msgspec.UNSET


class StatusMessage(msgspec.Struct, omit_defaults=True):
    """Whether the station is there. As a last will it has no time: the broker publishes it."""

    state: Literal["online", "offline"]
    station: str
    time: Time | None = None
    why: str = ""
    health: dict[str, Any] = {}


class AgainMessage(msgspec.Struct):
    """To a station, on suuaba/1/STATION/again: send these once more, as far as the journal has them.

    From the centre, when what a broker had acknowledged did not come. At most 8 stretches and 10,000 numbers
    count, and one request a minute.
    """

    numbers: Annotated[
        list[tuple[Seq, Seq]],
        msgspec.Meta(max_length=1000, description="first and last number of each stretch"),
    ]


MESSAGES: dict[str, type[msgspec.Struct]] = {
    "reading": ReadingMessage,
    "average": AverageMessage,
    "event": EventMessage,
    "alarm": AlarmMessage,
    "status": StatusMessage,
    "again": AgainMessage,
}


def schemas() -> dict[str, str]:
    """The JSON Schema of each message as text, by the name of its file in docs/schema/."""
    made = {}
    for name, message in MESSAGES.items():
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(message)}
        made[f"{name}.schema.json"] = msgspec.json.format(encode(schema), indent=2).decode() + "\n"
    return made


encode = msgspec.json.Encoder().encode


def reading_json(station: str, seq: int, reading: Reading) -> bytes:
    """The payload of a reading. Raises ValueError for a time that no calendar has."""
    values = {q: ValueMessage(v.raw, v.value, v.unit, v.flag, v.why) for q, v in reading.values.items()}
    payload = _reading_json(station, seq, reading, values)
    if b"null" in payload:  # so msgspec writes NaN: such a number is missing, whatever its flag said
        for name, v in values.items():
            if not (_is_number(v.raw) and _is_number(v.value)):
                values[name] = ValueMessage(None, None, v.unit, Flag.MISSING.value, v.why or "not a number")
        payload = _reading_json(station, seq, reading, values)
    return payload


def average_json(station: str, seq: int, average: Average) -> bytes:
    """The payload of an average. Raises ValueError for a time that no calendar has."""
    at = average.at
    return encode(
        AverageMessage(
            station,
            seq,
            iso(average.start_ms),
            iso(at.utc_ms),
            average.length_s,
            average.sensor,
            average.model,
            average.medium,
            {
                q: MeanMessage(m.mean, m.minimum, m.maximum, m.used, m.expected, m.unit, m.flag, m.why)
                for q, m in average.values.items()
            },
            average.revision,
            clock(at),
            _uncertainty(at),
        )
    )


def event_json(station: str, seq: int, event: Event) -> bytes:
    """The payload of an event. Raises ValueError for a time that no calendar has, TypeError for what JSON
    cannot say.
    """
    at = event.at
    return encode(
        EventMessage(station, seq, iso(at.utc_ms), event.what, event.detail, clock(at), _uncertainty(at))
    )


def alarm_json(station: str, seq: int, event: Event) -> bytes:
    """The payload of an Event "alarm". Raises as `event_json` does."""
    at, detail = event.at, event.detail
    rule, state = str(detail.get("rule", "")), str(detail.get("to", ""))
    return encode(
        AlarmMessage(station, seq, iso(at.utc_ms), rule, state, detail, clock(at), _uncertainty(at))
    )


def iso(utc_ms: int) -> str:
    """UTC as ISO 8601 with milliseconds: 2026-11-23T10:00:00.000Z. Raises ValueError beyond the year 9999."""
    global _second
    second, ms = divmod(utc_ms, 1000)
    if second != _second[0]:
        if not -62_135_596_800 <= second <= 253_402_300_799:  # the years 1 and 9999
            raise ValueError(f"no calendar has {utc_ms} ms")
        t = time.gmtime(second)
        text = f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}T{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
        _second = (second, text)
    return f"{_second[1]}.{ms:03}Z"


_second = (0, "1970-01-01T00:00:00")  # readings come many to a second


def _is_number(number: float | None) -> bool:
    return number is not None and math.isfinite(number)


def _uncertainty(at: Stamp) -> int | msgspec.UnsetType:
    return msgspec.UNSET if at.synced else uncertainty_ms(at)


def _reading_json(station: str, seq: int, reading: Reading, values: dict[str, ValueMessage]) -> bytes:
    at = reading.at
    return encode(
        ReadingMessage(
            station,
            seq,
            iso(at.utc_ms),
            reading.sensor,
            reading.model,
            reading.medium,
            values,
            reading.calibration,
            clock(at),
            _uncertainty(at),
        )
    )


def level(text: str) -> str:
    """Text as one level of a topic: a wildcard, a separator or a control character becomes "-"."""
    return _NOT_IN_LEVEL.sub("-", text)[:200] or "-"


_NOT_IN_LEVEL = re.compile(r"[+#/\x00-\x1f\x7f-\x9f\ud800-\udfff]")
