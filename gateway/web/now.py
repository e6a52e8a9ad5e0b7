"""What is now: the last reading of every sensor, its quality, its age, its limits, and the light in one word.

A value has two times: `at_ms` when it was read, and `fresh_s`: after so long without another it is old,
whoever looks and whatever their own clock says (`now_ms` is the station's).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alerts.rules import Kind, Rule
from gateway.model import Reading
from gateway.web.endpoint import Ask, Endpoint

if TYPE_CHECKING:
    from gateway.bus import Sensor
    from gateway.web.page import Site

FRESH_CYCLES, FRESH_LEAST_S = 3.0, 10.0
SEEDED = 3000
"""Records looked at when the page starts, for the last readings before."""
UP = ("active_unacknowledged", "active_acknowledged")


def value_rows(reading: Reading, digits: dict[str, int]) -> list[dict[str, Any]]:
    """The values of a reading as the page and its stream have them."""
    return [
        {
            "quantity": name,
            "value": value.value,
            "raw": value.raw,
            "unit": value.unit,
            "flag": value.flag,
            "digits": digits.get(name, 2),
            **({"why": value.why} if value.why else {}),
        }
        for name, value in reading.values.items()
    ]


def sensor_row(site: Site, sensor: Sensor) -> dict[str, Any]:
    reading = sensor.last or site.before.get(sensor.id)
    digits = {quantity.name: quantity.digits for quantity in sensor.instrument.quantities}
    row: dict[str, Any] = {
        "id": sensor.id,
        "model": sensor.model,
        "medium": sensor.medium,
        "every_s": sensor.every_s,
        "fresh_s": max(FRESH_CYCLES * sensor.every_s, FRESH_LEAST_S),
        "state": sensor.state,
        "why": sensor.why,
        "at_ms": None,
        "values": [],
        "quantities": [
            {"name": q.name, "unit": q.unit, "digits": q.digits} for q in sensor.instrument.quantities
        ],
    }
    if reading is not None:
        row |= {
            "at_ms": site.true_ms(reading.at),
            "values": value_rows(reading, digits),
            "calibration": reading.calibration,
        }
    return row


def limit_row(rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.id,
        "sensor": rule.sensor,
        "quantity": rule.quantity,
        "unit": rule.unit,
        "low": rule.low,
        "high": rule.high,
        "over_s": rule.over_s,
        "priority": str(rule.priority),
    }


def alarm_rows(site: Site, *, technician: bool) -> list[dict[str, Any]]:
    """Every rule with its state; who did what and why is for technicians."""
    private = () if technician else ("by", "why")
    return [
        {key: value for key, value in row.items() if key not in private}
        for row in site.station.alarms.standing()
    ]


Rows = list[dict[str, Any]]


def light(sensors: Rows, alarms: Rows, limits: Rows, now_ms: int) -> dict[str, Any]:
    """The station in one colour: red an important limit is passed, yellow something to look at, grey nobody
    knows, green well.
    """
    up = [row for row in alarms if row["state"] in UP]
    passed = {limit["rule"] for limit in limits}
    old = [
        row["id"] for row in sensors if row["at_ms"] is None or now_ms - row["at_ms"] > row["fresh_s"] * 1000
    ]
    if any(row["rule"] in passed and row["priority"] in ("critical", "high") for row in up):
        colour = "red"
    elif sensors and len(old) == len(sensors):
        colour = "grey"
    elif up or old:
        colour = "yellow"
    else:
        colour = "green"
    return {"colour": colour, "alarms": [row["rule"] for row in up], "old": old}


def snapshot(site: Site, *, technician: bool) -> dict[str, Any]:
    station = site.station
    stamp = station.clock.stamp()
    sensors = [sensor_row(site, sensor) for bus in station.buses for sensor in bus.sensors]
    alarms = alarm_rows(site, technician=technician)
    if not technician:
        for row in sensors:
            row.pop("why")
    limits = [
        limit_row(rule)
        for rule in station.alarms.watch.rules.values()
        if rule.kind in (Kind.ABOVE, Kind.BELOW, Kind.OUTSIDE)
    ]
    wanted = station.config
    return {
        "station": {
            "id": wanted.id,
            "name": wanted.name,
            "timezone": wanted.timezone,
            "language": wanted.language,
        },
        "now_ms": stamp.utc_ms,
        "clock": {"synced": station.clock.synced, "source": station.clock.source},
        "seq": station.journal.committed_seq,
        "sensors": sensors,
        "alarms": alarms,
        "limits": limits,
        "light": light(sensors, alarms, limits, stamp.utc_ms),
    }


async def seed(site: Site) -> None:
    """Remember the last readings of before the start: the page then shows them, and how old they are."""
    journal = site.station.journal
    seq = max(0, journal.committed_seq - SEEDED)
    while records := await journal.after(seq, 500):
        for record in records:
            if type(record.body) is Reading:
                site.before[record.body.sensor] = record.body
        seq = records[-1].seq
        if seq >= journal.committed_seq:
            break


async def now(ask: Ask) -> Any:
    return snapshot(ask.site, technician=ask.technician)


ENDPOINTS = (
    Endpoint("GET", "/api/now", now, "The last reading of every sensor, alarms, limits and the light"),
)
