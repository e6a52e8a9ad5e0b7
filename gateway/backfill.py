"""Live and history: what a follower owes when it comes up with an old backlog, and how fast it pays.

                         the far side is back
                                  ▼
    ──────┬───────────────────────┬───────────────►  seq
          │◄──── a stretch ──────►│◄──── live ─────
       cursor             as old as the live window

The live cursor jumps to what is young, and the stretch it leaves behind is noted as two more cursors of
the journal: "mqtt/1200" (how far its history is) and "mqtt/1200/end". They and the jump are kept by the same
commit, so after a crash both are there or neither: nothing is lost, and nothing is skipped. The oldest
stretch goes first, in slices that never keep the line for long, so that live records pass between them.
Without this a station that was off the net for a night would show the night first.

What corrects an older record (gateway.follow_sink, `corrects`) is owed once more when it went out live before
a stretch was paid: so it also comes behind what it corrects, and is right in the end.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.follow_lane import Journal, Lane
from gateway.model import Average, Record, Stamp

LIVE_S = 60.0
"""What is not older than this is live."""
STRETCHES = 8
"""Stretches owed at the same time; beyond, the two that are nearest become one, and what lies between goes
twice."""
SLICE_S = 0.5
"""A slice of history may keep the line for about so long."""
FIRST_SLICE = 50
END = "/end"


class Stretches:
    """The stretches that a follower owes, oldest first; they outlive the process."""

    def __init__(self, journal: Journal, name: str) -> None:
        self._journal = journal
        self._name = name
        self.lanes: list[Lane] = []
        kept = journal.cursors_of(name)
        for of, seq in sorted(kept.items(), key=lambda cursor: cursor[1]):
            if of == name or of.endswith(END):
                continue
            lane = Lane(journal, of, seq, kept.get(of + END, seq))
            if lane.over:
                self._drop(lane)
            else:
                self.lanes.append(lane)

    @property
    def first(self) -> Lane | None:
        """The one to go on with, or None. What is done is forgotten."""
        while self.lanes and self.lanes[0].over:
            self._drop(self.lanes.pop(0))
        return self.lanes[0] if self.lanes else None

    @property
    def owed(self) -> int:
        """Journal records in all of them."""
        return sum(end(lane) - lane.done_seq for lane in self.lanes)

    def undone(self) -> list[int]:
        """The cursors of those that are not done."""
        return [lane.done_seq for lane in self.lanes if not lane.over]

    def owe_again(self, seqs: Iterable[int], done_seq: int) -> int:
        """Owe single records that lie behind `done_seq`, as far as there is room. Gives how many."""
        taken = 0
        for seq in sorted(set(seqs)):
            if 0 < seq <= done_seq and len(self.lanes) < STRETCHES:
                self.owe(seq - 1, seq)
                taken += 1
        return taken

    def owe(self, after_seq: int, to_seq: int) -> None:
        """Note what lies beyond `after_seq`, up to `to_seq`. Kept with the next commit."""
        for lane in [lane for lane in self.lanes if lane.over]:
            self.lanes.remove(lane)
            self._drop(lane)
        if any(lane.done_seq <= after_seq and to_seq <= end(lane) for lane in self.lanes):
            return
        before = next((lane for lane in self.lanes if end(lane) == after_seq), None)
        if before is not None:
            self._stretch(before, to_seq)
            return
        name = f"{self._name}/{after_seq}"
        while any(lane.name == name for lane in self.lanes):
            name += "+"
        lane = Lane(self._journal, name, after_seq)
        lane.finish(after_seq)
        self._stretch(lane, to_seq)
        self.lanes.append(lane)
        self.lanes.sort(key=lambda lane: lane.done_seq)
        while len(self.lanes) > STRETCHES:
            self._join()

    def _join(self) -> None:
        """Make one of the two that are nearest to each other."""
        pairs = zip(self.lanes, self.lanes[1:], strict=False)
        one, other = min(pairs, key=lambda pair: pair[1].done_seq - end(pair[0]))
        self._stretch(one, max(end(one), end(other)))
        self.lanes.remove(other)
        self._drop(other)

    def _stretch(self, lane: Lane, end_seq: int) -> None:
        lane.end_seq = end_seq
        self._journal.finish(lane.name + END, end_seq)

    def _drop(self, lane: Lane) -> None:
        self._journal.drop(lane.name)
        self._journal.drop(lane.name + END)


class Pace:
    """How much history goes at once, so that a slice keeps the line for about `SLICE_S`; and when the next
    one may go.
    """

    def __init__(self, per_s: float, most: int) -> None:
        self.records = min(FIRST_SLICE, most)
        self.due_s = 0.0
        self._per_s, self._most = per_s, most

    def took(self, records: int, began_s: float, now_s: float) -> None:
        """A slice of so many records began and ended then."""
        took_s = now_s - began_s
        if took_s > SLICE_S:
            self.records = max(min(self.records, records) // 2, 1)
        elif took_s < SLICE_S / 2 and records >= self.records:
            self.records = min(self.records * 2, self._most)
        self.due_s = began_s + records / self._per_s


async def live_edge(journal: Journal, after_seq: int, now: Stamp, live_s: float = LIVE_S) -> int:
    """The number behind which everything is young enough to be live; `after_seq` when all of it is.

    Looks only at some records, from the newest backwards: a backlog of months costs no more than one of
    hours.
    """
    young, step = journal.committed_seq, 32
    old = after_seq - 1
    while young > after_seq:
        at = max(after_seq, young - step)
        if not await _young(journal, at, now, live_s):
            old = at
            break
        young, step = at, 2 * step
    while young - old > 1 and old >= after_seq:
        middle = (young + old) // 2
        if await _young(journal, middle, now, live_s):
            young = middle
        else:
            old = middle
    return young


def is_young(record: Record, now: Stamp, live_s: float = LIVE_S) -> bool:
    """Whether a record belongs to the live window; one of another boot only if both clocks were right."""
    at = record.body.at
    if at.boot == now.boot:
        return now.mono_ms - at.mono_ms <= live_s * 1000
    return at.synced and now.synced and now.utc_ms - at.utc_ms <= live_s * 1000


def end(lane: Lane) -> int:
    """Where a stretch ends."""
    return lane.done_seq if lane.end_seq is None else lane.end_seq


async def _young(journal: Journal, seq: int, now: Stamp, live_s: float) -> bool:
    first = _telling(await journal.after(seq, 8))
    return first is None or is_young(first, now, live_s)


def _telling(records: Iterable[Record]) -> Record | None:
    """The first that was journaled when it says; an average says when its window ended."""
    return next((record for record in records if type(record.body) is not Average), None)
