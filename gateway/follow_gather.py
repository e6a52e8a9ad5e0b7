"""When a follower's next batch may leave: at once, or when its first record has waited long enough.

      ●   ●    ●  ●      ●   ●   ●!                ● a record the sink wants, ! one that does not wait
      │◄────── wait_s ──────►│   │
      noticed                due due

A far side that is paid by the byte, or by the connection, gets many records at once. They lie in the journal
meanwhile, not here: a process that ends loses nothing, and the first batch after a start does not wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gateway.follow_lane import READ_RECORDS, Journal, Lane
from gateway.follow_sink import Sink
from gateway.model import Body


class Gathering:
    """One sink's; `wait_s` 0: nothing waits. `urgent` says what goes at once, and takes the others along."""

    def __init__(self, wait_s: float = 0.0, urgent: Callable[[Body], bool] = lambda _: False) -> None:
        self.wait_s = wait_s
        self._urgent = urgent
        self._looked_seq = 0
        self._go_seq: int | None = None
        """All up to here may leave."""
        self._waiting = 0
        self._since_s: float | None = None

    def looked(self, read_seq: int) -> int:
        """How far it has looked; what is new lies behind."""
        return max(read_seq, self._looked_seq) if self.wait_s else read_seq

    async def due_s(self, journal: Journal, live: Lane, sink: Sink, now_s: float) -> float:
        """From when on what the lane has not read yet may leave: `now_s`, or later, or never."""
        read_seq = live.read_seq
        if self._go_seq is None:
            self._go_seq = journal.committed_seq
        if not self.wait_s or live.flying or read_seq < self._go_seq:
            return now_s
        full = False
        while (seq := self.looked(read_seq)) < journal.committed_seq and not full:
            found = await journal.after(seq, READ_RECORDS)
            for record in found:
                if sink.wants(record.body):
                    self._waiting += 1
                    self._since_s = now_s if self._since_s is None else self._since_s
                    full = full or self._urgent(record.body)
            self._looked_seq = found[-1].seq if found else journal.committed_seq
            full = full or self._waiting >= sink.batch_records
        due_s = math.inf if self._since_s is None else self._since_s + self.wait_s
        if not full and now_s < due_s:
            return due_s
        self._go_seq = self._looked_seq = journal.committed_seq
        self._waiting, self._since_s = 0, None
        return now_s
