"""Real servers for the tests, and one scriptable web server for the answers that real ones rarely give.

Mosquitto, InfluxDB 1.6.7 and VictoriaMetrics come from Debian (`make test` installs them); a missing one is a
failure, never a skip. Each is started on free ports of 127.0.0.1 with its data under a folder of the test's,
is polled until it answers, can be killed and started again on the same port with the same data, and is ended
by its process id.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

READY_WITHIN_S = 30.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(what: str, condition: Callable[[], Any], within_s: float = READY_WITHIN_S) -> Any:
    """Ask until the condition gives something true, and give that; fail after the deadline."""
    deadline_s = time.monotonic() + within_s
    while not (got := condition()):
        assert time.monotonic() < deadline_s, f"{what}: not within {within_s:g} s"
        time.sleep(0.02)
    return got


def fetch(url: str, body: bytes | None = None) -> bytes:
    """GET, or POST a body. Raises OSError when there is no answer, or one that is not good."""
    with urllib.request.urlopen(url, body, timeout=20) as answer:  # noqa: S310  a server of our own
        return bytes(answer.read())


class Server:
    """A server program: `start` blocks until it answers; `kill` is kill -9; `stop` lets it end by itself."""

    program = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, program: str) -> list[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def start(self) -> None:
        path = shutil.which(self.program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        assert path, f"{self.program} is not installed, and the tests need it: run make setup"
        log = self.folder / "log"
        with log.open("ab") as out:
            nothing = subprocess.DEVNULL
            self._process = subprocess.Popen(self.command(path), stdin=nothing, stdout=out, stderr=out)

        def answers() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError(f"{self.program} ended: {log.read_text(errors='replace')[-2000:]}")
            return self.ready()

        until(self.program, answers)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Let it hang: connections stay, nothing is answered. `resume` ends that."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(number)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None


# ── Mosquitto ───────────────────────────────────────────────────────────────────────────────────────


class Mosquitto(Server):
    """A broker. `users` name → password; empty: anonymous. `acl` is an ACL file's text. With `tls`, a CA lies
    in `ca`.
    """

    program = "mosquitto"

    def __init__(
        self,
        folder: Path,
        *,
        users: dict[str, str] | None = None,
        acl: str = "",
        tls: bool = False,
        settings: str = "",
    ) -> None:
        super().__init__(folder)
        self.tls = tls
        self.ca = self.folder / "ca.crt"
        self._acl = acl
        self._settings = settings
        if tls:
            make_certificates(self.folder)
        self.set_users(users or {})

    @property
    def url(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://localhost:{self.port}"

    def set_users(self, users: dict[str, str]) -> None:
        """Who may come in; counts from the next start, or from `reread`."""
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence false",
            "max_queued_messages 100000",
            self._settings,
        ]
        if self.tls:
            lines += [f"certfile {self.folder}/server.crt", f"keyfile {self.folder}/server.key"]
        passwords = self.folder / "passwords"
        passwords.write_text("".join(f"{name}:{word}\n" for name, word in users.items()))
        passwords.chmod(0o600)
        if users:
            subprocess.run(["mosquitto_passwd", "-U", passwords], check=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        else:
            lines += ["allow_anonymous true"]
        if self._acl:
            (self.folder / "acl").write_text(self._acl)
            lines += [f"acl_file {self.folder}/acl"]
        if os.geteuid() == 0:
            lines += ["user root"]  # else it becomes a user who may not read this folder
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def set_acl(self, acl: str) -> None:
        """Other rights, from now on: Mosquitto rereads them on SIGHUP."""
        (self.folder / "acl").write_text(acl)
        self.reread()

    def reread(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def command(self, program: str) -> list[str]:
        return [program, "-c", str(self.folder / "mosquitto.conf")]


class Amqtt(Server):
    """amqtt, the broker that the demo embeds, in a process of its own. MQTT 3.1.1 only; nothing persists."""

    program = str(Path(sys.executable).with_name("amqtt"))

    @property
    def url(self) -> str:
        return f"mqtt://localhost:{self.port}"

    def command(self, program: str) -> list[str]:
        settings = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
        (self.folder / "amqtt.yaml").write_text(json.dumps(settings))  # JSON is YAML
        return [program, "-c", str(self.folder / "amqtt.yaml")]


def make_certificates(folder: Path) -> None:
    """An authority of our own (ca.crt) and a server certificate for localhost, by openssl."""

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], check=True, cwd=folder, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority = ("-subj", "/CN=test authority", "-addext", "keyUsage=critical,keyCertSign")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", *authority)
    openssl("req", *new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    by = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", *by, "-days", "2", "-out", "server.crt")


@dataclass
class Got:
    """A message as a subscriber received it."""

    topic: str
    payload: bytes
    retained: bool

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Subscriber:
    """A second, real client (paho, in its own thread) that keeps what arrives. Comes back by itself after an
    outage.
    """

    def __init__(
        self,
        port: int,
        topic: str = "#",
        *,
        username: str | None = None,
        password: str | None = None,
        ca: Path | None = None,
        qos: int = 1,
    ) -> None:
        self.got: list[Got] = []
        self._topic = topic
        self._subscribed = threading.Event()
        self._changed = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self._client.reconnect_delay_set(0.05, 0.2)
        if username:
            self._client.username_pw_set(username, password)
        if ca:
            self._client.tls_set(str(ca))
        self._client.on_connect = lambda client, *_: client.subscribe(self._topic, qos)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("localhost", port)
        self._client.loop_start()
        assert self._subscribed.wait(READY_WITHIN_S)

    def wait(self, what: str, condition: Callable[[list[Got]], Any], within_s: float = READY_WITHIN_S) -> Any:
        """Block until the condition on everything received so far gives something true, and give that."""
        with self._changed:
            deadline_s = time.monotonic() + within_s
            while not (found := condition(self.got)):
                left_s = deadline_s - time.monotonic()
                last = [(g.topic, g.payload[:80]) for g in self.got[-5:]]
                assert left_s > 0, f"{what}: not within {within_s:g} s; got {last}"
                self._changed.wait(left_s)
            return found

    def seqs(self, kind: str = "reading") -> list[int]:
        return [g.json["seq"] for g in list(self.got) if g.topic.split("/")[3] == kind]

    def again(self) -> None:
        """Wait until subscribed anew: after the broker was away."""
        assert self._subscribed.wait(READY_WITHIN_S)

    def expect_outage(self) -> None:
        self._subscribed.clear()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.got.append(Got(message.topic, message.payload, message.retain))
            self._changed.notify_all()


# ── databases ───────────────────────────────────────────────────────────────────────────────────────


class WebServer(Server):
    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, **fields: str) -> Any:
        """GET and decode JSON."""
        query = urllib.parse.urlencode(fields)
        return json.loads(fetch(f"{self.url}{path}?{query}"))


class InfluxDB(WebServer):
    """InfluxDB 1.6.7. With `admin` (name, password) it asks for a password, and that user is made at the
    first start.
    """

    program = "influxd"

    def __init__(self, folder: Path, *, admin: tuple[str, str] | None = None) -> None:
        super().__init__(folder)
        self.admin = admin
        self._rpc_port = free_port()
        self._begun = False

    def command(self, program: str) -> list[str]:
        auth = "true" if self.admin else "false"
        settings = f"""
