"""An outage of a follower's far side: how it is said, and how long is waited before the next try.

Full jitter: sleep = random(0, min(cap, base * 2^n)); M. Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015. A far side that was not even there is knocked at meanwhile, which costs two packets;
when it opens, the next try is at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.errors import Unreachable
from gateway.follow_lane import Journal
from gateway.follow_sink import Progress, Sink
from gateway.model import Event, Stamp

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
LONGEST_RETRY_AFTER_S = 3600.0
"""A far side that asks for more patience than this is asked again nevertheless."""
KNOCK_S = 3.0


class Outage:
    """The outages of one sink, one after the other: said once when one begins and once when it ends."""

    def __init__(
        self,
        journal: Journal,
        name: str,
        sink: Sink,
        progress: Progress,
        stamp: Callable[[], Stamp],
        random: Callable[[], float],
    ) -> None:
        self.now = False
        """Whether there is one."""
        self.of_a_batch = False
        """Then a beat does not end it: that batch, or another, must get through."""
        self._journal, self._name, self._sink, self._progress = journal, name, sink, progress
        self._stamp, self._random = stamp, random
        self._since_s = 0.0

    def went_down(self, e: Unreachable, backlog: int, *, of_a_batch: bool) -> float:
        """Note the failure; give how long to wait."""
        progress = self._progress
        progress.last_error = str(e)
        pause_s = self._random() * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(progress.attempts, 30))
        progress.attempts += 1
        if e.retry_after_s is not None:
            # Its own wish, and some jitter, so that many stations do not come back in the same second.
            pause_s += min(max(e.retry_after_s, 0.0), LONGEST_RETRY_AFTER_S)
        if not self.now:
            self.now, self.of_a_batch = True, of_a_batch
            self._since_s = asyncio.get_running_loop().time()
            at = self._stamp()
            progress.down_since_ms = at.utc_ms
            log.warning("%s: down: %s", self._name, e)
            detail = {"sink": self._name, "why": str(e), "backlog": backlog}
            self._journal.append([Event(at, "sink_down", detail)])
        return pause_s

    def came_up(self, backlog: int) -> None:
        """The far side has answered."""
        if not self.now:
            return
        progress = self._progress
        down_s = round(asyncio.get_running_loop().time() - self._since_s, 1)
        text = "%s: up again after %g s and %d attempts; backlog %d"
        log.warning(text, self._name, down_s, progress.attempts, backlog)
        detail = {"sink": self._name, "down_s": down_s, "attempts": progress.attempts, "backlog": backlog}
        self._journal.append([Event(self._stamp(), "sink_up", detail)])
        self.now = self.of_a_batch = False
        progress.down_since_ms = None
        progress.attempts = 0

    async def pause(self, pause_s: float) -> None:
        """Wait so long; no longer when the far side, which was not there at all, opens meanwhile."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + pause_s
        shut = pause_s > KNOCK_S and not await self._sink.knock()
        while shut and until_s - loop.time() > KNOCK_S:
            await asyncio.sleep(KNOCK_S * (0.5 + self._random() / 2))
            if await self._sink.knock():
                return
        await asyncio.sleep(max(until_s - loop.time(), 0.0))
