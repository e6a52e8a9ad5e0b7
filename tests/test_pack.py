"""Packed messages: what goes together, what does not wait, what no pack can do to the one who unpacks."""

from __future__ import annotations

import asyncio
import json
import lzma
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.backfill import LIVE_S
from gateway.budget import Budget
from gateway.collector_points import Points, Poison
from gateway.follow import Follower
from gateway.follow_gather import Gathering
from gateway.model import Average, Body, Event, Mean, Record, Stamp
from gateway.mqtt import MqttSink
from gateway.mqtt_messages import schemas
from gateway.mqtt_pack import (
    MESSAGES_LIMIT,
    PACKED_LIMIT,
    UNPACKED_LIMIT,
    Packer,
    Unpackable,
    packs,
    unpack,
    urgent,
)
from tests.centre import T0_MS, centre, points
from tests.fleet import Fleet
from tests.fleet import reading as reading_message
from tests.followers import FakeSink
from tests.memory_journal import START_MS, MemoryJournal, reading
from tests.services import Mosquitto, until
from tests.test_mqtt import listening
from tests.virtual_time import run

AT = Stamp(START_MS, "boot0001", 60_000, True)


def average(number: float, sensor: str = "ph1") -> Average:
    mean = Mean(number + 0.123456789, number - 0.123456, number + 0.98765, 6, 6, "pH", 1)
    return Average(sensor, "m", "water", AT, START_MS - 60_000, 60, {"ph": mean})


# ── a pack ──────────────────────────────────────────────────────────────────────────────────────────


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(["event", "average/ph1", 'reading/"x\n']), st.integers()), max_size=40)
)
def test_what_is_packed_comes_out_word_for_word_and_in_order(given_: list[tuple[str, int]]) -> None:
    messages = [(seq, topic, json.dumps({"n": n}).encode()) for seq, (topic, n) in enumerate(given_, 1)]
    made = list(packs(messages))
    assert [seq for seqs, _ in made for seq in seqs] == [seq for seq, _, _ in messages]
    assert [one for _, payload in made for one in unpack(payload)] == [one[1:] for one in messages]


def test_a_pack_is_read_by_others_tools() -> None:
    [(_, payload)] = packs([(1, "average/ph1", b'{"seq":1}'), (2, "event", b'{"seq":2}')])
    done = subprocess.run(["xz", "-dc"], input=payload, capture_output=True, check=True)
    assert done.stdout == b'{"average/ph1":{"seq":1}}\n{"event":{"seq":2}}\n'


def test_what_does_not_fit_into_one_goes_as_several() -> None:
    noise = random.Random(1)
    messages = [(n, "event", json.dumps(noise.randbytes(500).hex()).encode()) for n in range(1, 301)]
    made = list(packs(messages))
    assert len(made) > 1
    assert all(len(payload) <= PACKED_LIMIT for _, payload in made)
    assert [seq for seqs, _ in made for seq in seqs] == list(range(1, 301))
    many = list(packs((n, "event", b"{}") for n in range(MESSAGES_LIMIT + 1)))
    assert [len(seqs) for seqs, _ in many] == [MESSAGES_LIMIT, 1]
    [(_, large)] = packs([(1, "event", json.dumps(noise.randbytes(40_000).hex()).encode())])
    assert len(list(unpack(large))) == 1  # one alone goes, whatever it weighs


def xz(text: bytes, **more: int) -> bytes:
    return lzma.compress(text, **more)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "cut off"),
        (b"nonsense, and more of it", "no xz: "),
        (xz(b'{"event":{}}\n')[:-9], "cut off"),
        (xz(b'{"event":{}}\n') + b"more", "something behind its end"),
        (xz(bytes(UNPACKED_LIMIT + 1)), "more than 2097152 bytes"),
        (xz(bytes(20_000_000), preset=0), "more than 2097152 bytes"),  # 3 KB
        (xz(b"[1]\n"), "line 1: "),
        (xz(b'{"event":{}}\n{"event":{\n'), "line 2: "),
        (xz(b'{"a":' * 90_000), "line 1: "),
        (xz(b"{}\n" * (MESSAGES_LIMIT + 1)), "more than 5000 messages"),
        (xz(b"\xff\xfe\n"), "line 1: "),
        (xz(b'{"event":{}}\n', format=lzma.FORMAT_ALONE), "no xz: "),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)  # fmt: skip
