"""Sending once more: what a far side may ask of a station, and what a collector asks for."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.budget import Budget, Level
from gateway.collector_account import BLOCK, Claim, Seen
from gateway.collector_again import Asking, common, few, lacking, nothing_of
from gateway.collector_points import Points
from gateway.errors import Unreachable
from gateway.follow import Follower
from gateway.follow_again import EVERY_S, NUMBERS, STRETCHES, Again
from gateway.model import Event, Record
from gateway.mqtt import UNANSWERED, MqttSink
from tests.fleet import Fleet
from tests.followers import FakeSink
from tests.memory_journal import MemoryJournal, reading, stamp
from tests.services import Mosquitto
from tests.virtual_time import run

# ── the station ─────────────────────────────────────────────────────────────────────────────────────


class Asked(FakeSink):
    """A sink whose far side can ask."""

    def __init__(self) -> None:
        super().__init__()
        self.again = Again()
        self.late: list[int] = []

    async def deliver(self, records: list[Record], *, late: bool = False) -> None:  # type: ignore[override]  # a list
        await super().deliver(records, late=late)
        if late:
            self.late += [record.seq for record in records]


def told(journal: MemoryJournal) -> list[dict[str, object]]:
    return [
        r.body.detail for r in journal.records if isinstance(r.body, Event) and r.body.what == "sent_again"
    ]


def test_what_is_asked_for_is_sent_once_more_and_told_and_counted_once() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(20)]), Asked()
        follower = Follower(journal, "mqtt", sink, stamp=stamp)
        task = asyncio.create_task(follower.run())
        await follower.done(20)
        assert sink.again.hear([(5, 7), (11, 11), (19, 21), (90, 99)], asyncio.get_running_loop().time())
        journal.append([reading(20)])
        await follower.done(21)
        await asyncio.sleep(5)
        assert sink.late == [5, 6, 7, 11, 19, 20, 21]
        assert told(journal) == [
            {"sink": "mqtt", "numbers": [5, 7], "records": 3},
            {"sink": "mqtt", "numbers": [11, 11], "records": 1},
            {"sink": "mqtt", "numbers": [19, 21], "records": 3},
        ]
        assert follower.progress.sent is not None
        since, upto, records = follower.progress.sent
        assert records == upto - since  # what went twice is said once
        assert set(journal.cursors) == {"mqtt"}  # an errand has no cursor
        task.cancel()

    run(job())


def test_while_bytes_are_short_nothing_is_sent_once_more() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(20)]), Asked()
        budget = Budget("mqtt", 1000.0, 86_400.0)
        follower = Follower(journal, "mqtt", sink, stamp=stamp, budget=budget)
        task = asyncio.create_task(follower.run())
        await follower.done(20)
        budget.spend(200)
        assert budget.level is Level.ESSENTIAL
        assert sink.again.hear([(5, 7)], 0)
        journal.append([Event(stamp(), "alarm", {})])
        await follower.done(21)
        await asyncio.sleep(5)
        assert not sink.late
        task.cancel()

    run(job())


def test_an_outage_ends_an_errand_and_loses_nothing_else() -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(20)]), Asked()
        follower = Follower(journal, "mqtt", sink, stamp=stamp, random=lambda: 0.1)
        task = asyncio.create_task(follower.run())
        await follower.done(20)
        sink.away = "gone"
        assert sink.again.hear([(5, 7)], 0)
        journal.append([reading(20)])
        await asyncio.sleep(5)
        sink.away = None
        await follower.done(journal.committed_seq)
        assert not sink.late
        assert sorted(set(sink.confirmed)) == list(range(1, journal.committed_seq + 1))
        task.cancel()

    run(job())


@pytest.mark.parametrize(
    ("numbers", "taken"),
    [
        ([], []),
        ([(0, 5)], []),
        ([(7, 6)], []),
        ([(3, 3), (1, 1)], [(1, 1), (3, 3)]),
        ([(1, NUMBERS + 5)], [(1, NUMBERS)]),
        ([(1, NUMBERS - 1), (20_000, 30_000)], [(1, NUMBERS - 1), (20_000, 20_000)]),
        ([(n, n) for n in range(1, 100)], [(n, n) for n in range(1, STRETCHES + 1)]),
    ],
)
def test_a_request_is_cut_to_what_a_station_bears(
    numbers: list[tuple[int, int]], taken: list[tuple[int, int]]
) -> None:
    again, journal = Again(), MemoryJournal()
    assert again.hear(numbers, 0.0) is bool(taken)
    found = []
    while (errand := again.errand(journal, "mqtt", 10**6, stamp)) is not None:
        found.append((errand.done_seq + 1, errand.end_seq))
        errand.finish(errand.end_seq or 0)
    assert found == taken


def test_a_station_listens_once_a_minute() -> None:
    again, journal = Again(), MemoryJournal()
    assert again.hear([(1, 2)], 0.0)
    assert not again.hear([(3, 4)], 1.0)
    while (errand := again.errand(journal, "mqtt", 100, stamp)) is not None:
        errand.finish(errand.end_seq or 0)
    assert not again.hear([(3, 4)], EVERY_S - 1)
    assert again.hear([(3, 4)], EVERY_S)


# ── the broker ──────────────────────────────────────────────────────────────────────────────────────


def test_a_request_comes_by_the_broker_and_nonsense_does_nothing(mosquitto: Mosquitto) -> None:
    async def job() -> None:
        sink = MqttSink("asked-1", mosquitto.url, stamp=stamp)
        await sink.deliver([Record(1, reading(1))])
        fleet = await asyncio.to_thread(Fleet, mosquitto.port, "asker-1")
        for payload in (b"", b"[" * 3000, b'{"numbers":[[1]]}', b'{"numbers":[["a",2]]}', b"\xff"):
            fleet.publish("suuaba/1/asked-1/again", payload)
        fleet.publish("suuaba/1/asked-1/again", b'{"numbers":[[3,5]]}')
        journal = MemoryJournal()
        async with asyncio.timeout(20):
            while (errand := sink.again.errand(journal, "mqtt", 100, stamp)) is None:  # noqa: ASYNC110  no event
                await asyncio.sleep(0.01)
        assert errand.numbers == [3, 5]
        fleet.close()
        await sink.close()

    asyncio.run(job())


async def forbidding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A broker that takes everything, and hangs up on whoever wants to listen (MQTT 5.0, 2.1)."""
    while head := await reader.read(1):
        length = shift = 0
        while True:
            octet = (await reader.readexactly(1))[0]
            length |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                break
        packet = await reader.readexactly(length)
        match head[0] >> 4:
            case 1:
                writer.write(b"\x20\x03\x00\x00\x00")  # CONNACK
            case 3:
                at = 2 + int.from_bytes(packet[:2])
                writer.write(b"\x40\x02" + packet[at : at + 2])  # PUBACK
            case 8:
                break  # SUBSCRIBE
    writer.close()


