"""The time of the mobile network, as a modem gives it.

    > AT+CCLK?        < +CCLK: "94/05/06,22:10:00+08"      6th of May 1994, 22:10:00, GMT+2 h: 20:10:00 UTC
                                 yy MM dd hh mm ss ±zz      zz: quarters of an hour that local time is ahead

The standard's <time> is local time, and its own example is the one above (3GPP TS 27.007, 8.15, Release 18).
Some modems give UTC there, and beside it the zone all the same (u-blox SARA-R4: arduino-libraries/MKRNB,
issue 28), so `meaning` says which this modem does. The zone may be missing where the network told none: then
nothing is known. Two-digit years from 80 on are of the last century: what clocks begin with that nobody set.

Networks tell the time when a modem registers (NITZ, 3GPP TS 22.042), and how right it is is the operator's
matter: `UNCERTAINTY_S` is our judgement, not measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Meaning = Literal["local", "utc"]

UNCERTAINTY_S = 5.0
ZONE_LIMIT = 56
"""Quarters of an hour: no place is further than 14 h from UTC."""

_TIME = re.compile(
    r'\+CCLK:\s*"?\s*(\d{4}|\d{2})/(\d{2})/(\d{2})\s*,\s*(\d{2}):(\d{2}):(\d{2})\s*([+-]\d{1,2})?\s*"?\s*(?:,\d)?'
)


class NoTime(Exception):
    """The modem does not say what time it is, or not so that it can be used."""


@dataclass(frozen=True, slots=True)
class NetworkTime:
    """UTC to the second, and how far the network's local time is ahead of it."""

    utc_ms: int
    zone_min: int


def read_time(line: str, meaning: Meaning = "local") -> NetworkTime:
    """The time in an answer to AT+CCLK?. Pure. Raises NoTime."""
    found = _TIME.fullmatch(line.strip())
    if found is None:
        raise NoTime(f"the modem's time is not understood: {line.strip()[:60]!r}")
    if found[7] is None:
        raise NoTime("the modem gives no time zone: the network has told it none")
    zone = int(found[7])
    if abs(zone) > ZONE_LIMIT:
        raise NoTime(f"the modem's time zone of {zone} quarters of an hour is none")
    year = int(found[1]) if len(found[1]) == 4 else int(found[1]) + (1900 if int(found[1]) >= 80 else 2000)
    month, day, hour, minute, second = (int(found[n]) for n in range(2, 7))
    try:
        said = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        if meaning == "local":
            said -= timedelta(minutes=15 * zone)
    except (ValueError, OverflowError) as e:
        raise NoTime(f"the modem's time is none: {e}") from None
    return NetworkTime(round(said.timestamp() * 1000), 15 * zone)
