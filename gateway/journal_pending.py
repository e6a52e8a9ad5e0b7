"""What is appended and not on the disk yet; a limit for when the disk takes nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from gateway.model import Event, Record


class Pending:
    """Records that wait for the disk, oldest first."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._writing = 0  # how many of the first are on their way
        self._said: Record | None = None  # says which were lost; it waits too

    def __len__(self) -> int:
        return len(self._records)

    @property
    def under_way(self) -> bool:
        """Whether the disk is at work on some of them."""
        return self._writing > 0

    def extend(self, records: Sequence[Record]) -> None:
        self._records.extend(records)

    def begin(self) -> list[Record]:
        """All of them; they are on their way until `taken` or `failed`."""
        self._writing = len(self._records)
        return list(self._records)

    def taken(self) -> None:
        """What was begun is on the disk."""
        for _ in range(self._writing):
            if self._records.popleft() is self._said:
                self._said = None
        self._writing = 0

    def failed(self) -> None:
        """What was begun is not."""
        self._writing = 0

    def shed(self, limit: int, why: str, say: Callable[[dict[str, Any]], Record]) -> None:
        """Lose the oldest beyond the limit, and say how many: one event for all, as long as it waits itself.

        `say` appends the event. What is on its way stays.
        """
        lost = len(self._records) - self._writing - limit
        if lost <= 0:
            return
        waiting = list(self._records)
        under_way, gone, left = (
            waiting[: self._writing], waiting[self._writing :][:lost], waiting[self._writing :][lost:],
        )  # fmt: skip
        self._records = deque([*under_way, *left])
        detail = {"from_seq": gone[0].seq, "to_seq": gone[-1].seq, "records": lost, "why": why}
        said = self._said
        if said is not None and isinstance(said.body, Event) and said not in under_way:
            before = said.body.detail  # nobody has seen it yet
            detail |= {"from_seq": before["from_seq"], "records": before["records"] + lost - (said in gone)}
            if said in left:
                self._said = Record(said.seq, Event(said.body.at, said.body.what, detail))
                self._records[self._records.index(said)] = self._said
                return
        self._said = say(detail)
