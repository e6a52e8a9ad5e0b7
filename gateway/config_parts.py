"""The parts of station.toml as types: which keys there are, what they mean, and what they are when left out.

A key keeps its name; only where a value is turned into a unit does the field say so (`every` → `every_s`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway import config_words as words
from gateway.config_words import Rate, Secret, shown

Medium = Literal["water", "air", "soil", "power", "station"]
Language = Literal["ky", "ru", "en"]
Priority = Literal["critical", "high", "low"]
Baudrate = Literal[1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 115200, 230400, 460800, 921600]
Format = Literal["8N1", "8E1", "8O1", "8N2", "7E1", "7O1", "7N2"]

_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
_Port = Annotated[str, BeforeValidator(words.port)]
_Pair = Annotated[tuple[float, float], BeforeValidator(words.ascending)]


class Part(BaseModel):
    """What all parts share: an unknown key is a mistake, and nothing changes once it is read."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )


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


class Clock(Part):
    """[clock]: who says that the system clock is right, and how long readings wait for it."""

    source: Literal["ntp", "rtc", "trust"] = "ntp"
    """The kernel's word; a hardware clock's too; or the owner's."""
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

    id: _Id
    port: _Port


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

    gross: _Pair | None = None
    """Outside of it a value cannot be: fail."""
    usual: _Pair | None = None
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
    climatology: Annotated[dict[int, tuple[float, float]], BeforeValidator(_months)] = {}
    """Outside of what is usual in a month (UTC) a value is suspect."""


class Sensor(LineKeys):
    """[[sensor]]"""

    id: _Id
    bus: str | None = None
    port: Annotated[str | None, BeforeValidator(words.port)] = None
    model: str
    address: int | None = None
    medium: Medium | None = None
    every_s: Annotated[float, words.within("100 ms", "1 d")] = Field(10.0, alias="every")
    expect: dict[str, Expect] = {}
    options: dict[str, Any] = {}


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
    ca: str | None = None
    """A file with the certificate authority the broker is checked against; the system's own list when left
    out.
    """
    send: _Sends = _BOTH
    budget: Annotated[Rate | None, BeforeValidator(words.data_budget)] = None


class Influxdb(Part):
    """[influxdb]"""

    url: Annotated[str, words.url("http", "https")]
    version: Literal[1, 2, 3] = 2
    org: str | None = None
    bucket: str | None = None
    token: Secret | None = None
    database: str | None = None
    username: str | None = None
    password: Secret | None = None
    send: _Sends = _BOTH
    budget: Annotated[Rate | None, BeforeValidator(words.data_budget)] = None


class Sms(Part):
    """[sms]: the modem, and the second path over the internet."""

    modem: Annotated[str | None, BeforeValidator(words.port)] = None
    baudrate: Baudrate = 115200
    pin: Secret | None = None
    """The SIM's PIN, where it has one."""
    provider: Secret | None = None
    """A URL with everything the provider wants; it counts as a secret."""
    budget: Annotated[Rate, BeforeValidator(words.segment_budget)] = Rate(200, 30 * 86400.0)


class Quiet(Part):
    """The hours in which a contact is told only of what cannot wait. Minutes after midnight, station time."""

    from_min: Annotated[int, BeforeValidator(words.time_of_day)] = Field(alias="from")
    to_min: Annotated[int, BeforeValidator(words.time_of_day)] = Field(alias="to")
    unless: Priority = Field("critical", alias="except")


class Contact(Part):
    """[[contact]]"""

    id: _Id
    phone: Annotated[str, BeforeValidator(words.phone)]
    language: Language | None = None
    """The station's when left out."""
    pin: Secret | None = None
    quiet: Quiet | None = None


class Tier(Part):
    """Whom to tell, and how long after the alarm when nobody has acknowledged it."""

    contacts: tuple[str, ...]
    after_s: float = 0.0


