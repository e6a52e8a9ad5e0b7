"""The byte budget: thinned before it breaks, back when there is room, kept over restarts; and what the kernel
counts.
"""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.budget import PURSE, Budget, Level, level
from gateway.follow_lane import weigh
from gateway.model import Average, Body, Event, Reading, Record, Stamp, Value
from gateway.tcp import Carried, carried, opens
from tests.followers import FakeSink, following, play
from tests.memory_journal import START_MS, MemoryJournal
from tests.services import free_port

DAY_S = 86400
MB = 1_000_000


def at(s: float, boot: str = "b", synced: bool = True) -> Stamp:
    ms = round(s * 1000)
    return Stamp(START_MS + ms, boot, ms, synced)


def purse(left: float = 1.0, averages_s: tuple[float, ...] = (60.0,)) -> Budget:
    """20 MB in 30 days: 5 MB at once at most, half a megabyte a day."""
    budget = Budget("mqtt", 20 * MB, 30 * DAY_S, averages_s)
    budget.tick(at(0))
    budget.spend((1 - left) * 5 * MB)
    return budget


READING = Reading("ph1", "m", "water", at(0), {"ph": Value(7, 7, "pH", 1)})


def average(length_s: int) -> Average:
    return Average("ph1", "m", "water", at(0), START_MS, length_s, {})


def event(what: str) -> Event:
    return Event(at(0), what, {})


# ── the decision ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("left", "now", "then"),
    [
        (1.0, 0, 0),
        (0.5, 0, 0),
        (0.499, 0, 1),
        (0.25, 1, 1),
        (0.249, 1, 2),
        (0.1, 2, 2),
        (0.099, 2, 3),
        (-3.0, 0, 3),  # all at once
        (-3.0, 3, 3),
        (0.199, 3, 3),
        (0.2, 3, 2),
        (0.399, 2, 2),
        (0.4, 2, 1),
        (0.749, 1, 1),
        (0.75, 1, 0),
        (1.0, 3, 0),
    ],
)
def test_levels(left: float, now: int, then: int) -> None:
    assert level(left, Level(now)) == then


@settings(max_examples=200, deadline=None, derandomize=True)
@given(left=st.floats(-10, 1), now=st.sampled_from(Level))
def test_a_level_is_stable_and_less_left_never_sends_more(left: float, now: Level) -> None:
    then = level(left, now)
    assert level(left, then) == then
    assert level(left - 0.1, now) >= then


@pytest.mark.parametrize(
    ("what", "sent_at"),
    [
        (READING, {Level.FULL}),
        (average(60), {Level.FULL, Level.AVERAGES}),
        (average(600), set()),
        (average(3600), {Level.ESSENTIAL}),
        (event("alarm"), set(Level)),
        (event("budget"), set(Level)),
        (event("gap"), {Level.FULL, Level.AVERAGES}),
        (event("flagged"), {Level.FULL}),
    ],
    ids=lambda x: getattr(x, "what", None) or type(x).__name__,
)
def test_what_is_sent_at_which_level(what: Body, sent_at: set[Level]) -> None:
    budget = purse()

    def wants(body: Body) -> bool:
        return not isinstance(body, Average) or body.length_s == 60

    for now in Level:
        budget.level = now
        assert budget.takes(what, wants) == (now in sent_at), now


def test_what_a_sink_never_wants_it_does_not_get_when_thinned() -> None:
    budget = purse()
    for now in Level:
        budget.level = now
        assert not budget.takes(event("alarm"), lambda body: False)
    assert budget.withheld == 0, "nothing was held back that it would have had"


def test_without_averages_of_its_own_it_gets_those_over_ten_minutes() -> None:
    budget = purse(0.4, ())
    assert budget.takes(average(600), lambda body: not isinstance(body, Average))


# ── the purse ───────────────────────────────────────────────────────────────────────────────────────


def test_it_thins_says_so_and_comes_back() -> None:
    budget = purse()
    assert budget.tick(at(1)) == ()
    budget.spend(2.6 * MB)
    assert budget.level is Level.AVERAGES, "at once"
    for _ in range(7):
        budget.takes(READING, lambda body: True)
    (said,) = budget.tick(at(2))
    assert isinstance(said, Event)
    assert said.what == "budget"
    assert (said.detail["sink"], said.detail["from"], said.detail["to"]) == ("mqtt", "full", "averages")
    assert (said.detail["budget_bytes"], said.detail["per_s"]) == (20 * MB, 30 * DAY_S)
    assert said.detail["left_bytes"] == pytest.approx(2.4 * MB, rel=0.01)
    assert budget.tick(at(3)) == (), "once"
    assert budget.tick(at(2 * DAY_S)) == ()
    (back,) = budget.tick(at(3 * DAY_S))
    assert isinstance(back, Event)
    assert (back.detail["from"], back.detail["to"], back.detail["withheld"]) == ("averages", "full", 7)
    assert budget.withheld == 0
    assert budget.tick(at(100 * DAY_S)) == ()
    assert budget.left_bytes == 5 * MB, "no more than the purse holds"


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    wishes=st.lists(st.tuples(st.floats(1, 5 * DAY_S), st.floats(0, 3 * MB)), min_size=1, max_size=60),
    alarms=st.floats(0, 2000),
)
def test_in_any_thirty_days_no_more_than_the_budget_goes(
    wishes: list[tuple[float, float]], alarms: float
) -> None:
    """Whoever asks for whatever: full sends all that is wished, thinner levels a tenth and a hundredth;
    alarms always. One step's wish is the grain.
    """
    budget = purse()
    now_s, spent = 0.0, [(0.0, 0.0)]
    for after_s, wish_bytes in wishes:
        now_s += after_s
        budget.tick(at(now_s))
        share = (1.0, 0.1, 0.01, 0.0)[budget.level]
        goes = wish_bytes * share + alarms
        budget.spend(goes)
        spent.append((now_s, goes))
    worst_wish = max(wish for _, wish in wishes)
    for start_s, _ in spent:
        window = sum(goes for s, goes in spent if start_s <= s < start_s + 30 * DAY_S)
        assert window <= 20 * MB + worst_wish + alarms * len(spent)


