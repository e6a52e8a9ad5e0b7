"""The collector against stations that mean harm and brokers that forget: types, names, sizes, old bits."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.collector import Collector
from gateway.collector_account import BLOCK, REOPEN_MS, Account, Claim, missing
from gateway.collector_inbox import MESSAGE_LIMIT, Broker, Inbox
from gateway.collector_points import NAMES_FOR_MS, NAMES_LIMIT, Points, Poison
from gateway.influx_doors import version1
from gateway.model import Event, Stamp
from gateway.mqtt_messages import event_json
from tests.centre import T0_MS, centre, points
from tests.fleet import Fleet, average, reading
from tests.services import InfluxDB, Mosquitto, running, until

TOPIC, PAYLOAD = reading("s", 5, T0_MS)
GOOD = json.loads(PAYLOAD)
VALUE = GOOD["values"]["q0"]
MEANT = json.loads(average("s", 5, T0_MS)[1])
MEAN = MEANT["values"]["q0"]


@pytest.mark.parametrize(
    ("kind", "change", "why"),
    [
        ("reading", {"values": {"ph_flag": VALUE}}, "a quantity cannot be called 'ph_flag'"),
        ("reading", {"values": {"ph_n": VALUE}}, "a quantity cannot be called 'ph_n'"),
        ("reading", {"values": {"uncertainty_ms": VALUE}}, "a quantity cannot be called"),
        ("reading", {"values": {"station": VALUE}}, "a quantity cannot be called"),
        ("reading", {"values": {"q0": VALUE | {"flag": 7}}}, "has a flag that there is not"),
        ("reading", {"values": {"q0": VALUE | {"flag": 10**30}}}, ""),
        ("reading", {"values": {"q" * 201: VALUE}}, "is no name"),
        ("reading", {"clock": "dated", "uncertainty_ms": 2**63}, ""),
        ("average", {"values": {"revision": MEAN}}, "a quantity cannot be called 'revision'"),
        ("average", {"values": {"ph_of": MEAN}}, "a quantity cannot be called 'ph_of'"),
        ("average", {"values": {"q0": MEAN | {"n": 2**60}}}, "so many values"),
        ("average", {"revision": 2**62}, "is no revision"),
        ("average", {"length_s": 61}, "an average over 61 s"),
        ("average", {"length_s": 7 * 60}, "an average over 420 s"),
        ("average", {"length_s": 2 * 86400}, "an average over 172800 s"),
    ],
)
def test_what_would_spoil_the_database_for_others_is_set_aside(
    kind: str, change: dict[str, Any], why: str
) -> None:
    message = (GOOD if kind == "reading" else MEANT) | change
    with pytest.raises(Poison) as caught:
        Points().take(f"suuaba/1/s/{kind}/s1", json.dumps(message).encode(), 0)
    assert why in str(caught.value)


@pytest.mark.parametrize("station", ["a b", "ü", "$x", "-a", "x" * 65, "a\n"])
def test_a_station_is_called_as_station_toml_allows(station: str) -> None:
    topic, payload = reading(station, 5, T0_MS)
    points_ = Points()
    with pytest.raises(Poison):
        points_.take(topic, payload, 0)
    assert not points_.standing  # nothing is remembered of it


@pytest.mark.parametrize("kind", ["reading", "average", "event"])
def test_who_makes_up_names_for_ever_is_stopped(kind: str) -> None:
    taker = Points()

    def one(n: int, now_ms: int) -> None:
        if kind == "event":
            event = Event(Stamp(T0_MS, "b", 1, True), "x", {"sensor": f"s{n}"})
            taker.take("suuaba/1/s/event", event_json("s", n + 1, event), now_ms)
            return
        topic, payload = reading("s", n + 1, T0_MS, 1) if kind == "reading" else average("s", n + 1, T0_MS, 1)
        said = json.loads(payload) | {"sensor": f"s{n}"}
        taker.take(topic.replace("/s1", f"/s{n}"), json.dumps(said).encode(), now_ms)

    def many() -> None:
        for n in range(NAMES_LIMIT + 1):
            one(n, 1)

    with pytest.raises(Poison, match="names of sensors and quantities in a day"):
        many()
    one(0, 1)  # what is known goes on
    one(NAMES_LIMIT + 2, 2 + NAMES_FOR_MS)  # and so does a station whose sensors were exchanged
    taker.take(*reading("t", 1, T0_MS), 1)  # nobody else is held up


# ── the account over more than a day ────────────────────────────────────────────────────────────────


def test_a_block_filled_for_days_is_told_anew() -> None:
    """Who asks for the last day must find all bits of what was written to within it."""
    account, hour_ms = Account("n"), 3_600_000
    for seq in range(1, 101):  # one an hour: four days
        account.add("s", seq, seq * hour_ms)
    [line] = account.lines()
    opened_ms = int(line.rpartition(" ")[2]) // 1_000_000
    assert 100 * hour_ms - opened_ms <= REOPEN_MS
    whole = Account()
    seen = line.split('seen="')[1].partition('"')[0]
    whole.merge("s", 0, seen, opened_ms)
    assert whole.stations["s"].count(0, 100) == 100


def test_what_is_older_than_a_day_is_not_called_missing(tmp_path: Path) -> None:
    """A station that sends slowly fills its blocks over days: of the old ones nothing is asked."""
    with running(InfluxDB(tmp_path)) as influx:
        influx.post('CREATE DATABASE "stations"')
        now_ms = int(time.time() * 1000)
        account = Account("n")
        for seq in range(1, 3 * BLOCK):
            account.add("s", seq, now_ms - 40 * 3_600_000 + seq * 40_000)
        door = version1(influx.url, "stations")
        assert door().write("\n".join(account.lines()).encode(), "ns").status == 204
        collector = Collector(
            Inbox(Broker("mqtt://x", "n")), door, node="n", data=tmp_path, now_ms=lambda: now_ms
        )
        seen = collector.everybody().stations["s"]
    assert seen.floor == BLOCK
    last = 3 * BLOCK - 1
    assert missing(seen, [Claim(0, last, last)]) is None  # not known: and so neither 0 nor a thousand
    assert missing(seen, [Claim(0, last - 60, last - 60), Claim(0, last, last)]) == 0
    assert missing(seen, [Claim(0, last - 60, last - 61), Claim(0, last + 5, last + 4)]) == 5


# ── the broker ──────────────────────────────────────────────────────────────────────────────────────


def test_what_the_broker_forgot_is_written_all_the_same(tmp_path: Path) -> None:
    """A broker that is killed between two saves forgets what it had given us; then only we have it."""
    broker = Mosquitto(tmp_path)  # keeps nothing on the disk
    with running(broker):

        async def job() -> None:
            inbox = Inbox(Broker(broker.url, "n"))
            inbox.open()
            await _becomes(lambda: inbox.connected)
            fleet = await asyncio.to_thread(Fleet, broker.port)
            for seq in range(1, 11):
                fleet.publish(*reading("s", seq, T0_MS))
            await asyncio.to_thread(fleet.wait)
            await _becomes(lambda: len(inbox._waiting) == 10)
            fleet.close()
            broker.kill()
            await _becomes(lambda: not inbox.connected)
            broker.start()
            await _becomes(lambda: inbox.connected)
            assert inbox.sessions_lost == 1
            taken = await inbox.take(100, 0.1)
            inbox.confirm(taken)  # of another connection: nothing to acknowledge
            await inbox.close()
            assert sorted(json.loads(one.payload)["seq"] for one in taken) == list(range(1, 11))

        asyncio.run(_within(job))


def test_what_comes_is_what_was_sent_whatever_goes_with_it(tmp_path: Path) -> None:
    """Our own reading of the wire against another client's writing."""
    with_properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it so
    with_properties.UserProperty = [("why", "x" * length) for length in (3, 300, 20_000)]
    sent = [
        (f"suuaba/1/s/reading/{i}", payload, qos, properties)
        for i, (payload, qos, properties) in enumerate(
            itertools.product(
                (b"", b"{}", b"x" * 200, random.Random(5).randbytes(100_000)),
                (0, 1),
                (None, with_properties),
            )
        )
    ]
    with running(Mosquitto(tmp_path)) as broker:

        async def job() -> None:
            inbox = Inbox(Broker(broker.url, "n"))
            inbox.open()
            await _becomes(lambda: inbox.connected)
            fleet = await asyncio.to_thread(Fleet, broker.port)
            for topic, payload, qos, properties in sent:
                fleet._client.publish(topic, payload, qos, properties=properties)
            await _becomes(lambda: len(inbox._waiting) == len(sent))
            taken = await inbox.take(100, 0.1)
            inbox.confirm(taken)
            fleet.close()
            await inbox.close()
            found = [(one.topic, one.payload, bool(one.number)) for one in taken]
            assert sorted(found) == sorted((topic, payload, qos == 1) for topic, payload, qos, _ in sent)

        asyncio.run(_within(job))