def test_what_is_no_pack_is_said_in_one_line(payload: bytes, why: str) -> None:
    with pytest.raises(Unpackable) as caught:
        list(unpack(payload))
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(Poison, match="packed: "):
        list(Points().parts("suuaba/1/s/packed", payload))


def test_a_pack_that_asks_for_much_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 << 20}]
    with pytest.raises(Unpackable, match="no xz: Memory usage limit exceeded"):
        list(unpack(lzma.compress(b'{"event":{}}\n', lzma.FORMAT_XZ, filters=filters)))


def test_averages_are_rounded_to_what_the_instrument_shows_and_others_are_not() -> None:
    packer = Packer(900.0, {("ph1", "ph"): 2})
    mean = packer.rounded(average(7.0)).values["ph"]
    assert (mean.mean, mean.minimum, mean.maximum, mean.used) == (7.123, 6.88, 7.99, 6)
    assert packer.rounded(average(7.0, "other")) == average(7.0, "other")
    nothing = Average("ph1", "m", "water", AT, 0, 60, {"ph": Mean(None, None, None, 0, 6, "pH", 9)})
    assert packer.rounded(nothing) == nothing


# ── when a pack leaves ──────────────────────────────────────────────────────────────────────────────


class Packing(FakeSink):
    """A sink that gathers for a quarter of an hour."""

    def __init__(self) -> None:
        super().__init__()
        self.gathering = Gathering(900.0, urgent)


def within(job: Callable[[MemoryJournal, Packing, Follower], object], first: list[Body]) -> None:
    async def play() -> None:
        journal, sink = MemoryJournal(first), Packing()
        began_s = asyncio.get_running_loop().time()

        def now() -> Stamp:
            ms = round((asyncio.get_running_loop().time() - began_s) * 1000)
            return Stamp(START_MS + ms, "boot0001", 60_000 + ms, True)

        follower = Follower(journal, "mqtt", sink, stamp=now, budget=Budget("mqtt", 1e9, 1e6))
        task = asyncio.create_task(follower.run())
        await asyncio.sleep(1)
        sink.at_s = [at_s - began_s for at_s in sink.at_s]
        await job(journal, sink, follower)  # type: ignore[misc]  # a coroutine function
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(play())


def test_a_pack_leaves_when_its_first_record_has_waited_so_long() -> None:
    async def job(journal: MemoryJournal, sink: Packing, follower: Follower) -> None:
        assert sink.got == [[1, 2]]  # what a process before left goes at once
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for minute in range(60):
            journal.append([reading(minute, ms=START_MS + minute * 61_000)])
            await asyncio.sleep(61)
        assert [len(batch) for batch in sink.got[1:]] == [15, 15, 15, 15]
        assert [round(at_s - began_s) for at_s in sink.at_s[1:]] == [900, 1815, 2730, 3645]
        journal.append([reading(n, ms=START_MS + 3_660_000) for n in range(3)])
        await asyncio.sleep(60)
        assert follower.progress.cursor == 62  # not one beyond what was confirmed
        assert follower.progress.backlog == 3

    within(job, [reading(1), reading(2)])


@pytest.mark.parametrize("what", ["alarm", "loss", "stopped"])
def test_what_is_urgent_goes_at_once_and_takes_the_others_along(what: str) -> None:
    async def job(journal: MemoryJournal, sink: Packing, follower: Follower) -> None:
        journal.append([reading(3)])
        await asyncio.sleep(100)
        assert sink.got == [[1]]
        journal.append([Event(AT, what, {})])
        await asyncio.sleep(0.5)
        assert sink.got == [[1], [2, 3]]
        journal.append([Event(AT, "ledger", {})])
        await asyncio.sleep(100)
        assert len(sink.got) == 2

    within(job, [reading(1)])


def test_a_full_batch_does_not_wait() -> None:
    async def job(journal: MemoryJournal, sink: Packing, follower: Follower) -> None:
        for n in range(250):
            journal.append([reading(n)])
            await asyncio.sleep(0.1)
        assert [len(batch) for batch in sink.got] == [1, 100, 100]

    within(job, [reading(1)])


