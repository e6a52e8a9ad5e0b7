"""What InfluxDB says to a write, and what it means. Pure.

Sources: InfluxDB 1.8 and 2.7 documentation, /write and /api/v2/write; the texts as InfluxDB 1.6.7 and
VictoriaMetrics 1.79 give them.
"""

from __future__ import annotations

from enum import Enum, auto

import msgspec

DAMAGED = ("gzip", "flate", "unexpected EOF")
"""In a 400: the request did not arrive as it was sent, which its gzip checksum tells (RFC 1952, 2.3.1)."""


class Answer(msgspec.Struct, frozen=True):
    """What a server said to a write. `retry_after_s` where it named a time."""

    status: int
    text: str
    retry_after_s: float | None = None


class Verdict(Enum):
    """What became of the lines of a write, and what to do."""

    WRITTEN = auto()
    TOO_OLD = auto()
    """All written but those that are older than the database keeps, by its owner's wish."""
    DAMAGED = auto()
    """The same again: it was damaged on the way."""
    REFUSED = auto()
    """One line at least is at fault; the others may be written."""
    TOO_LARGE = auto()
    NO_RIGHT = auto()
    NO_DATABASE = auto()
    AWAY = auto()
    """The same again, later."""


def verdict(answer: Answer) -> Verdict:
    """Judge an answer by its status, and by its text where the status says too little."""
    status, text = answer.status, answer.text
    if status in (200, 204):
        return Verdict.WRITTEN
    if status in (400, 422):
        if "beyond retention policy" in text and "field type" not in text and "parse" not in text:
            return Verdict.TOO_OLD
        if "unable to parse" not in text and any(damage in text for damage in DAMAGED):
            return Verdict.DAMAGED
        return Verdict.REFUSED
    if status == 413:
        return Verdict.TOO_LARGE
    if status in (401, 403):
        return Verdict.NO_RIGHT
    return Verdict.NO_DATABASE if status == 404 else Verdict.AWAY
