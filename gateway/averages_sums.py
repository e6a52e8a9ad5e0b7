"""What an average remembers of its values: sums, however many values there were. Pure.

How a mean is made, by quantity (`METHODS`; everything else is the plain mean):

    ph              of the activity of the hydrogen ions, -log10(mean(10^-pH)): pH is a logarithm, so the
                    plain mean of 4 and 8 is 6, and what half of each water together has is 4.3. US FDA, ORA
                    Laboratory Manual, volume III, section 4 (activity, mean, back to pH); C. Wolkersdorfer,
                    "Calculation of the mean value of pH measurements", 2020, who asks to say which mean it
                    is.
                    Waters that buffer do not mix so: where the plain mean or the median is prescribed, the
                    table says that instead.
    wind_direction  of vectors, each as long as the wind was fast, and of unit vectors where the instrument
                    gives no speed: 350 and 10 degrees make 0 and not 180. US EPA, EPA-454/R-99-005, 6.2.2.

Sums are kept in two floats each, the second holding what rounding took from the first (D. E. Knuth, The Art
of Computer Programming, volume 2, 4.2.2, theorem B): a day of values at one a second is as good as exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from gateway.calibration import MAINTENANCE
from gateway.model import Flag, Value

LIMIT = 1e150
"""What is beyond is no measurement, and would make the sums infinite."""
PH_RANGE = (-3.0, 17.0)
"""No water is outside of it, and one such value would be the whole mean of the ions."""
STEP = 0.01
"""A median is right to this: values are counted by steps, so that memory does not grow with their number."""
INCOMPLETE = "incomplete"
"""Why a mean of too few values is SUSPECT."""
CALM = 1e-9
"""A mean vector shorter than this, of the mean speed, points nowhere."""


class Method(StrEnum):
    """How the mean of a quantity is made."""

    ARITHMETIC = "arithmetic"
    HYDROGEN = "hydrogen"
    MEDIAN = "median"
    VECTOR = "vector"


METHODS: Mapping[str, Method] = {"ph": Method.HYDROGEN, "wind_direction": Method.VECTOR}
ALLOWED: Mapping[str, tuple[Method, ...]] = {
    "ph": (Method.HYDROGEN, Method.ARITHMETIC, Method.MEDIAN),
    "wind_direction": (Method.VECTOR,),
}
"""What the table may say of a quantity; of one that is not here, only the plain mean."""


class Sums(msgspec.Struct, array_like=True):
    """One quantity in one window. `good` and `suspect` count how the used values were flagged."""

    used: int = 0
    good: int = 0
    suspect: int = 0
    total: float = 0.0
    rest: float = 0.0
    low: float = 0.0
    high: float = 0.0
    more: list[float] | dict[int, int] | None = None
    """Of vectors the northern total, its rest and the sum of speeds; of a median how often each step came."""

    def kept(self) -> list[object]:
        """As a list for the journal, without what says nothing."""
        if not self.used:
            return []
        plain: list[object] = [self.used, self.good, self.suspect, self.total, self.rest, self.low, self.high]
        return plain if self.more is None else [*plain, self.more]


Plain = tuple[str, int, float, float]
"""Quantity, flag, the value, and what of it is summed."""
Special = tuple[str, int, float, float | None]
"""Quantity, flag, the value, and for a vector its length."""


def sort_out(
    values: Mapping[str, Value], usable: frozenset[int], methods: Mapping[str, Method]
) -> tuple[list[Plain], list[Special], list[str]]:
    """What of a reading is summed plainly, what otherwise, and which quantities cannot be used."""
    plain: list[Plain] = []
    special: list[Special] = []
    bad: list[str] = []
    for name, v in values.items():
        x = v.value
        if (
            v.flag not in usable
            or not -LIMIT < x < LIMIT
            or (v.flag == Flag.SUSPECT and MAINTENANCE in v.why)
        ):  # NaN is neither
            bad.append(name)
        elif name not in methods or methods[name] is Method.ARITHMETIC:
            plain.append((name, v.flag, x, x))
        elif methods[name] is Method.VECTOR:
            speed = values.get("wind_speed")
            if speed is None:
                special.append((name, v.flag, x, 1.0))
            elif speed.flag in usable and 0.0 <= speed.value < LIMIT:
                special.append((name, v.flag, x, speed.value))
            else:
                bad.append(name)
        elif not PH_RANGE[0] <= x <= PH_RANGE[1]:
            bad.append(name)
        elif methods[name] is Method.HYDROGEN:
            plain.append((name, v.flag, x, 10.0**-x))
        else:
            special.append((name, v.flag, x, None))
    return plain, special, bad


def add_plain(sums: dict[str, Sums], entries: Iterable[Plain]) -> None:
    """Add values to a window's sums."""
    for name, flag, x, y in entries:
        s = sums.get(name)
        if s is None:
            s = sums[name] = Sums()
        if not s.used:
            s.low = s.high = x
        elif x < s.low:
            s.low = x
        elif x > s.high:
            s.high = x
        s.used += 1
        if flag == 1:
            s.good += 1
        elif flag == 3:
            s.suspect += 1
        old = s.total
        s.total = new = old + y
        part = new - old
        s.rest += (old - (new - part)) + (y - part)


