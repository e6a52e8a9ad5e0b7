"""Corrections as versions: what makes of a raw number a value, since when, and who says so. Pure.

    raw ── live version of that moment ──► value as it was journaled
                                             │  a later version: drift and fouling of that stretch,
                                             ▼  known since the visit at its end
                                           value as it counts now          (`corrected`)

A version is never changed and never taken back: a later number counts instead, for the moments that it holds
for. The number is the sensor's; `Reading.calibration` says which was the latest when it was read. Raw numbers
are never touched. Kinds:

    none         as the instrument says (after a calibration inside the instrument)
    offset       value = raw + offset                                  one point
    linear       value = slope x raw + offset                          two points, or least squares of more
    points       straight lines between three or more points, the outer ones prolonged
    drift        value + share x (fouling + drift(value)), share growing from 0 at `from_ms` to 1 at `to_ms`
    humidity     pm2_5 = 0.524 x pm2_5_cf1 - 0.0862 x RH + 5.75        (Barkjohn 2021)
    temperature  conductivity / (1 + 0.0191 (T - 25)), or pH by Nernst's slope

Sources. Drift and fouling: R. J. Wagner and others, Guidelines and standard procedures for continuous
water-quality monitors, USGS Techniques and Methods 1-D3 (2006), "Application of data corrections": fouling is
after minus before cleaning less what the water itself did meanwhile, drift is standard minus reading after
cleaning, both grow linearly since the last visit. Humidity: K. Barkjohn and others, Atmos. Meas. Tech. 14,
4617-4637 (2021): Plantower sensors in PurpleAir housings, CF=1, 24 h means, outdoor PM2.5 of the USA, RH as
measured in the housing. Conductivity: Standard Methods 2510 B, 1.91 % a degree, natural waters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from gateway.model import Flag, Reading, Stamp, Value

LIVE_KINDS = ("none", "offset", "linear", "points", "humidity", "temperature")
BARKJOHN_HIGHEST = 343.0
"""ug/m3 (CF=1); above, the straight line is no longer the sensors' (US EPA's AirNow goes over to a curve)."""
PERCENT = ("conductivity", "turbidity", "dissolved_oxygen", "suspended_solids", "level")
"""Quantities whose errors grow with the value: their drift is spread as a percentage, that of pH, temperature
and redox in their own unit (TM 1-D3, table of correction criteria).
"""


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """One correction of one quantity of one sensor."""

    number: int
    sensor: str
    quantity: str
    kind: str
    from_ms: int
    to_ms: int | None = None
    """It holds for readings before this moment; None: until a later version."""
    offset: float = 0.0
    slope: float = 1.0
    points: tuple[tuple[float, float], ...] = ()
    """points: (raw, value). drift: (reading, what is to be added to it at the end)."""
    fouling: float = 0.0
    percent: bool = False
    formula: str = ""
    beside: str = ""
    """SENSOR.QUANTITY that the formula needs."""
    basis: str = ""
    """In words: from what it was made, by which method, with which co-location."""
    by: str = ""


class BadPoints(ValueError):
    """Points from which no correction can be made."""


Correct = Callable[[Mapping[str, float], float | None], tuple[float, str]]
"""Raw numbers of a measurement, and what stands beside it, to a value, and why it is none ("" if it is)."""


def corrected(reading: Reading, quantity: str, versions: Iterable[Version]) -> tuple[float, int]:
    """The value of a quantity as it counts now, and the number of the version it comes from.

    Of the versions of this sensor and quantity that hold for the reading's moment, the latest live one and
    the latest drift count. A version that was in force when it was read is in the journaled value already.
    """
    value, number = reading.values[quantity].value, reading.calibration
    live, drift = None, None
    t_ms = reading.at.utc_ms
    for v in versions:
        if v.sensor != reading.sensor or v.quantity != quantity or v.number <= reading.calibration:
            continue
        if not (v.from_ms <= t_ms and (v.to_ms is None or t_ms < v.to_ms)):
            continue
        if v.kind == "drift":
            drift = v if drift is None or v.number > drift.number else drift
        elif v.kind not in ("humidity", "temperature") and (live is None or v.number > live.number):
            live = v  # those two need what stood beside it then
    if live is not None:
        value, number = simple(live, reading.values[quantity].raw), live.number
    if drift is not None:
        value, number = value + drift_at(drift, value, t_ms), max(number, drift.number)
    return value, number


def corrected_reading(reading: Reading, versions: Sequence[Version]) -> Reading:
    """The same reading with all its values as they count now; raw and flags as they are."""
    values, latest = {}, reading.calibration
    for name, v in reading.values.items():
        value, number = corrected(reading, name, versions)
        values[name] = v if value == v.value else Value(v.raw, value, v.unit, v.flag, v.why)
        latest = max(latest, number)
    if latest == reading.calibration:
        return reading
    return msgspec.structs.replace(reading, values=values, calibration=latest)


def drift_at(version: Version, value: float, t_ms: int) -> float:
    """What a drift correction adds to a value of that moment."""
    if version.to_ms is None or version.to_ms <= version.from_ms:
        return 0.0
    share = min(max((t_ms - version.from_ms) / (version.to_ms - version.from_ms), 0.0), 1.0)
    whole = version.fouling + (between(version.points, value) if version.points else 0.0)
    return share * whole * (value / 100 if version.percent else 1.0)


def between(points: Sequence[tuple[float, float]], x: float) -> float:
    """Straight lines between the points; outside of them as at the nearest one."""
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]


def simple(version: Version, raw: float) -> float:
    """The value of a kind that needs nothing but the raw number."""
    if version.kind == "offset":
        return raw + version.offset
    if version.kind == "linear":
        return version.slope * raw + version.offset
    if version.kind == "points":
        pairs = list(pairwise(version.points))
        (x0, y0), (x1, y1) = next((p for p in pairs if raw <= p[1][0]), pairs[-1])
        return y0 + (y1 - y0) * (raw - x0) / (x1 - x0)
    return raw


def make_correct(version: Version) -> Correct | None:
    """The function that corrects a fresh measurement; None where the raw number is the value."""
    name = version.quantity
    if version.kind == "humidity":
        return _barkjohn
    if version.kind == "temperature":
        return _conductivity_25 if version.formula == "conductivity-25" else _nernst
    if version.kind in ("offset", "linear", "points"):
        return lambda raws, beside: (simple(version, raws[name]), "")
    return None


@dataclass(slots=True)
class Live:
    """What is done to the raw numbers of one sensor now. The fold changes it, the bus reads it."""

    number: int
    of: dict[str, Callable[[Mapping[str, float], Stamp], tuple[float, str]]]
    maintenance: bool = False


MAINTENANCE = "maintenance"
"""Why a value is SUSPECT while somebody works at its sensor; no average uses it."""


# ── versions from points ────────────────────────────────────────────────────────────────────────────────────


def fit(points: Sequence[tuple[float, float]], way: str = "") -> dict[str, object]:
    """The kind and its parameters from pairs of (raw, true value). Raises BadPoints.

    One point: offset. Two: linear. Three and more: straight lines between them ("points"), or with `way`
    "least-squares" one straight line that leaves the least sum of squares.
    """
    found = sorted((float(x), float(y)) for x, y in points)
    if not found:
        raise BadPoints("no point: measure at least one standard")
    if not all(math.isfinite(x) and math.isfinite(y) for x, y in found):
        raise BadPoints("a point is not a number")
    if len(found) == 1:
        [(x, y)] = found
        return {"kind": "offset", "offset": y - x}
    for (x0, y0), (x1, y1) in pairwise(found):
        if x1 - x0 <= 1e-9 * max(abs(x0), abs(x1), 1e-3) or y1 <= y0:
            text = f"it reads {x0:g} in {y0:g} and {x1:g} in {y1:g}"
            raise BadPoints(f"{text}: readings must grow with the standards; is it the right bottle?")
    if len(found) == 2 or way == "least-squares":
        x_mean = math.fsum(x for x, _ in found) / len(found)
        y_mean = math.fsum(y for _, y in found) / len(found)
        slope = math.fsum((x - x_mean) * (y - y_mean) for x, y in found)
        slope /= math.fsum((x - x_mean) ** 2 for x, _ in found)
        return {"kind": "linear", "slope": slope, "offset": y_mean - slope * x_mean}
    return {"kind": "points", "points": tuple(found)}


def fouling(before: float, after: float, side_before: float | None, side_after: float | None) -> float:
    """What fouling took from the reading: to be added at the end of the stretch. `side_…`: a second meter in
    the same water before and after the cleaning, for what the water itself did (TM 1-D3, steps 3 and 4).
    """
    water = 0.0 if side_before is None or side_after is None else side_after - side_before
    return (after - before) - water


def back_distributed(
    sensor: str,
    quantity: str,
    *,
    number: int,
    from_ms: int,
    to_ms: int,
    fouled: float = 0.0,
    fouled_at: float = 0.0,
    drifted: Sequence[tuple[float, float]] = (),
    by: str = "",
) -> Version | None:
    """The drift version of the stretch since the last visit; None where there is nothing to correct.

    `fouled` in the quantity's unit, found at the reading `fouled_at`; `drifted` are pairs (reading, standard)
    after the cleaning. Quantities of PERCENT are spread as percentages of the reading.
    """
    percent = quantity in PERCENT
    if to_ms <= from_ms:
        return None
    added: list[tuple[float, float]] = []
    for reading, standard in sorted(drifted):
        if percent and reading == 0.0:
            continue  # a zero standard has no percentage
        amount = standard - reading
        added.append((reading, 100 * amount / reading if percent else amount))
    if percent:
        fouled = 100 * fouled / fouled_at if fouled_at else 0.0
    if not any(amount for _, amount in added) and not fouled:
        return None
    return Version(
        number, sensor, quantity, "drift", from_ms, to_ms, points=tuple(added), fouling=fouled,
        percent=percent, by=by, basis="fouling and drift since the last visit, linear in time (TM 1-D3)",
    )  # fmt: skip


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────


def flagged(level: int, why: str, more: str) -> tuple[int, str]:
    """A flag that is SUSPECT at least, for one more reason."""
    why = f"{why}, {more}" if why else more
    return (level if level in (Flag.SUSPECT, Flag.FAIL, Flag.MISSING) else int(Flag.SUSPECT)), why


def _barkjohn(raws: Mapping[str, float], beside: float | None) -> tuple[float, str]:
    mass = raws.get("pm2_5_cf1")
    if mass is None or beside is None or not math.isfinite(mass):
        return raws[
            "pm2_5"
        ], "no humidity for the correction" if beside is None else "no CF=1 for the correction"
    if not (0.0 <= mass <= BARKJOHN_HIGHEST and 0.0 <= beside <= 100.0):
        return raws["pm2_5"], "outside of the correction's range"
    return 0.524 * mass - 0.0862 * beside + 5.75, ""


def _conductivity_25(raws: Mapping[str, float], beside: float | None) -> tuple[float, str]:
    raw = raws["conductivity"]
    if beside is None or not 0.0 <= beside <= 50.0:
        return raw, "no temperature for the correction"
    return raw / (1 + 0.0191 * (beside - 25)), ""


def _nernst(raws: Mapping[str, float], beside: float | None) -> tuple[float, str]:
    raw = raws["ph"]
    if beside is None or not 0.0 <= beside <= 60.0:
        return raw, "no temperature for the correction"
    return 7 + (raw - 7) * 298.15 / (beside + 273.15), ""
