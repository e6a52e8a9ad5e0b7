"""`suuaba doctor` about the broker and the database: what they refuse is told, with what helps."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.doctor_finding import Finding, worst
from tests.doctors import about, examine, station
from tests.services import InfluxDB, Mosquitto, free_port, running, until

# ── broker ──────────────────────────────────────────────────────────────────────────────────────


def broker(folder: Path, server: Mosquitto, more: str = "", *, url: str = "") -> list[Finding]:
    secrets = folder / "secrets"
    secrets.mkdir(exist_ok=True)
    (secrets / "mqtt.password").write_text("right")
    (secrets / "mqtt.password").chmod(0o600)
    text = f'[mqtt]\nurl = "{url or server.url}"\n{more}'
    return about(examine(station(folder, text)), "broker")


WHO = 'username = "kyia"\npassword = { file = "mqtt.password" }\n'


def test_the_broker_refuses_the_password(tmp_path: Path) -> None:
    with running(Mosquitto(tmp_path / "m", users={"kyia": "other"})) as server:
        [found] = broker(tmp_path, server, WHO)
        assert (found.about, found.level) == ("login", "failure")
        assert "the broker refuses user 'kyia'" in found.what
        [found] = broker(tmp_path, server)
        assert "a client without user name" in found.what
        assert found.remedy == "write [mqtt] username and password"
        server.set_users({"kyia": "right"})
        server.reread()
        assert worst(broker(tmp_path, server, WHO)) == "ok"


@pytest.mark.parametrize(
    ("acl", "level", "words"),
    [
        (
            "user kyia\ntopic write suuaba/1/doc-1/reading/#\n",
            "failure",
            "does not take our message: Not authorized",
        ),
        ("user kyia\ntopic write suuaba/1/doc-1/#\n", "ok", "may not read it back"),
        ("user kyia\ntopic readwrite suuaba/1/doc-1/#\n", "ok", "published and got back"),
    ],
)
def test_the_brokers_access_list(tmp_path: Path, acl: str, level: str, words: str) -> None:
    with running(Mosquitto(tmp_path / "m", users={"kyia": "right"}, acl=acl)) as server:
        login, message = broker(tmp_path, server, WHO)
    assert login.level == "ok"
    assert message.level == level
    assert words in message.what


def test_the_brokers_certificate(tmp_path: Path) -> None:
    with running(Mosquitto(tmp_path / "m", tls=True)) as server:
        trusted = f'ca = "{server.ca}"\n'
        found = broker(tmp_path, server, trusted)
        assert [f.about for f in found] == ["certificate", "login", "test message"]
        assert (found[0].level, worst(found[1:])) == ("warning", "ok")  # the tests' own lasts two days
        assert "expires in 2 days" in found[0].what
        [found] = [*broker(tmp_path, server)]
        assert found.what == "the certificate's issuer is not known here"
        assert "ca = " in found.remedy
        [found] = [*broker(tmp_path, server, trusted, url=f"mqtts://127.0.0.2:{server.port}")]
        assert "nothing listens there" in found.what  # it listens at 127.0.0.1 only
        server.kill()
        expired(server.folder)
        server.start()
        [found] = [*broker(tmp_path, server, trusted)]
        assert (found.level, found.what) == ("failure", "the certificate has expired")
        other_name(server.folder)
        server.kill()
        server.start()
        [found] = [*broker(tmp_path, server, trusted)]
        assert found.what == "the certificate is not localhost's"


def expired(folder: Path) -> None:
    """A server certificate that was valid until this moment."""
    sign(folder, "-days", "0")


def other_name(folder: Path) -> None:
    (folder / "names").write_text("subjectAltName=DNS:broker.example\n")
    sign(folder, "-days", "2")


def sign(folder: Path, *days: str) -> None:
    by = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    line = ["openssl", "x509", "-req", "-in", "server.csr", *by, *days, "-out", "server.crt"]
    subprocess.run(line, check=True, cwd=folder, capture_output=True)


def test_a_broker_that_is_not_there_and_a_name_that_is_none(tmp_path: Path) -> None:
    port = free_port()
    [found] = about(examine(station(tmp_path, f'[mqtt]\nurl = "mqtt://localhost:{port}"\n')), "broker")
    assert found.what == f"localhost:{port}: refuses the connection: nothing listens there"
    [found] = about(examine(station(tmp_path, '[mqtt]\nurl = "mqtt://broker.invalid"\n')), "broker")
    assert (found.about, found.level) == ("name", "failure")
    assert "broker.invalid" in found.what


# ── database ────────────────────────────────────────────────────────────────────────────────────


def database(folder: Path, url: str, more: str = "", *, version: int = 1) -> list[Finding]:
    for name, word in (("influxdb.password", "right"), ("influxdb.token", "token")):
        (folder / name).write_text(word)
        (folder / name).chmod(0o600)
    where = {1: 'database = "doc"', 2: 'org = "o"\nbucket = "doc"\ntoken = { file = "influxdb.token" }'}
    text = f'[influxdb]\nurl = "{url}"\nversion = {version}\n{where[version]}\n{more}'
    return about(examine(station(folder, text)), "database")


def test_the_database_is_down_or_another(tmp_path: Path, influxdb: InfluxDB) -> None:
    [found] = database(tmp_path, f"http://127.0.0.1:{free_port()}")
    assert "nothing listens there" in found.what
    [found] = database(tmp_path, influxdb.url)
    assert found.level == "failure"
    assert "there is no such database" in found.what
    assert 'CREATE DATABASE "doc"' in found.remedy
    influxdb.post("CREATE DATABASE doc")
    assert [f.what for f in database(tmp_path, influxdb.url)][1:] == ["written and read back"]
    influxdb.post("DROP DATABASE doc")


def test_the_database_refuses_the_password(tmp_path: Path) -> None:
    who = 'username = "kyia"\npassword = { file = "influxdb.password" }\n'
    with running(InfluxDB(tmp_path / "i", admin=("root", "secret"))) as server:
        server.post("CREATE DATABASE doc")
        server.post("CREATE USER kyia WITH PASSWORD 'other'")
        [found] = database(tmp_path, server.url, who)
        assert (found.about, found.level) == ("login", "failure")
        assert found.remedy == "correct [influxdb] username, password"
        server.post("SET PASSWORD FOR kyia = 'right'")
        [found] = database(tmp_path, server.url, who)
        assert "lets us in, but not write" in found.what
        server.post("GRANT WRITE ON doc TO kyia")
        login, point = database(tmp_path, server.url, who)
        assert (login.level, point.level) == ("ok", "ok")
        assert "which a station need not" in point.what
        server.post("GRANT ALL ON doc TO kyia")
        assert database(tmp_path, server.url, who)[1].what == "written and read back"


def test_version_2(tmp_path: Path, victoria: Any) -> None:
    """VictoriaMetrics takes points as InfluxDB 2 does; it answers no InfluxQL, which is said."""
    login, point = database(tmp_path, victoria.url, version=2)
    assert (login.level, point.level) == ("ok", "warning")
    assert "InfluxQL does not find it" in point.what
    match = '{__name__="station_test",station="doc-1"}'
    series = until("the point shows", lambda: victoria.export(match))[0]
    assert series["metric"]["sensor"] == "doctor"


def test_version_2_by_script(tmp_path: Path, web: Any) -> None:
    """What no server here answers: a wrong token, a wrong bucket, and a point that is read back."""
    from tests.services import Reply

    def answers(status: int, message: str) -> Any:
        return lambda asked: (
            Reply(204)
            if " /ping" in asked.line
            else Reply(status, json.dumps({"code": "x", "message": message}))
        )

    web.otherwise = answers(401, "unauthorized access")
    [found] = database(tmp_path, web.url, version=2)
    assert (found.about, found.remedy) == ("login", "correct [influxdb] token")
    web.otherwise = answers(404, 'bucket "doc" not found')
    [found] = database(tmp_path, web.url, version=2)
    assert "bucket, org" in found.remedy

    seen: list[int] = []

    def echoes(asked: Any) -> Reply:
        if "/api/v2/write" in asked.line:
            import gzip

            seen.append(int(gzip.decompress(asked.body).split(b"test=")[1].split(b"i")[0]))
        if "/query" in asked.line:
            assert asked.headers["authorization"] == "Token token"
            rows = {"results": [{"series": [{"values": [[1, seen[-1] + wrong]]}]}]}
            return Reply(200, json.dumps(rows))
        return Reply(204)

    web.otherwise = echoes
    wrong = 0
    assert database(tmp_path, web.url, version=2)[1].what == "written and read back"
    wrong = 1
    assert database(tmp_path, web.url, version=2)[1].level == "warning"
