"""What somebody wants done with an instrument between two of its readings: a calibration's steps."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from drivers.base import Instrument, InstrumentError, PortLost
from drivers.link import Link
from gateway.bus_sensor import Sensor

Job = Callable[[Instrument, Link], Awaitable[Any]]
JOBS_AT_MOST = 4


class Jobs:
    """Those of one bus, which does them one at a time."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Sensor, Job, asyncio.Future[Any]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, sensor: Sensor, job: Job) -> asyncio.Future[Any]:
        """Line up. Raises PortLost where nobody could do it."""
        if len(self._waiting) >= JOBS_AT_MOST:
            raise PortLost("the bus has no time for it now")
        if sensor.state == "unplugged":
            raise PortLost(sensor.why)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((sensor, job, done))
        return done

    async def do(self, link: Link) -> None:
        """Do the first one. An error of it is theirs; a lost port is the bus's too. Raises PortLost."""
        sensor, job, done = self._waiting.popleft()
        if done.cancelled():
            return
        sensor.let_wait(math.inf)
        try:
            result = await job(sensor.instrument, link)
        except InstrumentError as e:
            _fail(done, e)
            if isinstance(e, PortLost):
                raise
        except asyncio.CancelledError:
            _fail(done, PortLost("the station ends"))
            raise
        else:
            if not done.done():
                done.set_result(result)

    def give_up(self, why: str) -> None:
        """Nobody will do them any more."""
        while self._waiting:
            _fail(self._waiting.popleft()[2], PortLost(why))


def _fail(done: asyncio.Future[Any], error: InstrumentError) -> None:
    if not done.done():
        done.set_exception(error)
