"""A lane of a follower: a stretch of the journal with a cursor of its own, taken from its start in batches.

A follower has one lane without an end, which is live; what it left behind when it came up with an old backlog
(gateway.backfill) are lanes with an end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.errors import Refused
from gateway.model import Average, Body, Reading, Record

READ_RECORDS = 1000
"""Records taken from the journal in one go."""


class Journal(Protocol):
    """What a follower needs of the journal (gateway.journal.Journal has it)."""

    @property
    def committed_seq(self) -> int: ...
    async def after(self, seq: int, limit: int) -> list[Record]: ...
    async def more(self, seq: int) -> None: ...
    def cursor(self, name: str) -> int: ...
    def cursors_of(self, name: str) -> dict[str, int]: ...
    def finish(self, name: str, seq: int) -> None: ...
    def drop(self, name: str) -> None: ...
    def refuse(self, name: str, record: Record, reason: str) -> None: ...
    def append(self, bodies: Sequence[Body]) -> list[Record]: ...


@dataclass(slots=True)
class Run:
    """Readings that a byte budget held back in a row, of one UTC hour (gateway.follow_withheld)."""

    after_seq: int
    hour: int
    to_seq: int = 0
    readings: dict[str, int] = field(default_factory=dict)

    def add(self, seq: int, sensor: str) -> None:
        self.to_seq = seq
        self.readings[sensor] = self.readings.get(sensor, 0) + 1


@dataclass(slots=True)
class Batch:
    """Records on their way."""

    last_seq: int
    """The cursor may move here once everything before is done; records passed over are included."""
    parts: list[list[Record]]
    """What is left to hand over, the next one last; halves after a refusal."""
    task: asyncio.Task[None] | None = None
    given: list[Record] = field(default_factory=list)
    """All that it began with."""
    marks: list[Run | None] = field(default_factory=list)
    """What was held back while it was read, and None where a reading went out."""

    async def place(
        self,
        deliver: Callable[[list[Record]], Awaitable[None]],
        delivered: Callable[[int], None],
        set_aside: Callable[[Record, str], None],
    ) -> None:
        """Hand it over, halving what is refused. Raises Unreachable; the rest then stays in `parts`."""
        while self.parts:
            part = self.parts[-1]
            try:
                await deliver(part)
            except Refused as e:
                self.parts.pop()
                taken = min(max(e.accepted, 0), len(part) - 1)  # at least one record is at fault
                delivered(taken)
                part = part[taken:]
                if len(part) == 1:
                    set_aside(part[0], str(e))
                else:
                    half = len(part) // 2
                    self.parts += [part[half:], part[:half]]
            else:
                self.parts.pop()
                delivered(len(part))

    def settled(self) -> set[int]:
        """What the far side has confirmed or refused of it."""
        return {record.seq for record in self.given} - {r.seq for part in self.parts for r in part}


class Lane:
    """From `done_seq` on, up to `end_seq` or, without an end, with whatever comes."""

    def __init__(self, journal: Journal, name: str, seq: int, end_seq: int | None = None) -> None:
        self.name = name
        self.done_seq = seq
        self.end_seq = end_seq
        self.flying: deque[Batch] = deque()
        self.held: Record | None = None
        """Where the last `read` stopped because that record must wait; None: it did not."""
        self._journal = journal
        self._read_seq = seq

    @property
    def read_seq(self) -> int:
        """How far it has read; some of that may still be on its way."""
        return self._read_seq

    @property
    def over(self) -> bool:
        """Whether everything up to its end is done."""
        return self.end_seq is not None and self.done_seq >= self.end_seq

    async def read(
        self,
        records: int,
        size_bytes: int,
        wanted: Callable[[Record], bool],
        take: Callable[[Record], Record | None] = lambda record: record,
    ) -> Batch | None:
        """The next batch, by count and by bytes; None when there is nothing beyond. `take` makes of a record
        what the sink is to have; None when this record, and all behind it, must wait.
        """
        self.held = None
        chosen: list[Record] = []
        size, seq, full = 0, self._read_seq, False
        while not full and not (self.end_seq is not None and seq >= self.end_seq):
            committed_seq = self._journal.committed_seq
            found = await self._journal.after(seq, READ_RECORDS)
            if self.end_seq is not None:
                found = [record for record in found if record.seq <= self.end_seq]
                committed_seq = self.end_seq
            if not found:
                seq = max(seq, committed_seq)  # numbers that were lost or forgotten are not waited for
                break
            for record in found:
                if wanted(record):
                    weight = weigh(record.body)
                    full = len(chosen) >= records or (bool(chosen) and size + weight > size_bytes)
                    if full:
                        break
                    ready = take(record)
                    if ready is None:
                        self.held, full = record, True
                        break
                    chosen.append(ready)
                    size += weight
                seq = record.seq
            if not chosen and seq - self._read_seq >= 10 * READ_RECORDS:
                break  # nothing wanted for a long while: let the cursor move
        if seq == self._read_seq:
            return None
        self._read_seq = seq
        return Batch(seq, [chosen] if chosen else [], given=chosen)

    def jump(self, seq: int) -> None:
        """Go on behind `seq`; what lies before is another lane's."""
        self._read_seq = seq
        self.finish(seq)

    def finish(self, seq: int) -> None:
        """Everything up to `seq` is done."""
        self.done_seq = seq
        self._journal.finish(self.name, seq)


def weigh(body: Body) -> int:
    """About how many bytes a record takes on its way; an estimate is enough for cutting batches."""
    if isinstance(body, Reading):
        return 180 + 60 * len(body.values)
    if isinstance(body, Average):
        return 240 + 100 * len(body.values)
    return 300 + 40 * len(body.detail)
