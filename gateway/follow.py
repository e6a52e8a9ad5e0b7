"""A follower of the journal with an effect outside the machine: name, cursor, batch, sink. At least once.

    JOURNAL ─ after(cursor) ─► batch ─► deliver ─┬─ returns      the far side has confirmed: the cursor moves
                                 ▲               ├─ Unreachable  back off (full jitter), the same batch again
                                 └─ halved ◄─────┴─ Refused      until one stands alone: set aside, go on

Every sink has its own follower and its own cursor, so a dead one slows nothing else. An outage is said once
when it begins and once when it ends: in the log, and as the Events "sink_down" and "sink_up". After a long
one the newest goes first, and the rest beside it (gateway.backfill). Time is the loop's only.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import random as _random
from collections.abc import Callable, Iterable, Sequence

from gateway.backfill import LIVE_S, Pace, Stretches, end, is_young, live_edge
from gateway.budget import Budget
from gateway.dating_release import LOOK_S, Release
from gateway.errors import Unreachable
from gateway.follow_again import Again, Errand
from gateway.follow_gather import Gathering
from gateway.follow_lane import Batch, Journal, Lane, Run
from gateway.follow_outage import Outage
from gateway.follow_sink import Progress as Progress
from gateway.follow_sink import Sink as Sink
from gateway.follow_withheld import Noted, Withheld
from gateway.model import Body, Event, Reading, Record, Stamp

log = logging.getLogger(__name__)

GRACE_S = 0.7
"""At the end: how long what is on its way may still be confirmed. A station stops within five seconds."""
GOODBYE_S = 0.7
"""At the end, after that: how long the sink may take to say goodbye."""


class Follower:
    """Make one per sink and keep `run` running. `progress` may be read at any time."""

    def __init__(
        self,
        journal: Journal,
        name: str,
        sink: Sink,
        *,
        stamp: Callable[[], Stamp],
        random: Callable[[], float] = _random.random,
        budget: Budget | None = None,
        release: Release | None = None,
    ) -> None:
        self.name = name
        self.sink = sink
        self.budget = budget
        self._release = release
        self._take = release.take if release is not None else _as_it_is
        self._progress = Progress()
        self._journal = journal
        self._stamp = stamp
        self._random = random
        self._live = Lane(journal, name, 0)
        self._history = Stretches(journal, name)
        self._pace = Pace(sink.history_per_s, sink.batch_records)
        self._again: Again = getattr(sink, "again", None) or Again()  # not every far side can ask
        self.gathering: Gathering = getattr(sink, "gathering", None) or Gathering()
        self._settled: set[int] = set()  # done before their batch was, and not to go again
        self._withheld = Withheld(journal, name, stamp)
        self._outage = Outage(journal, name, sink, self._progress, stamp, random)
        self._beat_due_s = 0.0
        self._spent_bytes = 0
        self._counted: tuple[int, int] | None = None
        """Where `progress.sent` begins: the first moment at which nothing was owed; what was delivered by
        then.
        """
        self._moved = asyncio.Event()  # replaced whenever a cursor moves

    @property
    def progress(self) -> Progress:
        """How it is doing, as of now."""
        progress = self._progress
        progress.history = self._history.owed
        progress.held = self._journal.committed_seq - self._live.read_seq if self._live.held else 0
        progress.held += sum(end(lane) - lane.read_seq for lane in self._history.lanes if lane.held)
        progress.backlog = max(self._journal.committed_seq - self._live.done_seq, 0) + progress.history
        whole = not self._history.lanes and not self._live.flying and not self._settled
        if whole and self._counted is None:
            self._counted = (progress.cursor, progress.delivered)
        since, before = self._counted or (0, 0)
        progress.sent = (since, progress.cursor, progress.delivered - before) if whole else None
        return progress

    async def run(self) -> None:
        """Follow until cancelled; then take the confirmations that still come, and close the sink."""
        loop = asyncio.get_running_loop()
        self._live = Lane(self._journal, self.name, self._journal.cursor(self.name))
        self._history = Stretches(self._journal, self.name)
        self._tell()
        await self._withheld.resume(self.sink.wants)
        self._beat_due_s = loop.time()
        self._spent_bytes = self.sink.carried_bytes if self.budget is not None else 0
        try:
            while True:
                try:
                    await self._round()
                except Unreachable as e:
                    self._again.drop()
                    flying = self._live.flying or any(lane.flying for lane in self._history.lanes)
                    backlog = self.progress.backlog
                    await self._outage.pause(self._outage.went_down(e, backlog, of_a_batch=bool(flying)))
                finally:
                    self._spend()
        finally:
            await self._wind_down()

    async def done(self, seq: int) -> None:
        """Return when the follower is done with everything up to `seq`. No deadline: the caller sets one."""
        while self._progress.cursor < seq:
            await self._moved.wait()

    def again(self, seqs: Iterable[int]) -> int:
        """Offer these records once more, though the cursor has passed them: refused ones, mended at the far
        side. Gives how many it took; it owes only so many stretches at a time.
        """
        seqs = set(seqs)
        self._settled -= seqs
        return self._history.owe_again(seqs, self._live.done_seq)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    async def _round(self) -> None:
        """One step: let go of the past, show life if it is time, keep the batches flying, wait for the first
        of them, for the next slice of history, or for new records.
        """
        loop = asyncio.get_running_loop()
        await self._let_go_of_the_past()
        live, history = self._live, self._history.first or self._owed_again()
        # While a batch waits for the far side, that batch is the probe: a beat must not make it look well.
        probing = self._outage.of_a_batch and (live.flying or history)
        every_s = self._beat_every_s()
        if every_s is not None and loop.time() >= self._beat_due_s and not probing:
            self._beat_due_s = loop.time()  # due at once again if it fails
            await self.sink.beat()
            self._beat_due_s = loop.time() + every_s
            self._outage.came_up(self.progress.backlog)
        due_s = await self.gathering.due_s(self._journal, live, self.sink, loop.time())
        if due_s <= loop.time():
            await self._fill(live)
        if live.flying:
            await self._land(live)
        elif history is not None and loop.time() >= self._pace.due_s:
            await self._drain(history)
        else:
            dues_s = [self._beat_due_s] if every_s is not None and not probing else []
            dues_s += [self._pace.due_s] if history is not None else []
            dues_s += [due_s] if loop.time() < due_s < math.inf else []
            if live.held is not None:
                await self._look(live.held)
                dues_s.append(loop.time() + LOOK_S)
                await asyncio.sleep(min(dues_s) - loop.time())
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(dues_s, default=None)):
                    await self._journal.more(self.gathering.looked(live.read_seq))

    async def _let_go_of_the_past(self) -> None:
        """If what is next is older than the live window, jump to what is young, and owe the rest."""
        live = self._live
        if live.flying:
            if live.flying[0].task is not None:
                return
            first = live.flying[0].parts[-1][:1]
        elif self._journal.committed_seq > live.read_seq:
            first = await self._journal.after(live.read_seq, 1)
        else:
            return
        now = self._stamp()
        live_s = LIVE_S + self.gathering.wait_s
        if not first or is_young(first[0], now, live_s):
            return
        edge = await live_edge(self._journal, live.done_seq, now, live_s)
        if edge <= live.done_seq:
            return
        for batch in live.flying:
            self._settled |= batch.settled()
        self._history.owe(live.done_seq, edge)
        self._withheld.close()
        self._live = Lane(self._journal, self.name, live.done_seq)
        self._live.jump(edge)
        log.info("%s: %d records are history now", self.name, edge - live.done_seq)

    def _owed_again(self) -> Lane | None:
        """What the far side asked for once more; nothing of it while bytes are short."""
        if self.budget is not None and self.budget.level:
            self._again.drop()
        return self._again.errand(self._journal, self.name, self._live.done_seq, self._stamp)

    async def _drain(self, lane: Lane) -> None:
        """Deliver one slice of history."""
        loop = asyncio.get_running_loop()
        if not lane.flying:
            records = min(self._pace.records, self.sink.batch_records)
            batch = await self._read(lane, records)
            if lane.held is not None:
                await self._look(lane.held)
            if batch is None or not batch.parts:
                seq, marks = (batch.last_seq, batch.marks) if batch is not None else (lane.read_seq, [])
                self._finish(lane, seq, marks)
                if lane.held is not None:
                    self._pace.due_s = loop.time() + LOOK_S
                return
            lane.flying.append(batch)
        slice_, began_s = lane.flying[0], loop.time()
        await self._land(lane)
        self._pace.took(len(slice_.given), began_s, loop.time())

    async def _fill(self, lane: Lane) -> None:
        """Start what may fly: all batches, or only the first while the far side is away."""
        while len(lane.flying) < (self.sink.in_flight if not self._outage.now else 1):
            batch = await self._read(lane, self.sink.batch_records)
            if batch is None:
                break
            if batch.parts:
                lane.flying.append(batch)
            elif lane.flying:
                lane.flying[-1].last_seq = batch.last_seq
                lane.flying[-1].marks += batch.marks
            else:
                self._finish(lane, batch.last_seq, batch.marks)
            if lane.flying:
                self._start(lane, lane.flying[-1])
        for batch in lane.flying:
            self._start(lane, batch)
            if self._outage.now:
                break

    async def _read(self, lane: Lane, records: int) -> Batch | None:
        noted = Noted()
        wanted = functools.partial(self._wanted, noted)
        batch = await lane.read(records, self.sink.batch_bytes, wanted, self._take)
        if batch is not None and not isinstance(lane, Errand):
            batch.marks = noted.marks
        return batch

    def _wanted(self, noted: Noted, record: Record) -> bool:
        body = record.body
        wants = self.sink.wants
        if record.seq in self._settled:
            noted.went()
            return False
        if not (wants(body) if self.budget is None else self.budget.takes(body, wants)):
            if self.budget is not None and type(body) is Reading and wants(body):
                noted.held_back(record, body)
            return False
        if type(body) is Reading:
            noted.went()
            return True
        return not self._own_refusal(body)

    async def _look(self, held: Record) -> None:
        if self._release is not None:
            await self._release.look(held, self._reachable)

    async def _reachable(self) -> bool:
        """Whether the far side is there, as far as can be told without sending anything."""
        return not self._outage.now and (self.sink.beat_s is not None or await self.sink.knock())

    def _start(self, lane: Lane, batch: Batch) -> asyncio.Task[None]:
        if batch.task is None:
            name = f"sink.{lane.name}.{batch.last_seq}"
            batch.task = asyncio.create_task(
                batch.place(
                    functools.partial(self.sink.deliver, late=lane is not self._live),
                    functools.partial(self._count, lane),
                    self._set_aside,
                ),
                name=name,
            )
        return batch.task

    def _count(self, lane: Lane, delivered: int) -> None:
        if isinstance(lane, Errand):
            lane.records += delivered
        else:
            self._progress.delivered += delivered

    def _set_aside(self, record: Record, reason: str) -> None:
        self._progress.refused += 1
        self._progress.last_error = reason
        log.warning("%s: record %d refused and set aside: %s", self.name, record.seq, reason)
        # A refusal of the news of a refusal makes no news: two sinks that refuse everything would talk for
        # ever.
        if not (isinstance(record.body, Event) and record.body.what == "refused"):
            self._journal.refuse(self.name, record, reason)

    async def _land(self, lane: Lane) -> None:
        """Wait for the first batch. Raises Unreachable when it could not be handed over."""
        head = lane.flying[0]
        task = self._start(lane, head)
        await asyncio.wait([task])
        try:
            task.result()
        except Unreachable:
            await self._settle(lane)
            raise
        lane.flying.popleft()
        if lane is self._live and self._history.lanes:
            # What it corrects may be history and come later: then it must come once more behind that.
            for record in head.given:
                if self.sink.corrects(record.body):
                    self._history.owe(record.seq - 1, record.seq)
        self._finish(lane, head.last_seq, head.marks)
        self._outage.came_up(self.progress.backlog)
        for what, detail in self.sink.remarks():
            self._journal.append([Event(self._stamp(), what, {"sink": self.name, **detail})])

    async def _settle(self, lane: Lane) -> None:
        """Wait for everything that flies; what failed can be started again, what was confirmed stays
        confirmed.
        """
        tasks = [batch.task for batch in lane.flying if batch.task is not None]
        await asyncio.wait(tasks)
        for batch in lane.flying:
            if batch.task is not None and isinstance(batch.task.exception(), Unreachable):
                batch.task = None

    def _finish(self, lane: Lane, seq: int, marks: Sequence[Run | None]) -> None:
        (self._withheld.live if lane is self._live else self._withheld.history)(marks)
        lane.finish(seq)
        self._tell()
        if self._settled and not self._history.lanes:
            self._settled.clear()

    def _tell(self) -> None:
        self._progress.cursor = min([self._live.done_seq, *self._history.undone()])
        self._moved.set()
        self._moved = asyncio.Event()

    def _beat_every_s(self) -> float | None:
        every_s = self.sink.beat_s
        if every_s is None or self.budget is None:
            return every_s
        return max(every_s, min(every_s * self.budget.patience, 3600.0))

    def _spend(self) -> None:
        if self.budget is not None:
            carried_bytes = self.sink.carried_bytes
            self.budget.spend(carried_bytes - self._spent_bytes)
            self._spent_bytes = carried_bytes

    def _own_refusal(self, body: Body) -> bool:
        return isinstance(body, Event) and body.what == "refused" and body.detail.get("sink") == self.name

    async def _wind_down(self) -> None:
        lanes = [self._live, *self._history.lanes, *([self._again.now] if self._again.now else [])]
        tasks = [batch.task for lane in lanes for batch in lane.flying if batch.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=GRACE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=GRACE_S)
        for lane in lanes:
            for batch in lane.flying:
                if batch.task is None or not _succeeded(batch.task):
                    break
                self._finish(lane, batch.last_seq, batch.marks)
            lane.flying.clear()
        for task in tasks:
            _succeeded(task)  # so that no failure is reported as never looked at: the records come again
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self.sink.close()


async def follow(
    journal: Journal,
    name: str,
    sink: Sink,
    *,
    stamp: Callable[[], Stamp],
    random: Callable[[], float] = _random.random,
) -> None:
    """Follow the journal until cancelled, for whoever needs no counters. See `Follower`."""
    await Follower(journal, name, sink, stamp=stamp, random=random).run()


def _as_it_is(record: Record) -> Record:
    return record


def _succeeded(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
