"""MQTT: the messages, and what real Mosquitto gets, also when it was away or refuses."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import jsonschema
import pytest

from gateway.clock import Clock
from gateway.journal import Journal
from gateway.model import Event, Reading, Stamp, Value
from gateway.mqtt_messages import event_json, iso, level, reading_json, schemas
from tests.memory_journal import START_MS, MemoryJournal, reading, stamp
from tests.mqtt_listening import listening, make
from tests.services import Got, Mosquitto, running
from tests.sinking import down, following, in_thread, play

ROOT = Path(__file__).parent.parent


def test_a_reading_is_published_as_the_contract_shows_it() -> None:
    value = Value(7.12, 7.10, "pH", 1)
    body = Reading("ph1", "yosemitech-y532", "water", Stamp(START_MS, "b", 1, True), {"ph": value}, 4)
    assert reading_json("kanysh-kyia-1", 18231, body) == (
        b'{"station":"kanysh-kyia-1","seq":18231,"time":"2026-11-23T10:00:00.000Z","sensor":"ph1",'
        b'"model":"yosemitech-y532","medium":"water",'
        b'"values":{"ph":{"raw":7.12,"value":7.1,"unit":"pH","flag":1}},"calibration":4,"clock":"synced"}'
    )


def test_a_flag_says_why_and_an_unset_clock_is_said() -> None:
    body = Reading("t1", "m", "water", Stamp(0, "b", 1, False), {"t": Value(1.0, 1.0, "NTU", 3, "spike")})
    said = json.loads(reading_json("s", 1, body))
    assert said["values"]["t"] == {"raw": 1.0, "value": 1.0, "unit": "NTU", "flag": 3, "why": "spike"}
    assert said["clock"] == "unsynced"


@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", ["raw", "value", "both"])
def test_what_is_no_number_is_null_and_missing(raw: float, which: str) -> None:
    bad = Value(1.0 if which == "value" else raw, 1.0 if which == "raw" else raw, "NTU", 1)
    body = Reading("null", "m", "water", stamp(), {"t": bad, "u": Value(2.0, 2.0, "NTU", 1)})
    text = reading_json("s", 1, body)
    said = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert said["values"]["t"] == {
        "raw": None,
        "value": None,
        "unit": "NTU",
        "flag": 9,
        "why": "not a number",
    }
    assert said["values"]["u"] == {"raw": 2.0, "value": 2.0, "unit": "NTU", "flag": 1}
    jsonschema.validate(said, json.loads(schemas()["reading.schema.json"]))


@pytest.mark.parametrize(
    ("utc_ms", "text"),
    [
        (START_MS, "2026-11-23T10:00:00.000Z"),
        (START_MS + 7, "2026-11-23T10:00:00.007Z"),
        (START_MS + 59_999, "2026-11-23T10:00:59.999Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_709_208_000_000, "2024-02-29T12:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times(utc_ms: int, text: str) -> None:
    assert iso(utc_ms) == text


@pytest.mark.parametrize("utc_ms", [253_402_300_800_000, -(10**18), 10**18])
def test_a_time_that_no_calendar_has_is_refused(utc_ms: int) -> None:
    with pytest.raises(ValueError, match="calendar"):
        event_json("s", 1, Event(Stamp(utc_ms, "b", 0, True), "x", {}))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ph1", "ph1"),
        ("a/b", "a-b"),
        ("+", "-"),
        ("#", "-"),
        ("", "-"),
        ("вода", "вода"),
        ("a\nb\0c", "a-b-c"),
    ],
)
def test_a_name_is_one_level_of_a_topic(text: str, wanted: str) -> None:
    assert level(text) == wanted


def test_the_schemas_in_docs_are_those_of_the_code() -> None:
    folder = ROOT / "docs" / "schema"
    for name, text in schemas().items():
        remedy = "write what gateway.mqtt_messages.schemas() gives into docs/schema"
        assert (folder / name).read_text(encoding="utf-8") == text, f"{name}: {remedy}"


def test_aiomqtt_is_imported_only_to_connect() -> None:
    code = "import sys, gateway.mqtt; print([m for m in ('aiomqtt', 'paho') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize("url", ["http://h", "mqtt://", "broker:1883"])
def test_a_url_that_is_none_is_said(url: str) -> None:
    with pytest.raises(ValueError, match="mqtt://HOST"):
        make("s", url)


def test_what_is_really_published_is_valid_and_on_its_topics(mosquitto: Mosquitto) -> None:
    async def job() -> None:
        bodies = [
            reading(7.1),
            reading(math.nan, "turb1", quantities=40),
            Event(stamp(), "clock_step", {"step_ms": 412}),
            Event(stamp(), "alarm", {"rule": "turbidity-high", "to": "active_unacknowledged", "value": 61.5}),
            Event(stamp(), "alarm", {"rule": "turbidity-high", "to": "normal", "value": 12.0}),
        ]
        journal = MemoryJournal(bodies)
        sink = make("valid", mosquitto.url, health=lambda: {"backlog": 3})
        with listening(mosquitto.port, "suuaba/1/valid/#") as subscriber:
            async with following(journal, sink) as follower:
                await follower.done(5)
                assert sink.version == 5
            await in_thread(lambda: subscriber.wait("the end", lambda got: len(got) >= 7))
        assert [got.topic.removeprefix("suuaba/1/valid/") for got in subscriber.got] == [
            "status",
            "reading/ph1",
            "reading/turb1",
            "event",
            "alarm/turbidity-high",
            "alarm/turbidity-high",
            "status",
        ]
        for got in subscriber.got:
            kind = got.topic.split("/")[3]
            jsonschema.validate(got.json, json.loads(schemas()[f"{kind}.schema.json"]))
        assert subscriber.got[0].json == {
            "state": "online",
            "station": "valid",
            "time": "2026-11-23T10:00:00.000Z",
            "health": {"backlog": 3},
        }
        assert subscriber.got[-1].json["state"] == "offline"
        with listening(mosquitto.port, "suuaba/1/valid/#") as late:
            kept = late.wait(
                "what is retained", lambda got: {g.topic: g for g in got} if len(got) >= 2 else None
            )
        assert sorted(kept) == ["suuaba/1/valid/alarm/turbidity-high", "suuaba/1/valid/status"]
        assert all(got.retained for got in kept.values())
        assert kept["suuaba/1/valid/alarm/turbidity-high"].json["state"] == "normal"

    play(job)


def test_the_birth_is_there_before_the_first_record_and_health_follows(mosquitto: Mosquitto) -> None:
    async def job() -> None:
        count = iter(range(1000))
        sink = make("born", mosquitto.url, status_s=0.05, health=lambda: {"n": next(count)})
        with listening(mosquitto.port, "suuaba/1/born/#") as subscriber:
            async with following(MemoryJournal(), sink):
                await in_thread(lambda: subscriber.wait("three", lambda got: len(got) >= 3))
        assert [got.json["health"]["n"] for got in subscriber.got[:3]] == [0, 1, 2]
        assert all(got.json["state"] == "online" for got in subscriber.got[:3])

    play(job)


def test_a_long_backlog_goes_within_the_brokers_window(mosquitto: Mosquitto) -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(n) for n in range(2000)]), make("long", mosquitto.url)
        with listening(mosquitto.port, "suuaba/1/long/reading/#") as subscriber:
            async with following(journal, sink) as follower:
                await follower.done(2000)
                assert sink._link is not None
                assert sink._link.window == 20, "what Mosquitto says it takes (Receive Maximum)"
            await in_thread(lambda: subscriber.wait("all", lambda got: len(got) >= 2000))
        assert subscriber.seqs() == list(range(1, 2001)), "in order, each once"

    play(job)


def test_only_what_is_configured_is_sent(mosquitto: Mosquitto) -> None:
    async def job() -> None:
        def offline(got: list[Got]) -> bool:
            return bool(got) and got[-1].json.get("state") == "offline"

        bodies = [reading(1), Event(stamp(), "started", {}), reading(2)]
        for send, wanted in ((["reading"], [1, 3]), (["event"], [2])):
            station = f"only-{send[0]}"
            with listening(mosquitto.port, f"suuaba/1/{station}/#") as subscriber:
                async with following(
                    MemoryJournal(bodies), make(station, mosquitto.url, send=send)
                ) as follower:
                    await follower.done(3)
                await in_thread(partial(subscriber.wait, "the end", offline))
            assert subscriber.seqs(send[0]) == wanted
            assert len(subscriber.got) == len(wanted) + 2

    play(job)


def test_a_message_above_the_limit_or_without_json_is_set_aside_and_the_others_go(
    mosquitto: Mosquitto,
) -> None:
    async def job() -> None:
        bodies = [reading(n) for n in range(9)]
        bodies[3] = Event(stamp(), "large", {"text": "x" * 70_000})
        bodies[6] = Event(Stamp(10**18, "b", 0, True), "when?", {})
        journal, sink = MemoryJournal(bodies), make("large", mosquitto.url)
        with listening(mosquitto.port, "suuaba/1/large/reading/#") as subscriber:
            async with following(journal, sink) as follower:
                await follower.done(9)
            await in_thread(lambda: subscriber.wait("the others", lambda got: len(got) >= 7))
        assert [seq for _, seq, _ in journal.refused] == [4, 7]
        assert "above the limit" in journal.refused[0][2]
        assert "calendar" in journal.refused[1][2]
        assert subscriber.seqs() == [1, 2, 3, 5, 6, 8, 9], "each once, though the batch was halved"

    play(job)


def test_a_broker_that_is_not_there_at_the_start(tmp_path: Path) -> None:
    async def job() -> None:
        server = Mosquitto(tmp_path / "m")
        journal, sink = MemoryJournal([reading(n) for n in range(30)]), make("late", server.url)
        async with following(journal, sink) as follower:
            assert "refused" in await down(follower)
            with running(server), listening(server.port, "suuaba/1/late/reading/#") as subscriber:
                await follower.done(30)
                await in_thread(lambda: subscriber.wait("all", lambda got: len(got) >= 30))
        assert set(subscriber.seqs()) == set(range(1, 31))
        assert len(journal.events("sink_down")) == len(journal.events("sink_up")) == 1

    play(job)


def test_a_broker_killed_in_mid_flow_loses_nothing(own_mosquitto: Mosquitto) -> None:
    async def job() -> None:
        subscribed = True

        def not_before_the_subscriber() -> str:
            if not subscribed:
                raise OSError("the test waits for its subscriber")
            return ""

        journal = MemoryJournal()
        sink = make("killed", own_mosquitto.url, password=not_before_the_subscriber)
        with listening(own_mosquitto.port, "suuaba/1/killed/reading/#", qos=0) as subscriber:
            async with following(journal, sink) as follower:
                for n in range(300):
                    journal.append([reading(n)])
                    if n == 100:
                        subscriber.expect_outage()
                        subscribed = False
                        own_mosquitto.kill()
                    if n == 200:
                        await down(follower)
                        await in_thread(own_mosquitto.start)
                        await in_thread(subscriber.again)
                        subscribed = True
                    await asyncio.sleep(0.001)
                sent = {r.seq for r in journal.records if isinstance(r.body, Reading)}
                await follower.done(max(sent))
                await in_thread(lambda: subscriber.wait("the last", lambda _: max(sent) in subscriber.seqs()))
        assert set(subscriber.seqs()) == sent
        assert len(journal.events("sink_down")) == len(journal.events("sink_up")) == 1

    play(job)


def test_a_broker_that_hangs_is_given_up_and_gets_the_same_again(own_mosquitto: Mosquitto) -> None:
    async def job() -> None:
        journal, sink = MemoryJournal([reading(1)]), make("hangs", own_mosquitto.url, answer_s=0.3)
        with listening(own_mosquitto.port, "suuaba/1/hangs/reading/#") as subscriber:
            async with following(journal, sink) as follower:
                await follower.done(1)
                own_mosquitto.pause()
                journal.append([reading(2)])
                assert "no acknowledgement within 0.3 s" in await down(follower)
                assert journal.cursors["mqtt"] == 1
                own_mosquitto.resume()
                await follower.done(2)
            await in_thread(lambda: subscriber.wait("both", lambda _: set(subscriber.seqs()) >= {1, 2}))

    play(job)


def test_the_cursor_outlives_our_own_restart(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async def once(count: int) -> list[int]:
        clock = Clock()
        journal = Journal(tmp_path, clock, commit_s=0.01)
        await journal.open()
        journal.cursor("mqtt")
        committing = asyncio.create_task(journal.run())
        async with following(journal, make("again", mosquitto.url)) as follower:
            seqs = [record.seq for record in journal.append([reading(n) for n in range(count)])]
            await follower.done(seqs[-1])
        committing.cancel()
        await asyncio.wait([committing])
        await journal.close()
        return seqs

    async def job() -> None:
        with listening(mosquitto.port, "suuaba/1/again/reading/#") as subscriber:
            sent = await once(20) + await once(20)
            await in_thread(lambda: subscriber.wait("all", lambda got: len(got) >= 40))
            assert subscriber.seqs() == sent, "each once, over a clean restart"

    play(job)
