"""A month of a station, made up fast, with a story in it: into a real journal, with its real ledger.

1.10. 00:00 (Bishkek) … 8.10.       pH and turbidity every 10 min, dust every 10 min, battery every hour
2.10. 10:00 to 14:00                no power: nothing is read
3.10. 12:00 to 13:00                turbidity 95: an alarm, acknowledged by Aibek
4.10.                               dust at 80: above every daily limit
5.10. 06:00                         a spike of pH, told one reading later
6.10. 09:00 to 09:40                a visit: maintenance, calibration, a drift correction of the days before
Where more days are wanted, for pictures:

12. to 14.10.                       rain: turbidity up to 46
17.10. 03:00 to 09:00               much more: an alarm, acknowledged by Nurbek
20.10. 06:00 to 21.10. 18:00        pH stands still and is doubtful
24. to 27.10.                       winter smog
"""

from __future__ import annotations

import asyncio
import math
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.calibration import Version
from gateway.clock import Clock
from gateway.journal import Journal
from gateway.ledger import GapLedger
from gateway.model import Body, Event, Reading, Stamp, Value

ZONE = ZoneInfo("Asia/Bishkek")
BEGIN_MS = round(datetime(2026, 10, 1, tzinfo=ZONE).timestamp() * 1000)
DAY_MS, HOUR_MS, STEP_MS = 86_400_000, 3_600_000, 600_000
DAYS = 8
DUST = (("pm2_5", 1.0), ("pm10", 1.5), ("n0_3", 9.0))
TOML = """
[station]
id = "kyia"
name = "{name}"
timezone = "Asia/Bishkek"
language = "{language}"
latitude = 41.7
longitude = 71.6
data = "data"

[[sensor]]
id = "ph1"
port = "/dev/ttyUSB0"
model = "yosemitech-y532"
address = 1
every = "10 min"

[[sensor]]
id = "turb1"
port = "/dev/ttyUSB1"
model = "yosemitech-y511"
address = 2
every = "10 min"

[[sensor]]
id = "dust1"
port = "/dev/ttyUSB2"
model = "plantower"
every = "10 min"

[[contact]]
id = "duty"
phone = "+996555000001"

[[rule]]
id = "turbidity-high"
sensor = "turb1"
quantity = "turbidity"
unit = "NTU"
above = 50
priority = "high"
send = [["duty"]]
"""


def at(day: int, hour: float) -> int:
    """Milliseconds of a local time: the day of October."""
    return BEGIN_MS + (day - 1) * DAY_MS + round(hour * HOUR_MS)


def stamp(utc_ms: int) -> Stamp:
    if utc_ms < at(2, 12):
        return Stamp(utc_ms, "boot0001", utc_ms - BEGIN_MS + 5 * HOUR_MS, True)
    return Stamp(utc_ms, "boot0002", utc_ms - at(2, 14) + STEP_MS, True)


VISIT = (at(6, 9), at(6, 9) + 40 * 60_000)
STORM, STILL = (at(17, 3), at(17, 9)), (at(20, 6), at(21, 18))
DRIFT = Version(2, "ph1", "ph", "drift", at(1, 0), VISIT[0], points=((4.1, -0.1), (7.2, -0.2)), by="Aibek")
ALARM = {"rule": "turbidity-high", "occurrence": 1, "sensor": "turb1", "quantity": "turbidity", "unit": "NTU",
         "value": 95.0, "limit": 50.0, "worst": 95.0, "priority": "high", "since_ms": at(3, 12)}  # fmt: skip
ENTRY: dict[str, Any] = {
    "sensor": "ph1", "quantity": "ph", "unit": "pH", "number": 2, "by": "Aibek", "began_ms": VISIT[0],
    "ended_ms": VISIT[1], "verdict": "passed", "reasons": [], "slope_percent": 97.2, "offset_mv": -3.5,
    "fouling": -0.12, "next_due_ms": VISIT[1] + 30 * DAY_MS, "versions": [2],
    "points": [{"value": 4.0, "found": 4.1, "left": 4.01, "lot": "LOT-4"},
               {"value": 7.0, "found": 7.2, "left": 7.0, "lot": "LOT-7"}],
}  # fmt: skip


