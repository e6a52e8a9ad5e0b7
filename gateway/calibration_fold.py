"""What the station remembers of calibrations: a fold of the journal (gateway.journal.Fold).

    Event "calibrated"  the ledger's entry: the sensor's next number, when it is due again
    Event "correction"  one Version (gateway.calibration): live from its moment on, or a stretch of history
    Event "identified"  who answers there: another serial number, a worn electrode
             │
             ├─► `live(sensor)`: what the bus does to the next raw number, and the number a reading carries
             └─► Event "sensor_changed", "slope_low", "calibration_due": once each, until it changes again

The entries themselves stay in the journal; the versions are small and are kept here for as long as the
station lives, so that neither a restart nor the journal's retention takes a correction out of force.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.calibration import LIVE_KINDS, Correct, Live, Version, make_correct
from gateway.model import Average, Body, Event, Reading, Record, Stamp

log = logging.getLogger(__name__)

VERSIONS_AT_MOST = 500
"""Of one sensor; older ones are in the journal."""
BESIDE_WITHIN_MS = 600_000
"""What stands beside a measurement may be so old."""
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Wants:
    """What station.toml says of one sensor's calibrations."""

    every_ms: int | None = None
    accept: tuple[float, float] = (85.0, 105.0)


class Known(msgspec.Struct):
    """One sensor, as the fold keeps it."""

    number: int = 0
    versions: list[Version] = []
    serial: str = ""
    calibrated_ms: int | None = None
    visited_ms: int | None = None
    """The last visit's end: from there on fouling and drift of the next one grow."""
    due_ms: int | None = None
    said_due_ms: int | None = None
    slope_low: bool = False
    changed: bool = False
    """Another serial number answers than at the last calibration."""
    verdict: str = ""

    @property
    def wanting(self) -> bool:
        """Somebody should come and calibrate."""
        due = self.said_due_ms is not None and self.said_due_ms == (self.due_ms or 0)
        return due or self.slope_low or self.changed


class Kept(msgspec.Struct):
    sensors: dict[str, Known] = {}
    wanting: list[str] = []
    """The sensors that were said to want a calibration."""
    beside: dict[str, Reading] = {}
    """The last reading of each sensor that formulas need: a restart must not wait for its next one."""