reporting-enabled = false
bind-address = "127.0.0.1:{self._rpc_port}"
[meta]
  dir = "{self.folder}/meta"
[data]
  dir = "{self.folder}/data"
  wal-dir = "{self.folder}/wal"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{self.port}"
  auth-enabled = {auth}
  log-enabled = false
[logging]
  level = "warn"
"""
        (self.folder / "influxdb.conf").write_text(settings)
        return [program, "-config", str(self.folder / "influxdb.conf")]

    def ready(self) -> bool:
        with contextlib.suppress(OSError):
            fetch(f"{self.url}/ping")
            return True
        return False

    def start(self) -> None:
        super().start()
        if self.admin and not self._begun:
            name, password = self.admin
            self.post(f"CREATE USER \"{name}\" WITH PASSWORD '{password}' WITH ALL PRIVILEGES", admin=False)
        self._begun = True

    def post(self, statement: str, db: str = "", *, admin: bool = True) -> Any:
        """Run a statement; give the decoded answer. Raises AssertionError when the database says error."""
        body = urllib.parse.urlencode({"q": statement, "db": db, "epoch": "ns"}).encode()
        who = urllib.parse.urlencode({"u": self.admin[0], "p": self.admin[1]}) if self.admin and admin else ""
        said = json.loads(fetch(f"{self.url}/query?{who}", body))
        assert "error" not in said["results"][0], said
        return said

    def rows(self, query: str, db: str) -> list[dict[str, Any]]:
        """The points of a SELECT as dicts, tags included when grouped by them; time in ns."""
        found = self.post(query, db)["results"][0].get("series", [])
        return [
            {**dict(zip(series["columns"], row, strict=True)), **series.get("tags", {})}
            for series in found
            for row in series["values"]
        ]


class VictoriaMetrics(WebServer):
    """VictoriaMetrics, which speaks InfluxDB 2's write API at /api/v2/write."""

    program = "victoria-metrics"

    def command(self, program: str) -> list[str]:
        return [
            program, f"-storageDataPath={self.folder}/data", f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=100y", "-loggerLevel=ERROR",
        ]  # fmt: skip

    def ready(self) -> bool:
        with contextlib.suppress(OSError):
            fetch(f"{self.url}/health")
            return True
        return False

    def export(self, match: str) -> list[dict[str, Any]]:
        """Every series that matches, with its values and its timestamps in ms."""
        for path in ("/internal/force_flush", "/internal/resetRollupResultCache"):
            fetch(f"{self.url}{path}")
        query = urllib.parse.urlencode({"match[]": match})
        return [json.loads(line) for line in fetch(f"{self.url}/api/v1/export?{query}").splitlines()]


