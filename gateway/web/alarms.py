"""Alarms: what stands, and what people do about it. Acting is the verb of the command line
(gateway.alarms_verb): an event of the journal with who and why, and the alarm fold does the rest.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from gateway.web.endpoint import Ask, Bad, Endpoint
from gateway.web.now import alarm_rows
from gateway.web.verbs import call

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
    return await _do(ask, {"do": "ack", "why": ask.body.note})


async def shelve(ask: Ask) -> Any:
    return await _do(ask, {"do": "shelve", "why": ask.body.why, "minutes": ask.body.minutes})


async def unshelve(ask: Ask) -> Any:
    return await _do(ask, {"do": "unshelve", "why": ask.body.note})


async def in_service(ask: Ask) -> Any:
    return await _do(ask, {"do": "in-service", "why": ask.body.note})


async def _do(ask: Ask, body: dict[str, Any]) -> Any:
    rule = ask.request.match_info["id"]
    rules = ask.site.station.alarms.watch.rules
    if rule not in rules:
        raise Bad(404, "there is no such rule", f"there are: {', '.join(rules)[:300]}")
    return await call(ask, "alarms", {**body, "rule": rule})


_NOT_SO = {409: "not in this state"}

ENDPOINTS = (
    Endpoint("GET", "/api/alarms", alarms, "Every rule with its present state"),
    Endpoint("POST", "/api/alarms/{id}/ack", ack, "Acknowledge", "act", body=Ack, answers=_NOT_SO),
    Endpoint("POST", "/api/alarms/{id}/shelve", shelve, "Be quiet", "act", body=Shelve, answers=_NOT_SO),
    Endpoint("POST", "/api/alarms/{id}/unshelve", unshelve, "Tell again", "act", body=Ack, answers=_NOT_SO),
    Endpoint("POST", "/api/alarms/{id}/in-service", in_service, "Back", "act", body=Ack, answers=_NOT_SO),
)
