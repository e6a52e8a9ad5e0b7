"""What a byte budget held back of the readings (gateway.budget): said exactly, whatever ends the process.

    seq        1   2   3   4   5   6   7   8   9
    reading    ●   ○   ○       ○   ○   ●   ○   ○      ● sent, ○ held back; 4 is an event
                   └──── a run ────┘       └ open

A run is a stretch of the journal in which the sink had no reading because of its budget, within one UTC hour
by their stamps. When it is over it becomes an

    Event "withheld"  {"sink": "mqtt", "why": "budget", "after_seq": 1, "to_seq": 6, "from_ms": 1795428000000,
                       "to_ms": 1795431600000, "readings": {"ph1": 4}}

Live, a run grows with each commit; an event for each would be as long as the readings. So the open run is two
more cursors of the journal, "withheld/mqtt" (1) and "withheld/mqtt/end" (6), moved in the same step as the
sink's own: one commit keeps them all or none. They are dropped in the step in which the event is appended; a
process that is started again counts the readings between them anew, in the journal. A slice of history is
told when it is done. Pure but for the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.follow_lane import Journal, Run
from gateway.model import Body, Event, Reading, Record, Stamp

WHAT = "withheld"
END = "/end"
HOUR_MS = 3_600_000
READ_RECORDS = 1000


class Noted:
    """What happened to readings while a batch was read, in order: runs, and None where one went out."""

    def __init__(self) -> None:
        self.marks: list[Run | None] = []

    def held_back(self, record: Record, body: Reading) -> None:
        hour = body.at.utc_ms // HOUR_MS
        run = self.marks[-1] if self.marks else None
        if run is None or run.hour != hour:
            run = Run(record.seq - 1, hour)
            self.marks.append(run)
        run.add(record.seq, body.sensor)

    def went(self) -> None:
        if not self.marks or self.marks[-1] is not None:
            self.marks.append(None)


class Withheld:
    """One follower's. Every method that moves something does so without waiting."""

    def __init__(self, journal: Journal, name: str, stamp: Callable[[], Stamp]) -> None:
        self._journal, self._sink, self._stamp = journal, name, stamp
        self._name = f"{WHAT}/{name}"
        self._open: Run | None = None

    async def resume(self, wants: Callable[[Body], bool]) -> None:
        """Take up the run that the process before left open. Blocks on the disk."""
        kept = self._journal.cursors_of(WHAT)
        self._open = None
        seq, end_seq = kept.get(self._name), kept.get(self._name + END)
        if seq is None or end_seq is None:
            return
        run = None
        while seq < end_seq and (found := await self._journal.after(seq, READ_RECORDS)):
            for record in found:
                seq = record.seq
                if seq <= end_seq and type(record.body) is Reading and wants(record.body):
                    if run is None:
                        run = Run(kept[self._name], record.body.at.utc_ms // HOUR_MS)
                    run.add(seq, record.body.sensor)
        if run is None:
            self._forget()  # all of it went with what the journal may keep
        self._open = run

    def live(self, marks: Sequence[Run | None]) -> None:
        """The live cursor passes these; it moves in the same step."""
        for run in marks:
            before = self._open
            if run is None or (before is not None and before.hour != run.hour):
                self.close()
            if run is None:
                continue
            if self._open is None:
                self._open = run
                self._journal.finish(self._name, run.after_seq)
            else:
                self._open.to_seq = run.to_seq
                for sensor, count in run.readings.items():
                    self._open.readings[sensor] = self._open.readings.get(sensor, 0) + count
            self._journal.finish(self._name + END, run.to_seq)

    def history(self, marks: Sequence[Run | None]) -> None:
        """A slice of history passes these."""
        for run in marks:
            if run is not None:
                self._tell(run)

    def close(self) -> None:
        """The open run is over: the next reading goes out, or what follows is another lane's."""
        run, self._open = self._open, None
        if run is not None:
            self._tell(run)
            self._forget()

    def _tell(self, run: Run) -> None:
        detail = {
            "sink": self._sink,
            "why": "budget",
            "after_seq": run.after_seq,
            "to_seq": run.to_seq,
            "from_ms": run.hour * HOUR_MS,
            "to_ms": (run.hour + 1) * HOUR_MS,
            "readings": run.readings,
        }
        self._journal.append([Event(self._stamp(), WHAT, detail)])

    def _forget(self) -> None:
        self._journal.drop(self._name)
        self._journal.drop(self._name + END)
