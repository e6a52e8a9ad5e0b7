"""After an outage: live first, history beside it, at a rate that leaves live its way."""

from __future__ import annotations

import asyncio

from gateway.alarms_standing import RULES, LastAlarms
from gateway.backfill import (
    STRETCHES,
    Stretches,
)
from gateway.model import Body, Event, Reading, Record
from tests.backfills import TwoWays, alarm, following, now, read_for, reading
from tests.followers import play
from tests.memory_journal import MemoryJournal


def test_after_an_outage_the_newest_goes_first_and_the_rest_beside_it() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        async with following(journal, sink) as follower:
            before = await read_for(journal, 100)
            sink.away, sink.open = "gone", False
            during = await read_for(journal, 3600)
            sink.away, sink.open = None, True
            sink.got.clear()
            back_s = asyncio.get_running_loop().time()
            after = await read_for(journal, 100)
            await follower.done(journal.committed_seq)
            progress = follower.progress
        assert sink.at_s[-1] - back_s < 100
        assert during[-1] in sink.got[0], "first of all the newest"
        first_s = next(s for s in sink.at_s if s >= back_s)
        assert first_s - back_s < 5.0
        young = [seq for seq in during if seq in sink.live]
        assert during[-5:] == young[-5:]
        assert len(young) <= 8, "what is older than a minute is history"
        assert sink.late == [seq for seq in during if seq not in young]
        assert sorted(sink.live + sink.late) == before + during + after, "all of it, once"
        assert (progress.backlog, progress.history) == (0, 0)
        assert journal.cursors == {"mqtt": journal.committed_seq}, "what is paid is forgotten"

    play(job)


def test_a_short_outage_makes_no_history() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        async with following(journal, sink) as follower:
            await read_for(journal, 20)
            sink.away = "gone"
            await read_for(journal, 20)
            sink.away = None
            await read_for(journal, 60)
            await follower.done(journal.committed_seq)
        assert sink.late == []
        assert sink.live == sorted(sink.live)
        assert len(sink.live) == 10

    play(job)


def test_a_correction_comes_behind_what_it_corrects_also_when_that_is_history() -> None:
    """The live flow overtakes the history that its corrections are about; they come once more behind it."""

    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        sink.wanted = lambda body: isinstance(body, Reading) or body.what == "flagged"
        sink.correcting = lambda body: isinstance(body, Event)
        sink.history_per_s = 20.0
        old = await read_for(journal, 3600)
        async with following(journal, sink) as follower:
            for _ in range(4):
                journal.append([reading(1), Event(now(), "flagged", {"seq": old[-7]})])
                await asyncio.sleep(1.0)
            owed = follower.progress.history
            await follower.done(journal.committed_seq)
            journal.append([Event(now(), "flagged", {"seq": journal.committed_seq})])
            await follower.done(journal.committed_seq)
        flagged = [r.seq for r in journal.records if isinstance(r.body, Event) and r.body.what == "flagged"]
        assert owed > 200
        assert set(flagged) <= set(sink.live), "at once"
        assert set(flagged[:4]) <= set(sink.late[sink.late.index(old[-7]) :]), "and behind the history"
        assert flagged[4] not in sink.late, "once is enough when nothing is owed"
        assert journal.cursors == {"mqtt": journal.committed_seq}

    play(job)


def test_what_was_there_before_the_start_is_history_too() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        old = await read_for(journal, 7200)
        async with following(journal, sink) as follower:
            new = await read_for(journal, 50)
            await follower.done(journal.committed_seq)
        assert sink.live[-5:] == new
        assert sink.late[:700] == old[:700]
        assert sorted(sink.live + sink.late) == old + new

    play(job)


def test_live_is_not_delayed_while_a_day_is_drained_and_the_rate_is_bounded() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        old = [journal.append([reading(n)])[0].seq for n in range(20_000)]
        await asyncio.sleep(86400)
        sink.each_s = 0.0005
        async with following(journal, sink) as follower:
            while follower.progress.backlog:
                journal.append([reading(1)])
                await asyncio.sleep(1.0)
        assert sink.late == old
        assert max(sink.delays_s) < 1.0
        (first_s, _), (last_s, _) = sink.slices[0], sink.slices[-1]
        assert 0.8 * sink.history_per_s < len(old) / (last_s - first_s) < 1.2 * sink.history_per_s
        assert max(size for _, size in sink.slices) <= sink.batch_records

    play(job)


