"""The parts of station.toml as types: which keys there are, what they mean, and what they are when left out.

A key keeps its name; only where a value is turned into a unit does the field say so (`every` → `every_s`).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gateway import config_words as words
from gateway.config_alarms import Contact, Hours, Quiet, Rule, SecondModem, Sms, Tier
from gateway.config_calibration import Calibration, Correct
from gateway.config_part import Baudrate, Format, Id, Kind, Language, Medium, Pair, Part, Port
from gateway.config_words import Rate, Secret, shown

__all__ = [
    "ONCE", "SEVERAL", "Attenuated", "Averaging", "Bus", "Clock", "Contact", "Expect", "Flat", "General",
    "GrafanaLive", "Hours", "Influxdb", "Journal",
    "LineKeys", "Mqtt", "Part", "Quiet", "Rule", "SecondModem", "Send",
    "Sensor", "Sms", "Tier", "Web",
]  # fmt: skip


class General(Part):
    """[station]"""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,63}$")]
    name: Annotated[str, Field(max_length=200)] = ""
    timezone: str = "UTC"
    language: Language = "en"
    latitude: Annotated[float | None, words.number(-90, 90)] = None
    longitude: Annotated[float | None, words.number(-180, 180)] = None
    data: str | None = None


class Journal(Part):
    """[journal]: how long what was measured is kept, and what may be lost at most."""

    keep_s: Annotated[float, words.within("1 d", "4000 d")] = Field(400 * 86400.0, alias="keep")
    limit_bytes: Annotated[int, words.between("10 MB", "1000 GB")] = Field(10**9, alias="limit")
    commit_s: Annotated[float, words.within("50 ms", "60 s")] = Field(1.0, alias="commit")
    """What a killed process may lose at most."""
    sync_s: Annotated[float, words.within("50 ms", "10 min")] = Field(15.0, alias="sync")
    """What a power cut may lose at most."""


class Averaging(Part):
    """[average]: how averages are made, whatever sink asks for them."""

    complete_percent: Annotated[float, words.number(1, 100)] = Field(75.0, alias="complete")
    """Fewer of the expected values than this, and the average is flagged incomplete."""
    suspect: bool = False
    """Use values flagged SUSPECT as well."""
    ph: Literal["hydrogen", "arithmetic", "median"] = "hydrogen"
    """The mean of pH: of the hydrogen ions' activity, of the numbers, or the middle one."""
    aqi: Literal["us-2024", "none"] = "us-2024"
    """The air quality index that is derived from particles, and its NowCast."""


class Clock(Part):
    """[clock]: who says that the system clock is right, and how long readings wait for it."""

    source: Literal["ntp", "rtc", "trust", "modem"] = "ntp"
    """The kernel's word; a hardware clock's too; the owner's; or the mobile network's, by the SMS modem."""
    modem_time: Literal["local", "utc"] = "local"
    """What the modem's AT+CCLK? gives; the standard says local time, and some modems give UTC."""
    hold_s: Annotated[float, words.within("0 s", "30 d")] = Field(3600.0, alias="hold")
    """How long a sink waits for the right time of what was read; then it gets it undated."""


class LineKeys(Part):
    """The keys of a port, at a [[bus]] or at a [[sensor]] alone on its wire. None: as the instrument leaves
    the factory.
    """

    baudrate: Baudrate | None = None
    format: Format | None = None
    framing: Literal["rtu", "ascii"] | None = None
    echo: bool = False


class Bus(LineKeys):
    """[[bus]]: a port with several instruments."""

    id: Id
    port: Port


class Flat(Part):
    """A value that does not move: a stuck instrument."""

    within: Annotated[float, words.number(0, 1e9)]
    suspect_s: Annotated[float, words.within("1 s", "30 d")] = Field(alias="suspect")
    fail_s: Annotated[float, words.within("1 s", "30 d")] = Field(alias="fail")


