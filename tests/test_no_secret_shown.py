"""No secret is shown: not in the log at its loudest, by `check`, `doctor`, the page, /metrics, the control
socket, MQTT, the journal, an evidence pack, nor where every user looks (command lines, environments).

Whole stations and a collector, with real Mosquitto, while all goes wrong that makes programs talkative.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast
from urllib.parse import unquote_plus

import pytest

from alerts.at import Dialogue
from alerts.untold import basic, parts_of, untold
from drivers.base import GarbledAnswer, NoAnswer
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PtyPort
from drivers.emulators.station import MODEM_LINE, EmulatedStation
from drivers.link import Link
from gateway.sms_power import power_switch
from tests.fleet import Fleet, reading
from tests.hush import Hush, collector_fields, processes, said_by, station_fields, toml
from tests.hush_station import Scene
from tests.services import (
    Asked,
    Mosquitto,
    Reply,
    ScriptedWeb,
    Subscriber,
    fetch,
    free_port,
    make_certificates,
    running,
    until,
)
from tests.test_mqtt_rights import Deployed, identity

SEEN: set[str] = set()
"""The fields whose secrets were in a configuration here; the last test holds them against all there are."""


class Parrot:
    """A web server that shows whatever it was given, and refuses it in several ways."""

    def __init__(self, web: ScriptedWeb, *codes: int) -> None:
        web.otherwise = self._answer
        self.web, self._wanted = web, codes
        self._codes = {kind: itertools.cycle(codes) for kind in ("write", "push", "send", "query")}
        self._said: set[tuple[str, int]] = set()
        self.answers = False
        """Questions are answered: that there is nothing."""

    def _answer(self, asked: Asked) -> Reply:
        given = asked.headers.get("authorization", "")
        said = [asked.line, unquote_plus(asked.line), given]
        if given.startswith("Basic "):
            said.append(base64.b64decode(given.removeprefix("Basic ")).decode())
        [kind] = [kind for kind in self._codes if kind in asked.line] or ["query"]
        if kind == "query" and self.answers:
            return Reply(200, '{"results": [{"statement_id": 0}]}')
        code = next(self._codes[kind])
        self._said.add((kind, code))
        return Reply(code, json.dumps({"error": "you said: " + " ".join(said)}))

    def all_said(self, *kinds: str) -> None:
        """Wait until all of these have been refused in every way."""
        wanted = {(kind, code) for kind in kinds for code in self._wanted}
        until(f"every refusal of {kinds}", lambda: wanted <= self._said, 40)


@contextmanager
def scene(folder: Path, name: str, pin: str = "", *, alive: bool = True) -> Iterator[Scene]:
    """A station and its instruments, if they are alive; `pin`: what its SIMs want."""
    outside = EmulatedStation(folder / "ports")
    second = ModemEmulator("second")
    port = PtyPort([second], name="second", line=MODEM_LINE, link_path=folder / "ports/second")
    outside.ports["second"] = port
    one = Scene(folder, name, outside)
    for modem, word in ((outside.modem, "sms.pin"), (second, "sms.second.pin")):
        modem.pin = pin or one.hush.word(word)
    if alive:
        with outside.in_thread():
            yield one
    else:
        yield one
    SEEN.update(one.hush.planted)


def test_wrong_passwords_and_servers_that_repeat_what_they_are_given(
    tmp_path: Path, web: ScriptedWeb
) -> None:
    parrot = Parrot(web, 401, 500)
    with (
        running(Mosquitto(tmp_path / "broker", tls=True, users={"st-a": "another"})) as broker,
        scene(tmp_path / "station", "st-a", pin="1111") as one,
    ):
        one.put("mqtt", url=broker.url, username="st-a", password=..., ca=str(broker.ca))
        one.put("influxdb", url=web.url, version=1, database="d", username="hush", password=...)
        one.put("grafana_live", url=web.url, token=...)
        one.sms(second=True, provider="kannel", url=web.url, username="office")
        with one.running():
            one.logged("mqtt: down", "influxdb: down", "grafana live:", "second: +CME", "provider: kannel")
            parrot.all_said("write", "push")
            one.look("check", "doctor")
        one.look_back()
        one.judge("log", "doctor", "page", "evidence")


def test_a_station_that_is_let_in_tells_the_broker_nothing(tmp_path: Path, web: ScriptedWeb) -> None:
    """Mutual TLS, rights; a contact's PIN by SMS; servers that repeat it and call our lines wrong."""
    parrot = Parrot(web, 400, 403)
    broker = Deployed(tmp_path / "broker")
    with running(broker), scene(tmp_path / "station", "st-a") as one:
        certificate, key = identity(broker, "st-a")
        one.hush.key(Path(key))
        ca = str(broker.certificates / "ca.crt")
        url = f"mqtts://localhost:{broker.mutual_port}"
        one.put("mqtt", url=url, certificate=certificate, key=key, ca=ca)
        one.put("influxdb", url=web.url, version=2, org="o", bucket="b", token=..., password=...)
        one.put("grafana_live", url=web.url, token=...)
        one.sms(second=True, provider=...)
        one.hush.write(
            "sms.provider", f"{web.url}/send?key={one.hush.word('sms.provider')}&to={{to}}&text={{text}}#OK"
        )
        one.outside.modem.registered = False
        heard = Subscriber(broker.port, "#", username="centre-1", password="word-c", ca=Path(ca))
        with one.running():
            one.logged("refused and set aside", "grafana live:")
            heard.wait("the provider's refusal", lambda got: any(b"you said" in g.payload for g in got))
            one.outside.modem.registered = True
            one.outside.modem.receive("+996555000001", f"ACK {one.hush.word('contact.pin')}")
            heard.wait("the answer", lambda got: any(b'"answer"' in g.payload for g in got))
            parrot.all_said("write", "push")
            one.look("check")
        heard.close()
        one.shown["mqtt"] = "\n".join(f"{g.topic} {g.payload.decode()}" for g in heard.got)
        one.look_back()
        one.judge("log", "control", "page", "evidence", "mqtt")


