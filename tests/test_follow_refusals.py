"""A follower: what is refused, showing life, the end, any mixture; and with the real journal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import Clock
from gateway.errors import Refused, Unreachable
from gateway.follow import Follower, follow
from gateway.journal import Journal
from gateway.model import Reading
from tests.followers import FakeSink, following, play, seqs
from tests.memory_journal import MemoryJournal, reading, stamp


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