def test_a_broker_that_lets_nobody_listen_gets_the_readings_all_the_same() -> None:
    async def job() -> None:
        server = await asyncio.start_server(forbidding, "127.0.0.1", 0)
        sink = MqttSink("s", f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}", stamp=stamp)
        failures = 0
        async with asyncio.timeout(20):
            while True:
                try:
                    await sink.deliver([Record(1, reading(1))])
                    await asyncio.sleep(0.2)  # the news of the end of the connection
                    await sink.deliver([Record(2, reading(2))])
                    break
                except Unreachable:
                    failures += 1
        assert 0 < failures <= UNANSWERED
        await sink.close()
        server.close()

    asyncio.run(job())


# ── the collector ───────────────────────────────────────────────────────────────────────────────────


def seen(*seqs: int, floor: int = 0) -> Seen:
    made = Seen(floor=floor)
    for seq in seqs:
        made.add(seq, 0)
    return made


@pytest.mark.parametrize(
    ("there", "claims", "holes"),
    [
        (seen(1, 2, 3), [], []),
        (seen(1, 2, 3), [Claim(0, 3, 3)], []),
        (seen(1, 3), [Claim(0, 3, 3)], [(2, 2)]),
        (seen(1, 3), [Claim(0, 3, 2)], []),  # 2 was never sent
        (seen(1, 2), [Claim(0, 5, 5)], [(3, 5)]),
        (seen(1, 3, 4, 6), [Claim(0, 3, 2), Claim(0, 6, 5)], [(5, 5)]),  # 2 was never sent, 5 was
        (seen(1, 2, 9), [Claim(0, 3, 3), Claim(6, 9, 3)], [(3, 3), (7, 8)]),  # started anew
        (seen(5, 7, floor=4), [Claim(0, 7, 7)], []),  # what was before is not known
        (seen(5, 7, floor=4), [Claim(0, 4, 4), Claim(0, 7, 7)], [(6, 6)]),
        (seen(5, 3 * BLOCK), [Claim(4, 3 * BLOCK, 3)], [(6, 3 * BLOCK - 1)]),
        (seen(1), [Claim(0, 2**61, 2**61)], [(2, 2**61)]),  # nobody is kept counting
        (seen(1, 2**61), [Claim(0, 2**61, 2**61)], [(2, 2**61 - 1)]),
        (seen(1, 2, 3), [Claim(0, 3, 3), Claim(0, 2, 2), Claim(0, 3, 3)], []),
    ],
)
def test_only_what_a_station_had_handed_over_is_lacking(
    there: Seen, claims: list[Claim], holes: list[tuple[int, int]]
) -> None:
    assert lacking(there, claims) == holes


