"""Where followers read: the newest records in memory, and one block of the past at a time."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.journal_disk import Page
from gateway.model import Record

log = logging.getLogger(__name__)


class Recent:
    """The committed records: `late` of them are not in SQLite yet, some older ones are kept for followers
    that are nearly up to date.
    """

    def __init__(self, load: Callable[[int], Awaitable[Page]], lost: Callable[[int, int], None]) -> None:
        self._load = load
        self._lost = lost
        self._said: set[tuple[int, int]] = set()
        self._records: list[Record] = []
        self._late = 0
        self._page = Page(0, 0, [])

    def add(self, records: Sequence[Record]) -> None:
        """These are committed now."""
        self._records += records
        self._late += len(records)

    def late(self) -> list[Record]:
        """What SQLite does not have."""
        return self._records[len(self._records) - self._late :]

    def settled(self, keep: int) -> None:
        """SQLite has everything; keep so many."""
        self._late = 0
        if len(self._records) > keep:
            del self._records[:-keep]

    async def after(self, seq: int, limit: int) -> list[Record]:
        """Committed records beyond `seq`, oldest first, at most `limit`. Blocks on the disk for what is long
        ago. What cannot be read is passed over, and said once.
        """
        while not (self._records and seq >= self._records[0].seq - 1):
            if not self._page.after_seq <= seq < self._page.last_seq:
                self._page = page = await self._load(seq)
                if page.lost is not None and page.lost not in self._said:
                    self._said.add(page.lost)
                    log.error("journal: records %d to %d cannot be read; they are passed over", *page.lost)
                    self._lost(*page.lost)
                if page.last_seq <= seq:
                    break
            if found := _beyond(self._page.records, seq, limit):
                return found
            seq = self._page.last_seq
        return _beyond(self._records, seq, limit)


def _beyond(records: list[Record], seq: int, limit: int) -> list[Record]:
    at = bisect_right(records, seq, key=_seq)
    return records[at : at + limit]


def _seq(record: Record) -> Any:
    return record.seq
