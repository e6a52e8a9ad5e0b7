"""Rules and contacts as they stand in TOML files other than station.toml: operators' own tests, rule sets.

The keys are those of station.toml (gateway.config_parts checks them there, with one line for every mistake).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from alerts.policy import Contact, Quiet
from alerts.rules import Kind, Priority, Rule, Tier

_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|min|h|d)")
_CLOCK = re.compile(r"(\d\d):(\d\d)")
_RULE_KEYS = {
    "id", "sensor", "quantity", "unit", "above", "below", "change", "no_data", "fault", "hysteresis", "over",
    "nowcast", "and", "every", "on_delay", "off_delay", "latching", "priority", "season", "hours", "digits",
    "send", "watch", "stuck", "start_up", "parent", "kind",
}  # fmt: skip


class CaseError(ValueError):
    """A case file that cannot be used: file, key, what is wrong, what is allowed."""


def rule_from(table: Mapping[str, Any], where: str) -> Rule:
    """A rule as it stands in station.toml; `every` (the sensor's interval) and `digits` beside it. Raises
    CaseError, RuleError.
    """
    only(table, _RULE_KEYS, where, "")
    high, low = table.get("above"), table.get("below")
    change_s = 0.0
    if "change" in table:
        amount, _, per = str(table["change"]).partition("/")
        high, change_s = float(amount), duration(per.strip(), where)
    if "no_data" in table:
        kind = Kind.NO_DATA
    elif table.get("fault"):
        kind = Kind.FAULT
    elif "watch" in table:
        kind = Kind(table["watch"])
    elif "stuck" in table:
        kind = Kind.STUCK
    elif high is None and low is None:
        raise CaseError(f"{where}: one of above, below, change, no_data, fault, stuck, watch is needed")
    else:
        kind = Kind.OUTSIDE if None not in (high, low) else Kind.ABOVE if low is None else Kind.BELOW
    over = table.get("over", "reading")
    every_s = duration(table.get("every", "10 s"), where)
    hours = table.get("hours")
    return Rule(
        id=str(table.get("id", "rule")),
        sensor=str(table.get("sensor", "")),
        kind=kind,
        quantity=str(table.get("quantity", "")),
        unit=str(table.get("unit", "")),
        low=low,
        high=high,
        hysteresis=float(table.get("hysteresis", 0)),
        on_delay_s=duration(table.get("on_delay", "0 s"), where),
        off_delay_s=duration(table.get("off_delay", "0 s"), where),
        latching=bool(table.get("latching", False)),
        priority=Priority(table.get("priority", "high")),
        no_data_s=duration(table.get("no_data", "10 min"), where),
        gap_s=max(10.0, 3 * every_s),
        over_s=0.0 if over == "reading" else duration(over, where),
        every_s=every_s,
        nowcast=bool(table.get("nowcast", False)),
        change_s=change_s,
        and_rule=str(table.get("and", "")),
        months=season(table["season"], where) if "season" in table else (),
        hours=(minutes(hours["from"], where), minutes(hours["to"], where)) if hours else None,
        stuck_s=duration(table["stuck"], where) if "stuck" in table else 0.0,
        start_up_s=duration(table.get("start_up", "0 s"), where),
        parent=str(table.get("parent", "")),
        digits=int(table.get("digits", 1)),
        send=tuple(_tier(tier, where) for tier in table.get("send", [])),
    )


def contact_from(table: Mapping[str, Any], name: str) -> Contact:
    only(table, {"id", "phone", "language", "quiet"}, f"{name}: contact", "")
    quiet = None
    if "quiet" in table:
        hours = table["quiet"]
        quiet = Quiet(
            minutes(hours["from"], name),
            minutes(hours["to"], name),
            Priority(hours.get("except", "critical")),
        )
    return Contact(str(table["id"]), str(table.get("phone", "")), str(table.get("language", "en")), quiet)


def _tier(words: Sequence[str], where: str) -> Tier:
    waits = [duration(word.removeprefix("after "), where) for word in words if word.startswith("after ")]
    return Tier(tuple(w for w in words if not w.startswith("after ")), waits[0] if waits else 0.0)


def season(text: str, where: str) -> tuple[int, ...]:
    """The months of "5-9", or of "11-3" over the new year."""
    match = re.fullmatch(r"(\d{1,2})(?: ?- ?(\d{1,2}))?", str(text))
    ends = [int(month) for month in (match[1], match[2] or match[1])] if match else []
    if not ends or not all(1 <= month <= 12 for month in ends):
        raise CaseError(f'{where}: season: {text!r} is no season; write "5-9", or "11-3"')
    return tuple((ends[0] - 1 + i) % 12 + 1 for i in range((ends[1] - ends[0]) % 12 + 1))


def minutes(text: str, name: str) -> int:
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise CaseError(f'{name}: quiet: {text!r} is no time of day; write "22:00"')
    return int(match[1]) * 60 + int(match[2])


def duration(text: Any, where: str) -> float:
    match = _DURATION.fullmatch(str(text))
    if match is None:
        raise CaseError(f'{where}: {text!r} is no duration; write "90 s", "10 min", "2 h" or "1 d"')
    return float(match[1]) * _UNITS[match[2]]


def only(table: Mapping[str, Any], allowed: set[str], where: str, prefix: str) -> None:
    for key in table:
        if key not in allowed:
            raise CaseError(f"{where}: {prefix}{key}: not known; allowed are {', '.join(sorted(allowed))}")