def _tiers(given: Any) -> tuple[Tier, ...]:
    ways = 'write [["duty"], ["chief", "after 15 min"]]'
    if not isinstance(given, list) or not all(
        isinstance(t, list) and all(isinstance(w, str) for w in t) for t in given
    ):
        raise ValueError(f"{shown(given)} is no list of lists; {ways}")
    tiers: list[Tier] = []
    for step in given:
        contacts = tuple(word for word in step if not word.startswith("after "))
        waits = [words.duration(word.removeprefix("after ")) for word in step if word.startswith("after ")]
        if not contacts or len(waits) > 1:
            raise ValueError(f"{shown(step)} does not say whom and when; {ways}")
        after_s = waits[0] if waits else 0.0
        if tiers and after_s <= tiers[-1].after_s:
            raise ValueError(f"{shown(step)} is not later than the step before it; {ways}")
        tiers.append(Tier(contacts=contacts, after_s=after_s))
    return tuple(tiers)


def _over(given: Any) -> float | None:
    if given == "reading":
        return None
    try:
        over_s = words.duration(given)
    except ValueError:
        raise ValueError(
            f'{shown(given)} is nothing to look at; write "reading", or an average\'s length: "10 min"'
        ) from None
    if not 1 <= over_s <= 86400:
        raise ValueError(f'{shown(given)} is out of range; allowed are "reading" and 1 s…1 d')
    return over_s


def _season(given: Any) -> tuple[int, ...]:
    """The months of "5-9", or of "11-3" over the new year."""
    first, dash, last = given.replace(" ", "").partition("-") if isinstance(given, str) else ("", "", "")
    ends = [int(m) for m in (first, last if dash else first) if m.isdecimal() and 1 <= int(m) <= 12]
    if len(ends) != 2:
        raise ValueError(f'{shown(given)} is no season; write months from 1 to 12: "5-9", or "11-3"')
    return tuple((ends[0] - 1 + i) % 12 + 1 for i in range((ends[1] - ends[0]) % 12 + 1))


class Hours(Part):
    """The hours of the day in which a rule's alarms are told. Minutes after midnight, station time."""

    from_min: Annotated[int, BeforeValidator(words.time_of_day)] = Field(alias="from")
    to_min: Annotated[int, BeforeValidator(words.time_of_day)] = Field(alias="to")


class Rule(Part):
    """[[rule]]: when it is an alarm, and who is told."""

    id: _Id
    sensor: str
    quantity: str = ""
    unit: str = ""
    """Both belong to a limit or a change; no_data may have a quantity, else it looks at the whole sensor."""
    above: float | None = None
    below: float | None = None
    """Both: an alarm outside of the band between them."""
    change: Annotated[Rate | None, BeforeValidator(words.rate)] = None
    """More than so much, up or down, in so long."""
    no_data_s: Annotated[float | None, words.within("10 s", "30 d")] = Field(None, alias="no_data")
    """No good value for so long."""
    fault: bool = False
    """The instrument is ill or does not answer."""
    hysteresis: Annotated[float, words.number(0, 1e9)] = 0.0
    over_s: Annotated[float | None, BeforeValidator(_over)] = Field(None, alias="over")
    """An average's length; None: every reading counts."""
    nowcast: bool = False
    """Look at the NowCast of the last twelve hours."""
    and_rule: str = Field("", alias="and")
    """Another rule that must be an alarm as well."""
    on_delay_s: Annotated[float, words.within("0 s", "1 d")] = Field(0.0, alias="on_delay")
    off_delay_s: Annotated[float, words.within("0 s", "1 d")] = Field(0.0, alias="off_delay")
    latching: bool = False
    """Stands until somebody has acknowledged it."""
    priority: Priority = "high"
    season: Annotated[tuple[int, ...], BeforeValidator(_season)] = ()
    hours: Hours | None = None
    send: Annotated[tuple[Tier, ...], BeforeValidator(_tiers)] = ()


class Web(Part):
    """[web]"""

    listen: Annotated[tuple[str, int], BeforeValidator(words.listen)] = ("127.0.0.1", 8080)
    password: Secret | None = None


ONCE: dict[str, type[Part]] = {
    "station": General, "clock": Clock, "journal": Journal, "mqtt": Mqtt, "influxdb": Influxdb, "sms": Sms,
    "web": Web,
}  # fmt: skip
"""The sections that stand once: [mqtt]."""
SEVERAL: dict[str, type[Part]] = {"bus": Bus, "sensor": Sensor, "contact": Contact, "rule": Rule}
"""The sections of which there may be several: [[sensor]]."""
