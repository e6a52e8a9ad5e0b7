"""Standards: what a buffer is worth at its temperature, what is stable, and what is accepted. Pure.

A buffer's value is not the number on its bottle: 10.01 is 10.18 at 10 degC, 9.18 is 9.33. Tables:

    4.01 6.86 9.18   phthalate, phosphate 1:1, borax: R. P. Buck and others, Measurement of pH (IUPAC
                     Recommendations 2002), Pure Appl. Chem. 74, 2169-2200; NIST SRM 185, 186, 187; DIN 19266
                     C, D, E. Of these the printed tables were not seen. Seen, and the same figure by figure:
                     the table in Analog Devices' software for CN0398 (cn0398.h); but for borax at 50 degC,
                     9.010 there. Within 0.011: the NBS formula for phthalate (Hetzer and others 1977, J. Res.
                     NBS 81A). Within 0.015: JIS Z 8802 as HORIBA prints it ("The basis of pH").
    4.00 7.00 10.01  technical buffers, "American": Foxboro MI 611-211 (October 2005), table 7: seen, figure
                     by figure. Bottles differ between makers by some 0.02: the table on the bottle counts,
                     and may be given.

tests/test_buffers.py and test_calibration.py hold them against these.

Slope and offset: Nernst, 59.16 mV a pH at 25 degC.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

NERNST_MV = 59.16
"""At 25 degC; R T ln(10) / F."""

_T = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0)
_T45 = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0)
BUFFERS: dict[float, tuple[tuple[float, ...], tuple[float, ...]]] = {
    4.01: (_T, (4.000, 3.998, 3.997, 3.998, 4.000, 4.005, 4.011, 4.018, 4.027, 4.050)),
    6.86: (_T, (6.984, 6.951, 6.923, 6.900, 6.881, 6.865, 6.853, 6.844, 6.838, 6.833)),
    9.18: (_T, (9.464, 9.395, 9.332, 9.276, 9.225, 9.180, 9.139, 9.102, 9.068, 9.011)),
    4.00: (_T45, (4.00, 4.00, 4.00, 4.00, 4.00, 4.00, 4.01, 4.02, 4.03, 4.04, 4.06)),
    7.00: (_T45, (7.12, 7.09, 7.06, 7.04, 7.02, 7.00, 6.99, 6.99, 6.98, 6.98, 6.97)),
    10.01: (_T45, (10.32, 10.25, 10.18, 10.12, 10.06, 10.01, 9.97, 9.93, 9.89, 9.86, 9.83)),
}
"""By the number on the bottle, pH at 25 degC: temperatures in degC, and the pH there."""


@dataclass(frozen=True, slots=True)
class Stable:
    """A reading is stable when all of the last `over_s` lie within `within` of each other."""

    within: float
    over_s: float
    least: int = 3
    """Readings it takes at least."""


STABLE = {
    "ph": Stable(0.02, 30.0),
    "orp": Stable(2.0, 30.0),
    "water_temperature": Stable(0.2, 30.0),
}
KEEPS: dict[str, tuple[float, float]] = {
    "ph": (0.2, 0.0),
    "water_temperature": (0.2, 0.0),
    "conductivity": (5.0, 3.0),
    "turbidity": (0.5, 5.0),
    "dissolved_oxygen": (0.3, 0.0),
    "orp": (10.0, 0.0),
}
"""An error in a standard that needs no adjustment: in the quantity's unit, or in percent of the standard,
whichever is greater. USGS TM 1-D3, criteria for data corrections, from memory (the document's tables were
not to be seen); of redox our own."""
KEEPS_OTHERS = (0.5, 5.0)


def buffer_ph(nominal: float, temperature_degc: float) -> float | None:
    """What a pH buffer is worth; None for a bottle that has no table, or outside of it."""
    table = BUFFERS.get(round(nominal, 2))
    if table is None or not math.isfinite(temperature_degc):
        return None
    degc, ph = table
    if not degc[0] <= temperature_degc <= degc[-1]:
        return None
    for (t0, p0), (t1, p1) in pairwise(zip(degc, ph, strict=True)):
        if temperature_degc <= t1:
            return round(p0 + (p1 - p0) * (temperature_degc - t0) / (t1 - t0), 4)
    return None


def standard_value(quantity: str, nominal: float, temperature_degc: float | None) -> tuple[float, str]:
    """The value of a standard at its temperature, and where that is from."""
    if quantity == "ph" and temperature_degc is not None:
        found = buffer_ph(nominal, temperature_degc)
        if found is not None:
            return found, f"table {nominal:.2f} at {temperature_degc:g} degC"
    return nominal, "as printed on the bottle"


def stable_for(quantity: str, around: float) -> Stable:
    """The criterion where station.toml gives none: by table, else 2 % of the standard."""
    return STABLE.get(quantity, Stable(max(abs(around) * 0.02, 0.1), 30.0))


def keeps(quantity: str, standard: float, found: float) -> bool:
    """Whether an error is so small that the sensor may stay as it is."""
    within, percent = KEEPS.get(quantity, KEEPS_OTHERS)
    return abs(found - standard) <= max(within, abs(standard) * percent / 100)


def judge(seen: Sequence[tuple[float, float]], criterion: Stable) -> tuple[bool, float, float]:
    """Of (time in s, value): whether stable, the spread, and over how many seconds it was looked at. A slow
    instrument is looked at for as many readings as it takes.
    """
    if not seen:
        return False, math.inf, 0.0
    end_s = seen[-1][0]
    recent = sum(t >= end_s - criterion.over_s for t, _ in seen)
    last = seen[-max(recent, criterion.least) :]
    spread = max(v for _, v in last) - min(v for _, v in last)
    covered_s = end_s - seen[0][0]
    enough = covered_s >= criterion.over_s and len(last) >= criterion.least
    return enough and spread <= criterion.within, spread, min(covered_s, criterion.over_s)


def electrode(points: Sequence[tuple[float, float]]) -> tuple[float | None, float | None]:
    """Slope in % of Nernst and offset in mV of a pH electrode from (true pH, reading), relative to the
    calibration it reads by: between the outermost points, and at pH 7.
    """
    if not points:
        return None, None
    ordered = sorted(points)
    if len(ordered) == 1:
        true, read = ordered[0]
        return None, -(read - true) * NERNST_MV
    (t0, r0), (t1, r1) = ordered[0], ordered[-1]
    if t1 == t0:
        return None, None
    slope = (r1 - r0) / (t1 - t0)
    at_7 = r0 + slope * (7.0 - t0)
    return 100 * slope, -(at_7 - 7.0) * NERNST_MV