def test_what_the_broker_sends_again_is_taken_once(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, settings=f"persistence true\npersistence_location {tmp_path}/")
    with running(broker):

        async def job() -> None:
            inbox = Inbox(Broker(broker.url, "n"))
            inbox.open()
            await _becomes(lambda: inbox.connected)
            fleet = await asyncio.to_thread(Fleet, broker.port)
            for seq in range(1, 11):
                fleet.publish(*reading("s", seq, T0_MS))
            await asyncio.to_thread(fleet.wait)
            await _becomes(lambda: len(inbox._waiting) == 10)
            fleet.close()
            await asyncio.to_thread(broker.stop)  # in order: it saves
            broker.start()
            await _becomes(lambda: inbox.connected and len(inbox._waiting) == 10)
            taken = await inbox.take(100, 0.1)
            await inbox.close()
            assert [json.loads(one.payload)["seq"] for one in taken] == list(range(1, 11))
            assert inbox.sessions_lost == 0

        asyncio.run(_within(job))


def test_a_message_that_is_too_large_stays_at_the_broker_and_holds_up_nothing(tmp_path: Path) -> None:
    with centre(tmp_path, 1800) as (broker, influx, processes):
        fleet = Fleet(broker.port)
        fleet.publish("suuaba/1/a/reading/s1", b"x" * (MESSAGE_LIMIT + 1))
        for seq in range(1, 6):
            fleet.publish(*reading("a", seq, T0_MS + seq * 1000))
        fleet.wait()
        until("the others", lambda: points(influx) == {"a": set(range(1, 6))})
        assert not [one for process in processes for one in process.aside()]
        fleet.close()


async def _becomes(condition: Callable[[], bool]) -> None:
    """Ask until it is so; the deadline is that of the whole."""
    while not condition():  # noqa: ASYNC110  what is asked makes no event
        await asyncio.sleep(0.01)


async def _within(job: Callable[[], Any]) -> None:
    async with asyncio.timeout(40):
        await job()