class CalibrationFold:
    """See the head of this file. `beside` names the sensors whose readings other sensors' formulas need."""

    name = "calibration"

    def __init__(self, wants: Mapping[str, Wants], beside: Sequence[str] = ()) -> None:
        self._wants = dict(wants)
        self._kept = Kept()
        self._live: dict[str, Live] = {sensor: Live(0, {}) for sensor in wants}
        self._beside = set(beside)

    # ── for the bus, the session, the page ──────────────────────────────────────────────────────────────

    def live(self, sensor: str) -> Live:
        return self._live.setdefault(sensor, Live(0, {}))

    def known(self, sensor: str) -> Known:
        return self._kept.sensors.get(sensor) or Known()

    def versions(self) -> list[Version]:
        """All that are remembered, of all sensors: for `gateway.calibration.corrected`."""
        return [version for known in self._kept.sensors.values() for version in known.versions]

    # ── a fold ──────────────────────────────────────────────────────────────────────────────────────────

    def step(self, record: Record) -> Sequence[Body]:
        body = record.body
        if isinstance(body, Reading):
            if body.sensor in self._beside:
                self._kept.beside[body.sensor] = body
            return ()
        if isinstance(body, Average) or body.what not in _OURS:
            return ()
        sensor = body.detail.get("sensor")
        if not isinstance(sensor, str):
            return ()
        known = self._kept.sensors.setdefault(sensor, Known())
        match body.what:
            case "calibrated":
                self._calibrated(sensor, known, body)
                return self._wanting(body.at)
            case "correction":
                self._correction(sensor, known, body.detail)
                return ()
        return [*self._identified(sensor, known, body), *self._wanting(body.at)]

    def tick(self, at: Stamp) -> Sequence[Body]:
        """Say what is due. Only while the time is known: a wrong clock shall not call a technician."""
        if not at.synced:
            return ()
        said: list[Body] = []
        for sensor, wants in self._wants.items():
            if wants.every_ms is None:
                continue
            known = self._kept.sensors.get(sensor)
            due_ms = None if known is None else known.due_ms
            if due_ms is None:
                due_ms = 0  # never calibrated
            if at.utc_ms < due_ms or (known is not None and known.said_due_ms == due_ms):
                continue
            known = self._kept.sensors.setdefault(sensor, Known())
            known.said_due_ms = due_ms
            detail: dict[str, Any] = {"sensor": sensor, "due_ms": due_ms or None}
            detail["calibrated_ms"] = known.calibrated_ms
            said.append(Event(at, "calibration_due", detail))
        return [*said, *self._wanting(at)] if said else ()

    def save(self) -> bytes:
        return msgspec.json.encode(self._kept)

    def restore(self, state: bytes) -> None:
        """Go on where a state was kept; raw numbers pass uncorrected, and it is said, where it is
        unreadable.
        """
        try:
            self._kept = msgspec.json.decode(state, type=Kept)
        except msgspec.DecodeError as e:
            log.error("calibrations: the kept state cannot be read, beginning anew: %s", e)
            self._kept = Kept()
        for sensor in {*self._live, *self._kept.sensors}:
            self._put(sensor)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    def _wanting(self, at: Stamp) -> list[Body]:
        """For rules with `watch = "calibration"` (as gateway.alarms_station): who wants one."""
        now = sorted(s for s, known in self._kept.sensors.items() if s in self._wants and known.wanting)
        if now == self._kept.wanting:
            return []
        self._kept.wanting = now
        detail = {"part": "calibration", "works": not now, "why": ", ".join(now)}
        return [Event(at, "station", detail)]

    def _calibrated(self, sensor: str, known: Known, event: Event) -> None:
        number = event.detail.get("number")
        if isinstance(number, int) and number > known.number:
            known.number = number
        known.verdict = str(event.detail.get("verdict", ""))
        if event.detail.get("points"):  # one that was broken off before any standard says nothing
            known.visited_ms = event.at.utc_ms
        if known.verdict in ("passed", "checked"):
            known.calibrated_ms = event.at.utc_ms
            every_ms = self._wants.get(sensor, Wants()).every_ms
            known.due_ms = None if every_ms is None else event.at.utc_ms + every_ms
            known.changed = False
        self._put(sensor)

    def _correction(self, sensor: str, known: Known, detail: Mapping[str, Any]) -> None:
        try:
            version = msgspec.convert(detail, Version, strict=False)
        except msgspec.ValidationError as e:
            log.error("%s: a correction that cannot be understood is not used: %s", sensor, e)
            return
        known.number = max(known.number, version.number)
        known.versions = [*known.versions, version][-VERSIONS_AT_MOST:]
        self._put(sensor)

    def _identified(self, sensor: str, known: Known, event: Event) -> Sequence[Body]:
        said: list[Body] = []
        detail = event.detail
        serial = detail.get("serial")
        if isinstance(serial, str) and serial and serial != known.serial:
            if known.serial:
                known.changed = True
                changed = {"sensor": sensor, "serial": serial, "was": known.serial}
                log.warning(
                    "%s: another instrument answers: serial number %s, was %s", sensor, serial, known.serial
                )
                said.append(Event(event.at, "sensor_changed", changed | {"why": "calibrate it anew"}))
            known.serial = serial
        slopes = [_number(detail.get(key)) for key in ("slope_acid_percent", "slope_base_percent")]
        found = [slope for slope in slopes if slope is not None]
        if found and detail.get("calibrated") != "never":
            low, high = self._wants.get(sensor, Wants()).accept
            bad = any(not low <= slope <= high for slope in found)
            if bad and not known.slope_low:
                about = {"sensor": sensor, "slope_percent": min(found), "accept": [low, high]}
                said.append(Event(event.at, "slope_low", about))
            known.slope_low = bad
        return said

    def _put(self, sensor: str) -> None:
        """Let the bus have what is in force."""
        known, live = self._kept.sensors.get(sensor, Known()), self.live(sensor)
        latest: dict[str, Version] = {}
        for version in known.versions:
            if version.kind in LIVE_KINDS and version.to_ms is None:
                latest[version.quantity] = version
        live.of = {}
        for quantity, version in latest.items():
            correct = make_correct(version)
            if correct is not None:
                live.of[quantity] = _with_beside(correct, self._looking_beside(version.beside))
        live.number = known.number

    def _looking_beside(self, beside: str) -> Callable[[Stamp], float | None] | None:
        sensor, _, quantity = beside.partition(".")
        if not sensor or not quantity:
            return None
        self._beside.add(sensor)

        def look(at: Stamp) -> float | None:
            reading = self._kept.beside.get(sensor)
            if reading is None or reading.at.boot != at.boot:
                return None
            if at.mono_ms - reading.at.mono_ms > BESIDE_WITHIN_MS:
                return None
            value = reading.values.get(quantity)
            return value.value if value is not None and value.flag in (1, 2) else None

        return look


_OURS = ("calibrated", "correction", "identified")


def _with_beside(
    correct: Correct, look: Callable[[Stamp], float | None] | None
) -> Callable[[Mapping[str, float], Stamp], tuple[float, str]]:
    if look is None:
        return lambda raws, at: correct(raws, None)
    return lambda raws, at: correct(raws, look(at))


def _number(given: object) -> float | None:
    try:
        return float(given) if isinstance(given, str | int | float) else None
    except ValueError:
        return None
