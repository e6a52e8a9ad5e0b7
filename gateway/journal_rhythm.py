"""When the journal writes.

    records    ┃    ┃    ┃    ┃      commit   50 ms after the first record of a moment, so that those of that
    commits     ╵    ╵    ╵    ╵              moment are in one; no sooner than nearly `commit` after the last
    sync                       ╵     sync     when the oldest record that a power cut would take is `sync` old

How far followers are goes along with the next records: a commit of its own would cost a wake-up and a frame,
and after a kill the followers only send again what the far side has already. Times are the event loop's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

GATHER_S = 0.05
"""A commit waits this long for the other readings of the same moment."""
EARLY = 0.98
"""Of the commit interval, after the last: so commits come to follow the readings of each second closely
within a minute, and a straggler between two of them does not draw the next commit before the readings.
"""
_HAIR_S = 1e-3
"""A timer may be early."""


class Rhythm:
    """What waits for the disk, and since when. Belongs to one event loop."""

    def __init__(self, commit_s: float, sync_s: float) -> None:
        self._commit_s, self._sync_s = commit_s, sync_s
        self._now_s: Callable[[], float] = float
        self._work = asyncio.Event()
        self._records = asyncio.Event()
        self._oldest_s: float | None = None
        """Since when there is a record that a power cut would take."""
        self._last_s: float | None = None
        """When the last commit was due that was not for a sync alone."""

    def start(self) -> None:
        """From now on by the time of the running loop."""
        self._now_s = asyncio.get_running_loop().time

    def records(self) -> None:
        """Records wait."""
        if self._oldest_s is None:
            self._oldest_s = self._now_s()
        self._records.set()
        self._work.set()

    def cursors(self) -> None:
        """Followers have moved."""
        self._work.set()

    def begin(self) -> None:
        """A commit begins: it takes what waits now."""
        self._work.clear()
        self._records.clear()

    def failed(self) -> None:
        """The disk took nothing: it all waits again."""
        self._records.set()
        self._work.set()

    def synced(self, rest_s: float | None) -> None:
        """A power cut takes nothing any more, but the records since `rest_s`, if any came meanwhile."""
        self._oldest_s = rest_s

    async def due(self) -> bool:
        """Return when it is time for a commit. Whether it must be one that survives a power cut."""
        sync_due_s = None if self._oldest_s is None else self._oldest_s + self._sync_s
        try:
            async with asyncio.timeout_at(sync_due_s):
                await self._commit_due()
        except TimeoutError:
            return True  # between two commits; it does not shift them
        now_s = self._last_s = self._now_s()
        return self._oldest_s is not None and now_s - self._oldest_s >= self._sync_s - _HAIR_S

    async def _commit_due(self) -> None:
        await self._work.wait()
        if not self._records.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._commit_s):
                    await self._records.wait()
        gather_s = min(GATHER_S, self._commit_s)
        if self._last_s is not None:
            gather_s = max(gather_s, self._last_s + EARLY * self._commit_s - self._now_s())
        await asyncio.sleep(gather_s)

    async def pause(self) -> None:
        """Wait before the disk is tried again."""
        await asyncio.sleep(max(self._commit_s, GATHER_S))
