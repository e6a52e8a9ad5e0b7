"""What happened in a month: alarms, calibrations, gaps and the rest, out of the journal's events.

Events are told in the order of the journal; those of the days behind the month only end what began in it.
Whatever a journal holds is taken as foreign text: what is not of the expected kind is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gateway.export_source import Span
from gateway.ledger_sums import HOUR_MS, Account, told
from gateway.model import Event, Record

ROWS_AT_MOST = 100
"""Of each kind; how many more there were is said."""
LOGGED = (
    "started", "stopped", "configuration", "reread", "sink_down", "loss", "power_cut", "journal_unreadable",
    "clock_step", "clock_set", "sensor_changed", "calibration_due", "slope_low", "station",
)  # fmt: skip


@dataclass(slots=True)
class Alarm:
    """One occurrence of a rule's alarm. Times in ms UTC; 0: not (yet)."""

    rule: str
    sensor: str
    quantity: str
    unit: str
    priority: str
    raised_ms: int
    limit: float | None = None
    worst: float | None = None
    cleared_ms: int = 0
    acknowledged_ms: int = 0
    by: str = ""


@dataclass(slots=True)
class Story:
    """The month's events, sorted out."""

    alarms: list[Alarm] = field(default_factory=list)
    calibrations: list[dict[str, Any]] = field(default_factory=list)
    visits: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    log: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    capture: dict[str, Account] = field(default_factory=dict)
    head: dict[str, Any] | None = None
    """The last chain_head that was published."""
    versions: set[str] = field(default_factory=set)
    """Of the program."""
    first_seq: int = 0
    last_seq: int = 0
    more: int = 0
    """Events that there was no room for."""


def story(events: Iterable[Record], span: Span) -> Story:
    """Sort the events of the month, and of some days after it, out."""
    found = Story()
    open_: dict[tuple[str, object], Alarm] = {}
    ledger: list[Record] = []
    for record in events:
        event = record.body
        if not isinstance(event, Event):
            continue
        at_ms, what, detail = event.at.utc_ms, event.what, event.detail
        if what == "ledger":
            if _ledger_like(detail):
                ledger.append(record)
        elif what == "alarm":
            _alarm(found, open_, at_ms, detail, span)
        elif what == "gap":
            begin_ms, end_ms = _ms(detail, "from_ms"), _ms(detail, "to_ms")
            if begin_ms < span.to_ms and end_ms >= span.from_ms:
                found.gaps.append(detail)
        elif at_ms >= span.to_ms:
            continue
        elif what == "calibrated":
            found.calibrations.append(detail)
        elif what == "visit":
            found.visits.append(detail)
        elif what == "chain_head":
            found.head = detail
        elif what in LOGGED:
            found.log.append((at_ms, what, detail))
            if what in ("started", "configuration") and isinstance(detail.get("version"), str):
                found.versions.add(detail["version"][:40])
    found.capture = told(ledger, _hour(span.from_ms), _hour(span.to_ms))
    found.gaps.sort(key=lambda gap: _ms(gap, "from_ms") - _ms(gap, "to_ms"))
    return found


def _alarm(
    found: Story, open_: dict[tuple[str, object], Alarm], at_ms: int, detail: dict[str, Any], span: Span
) -> None:
    rule, what = str(detail.get("rule", "")), detail.get("what")
    key = rule, detail.get("occurrence")
    alarm = open_.get(key)
    if alarm is None:
        if what not in ("raised", "acknowledged", "cleared", "recovering", "relapsed") or at_ms >= span.to_ms:
            return
        since_ms = _ms(detail, "since_ms") if what != "raised" else at_ms
        alarm = open_[key] = Alarm(
            rule, str(detail.get("sensor", "")), str(detail.get("quantity", "")), str(detail.get("unit", "")),
            str(detail.get("priority", "")), since_ms or at_ms,
        )  # fmt: skip
        found.alarms.append(alarm)
    for name in ("limit", "worst"):
        value = detail.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            setattr(alarm, name, float(value))
    if what == "cleared":
        alarm.cleared_ms = at_ms
    elif what == "acknowledged" and not alarm.acknowledged_ms:
        alarm.acknowledged_ms, alarm.by = at_ms, str(detail.get("by", ""))


def _ledger_like(detail: dict[str, Any]) -> bool:
    """Whether gateway.ledger_sums can count with it."""
    whole = all(type(detail.get(name)) is int for name in ("from_ms", "to_ms", "expected", "taken"))
    missed = detail.get("missed", {})
    return (
        whole
        and isinstance(detail.get("sensor"), str)
        and type(detail.get("flagged", 0)) is int
        and detail["expected"] > 0
        and detail["to_ms"] - detail["from_ms"] >= detail["expected"]
        and isinstance(missed, dict)
        and all(type(count) is int for count in missed.values())
    )


def _ms(detail: dict[str, Any], name: str) -> int:
    value = detail.get(name)
    return value if type(value) is int else 0


def _hour(ms: int) -> int:
    return ms // HOUR_MS * HOUR_MS
