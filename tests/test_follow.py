"""Followers: at least once, in order, the cursor after confirmation; outages said once; poison isolated."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import Clock
from gateway.errors import Refused, Unreachable
from gateway.follow import Follower, follow
from gateway.follow_lane import weigh
from gateway.journal import Journal
from gateway.model import Body, Event, Reading, Record
from tests.memory_journal import MemoryJournal, reading, stamp
from tests.virtual_time import run


class FakeSink:
    """Takes everything unless told otherwise: `answers` are used up first, one per delivery; `poison` is
    always refused.
    """

    def __init__(self) -> None:
        self.in_flight = 1
        self.history_per_s = 1000.0
        self.correcting: Callable[[Body], bool] = lambda _: False
        self.open = True
        self.knocks = 0
        self.carried_bytes = 0
        self.batch_records = 100
        self.batch_bytes = 1_000_000
        self.beat_s: float | None = None
        self.answers: list[Exception | None] = []
        self.poison: set[int] = set()
        self.away: str | None = None
        self.got: list[list[int]] = []
        """Every batch offered, confirmed or not."""
        self.confirmed: list[int] = []
        self.at_s: list[float] = []
        self.beats: list[float] = []
        self.beat_answers: list[Exception | None] = []
        self.closed = 0
        self.takes_s = 0.0
        self.wanted: Callable[[Body], bool] = lambda _: True
        self.said: list[tuple[str, dict[str, object]]] = []

    def wants(self, body: Body) -> bool:
        return self.wanted(body)

    def corrects(self, body: Body) -> bool:
        return self.correcting(body)

    async def knock(self) -> bool:
        self.knocks += 1
        return self.open

    async def deliver(self, records: Sequence[Record], *, late: bool = False) -> None:
        self.got.append([record.seq for record in records])
        self.at_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes_s)
        if self.away:
            raise Unreachable(self.away)
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer
        if bad := [r.seq for r in records if r.seq in self.poison]:
            raise Refused(f"poison {bad[0]}")
        self.confirmed += [record.seq for record in records]

    async def beat(self) -> None:
        self.beats.append(asyncio.get_running_loop().time())
        if self.beat_answers and (answer := self.beat_answers.pop(0)) is not None:
            raise answer

    def remarks(self) -> Iterable[tuple[str, dict[str, object]]]:
        said, self.said = self.said, []
        return said

    async def close(self) -> None:
        self.closed += 1


@contextlib.asynccontextmanager
async def following(journal: MemoryJournal, sink: FakeSink, name: str = "mqtt"):  # type: ignore[no-untyped-def]  # a generator
    follower = Follower(journal, name, sink, stamp=stamp, random=lambda: 1.0)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def play(job: Callable[[], Awaitable[None]], within_s: float = 100_000.0) -> None:
    async def within() -> None:
        async with asyncio.timeout(within_s):
            await job()

    run(within())


def seqs(sink: FakeSink) -> list[int]:
    return [seq for batch in sink.got for seq in batch]


# ── the good case ───────────────────────────────────────────────────────────────────────────────────


def test_everything_is_delivered_in_order_and_the_cursor_follows() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(250)]), FakeSink()
        async with following(journal, sink) as follower:
            await follower.done(250)
            journal.append([reading(1.0)])
            await follower.done(251)
            assert follower.progress.delivered == 251
            assert follower.progress.backlog == 0
        assert sink.confirmed == list(range(1, 252))
        assert journal.moves == [("mqtt", 100), ("mqtt", 200), ("mqtt", 250), ("mqtt", 251)]
        assert sink.closed == 1

    play(job)


def test_the_cursor_waits_for_the_confirmation() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1)]), FakeSink()
        sink.takes_s = 5.0
        async with following(journal, sink) as follower:
            await asyncio.sleep(4.9)
            assert sink.got == [[1]]
            assert journal.moves == []
            assert follower.progress.backlog == 1
            await follower.done(1)
        assert journal.moves == [("mqtt", 1)]

    play(job)


def test_a_new_follower_goes_on_at_the_cursor() -> None:
    async def job() -> None:
        journal = MemoryJournal([reading(n) for n in range(10)])
        journal.cursors["mqtt"] = 7
        sink = FakeSink()
        async with following(journal, sink) as follower:
            await follower.done(10)
        assert sink.confirmed == [8, 9, 10]

    play(job)


def test_what_a_sink_does_not_want_is_passed_over_and_the_cursor_moves() -> None:
    async def job() -> None:
        bodies: list[Body] = [Event(stamp(), "started", {})] * 3000
        bodies[1499] = reading(1)
        journal, sink = MemoryJournal(bodies), FakeSink()
        sink.wanted = lambda body: isinstance(body, Reading)
        async with following(journal, sink) as follower:
            await follower.done(3000)
            journal.append([Event(stamp(), "started", {})])
            await follower.done(3001)
        assert sink.got == [[1500]]
        assert journal.cursors["mqtt"] == 3001

    play(job)


def test_batches_are_cut_by_count_and_by_bytes() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(6)]), FakeSink()
        sink.batch_records = 4
        sink.batch_bytes = 2 * weigh(reading(1)) + 1
        async with following(journal, sink) as follower:
            await follower.done(6)
        assert sink.got == [[1, 2], [3, 4], [5, 6]]

    play(job)


def test_one_record_above_the_byte_limit_still_goes() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1), reading(2)]), FakeSink()
        sink.batch_bytes = 1
        async with following(journal, sink) as follower:
            await follower.done(2)
        assert sink.got == [[1], [2]]

    play(job)


def test_numbers_that_were_lost_are_not_waited_for() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1)]), FakeSink()
        journal.lose(1000)
        async with following(journal, sink) as follower:
            await follower.done(1001)
            await asyncio.sleep(10)
            assert journal.reads < 10, "it must wait, not spin"
            journal.append([reading(2)])
            await follower.done(1002)
        assert sink.confirmed == [1, 1002]

    play(job)


def test_what_the_sink_remarks_becomes_an_event() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1)]), FakeSink()
        sink.said.append(("mqtt_version", {"version": "MQTT 3.1.1"}))
        async with following(journal, sink) as follower:
            await follower.done(1)
        assert journal.events("mqtt_version") == [{"sink": "mqtt", "version": "MQTT 3.1.1"}]

    play(job)


def test_follow_is_the_same_without_counters() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1)]), FakeSink()
        task = asyncio.create_task(follow(journal, "influxdb", sink, stamp=stamp))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert journal.moves == [("influxdb", 1)]

    play(job)


# ── outages ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_batch_comes_again_with_growing_pauses_up_to_five_minutes() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1), reading(2)]), FakeSink()
        sink.answers = [Unreachable("gone")] * 12
        async with following(journal, sink) as follower:
            await asyncio.sleep(100)
            assert follower.progress.attempts == 7
            assert follower.progress.last_error == "gone"
            assert follower.progress.down_since_ms == stamp().utc_ms
            await follower.done(2)
            assert follower.progress.attempts == 0
            assert follower.progress.down_since_ms is None
        assert sink.got[:13] == [[1, 2]] * 13
        pauses_s = [round(b - a, 3) for a, b in zip(sink.at_s[:12], sink.at_s[1:13], strict=True)]
        assert pauses_s == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]

    play(job)


def test_the_jitter_is_full() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1)]), FakeSink()
        sink.answers = [Unreachable("gone")] * 4
        numbers = iter([0.0, 0.5, 0.25, 0.1])
        follower = Follower(journal, "mqtt", sink, stamp=stamp, random=lambda: next(numbers))
        task = asyncio.create_task(follower.run())
        await follower.done(1)
        task.cancel()
        await asyncio.wait([task])
        assert [round(b - a, 3) for a, b in zip(sink.at_s[:4], sink.at_s[1:5], strict=True)] == [0, 1, 1, 0.8]

    play(job)


def test_retry_after_is_honoured_and_has_a_ceiling() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1)]), FakeSink()
        sink.answers = [Unreachable("429", 120.0), Unreachable("429", 1e9), Unreachable("429", -5.0)]
        async with following(journal, sink) as follower:
            await follower.done(1)
        pauses_s = [round(b - a, 3) for a, b in zip(sink.at_s[:3], sink.at_s[1:4], strict=True)]
        assert pauses_s == [121, 3602, 4]

    play(job)


def test_an_outage_is_said_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1)]), FakeSink()
        sink.answers = [Unreachable("no route to host")] * 5
        async with following(journal, sink) as follower:
            await asyncio.sleep(10)
            journal.append([reading(2)])
            await follower.done(2)
            await asyncio.sleep(1)
        assert journal.events("sink_down") == [{"sink": "mqtt", "why": "no route to host", "backlog": 1}]
        assert journal.events("sink_up") == [{"sink": "mqtt", "down_s": 31.0, "attempts": 5, "backlog": 2}]
        assert seqs(sink)[-2:] == [3, 4], "the events go the way of all records"

    play(job)
    assert len([r for r in caplog.records if r.name.startswith("gateway.follow")]) == 2


def test_a_dead_sink_slows_no_other() -> None:
    async def job() -> None:
        journal, dead, well = MemoryJournal(), FakeSink(), FakeSink()
        dead.away = "dead"
        dead.wanted = well.wanted = lambda body: isinstance(body, Reading)
        async with following(journal, dead, "influxdb"), following(journal, well, "mqtt") as follower:
            for n in range(50):
                journal.append([reading(n)])
                async with asyncio.timeout(0.5):
                    await follower.done(journal.committed_seq)
                await asyncio.sleep(1)
        assert len(well.confirmed) == 50
        assert "influxdb" not in journal.cursors

    play(job)


# ── several batches in flight ───────────────────────────────────────────────────────────────────────


def test_two_batches_fly_together() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(8)]), FakeSink()
        sink.in_flight, sink.batch_records, sink.takes_s = 2, 2, 1.0
        async with following(journal, sink) as follower:
            start_s = asyncio.get_running_loop().time()
            await follower.done(8)
            assert asyncio.get_running_loop().time() - start_s == pytest.approx(2.0, abs=0.01)
        assert sink.confirmed == list(range(1, 9))

    play(job)


def test_the_cursor_waits_for_the_first_of_two_and_what_was_confirmed_does_not_go_again() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(4)]), FakeSink()
        sink.in_flight, sink.batch_records = 2, 2
        sink.wanted = lambda body: isinstance(body, Reading)
        sink.answers = [Unreachable("gone"), None]
        async with following(journal, sink) as follower:
            await asyncio.sleep(0.5)
            assert sink.confirmed == [3, 4]
            assert journal.moves == []
            await follower.done(4)
        assert sink.got == [[1, 2], [3, 4], [1, 2]]

    play(job)


def test_while_down_only_the_first_batch_is_tried() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(4)]), FakeSink()
        sink.in_flight, sink.batch_records = 2, 2
        sink.answers = [Unreachable("gone")] * 4
        async with following(journal, sink) as follower:
            await follower.done(4)
        assert sink.got[:5] == [[1, 2], [3, 4], [1, 2], [1, 2], [1, 2]]
        assert sorted(set(sink.confirmed) & {1, 2, 3, 4}) == [1, 2, 3, 4]

    play(job)


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────


def test_one_poisonous_record_is_set_aside_with_its_reason_and_the_others_go() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(100)]), FakeSink()
        sink.poison = {42}
        async with following(journal, sink) as follower:
            await follower.done(100)
            assert follower.progress.refused == 1
            assert follower.progress.delivered == 99
        assert journal.refused == [("mqtt", 42, "poison 42")]
        assert [seq for seq in sink.confirmed if seq <= 100] == [n for n in range(1, 101) if n != 42]
        assert len(sink.got) < 20

    play(job)


def test_accepted_records_of_a_refused_batch_do_not_go_again() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(4)]), FakeSink()
        sink.answers = [Refused("bad", accepted=3)]
        async with following(journal, sink) as follower:
            await follower.done(4)
            assert follower.progress.delivered == 3
        assert sink.got[:1] == [[1, 2, 3, 4]]
        assert journal.refused == [("mqtt", 4, "bad")]

    play(job)


def test_an_outage_in_the_middle_of_halving_refuses_nothing_twice() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(4)]), FakeSink()
        sink.poison = {1}
        sink.answers = [None, None, None, Unreachable("gone")]  # all four, 1+2, 1, then 2: gone
        async with following(journal, sink) as follower:
            await follower.done(7)
        assert sink.got[:6] == [[1, 2, 3, 4], [1, 2], [1], [2], [2], [3, 4]]
        assert [seq for _, seq, _ in journal.refused] == [1]

    play(job)


def test_two_sinks_that_refuse_everything_do_not_talk_for_ever() -> None:
    async def job() -> None:
        journal, one, two = MemoryJournal([reading(1)]), FakeSink(), FakeSink()
        one.poison = two.poison = set(range(1, 10_000))
        async with following(journal, one, "mqtt"), following(journal, two, "influxdb"):
            await asyncio.sleep(60)
        assert len(journal.records) == 3, "the reading, and one refusal of each"

    play(job)


def test_the_news_of_its_own_refusal_is_not_sent_to_the_sink() -> None:
    async def job() -> None:
        journal, sink, other = MemoryJournal([reading(1)]), FakeSink(), FakeSink()
        sink.poison = {1}
        async with (
            following(journal, sink, "mqtt") as follower,
            following(journal, other, "influxdb") as follower2,
        ):
            await follower.done(2)
            await follower2.done(2)
        assert sink.got == [[1]]
        assert seqs(other) == [1, 2]

    play(job)


# ── showing life ────────────────────────────────────────────────────────────────────────────────────


def test_the_beat_comes_first_and_then_in_its_time_also_without_records() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), FakeSink()
        sink.beat_s = 60.0
        async with following(journal, sink):
            await asyncio.sleep(150)
        start_s = sink.beats[0]
        assert [round(at_s - start_s) for at_s in sink.beats] == [0, 60, 120]

    play(job)


def test_a_failing_beat_is_an_outage_and_ends_without_records() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), FakeSink()
        sink.wanted = lambda body: isinstance(body, Reading)
        sink.beat_s = 60.0
        sink.beat_answers = [Unreachable("no broker")] * 2
        async with following(journal, sink):
            await asyncio.sleep(5)
        assert [round(at_s - sink.beats[0]) for at_s in sink.beats] == [0, 1, 3]
        assert len(journal.events("sink_down")) == len(journal.events("sink_up")) == 1

    play(job)


def test_a_beat_does_not_end_the_outage_of_a_batch() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1)]), FakeSink()
        sink.beat_s = 1.0
        sink.answers = [Unreachable("not authorized")] * 6
        async with following(journal, sink) as follower:
            await follower.done(1)
            await asyncio.sleep(3)
        assert len(journal.events("sink_down")) == len(journal.events("sink_up")) == 1
        assert len(sink.beats) >= 3

    play(job)


# ── the end ─────────────────────────────────────────────────────────────────────────────────────────


def test_at_the_end_what_is_on_its_way_may_still_be_confirmed() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1)]), FakeSink()
        sink.takes_s = 1.0
        async with following(journal, sink):
            await asyncio.sleep(0.5)
        assert journal.moves == [("mqtt", 1)]
        assert sink.closed == 1

    play(job)


def test_at_the_end_a_hanging_delivery_is_given_up_and_its_cursor_stays() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(4)]), FakeSink()
        sink.in_flight, sink.batch_records, sink.takes_s = 2, 2, 3600.0
        loop = asyncio.get_running_loop()
        async with following(journal, sink):
            await asyncio.sleep(0.5)
            start_s = loop.time()
        assert loop.time() - start_s < 5
        assert journal.moves == []
        assert sink.closed == 1

    play(job)


def test_the_end_during_a_pause_is_at_once() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1)]), FakeSink()
        sink.away = "gone"
        loop = asyncio.get_running_loop()
        async with following(journal, sink):
            await asyncio.sleep(1000)
            start_s = loop.time()
        assert loop.time() - start_s < 0.1
        assert sink.closed == 1

    play(job)


def test_a_defect_of_the_sink_comes_out() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1)]), FakeSink()
        sink.answers = [ZeroDivisionError("a defect")]
        with pytest.raises(ZeroDivisionError):
            await follow(journal, "mqtt", sink, stamp=stamp)
        assert journal.moves == []
        assert sink.closed == 1

    play(job)


# ── any mixture ─────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    count=st.integers(1, 60),
    poison=st.sets(st.integers(1, 60), max_size=6),
    unwanted=st.sets(st.integers(1, 60), max_size=20),
    batch=st.integers(1, 20),
    in_flight=st.integers(1, 3),
    fails=st.lists(st.booleans(), max_size=30),
    stops=st.lists(st.floats(0.1, 20), max_size=3),
)
def test_nothing_is_lost_whatever_happens(
    count: int,
    poison: set[int],
    unwanted: set[int],
    batch: int,
    in_flight: int,
    fails: list[bool],
    stops: list[float],
) -> None:
    """Poison, outages and restarts in any mixture: all the rest arrives, and what is refused is exactly the
    poison.
    """

    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(count)]), FakeSink()
        sink.batch_records, sink.in_flight, sink.poison, sink.takes_s = batch, in_flight, poison, 0.3
        sink.answers = [Unreachable("gone") if fail else None for fail in fails]
        sink.wanted = lambda body: (
            isinstance(body, Reading) and round(body.values["ph"].raw) + 1 not in unwanted
        )
        for stop_s in stops:
            async with following(journal, sink):
                await asyncio.sleep(stop_s)
            assert set(range(1, journal.cursors.get("mqtt", 0) + 1)) & wanted - poison <= set(sink.confirmed)
        async with following(journal, sink) as follower:
            await follower.done(count)
        assert set(sink.confirmed) == wanted - poison
        assert {seq for _, seq, _ in journal.refused} == wanted & poison
        if not stops:
            assert len(sink.confirmed) == len(wanted - poison), "without a restart none is confirmed twice"

    wanted = set(range(1, count + 1)) - unwanted
    play(job)


# ── with the real journal ───────────────────────────────────────────────────────────────────────────


def test_with_the_real_journal_the_cursor_outlives_the_process(tmp_path: Path) -> None:
    async def job() -> None:
        clock = Clock()
        sink = FakeSink()
        sink.poison = {3}
        for round_ in range(2):
            journal = Journal(tmp_path, clock, commit_s=0.01)
            await journal.open()
            if round_ == 0:
                journal.cursor("mqtt")
            first = journal.last_seq + 1
            committing = asyncio.create_task(journal.run())
            follower = Follower(journal, "mqtt", sink, stamp=clock.stamp, random=lambda: 1.0)
            following_ = asyncio.create_task(follower.run())
            await asyncio.sleep(0)
            journal.append([reading(n) for n in range(5)])
            async with asyncio.timeout(20):
                await follower.done(first + 4)
            for task in (following_, committing):
                task.cancel()
                await asyncio.wait([task])
            await journal.close()
        own_refusal = {6}
        assert set(seqs(sink)) == set(range(1, max(seqs(sink)) + 1)) - own_refusal
        assert len(sink.confirmed) == len(set(sink.confirmed)), "nothing twice over a clean restart"
        assert follower.progress.refused == 0

    asyncio.run(job())
