"""The broker as deploy/ sets it up: mutual TLS, passwords, rights; with the very files of deploy/, on real
Mosquitto."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import paho.mqtt.publish as publish
import pytest

from gateway import config, config_collector
from gateway.errors import ConfigError, Unreachable
from gateway.homeassistant import Discovery
from gateway.model import Reading, Record, Stamp, Value
from gateway.mqtt import MqttSink
from tests.centre import T0_MS, Process
from tests.memory_journal import MemoryJournal
from tests.services import InfluxDB, Mosquitto, Subscriber, fetch, free_port, until

DEPLOY = Path(__file__).parent.parent / "deploy"
AT = Stamp(T0_MS, "b", 5, True)


class Deployed(Mosquitto):
    """Mosquitto with deploy/mosquitto/mosquitto.conf and acl; only places and ports are changed."""

    def __init__(self, folder: Path) -> None:
        self.certificates = folder / "certs"
        for words in (
            "authority",
            "server localhost 127.0.0.1",
            "client st-a",
            "client st-b",
            "client centre-1",
        ):
            certificates(self.certificates, *words.split())
        self.mutual_port = free_port()
        users = {"st-a": "word-a", "st-b": "word-b", "centre-1": "word-c", "homeassistant": "word-h"}
        super().__init__(folder, users=users)

    def set_users(self, users: dict[str, str]) -> None:
        super().set_users(users)  # writes the passwords; the configuration is the one of deploy/
        text = (DEPLOY / "mosquitto/mosquitto.conf").read_text()
        for ours, theirs in {
            f"listener {self.port} 127.0.0.1": "listener 8883",
            f"listener {self.mutual_port} 127.0.0.1": "listener 8884",
            f"{self.folder}/certs/": "/etc/mosquitto/certs/",
            f"{self.folder}/passwords": "/etc/mosquitto/suuaba.passwords",
            str(DEPLOY / "mosquitto/acl"): "/etc/mosquitto/suuaba.acl",
            f"persistence_location {self.folder}/": "persistence_location /var/lib/mosquitto/",
        }.items():
            assert theirs in text
            text = text.replace(theirs, ours)
        (self.folder / "mosquitto.conf").write_text(f"{text}\nuser root\n")


def certificates(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(DEPLOY / "certificates.sh"), str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    server = Deployed(tmp_path_factory.mktemp("rights") / "m")
    server.start()
    yield server
    server.stop()


def sink(broker: Deployed, station: str, **more: Any) -> MqttSink:
    port = broker.port if "username" in more else broker.mutual_port
    ca = str(broker.certificates / "ca.crt")
    return MqttSink(station, f"mqtts://localhost:{port}", stamp=lambda: AT, **{"ca": ca, **more})


def identity(broker: Deployed, name: str) -> tuple[str, str]:
    return str(broker.certificates / f"{name}.crt"), str(broker.certificates / f"{name}.key")


def record(seq: int) -> Record:
    return Record(seq, Reading("s1", "m", "water", AT, {"ph": Value(7.0, 7.0, "pH", 1)}))


def play(job: Coroutine[Any, Any, None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(50):
            await job

    asyncio.run(within())


@pytest.mark.parametrize("way", ["certificate", "password"])
def test_a_station_writes_as_itself_and_as_nobody_else(broker: Deployed, way: str) -> None:
    async def job() -> None:
        who: dict[str, Any] = (
            {"identity": identity(broker, "st-a")}
            if way == "certificate"
            else {"username": "st-a", "password": "word-a"}
        )
        own, other = sink(broker, "st-a", **who), sink(broker, "st-b", **who)
        await own.deliver([record(1)])
        with pytest.raises(Unreachable, match="does not take our"):
            await other.deliver([record(1)])
        for each in (own, other):
            await each.close()

    play(job())


def test_without_a_certificate_or_with_a_strangers_nobody_comes_in(broker: Deployed, tmp_path: Path) -> None:
    for words in ("authority", "client st-a"):
        certificates(tmp_path / "strange", *words.split())

    async def job() -> None:
        strange = (str(tmp_path / "strange/st-a.crt"), str(tmp_path / "strange/st-a.key"))
        authority = str(tmp_path / "strange/ca.crt")
        ours = identity(broker, "st-a")
        for more, why in (
            ({"answer_s": 5.0}, None),
            ({"answer_s": 5.0, "identity": strange}, None),
            ({"ca": authority, "identity": ours}, "certificate verify failed"),
            ({"username": "st-a", "password": "word-b"}, r"user name|password|authorized"),
        ):
            refused = sink(broker, "st-a", **more)
            with pytest.raises(Unreachable, match=why):
                await refused.beat()

    play(job())


def test_a_station_hears_nothing_of_another(broker: Deployed) -> None:
    """It gets its own test message, and nothing of what came before it from elsewhere."""
    word = {"username": "st-b", "password": "word-b"}
    subscriber = Subscriber(broker.port, "suuaba/1/#", ca=broker.certificates / "ca.crt", **word)

    async def job() -> None:
        a = sink(broker, "st-a", identity=identity(broker, "st-a"))
        await a.deliver([record(7)])
        await a.close()

    play(job())
    crt, key = identity(broker, "st-b")
    publish = ["mosquitto_pub", "-h", "localhost", "-p", str(broker.mutual_port), "-q", "1"]
    publish += ["--cafile", str(broker.certificates / "ca.crt"), "--cert", crt, "--key", key]
    for topic in ("suuaba/1/st-b/status", "suuaba/1/st-b/doctor"):
        subprocess.run([*publish, "-t", topic, "-m", "mine"], check=True, timeout=30)
    subscriber.wait("its own", lambda got: got)
    assert [got.topic for got in subscriber.got] == ["suuaba/1/st-b/doctor"]
    subscriber.close()


def test_a_collector_may_ask_a_station_and_another_station_may_not(broker: Deployed) -> None:
    def asks(who: str, number: int) -> None:
        word = {"st-b": "word-b", "centre-1": "word-c"}[who]
        payload = f'{{"numbers":[[{number},{number}]]}}'
        publish.single(
            "suuaba/1/st-a/again",
            payload,
            qos=1,
            hostname="localhost",
            port=broker.port,
            auth={"username": who, "password": word},
            tls={"ca_certs": str(broker.certificates / "ca.crt")},
        )

    async def job() -> None:
        a = sink(broker, "st-a", identity=identity(broker, "st-a"))
        await a.deliver([record(5)])
        for number, who in enumerate(("st-b", "centre-1"), start=1):
            await asyncio.to_thread(asks, who, number)
        journal = MemoryJournal()
        while (errand := a.again.errand(journal, "mqtt", 9, lambda: AT)) is None:  # noqa: ASYNC110  no event
            await asyncio.sleep(0.01)
        assert errand.numbers == [2, 2]  # the first who was heard
        await a.close()

    play(job())


def test_home_assistant_hears_a_station_of_itself_and_of_no_other(broker: Deployed, tmp_path: Path) -> None:
    ca = broker.certificates / "ca.crt"
    heard = Subscriber(broker.port, "homeassistant/#", username="homeassistant", password="word-h", ca=ca)
    prefix = "homeassistant/sensor"
    wanted = {f"{prefix}/{station}/ph1_ph/config": b"{}" for station in ("st-b", "st-a")}

    async def job() -> None:
        lying = Discovery(wanted, tmp_path / "lying")
        honest = Discovery({f"{prefix}/st-a/ph1_ph/config": b'{"name": "pH"}'}, tmp_path / "honest")
        for discovery in (lying, honest):
            a = sink(broker, "st-a", identity=identity(broker, "st-a"), discovery=discovery)
            await a.beat()
            await a.close()

    play(job())
    publish = ["mosquitto_pub", "-h", "localhost", "-p", str(broker.port), "--cafile", str(ca), "-q", "1"]
    for topic in ("homeassistant/light/st-a/x/config", "homeassistant/status", f"{prefix}/st-a/end/config"):
        words = [*publish, "-u", "st-a", "-P", "word-a", "-t", topic, "-m", "end"]
        subprocess.run(words, check=True, timeout=30)
    heard.wait("the end", lambda got: got and got[-1].payload == b"end")
    topics = {got.topic for got in heard.got}
    assert topics == {f"{prefix}/st-a/ph1_ph/config", f"{prefix}/st-a/end/config"}
    assert b'{"name": "pH"}' in {got.payload for got in heard.got}
    heard.close()


def test_a_collector_with_a_certificate_collects_and_shows_no_secret(
    broker: Deployed, tmp_path: Path
) -> None:
    influx = InfluxDB(tmp_path / "influx", admin=("collector", "word-of-influx"))
    influx.start()
    process = Process(tmp_path / "c", "centre-1", broker, influx)
    crt, key = identity(broker, "centre-1")
    text = process.file.read_text().replace(f"mqtts://localhost:{broker.port}", broker.url)
    text = text.replace(f":{broker.port}", f":{broker.mutual_port}").replace("mqtt://", "mqtts://")
    text = text.replace(
        "[influxdb]", f'ca = "{broker.certificates}/ca.crt"\ncertificate = "{crt}"\nkey = "{key}"\n[influxdb]'
    )
    text = text.replace(
        'database = "stations"',
        'database = "stations"\nusername = "collector"\npassword = { file = "influx.password" }',
    )
    process.file.write_text(text)
    (process.folder / "influx.password").write_text("word-of-influx\n")
    (process.folder / "influx.password").chmod(0o600)
    process.start()
    try:
        until("the collector", process.healthy)

        async def job() -> None:
            a = sink(broker, "st-a", identity=identity(broker, "st-a"))
            await a.deliver([record(5), record(6)])
            await a.close()

        play(job())

        def there() -> bool:
            with suppress(KeyError, AssertionError):
                return len(influx.rows('SELECT "ph" FROM "water"', "stations")) == 1  # the same millisecond
            return False

        until("the point", there)
        pages = [fetch(f"http://127.0.0.1:{process.port}/{page}").decode() for page in ("", "metrics")]
        pages.append((process.folder / "log").read_text())
        pages.append(process.command_line())
        pages.append(process.accounts().stdout)
        assert all("word-of-influx" not in page for page in pages)
        assert json.loads(fetch(f"http://127.0.0.1:{process.port}/api/stations"))
    finally:
        process.end()
        influx.stop()


def test_a_key_that_wants_a_passphrase_is_told_before_anybody_waits_for_it(tmp_path: Path) -> None:
    """Else OpenSSL asks for it at whatever terminal there is."""
    new = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    for name, more in (("plain.key", []), ("closed.key", ["-aes256", "-pass", "pass:word"])):
        subprocess.run([*new, *more, "-out", str(tmp_path / name)], check=True, capture_output=True)
    (tmp_path / "a.crt").write_text("")
    head = '[station]\nid = "a"\n[[sensor]]\nid = "s"\nport = "/dev/a"\nmodel = "plantower"\n'
    for name in ("plain.key", "closed.key"):
        text = f'[mqtt]\nurl = "mqtts://h"\ncertificate = "a.crt"\nkey = "{name}"\n'
        (tmp_path / "station.toml").write_text(head + text)
        (tmp_path / "collector.toml").write_text(
            text + '[influxdb]\nurl = "http://h"\nversion = 1\ndatabase = "d"\n'
        )
        for load, file in ((config.load, "station.toml"), (config_collector.load, "collector.toml")):
            if name == "plain.key":
                assert load(tmp_path / file).mqtt
                continue
            with pytest.raises(ConfigError, match=r"key: .*wants a passphrase.*openssl pkey"):
                load(tmp_path / file)


def test_the_script_overwrites_nothing_and_refuses_nonsense(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError, match="exit status 1"):
        certificates(tmp_path / "c", "client", "st-a")  # no authority yet
    certificates(tmp_path / "c", "authority")
    before = (tmp_path / "c/ca.crt").read_bytes()
    for words in (("authority",), ("client", "a/b"), ("client", "$(id)"), ("server",), ("nonsense",)):
        with pytest.raises(subprocess.CalledProcessError):
            certificates(tmp_path / "c", *words)
    assert (tmp_path / "c/ca.crt").read_bytes() == before
    assert (tmp_path / "c/ca.key").stat().st_mode & 0o077 == 0
    certificates(tmp_path / "c", "server", "mqtt.example.kg", "10.0.0.7")
    text = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "c/server.crt", "-noout", "-ext", "subjectAltName"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "DNS:mqtt.example.kg, IP Address:10.0.0.7" in text
