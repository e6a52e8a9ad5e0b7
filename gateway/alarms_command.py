"""`suuaba alarms`: what stands, and acting on it, through the running service.

    suuaba alarms station.toml                                        the list
    suuaba alarms station.toml ack turbidity-high
    suuaba alarms station.toml shelve turbidity-high --for 2h --why "the pump is being changed"

Without a service the list is read from the journal, as it was when the service ended; acting needs it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from alerts.rulewords import CaseError, duration
from gateway import config
from gateway.control import ask
from gateway.errors import ConfigError, ControlError, NotRunning

Say = Callable[[str], object]
Row = Mapping[str, Any]

_WORDS = {
    "active_unacknowledged": "ALARM",
    "active_acknowledged": "alarm, acknowledged",
    "returned_unacknowledged": "over, not acknowledged",
    "recovering": "ALARM, recovering",
    "out_of_service": "out of service",
}
_ORDER = ("active_unacknowledged", "recovering", "returned_unacknowledged", "active_acknowledged", "pending")
_LAST = ("suppressed", "shelved", "out_of_service", "normal")


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line."""

    do: str = "list"
    rules: Sequence[str] = ()
    lasting: str = ""
    why: str = ""
    by: str = ""
    as_json: bool = False


async def alarms(file: Path, wish: Wish, say: Say) -> int:
    """Do it and say what came of it. Gives the exit code. Raises ConfigError and ControlError."""
    station = config.load(file, lenient=True)
    zone = ZoneInfo(station.timezone)
    if wish.do == "list":
        return await _list(station, wish, zone, say)
    if not wish.rules:
        raise ConfigError([f"alarms {wish.do}: which rule? suuaba alarms {file.name} list shows them"])
    body: dict[str, Any] = {"do": wish.do}
    if wish.do == "shelve":
        if not wish.lasting:
            raise ConfigError(["alarms shelve: an end is needed: --for 2h"])
        body["minutes"] = _seconds(wish.lasting) / 60
    if wish.why:
        body["why"] = wish.why
    if wish.by:
        body["by"] = wish.by
    done, code = [], 0
    for rule in wish.rules:
        try:
            answer = await ask(station.data, "alarms", rule=rule, **body)
        except NotRunning as e:
            raise ControlError(f"alarms {wish.do}: {e}") from None
        except ControlError as e:
            said = f"{e}{_left_out(station, rule)}"
            if len(wish.rules) == 1:
                raise ControlError(said) from None
            print_error(said)
            code = 1
            continue
        done.append(answer["alarm"])
        if not wish.as_json:
            say(_line(answer["alarm"], zone))
    if wish.as_json:
        say(json.dumps({"alarms": done}, ensure_ascii=False))
    return code


def _left_out(station: config.Station, rule: str = "") -> str:
    """That a rule may be missing because of a mistake in the file; ""
    where it has none, or has this rule.
    """
    mistakes = len(station.left_out)
    if not mistakes or rule in {known.id for known in station.rules}:
        return ""
    has, names = ("a mistake", "it") if mistakes == 1 else (f"{mistakes} mistakes", "them")
    return f"; {station.file.name} has {has}, and may lack a rule for it: suuaba check names {names}"


def print_error(line: str) -> None:
    sys.stderr.write(f"suuaba: {line}\n")


async def _list(station: config.Station, wish: Wish, zone: ZoneInfo, say: Say) -> int:
    try:
        rows, running = (await ask(station.data, "alarms", do="list"))["alarms"], True
    except NotRunning as e:
        rows, running = _as_journaled(station), False
        print_error(f"{e}; this is what its journal says")
    if wish.rules:
        unknown = [rule for rule in wish.rules if rule not in {row["rule"] for row in rows}]
        if unknown:
            raise ControlError(f"there is no rule {unknown[0]!r}{_left_out(station, unknown[0])}")
        rows = [row for row in rows if row["rule"] in wish.rules]
    rows = sorted(rows, key=_urgency)
    if wish.as_json:
        say(json.dumps({"running": running, "alarms": rows}, ensure_ascii=False))
        return 0
    for row in rows:
        say(_line(row, zone))
    if not rows:
        say(f"no rules{_left_out(station) or ': add [[rule]] to the configuration'}")
    return 0


def _as_journaled(station: config.Station) -> list[dict[str, Any]]:
    """The list as the journal has it. Raises ControlError where there is none, or none that can be read."""
    from gateway.alarms import AlarmFold
    from gateway.alarms_config import watch
    from gateway.journal_reader import JournalReader
    from gateway.journal_store import Unreadable

    fold = AlarmFold(watch(station))
    if not (station.data / "journal.db").exists():
        raise ControlError(f"no service runs on {station.data}, and there is no journal either")
    try:
        reader = JournalReader(station.data)
    except (OSError, Unreadable) as e:
        raise ControlError(f"no service runs on {station.data}; its journal cannot be read: {e}") from None
    state = reader.memory.folds.get(fold.name)
    reader.close()
    if state is not None:
        fold.restore(state.encode())
    return fold.standing()


def _urgency(row: Row) -> tuple[int, int, str]:
    order = (*_ORDER, *_LAST)
    state = row["state"]
    priorities = ("critical", "high", "low")
    priority = row["priority"]
    return (
        order.index(state) if state in order else len(order),
        priorities.index(priority) if priority in priorities else len(priorities),
        row["rule"],
    )


def _line(row: Row, zone: ZoneInfo) -> str:
    """One alarm on one line: state, priority, rule, where, how much, since when, and what silences it."""
    state = str(row["state"])
    words = [_WORDS.get(state, state).ljust(22), row["priority"].ljust(8), row["rule"]]
    words.append(" ".join(part for part in (row["sensor"], row["quantity"]) if part))
    if row.get("value") is not None:
        words.append(f"{row['value']:g} {row['unit']}".strip())
        if row.get("limit") is not None:
            words.append(f"(limit {row['limit']:g})")
    if row.get("occurrence") and row.get("since_ms") and state != "normal":
        words.append(f"since {_clock(row['since_ms'], zone)}")
    if "condition" in row:
        until = f" until {_clock(row['until_ms'], zone)}" if "until_ms" in row else ""
        owner = f" by {row['by']}" if row.get("by") else ""
        why = f": {row['why']}" if row.get("why") else ""
        words.append(f"[{_WORDS.get(row['condition'], row['condition'])};{until}{owner}{why}]")
    return "  ".join(words)


def _clock(utc_ms: int, zone: ZoneInfo) -> str:
    try:
        return datetime.fromtimestamp(utc_ms / 1000, zone).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return "?"


def _seconds(text: str) -> float:
    try:
        return duration(text.strip(), "alarms shelve: --for")
    except CaseError as e:
        raise ConfigError([str(e)]) from None
