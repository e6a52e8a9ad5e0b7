"""Parts of the station that need only to be made or looked at: a bus with its instruments, the averages, how
all of them are doing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivers.link import Link
from gateway.bus import Bus, Sensor
from gateway.follow import Follower
from gateway.journal import Fold
from gateway.supervise import Pulse

if TYPE_CHECKING:
    from gateway import config
    from gateway.station import Station


def bus(station: Station, wire: config.Wire) -> Bus:
    """A port with its instruments."""
    link = Link(wire.port, wire.line, framing=wire.framing, echo=wire.echo)
    sensors = [
        Sensor(
            id=sensor.id,
            model=sensor.model,
            medium=sensor.medium or "station",
            every_s=sensor.every_s,
            instrument=station.config.instrument(sensor),
            checks=station.checks[sensor.id],
            live=station.calibrations.live(sensor.id),
        )
        for sensor in wire.sensors
    ]
    beat = Beat(station.pulse, f"bus.{wire.id}")
    return Bus(wire.id, link, sensors, station.journal.append, station.clock.stamp, beat)


def average_folds(wanted: config.Station) -> list[Fold]:
    """The fold that makes averages; imported only for a station whose sinks ask for any, or may have to."""
    sinks = [sink for sink in (wanted.mqtt, wanted.influxdb) if sink is not None]
    if not any(sink.budget is not None or any(s.kind == "average" for s in sink.send) for sink in sinks):
        return []
    from gateway.averages import averages

    return [averages(wanted)]


def place(wanted: config.Station) -> dict[str, Any]:
    """Name and position for the event `started`: what a map at the centre needs."""
    found = {"name": wanted.name, "latitude": wanted.latitude, "longitude": wanted.longitude}
    return {key: value for key, value in found.items() if value not in (None, "")}


class Beat:
    """A part's sign of life."""

    def __init__(self, pulse: Pulse, part: str) -> None:
        self._pulse, self._part = pulse, part

    def __call__(self, within_s: float) -> None:
        self._pulse.beat(self._part, within_s)


def health(station: Station) -> dict[str, Any]:
    """How every part is doing, for the status message."""
    sensors = {
        sensor.id: {
            "state": sensor.state,
            "expected": sensor.expected,
            "taken": sensor.taken,
            "failed": sensor.failed,
            "not_ready": sensor.not_ready,
            "skipped": sensor.skipped,
            **({"why": sensor.why} if sensor.why else {}),
        }
        for bus in station.buses
        for sensor in bus.sensors
    }
    sinks = {name: _sink_health(follower) for name, follower in station.followers.items()}
    found: dict[str, Any] = {"sensors": sensors, "sinks": sinks, "seq": station.journal.committed_seq}
    held = max((follower.progress.held for follower in station.followers.values()), default=0)
    found["clock"] = {"synced": station.clock.synced, "source": station.clock.source, "held": held}
    if station.clock.doubt is not None:
        found["clock"]["doubt"] = station.clock.doubt
    if station.sms is not None:
        found["sms"] = station.sms.health()
    if standing := station.maintenance.standing(station.clock.stamp()):
        found["maintenance"] = standing
    if station.live is not None:
        found["grafana_live"] = station.live.health()
    if station.journal.trouble is not None:
        found["journal"] = station.journal.trouble
    return found


def _sink_health(follower: Follower) -> dict[str, Any]:
    progress, budget = follower.progress, follower.budget
    health: dict[str, Any] = {"backlog": progress.backlog, "delivered": progress.delivered}
    if progress.refused:
        health["refused"] = progress.refused
    if progress.sent is not None:
        health["sent"] = progress.sent
    if progress.history:
        health["history"] = progress.history
    if follower.gathering.wait_s:
        health["every_s"] = follower.gathering.wait_s
    if budget is not None:
        health |= {"sends": budget.level.name.lower(), "left_bytes": round(budget.left_bytes)}
    if progress.down_since_ms is not None:
        health |= {"down_since_ms": progress.down_since_ms, "error": progress.last_error}
    return health