def add_special(sums: dict[str, Sums], entries: Iterable[Special]) -> None:
    """Add vectors, and values of which the median is wanted."""
    for name, flag, x, length in entries:
        if length is None:
            add_plain(sums, [(name, flag, x, x)])
            s = sums[name]
            if not isinstance(s.more, dict):
                s.more = {}
            step = round(x / STEP)
            s.more[step] = s.more.get(step, 0) + 1
            continue
        angle = math.radians(x)
        add_plain(sums, [(name, flag, x, length * math.sin(angle))])
        s = sums[name]
        if not isinstance(s.more, list) or len(s.more) != 3:
            s.more = [0.0, 0.0, 0.0]
        old, rest, lengths = s.more
        y = length * math.cos(angle)
        new = old + y
        part = new - old
        s.more[:] = (new, rest + (old - (new - part)) + (y - part), lengths + length)


def mean(s: Sums, method: Method | None) -> float | None:
    """The mean of what was summed; None when there was nothing, or when vectors cancel each other."""
    if not s.used:
        return None
    of_plain = (s.total + s.rest) / s.used
    match method:
        case Method.HYDROGEN:
            of_plain = -math.log10(of_plain)
        case Method.MEDIAN if isinstance(s.more, dict):
            of_plain = _median(s.more, s.used)
        case Method.VECTOR if isinstance(s.more, list) and len(s.more) == 3:
            east, north = s.total + s.rest, s.more[0] + s.more[1]
            if math.hypot(east, north) <= CALM * s.more[2]:
                return None
            return math.degrees(math.atan2(east, north)) % 360.0 % 360.0  # -1e-20 % 360 is 360
    return min(max(of_plain, s.low), s.high)  # rounding may carry it past them


def flag(s: Sums, expected: int, complete: float) -> tuple[int, str]:
    """The flag of a mean and why."""
    if not s.used:
        return int(Flag.MISSING), "no usable value"
    if s.used < complete * expected:
        return int(Flag.SUSPECT), INCOMPLETE
    if s.suspect:
        return int(Flag.SUSPECT), "suspect values"
    return int(Flag.GOOD if s.good == s.used else Flag.NOT_EVALUATED), ""


def _median(steps: Mapping[int, int], used: int) -> float:
    """The middle value, or the mean of the two in the middle."""
    before = 0
    middle: list[int] = []
    wanted = ((used - 1) // 2, used // 2)
    for step in sorted(steps):
        before += steps[step]
        middle += [step] * sum(n < before for n in wanted[len(middle) :])
        if len(middle) == 2:
            break
    return sum(middle) * STEP / 2 if middle else 0.0