def test_nothing_there_and_a_broker_whose_certificate_is_another_s(tmp_path: Path) -> None:
    """The secrets by the environment: what the station starts does not get them either."""
    with (
        running(Mosquitto(tmp_path / "broker", tls=True)) as broker,
        scene(tmp_path / "station", "st-c", alive=False) as one,
    ):
        (tmp_path / "other").mkdir()
        make_certificates(tmp_path / "other")
        nobody = f"http://127.0.0.1:{free_port()}"
        one.put("mqtt", url=broker.url, username="a", password=..., ca=str(tmp_path / "other/ca.crt"))
        one.put("influxdb", url=nobody, version=3, database="d", token=...)
        one.put("grafana_live", url=nobody, token=...)
        one.sms(second=False, provider="kannel", url=nobody, username="office")
        one.by_environment()
        with one.running():
            one.logged("mqtt: down", "influxdb: down")
            one.look("check", control=False)
        one.look_back()
        one.judge()


def test_a_collector(tmp_path: Path, web: ScriptedWeb) -> None:
    """Let in by the broker and refused by the database, whose answers go into what is set aside."""
    parrot = Parrot(web, 400)
    hush = Hush(tmp_path, "c")
    port, file = free_port(), tmp_path / "collector.toml"
    with running(Mosquitto(tmp_path / "broker", users={"centre": hush.word("mqtt.password")})) as broker:
        broker_part = {"url": broker.url, "username": "centre", "password": hush.file("mqtt.password")}
        influxdb = {
            "url": web.url,
            "version": 2,
            "org": "o",
            "bucket": "b",
            "token": hush.file("influxdb.token"),
        }
        influxdb["password"] = hush.file("influxdb.password")
        parts = {"collector": {"data": str(tmp_path / "data")}, "mqtt": broker_part, "influxdb": influxdb}
        file.write_text(toml(parts | {"web": {"listen": f"127.0.0.1:{port}"}}))
        assert hush.planted == collector_fields()
        command = [sys.executable, "-m", "gateway.cli", "-vv", "collect", str(file)]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        shown = {}
        try:
            until("the page", lambda: _there(port))
            until("a question refused", lambda: b"you said" in (tmp_path / "log").read_bytes())
            shown["accounts"] = said_by("collect", str(file), "--accounts")
            parrot.answers = True
            until("the subscription", lambda: b"connected" in (tmp_path / "log").read_bytes())
            fleet = Fleet(broker.port, user=("centre", hush.word("mqtt.password")))
            fleet.publish(*reading("a", 1, 1_795_428_000_000))
            fleet.wait()
            aside = tmp_path / "data/poison.jsonl"
            until("what is set aside", aside.exists)
            assert aside.stat().st_mode & 0o777 == 0o600
            fleet.close()
            for path in ("", "metrics", "healthz"):
                shown[path or "page"] = fetch(f"http://127.0.0.1:{port}/{path}").decode()
            shown["processes"] = processes(process.pid)
            shown["aside"] = aside.read_text()
        finally:
            process.kill()
            process.wait(10)
        shown["log"] = (tmp_path / "log").read_text()
        for where in ("accounts", "aside", "log"):
            assert "you said" in shown[where], where
        assert {where: found for where, text in shown.items() if (found := hush.shown_in(text))} == {}


