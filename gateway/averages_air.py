"""What is derived from averages of particles in air: the NowCast and the US air quality index. Pure.

    hour     pm2_5_nowcast, pm2_5_aqi    of this hour and the eleven before it (alerts.air_quality)
    day      pm2_5_aqi                   of the local day's mean

and the same of pm10. They are quantities like others in the average that they belong to, with the flag of
what they were made of; `used` of a NowCast counts hours. An hour counts when its average is complete. A late
reading that changes an hour changes the NowCast of the hours behind it as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from alerts.air_quality import HOURS, PARTICLES, UNIT, cut, index, nowcast
from gateway.averages_sums import INCOMPLETE
from gateway.model import Flag, Mean

HOUR_S = 3600
HOUR_MS = 3_600_000
INDEX_UNIT = "AQI"

Hours = dict[str, dict[int, tuple[float, int]]]
"""By quantity, and by the hour (of UTC, since 1970): its mean and that mean's flag."""


def note(hours: Hours, hour: int, values: Mapping[str, Mean], keep: int) -> bool:
    """Remember the means of an hour, and forget what no NowCast needs of the `keep` newest hours. True when
    something is now otherwise than it was.
    """
    changed = False
    for name in PARTICLES:
        known = hours.get(name, {})
        m = values.get(name)
        if m is not None and m.mean is not None and m.unit == UNIT and m.why != INCOMPLETE:
            changed |= known.get(hour) != (m.mean, m.flag)
            known[hour] = (m.mean, m.flag)
            oldest = max(known) - HOURS - keep + 2
            hours[name] = {number: mean for number, mean in known.items() if number >= oldest}
        elif known.pop(hour, None) is not None:
            changed = True
    return changed


def forget_behind(hours: Hours, hour: int) -> None:
    """Forget what is later than this hour: the clock was set back."""
    for known in hours.values():
        for number in [number for number in known if number > hour]:
            del known[number]


def hourly(hours: Hours, hour: int, values: Mapping[str, Mean]) -> dict[str, Mean]:
    """The NowCast of an hour and its index, for the particles that its average has."""
    derived: dict[str, Mean] = {}
    for name in _in(values):
        of = {hour - number: known for number, known in hours.get(name, {}).items()}
        of = {ago: known for ago, known in of.items() if 0 <= ago < HOURS}
        value = nowcast({ago: mean for ago, (mean, _) in of.items()})
        level, why = int(Flag.MISSING), "too few hours"
        if value is not None:
            level, why = _worst(level for _, level in of.values()), ""
        for what, number, unit in (
            ("nowcast", None if value is None else cut(name, value), UNIT),
            ("aqi", None if value is None else float(index(name, value)), INDEX_UNIT),
        ):
            derived[f"{name}_{what}"] = Mean(number, None, None, len(of), HOURS, unit, level, why)
    return derived


def daily(values: Mapping[str, Mean]) -> dict[str, Mean]:
    """The index of a day's means."""
    return {
        f"{name}_aqi": Mean(
            None if m.mean is None else float(index(name, m.mean)),
            None, None, m.used, m.expected, INDEX_UNIT, m.flag, m.why,
        )
        for name, m in _in(values).items()
    }  # fmt: skip


def _in(values: Mapping[str, Mean]) -> dict[str, Mean]:
    return {name: values[name] for name in PARTICLES if name in values and values[name].unit == UNIT}


def _worst(levels: Iterable[int]) -> int:
    found = set(levels)
    return next(int(level) for level in (Flag.SUSPECT, Flag.NOT_EVALUATED, Flag.GOOD) if level in found)
