"""Alarms: what stands, and what people do about it. Acting appends an event; the alarm fold does the rest.

So the page, the command line and an SMS all do the same thing, and it is in the journal who did it.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from gateway.model import Event
from gateway.web.endpoint import Ask, Bad, Endpoint
from gateway.web.now import alarm_rows

Text = Annotated[str, msgspec.Meta(max_length=200)]


class Ack(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody has taken notice."""

    note: Text = ""


class Shelve(msgspec.Struct, forbid_unknown_fields=True):
    """Do not tell of it for so long: a day at most. A reason is wanted: the next one on duty will ask."""

    minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)]
    why: Annotated[str, msgspec.Meta(min_length=3, max_length=200)]


async def alarms(ask: Ask) -> Any:
    return {"alarms": alarm_rows(ask.site, technician=ask.technician)}


async def ack(ask: Ask) -> Any:
    rule = _rule(ask)
    return _done(ask, "acknowledge", {"rule": rule, "by": ask.name, "note": ask.body.note})


async def shelve(ask: Ask) -> Any:
    detail = {"rule": _rule(ask), "by": ask.name, "why": ask.body.why, "minutes": ask.body.minutes}
    return _done(ask, "shelve", detail)


async def unshelve(ask: Ask) -> Any:
    return _done(ask, "unshelve", {"rule": _rule(ask), "by": ask.name})


def _rule(ask: Ask) -> str:
    rule = ask.request.match_info["id"]
    rules = ask.site.station.alarms.watch.rules
    if rule not in rules:
        raise Bad(404, "there is no such rule", f"there are: {', '.join(rules)[:300]}")
    return rule


def _done(ask: Ask, what: str, detail: dict[str, Any]) -> dict[str, Any]:
    station = ask.site.station
    station.journal.append([Event(station.clock.stamp(), what, detail)])
    [row] = [row for row in alarm_rows(ask.site, technician=True) if row["rule"] == detail["rule"]]
    return {"alarm": row}


ENDPOINTS = (
    Endpoint("GET", "/api/alarms", alarms, "Every rule with its present state"),
    Endpoint("POST", "/api/alarms/{id}/ack", ack, "Acknowledge: no more reminders", "act", body=Ack),
    Endpoint("POST", "/api/alarms/{id}/shelve", shelve, "Do not tell for some time", "act", body=Shelve),
    Endpoint("POST", "/api/alarms/{id}/unshelve", unshelve, "Tell again", "act", body=Ack),
)
