"""A whole station with recognisable secrets, and everything that it shows: tests/test_no_secret_shown.py."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import tomllib
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from drivers.emulators.station import EmulatedStation
from gateway.control import ask, stream
from gateway.errors import ControlError
from tests.hush import Hush, processes, said_by, toml
from tests.pages import Client, StationWithPage
from tests.services import free_port

QUERIES = {"/api/history": "?sensor=ph1&quantity=ph&points=50", "/api/events": "?limit=500"}
POSTS: dict[str, Any] = {
    "/api/verbs/{verb}": {},
    "/api/sms/test": {"to": "+996555000001"},
    "/api/alarms/{id}/ack": {},
}
USER = "hush"


class Scene:
    """A station, the secrets in its configuration, and everything that it has shown."""

    def __init__(self, folder: Path, name: str, outside: EmulatedStation) -> None:
        self.hush = Hush(folder, name)
        self.port = free_port()
        text = outside.station_toml(
            station_id=name, data=folder / "data", listen=f"127.0.0.1:{self.port}", on_delay="0 s"
        )
        self.parts: dict[str, Any] = tomllib.loads(text)
        self.parts["rule"] = [
            {"id": "always", "sensor": "turb1", "quantity": "turbidity", "unit": "NTU", "above": -1.0,
             "priority": "critical", "send": [["duty"]]}
        ]  # fmt: skip
        self.parts["contact"][0]["pin"] = self.hush.file("contact.pin")
        self.put("web", password=...)
        self.folder, self.outside = folder, outside
        self.place: StationWithPage | None = None
        self.shown: dict[str, str] = {}
        self.environment: dict[str, str] = {}

    def put(self, section: str, **keys: Any) -> None:
        """Keys of a section; `...` stands for a secret."""
        self.parts[section] = self.parts.get(section, {}) | self._filled(section, keys)

    def sms(self, *, second: bool, provider: Any, **settings: Any) -> None:
        """[sms] with its PIN, a second modem, and a provider: its name and settings, or `...`."""
        self.put("sms", pin=..., provider=provider)
        if second:
            port = self.outside.ports["second"].path
            self.parts["sms"]["second"] = self._filled("sms.second", {"modem": port, "pin": ...})
        if settings:
            password = self.hush.file("sms.provider_settings.*")
            self.parts["sms"]["provider_settings"] = settings | {"password": password}

    def _filled(self, section: str, keys: dict[str, Any]) -> dict[str, Any]:
        return {k: self.hush.file(f"{section}.{k}") if v is ... else v for k, v in keys.items()}

    def by_environment(self) -> None:
        """Give all of the secrets by the environment, and none by a file."""
        for part in self._tables(self.parts):
            for key, given in part.items():
                if isinstance(given, dict) and set(given) == {"file"}:
                    name = given["file"].replace(".", "_").replace("*", "X").upper()
                    self.environment[name] = self.hush.word(given["file"])
                    part[key] = {"env": name}

    def _tables(self, inside: Any) -> Iterator[dict[str, Any]]:
        if isinstance(inside, dict):
            yield inside
        for one in inside.values() if isinstance(inside, dict) else inside:
            if isinstance(one, dict | list):
                yield from self._tables(one)

    @contextmanager
    def running(self) -> Iterator[StationWithPage]:
        place = self.place = StationWithPage(self.folder, self.outside, toml(self.parts), self.port)
        place.options, place.environment = ("-vv",), self.environment
        place.start()
        try:
            yield place
            place.stop()
        finally:
            if place.process is not None:
                place.process.kill()
                place.process.wait(10)

    def logged(self, *words: str) -> None:
        """Wait until the log has all of it."""
        place = self.place
        assert place is not None
        for word in words:
            place.until(lambda word=word: word in place.log.read_text(errors="replace"), 40)

    def look(self, *words: str, control: bool = True) -> None:
        """Everywhere, while it runs; `words`: verbs of the command line; `control`: ask the socket, and the
        modem.
        """
        place = self.place
        assert place is not None
        assert place.process is not None
        self.shown["processes"] = processes(place.process.pid, own=not self.environment)
        with ThreadPoolExecutor() as pool:
            said = {
                word: pool.submit(said_by, word, str(place.file), more=self.environment) for word in words
            }
            self.shown["page"] = page(place, self.hush.word("web.password"), modem=control)
            self.shown["control"] = asyncio.run(verbs(self.folder / "data")) if control else ""
            self.shown |= {word: future.result() for word, future in said.items()}

    def look_back(self) -> None:
        """At what is left when it has ended."""
        place = self.place
        assert place is not None
        pack = self.folder / "pack.zip"
        self.shown["export"] = said_by(
            "export", str(place.file), "--evidence", "--output", str(pack), more=self.environment
        )
        with zipfile.ZipFile(pack) as packed:
            self.shown["evidence"] = "".join(packed.read(n).decode("latin-1") for n in packed.namelist())
        self.shown["log"] = place.log.read_text(errors="replace")

    def judge(self, *telling: str) -> None:
        """Nothing was found, anywhere."""
        lines = [(where, line) for where, text in self.shown.items() for line in text.splitlines()]
        for where in telling:  # else there was nothing to hide
            assert "you said" in self.shown[where], where
        found = [(where, shown, line[:400]) for where, line in lines if (shown := self.hush.shown_in(line))]
        assert not found, found


def page(place: StationWithPage, password: str, *, modem: bool) -> str:
    """All that the page says, to everybody and to a technician who has signed in; `modem`: there is one."""
    technician, public = place.client(), Outside(place.port)
    said = [str(technician.post("/api/login", {"password": "wrong-" + password, "name": "A"}).body)]
    signed = technician.post("/api/login", {"password": password, "name": "A"})
    assert signed.status == 200, signed.body
    technician.cookie = signed.headers["Set-Cookie"].partition(";")[0]
    technician.csrf = signed.json["csrf"]
    described = technician.get("/api/openapi.json")
    said.append(described.body.decode())
    for path, methods in described.json["paths"].items():
        real = path.replace("{id}", "always").replace("{verb}", "status")
        if path in (
            "/api/logout",
            "/api/login",
            "/api/scan/stream",
            *([] if modem else ["/api/sms/test", "/api/stream"]),
        ):
            continue
        for client in (public, technician):
            if path == "/api/stream":
                said.append(streamed(client))
                continue
            for method in methods:
                if method == "get":
                    answer = client.get(real + QUERIES.get(path, ""))
                    assert client is public or answer.status < 500, (real, answer.body)
                elif path != "/api/scan":  # it would take the ports away
                    answer = client.post(real, POSTS.get(path, {}))
                said.append(answer.body.decode("utf-8", "replace") + str(answer.headers))
    assert "suuaba_" in "".join(said)  # /metrics was among it
    return "\n".join(said)


class Outside(Client):
    """Through a proxy on the machine, which is how the outside comes in."""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return super().ask(method, path, body, X_Forwarded_For="203.0.113.7", **headers)


def streamed(client: Client) -> str:
    """The first lines of the page's stream, up to a status."""
    connection = http.client.HTTPConnection(client.host, client.port, timeout=20)
    forwarded = {"X-Forwarded-For": "203.0.113.7"} if isinstance(client, Outside) else {}
    connection.request("GET", "/api/stream", headers={"Cookie": client.cookie, **forwarded})
    said = b""
    with contextlib.closing(connection), connection.getresponse() as answer:
        while b"event: status" not in said or said.count(b"\n") < 12:
            said += answer.readline()
    return said.decode()


async def verbs(data: Path) -> str:
    """What the control socket answers to every verb that it knows."""
    said = []
    with pytest.raises(ControlError, match="knows") as unknown:
        await ask(data, "nonsense")
    names = str(unknown.value).rpartition("it knows ")[2].split(", ")
    assert {"status", "doctor", "alarms"} <= set(names)
    for name in names:
        if name == "scan":
            continue  # it would take the ports away
        with suppress(ControlError, TimeoutError):
            async with asyncio.timeout(20):
                async for answer in stream(data, name, sensor="ph1", do="list"):
                    said.append(json.dumps(answer, ensure_ascii=False))
                    break
    assert len(said) > 2
    return "\n".join([*said, str(unknown.value)])