class Attenuated(Part):
    """A value that hardly moves, over a longer time: a fouled instrument, or a dying one."""

    over_s: Annotated[float, words.within("10 s", "30 d")] = Field(alias="over")
    suspect: Annotated[float, words.number(0, 1e9)]
    fail: Annotated[float, words.number(0, 1e9)] = 0.0


def _distances(given: Any) -> tuple[float, float]:
    low, high = words.ascending(given)
    if low <= 0:
        raise ValueError(f"{shown(given)} is no pair of distances; write [suspect, fail], both above 0")
    return low, high


def _months(given: Any) -> dict[int, tuple[float, float]]:
    """{ "12-2" = [0, 6], 7 = [8, 22] } by month."""
    ways = 'write { "12-2" = [0, 6], "6-8" = [8, 22] }: months 1 to 12, and what is usual in them'
    if not isinstance(given, dict) or not given:
        raise ValueError(f"{shown(given)} names no months; {ways}")
    months: dict[int, tuple[float, float]] = {}
    for name, span in given.items():
        first, dash, last = name.replace(" ", "").partition("-")
        ends = [
            int(m)
            for m in (first, last if dash else first)
            if m.isdecimal() and len(m) <= 2 and 1 <= int(m) <= 12
        ]
        if len(ends) != 2:
            raise ValueError(f"{shown(name)} is no month; {ways}")
        try:
            usual = words.ascending(span)
        except ValueError as e:
            raise ValueError(f"{name}: {e}") from None
        month = ends[0]
        while True:
            if month in months:
                raise ValueError(f"month {month} stands there twice; {ways}")
            months[month] = usual
            if month == ends[1]:
                break
            month = month % 12 + 1
    return months


class Expect(Part):
    """[sensor.expect.<quantity>]: the quality tests, named as QARTOD names them, in the sensor's own unit."""

    gross: Pair | None = None
    """Outside of it a value cannot be: fail."""
    usual: Pair | None = None
    """Outside of it a value is suspect."""
    spike: Annotated[tuple[float, float] | None, BeforeValidator(_distances)] = None
    """How far from its neighbours a value is suspect, and bad; known one reading later."""
    spike_method: Literal["average", "differential"] = "average"
    rate: Annotated[Rate | None, BeforeValidator(words.rate)] = None
    """Changing faster than this from one reading to the next is suspect."""
    flat: Flat | None = None
    attenuated: Attenuated | None = None
    gap_s: Annotated[float | None, words.within("1 s", "30 d")] = Field(None, alias="gap")
    """The first value after so long without one is suspect."""
    climatology: Annotated[dict[int, tuple[float, float]], BeforeValidator(_months)] = Field({})
    """Outside of what is usual in a month (UTC) a value is suspect."""


class Sensor(LineKeys):
    """[[sensor]]"""

    id: Id
    bus: str | None = None
    port: Annotated[str | None, BeforeValidator(words.port)] = None
    model: str
    address: int | None = None
    medium: Medium | None = None
    kind: Kind | None = None
    """Which water, which air; limits are for one kind."""
    every_s: Annotated[float, words.within("100 ms", "1 d")] = Field(10.0, alias="every")
    expect: dict[str, Expect] = Field({})
    calibration: Calibration = Field(default_factory=lambda: Calibration.model_validate({}))
    correct: dict[str, Correct] = Field({})
    options: dict[str, Any] = Field({})


class Send(Part):
    """One kind of record that a sink sends. `length_s` is an average's."""

    kind: Literal["reading", "average", "event"]
    length_s: float = 0.0


