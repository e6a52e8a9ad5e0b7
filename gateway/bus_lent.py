"""A bus whose port is somebody else's for a while: a scan's, that only one process can have at a time.

    async with lent(bus, beat): …      its instruments are not read meanwhile; then it opens the port again

The reading under way ends first. Nothing of the bus is lost but its slots: they are counted as missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from drivers.base import Instrument, PortLost
from drivers.link import Link

if TYPE_CHECKING:
    from gateway.bus import Bus

GIVEN_WITHIN_S = 30.0
"""A reading and a step of a calibration end within this."""
AT_MOST_S = 1200.0
"""Then the bus takes its port back, whoever forgot it."""
BEAT_S = 20.0


@contextlib.asynccontextmanager
async def lent(bus: Bus, beat: Callable[[float], None]) -> AsyncIterator[None]:
    """The port is closed inside. Blocks until the bus lets go of it. Raises PortLost where it does not.

    A bus whose port is gone has nothing to lend: it holds nothing.
    """
    given, back = asyncio.Event(), asyncio.Event()

    async def job(instrument: Instrument, link: Link) -> None:
        link.close()
        given.set()
        until_s = asyncio.get_running_loop().time() + AT_MOST_S
        while not back.is_set() and asyncio.get_running_loop().time() < until_s:
            beat(BEAT_S + 60.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await back.wait()

    if bus.sensors[0].state == "unplugged":
        yield
        return
    asking = asyncio.create_task(bus.ask(bus.sensors[0], job), name=f"lend {bus.name}")
    giving = asyncio.create_task(given.wait())
    try:
        await asyncio.wait({asking, giving}, timeout=GIVEN_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        if not given.is_set():
            raise PortLost(f"{bus.name}: the bus is busy and did not let go of its port")
        yield
    finally:
        back.set()
        giving.cancel()
        if not given.is_set():
            asking.cancel()
        await asyncio.wait({asking, giving})
        if not asking.cancelled():
            asking.exception()  # that the station ends meanwhile is no error of ours
