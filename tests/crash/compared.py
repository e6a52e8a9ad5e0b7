"""What there was to compare between a station that was ended and one that was not, and where they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.model import Average, Body, Event, Record


@dataclass
class Tally:
    """What there was to compare."""

    windows: Counter[int] = field(default_factory=Counter)
    straddling: Counter[int] = field(default_factory=Counter)
    """Windows that the station was ended in."""
    corrected: Counter[int] = field(default_factory=Counter)
    """Averages that took the place of one given before."""
    flags: Counter[str] = field(default_factory=Counter)
    """By reason; each test that spoke counts."""
    events: Counter[str] = field(default_factory=Counter)


def tally(records: Sequence[Record]) -> Tally:
    found, starts_ms = Tally(), [r.body.at.utc_ms for r in records if _is(r.body, "started")][1:]
    for record in records:
        body = record.body
        if isinstance(body, Average):
            length_s = body.length_s
            found.windows[length_s] += 1
            found.straddling[length_s] += any(body.start_ms < ms < body.at.utc_ms for ms in starts_ms)
            found.corrected[length_s] += body.revision > 0
        elif isinstance(body, Event):
            found.events[body.what] += 1
            if body.what == "flagged":
                found.flags["spike"] += 1
        else:
            for value in body.values.values():
                found.flags.update(value.why.split(", ") if value.why else ())
    return found


def _is(body: Body, what: str) -> bool:
    return isinstance(body, Event) and body.what == what


def difference(one: Sequence[Record], other: Sequence[Record]) -> list[str]:
    """Where two rows of records differ first, for people; empty where they do not."""
    for i in range(max(len(one), len(other))):
        left, right = (row[i] if i < len(row) else None for row in (one, other))
        if left != right:
            return [
                f"record {i} of {len(one)} and {len(other)}:",
                f"  killed      {left}",
                f"  in one go   {right}",
            ]
    return []
