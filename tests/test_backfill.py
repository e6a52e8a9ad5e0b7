"""Live and history: the newest first after an outage, nothing lost, whatever happens in between."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.alarms_standing import RULES, LastAlarms
from gateway.backfill import (
    STRETCHES,
    Pace,
    Stretches,
    end,
    is_young,
    live_edge,
)
from gateway.clock import Clock
from gateway.follow import Follower
from gateway.journal import Journal
from gateway.model import Average, Body, Event, Reading, Record, Stamp, Value
from gateway.mqtt import MqttSink
from gateway.mqtt_messages import schemas
from tests.bench.backlog import measure
from tests.memory_journal import START_MS, MemoryJournal
from tests.services import InfluxDB, Mosquitto, Subscriber
from tests.test_follow import FakeSink
from tests.virtual_time import run


def now() -> Stamp:
    """The station's clock: the loop's time."""
    ms = round(asyncio.get_running_loop().time() * 1000)
    return Stamp(START_MS + ms, "boot0001", ms, True)


def reading(number: float) -> Reading:
    return Reading("ph1", "m", "water", now(), {"ph": Value(number, number, "pH", 1)})


def alarm(rule: str, to: str) -> Event:
    return Event(now(), "alarm", {"rule": rule, "to": to})


class TwoWays(FakeSink):
    """Tells live from history. Takes `each_s` for a record."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_records = 500
        self.wanted = lambda body: isinstance(body, Reading)
        self.live: list[int] = []
        self.late: list[int] = []
        self.delays_s: list[float] = []
        """Of live readings."""
        self.slices: list[tuple[float, int]] = []
        self.each_s = 0.0

    async def deliver(self, records: Sequence[Record], *, late: bool = False) -> None:
        await asyncio.sleep(self.each_s * len(records))
        await super().deliver(records, late=late)
        loop_ms = asyncio.get_running_loop().time() * 1000
        if late:
            self.late += [record.seq for record in records]
            self.slices.append((loop_ms / 1000, len(records)))
        else:
            self.live += [record.seq for record in records]
            self.delays_s += [(loop_ms - record.body.at.mono_ms) / 1000 for record in records]


@contextlib.asynccontextmanager
async def following(journal: Any, sink: FakeSink) -> AsyncIterator[Follower]:
    follower = Follower(journal, "mqtt", sink, stamp=now, random=lambda: 1.0)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def play(job: Callable[[], Awaitable[None]], within_s: float = 1e6) -> None:
    async def within() -> None:
        async with asyncio.timeout(within_s):
            await job()

    run(within())


async def read_for(journal: Any, seconds: int, every_s: float = 10.0) -> list[int]:
    """Readings in their time; their numbers."""
    seqs = []
    for n in range(round(seconds / every_s)):
        seqs += [record.seq for record in journal.append([reading(n)])]
        await asyncio.sleep(every_s)
    return seqs


# ── the newest first ────────────────────────────────────────────────────────────────────────────────


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


# ── knocking ────────────────────────────────────────────────────────────────────────────────────────


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


# ── what is owed ────────────────────────────────────────────────────────────────────────────────────


def spans(stretches: Stretches) -> list[tuple[int, int]]:
    return [(lane.done_seq, end(lane)) for lane in stretches.lanes]


@pytest.mark.parametrize(
    ("owed", "then"),
    [
        ([(10, 20)], [(10, 20)]),
        ([(10, 20), (30, 40)], [(10, 20), (30, 40)]),
        ([(10, 20), (20, 40)], [(10, 40)]),  # one outage, tried several times
        ([(10, 20), (12, 18)], [(10, 20)]),  # owed already
        ([(30, 40), (10, 11)], [(10, 11), (30, 40)]),
        ([(0, 5)], [(0, 5)]),
        (
            [(n * 100, n * 100 + 10) for n in range(STRETCHES)] + [(750, 760)],
            [*((n * 100, n * 100 + 10) for n in range(STRETCHES - 1)), (700, 760)],
        ),
    ],
)
def test_stretches(owed: list[tuple[int, int]], then: list[tuple[int, int]]) -> None:
    journal = MemoryJournal()
    stretches = Stretches(journal, "mqtt")
    for after_seq, to_seq in owed:
        stretches.owe(after_seq, to_seq)
    assert spans(stretches) == then
    assert spans(Stretches(journal, "mqtt")) == then, "and so a new process finds them"
    assert stretches.owed == sum(b - a for a, b in then)