def test_a_night_of_backlog_finds_something_in_the_purse() -> None:
    assert purse().left_bytes == 20 * MB * PURSE


@pytest.mark.parametrize(
    ("now", "gained_days"),
    [
        (at(DAY_S), 1.0),
        (at(-DAY_S), 0.0),
        (at(DAY_S, "other"), 1.0),
        (at(DAY_S, "other", synced=False), 0.0),  # nobody knows how long it was off
        (at(-DAY_S, "other"), 0.0),
        (at(0), 0.0),
    ],
)
def test_the_purse_outlives_a_restart(now: Stamp, gained_days: float) -> None:
    budget = purse(0.3)
    budget.tick(at(0))
    budget.withheld = 5
    other = Budget("mqtt", 20 * MB, 30 * DAY_S, (60.0,))
    other.restore(budget.save())
    assert (other.level, other.withheld) == (Level.AVERAGES, 5)
    assert other.tick(now) == (), "said before the restart"
    assert other.left_bytes == pytest.approx(1.5 * MB + gained_days * 0.5 * MB, abs=1)


def test_a_lowered_budget_counts_at_once_and_nonsense_is_left() -> None:
    small = Budget("mqtt", 1 * MB, 30 * DAY_S)
    small.restore(purse().save())
    assert small.left_bytes == 0.25 * MB
    small.restore(b"{")
    small.restore(b'{"left_bytes":1,"at":null,"level":99}')
    assert small.left_bytes == 0.25 * MB


def test_after_a_crash_what_may_have_been_sent_counts_as_sent() -> None:
    budget = purse()
    state = budget.save()
    other = Budget("mqtt", 20 * MB, 30 * DAY_S)
    other.restore(state)
    for seq in range(100):
        other.step(Record(seq, READING))
    assert budget.left_bytes - other.left_bytes == 100 * weigh(READING)
    other.spend(0)
    other.step(Record(101, READING))
    assert budget.left_bytes - other.left_bytes == 100 * weigh(READING), "from then on the line is counted"


# ── with a follower ─────────────────────────────────────────────────────────────────────────────────


def test_a_follower_thins_what_it_sends_and_counts_retries() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), FakeSink()
        sink.batch_records = 1
        sink.beat_s = 60.0
        budget = purse()
        deliver = sink.deliver

        async def dear(records: object, *, late: bool = False) -> None:
            sink.carried_bytes += 300_000
            await deliver(records, late=late)  # type: ignore[arg-type]  # handed through

        sink.deliver = dear  # type: ignore[method-assign]  # so that each try costs
        sink.answers = [None] * 4
        async with following(journal, sink) as follower:
            follower.budget = budget
            for seq in range(1, 21):
                journal.append([READING, event("alarm")] if seq == 15 else [READING])
                async with asyncio.timeout(100):
                    await follower.done(journal.committed_seq)
            assert len(sink.confirmed) == 10, "nine readings, and the alarm"
            assert budget.withheld == 11
            assert sink.confirmed[-1] == 16
            beats = len(sink.beats)
            await asyncio.sleep(3600)
            assert len(sink.beats) - beats <= 7, "the status message is rarer too"
        assert budget.left_bytes == 5 * MB - 10 * 300_000

    play(job)


# ── what the line carried ───────────────────────────────────────────────────────────────────────────


def test_the_kernel_counts_what_a_connection_carries() -> None:
    counted = Carried()
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = socket.create_connection(server.getsockname())
        there, _ = server.accept()
        counted.opened(here)
        before = counted.bytes
        here.sendall(b"x" * 100_000)
        left = 100_000
        while left:
            left -= len(there.recv(left))
        there.sendall(b"y" * 5_000)
        while left < 5_000:
            left += len(here.recv(5_000))
        grown = counted.bytes - before
        assert 105_000 + 4 * 52 <= grown < 115_000
        counted.closing(here)
        here.close()
        assert counted.bytes >= grown + before
        counted.closing(here)
        there.close()
        assert carried(here) == 0
        counted.add(60)
        assert counted.bytes >= grown + before + 60


def test_knocking() -> None:
    async def job() -> None:
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        assert await opens("127.0.0.1", server.sockets[0].getsockname()[1])
        server.close()
        assert not await opens("127.0.0.1", free_port())
        assert not await opens("nowhere.invalid", 1)

    asyncio.run(job())