# ── a scriptable web server ─────────────────────────────────────────────────────────────────────────


@dataclass
class Reply:
    """What the scripted server answers. `cut` closes in mid-answer; `hang_s` says nothing for so long, then
    closes.
    """

    status: int = 204
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hang_s: float = 0.0


@dataclass
class Asked:
    """What the scripted server was asked."""

    line: str
    headers: dict[str, str]
    body: bytes


class ScriptedWeb:
    """Answers each request by the next reply of `script`, then by `otherwise`, which may be a function of
    what was asked.
    """

    def __init__(self) -> None:
        self.script: list[Reply] = []
        self.otherwise: Reply | Callable[[Asked], Reply] = Reply()
        self.asked: list[Asked] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._ending = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._ending.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in [self._thread, *self._threads]:
            thread.join(10)

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while self._answer_one(connection, stream):
                pass
        with self._lock:
            self._connections.discard(connection)

    def _answer_one(self, connection: socket.socket, stream: Any) -> bool:
        line = stream.readline().decode("latin-1").strip()
        if not line:
            return False
        headers = {}
        while header := stream.readline().decode("latin-1").strip():
            name, _, value = header.partition(":")
            headers[name.strip().lower()] = value.strip()
        asked = Asked(line, headers, stream.read(int(headers.get("content-length", "0"))))
        with self._lock:
            self.asked.append(asked)
            reply = self.script.pop(0) if self.script else self.otherwise
        if callable(reply):
            reply = reply(asked)
        if reply.hang_s:
            self._ending.wait(reply.hang_s)
            return False
        body = reply.body.encode()
        head = f"HTTP/1.1 {reply.status} Scripted\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        if reply.status != 204:
            head += f"Content-Length: {len(body)}\r\n"
        answer = f"{head}\r\n".encode() + body
        connection.sendall(answer[: len(answer) // 2] if reply.cut else answer)
        return not reply.cut


@contextlib.contextmanager
def running(server: Server) -> Iterator[Any]:
    """Start the server, and end it whatever happens."""
    try:
        server.start()
        yield server
    finally:
        server.kill()
