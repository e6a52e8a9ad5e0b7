"""SIGHUP: a running station takes changed rules, contacts and texts; nothing else in station.toml.

    kill -HUP ─► read the whole file ─┬─ a mistake ─► Event("reread", refused: a line each); all stays
                                      └─► Event("reread", what is new, changed, gone; what needs a
                                          restart); the alarms go on with the new rules, and the file's
                                          text goes into the configuration's history

A rule that is as before, or has only another limit, delay or recipient, keeps its state: an alarm that stands
stays acknowledged or not. A rule that looks at something else begins anew. A rule that is gone takes its
alarm and its waiting messages with it, and its retained topic says "removed".
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from alerts.watch import Watch
from gateway.alarms import AlarmFold
from gateway.alarms_config import check_texts, watch
from gateway.alarms_sender import JournalDoor
from gateway.config_apart import again
from gateway.errors import ConfigError
from gateway.evidence_config import ConfigurationFold
from gateway.model import Body, Event, Stamp

if TYPE_CHECKING:
    from gateway import config

log = logging.getLogger(__name__)

_SMS_TAKEN = ("budget", "collect_s", "daily", "daily_to", "texts")
_TAKEN = ("rules", "contacts", "sms", "file", "warnings", "left_out")
LINES_MOST = 20


class Rereading(Protocol):
    """What is needed of a station."""

    config: config.Station
    alarms: AlarmFold
    configured: ConfigurationFold

    @property
    def journal(self) -> JournalDoor: ...


class Reread:
    """Waits for `ask`, then rereads. `run` belongs under `supervise`."""

    def __init__(self, station: Rereading, stamp: Callable[[], Stamp]) -> None:
        self._station, self._stamp = station, stamp
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Reread soon. Safe to call from a signal handler, and twice."""
        self._asked.set()

    async def run(self) -> None:
        """Reread whenever asked, until cancelled. Raises JournalError."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            station = self._station
            try:
                wanted = await again(station.config.file)
                merged, later = _merged(station.config, wanted)
                new = watch(merged)
                await asyncio.to_thread(check_texts, merged)
            except ConfigError as e:
                for line in e.lines:
                    log.error("the changed configuration is refused: %s", line)
                detail: dict[str, Any] = {"state": "refused", "why": e.lines[:LINES_MOST]}
                station.journal.append([Event(self._stamp(), "reread", detail)])
                await station.journal.sync()
                continue
            old, station.config = station.config, merged
            station.journal.append(self._taken(old, new, later))
            station.journal.append(station.configured.news(merged.file, self._stamp()))
            await station.journal.sync()

    def _taken(self, old: config.Station, new: Watch, later: Sequence[str]) -> list[Body]:
        """Put the new rules in place of the old ones; what there is to say of it."""
        station, at = self._station, self._stamp()
        before, wanted = station.alarms.watch, station.config
        rules = _difference(before.rules, new.rules)
        contacts = _difference(
            {contact.id: plain(contact) for contact in old.contacts},
            {contact.id: plain(contact) for contact in wanted.contacts},
        )
        texts = [name for name, texts in new.mail.texts.items() if before.mail.texts.get(name) != texts]
        detail: dict[str, Any] = {"state": "taken", "rules": rules, "contacts": contacts}
        detail |= {"texts": texts, "needs_restart": list(later)}
        log.warning("the configuration was read again: %s", detail)
        bodies: list[Body] = [Event(at, "reread", detail)]
        bodies += station.alarms.replace(new, at)
        return bodies


def _merged(old: config.Station, new: config.Station) -> tuple[config.Station, list[str]]:
    """The running configuration with the rules, contacts and texts of the new one; and the names of what
    else is different. Raises ConfigError for a rule that needs what does not run yet.
    """
    running = {sensor.id for sensor in old.sensors}
    file = new.file.name
    wrong = [
        f"{file}: rule {rule.id}: the sensor {rule.sensor} is new; restart the service to begin with it"
        for rule in new.rules
        if rule.sensor and rule.sensor not in running
    ]
    if wrong:
        raise ConfigError(wrong)
    later = [
        field.name
        for field in dataclasses.fields(old)
        if field.name not in _TAKEN and plain(getattr(old, field.name)) != plain(getattr(new, field.name))
    ]
    sms = old.sms
    if old.sms is not None and new.sms is not None:
        sms = copy.copy(old.sms)
        vars(sms).update({name: getattr(new.sms, name) for name in _SMS_TAKEN})
    if plain(sms) != plain(new.sms):
        later.append("sms")
    return dataclasses.replace(old, rules=new.rules, contacts=new.contacts, sms=sms), later


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[str]]:
    """Ids only: what a contact's number or a PIN is, is nobody's business."""
    return {
        "new": [name for name in new if name not in old],
        "changed": [name for name in new if name in old and new[name] != old[name]],
        "gone": [name for name in old if name not in new],
    }


def plain(part: Any) -> Any:
    """A part of the configuration as plain values, to be compared: as `run` has it from its child, or as
    pydantic made it.
    """
    if hasattr(part, "get_secret_value"):
        return part.get_secret_value()
    if isinstance(part, Mapping):
        return {name: plain(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [plain(value) for value in part]
    if dataclasses.is_dataclass(part):
        return [plain(getattr(part, field.name)) for field in dataclasses.fields(part)]
    return plain(vars(part)) if hasattr(part, "__dict__") and not callable(part) else part