@pytest.mark.parametrize(
    ("claims", "holes"),
    [
        ([], []),
        ([Claim(100, 140, 40)], [(101, 140)]),
        ([Claim(0, 10**6, 10**6)], []),  # a new centre does not ask for the past
        ([Claim(0, 10**6, 10**6), Claim(0, 10**6 + 60, 10**6 + 60)], [(10**6 + 1, 10**6 + 60)]),
    ],
)
def test_of_a_station_of_which_nothing_is_there(claims: list[Claim], holes: list[tuple[int, int]]) -> None:
    assert lacking(nothing_of(claims), claims) == holes


STRETCH_SETS = st.sets(st.integers(1, 60))


def stretches(numbers: set[int]) -> list[tuple[int, int]]:
    return [(n, n) for n in sorted(numbers)]


@settings(deadline=None, derandomize=True, max_examples=100)
@given(STRETCH_SETS, STRETCH_SETS)
def test_common_is_what_both_have_and_few_forgets_nothing(one: set[int], other: set[int]) -> None:
    assert common(stretches(one), stretches(other)) == stretches(one & other)
    assert common([(1, 60)], stretches(other)) == stretches(other)
    fewer = few(stretches(one))
    assert len(fewer) <= STRETCHES
    assert one <= {n for first, last in fewer for n in range(first, last + 1)}


def test_a_hole_is_asked_for_when_it_stays_and_then_ever_more_rarely() -> None:
    asking, claims = Asking(60_000), [Claim(0, 5, 5)]
    hole = [("s", seen(1, 2, 5), claims)]
    asked_at_s = [second for second in range(0, 1000, 30) if asking.look(second * 1000, hole)]
    assert asked_at_s == [60, 180, 420, 900]
    assert not asking.look(1_000_000, [("s", seen(1, 2, 3, 4, 5), claims)])
    assert not asking.look(1_001_000, [("s", seen(1, 2, 5), claims)])  # a new hole is watched first
    assert asking.look(1_062_000, [("s", seen(1, 2, 4, 5), claims)]) == {"s": [(3, 3)]}


def test_what_another_collector_asks_for_is_left_to_it() -> None:
    asking, hole = Asking(60_000), [("s", seen(1, 3), [Claim(0, 3, 3)])]
    assert not asking.look(0, hole)
    asking.heard("s", 50_000)
    assert not asking.look(70_000, hole)
    assert asking.look(110_000, hole)


def test_requests_and_a_stations_own_test_are_no_data_and_no_poison() -> None:
    points = Points()
    for kind in ("again", "doctor"):
        taken = points.take(f"suuaba/1/s/{kind}", b"anything", 0)
        assert (taken.kind, taken.lines, taken.seq) == (kind, "", 0)