def test_on_a_slow_line_the_slices_shrink_until_live_passes_in_time() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        for n in range(500):
            journal.append([reading(n)])
        await asyncio.sleep(86400)
        sink.each_s = 0.2  # 1.5 kB/s
        async with following(journal, sink) as follower:
            delayed = len(sink.delays_s)
            while follower.progress.backlog:
                journal.append([reading(1)])
                await asyncio.sleep(3.0)
        assert max(sink.delays_s[delayed + 20 :]) < 2.0
        assert {size for _, size in sink.slices[10:]} <= {1, 2, 3, 4}
        assert len(sink.late) == 500

    play(job)


def test_a_line_that_is_too_slow_for_everything_stays_live() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        sink.each_s = 1.5
        async with following(journal, sink):
            await read_for(journal, 3600, every_s=1.0)
            assert sink.delays_s[-1] < 130, "live is never far behind"
            assert len(journal.cursors) <= 1 + 2 * STRETCHES

    play(job)


def test_refused_history_is_set_aside_and_the_rest_goes() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        old = await read_for(journal, 3600)
        sink.poison = {17, 100, 359}
        async with following(journal, sink) as follower:
            await follower.done(journal.committed_seq)
        assert sorted(sink.live + sink.late) == [seq for seq in old if seq not in sink.poison]
        assert sorted(seq for _, seq, _ in journal.refused) == [17, 100, 359]

    play(job)


def test_a_broker_that_takes_the_connection_but_no_message_is_down_once() -> None:
    """As one with an ACL that forbids us to publish: the beat gets through, and ends nothing."""

    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        sink.beat_s = 60.0
        async with following(journal, sink):
            await read_for(journal, 100)
            sink.away = "not authorized"
            await read_for(journal, 1800)
            assert len(journal.events("sink_down")) == 1
            assert journal.events("sink_up") == []

    play(job)


def test_nobody_spins_while_the_far_side_is_away() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        async with following(journal, sink):
            sink.away = "gone"
            await read_for(journal, 600)
            reads = journal.reads
            await asyncio.sleep(3600)
            assert journal.reads - reads < 3600 / 300 * 80

    play(job)


def test_a_far_side_that_was_shut_is_tried_as_soon_as_it_opens() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        async with following(journal, sink) as follower:
            sink.away, sink.open = "gone", False
            await read_for(journal, 3600)
            sink.away, sink.open = None, True
            start_s = asyncio.get_running_loop().time()
            journal.append([reading(1)])
            while follower.progress.down_since_ms is not None:
                await journal.more(journal.committed_seq)  # of "sink_up"
            assert asyncio.get_running_loop().time() - start_s < 5
            assert sink.knocks > 500

    play(job)


def test_a_far_side_that_is_open_and_fails_is_not_stormed() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        async with following(journal, sink):
            sink.away = "503"
            await read_for(journal, 3600)
            assert len(sink.got) < 30
            assert sink.knocks < 30

    play(job)


def test_the_last_state_of_each_rule() -> None:
    async def job() -> None:
        fold = LastAlarms()
        bodies: list[Body] = [alarm("a", "active"), reading(1), alarm("b", "active"), alarm("a", "normal")]
        for seq, body in enumerate(bodies, 1):
            assert fold.step(Record(seq, body)) == ()
        assert [(r.seq, r.body.detail["to"]) for r in fold.up_to(9) if isinstance(r.body, Event)] == [
            (3, "active"),
            (4, "normal"),
        ]
        assert [r.seq for r in fold.up_to(3)] == [3]
        other = LastAlarms()
        other.restore(fold.save())
        assert other.up_to(9) == fold.up_to(9)
        other.restore(b"[nonsense")
        assert other.up_to(9) == []
        for seq in range(RULES + 10):
            other.step(Record(seq, alarm(f"rule{seq}", "active")))
        assert len(other.up_to(10_000)) == RULES

    play(job)


def test_refused_records_can_be_offered_once_more() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        sink.poison = {3, 5}
        async with following(journal, sink) as follower:
            await read_for(journal, 100)
            await follower.done(10)
            assert sorted(seq for _, seq, _ in journal.refused) == [3, 5]
            sink.poison = {5}
            assert follower.again([5, 3, 99_999]) == 2
            journal.append([reading(1)])
            await asyncio.sleep(60)
            await follower.done(journal.committed_seq)
        assert sink.confirmed.count(3) == 1
        assert sink.late == [3]
        assert [seq for _, seq, _ in journal.refused].count(5) == 2

    play(job)


def test_no_more_is_taken_than_can_be_owed() -> None:
    stretches = Stretches(MemoryJournal(), "mqtt")
    assert stretches.owe_again(range(1, 100, 2), 100) == STRETCHES
