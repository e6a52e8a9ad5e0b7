"""The alarms' parts of station.toml: [sms], [[contact]], [[rule]]. See gateway.config_parts."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo

from gateway import config_words as words
from gateway.config_part import Baudrate, Id, Kind, Language, Part, Priority
from gateway.config_words import Rate, Secret, shown


def _provider(given: Any, info: ValidationInfo) -> Any:
    """The name of a provider's file, or a secret that holds an address."""
    if isinstance(given, str) and re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", given):
        return given
    return words.read_secret(given, info)


def _settings(given: Any, info: ValidationInfo) -> dict[str, SecretStr]:
    """What a provider wants to know: text as it is, secrets from a file or the environment."""
    if not isinstance(given, dict):
        raise ValueError(f'{shown(given)} is no table; write provider_settings = {{ login = "…" }}')
    found = {}
    for key, value in given.items():
        if isinstance(value, str):
            found[key] = SecretStr(value)
            continue
        try:
            found[key] = words.read_secret(value, info)
        except ValueError as e:
            raise ValueError(f"{key}: {e}") from None
    return found


def _command(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not given or not all(isinstance(word, str) and word for word in given):
        raise ValueError(
            f'{shown(given)} is no command; write ["/usr/sbin/uhubctl", "-l", "1-1", "-a", "cycle"]'
        )
    if not given[0].startswith("/"):
        raise ValueError(f'{shown(given[0])} is no full path; write for example "/usr/sbin/uhubctl"')
    return tuple(given)


class SecondModem(Part):
    """[sms.second]: another modem, best with a SIM of another operator. Its keys are those of [sms]."""

    modem: Annotated[str, BeforeValidator(words.port)]
    baudrate: Baudrate = 115200
    pin: Secret | None = None
    smsc: Annotated[str | None, BeforeValidator(words.phone)] = None
    power: Annotated[tuple[str, ...], BeforeValidator(_command)] = ()


class Sms(Part):
    """[sms]: the modem, a second one, and the path over the internet."""

    modem: Annotated[str | None, BeforeValidator(words.port)] = None
    baudrate: Baudrate = 115200
    pin: Secret | None = None
    """The SIM's PIN, where it has one."""
    smsc: Annotated[str | None, BeforeValidator(words.phone)] = None
    """The message centre's number, where the SIM has a wrong one."""
    power: Annotated[tuple[str, ...], BeforeValidator(_command)] = ()
    """A command that switches the modem off and on, when nothing else brings it back."""
    second: SecondModem | None = None
    """Takes over when the first does not send."""
    provider: Annotated[str | SecretStr | None, BeforeValidator(_provider)] = None
    """A provider's file by name, or a secret with an address that has everything in it."""
    provider_settings: Annotated[dict[str, SecretStr], BeforeValidator(_settings)] = Field({})
    budget: Annotated[Rate, BeforeValidator(words.segment_budget)] = Rate(200, 30 * 86400.0)
    """For each contact."""
    collect_s: Annotated[float, words.within("0 s", "10 min")] = Field(45.0, alias="collect")
    """What is not critical waits so long for company."""
    daily: Annotated[int | None, BeforeValidator(words.time_of_day)] = None
    """When the daily sign of life is sent, in minutes after midnight, station time."""
    daily_to: tuple[str, ...] = ()
    texts: str | None = None
    """A folder, seen from station.toml, with texts of one's own: ky.toml, ru.toml, en.toml."""


class Quiet(Part):
    """The hours in which a contact is told only of what cannot wait. Minutes after midnight, station time."""

    from_min: Annotated[int, BeforeValidator(words.time_of_day)] = Field(alias="from")
    to_min: Annotated[int, BeforeValidator(words.time_of_day)] = Field(alias="to")
    unless: Priority = Field("critical", alias="except")


class Contact(Part):
    """[[contact]]"""

    id: Id
    phone: Annotated[str, BeforeValidator(words.phone)]
    language: Language | None = None
    """The station's when left out."""
    pin: Secret | None = None
    """With it the contact may answer to every alarm: 4 to 8 digits."""
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

    id: Id
    sensor: str = ""
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
    stuck_s: Annotated[float | None, words.within("1 min", "30 d")] = Field(None, alias="stuck")
    """The value has not moved by more than the hysteresis for so long."""
    watch: Literal["clock", "sms", "disk", "power", "calibration"] | None = None
    """The station itself, in place of a sensor."""
    hysteresis: Annotated[float, words.number(0, 1e9)] = 0.0
    over_s: Annotated[float | None, BeforeValidator(_over)] = Field(None, alias="over")
    """An average's length; None: every reading counts."""
    kind: Kind | None = None
    """For which water or air the limit is; it must be the sensor's."""
    nowcast: bool = False
    """Look at the NowCast of the last twelve hours."""
    and_rule: str = Field("", alias="and")
    """Another rule that must be an alarm as well."""
    on_delay_s: Annotated[float, words.within("0 s", "1 d")] = Field(0.0, alias="on_delay")
    off_delay_s: Annotated[float, words.within("0 s", "1 d")] = Field(0.0, alias="off_delay")
    latching: bool = False
    """Stands until somebody has acknowledged it."""
    priority: Priority = "high"
    start_up_s: Annotated[float, words.within("0 s", "1 d")] = Field(0.0, alias="start_up")
    """So long after a start of the station nobody is told."""
    parent: str = ""
    """While this other rule's alarm stands nobody is told."""
    season: Annotated[tuple[int, ...], BeforeValidator(_season)] = ()
    hours: Hours | None = None
    send: Annotated[tuple[Tier, ...], BeforeValidator(_tiers)] = ()
