"""[clock] source = "modem": the mobile network's time, where there is no NTP and no hardware clock.

    modem ── AT+CCLK? twice, 5 s apart ──► the same time but for these 5 s? ──► Clock.tell

Asked until it is known, then every six hours. What a modem says that its network never told the time (it
begins with 1980 or 2004) the clock does not believe, nor what cannot be by what this station was once sure of
(gateway.clock). A clock that stands still fails the second question. Readings are then dated to within
`UNCERTAINTY_S`, which every sink is told; the system clock is not set, so TLS, which looks at it, may still
call certificates invalid.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from alerts.cms import SmsError
from alerts.modem_time import UNCERTAINTY_S, Meaning, NetworkTime, NoTime, read_time

log = logging.getLogger(__name__)

UNCERTAINTY_MS = round(UNCERTAINTY_S * 1000)
BETWEEN_S = 5.0
APART_S = 2.0
"""The two answers may differ by so much from the time between them: they are whole seconds, and late."""
AGAIN_S = 60.0
EVERY_S = 6 * 3600.0


class TellsTime(Protocol):
    """What is needed of a modem (alerts.modem.Modem)."""

    def network_time(self) -> Awaitable[str]: ...


class ModemTime:
    """Asks the modem and tells the clock. `run` belongs under `supervise`.

    `tell` gets UTC in ms of this moment and gives why it is not believed, or "".
    """

    def __init__(self, modem: TellsTime, tell: Callable[[int], str], meaning: Meaning = "local") -> None:
        self._modem, self._tell, self._meaning = modem, tell, meaning
        self._why: str | None = None

    async def run(self) -> None:
        """Ask for ever. Said once when the time is known, and once when it is not any more."""
        while True:
            try:
                why = self._tell((await self.ask()).utc_ms)
            except (SmsError, NoTime) as e:
                why = str(e)
            if why != self._why:
                self._why = why
                if why:
                    log.warning("clock: the modem's network gives no time: %s", why)
                else:
                    log.warning("clock: the modem's network tells the time")
            await asyncio.sleep(AGAIN_S if why else EVERY_S)

    async def ask(self) -> NetworkTime:
        """The time of this moment. Blocks for some seconds. Raises SmsError, NoTime."""
        loop = asyncio.get_running_loop()
        first, first_s = await self._once(), loop.time()
        await asyncio.sleep(BETWEEN_S)
        second, passed_s = await self._once(), loop.time() - first_s
        went_s = (second.utc_ms - first.utc_ms) / 1000
        if abs(went_s - passed_s) > APART_S:
            raise NoTime(f"the modem's clock went {went_s:g} s in {passed_s:.0f} s")
        if second.zone_min != first.zone_min:
            raise NoTime("the modem's time zone changes")
        return NetworkTime(second.utc_ms + 500, second.zone_min)  # whole seconds: half of one on the mean

    async def _once(self) -> NetworkTime:
        return read_time(await self._modem.network_time(), self._meaning)
