"""Publishes the end of the evidence chain every hour (event "chain_head"), so that others hold a witness."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gateway.model import Body, Event, Record, Stamp

EVERY_S = 3600.0
LOOK_S = 60.0


class Journal(Protocol):
    """What is needed of the journal."""

    def chain_head(self) -> dict[str, Any] | None: ...
    def append(self, bodies: Sequence[Body]) -> list[Record]: ...


class Heads:
    """Appends the event: the first as soon as there is a block, then one an hour while new ones come."""

    def __init__(self, journal: Journal, stamp: Callable[[], Stamp], *, every_s: float = EVERY_S) -> None:
        self._journal, self._stamp, self._every_s = journal, stamp, every_s

    async def run(self) -> None:
        """Publish until cancelled."""
        published = 0
        while True:
            head = self._journal.chain_head()
            if head is not None and head["block"] != published:
                published = head["block"]
                self._journal.append([Event(self._stamp(), "chain_head", head)])
                await asyncio.sleep(self._every_s)
            else:
                await asyncio.sleep(min(LOOK_S, self._every_s))
