"""A follower: order, cursors, batches, outages, several batches in flight."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import Unreachable
from gateway.follow import Follower, follow
from gateway.follow_lane import weigh
from gateway.model import Body, Event, Reading
from tests.followers import FakeSink, following, play, seqs
from tests.memory_journal import MemoryJournal, reading, stamp


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
