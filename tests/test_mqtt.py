"""The MQTT sink against real brokers: Mosquitto, and amqtt for MQTT 3.1.1; what arrived is told by a second
client.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.clock import Clock
from gateway.embedded import EmbeddedBroker
from gateway.errors import Refused, Unreachable
from gateway.follow import Follower
from gateway.journal import Journal
from gateway.model import Event, Reading, Record, Stamp, Value
from gateway.mqtt import MqttSink
from gateway.mqtt_messages import event_json, iso, level, reading_json, schemas
from tests.memory_journal import START_MS, MemoryJournal, reading, stamp
from tests.services import Amqtt, Got, Mosquitto, Subscriber, free_port, running

ROOT = Path(__file__).parent.parent


def play(job: Callable[[], Awaitable[None]], within_s: float = 50.0) -> None:
    async def within() -> None:
        async with asyncio.timeout(within_s):
            await job()

    asyncio.run(within())


def make(station: str, url: str, **more: Any) -> MqttSink:
    return MqttSink(station, url, stamp=stamp, **{"answer_s": 10.0, **more})


@contextlib.asynccontextmanager
async def following(journal: Any, sink: MqttSink) -> AsyncIterator[Follower]:
    follower = Follower(journal, "mqtt", sink, stamp=stamp, random=lambda: 0.05)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def in_thread(job: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, job)


@contextlib.contextmanager
def listening(port: int, topic: str = "#", **more: Any) -> Any:
    subscriber = Subscriber(port, topic, **more)
    try:
        yield subscriber
    finally:
        subscriber.close()


async def down(follower: Follower) -> str:
    """Wait until it is down; give the reason."""
    await becomes(lambda: follower.progress.down_since_ms is not None)
    return follower.progress.last_error or ""


async def becomes(condition: Callable[[], bool]) -> None:
    """Ask until it is so; the deadline is that of `play`."""
    while not condition():  # noqa: ASYNC110  what is asked makes no event
        await asyncio.sleep(0.01)


# ── the messages ────────────────────────────────────────────────────────────────────────────────────


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


# ── with real Mosquitto ─────────────────────────────────────────────────────────────────────────────


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


# ── the broker away ─────────────────────────────────────────────────────────────────────────────────


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


# ── the broker's refusals ───────────────────────────────────────────────────────────────────────────


def test_a_wrong_password_is_said_once_and_mended_without_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def job() -> None:
        with running(Mosquitto(tmp_path / "m", users={"kyia": "right", "watcher": "w"})) as server:
            secret = tmp_path / "mqtt.password"
            secret.write_text("wrong")
            journal = MemoryJournal([reading(1)])
            sink = make("password", server.url, username="kyia", password=secret.read_text)
            async with following(journal, sink) as follower:
                reason = await down(follower)
                assert "refuses user 'kyia'" in reason
                assert "authorized" in reason.lower() or "password" in reason.lower()
                await becomes(lambda: follower.progress.attempts >= 4)
                secret.write_text("right")
                await follower.done(1)
            assert len(journal.events("sink_down")) == len(journal.events("sink_up")) == 1

    play(job)
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 2


def test_a_missing_password_file_is_an_outage_with_a_reason(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async def job() -> None:
        sink = make("nofile", mosquitto.url, username="x", password=(tmp_path / "absent").read_text)
        with pytest.raises(Unreachable, match=r"password cannot be read.*absent"):
            await sink.beat()

    play(job)


def test_a_topic_that_we_may_not_write_is_said_and_mended_without_a_restart(tmp_path: Path) -> None:
    async def job() -> None:
        rights = "topic readwrite suuaba/1/acl/status\ntopic read #\n"
        with running(Mosquitto(tmp_path / "m", acl=rights)) as server:
            journal, sink = MemoryJournal([reading(n) for n in range(10)]), make("acl", server.url)
            with listening(server.port, "suuaba/1/acl/reading/#") as subscriber:
                async with following(journal, sink) as follower:
                    assert "Not authorized" in await down(follower)
                    assert journal.moves == []
                    server.set_acl("topic readwrite #\n")
                    await follower.done(10)
                await in_thread(lambda: subscriber.wait("all", lambda got: len(got) >= 10))
            assert sorted(subscriber.seqs()) == list(range(1, 11)), (
                "rights may change in the middle of a batch"
            )
            assert journal.refused == []

    play(job)


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────


def test_tls_with_an_authority_of_our_own(tmp_path: Path) -> None:
    async def job() -> None:
        with running(Mosquitto(tmp_path / "m", tls=True)) as server:
            journal, sink = (
                MemoryJournal([reading(n) for n in range(50)]),
                make("tls", server.url, ca=str(server.ca)),
            )
            with listening(server.port, "suuaba/1/tls/reading/#", ca=server.ca) as subscriber:
                async with following(journal, sink) as follower:
                    await follower.done(50)
                await in_thread(lambda: subscriber.wait("all", lambda got: len(got) >= 50))
            assert subscriber.seqs() == list(range(1, 51))
            with pytest.raises(Unreachable, match="certificate verify failed"):
                await make("tls", server.url).beat()
            with pytest.raises(Unreachable, match=r"absent\.crt.*cannot be used"):
                await make("tls", server.url, ca="absent.crt").beat()
            with pytest.raises(Unreachable):  # spoken to in the clear
                await make("tls", server.url.replace("mqtts", "mqtt"), answer_s=0.5).beat()

    play(job)


# ── birth, death and the last will ──────────────────────────────────────────────────────────────────

STATION = """
import asyncio, sys
from gateway.follow import follow
from gateway.mqtt import MqttSink
from tests.memory_journal import MemoryJournal, stamp
asyncio.run(follow(MemoryJournal(), "mqtt", MqttSink("mortal", sys.argv[1], stamp=stamp), stamp=stamp))
"""


def test_the_last_will_is_seen_when_our_process_is_killed(mosquitto: Mosquitto) -> None:
    with listening(mosquitto.port, "suuaba/1/mortal/status") as subscriber:
        station = subprocess.Popen([sys.executable, "-c", STATION, mosquitto.url], cwd=ROOT)
        try:
            subscriber.wait("the birth", lambda got: got and got[0].json["state"] == "online")
        finally:
            os.kill(station.pid, signal.SIGKILL)
            station.wait(10)
        subscriber.wait("the last will", lambda got: len(got) == 2)
        assert subscriber.got[1].json == {"state": "offline", "station": "mortal", "why": "connection lost"}
        jsonschema.validate(subscriber.got[1].json, json.loads(schemas()["status.schema.json"]))
    with listening(mosquitto.port, "suuaba/1/mortal/status") as late:
        late.wait(
            "the retained will", lambda got: got and got[0].retained and got[0].json["state"] == "offline"
        )


def test_a_station_that_stops_says_so(mosquitto: Mosquitto) -> None:
    async def job() -> None:
        with listening(mosquitto.port, "suuaba/1/stops/status") as subscriber:
            sink = make("stops", mosquitto.url)
            await sink.beat()
            await sink.close()
            await sink.close()
            await in_thread(lambda: subscriber.wait("both", lambda got: len(got) == 2))
        assert subscriber.got[1].json["why"] == "stopped"

    play(job)


def test_a_goodbye_that_the_broker_does_not_confirm_leaves_the_last_will(own_mosquitto: Mosquitto) -> None:
    async def job() -> None:
        with listening(own_mosquitto.port, "suuaba/1/mute/status") as subscriber:
            sink = make("mute", own_mosquitto.url)
            await sink.beat()
            own_mosquitto.pause()
            loop = asyncio.get_running_loop()
            start_s = loop.time()
            await sink.close()
            assert loop.time() - start_s < 3
            own_mosquitto.resume()
            last = await in_thread(lambda: subscriber.wait("the end", lambda got: len(got) >= 2 and got[-1]))
        assert last.json["state"] == "offline"

    play(job)


def test_the_end_comes_at_once_when_the_broker_never_answers() -> None:
    async def job() -> None:
        taken: list[asyncio.StreamWriter] = []

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            taken.append(writer)
            await reader.read()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        async with following(MemoryJournal([reading(1)]), make("never", f"mqtt://127.0.0.1:{port}")):
            await becomes(lambda: bool(taken))
            start_s = loop.time()
        assert loop.time() - start_s < 3
        for writer in taken:
            writer.close()
        server.close()

    play(job)


# ── brokers that know only MQTT 3.1.1 ───────────────────────────────────────────────────────────────


def test_it_falls_back_to_3_1_1_where_the_broker_is_silent_on_5(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """amqtt, a broker for MQTT 3.1.1 only, waits for ever on the CONNECT of MQTT 5 with a last will."""

    async def job() -> None:
        with (
            running(Amqtt(tmp_path / "amqtt")) as server,
            listening(server.port, "suuaba/1/old/#") as subscriber,
        ):
            journal = MemoryJournal([reading(n) for n in range(20)])
            sink = make("old", server.url, answer_s=1.0)
            async with following(journal, sink) as follower:
                await follower.done(20)
                assert sink.version == 4
                await in_thread(lambda: subscriber.wait("all", lambda _: len(subscriber.seqs()) >= 20))
            assert subscriber.seqs() == list(range(1, 21))
            said = {"sink": "mqtt", "broker": f"localhost:{server.port}", "version": "MQTT 3.1.1"}
            assert journal.events("mqtt_version") == [said]
            assert journal.events("sink_down") == []

    play(job)
    assert len([r for r in caplog.records if "falling back" in r.getMessage()]) == 1


@pytest.mark.parametrize("answer", [b"", b"\x20\x02\x00\x01"], ids=["hangs up", "refuses"])
def test_it_falls_back_to_3_1_1_where_the_broker_does_not_know_5(mosquitto: Mosquitto, answer: bytes) -> None:
    """Old brokers answer with the CONNACK of 3.1.1, "unacceptable version", or close the connection without a
    word: here something stands before Mosquitto and does so.
    """

    async def job() -> None:
        versions: list[int] = []
        ended: list[int] = []

        async def guard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            first = await reader.readexactly(9)  # 10 len 00 04 M Q T T version
            versions.append(first[8])
            if first[8] == 5:
                writer.write(answer)
                writer.close()
                await writer.wait_closed()
                ended.append(5)
                return
            inside, outside = await asyncio.open_connection("127.0.0.1", mosquitto.port)
            outside.write(first)

            async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                with contextlib.suppress(ConnectionError):
                    while data := await source.read(4096):
                        sink.write(data)
                sink.close()

            await asyncio.gather(pass_on(reader, outside), pass_on(inside, writer))
            await outside.wait_closed()
            await writer.wait_closed()
            ended.append(first[8])

        server = await asyncio.start_server(guard, "127.0.0.1", 0)
        url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        sink = make("older", url)
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        await sink.beat()
        assert loop.time() - start_s < 5, "it did not wait for the time-out"
        assert versions == [5, 4]
        await sink.close()
        await sink.beat()
        assert versions == [5, 4, 4], "the version that worked is tried first"
        await sink.close()
        await becomes(lambda: len(ended) == 3)
        server.close()

    play(job)


def test_the_version_can_be_fixed() -> None:
    async def job() -> None:
        broker = EmbeddedBroker(free_port())
        await broker.start()
        journal, sink = MemoryJournal([reading(1)]), make("fixed", broker.url, version=4)
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        async with following(journal, sink) as follower:
            await follower.done(1)
            assert loop.time() - start_s < 5, "no time is lost with MQTT 5"
        assert journal.events("mqtt_version") == []
        await broker.stop()

    play(job)


def test_refused_by_the_library_is_unreachable_too(mosquitto: Mosquitto) -> None:
    async def job() -> None:
        with pytest.raises(Unreachable):
            await make("nowhere", "mqtt://nowhere.invalid").beat()
        sink = make("s", mosquitto.url)
        with pytest.raises(Refused, match="above the limit"):
            await sink.deliver([Record(1, Event(stamp(), "large", {"text": "x" * 70_000}))])
        await sink.close()

    play(job)
