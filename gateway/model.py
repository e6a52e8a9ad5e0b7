"""The core types: what a reading, an average, an event and a record are. Frozen; nothing is updated in place.

They are msgspec structs (decision D2): as cheap as tuples to make, and their JSON is made from these
definitions. Those that hold no other objects are not looked at by the garbage collector (`gc=False`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec


class Flag(IntEnum):
    """Quality flags, the QARTOD integers (IOOS QARTOD, Manual for Real-Time Quality Control, table of
    flags).
    """

    GOOD = 1
    NOT_EVALUATED = 2
    SUSPECT = 3
    FAIL = 4
    MISSING = 9


class Stamp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When something was: UTC as known then, and the boot's own steady clock, so that it can be dated
    again.
    """

    utc_ms: int
    boot: str
    mono_ms: int
    synced: bool


class Value(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One number of a reading. `raw` is what the instrument said and is never overwritten; `value` is
    corrected.
    """

    raw: float
    value: float
    unit: str
    flag: int
    why: str = ""


class Reading(msgspec.Struct, frozen=True, tag="reading", tag_field="kind"):
    """One answer of one instrument. `calibration` numbers the ledger's entry used; 0 means as the
    instrument says.
    """

    sensor: str
    model: str
    medium: str
    at: Stamp
    values: dict[str, Value]
    calibration: int = 0


class Event(msgspec.Struct, frozen=True, tag="event", tag_field="kind"):
    """Something that happened: started, fault, loss, clock_step, alarm … `detail` holds plain JSON values."""

    at: Stamp
    what: str
    detail: dict[str, Any]


class Mean(msgspec.Struct, frozen=True, array_like=True):
    """One quantity of an average, made of `used` values of `expected`; None where there was none to use."""

    mean: float | None
    minimum: float | None
    maximum: float | None
    used: int
    expected: int
    unit: str
    flag: int
    why: str = ""


class Average(msgspec.Struct, frozen=True, tag="average", tag_field="kind"):
    """The values of one sensor over one window, from `start_ms` up to and without the moment of `at`.

    `length_s` names the window (86400: the station's local day, which a change of clocks makes an hour longer
    or shorter). `revision` grows when late readings correct an average; the latest counts.
    """

    sensor: str
    model: str
    medium: str
    at: Stamp
    start_ms: int
    length_s: int
    values: dict[str, Mean]
    revision: int = 0


Body = Reading | Average | Event


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A journal entry. `seq` grows by one for every record of the station and is never reused."""

    seq: int
    body: Body
