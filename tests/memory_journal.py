"""A journal in memory for testing followers: everything is committed at once, and what they did to it can be
looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.model import Body, Event, Reading, Record, Stamp, Value

START_MS = 1_795_428_000_000  # 2026-11-23T10:00:00Z


def stamp(ms: int = START_MS) -> Stamp:
    return Stamp(ms, "boot0001", ms - START_MS + 60_000, True)


def reading(number: float, sensor: str = "ph1", ms: int = START_MS, quantities: int = 1) -> Reading:
    values = {f"q{k}" if k else "ph": Value(number, number + 0.5, "pH", 1) for k in range(quantities)}
    return Reading(sensor, "yosemitech-y532", "water", stamp(ms), values, 4)


class MemoryJournal:
    def __init__(self, bodies: Sequence[Body] = ()) -> None:
        self.records: list[Record] = []
        self.cursors: dict[str, int] = {}
        self.moves: list[tuple[str, int]] = []
        """Every call of `finish`, in order."""
        self.refused: list[tuple[str, int, str]] = []
        self.reads = 0
        self._more = asyncio.Event()
        self._seq = 0
        self.append(bodies)

    @property
    def committed_seq(self) -> int:
        return self._seq

    def append(self, bodies: Sequence[Body]) -> list[Record]:
        made = [Record(self._seq + 1 + i, body) for i, body in enumerate(bodies)]
        self.records += made
        self._seq += len(made)
        self._more.set()
        self._more = asyncio.Event()
        return made

    def lose(self, count: int) -> None:
        """Numbers that were given out and are not there any more."""
        self._seq += count
        self._more.set()
        self._more = asyncio.Event()

    async def after(self, seq: int, limit: int) -> list[Record]:
        self.reads += 1
        await asyncio.sleep(0)
        return [record for record in self.records if record.seq > seq][:limit]

    async def more(self, seq: int) -> None:
        while self._seq <= seq:
            await self._more.wait()

    def cursors_of(self, name: str) -> dict[str, int]:
        return {of: seq for of, seq in self.cursors.items() if of.partition("/")[0] == name}

    def cursor(self, name: str) -> int:
        return self.cursors.get(name, 0)

    def finish(self, name: str, seq: int) -> None:
        assert seq >= self.cursors.get(name, 0), "a cursor never goes back"
        self.cursors[name] = seq
        self.moves.append((name, seq))

    def drop(self, name: str) -> None:
        self.cursors.pop(name, None)

    def refuse(self, name: str, record: Record, reason: str) -> None:
        self.refused.append((name, record.seq, reason))
        self.append([Event(stamp(), "refused", {"sink": name, "seq": record.seq, "reason": reason})])

    def events(self, what: str) -> list[dict[str, object]]:
        return [r.body.detail for r in self.records if isinstance(r.body, Event) and r.body.what == what]
