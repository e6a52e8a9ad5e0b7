"""Where calibrations are done: one session at a time, on the bus's own wire, into the journal.

    calibrate_begin   {"sensor", "by", "standards": [{"nominal", "lot", "expires"}], "quantity"}  ─► state
    calibrate_step    {"session", "do": "look" | "take" | "skip", "given": {…}}                   ─► state
    calibrate_finish  {"session", "photo", "note", "spread"}                    ─► {"entry", "versions"}
    calibrate_by_hand {"sensor", "by", "points": [{"nominal", "reading", …}], …}  ─► the same
    maintenance       {"sensor" or "", "minutes", "by", "why"}                  ─► {"standing"}

These are verbs of the control socket (gateway.control); the page calls the same methods. `look` takes one
reading and gives the state of the session (gateway.calibration_session): whoever shows it asks once a second.
While a session lasts its sensor is in maintenance. One that nobody touches for 15 minutes is closed, and the
ledger says where it was broken off, for something may have been written into the instrument.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from drivers.base import Instrument, InstrumentError, NotReady
from drivers.calibrates import Calibrates
from drivers.link import Link
from gateway.bus_sensor import Sensor
from gateway.calibration import Live
from gateway.calibration_fold import CalibrationFold
from gateway.calibration_points import Plan, StepRefused, Write
from gateway.calibration_session import Session
from gateway.calibration_setup import correction
from gateway.calibration_standards import Stable
from gateway.control import Answer, Request, Verb
from gateway.errors import ControlError
from gateway.maintenance import MaintenanceFold
from gateway.model import Body, Event, Stamp

if TYPE_CHECKING:
    from gateway import config

log = logging.getLogger(__name__)

IDLE_S = 900.0
MINUTES = 60
LOOK_EVERY_S = 0.5
"""A reading at most so often, however many look."""
PREFERRED = ("ph", "turbidity", "conductivity", "dissolved_oxygen", "orp", "level")

Job = Callable[[Instrument, Link], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Place:
    """A sensor, and how to do something with its instrument."""

    sensor: Sensor
    ask: Callable[[Job], Awaitable[Any]]


@dataclass(slots=True)
class _Running:
    id: str
    session: Session
    place: Place
    touched_s: float
    ends_maintenance: bool
    looked_s: float = 0.0


class Desk:
    """See the head of this file. Every method raises ControlError with one line for people."""

    def __init__(
        self,
        station: config.Station,
        places: Mapping[str, Place],
        *,
        append: Callable[[Sequence[Body]], object],
        sync: Callable[[], Awaitable[None]],
        stamp: Callable[[], Stamp],
        calibrations: CalibrationFold,
        maintenance: MaintenanceFold,
    ) -> None:
        self._station = station
        self._places = places
        self._append, self._sync, self._stamp = append, sync, stamp
        self._calibrations, self._maintenance = calibrations, maintenance
        self._running: _Running | None = None
        self._lock = asyncio.Lock()

    def verbs(self) -> dict[str, Verb]:
        """For the control socket."""
        return {
            "calibrate_begin": self._begin_verb,
            "calibrate_step": self._step_verb,
            "calibrate_finish": self._finish_verb,
            "calibrate_by_hand": self._by_hand_verb,
            "maintenance": self._maintenance_verb,
        }

    # ── what a technician does ──────────────────────────────────────────────────────────────────────────

    async def begin(
        self, sensor_id: str, standards: Sequence[Mapping[str, Any]], *, by: str, quantity: str = ""
    ) -> dict[str, Any]:
        """Begin a session. Blocks for the question who answers there. Gives state; `session` is its id."""
        async with self._lock:
            if (other := self._running) is not None:
                plan = other.session.plan
                text = f"{other.session.by} is calibrating {plan.sensor} just now"
                raise ControlError(f"{text}: one at a time; wait until it is finished")
            place = self._places.get(sensor_id)
            if place is None:
                raise ControlError(f"there is no sensor {sensor_id!r}; there are {', '.join(self._places)}")
            at = self._stamp()
            serial = await self._serial(place)
            try:
                session = Session(
                    self._plan(place.sensor, quantity, serial), standards, by=by, began_ms=at.utc_ms
                )
            except StepRefused as e:
                raise ControlError(str(e)) from e
            ends = not self._maintenance.is_on(sensor_id)
            if ends:
                self._say_maintenance(sensor_id, MINUTES, by, "calibration")
            now_s = asyncio.get_running_loop().time()
            self._running = _Running(secrets.token_hex(8), session, place, now_s, ends)
            return await self._look(self._running)

    async def step(self, session_id: str, do: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Look, confirm the present step, or leave it out. Blocks for a reading, or for what is written."""
        async with self._lock:
            running = self._mine(session_id)
            running.touched_s = asyncio.get_running_loop().time()
            try:
                if do == "take":
                    write = running.session.take(given)
                    if write is not None:
                        await self._write(running, write)
                elif do == "skip":
                    running.session.skip()
                elif do != "look":
                    raise ControlError(f"do: {do!r} is none of look, take, skip")
            except StepRefused as e:
                raise ControlError(str(e)) from e
            return await self._look(running)

    async def finish(
        self, session_id: str, *, photo: str = "", note: str = "", spread: bool = True
    ) -> dict[str, Any]:
        """End the session, at whichever step it is, and write the ledger. Blocks until the disk has it."""
        async with self._lock:
            running = self._mine(session_id)
            entry, versions = self._close(running, photo=photo, note=note, spread=spread)
            await self._sync()
            return {"entry": entry, "versions": versions}

    async def by_hand(self, sensor_id: str, given: Mapping[str, Any], *, by: str) -> dict[str, Any]:
        """A whole calibration from noted readings: {"points": [{"nominal", "reading", "lot", "expires",
        "temperature_degc"}], "found", "cleaned", "found_side", "cleaned_side", "adjust", "photo", "note"}.

        The station keeps it: nothing can be written into a probe that no longer stands in its bottle.
        """
        async with self._lock:
            place = self._places.get(sensor_id)
            if place is None:
                raise ControlError(f"there is no sensor {sensor_id!r}; there are {', '.join(self._places)}")
            if self._running is not None and self._running.session.plan.sensor == sensor_id:
                raise ControlError(f"{self._running.session.by} is calibrating {sensor_id} just now")
            at = self._stamp()
            plan = self._plan(place.sensor, str(given.get("quantity", "")), "")
            plan = replace(plan, calibrates=None)
            try:
                session = hand_in(plan, given, by=by, at_ms=at.utc_ms, live=place.sensor.live, at=at)
            except StepRefused as e:
                raise ControlError(str(e)) from e
            running = _Running("", session, place, 0.0, ends_maintenance=False)
            photo, note = str(given.get("photo", "")), str(given.get("note", ""))
            entry, versions = self._close(
                running, photo=photo, note=note, spread=given.get("spread") is not False
            )
            await self._sync()
            return {"entry": entry, "versions": versions}

    async def maintain(self, sensor_id: str, minutes: float, *, by: str, why: str) -> dict[str, Any]:
        """Begin, prolong or (0 minutes) end maintenance of a sensor, or with "" of the station."""
        if sensor_id and sensor_id not in self._places:
            raise ControlError(f"there is no sensor {sensor_id!r}; there are {', '.join(self._places)}")
        if not by.strip():
            raise ControlError("by: say who; the visit's record needs a name")
        if not 0 <= minutes <= 24 * 60:
            raise ControlError("minutes: 0 (end) to 1440")
        self._say_maintenance(sensor_id, minutes, by, why)
        await self._sync()
        return {"standing": self._maintenance.standing(self._stamp())}

    def under_way(self) -> dict[str, Any] | None:
        """The session that is under way, as `look` gives it, without another reading."""
        running = self._running
        return None if running is None else running.session.state() | {"session": running.id}

    def tick(self) -> None:
        """Close a session that nobody touches any more. Call it about every second."""
        running = self._running
        if running is None or self._lock.locked():
            return
        if asyncio.get_running_loop().time() - running.touched_s > IDLE_S:
            log.warning("calibration of %s: nobody went on with it; closed", running.session.plan.sensor)
            self._close(running, note="nobody went on with it", spread=False)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    def _mine(self, session_id: str) -> _Running:
        running = self._running
        if running is None:
            raise ControlError("no calibration is under way; begin one")
        if running.id != session_id:
            raise ControlError(f"{running.session.by} is calibrating {running.session.plan.sensor} just now")
        return running

    def _plan(self, sensor: Sensor, quantity: str, serial: str) -> Plan:
        wanted = next(s for s in self._station.sensors if s.id == sensor.id).calibration
        offered: Calibrates | None = getattr(sensor.instrument, "calibrates", None)
        names = [q.name for q in sensor.instrument.quantities]
        if not quantity:
            preferred = [name for name in PREFERRED if name in names]
            if offered is None and not preferred and len(names) > 1:
                raise ControlError(f"{sensor.id}: which quantity? it has {', '.join(names)}")
            quantity = offered.quantity if offered is not None else preferred[0] if preferred else names[0]
        if quantity not in names:
            raise ControlError(f"{sensor.id} does not measure {quantity!r}; it has {', '.join(names)}")
        if wanted.method == "station" or (offered is not None and offered.quantity != quantity):
            offered = None
        if wanted.method == "instrument" and offered is None:
            text = f"a {sensor.model} cannot keep a calibration of {quantity} that we know how to write"
            raise ControlError(f'{text}: write method = "station"')
        known = self._calibrations.known(sensor.id)
        stable = wanted.stable
        return Plan(
            sensor.id, sensor.model, quantity, sensor.units[quantity], known.number,
            serial or known.serial, offered, wanted.accept, wanted.offset_mv,
            Stable(stable.within, stable.over_s) if stable else None, wanted.fit, known.visited_ms,
            int(wanted.every_s * 1000) if wanted.every_s else None,
            corrected_here=quantity in self._calibrations.live(sensor.id).of,
        )  # fmt: skip

    async def _serial(self, place: Place) -> str:
        identify = getattr(place.sensor.instrument, "identify", None)
        if identify is None:
            return ""

        async def job(instrument: Instrument, link: Link) -> dict[str, str]:
            found: dict[str, str] = await identify(link)
            return found

        try:
            said: dict[str, str] = await place.ask(job)
        except InstrumentError as e:
            raise ControlError(f"{place.sensor.id} does not answer: {e}") from e
        return said.get("serial", "")

    async def _look(self, running: _Running) -> dict[str, Any]:
        """One more reading, if it is time for one, and the state."""
        session, place = running.session, running.place
        loop = asyncio.get_running_loop()
        if loop.time() - running.looked_s >= LOOK_EVERY_S:
            running.looked_s = loop.time()
            try:
                measurement = await place.ask(_read)
            except NotReady as e:
                session.problem = str(e)
            except InstrumentError as e:
                session.problem = f"no reading: {e}"
            else:
                quantity, values = session.plan.quantity, measurement.values
                if quantity in values:
                    raw = value = values[quantity]
                    correct = place.sensor.live.of.get(quantity)
                    if correct is not None:
                        value, _ = correct(values, self._stamp())
                    session.see(raw, value, loop.time(), values.get("water_temperature"))
                else:
                    session.problem = "; ".join(measurement.notes) or f"no {quantity} in its answer"
        return session.state() | {"session": running.id}

    async def _write(self, running: _Running, write: Write) -> None:
        session = running.session
        instrument: Any = running.place.sensor.instrument

        async def job(_: Instrument, link: Link) -> dict[str, str]:
            said: dict[str, str]
            if write.line is not None:
                said = await instrument.adjust(link, *write.line)
            else:
                said = await instrument.calibrate(link, write.nominal, write.value)
            return said

        try:
            says = await running.place.ask(job)
        except InstrumentError as e:
            session.not_written(str(e))
            log.warning("calibration of %s: %s", session.plan.sensor, e)
        else:
            session.wrote(says)

    def _close(
        self, running: _Running, *, photo: str = "", note: str = "", spread: bool = True
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        session, sensor = running.session, running.place.sensor
        at = self._stamp()
        entry, versions = session.finish(at.utc_ms, photo=photo, note=note, spread=spread)
        events = [correction(version, at) for version in versions]
        self._append([*events, Event(at, "calibrated", entry)])
        if running is self._running:
            self._running = None
        if running.ends_maintenance:
            self._say_maintenance(sensor.id, 0, session.by, "calibration")
        sensor.identified = False  # its slope may be another now
        log.info("%s: calibration by %s: %s", sensor.id, session.by, entry["verdict"])
        return entry, [event.detail for event in events]

    def _say_maintenance(self, sensor_id: str, minutes: float, by: str, why: str) -> None:
        detail = {"sensor": sensor_id, "minutes": minutes, "by": by[:100], "why": why[:300]}
        self._append([Event(self._stamp(), "maintenance", detail)])

    # ── verbs ───────────────────────────────────────────────────────────────────────────────────────────

    async def _begin_verb(self, request: Request) -> Answer:
        standards = request.body.get("standards")
        if not isinstance(standards, list) or not all(isinstance(s, dict) for s in standards):
            raise ControlError('standards: a list such as [{"nominal": 7.00, "lot": "A12"}] is needed')
        by = request.text("by", "") or request.by
        return await self.begin(
            request.text("sensor"), standards, by=by, quantity=request.text("quantity", "")
        )

    async def _step_verb(self, request: Request) -> Answer:
        given = request.body.get("given", {})
        if not isinstance(given, dict):
            raise ControlError("given: an object is needed")
        return await self.step(request.text("session"), request.text("do", "look"), given)

    async def _finish_verb(self, request: Request) -> Answer:
        spread = request.body.get("spread", True)
        return await self.finish(
            request.text("session"),
            photo=request.text("photo", ""),
            note=request.text("note", ""),
            spread=spread is not False,
        )

    async def _by_hand_verb(self, request: Request) -> Answer:
        by = request.text("by", "") or request.by
        return await self.by_hand(request.text("sensor"), request.body, by=by)

    async def _maintenance_verb(self, request: Request) -> Answer:
        minutes, by = request.number("minutes"), request.text("by", "") or request.by
        return await self.maintain(request.text("sensor", ""), minutes, by=by, why=request.text("why", ""))


def hand_in(plan: Plan, given: Mapping[str, Any], *, by: str, at_ms: int, live: Live, at: Stamp) -> Session:
    """A session that has gone through all its steps with noted readings. Raises StepRefused."""
    points = given.get("points")
    if not isinstance(points, list) or not all(isinstance(p, dict) for p in points):
        raise StepRefused(
            "standards", 'points: a list such as [{"nominal": 7.00, "reading": 7.08}] is needed'
        )
    session = Session(plan, points, by=by, began_ms=at_ms, by_hand=True)

    def see(reading: object, degc: object = None) -> None:
        if isinstance(reading, bool) or not isinstance(reading, int | float) or not abs(reading) < 1e6:
            raise StepRefused("number", f"{reading!r} is no reading")
        value = float(reading)
        if plan.quantity in live.of:
            value, _ = live.of[plan.quantity]({plan.quantity: value}, at)
        session.see(float(reading), value, 0.0, float(degc) if isinstance(degc, int | float) else None)

    for name in ("found", "cleaned"):
        if given.get(name) is None:
            session.skip()
            continue
        see(given[name])
        session.take({"side": given.get(f"{name}_side")})
    for point in points:
        see(point.get("reading"), point.get("temperature_degc"))
        session.take({key: point[key] for key in _OF_A_POINT if key in point})
    session.take({"adjust": given.get("adjust", True)})
    return session


_OF_A_POINT = ("temperature_degc", "lot", "expires", "value", "anyway")


async def _read(instrument: Instrument, link: Link) -> Any:
    return await instrument.read(link)
