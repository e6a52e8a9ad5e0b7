"""What a far side asks for once more: it knows which numbers it lacks, and the journal has them.

    {"numbers":[[18200,18231]]}  ─►  Again  ─►  an errand: a lane of history that is kept nowhere

A broker that is killed forgets what it had taken and not yet saved; the collector sees the hole in the
numbers and asks. Nobody may keep a station busy with it, or spend its bytes: a request counts once a minute,
is for `NUMBERS` numbers at most, and goes behind everything else that is owed. An errand is not counted as
delivered, for it was, and it moves no cursor: what a crash cuts off is asked for again. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from gateway.follow_lane import Journal, Lane
from gateway.model import Event, Stamp

NUMBERS = 10_000
"""Of one request; what is beyond is asked for again later."""
STRETCHES = 8
EVERY_S = 60.0


class Errand(Lane):
    """A lane whose end is known and whose cursor lives in memory alone."""

    def __init__(self, journal: Journal, name: str, first_seq: int, last_seq: int) -> None:
        super().__init__(journal, name, first_seq - 1, last_seq)
        self.numbers = [first_seq, last_seq]
        self.records = 0
        """That were sent once more."""

    def finish(self, seq: int) -> None:
        self.done_seq = seq


class Again:
    """The requests of one far side, and the errand under way."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self.now: Errand | None = None
        self._every_s = every_s
        self._due_s = 0.0
        self._asked: deque[tuple[int, int]] = deque()

    def hear(self, numbers: Sequence[tuple[int, int]], now_s: float) -> bool:
        """Take a request for numbers, ends included; False when it comes too soon or makes no sense."""
        if now_s < self._due_s or self._asked or self.now is not None:
            return False
        left = NUMBERS
        for first, last in sorted(numbers)[:STRETCHES]:
            last = min(last, first + left - 1)
            if 0 < first <= last:
                self._asked.append((first, last))
                left -= last - first + 1
        if self._asked:
            self._due_s = now_s + self._every_s
        return bool(self._asked)

    def errand(self, journal: Journal, name: str, done_seq: int, stamp: Callable[[], Stamp]) -> Errand | None:
        """The one to go on with, or None. What was never sent is not sent again: `done_seq` is the last that
        was. One that is done is told in the journal.
        """
        if self.now is not None and self.now.over:
            detail = {"sink": name, "numbers": self.now.numbers, "records": self.now.records}
            journal.append([Event(stamp(), "sent_again", detail)])
            self.now = None
        while self.now is None and self._asked:
            first, last = self._asked.popleft()
            if first <= min(last, done_seq):
                self.now = Errand(journal, f"{name}/again", first, min(last, done_seq))
        return self.now

    def drop(self) -> None:
        """Forget what was asked: who asked will ask again."""
        self.now = None
        self._asked.clear()