def later(ms: int, ph: float, turb: float, dust: float) -> tuple[float, float, float]:
    """What is measured behind the eighth day."""
    noise = (ms // STEP_MS * 7919 % 1000) / 1000 - 0.5
    ph, turb, dust = ph + 0.03 * noise, turb * (1 + 0.2 * noise), dust * (1 + 0.3 * noise)
    if at(12, 0) <= ms < at(15, 0):
        turb += 38 * math.sin(math.pi * (ms - at(12, 0)) / (3 * DAY_MS)) ** 2
    if STORM[0] <= ms < STORM[1]:
        turb += 55 + 50 * math.sin(math.pi * (ms - STORM[0]) / (STORM[1] - STORM[0]))
    if STILL[0] <= ms < STILL[1]:
        ph = 7.31
    if at(24, 0) <= ms < at(28, 0):
        dust += 45 * math.sin(math.pi * (ms - at(24, 0)) / (4 * DAY_MS))
    return round(ph, 3), round(turb, 2), round(dust, 1)


def bodies(days: int = DAYS, **texts: str) -> list[Body]:
    """What the journal is given, in its order. `texts`: other names, for those who attack with names."""
    by, why, rule = texts.get("by", "Aibek"), texts.get("why", "cleaning"), texts.get("rule", ALARM["rule"])
    found: list[Body] = [
        Event(stamp(BEGIN_MS), "started", {"version": "0.1.0", "left_out": []}),
        Event(stamp(BEGIN_MS), "configuration", {"sha256": "ab" * 32, "version": "0.1.0", "text": "x"}),
    ]
    for step in range(days * 144):
        ms = BEGIN_MS + step * STEP_MS
        if at(2, 10) <= ms < at(2, 14):
            continue
        x, now = step / 144, stamp(ms)
        work = VISIT[0] <= ms < VISIT[1]
        why_ph = (3, "maintenance") if work else (1, "")
        ph = round(7.4 + 0.3 * math.sin(2 * math.pi * x) + 0.02 * x, 3)
        if ms == at(5, 6):
            ph = 9.9
        turb = 95.0 if at(3, 12) <= ms < at(3, 13) else round(5 + 2 * math.cos(2 * math.pi * x), 2)
        dust = 80.0 if at(4, 0) <= ms < at(5, 0) else round(12 + 4 * math.sin(2 * math.pi * x), 1)
        if ms >= at(DAYS + 1, 0):
            ph, turb, dust = later(ms, ph, turb, dust)
            why_ph = (3, "flat line") if STILL[0] <= ms < STILL[1] else why_ph
        masses = {q: Value(k * dust, k * dust, "ug/m3", 2) for q, k in DUST}
        number = 2 if ms > VISIT[1] else 0
        if ms == VISIT[0]:
            found.append(Event(now, "maintenance", {"sensor": "ph1", "minutes": 40, "by": by, "why": why}))
        found += [
            Reading("ph1", "yosemitech-y532", "water", now, {"ph": Value(ph, ph, "pH", *why_ph)}, number),
            Reading("turb1", "yosemitech-y511", "water", now, {"turbidity": Value(turb, turb, "NTU", 1)}),
            Reading("dust1", "plantower", "air", now, masses),
        ]
        if ms % HOUR_MS == 0:
            volts = round(12.6 - 0.1 * x, 2)
            found.append(Reading("bat1", "x", "power", now, {"voltage": Value(volts, volts, "V", 1)}))
        for storm, what in ((STORM[0], "raised"), (at(17, 4), "acknowledged"), (STORM[1], "cleared")):
            if ms == storm:
                said = {"what": what, "occurrence": 2, "worst": 110.0, "since_ms": STORM[0], "by": "Nurbek"}
                found.append(Event(now, "alarm", ALARM | {"from": "pending"} | said))
        if ms == at(3, 12):
            found.append(Event(now, "alarm", ALARM | {"what": "raised", "from": "pending", "rule": rule}))
        elif ms == at(3, 12.5):
            found.append(Event(now, "alarm", ALARM | {"what": "acknowledged", "by": by, "rule": rule}))
        elif ms == at(3, 14):
            found.append(Event(now, "alarm", ALARM | {"what": "cleared", "by": "", "rule": rule}))
        elif ms == VISIT[1]:
            visit = {"from_ms": VISIT[0], "to_ms": VISIT[1], "by": [by], "why": [why], "sensors": ["ph1"],
                     "ended": by, "events": []}  # fmt: skip
            found += [
                Event(now, "correction", msgspec.to_builtins(DRIFT)),
                Event(now, "calibrated", ENTRY | {"by": by}),
                Event(now, "visit", visit),
            ]
    return found


class MonthClock(Clock):
    """Says what time the story has."""

    def __init__(self) -> None:
        self.now_ms = BEGIN_MS

    def stamp(self) -> Stamp:
        return stamp(self.now_ms)


def keep(
    folder: Path, *, language: str = "ru", name: str = "Kanysh-Kyia", days: int = DAYS, **texts: str
) -> Path:
    """The journal in `folder`/data, and its station.toml, which is given back."""

    async def job() -> None:
        every_s = {"ph1": 600.0, "turb1": 600.0, "dust1": 600.0, "bat1": 3600.0}
        clock = MonthClock()
        journal = Journal(folder / "data", clock, make_key=True, folds=[GapLedger(every_s)])
        await journal.open()
        spike = 0
        for body in bodies(days, **texts):
            clock.now_ms = body.at.utc_ms
            record = journal.append([body])[0]
            if isinstance(body, Reading) and body.sensor == "ph1":
                if spike and body.at.utc_ms == at(5, 6) + STEP_MS:
                    about = {"sensor": "ph1", "medium": "water", "quantity": "ph", "seq": spike, "flag": 4,
                             "why": "spike", "raw": 9.9, "unit": "pH", "time_ms": at(5, 6)}  # fmt: skip
                    journal.append([Event(clock.stamp(), "flagged", about)])
                spike = record.seq if body.at.utc_ms == at(5, 6) else spike
                if body.at.utc_ms % HOUR_MS == 5 * 60_000 * 2:
                    journal.tick()
                if body.at.utc_ms % (6 * HOUR_MS) == 0:
                    assert await journal._settle()
        for minutes in (5, 10, 80):
            clock.now_ms = at(days + 1, minutes / 60)
            journal.tick()
        await journal.close()

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "station.toml"
    file.write_text(TOML.format(name=name, language=language), encoding="utf-8")
    asyncio.run(job())
    return file
