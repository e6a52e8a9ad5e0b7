"""MQTT: refusals of the broker, TLS, birth and last will, brokers that know only 3.1.1."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from gateway.embedded import EmbeddedBroker
from gateway.errors import Refused, Unreachable
from gateway.model import Event, Record
from gateway.mqtt_messages import schemas
from tests.memory_journal import MemoryJournal, reading, stamp
from tests.mqtt_listening import listening, make
from tests.services import Amqtt, Mosquitto, free_port, running
from tests.sinking import becomes, down, following, in_thread, play

ROOT = Path(__file__).parent.parent


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
