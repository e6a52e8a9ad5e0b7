"""A bus: one port and the instruments on it, each read at its own fixed rate.

One task owns the port; a sensor alone on a port is a bus of one. The schedule is a grid on the boot's clock
(gateway.governor, "Slots"): a process that is started again goes on on the same grid, a reading that comes
late does not move the next, and a slot that is missed is counted, said and skipped, never caught up. Waiting
is the event loop's time.

A reading's `at` is when its answer was there, and it fills the slot of that moment. One that was asked for in
slot 12 and came in slot 13 (an EZO takes 0.9 s) fills 13; slot 12 was missed, "overrun", and the next is 14.

    silence          one more try when its late answer cannot come any more, in a pause of the others
    rubbish          two more tries at once
    not ready, fault, refusal    none: the next slot is soon enough

Slots without a reading become Events "missed", one for a run of slots with one reason, at the latest every
minute; changes of an instrument's state become Events "sensor".
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from drivers.base import GarbledAnswer, InstrumentError, NoAnswer, PortLost
from drivers.link import Link
from gateway.bus_jobs import Job, Jobs
from gateway.bus_sensor import BadNumber, miss
from gateway.bus_sensor import Sensor as Sensor
from gateway.governor import ANSWERING, LONG_PROBE_S, PROBED, SHARE, Miss, choose, longer_pause_s
from gateway.model import Body, Event, Reading, Stamp

SILENT_TRIES = 2
GARBLED_TRIES = 3
"""Requests per reading at most, while the sensor is not probed."""
SAY_WITHIN_S = 60.0
"""Missed slots are said after this long at the latest."""
STRANGER_PAUSE_S = 0.1
"""An instrument is asked who it is in a pause longer than this; once, so it may take a little more."""
REQUEST_CHARS = 20
"""What a request takes on the wire besides waiting for its answer: itself, and the silences around it."""
CLOCKS_APART_S = 0.005
"""The loop's clock stands still while the machine sleeps, the boot's does not."""
REOPEN_S = (0.2, 30.0)
"""First and longest pause before a lost port is opened again; doubled in between."""


class Bus:
    """Reads its sensors for ever and hands readings and events to `take`."""

    def __init__(
        self,
        name: str,
        link: Link,
        sensors: Sequence[Sensor],
        take: Callable[[list[Body]], object],
        stamp: Callable[[], Stamp],
        beat: Callable[[float], None] = lambda within_s: None,
    ) -> None:
        self.name = name
        self.link = link
        self.sensors = list(sensors)
        self._take = take
        self._stamp = stamp
        self._beat = beat
        self._stopping = False
        self._pausing: asyncio.Future[None] | None = None
        self._jobs = Jobs()
        self._offset_s = math.inf
        """Loop time when the boot's clock was 0: the same for all, so that those of one slot keep their
        order.
        """
        self._probe_from_s = 0.0
        self._say_from_s = math.inf
        self._request_s = REQUEST_CHARS * link.line.char_s if link.is_serial else 0.0
        self._log = logging.getLogger(f"{__name__}.{name}")

    def stop(self) -> None:
        """Let the reading under way end, then end `run`: nothing an instrument answered is thrown away."""
        self._stopping = True
        if self._pausing is not None:
            _end(self._pausing)

    async def ask(self, sensor: Sensor, job: Job) -> Any:
        """Do something with an instrument between two readings, and give what came of it.

        Raises InstrumentError, and PortLost when the port is gone or too many wait already.
        """
        done = self._jobs.put(sensor, job)
        if self._pausing is not None:
            _end(self._pausing)
        return await done

    async def run(self) -> None:
        """Read until stopped or cancelled; then the port is closed."""
        loop = asyncio.get_running_loop()
        at = self._stamp()
        for sensor in self.sensors:
            slot = sensor.slots.at(at.mono_ms)
            if sensor.slots.next < 0:
                sensor.slots.next = slot
            self._plan(sensor, max(slot, sensor.slots.next), at)
        try:
            while not self._stopping:
                now_s = loop.time()
                if now_s >= self._say_from_s:
                    self._say()
                turn, wait_s = choose(self.sensors, now_s, self._probe_from_s)
                self._beat(max(wait_s, 0.0) + 60.0)
                try:
                    if self._jobs:
                        await self._jobs.do(self.link)
                    elif turn is not None:
                        await self._turn(turn)
                    elif wait_s > STRANGER_PAUSE_S and (stranger := self._stranger()) is not None:
                        await self._identify(stranger)
                    else:
                        await self._pause(max(min(wait_s, self._say_from_s - now_s), 0.0))
                except PortLost as e:
                    await self._reopen(e)
        finally:
            self._say()
            self.link.close()
            self._jobs.give_up("the station ends")

    async def _pause(self, wait_s: float) -> None:
        """Wait, or until stopped."""
        loop = asyncio.get_running_loop()
        self._pausing = loop.create_future()
        timer = loop.call_later(wait_s, _end, self._pausing)
        try:
            await self._pausing
        finally:
            timer.cancel()

    # ── a turn ──────────────────────────────────────────────────────────────────────────────────

    async def _turn(self, sensor: Sensor) -> None:
        """Ask one sensor, once more if that may help, note what came of it, and plan its next turn. Raises
        PortLost.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        at = self._stamp()
        now = sensor.slots.at(at.mono_ms)
        if now > sensor.slots.next:
            second = sensor.second
            if second is not None:  # it found no time
                self._becomes(sensor, sensor.tried(second), second)
            self._missed(sensor, now, sensor.waits_for, at, asked=second is not None)
            if second is not None:
                self._plan_next(sensor, sensor.state, sensor.slots.next - 1, at)
                return
        slot = sensor.slots.next  # `now`, or one more where the clocks differ by a hair
        crosstalk = False
        while True:
            sensor.tries += 1
            error, measurement = None, None
            sensor.let_wait(self._pause_s(sensor))
            try:
                measurement = await sensor.instrument.read(self.link)
            except PortLost:
                raise
            except InstrumentError as e:
                error = e
                crosstalk = crosstalk or (isinstance(e, GarbledAnswer) and e.crosstalk)
            at = self._stamp()
            sensor.answered(self.link)
            again_s = self._again_s(sensor, error, slot, at)
            if again_s is None:
                break
            if again_s > 0:
                self._wait_for_second(sensor, error, slot, at, again_s)
                return
        if sensor.answers is None:
            sensor.cost_s = loop.time() - began_s
        values = {} if measurement is None else sensor.values(measurement, at)
        if error is None and not values:
            error = BadNumber("no number in its answer")
        before = sensor.state
        self._becomes(sensor, sensor.tried(error, crosstalk=crosstalk), error)
        if error is None:
            sensor.last = Reading(sensor.id, sensor.model, sensor.medium, at, values, sensor.live.number)
            taken = max(slot, sensor.slots.at(at.mono_ms))
            self._missed(sensor, taken, Miss.OVERRUN, at)
            sensor.taken += 1
            sensor.expected += 1
            self._take([*sensor.said(sensor.slots.taken(taken), at), sensor.last])
        else:
            now, every_ms = sensor.slots.at(at.mono_ms), sensor.slots.every_ms
            # Enough is left of a slot that has just begun to be read in.
            fresh = 2 * (at.mono_ms - now * every_ms) < every_ms
            why = Miss(sensor.state) if sensor.is_probe else miss(error)
            self._missed(sensor, max(slot + 1, now if fresh else now + 1), why, at, asked=True)
        self._plan_next(sensor, before, slot, at)
        if sensor.is_probe:  # all probes together cost the living no more than their share
            self._probe_from_s = loop.time() + (loop.time() - began_s) * (1 / SHARE - 1)

    def _again_s(self, sensor: Sensor, error: InstrumentError | None, slot: int, at: Stamp) -> float | None:
        """In how many seconds to ask once more for this slot; None for not at all."""
        left_s = ((slot + 1) * sensor.slots.every_ms - at.mono_ms) / 1000
        if sensor.is_probe or self._stopping or left_s <= 0:
            return None
        if isinstance(error, NoAnswer):
            tries = SILENT_TRIES
        elif isinstance(error, GarbledAnswer):
            tries = GARBLED_TRIES
        else:
            return None
        if sensor.tries >= tries:
            return None
        again_s = sensor.late_until_s - asyncio.get_running_loop().time()
        if again_s <= 0 or len(self.sensors) == 1:
            return 0.0
        # Its late answer may still come for so long, and meanwhile the wire is the others'.
        least_s = 0.0 if sensor.answers is None else sensor.answers.within_s
        return again_s if again_s + least_s < left_s else None

    def _wait_for_second(
        self, sensor: Sensor, error: InstrumentError | None, slot: int, at: Stamp, again_s: float
    ) -> None:
        sensor.second, sensor.waits_for = error, Miss.OVERRUN if error is None else miss(error)
        sensor.due_s = asyncio.get_running_loop().time() + again_s
        left_s = ((slot + 1) * sensor.slots.every_ms - at.mono_ms) / 1000 - again_s
        sensor.cost_s = self._least_cost_s(sensor)
        sensor.patience_s = max(left_s - sensor.cost_s, 0.0)

    def _least_cost_s(self, sensor: Sensor) -> float:
        """The shortest pause of the others in which it can be asked."""
        return sensor.cost_s if sensor.answers is None else sensor.answers.least_s + self._request_s

    def _pause_s(self, sensor: Sensor) -> float:
        """How long it can be waited for, if somebody else's turn is not to be later for it."""
        now_s = asyncio.get_running_loop().time()
        if sensor.is_probe and now_s >= sensor.long_probe_s:
            return math.inf
        others = [other.due_s for other in self.sensors if other is not sensor and other.patience_s is None]
        return min(others, default=math.inf) - now_s - self._request_s

    def _plan_next(self, sensor: Sensor, before: str, slot: int, at: Stamp) -> None:
        """When a sensor's next turn is, `slot` being the one that is done with."""
        now_s = asyncio.get_running_loop().time()
        sensor.tries, sensor.second = 0, None
        if sensor.is_probe:
            if before not in PROBED or now_s >= sensor.long_probe_s:
                sensor.long_probe_s = now_s + LONG_PROBE_S
            sensor.cost_s = self._least_cost_s(sensor)
            sensor.waits_for = Miss(sensor.state)
            sensor.patience_s = 2 * min((s.every_s for s in self.sensors if not s.is_probe), default=0.0)
            sensor.pause_s = longer_pause_s(sensor.pause_s, sensor.every_s)
            slot += math.floor(sensor.pause_s / sensor.every_s + 1e-9)
            self._plan(sensor, max(slot, sensor.slots.next), at)
            return
        sensor.waits_for, sensor.patience_s, sensor.pause_s = Miss.OVERRUN, None, 0.0
        self._plan(sensor, sensor.slots.next, at)
        if len(self.sensors) > 1:
            sensor.due_s = max(sensor.due_s, sensor.late_until_s)  # to wait for it would cost the others
        others = [other for other in self.sensors if other is not sensor]
        if before in PROBED and all(other.is_probe for other in others):
            for other in others:  # where nobody answered one does again: look for the others at once
                other.pause_s = 0.0
                self._plan(other, max(other.slots.at(at.mono_ms), other.slots.next), at)

    def _plan(self, sensor: Sensor, slot: int, at: Stamp) -> None:
        """Its turn comes when this slot begins; at once if that was already."""
        offset_s = asyncio.get_running_loop().time() - at.mono_ms / 1000
        if abs(offset_s - self._offset_s) > CLOCKS_APART_S:
            self._offset_s = offset_s
        sensor.due_s = slot * sensor.slots.every_ms / 1000 + self._offset_s

    # ── what is said ────────────────────────────────────────────────────────────────────────────

    def _missed(self, sensor: Sensor, end: int, why: Miss, at: Stamp, *, asked: bool = False) -> None:
        """All slots before `end` that are not accounted for have no reading."""
        if end <= sensor.slots.next:
            return
        if said := sensor.missed(end, why, at, asked=asked):
            self._take(said)
        self._say_from_s = min(self._say_from_s, asyncio.get_running_loop().time() + SAY_WITHIN_S)

    def _say(self) -> None:
        """Say all missed slots up to now."""
        at = self._stamp()
        said: list[Body] = []
        for sensor in self.sensors:
            if sensor.second is None or self._stopping:
                said += sensor.missed(sensor.slots.at(at.mono_ms), sensor.waits_for, at)
            said += sensor.said(sensor.slots.close(), at)
        waiting = any(sensor.is_probe or sensor.state == "unplugged" for sensor in self.sensors)
        self._say_from_s = asyncio.get_running_loop().time() + SAY_WITHIN_S if waiting else math.inf
        if said:
            self._take(said)

    def _becomes(self, sensor: Sensor, state: str, error: InstrumentError | None) -> None:
        """Change a sensor's state: said once in the log and as an event, not at each repetition."""
        why = str(error) if error else _WORDS.get(state, "")
        sensor.why = why
        self._say_split(sensor)
        if sensor.state == state:
            return
        before, sensor.state = sensor.state, state
        if state == "alive":
            if before == "new":
                return  # that a station's sensors answer is no news
            self._log.info("%s: %s again", sensor.id, state)
        else:
            self._log.warning("%s: %s: %s", sensor.id, state, why)
        if state in (*PROBED, "unplugged", "faulty"):
            sensor.forget()
        detail = {"sensor": sensor.id, "bus": self.name, "state": state, "before": before, "why": why}
        self._take([Event(self._stamp(), "sensor", detail)])

    def _say_split(self, sensor: Sensor) -> None:
        """Say once that an instrument wants to be asked in smaller pieces."""
        split = getattr(sensor.instrument, "split", "")
        if split != sensor.split:
            sensor.split = split
            if split:
                self._log.info("%s: %s", sensor.id, split)
                detail = {"sensor": sensor.id, "bus": self.name, "why": split}
                self._take([Event(self._stamp(), "split", detail)])

    def _stranger(self) -> Sensor | None:
        """One that answers and was not asked yet who it is."""
        return next((s for s in self.sensors if s.state in ANSWERING and not s.identified), None)

    async def _identify(self, sensor: Sensor) -> None:
        """Ask once who is there (serial number, firmware, slope …) where the driver can."""
        sensor.identified = True
        identify = getattr(sensor.instrument, "identify", None)
        if identify is None:
            return
        try:
            found: dict[str, str] = await identify(self.link)
        except PortLost:
            raise
        except InstrumentError as e:
            self._log.info("%s: does not say who it is: %s", sensor.id, e)
            return
        if found:
            self._take(
                [Event(self._stamp(), "identified", {"sensor": sensor.id, "model": sensor.model, **found})]
            )

    async def _reopen(self, error: PortLost) -> None:
        """Say that the port is gone, and wait, ever longer, until it opens again."""
        for sensor in self.sensors:
            self._becomes(sensor, "unplugged", error)
            sensor.waits_for, sensor.patience_s, sensor.pause_s = Miss.UNPLUGGED, None, 0.0
            sensor.tries, sensor.second = 0, None
        loop = asyncio.get_running_loop()
        pause_s, longest_s = REOPEN_S
        until_s = loop.time() + pause_s
        self._say_from_s = min(self._say_from_s, loop.time() + SAY_WITHIN_S)
        while True:
            await self._pause(min(until_s, self._say_from_s) - loop.time())
            if self._stopping:
                return
            self._beat(longest_s + 60.0)
            if loop.time() >= self._say_from_s:
                self._say()
            if loop.time() < until_s:
                continue
            try:
                await self.link.open()
            except PortLost as e:
                for sensor in self.sensors:
                    sensor.why = str(e)
                pause_s = min(2 * pause_s, longest_s)
                until_s = loop.time() + pause_s
            else:
                break
        at = self._stamp()
        for sensor in self.sensors:
            slot = sensor.slots.at(at.mono_ms)
            self._missed(sensor, slot, Miss.UNPLUGGED, at)
            self._plan(sensor, max(slot, sensor.slots.next), at)


_WORDS = {
    "slow": "it needs nearly all of its time-out, or a second try, too often",
    "crosstalk": "somebody else speaks on this wire: two of one address, a second master, a late neighbour",
}


def _end(pausing: asyncio.Future[None]) -> None:
    if not pausing.done():
        pausing.set_result(None)
