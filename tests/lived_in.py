"""Thirty days that an emulated station has behind it, for whoever looks at long charts: days and nights, two
rains, a probe that reads wrong for some hours, a dead day, an outage of everything, an alarm that was
acknowledged, a calibration and a visit. Real records in a real journal; the same each time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path

from gateway.model import Body, Event, Reading, Stamp, Value
from tests.journal_making import make_journal

MIN_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
DAYS = 30
WRONG = (2.6, 2.3)
"""Days before the end: from when to when the pH probe read wrong (FAIL), and two hours more doubtful."""
DEAD = (12.0, 11.0)
"""The turbidity probe said nothing."""
OFF = (6.3, 6.05)
"""The whole station had no power."""
RAINS = (19.4, 4.2)
CALIBRATED = 2.2


def lived(folder: Path, end_ms: int, *, every_ms: int = 10 * MIN_MS, close_ms: int = 0) -> None:
    """Fill an empty data folder up to `end_ms`; the last `close_ms` before it with a reading every 2 s."""
    folder.mkdir(parents=True, exist_ok=True)
    bodies = sorted(_bodies(end_ms, every_ms, close_ms), key=lambda body: body.at.utc_ms)
    make_journal(folder, bodies, 2000)


def _bodies(end_ms: int, every_ms: int, close_ms: int) -> Iterator[Body]:
    chance = random.Random(7)
    at = end_ms - DAYS * DAY_MS
    while at < end_ms:
        yield from _readings(at, (end_ms - at) / DAY_MS, chance)
        at += 2000 if end_ms - at <= close_ms else every_ms
    yield from _events(end_ms)


def _readings(at_ms: int, ago: float, chance: random.Random) -> Iterator[Reading]:
    """What each instrument says `ago` days before the end."""
    stamp = Stamp(at_ms, "lived", at_ms % DAY_MS, True)
    if OFF[1] < ago < OFF[0]:
        return
    day = math.sin(2 * math.pi * (at_ms % DAY_MS) / DAY_MS - 1.2)
    rain = sum(math.exp(-((since - 0.25) ** 2) / 0.02) for r in RAINS if (since := r - ago) > -1)
    water = 6.5 + 2.1 * day + chance.gauss(0, 0.03)
    ph, flag, why = 7.35 - 0.12 * day - 0.25 * rain + chance.gauss(0, 0.008), 1, ""
    if WRONG[1] < ago < WRONG[0]:
        ph, flag, why = ph + 2.2 + chance.gauss(0, 0.3), 4, "gross"
    elif WRONG[1] - 0.1 < ago <= WRONG[1]:
        flag, why = 3, "rate"
    yield _reading("ph1", "yosemitech-y532", "water", stamp, "ph", round(ph, 2), "pH", flag, why, water)
    if not DEAD[1] < ago < DEAD[0]:
        turbidity = max(0.5, 6 + 2 * day + 62 * rain + chance.gauss(0, 0.5))
        yield _reading(
            "turb1", "yosemitech-y511", "water", stamp, "turbidity", round(turbidity, 1), "NTU", 1, "", water
        )
    dust = max(2.0, 28 - 14 * day + 40 * max(0.0, math.sin(ago * 0.7)) ** 6 + chance.gauss(0, 2.5))
    for sensor, model in (("dust1", "plantower"), ("dust2", "sps30")):
        fine = round(dust + chance.gauss(0, 1), 1)
        values = {"pm2_5": Value(fine, fine, "ug/m3", 1), "pm10": Value(fine + 9, fine + 9, "ug/m3", 1)}
        yield Reading(sensor, model, "air", stamp, values)


def _reading(
    sensor: str,
    model: str,
    medium: str,
    stamp: Stamp,
    quantity: str,
    value: float,
    unit: str,
    flag: int,
    why: str,
    water: float,
) -> Reading:
    own = Value(value, value, unit, flag, why) if why else Value(value, value, unit, flag)
    degc = round(water, 1)
    return Reading(
        sensor, model, medium, stamp, {quantity: own, "water_temperature": Value(degc, degc, "degC", 1)}
    )


def _events(end_ms: int) -> Iterator[Event]:
    def event(ago: float, what: str, **detail: object) -> Event:
        at = round(end_ms - ago * DAY_MS)
        return Event(Stamp(at, "lived", at % DAY_MS, True), what, dict(detail))

    def alarm(ago: float, was: str, to: str, **more: object) -> Event:
        about = {"rule": "turbidity-high", "sensor": "turb1", "quantity": "turbidity", "unit": "NTU"}
        return event(ago, "alarm", **about, **{"from": was, "to": to, "priority": "critical", **more})

    yield event(DAYS - 0.001, "started", version="0.1.0")
    for rain in RAINS:
        yield alarm(rain - 0.12, "normal", "active_unacknowledged", value=52.4)
        yield alarm(rain - 0.13, "active_unacknowledged", "active_acknowledged", by="Aibek (SMS)")
        yield alarm(rain - 0.39, "active_acknowledged", "normal", value=44.1)
    for begin, end, sensor, why in ((*DEAD, "turb1", "dead"), (*OFF, "ph1", "power_off")):
        detail = {"sensor": sensor, "why": why, "slots": round((begin - end) * DAY_MS / 2000)}
        span = {"from_ms": end_ms - round(begin * DAY_MS), "to_ms": end_ms - round(end * DAY_MS)}
        yield event(end, "gap", **detail, **span)
    for sensor, missed in (("ph1", {}), ("turb1", {"dead": 43200, "no_answer": 4})):
        sums = {"expected": 302_400, "taken": 302_400 - sum(missed.values()), "flagged": 12, "missed": missed}
        hour = {"from_ms": end_ms - 2 * HOUR_MS, "to_ms": end_ms - HOUR_MS}
        yield event(1 / 24, "ledger", sensor=sensor, **hour, **sums, withheld={"mqtt": 357})
    yield event(OFF[1], "started", version="0.1.0")
    yield event(CALIBRATED + 0.02, "maintenance", sensor="ph1", on=True, by="Aibek", why="calibration")
    yield event(CALIBRATED, "calibrated", sensor="ph1", quantity="ph", by="Aibek", verdict="passed", number=3)
    span = {"from_ms": end_ms - round(2.25 * DAY_MS), "to_ms": end_ms - round(2.15 * DAY_MS)}
    done = [{"at_ms": span["from_ms"] + 900_000, "what": "calibrated", "sensor": "ph1"}]
    yield event(2.15, "visit", **span, by=["Aibek"], sensors=["ph1"], why=["calibration"], events=done)