def test_what_is_paid_leaves_no_trace() -> None:
    journal = MemoryJournal()
    stretches = Stretches(journal, "mqtt")
    stretches.owe(10, 20)
    stretches.owe(30, 40)
    lane = stretches.first
    assert lane is not None
    lane.finish(15)
    assert spans(Stretches(journal, "mqtt"))[0] == (15, 20)
    lane.finish(20)
    assert spans(Stretches(journal, "mqtt")) == [(30, 40)], "also when it could not be forgotten any more"
    assert stretches.first is not lane
    assert sorted(journal.cursors) == ["mqtt/30", "mqtt/30/end"]


def test_another_sink_of_a_similar_name_is_left_alone() -> None:
    journal = MemoryJournal()
    Stretches(journal, "mqtt2").owe(1, 9)
    assert spans(Stretches(journal, "mqtt")) == []


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    owed=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 30)), max_size=30),
    paid=st.lists(st.integers(1, 20), max_size=30),
)
def test_whatever_is_owed_is_in_some_stretch_until_it_is_paid(
    owed: list[tuple[int, int]], paid: list[int]
) -> None:
    journal = MemoryJournal()
    stretches = Stretches(journal, "mqtt")
    due: set[int] = set()
    for owing, pay in itertools.zip_longest(owed, paid):
        if owing is not None:
            after_seq, length = owing
            stretches.owe(after_seq, after_seq + length)
            due |= set(range(after_seq + 1, after_seq + length + 1))
        if pay is not None and (lane := stretches.first) is not None:
            to_seq = min(lane.done_seq + pay, end(lane))
            for seq in range(lane.done_seq + 1, to_seq + 1):
                due.discard(seq)
            lane.finish(to_seq)
        kept = Stretches(MemoryCopy(journal), "mqtt")
        covered = {seq for a, b in spans(kept) for seq in range(a + 1, b + 1)}
        assert due <= covered
        assert len(kept.lanes) <= STRETCHES


class MemoryCopy(MemoryJournal):
    def __init__(self, other: MemoryJournal) -> None:
        super().__init__()
        self.cursors = dict(other.cursors)


@pytest.mark.parametrize(
    ("took", "records"),
    [
        ([], 50),
        ([(50, 0.01)], 100),
        ([(50, 0.01)] * 2, 100),  # the second was not a full one: nothing learned
        ([(50, 0.01), (100, 0.01), (200, 0.01), (400, 0.01), (500, 0.01)], 500),
        ([(50, 0.3)], 50),
        ([(50, 0.6)], 25),
        ([(50, 60.0)] + [(1, 60.0)] * 9, 1),
        ([(10, 3.0)], 5),
    ],
)
def test_pace(took: list[tuple[int, float]], records: int) -> None:
    pace = Pace(1000.0, 500)
    for count, took_s in took:
        pace.took(count, 100.0, 100.0 + took_s)
        assert pace.due_s == 100.0 + count / 1000.0
    assert pace.records == records


# ── where live begins ───────────────────────────────────────────────────────────────────────────────

HERE = Stamp(START_MS, "here", 10_000_000, True)


