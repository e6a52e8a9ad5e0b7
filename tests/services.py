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
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.scripted_web import Asked as Asked
from tests.scripted_web import Reply as Reply
from tests.scripted_web import ScriptedWeb as ScriptedWeb
from tests.subscriber import Got as Got
from tests.subscriber import Subscriber as Subscriber

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


@contextlib.contextmanager
def running(server: Server) -> Iterator[Any]:
    """Start the server, and end it whatever happens."""
    try:
        server.start()
        yield server
    finally:
        server.kill()
