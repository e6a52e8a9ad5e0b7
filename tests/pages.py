"""A real station with its page, for tests: emulated instruments, `suuaba run` as a process, and a plain
client."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drivers.emulators.station import EmulatedStation

PASSWORD = "river-and-wind-7"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Answer:
    """What came back."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """A browser without a screen: keeps its cookie and its token. Every request has a deadline."""

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        self.port, self.host = port, host
        self.cookie = self.csrf = ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            if self.cookie:
                sent.setdefault("Cookie", self.cookie)
            if method == "POST":
                sent.setdefault("Content-Type", "application/json")
                if self.csrf:
                    sent.setdefault("X-CSRF-Token", self.csrf)
            data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, sent)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.ask("POST", path, body, **headers)

    def sign_in(self, name: str = "Aibek") -> None:
        answer = self.post("/api/login", {"password": PASSWORD, "name": name})
        assert answer.status == 200, answer.body
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        self.csrf = answer.json["csrf"]


class StationWithPage:
    """The process and where its page is."""

    def __init__(self, folder: Path, outside: EmulatedStation, toml: str, port: int) -> None:
        self.folder, self.outside, self.port = folder, outside, port
        self.file = folder / "station.toml"
        self.file.write_text(toml, encoding="utf-8")
        self.log = folder / "station.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{port}"
        self.options: tuple[str, ...] = ()
        self.environment: dict[str, str] = {}
        """Beside this process's own."""

    def start(self) -> None:
        """Start it and wait until the page answers."""
        command = [sys.executable, "-m", "gateway.cli", *self.options, "run", str(self.file)]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=os.environ | self.environment
            )
        self.until(lambda: self.client().get("/healthz").status in (200, 503))

    def stop(self, *, kill: bool = False) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        code = process.wait(30)
        assert kill or code == 0, self.tail()

    def client(self) -> Client:
        return Client(self.port)

    def until(self, there: Any, within_s: float = 60.0) -> Any:
        """What `there` gives once it gives something."""
        deadline_s = time.monotonic() + within_s
        while True:
            try:
                found = there()
            except (OSError, http.client.HTTPException):
                found = None
            if found:
                return found
            assert self.process is None or self.process.poll() is None, self.tail()
            assert time.monotonic() < deadline_s, f"not within {within_s:g} s\n{self.tail()}"
            time.sleep(0.05)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


@contextmanager
def station_with_page(
    folder: Path,
    *,
    password: bool = True,
    more: str = "",
    host: str = "127.0.0.1",
    language: str = "ru",
    story: str = "rain",
) -> Iterator[StationWithPage]:
    """Ready to start; ended whatever happens."""
    folder.mkdir(parents=True, exist_ok=True)
    outside = EmulatedStation(folder / "ports", story=story)
    port = free_port()
    place: StationWithPage | None = None
    with outside.in_thread():
        toml = outside.station_toml(data=folder / "data", listen=f"{host}:{port}", language=language)
        if password:
            (folder / "secrets").mkdir(exist_ok=True)
            secret = folder / "secrets" / "web.password"
            secret.write_text(PASSWORD + "\n", encoding="utf-8")
            os.chmod(secret, 0o600)
            toml = toml.replace(
                f'listen = "{host}:{port}"',
                f'listen = "{host}:{port}"\npassword = {{ file = "web.password" }}',
            )
        try:
            place = StationWithPage(folder, outside, toml + more, port)
            yield place
        finally:
            if place is not None and place.process is not None:
                place.process.kill()
                place.process.wait(10)
