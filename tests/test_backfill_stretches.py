"""What is owed, where live begins, and that nothing is lost whatever happens."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.backfill import (
    STRETCHES,
    Pace,
    Stretches,
    end,
    is_young,
    live_edge,
)
from gateway.model import Average, Event, Record, Stamp
from tests.backfills import TwoWays, following, read_for
from tests.followers import play
from tests.memory_journal import START_MS, MemoryJournal


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