@pytest.mark.parametrize(
    ("at", "young"),
    [
        (Stamp(START_MS, "here", 10_000_000, True), True),
        (Stamp(0, "here", 9_940_000, False), True),  # the boot's own clock counts
        (Stamp(START_MS, "here", 9_939_999, True), False),
        (Stamp(START_MS - 60_000, "before", 99, True), True),
        (Stamp(START_MS - 60_001, "before", 99, True), False),
        (Stamp(START_MS, "before", 99, False), False),  # nobody knows
    ],
)
def test_young(at: Stamp, young: bool) -> None:
    assert is_young(Record(1, Event(at, "x", {})), HERE) is young
    if at.boot != "here":
        assert not is_young(Record(1, Event(at, "x", {})), Stamp(START_MS, "here", 0, False))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    old=st.integers(0, 400),
    young=st.integers(0, 400),
    after=st.integers(0, 800),
    lost=st.lists(st.integers(0, 799), max_size=300),
)
def test_the_edge_is_where_the_first_young_record_stands(
    old: int, young: int, after: int, lost: list[int]
) -> None:
    async def job() -> None:
        journal = MemoryJournal([Event(Stamp(START_MS, "here", 0, True), "x", {})] * old)
        journal.append([Event(HERE, "x", {})] * young)
        journal.records = [record for n, record in enumerate(journal.records) if n not in lost]
        after_seq = min(after, old + young)
        edge = await live_edge(journal, after_seq, HERE)
        beyond = [record for record in journal.records if record.seq > after_seq]
        first_old = max((r.seq for r in beyond if not is_young(r, HERE)), default=after_seq)
        assert after_seq <= edge <= old + young
        assert edge >= first_old, "everything behind the edge is young"
        assert not [r for r in beyond if r.seq <= edge and is_young(r, HERE)], "and nothing young before it"
        assert journal.reads < 40

    asyncio.run(job())


def test_an_average_says_nothing_of_when_it_was_journaled() -> None:
    async def job() -> None:
        late = Average("ph1", "m", "water", Stamp(0, "here", 0, True), 0, 3600, {})
        journal = MemoryJournal([*[Event(HERE, "x", {})] * 40, late, *[Event(HERE, "x", {})] * 31])
        assert await live_edge(journal, 0, HERE) == 0

    asyncio.run(job())


# ── any mixture ─────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["on", "off", "restart", "kill"]),
            st.sampled_from([5, 40, 70, 300]),
        ),
        max_size=8,
    ),
    poison=st.sets(st.integers(1, 300), max_size=5),
    each_s=st.sampled_from([0.0, 0.01, 0.5]),
    opens=st.booleans(),
)
def test_nothing_is_lost_whatever_happens(
    steps: list[tuple[str, int]], poison: set[int], each_s: float, opens: bool
) -> None:
    """Outages, ends and kills in any mixture: each reading arrives, twice only when a kill took the news that
    it had arrived; a live reading never comes before an older live one.
    """

    async def job() -> None:
        journal, sink = MemoryJournal(), TwoWays()
        sink.poison, sink.each_s = poison, each_s
        readings: list[int] = []
        kills = 0
        for what, seconds in [*steps, ("on", 400)]:
            kept = dict(journal.cursors)
            async with following(journal, sink) as follower:
                sink.away = "gone" if what == "off" else None
                sink.open = opens or what != "off"
                readings += await read_for(journal, seconds, every_s=5.0)
                if what == "restart":
                    kept = dict(journal.cursors)
            if what == "kill":
                journal.cursors, kills = kept, kills + 1
        sink.each_s = 0.0
        async with following(journal, sink) as follower:
            await follower.done(journal.committed_seq)
            assert follower.progress.backlog == 0
        assert set(sink.confirmed) & set(readings) == set(readings) - poison
        assert {seq for _, seq, _ in journal.refused} == set(readings) & poison
        assert journal.cursors == {"mqtt": journal.committed_seq}
        if not kills:
            assert len(set(sink.live)) == len(sink.live)
            assert sink.live == sorted(sink.live)

    play(job)


# ── with real servers ───────────────────────────────────────────────────────────────────────────────


