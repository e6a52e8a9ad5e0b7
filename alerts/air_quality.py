"""NowCast and US air quality index (AQI) of PM2.5 and PM10, as they are since 6 May 2024. Pure.

    NowCast     of the hourly means c of the last twelve hours, the latest 0 hours ago: w = smallest /
                largest, at least 0.5; sum of c w^i over sum of w^i. The steadier the air, the longer the
                mean. US EPA, "PM NowCast" (fact sheet P100X0J6). At least two of the last three hours must be
                there; the hours go in as they are, only the result is cut: AirNow technical forum, "The
                NowCast for PM2.5 and PM10".
    cut         to 0.1 (PM2.5) or 1 (PM10), never rounded. Then the index is read from the table, linearly
                between two breakpoints, and rounded: AirNow technical forum, "The AQI Equation (2024 - Valid
                Beginning May 6th, 2024)"; EPA-454/B-24-002, chapter IV, table 6. Of the document only the
                beginning was seen; the table is as those give it who took it from there.
    above 500   along the last line of the table, as the EPA is said to do (second-hand as well).

Our own choice: an hour below 0 counts as 0. An index of one pollutant is named after it; the AQI of a place
is the highest of all pollutants, gases too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

HOURS = 12
"""Of which a NowCast is made."""
LATEST, NEEDED = 3, 2
"""Of the latest three hours two must be there."""
LEAST_WEIGHT = 0.5
UNIT = "ug/m3"
"""In which the table is."""

_STEPS = {"pm2_5": 10, "pm10": 1}
"""Steps to which a concentration is cut, in one ug/m3."""
_INDEX = ((0, 50), (51, 100), (101, 150), (151, 200), (201, 300), (301, 500))
_BREAKPOINTS = {
    "pm2_5": ((0, 90), (91, 354), (355, 554), (555, 1254), (1255, 2254), (2255, 3254)),
    "pm10": ((0, 54), (55, 154), (155, 254), (255, 354), (355, 424), (425, 604)),
}
"""In steps: 354 is 35.4 ug/m3 of PM2.5."""
PARTICLES = tuple(_BREAKPOINTS)


def nowcast(hours: Mapping[int, float]) -> float | None:
    """The NowCast of hourly means, by how many hours ago they were (0: the latest whole hour); as it is, not
    cut. None while too many are missing.
    """
    if sum(ago in hours for ago in range(LATEST)) < NEEDED:
        return None
    means = {ago: max(0.0, mean) for ago, mean in hours.items() if 0 <= ago < HOURS}
    largest = max(means.values())
    weight = max(LEAST_WEIGHT, min(means.values()) / largest) if largest > 0 else 1.0
    return sum(c * weight**ago for ago, c in means.items()) / sum(weight**ago for ago in means)


def cut(quantity: str, concentration: float) -> float:
    """The concentration as it goes into the index: 35.49 of PM2.5 is 35.4."""
    return _steps(quantity, concentration) / _STEPS[quantity]


def index(quantity: str, concentration: float) -> int:
    """The AQI of a 24-hour mean or a NowCast in ug/m3."""
    steps = _steps(quantity, concentration)
    lines = list(zip(_BREAKPOINTS[quantity], _INDEX, strict=True))
    (low, high), (least, most) = next((line for line in lines if steps <= line[0][1]), lines[-1])
    over = 2 * ((most - least) * (steps - low) + least * (high - low)) + (high - low)
    return over // (2 * (high - low))  # to the nearest, a half upwards, without a fraction on the way


def _steps(quantity: str, concentration: float) -> int:
    # A mean of values that are all 9.1 may be 9.099999999999998, which is not 9.0.
    return max(0, math.floor(concentration * _STEPS[quantity] + 1e-9))
