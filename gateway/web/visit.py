"""What a technician at the station has under way: the calibration, maintenance, and what can be calibrated.

The page asks it when it is opened: a reload, or a phone that slept, goes on where the station is. Whoever has
another name sees who is at it, but gets no key to that session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.calibrate import PREFERRED
from gateway.web.endpoint import Ask, Endpoint

if TYPE_CHECKING:
    from gateway.bus_sensor import Sensor


async def visit(ask: Ask) -> Any:
    station = ask.site.station
    stamp = station.clock.stamp()
    session = station.desk.under_way()
    mine = session is not None and bool(ask.name) and session["by"] == ask.name
    if session is not None and not mine:
        session = {name: session[name] for name in ("sensor", "by", "step")}
    return {
        "session": session,
        "mine": mine,
        "maintenance": [
            {**work, "until_ms": stamp.utc_ms + 1000 * work["left_s"]}
            for work in station.maintenance.standing(stamp)
        ],
        "sensors": [_sensor(ask, sensor) for bus in station.buses for sensor in bus.sensors],
    }


def _sensor(ask: Ask, sensor: Sensor) -> dict[str, Any]:
    """What can be calibrated there, what first, and which bottles it takes."""
    wanted = next(s for s in ask.site.station.config.sensors if s.id == sensor.id).calibration
    offered = getattr(sensor.instrument, "calibrates", None)
    if wanted.method == "station":
        offered = None
    names = [q.name for q in sensor.instrument.quantities]
    first = offered.quantity if offered is not None else next((n for n in PREFERRED if n in names), "")
    known = ask.site.station.calibrations.known(sensor.id)
    return {
        "id": sensor.id,
        "model": sensor.model,
        "quantities": sorted(names, key=lambda name: name != first),
        "in_water": first in PREFERRED,
        "kept": "station" if offered is None else "instrument",
        "bottles": list(offered.standards) if offered is not None else [],
        "least": offered.least if offered is not None else 1,
        "most": offered.most if offered is not None else 8,
        "visited_ms": known.visited_ms,
        "every_s": wanted.every_s or None,
    }


ENDPOINTS = (Endpoint("GET", "/api/visit", visit, "The calibration and maintenance under way", "technician"),)