def test_half_an_hour_of_backlog_into_real_servers_while_live_stays_quick(
    tmp_path: Path, own_mosquitto: Mosquitto, own_influxdb: InfluxDB
) -> None:
    found, points = measure(tmp_path, own_mosquitto, own_influxdb, 0.5)
    assert found.records == 1800 + 3 * 180
    assert found.readings == found.live | found.late
    assert points == len(found.readings)
    assert len(found.late) > 1800
    assert max(found.delays_s["mqtt"]) < 5.0
    assert max(found.delays_s["influxdb"]) < 5.0
    assert found.first_live_s < 5.0


def test_an_old_alarm_never_stands_over_a_newer_one(mosquitto: Mosquitto) -> None:
    """The live flow jumps over an alarm's changes: its present state is retained at once; what comes later
    as history touches nothing.
    """

    async def job() -> None:
        journal, fold = MemoryJournal(), LastAlarms()
        clock = Clock()

        def old(s: float) -> Stamp:
            at = clock.stamp()
            return Stamp(at.utc_ms - round(s * 1000), at.boot, at.mono_ms - round(s * 1000), True)

        for n, (rule, to) in enumerate([("a", "active"), ("b", "active"), ("a", "normal"), ("b", "acked")]):
            journal.append([Event(old(3600 - n), "alarm", {"rule": rule, "to": to})])
            journal.append([Event(old(3600 - n), "gap", {})] * 40)
        journal.append([Event(old(1), "alarm", {"rule": "c", "to": "active"})])
        for record in journal.records:
            fold.step(record)
        standing = lambda: fold.up_to(journal.cursor("mqtt"))  # noqa: E731  one word
        sink = MqttSink("jump", mosquitto.url, stamp=clock.stamp, standing=standing)
        follower = Follower(journal, "mqtt", sink, stamp=clock.stamp)
        watcher = Subscriber(mosquitto.port, "suuaba/1/jump/#")
        task = asyncio.create_task(follower.run())
        async with asyncio.timeout(30):
            await follower.done(journal.committed_seq)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.to_thread(watcher.wait, "the end", lambda got: got and b"offline" in got[-1].payload)
        watcher.close()
        topics = [got.topic.removeprefix("suuaba/1/jump/") for got in watcher.got]
        assert topics[1:4] == ["alarm/a", "alarm/b", "alarm/c"], "the states first, then what is live"
        assert set(topics[4:-1]) == {"backfill/event"}
        history = [got.json for got in watcher.got if got.topic.endswith("backfill/event")]
        assert [said["seq"] for said in history] == list(range(1, 165))
        for said in history:
            jsonschema.validate(said, json.loads(schemas()["event.schema.json"]))
        late_comer = Subscriber(mosquitto.port, "suuaba/1/jump/alarm/#")
        await asyncio.to_thread(late_comer.wait, "the states", lambda got: len(got) == 3)
        late_comer.close()
        states = {got.json["rule"]: got.json["state"] for got in late_comer.got}
        assert states == {"a": "normal", "b": "acked", "c": "active"}
        for got in late_comer.got:
            jsonschema.validate(got.json, json.loads(schemas()["alarm.schema.json"]))

    asyncio.run(job())


def test_history_has_the_same_shape_on_topics_of_its_own(mosquitto: Mosquitto) -> None:
    async def job() -> None:
        at = Clock().stamp()
        body = Reading("ph1", "m", "water", at, {"ph": Value(7.0, 7.0, "pH", 1)})
        average = Average("ph1", "m", "water", at, at.utc_ms - 60_000, 60, {})
        records = [Record(1, body), Record(2, average), Record(3, Event(at, "gap", {}))]
        sink = MqttSink("shape", mosquitto.url, stamp=Clock().stamp, averages_s=[60])
        watcher = Subscriber(mosquitto.port, "suuaba/1/shape/#")
        await sink.deliver(records)
        await sink.deliver(records, late=True)
        await sink.close()
        await asyncio.to_thread(watcher.wait, "all of it", lambda got: len(got) >= 8)
        watcher.close()
        live, late = watcher.got[1:4], watcher.got[4:7]
        assert [got.topic for got in live] == [
            "suuaba/1/shape/reading/ph1", "suuaba/1/shape/average/ph1", "suuaba/1/shape/event",
        ]  # fmt: skip
        assert [got.topic for got in late] == [
            "suuaba/1/shape/backfill/reading/ph1", "suuaba/1/shape/backfill/average/ph1",
            "suuaba/1/shape/backfill/event",
        ]  # fmt: skip
        assert [got.payload for got in live] == [got.payload for got in late]

    asyncio.run(job())


