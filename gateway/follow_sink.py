"""What a follower asks of a sink, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.model import Body, Record


class Sink(Protocol):
    """Where records go. The attributes may change while it runs, for instance after "413 too large"."""

    in_flight: int
    """Batches that may be delivered at the same time."""
    batch_records: int
    batch_bytes: int
    beat_s: float | None
    """How often `beat` is wanted; None: never."""
    history_per_s: float
    """How many records of history it is given in a second at most; what is live goes first."""

    @property
    def carried_bytes(self) -> int:
        """What it has put on the line and taken from it so far; asked for where there is a budget."""
        ...

    def wants(self, body: Body) -> bool:
        """Whether this sink takes such records; the others are passed over."""
        ...

    def corrects(self, body: Body) -> bool:
        """Whether this changes on the far side what an older record put there, so that it must come after."""
        ...

    async def deliver(self, records: Sequence[Record], *, late: bool = False) -> None:
        """Hand over the batch. Blocks until the far side has confirmed all of it, within a deadline of the
        sink's own.

        Raises Unreachable (the same batch will come again, perhaps split) or Refused (it will come again in
        halves; what was confirmed may come again too).
        """
        ...

    async def beat(self) -> None:
        """Show life on the far side; also the first thing asked, so a sink may connect here. Raises
        Unreachable.
        """
        ...

    async def knock(self) -> bool:
        """Whether somebody opens at the far side's address; within a second or two, and never raises."""
        ...

    def remarks(self) -> Iterable[tuple[str, dict[str, object]]]:
        """What the sink has to say since the last time: (what, detail) of Events. Asked after each batch."""
        ...

    async def close(self) -> None:
        """Say goodbye, if the far side is there, and let go. Never raises."""
        ...


@dataclass(slots=True)
class Progress:
    """How a follower is doing: for the status message, the page and `doctor`."""

    delivered: int = 0
    """Records the far side has confirmed since the start."""
    refused: int = 0
    """Records set aside since the start."""
    cursor: int = 0
    """Everything up to here is done."""
    backlog: int = 0
    """Committed journal records that the follower is not yet done with."""
    history: int = 0
    """Those of them that are owed as history, while what is new goes first."""
    held: int = 0
    """Those that wait until the clock is right."""
    attempts: int = 0
    """Failures in a row; 0 while the far side answers."""
    sent: tuple[int, int, int] | None = None
    """(since, upto, n): of the numbers above `since` up to `upto` the far side has confirmed n records.
    None while some of them are still owed.
    """
    down_since_ms: int | None = None
    last_error: str | None = None