def _there(port: int) -> bool:
    with suppress(OSError):
        return bool(fetch(f"http://127.0.0.1:{port}/"))
    return False


def test_every_secret_that_a_station_can_have_was_there() -> None:
    """One that is new in config_*.py has to be put into a scene above."""
    assert SEEN - {"key"} == station_fields()
    assert len(station_fields()) >= 10


@pytest.mark.parametrize(
    ("text", "secrets", "shown"),
    [
        ("no word", ["word"], "no …"),
        ("a%20b%2Fc and a+b%2Fc", ["a b/c"], "… and …"),
        ('{"x": "a\\"b"}', ['a"b'], '{"x": "…"}'),
        ("Basic dTp3b3Jk!", ["word", basic("u", "word")], "Basic …!"),
        ("longword word", ["word", "longword"], "… …"),
        ("what was cut off: longw", ["longword"], "what was cut off: …"),
        ("lon", ["longword"], "lon"),
        ("ab", ["ab", "", None], "ab"),
    ],
)
def test_untold(text: str, secrets: list[str | None], shown: str) -> None:
    assert untold(text, *secrets) == shown


def test_what_may_be_secret_in_an_address() -> None:
    address = "https://host/bot123456:abc/send?key=k%2Fy&to=&text="
    assert parts_of(address) == ["bot123456:abc", "k/y"]


@pytest.mark.parametrize("cut", [10, 13, 16, 17])
def test_a_modem_that_falls_silent_in_its_echo_of_the_pin(cut: int) -> None:
    class Silent:
        port = "/dev/modem"

        async def send(self, data: bytes, *, keep: bool) -> None:
            self.said = data

        async def receive_frame(self, framer: object, within_s: float) -> bytes:
            raise GarbledAnswer("no whole answer", self.said[:cut])

    at = Dialogue(cast(Link, Silent()), lambda reference: None)
    pin = at.hidden = str(70_931_846)
    with pytest.raises(NoAnswer, match="no end of the line") as e:
        asyncio.run(at.command(f'AT+CPIN="{pin}"'))
    shown = "".join(traceback.format_exception(e.value))
    assert "7093" not in shown
    assert "AT+CPIN=" in str(e.value)


def test_a_command_for_the_modems_power_gets_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUUABA_PIN", "hush")
    asyncio.run(power_switch(["/bin/sh", "-c", f"env > {tmp_path}/said"])())
    said = (tmp_path / "said").read_text()
    assert "PATH=" in said
    assert "hush" not in said
