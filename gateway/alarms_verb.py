"""The verb "alarms" of the running service: what stands, acknowledging, shelving, taking out of service.

    {"verb":"alarms","do":"list"}                                          every rule with its state
    {"verb":"alarms","do":"ack","rule":R}                                  "why" may be added
    {"verb":"alarms","do":"shelve","rule":R,"minutes":120,"why":W}         a day at most
    {"verb":"alarms","do":"out-of-service","rule":R,"why":W}               until "in-service"
    {"verb":"alarms","do":"unshelve","rule":R} · {"do":"in-service",…}

Every deed is an event of the journal before it is anything else, with who (`by`: the system user, behind the
name that was given beside) and why; the alarms' fold acts on the event, as it does on an answer by SMS. The
answer is the rule's state after that, and comes when the event is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from alerts.watch import SHELVE_MOST_S
from gateway.alarms import AlarmFold
from gateway.alarms_sender import JournalDoor
from gateway.control import Answer, Request, Verb
from gateway.errors import ControlError
from gateway.model import Event, Stamp

UNACKNOWLEDGED = ("active_unacknowledged", "returned_unacknowledged")
WHY_MOST = 200


def alarms(fold: AlarmFold, journal: JournalDoor, stamp: Callable[[], Stamp]) -> Verb:
    """The verb, for gateway.control."""

    async def answer(request: Request) -> Answer:
        do = request.text("do", "list")
        if do == "list":
            return {"alarms": fold.standing()}
        deed = _DEEDS.get(do)
        if deed is None:
            raise ControlError(f"alarms: {do!r} is not known; there are list, {', '.join(_DEEDS)}")
        row = _row(fold, request.text("rule"))
        what, detail = deed(request, row)
        name = request.text("by", "").strip()
        by = f"{name} ({request.by})" if name else request.by
        event = Event(stamp(), what, {"rule": row["rule"], "by": by, "from": "command", **detail})
        journal.append([event])
        await journal.sync()
        return {"alarm": _row(fold, row["rule"]), "by": by}

    return answer


Row = Mapping[str, Any]


def _ack(request: Request, row: Row) -> tuple[str, dict[str, Any]]:
    state = row.get("condition", row["state"])
    if state not in UNACKNOWLEDGED:
        raise ControlError(f"{row['rule']} is {_words(row['state'])}: nothing waits to be acknowledged")
    why = request.text("why", "").strip()
    return "acknowledge", {"why": _short(why)} if why else {}


def _shelve(request: Request, row: Row) -> tuple[str, dict[str, Any]]:
    if row["state"] == "out_of_service":
        raise ControlError(f"{row['rule']} is out of service: it tells nothing anyway")
    minutes = request.number("minutes", 0.0)
    most = SHELVE_MOST_S / 60
    if not 1 <= minutes <= most:
        hint = f"1 minute to {most / 60:g} h; for longer there is out-of-service"
        raise ControlError(f"a shelved alarm needs an end: {hint}")
    return "shelve", {"minutes": minutes, "why": _reason(request)}


def _out_of_service(request: Request, row: Row) -> tuple[str, dict[str, Any]]:
    if row["state"] == "out_of_service":
        raise ControlError(f"{row['rule']} is out of service already: {row.get('why', '')}")
    return "out_of_service", {"why": _reason(request)}


def _unshelve(request: Request, row: Row) -> tuple[str, dict[str, Any]]:
    return "unshelve", _back(request, row, "shelved", "out_of_service", "in-service")


def _in_service(request: Request, row: Row) -> tuple[str, dict[str, Any]]:
    return "in_service", _back(request, row, "out_of_service", "shelved", "unshelve")


def _back(request: Request, row: Row, wanted: str, other: str, other_deed: str) -> dict[str, Any]:
    if row["state"] != wanted:
        hint = f"; use {other_deed}" if row["state"] == other else ""
        raise ControlError(f"{row['rule']} is {_words(row['state'])}, not {_words(wanted)}{hint}")
    why = request.text("why", "").strip()
    return {"why": _short(why)} if why else {}


_DEEDS: dict[str, Callable[[Request, Row], tuple[str, dict[str, Any]]]] = {
    "ack": _ack,
    "shelve": _shelve,
    "unshelve": _unshelve,
    "out-of-service": _out_of_service,
    "in-service": _in_service,
}
DEEDS = tuple(_DEEDS)


def _row(fold: AlarmFold, rule: str) -> Row:
    rows = {row["rule"]: row for row in fold.standing()}
    if rule not in rows:
        from difflib import get_close_matches  # seldom, and it takes memory

        close = get_close_matches(rule, rows, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(rows) or 'none'}"
        raise ControlError(f"there is no rule {rule[:60]!r}; {hint}")
    return rows[rule]


def _reason(request: Request) -> str:
    why = request.text("why", "").strip()
    if not why:
        raise ControlError('a reason is needed: --why "the pump is being changed"')
    return _short(why)


def _short(why: str) -> str:
    return " ".join(why.split())[:WHY_MOST]


def _words(state: str) -> str:
    return state.replace("_", " ")