def test_what_waits_is_live_and_not_history_and_an_outage_loses_none() -> None:
    async def job(journal: MemoryJournal, sink: Packing, follower: Follower) -> None:
        sink.away = "gone"
        for minute in range(120):
            at = Stamp(START_MS + minute * 60_000, "boot0001", 60_000 * (minute + 1), True)
            journal.append([Event(at, "ledger", {})])
            await asyncio.sleep(60)
        sink.away = None
        await asyncio.sleep(600)
        assert sorted(set(sink.confirmed)) == list(range(1, max(sink.confirmed) + 1))
        assert max(sink.confirmed) > 100
        assert len(sink.confirmed) == len(set(sink.confirmed))

    within(job, [reading(1)])
    assert Gathering(900.0).wait_s > LIVE_S


# ── real servers ────────────────────────────────────────────────────────────────────────────────────


def test_alarms_go_by_themselves_and_the_rest_in_a_pack_of_ordinary_messages(mosquitto: Mosquitto) -> None:
    async def job() -> None:
        sink = MqttSink(
            "packs-1",
            mosquitto.url,
            stamp=lambda: AT,
            send=("reading", "event"),
            averages_s=(60.0,),
            packer=Packer(900.0, {("ph1", "ph"): 2}),
        )
        assert sink.gathering.wait_s == 900.0
        alarm = Event(AT, "alarm", {"rule": "r", "to": "active"})
        await sink.deliver([Record(1, reading(7.0)), Record(2, alarm), Record(3, average(7.0))])
        await sink.deliver([Record(4, reading(7.5)), Record(5, alarm)], late=True)
        await sink.close()

    with listening(mosquitto.port, "suuaba/1/packs-1/#") as subscriber:
        asyncio.run(job())
        got = subscriber.wait("all", lambda got: [g for g in got if g.topic.endswith("/status")][1:] and got)
    kinds = [one.topic.split("/", 3)[3] for one in got]
    assert kinds == ["status", "alarm/r", "packed", "packed", "status"]
    live, late = ([*unpack(one.payload)] for one in got if one.topic.endswith("/packed"))
    assert [topic for topic, _ in live] == ["reading/ph1", "average/ph1"]
    assert [topic for topic, _ in late] == ["reading/ph1", "event"]  # an old alarm touches no retained state
    for topic, payload in live + late:
        kind = topic.partition("/")[0]
        jsonschema.validate(json.loads(payload), json.loads(schemas()[f"{kind}.schema.json"]))
    assert json.loads(live[1][1])["values"]["ph"]["mean"] == 7.123


def test_packs_reach_the_database_and_hostile_ones_spoil_nothing(tmp_path: Path) -> None:
    with centre(tmp_path, 1800) as (broker, influx, processes):
        fleet = Fleet(broker.port)
        messages = [reading_message("a", seq, T0_MS + seq * 1000) for seq in range(1, 31)]
        lines = [(seq, topic.split("/", 3)[3], payload) for seq, (topic, payload) in enumerate(messages, 1)]
        lines[6] = (7, "reading/s1", b'{"nonsense":1}')
        lines[7] = (8, "packed", b"{}")
        [(_, pack)] = packs(lines)
        fleet.publish("suuaba/1/a/packed", pack)
        fleet.publish("suuaba/1/a/packed", pack)  # once more
        fleet.publish("suuaba/1/b/packed", pack)  # what a says, b cannot say
        fleet.publish("suuaba/1/c/packed", lzma.compress(bytes(20_000_000)))
        fleet.publish("suuaba/1/c/packed", pack[:-10])
        fleet.wait()
        expected = set(range(1, 31)) - {7, 8}
        until("the points", lambda: points(influx) == {"a": expected})
        until("what is set aside", lambda: sum(len(p.aside()) for p in processes) == 2 + 2 + 30 + 2)
        why = {one["why"] for p in processes for one in p.aside() if one["topic"].startswith("suuaba/1/c/")}
        assert why == {"packed: more than 2097152 bytes", "packed: cut off"}
        fleet.close()