# ── with the real journal, killed between any two steps ─────────────────────────────────────────────


class WatchedJournal(Journal):
    """Calls `step` before and after everything that changes what is on the disk or will be."""

    step: Callable[[], None] = staticmethod(lambda: None)

    def finish(self, name: str, seq: int) -> None:
        self.step()
        super().finish(name, seq)
        self.step()

    def drop(self, name: str) -> None:
        self.step()
        super().drop(name)
        self.step()

    async def _commit(self, *, durable: bool) -> bool:
        self.step()
        taken = await super()._commit(durable=durable)
        self.step()
        return taken


class LoopClock(Clock):
    def stamp(self) -> Stamp:
        return now()


def test_a_kill_between_any_two_steps_loses_nothing(tmp_path: Path) -> None:
    states: list[tuple[Path, set[int]]] = []
    sink = TwoWays()
    sink.batch_records = 20

    def photograph() -> None:
        """What a kill -9 here would leave, and what the far side has by then."""
        to = tmp_path / f"state{len(states)}"
        shutil.copytree(tmp_path / "data", to, ignore=shutil.ignore_patterns("lock"))
        states.append((to, set(sink.confirmed)))

    async def life() -> list[int]:
        journal = WatchedJournal(tmp_path / "data", LoopClock())
        await journal.open()
        keeping = asyncio.create_task(journal.run())
        async with following(journal, sink) as follower:
            readings = await read_for(journal, 30)
            journal.step = photograph
            for _ in range(2):
                sink.away = "gone"
                readings += await read_for(journal, 900)
                sink.away = None
                readings += await read_for(journal, 40)
            await follower.done(journal.last_seq)
            await journal.sync()
            journal.step = lambda: None
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await journal.close()
        return readings

    readings = run(life())
    assert set(readings) <= set(sink.confirmed)
    assert len(sink.late) > 150
    owing = 0
    for folder, confirmed in states[:: max(len(states) // 60, 1)]:

        async def after(folder: Path = folder, confirmed: set[int] = confirmed) -> int:
            journal = Journal(folder, LoopClock())
            await journal.open()
            own = [
                record.seq for record in await journal.after(0, 100_000) if isinstance(record.body, Reading)
            ]
            owed = len(journal.cursors_of("mqtt"))
            again = TwoWays()
            async with following(journal, again) as follower:
                keeping = asyncio.create_task(journal.run())
                await follower.done(journal.committed_seq)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await journal.close()
            assert set(own) <= confirmed | set(again.confirmed)
            return owed

        owing += run(after()) > 1
        shutil.rmtree(folder)
    assert owing >= 3, "some of the kills came while history was owed"


def test_retention_waits_for_history(tmp_path: Path) -> None:
    async def job() -> None:
        journal = Journal(tmp_path, LoopClock(), keep_s=0.001)
        await journal.open()
        journal.cursor("mqtt")
        for _ in range(3):
            await read_for(journal, 50)
            await journal._settle()
        top = journal.committed_seq
        stretches = Stretches(journal, "mqtt")
        stretches.owe(2, top - 2)
        journal.finish("mqtt", top)
        await journal._retain()
        assert journal._disk.load(2).records[0].seq == 3
        for lane in stretches.lanes:
            lane.finish(top - 2)
        assert stretches.first is None
        await asyncio.sleep(10)
        await journal._retain()
        assert journal._disk.load(0).records == [], "paid and too old"
        await journal.close()

    run(job())


# ── the alarms' last states ─────────────────────────────────────────────────────────────────────────


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


# ── once more ───────────────────────────────────────────────────────────────────────────────────────


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