def _sends(given: Any) -> tuple[Send, ...]:
    ways = 'allowed are "reading", "event" and averages such as "average:1 min"'
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        raise ValueError(f"{shown(given)} is no list of what to send; {ways}")
    sends = []
    for item in given:
        kind, _, length = item.partition(":")
        if kind == "average" and length:
            length_s = words.duration(length)
            if not 60 <= length_s <= 86400:
                raise ValueError(f"{shown(item)} is out of range; allowed are averages over 1 min…24 h")
            if length_s % 60 or 86400 % length_s:
                text = (
                    "does not divide a day into whole minutes; write for instance 1 min, 10 min, 1 h or 24 h"
                )
                raise ValueError(f"{shown(item)} {text}")
            sends.append(Send(kind="average", length_s=length_s))
        elif item in ("reading", "event"):
            sends.append(Send(kind=item))
        else:
            raise ValueError(f"{shown(item)} is nothing that can be sent; {ways}")
    return tuple(sends)


_Sends = Annotated[tuple[Send, ...], BeforeValidator(_sends)]
_BOTH = (Send(kind="reading"), Send(kind="event"))


class Mqtt(Part):
    """[mqtt]"""

    url: Annotated[str, words.url("mqtt", "mqtts", words=("embedded",))]
    username: str | None = None
    password: Secret | None = None
    ca: words.File | None = None
    """A file with the certificate authority the broker is checked against; the system's own list when left
    out.
    """
    certificate: words.File | None = None
    """With mutual TLS: the station's own, and its key."""
    key: words.KeyFile | None = None
    send: _Sends = _BOTH
    budget: Annotated[Rate | None, BeforeValidator(words.data_budget)] = None
    discovery: Literal["homeassistant"] | None = None
    """Tells Home Assistant what there is."""
    pack_s: Annotated[float | None, words.within("1 min", "1 d")] = Field(None, alias="pack")
    """Where bytes are paid for: many messages leave as one, after so long at the latest."""
    status_s: Annotated[float | None, words.within("10 s", "1 d")] = Field(None, alias="status")
    """How often the status message goes; left out: each minute, with `pack` each hour."""


class Database(Part):
    """Where an InfluxDB is, and how to come in."""

    url: Annotated[str, words.url("http", "https")]
    version: Literal[1, 2, 3] = 2
    org: str | None = None
    bucket: str | None = None
    token: Secret | None = None
    database: str | None = None
    username: str | None = None
    password: Secret | None = None
    ca: words.File | None = None
    """A file with the certificate authority the server is checked against."""


class Influxdb(Database):
    """[influxdb]"""

    send: _Sends = _BOTH
    budget: Annotated[Rate | None, BeforeValidator(words.data_budget)] = None


def _names(given: Any) -> tuple[str, ...]:
    ways = 'write a list such as ["station.example.kg"]'
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"{shown(given)} is no list of names; {ways}")
    for name in given:
        if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}", name):
            raise ValueError(f"{shown(name)} is no name of a machine; {ways}, without http:// and port")
    return tuple(given)


class GrafanaLive(Part):
    """[grafana_live]: what is read, shown in Grafana within a second. Nothing is kept for it."""

    url: Annotated[str, words.url("http", "https")]
    token: Secret
    """Of a service account that may push (role Editor)."""
    stream: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "suuaba"
    ca: words.File | None = None


class Web(Part):
    """[web]"""

    listen: Annotated[tuple[str, int], BeforeValidator(words.listen)] = ("127.0.0.1", 8080)
    password: Secret | None = None
    """The technicians', plain or as an Argon2 hash; without it the first start prints a code to set one
    with."""
    names: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    """Names under which the page is opened, beside the machine's own: a request for another is refused."""


ONCE: dict[str, type[Part]] = {
    "station": General, "clock": Clock, "journal": Journal, "average": Averaging,
    "mqtt": Mqtt, "influxdb": Influxdb, "sms": Sms,
    "web": Web, "grafana_live": GrafanaLive,
}  # fmt: skip
"""The sections that stand once: [mqtt]."""
SEVERAL: dict[str, type[Part]] = {"bus": Bus, "sensor": Sensor, "contact": Contact, "rule": Rule}
"""The sections of which there may be several: [[sensor]]."""
