"""`suuaba doctor` against real faults: each is told by name, with what helps, and nothing else is accused."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from alerts.provider import Balance
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PtyPort
from drivers.link import Line
from gateway import config, doctor, doctor_database, doctor_network, doctor_sms
from gateway.doctor_finding import Finding, in_thread, worst
from gateway.doctor_journal import Evidence
from gateway.doctor_ports import Port, journaled, judge, look
from gateway.model import Stamp
from tests.services import InfluxDB, Mosquitto, Subscriber, free_port, running, until
from tests.site import site

HEAD = """
[station]
id = "{id}"
data = "{data}"
"""
TRUST = '[clock]\nsource = "trust"\n'
DUST = """
[[sensor]]
id = "dust1"
port = "{port}"
model = "plantower"
every = "1 s"
"""


def station(
    folder: Path, text: str = "", *, port: str = "/dev/serial/by-path/nothing", clock: str = ""
) -> Path:
    """A station.toml with one sensor on that port, and what else the text says."""
    file = folder / "station.toml"
    head = HEAD.format(id="doc-1", data=folder / "data") + (clock or TRUST)
    file.write_text(head + DUST.format(port=port) + text, encoding="utf-8")
    return file


def examine(file: Path) -> list[Finding]:
    return asyncio.run(doctor.examine(config.load(file, lenient=True)))


def about(findings: Sequence[Finding], check: str, thing: str | None = None) -> list[Finding]:
    return [f for f in findings if f.check == check and thing in (None, f.about)]


def one(findings: Sequence[Finding], check: str, thing: str | None = None) -> Finding:
    [found] = about(findings, check, thing)
    return found


def command(*arguments: str | Path, before: Sequence[str] = (), within_s: float = 90) -> Any:
    line = [*before, sys.executable, "-m", "gateway.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=within_s, check=False)


def report(*arguments: str | Path, before: Sequence[str] = ()) -> tuple[int, list[Finding]]:
    """`suuaba doctor --json` as a process: exit code and findings."""
    done = command("doctor", *arguments, "--json", before=before)
    assert "Traceback" not in done.stderr, done.stderr
    said = json.loads(done.stdout)
    return done.returncode, [Finding(**finding) for finding in said["findings"]]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter; pytest's own they cannot."""
    folder = Path(tempfile.mkdtemp(prefix="suuaba-doctor-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


# ── the whole ───────────────────────────────────────────────────────────────────────────────────


def test_a_station_that_is_well(tmp_path: Path, own_mosquitto: Mosquitto, own_influxdb: InfluxDB) -> None:
    """Before its first start, while it runs, and after: nothing is accused, and nothing disturbed."""
    own_influxdb.post("CREATE DATABASE suuaba")
    with site(tmp_path, own_mosquitto, own_influxdb) as place:
        toml = place.file.read_text(encoding="utf-8").split("[web]")[0]
        place.file.write_text(toml, encoding="utf-8")
        code, findings = report(place.file)
        assert [f for f in findings if f.level != "ok"] == []
        assert code == 0
        assert one(findings, "sensor", "ph1").what.startswith("answers: ph ")
        assert one(findings, "modem", "signal").what == "good (-77 dBm)"
        assert one(findings, "broker", "test message").what == "published and got back"
        assert one(findings, "database", "test point").what == "written and read back"
        [point] = own_influxdb.rows("SELECT * FROM station GROUP BY sensor", "suuaba")
        assert (point["sensor"], point["station"]) == ("doctor", "kanysh-kyia-1")

        subscriber = Subscriber(own_mosquitto.port, "suuaba/#")
        place.start()
        subscriber.wait("readings", lambda got: sum("/reading/" in g.topic for g in got) > 8)
        code, findings = report(place.file)
        seqs = subscriber.seqs()
        assert [f for f in findings if f.level != "ok"] == []
        assert code == 0
        assert one(findings, "service").what.startswith("runs (process ")
        assert one(findings, "sensor", "ph1").what.startswith("the service reads it, last ")
        subscriber.wait("readings go on", lambda got: len(subscriber.seqs()) > len(seqs) + 4)
        assert not [g for g in subscriber.got if g.topic.endswith("/status") and b"offline" in g.payload]
        place.stop()
        subscriber.close()
        code, findings = report(place.file)
        assert code == 1
        assert [f.check for f in findings if f.level != "ok"] == ["service"]
        assert "the tail have right checksums" in one(findings, "journal", "").what
        records, _ = place.journal()
        assert [r.seq for r in records] == list(range(1, len(records) + 1))


def test_as_a_person_reads_it(tmp_path: Path) -> None:
    done = command("doctor", station(tmp_path))
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("failure  port dust1: "))
    assert lines[at + 1].strip().startswith("→ plug it in")
    assert lines[-1].startswith("1 failures, ")


def test_mistakes_in_the_file_are_findings(tmp_path: Path) -> None:
    file = station(tmp_path, '[mqtt]\nurl = "mqtt://localhost"\nusernam = "x"\n')
    _, findings = report(file)
    line = about(findings, "configuration")[0]
    assert line.level == "failure"
    assert "mqtt.usernam" in line.what
    file.write_text("[station\n")
    code, findings = report(file)
    assert code == 2
    assert one(findings, "configuration").level == "failure"
    assert command("doctor", tmp_path / "nowhere.toml").returncode == 2


def test_a_check_that_hangs_or_breaks_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def breaks() -> list[Finding]:
        raise KeyError("x")

    async def good() -> list[Finding]:
        return [Finding("good", "", "ok", "well")]

    runs = {"slow one": hangs, "broken one": breaks, "good": good}
    monkeypatch.setattr(doctor, "checks", lambda *_: runs)
    monkeypatch.setattr(doctor, "ALL_WITHIN_S", 0.5)
    slow, broken, well = examine(station(tmp_path))
    assert (slow.check, slow.about, slow.what) == ("slow", "one", "the check did not end in time")
    assert broken.what == "the check itself broke: KeyError: 'x'"
    assert well.level == "ok"
    assert worst([slow, well]) == "failure"


def test_what_hangs_in_a_thread_holds_up_nothing() -> None:
    async def scenario() -> None:
        import threading

        with pytest.raises(TimeoutError):
            await in_thread(lambda: threading.Event().wait(60), 0.05)
        with pytest.raises(OSError, match="gone"):
            await in_thread(lambda: (_ for _ in ()).throw(OSError("gone")), 5)
        assert await in_thread(lambda: 7, 5) == 7

    asyncio.run(scenario())


def test_when_everything_hangs_it_ends_all_the_same(
    tmp_path: Path, own_mosquitto: Mosquitto, own_influxdb: InfluxDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker and a database that take connections and say nothing, and a port at which nobody speaks."""
    for module, name in ((doctor_network, "ANSWER_S"), (doctor_database, "REQUEST_S")):
        monkeypatch.setattr(module, name, 2.0)
    ours, theirs = os.openpty()
    text = f'[mqtt]\nurl = "{own_mosquitto.url}"\n[influxdb]\nversion = 1\ndatabase = "x"\n'
    file = station(tmp_path, f'{text}url = "{own_influxdb.url}"\n', port=os.ttyname(theirs))
    own_mosquitto.pause()
    own_influxdb.pause()
    began_s = time.monotonic()
    findings = examine(file)
    took_s = time.monotonic() - began_s
    own_mosquitto.resume()
    own_influxdb.resume()
    os.close(ours)
    os.close(theirs)
    assert "no CONNACK" in one(findings, "broker").what
    assert one(findings, "database").level == "failure"
    assert one(findings, "sensor", "dust1").level == "failure"
    assert took_s < doctor.ALL_WITHIN_S / 2


# ── ports ───────────────────────────────────────────────────────────────────────────────────────


def test_no_such_port(tmp_path: Path) -> None:
    findings = examine(station(tmp_path))
    found = one(findings, "port", "dust1")
    assert (found.level, found.what) == ("failure", "/dev/serial/by-path/nothing is not there")
    assert about(findings, "sensor") == []


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "adapter").symlink_to("/dev/ttyUSB77")
    found = one(examine(station(tmp_path, port=str(tmp_path / "adapter"))), "port", "dust1")
    assert found.what.endswith("leads nowhere: nothing is plugged in there")


def test_a_file_is_no_port(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    found = one(examine(station(tmp_path, port=str(tmp_path / "file"))), "port", "dust1")
    assert found.what.endswith("is no serial port")


def test_no_permission(open_folder: Path) -> None:
    """As a user who is in no group; where the tests run as one, their own port without rights."""
    ours, theirs = os.openpty()
    try:
        port = os.ttyname(theirs)
        is_root = os.geteuid() == 0
        os.chmod(port, 0o600 if is_root else 0)
        before = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if is_root else []
        file = station(open_folder, port=port)
        code, findings = report(file, before=before)
    finally:
        os.close(ours)
        os.close(theirs)
    assert code == 2
    found = one(findings, "port", "dust1")
    assert found.level == "failure"
    assert "this user may not use it (group " in found.what
    user = pwd.getpwuid(65534 if is_root else os.geteuid()).pw_name
    assert found.remedy.startswith("sudo usermod -aG ")
    assert f" {user}, then log in again" in found.remedy


def test_a_port_that_another_program_holds(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    port = os.ttyname(theirs)
    hold = f"import os; os.open({port!r}, os.O_RDWR | os.O_NOCTTY); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=True
    ) as other:
        assert other.stdout is not None
        other.stdout.read(1)
        found = one(examine(station(tmp_path, port=port)), "port", "dust1")
        other.kill()
    os.close(ours)
    os.close(theirs)
    assert found.level == "failure"
    assert "is held by python" in found.what
    assert f"(process {other.pid})" in found.what


@pytest.mark.parametrize(
    ("port", "service", "levels", "words"),
    [
        (Port("/dev/serial/by-id/x", True), None, ["ok"], "there and free"),
        (Port("/dev/ttyUSB0", True, better="/dev/by/p"), None, ["ok", "warning"], 'write port = "/dev/by/p"'),
        (Port("/dev/ttyACM1", True), None, ["ok", "warning"], "by-path or by-id"),
        (Port("/dev/ttyAMA0", True), None, ["ok"], "there and free"),
        (Port("/dev/x", True, holders=((7, "ModemManager"),)), None, ["failure"], "--now ModemManager"),
        (Port("/dev/x", True, holders=((7, "suuaba"),)), 7, ["ok"], "the service has it"),
        (Port("/dev/x", True, holders=((7, "suuaba"), (8, "cat"))), 7, ["failure"], "by cat (process 8)"),
        (Port("/dev/x", True, allowed=False, group="dialout"), None, ["failure"], "usermod -aG dialout"),
        (Port("/dev/x", True, allowed=False, group="dialout"), 7, ["warning"], "the service may have it"),
        (Port("/dev/x", False, others=("/dev/by/y",)), None, ["failure"], "there are: /dev/by/y"),
    ],
)  # fmt: skip
def test_what_a_look_at_a_port_means(port: Port, service: int | None, levels: list[str], words: str) -> None:
    found = judge(port, "river", service)
    assert [f.level for f in found] == levels
    assert any(words in f"{f.what} {f.remedy}" for f in found)


def test_the_better_name_of_a_port(tmp_path: Path) -> None:
    """udev's links, in a folder like /dev."""
    (tmp_path / "serial" / "by-path").mkdir(parents=True)
    (tmp_path / "ttyUSB0").touch()
    link = tmp_path / "serial" / "by-path" / "pci-0000:00-usb-0:1.3:1.0-port0"
    link.symlink_to("../../ttyUSB0")
    assert look(str(tmp_path / "ttyUSB0"), tmp_path).better == str(link)
    assert look(str(tmp_path / "ttyUSB9"), tmp_path).others == (str(link),)


@pytest.mark.parametrize(
    ("age_s", "state", "state_age_s", "level", "words"),
    [
        (5, "", 0, "ok", "the service reads it, last 5 s ago"),
        (29, "", 0, "ok", "last 29 s ago"),
        (31, "", 0, "failure", "last reading 31 s ago"),
        (None, "", 0, "failure", "there is no reading of it"),
        (5, "dead", 60, "ok", "last 5 s ago"),  # it has come back since
        (60, "dead", 50, "failure", "the service says dead: no answer"),
        (5, "crosstalk", 3, "failure", "the service says crosstalk"),
        (5, "alive", 3, "ok", "last 5 s ago"),
    ],
)
def test_an_instrument_by_what_was_journaled(
    tmp_path: Path, age_s: float | None, state: str, state_age_s: float, level: str, words: str
) -> None:
    [sensor] = config.load(station(tmp_path), lenient=True).sensors
    now = Stamp(1_795_428_000_000, "boot1", 10_000_000, True)

    def ago(seconds: float) -> Stamp:
        return Stamp(now.utc_ms - round(seconds * 1000), "boot1", now.mono_ms - round(seconds * 1000), True)

    evidence = Evidence(now=now)
    if age_s is not None:
        evidence.last_at["dust1"] = ago(age_s)
    if state:
        evidence.states["dust1"] = {"state": state, "why": "no answer", "at": ago(state_age_s)}
    found = journaled(sensor, evidence)
    assert found.level == level
    assert words in found.what


def test_a_dead_probe_is_told_from_its_neighbour(tmp_path: Path) -> None:
    with site(tmp_path, None, None, faults="dead:ph1@0+600") as place:
        findings = examine(place.file)
        ill = one(findings, "sensor", "ph1")
        assert (ill.level, ill.what.partition(":")[0]) == ("failure", "NoAnswer")
        assert "A and B" in ill.remedy
        assert one(findings, "sensor", "turb1").what.startswith("answers: ")
        place.start()
        until("the service finds out", lambda: b"ph1: dead" in place.log.read_bytes())
        findings = asyncio.run(_until_ill(place.file))
        place.stop()
    ill = one(findings, "sensor", "ph1")
    assert ill.level == "failure"
    assert "the service says dead: " in ill.what
    assert one(findings, "sensor", "turb1").level == "ok"


async def _until_ill(file: Path) -> list[Finding]:
    """The event is committed within a second."""
    wanted = config.load(file, lenient=True)
    async with asyncio.timeout(20):
        while True:
            findings = await doctor.examine(wanted)
            if "dead" in one(findings, "sensor", "ph1").what:
                return findings


def test_a_serial_server_that_is_off(tmp_path: Path) -> None:
    found = about(examine(station(tmp_path, port=f"tcp://127.0.0.1:{free_port()}")), "port", "dust1")
    assert found[-1].level == "failure"
    assert "cannot connect" in found[-1].what


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
        assert found.remedy == "correct [influxdb] username and password"
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
    assert "bucket and org" in found.remedy

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


# ── modem and contacts ──────────────────────────────────────────────────────────────────────────


def modem(folder: Path, emulated: ModemEmulator, more: str = "", *, clock: str = "") -> list[Finding]:
    async def scenario() -> list[Finding]:
        port = PtyPort([emulated], link_path=folder / "modem", line=Line(115200))
        await port.start()
        try:
            file = station(folder, f'[sms]\nmodem = "{folder}/modem"\n{more}', clock=clock)
            return await doctor.examine(config.load(file, lenient=True))
        finally:
            await port.stop()

    return about(asyncio.run(scenario()), "modem")


def test_a_modem_without_sim(tmp_path: Path) -> None:
    emulated = ModemEmulator()
    emulated.sim = False
    [found] = modem(tmp_path, emulated)
    assert (found.about, found.level, found.what) == ("SIM", "failure", "no SIM")
    assert found.remedy.startswith("Put a SIM in the modem")
    assert emulated.resets == 0


def test_a_modem_without_network(tmp_path: Path) -> None:
    emulated = ModemEmulator()
    emulated.registered = False
    found = modem(tmp_path, emulated)
    assert one(found, "modem", "network").level == "failure"
    assert one(found, "modem", "network").what == "searching"
    assert one(found, "modem", "signal").level == "warning"
    assert one(found, "modem", "SIM").level == "ok"


def test_a_wrong_pin_is_tried_once_whoever_tries_it(tmp_path: Path) -> None:
    emulated = ModemEmulator()
    emulated.pin = "1234"
    (tmp_path / "sim.pin").write_text("4321")
    (tmp_path / "sim.pin").chmod(0o600)
    pin = 'pin = { file = "sim.pin" }\n'
    for _ in range(3):
        [found] = modem(tmp_path, emulated, pin)
        assert (found.about, found.what) == ("SIM", "the PIN is wrong")
    assert emulated.tries_left == 2
    [found] = modem(tmp_path, emulated)
    assert found.what == "the SIM wants its PIN"
    emulated.tries_left = 3
    (tmp_path / "sim.pin").write_text("1234")
    assert worst(modem(tmp_path, emulated, pin)) == "ok"


def test_a_modem_that_is_deaf_is_not_restarted(tmp_path: Path) -> None:
    emulated = ModemEmulator()
    emulated.deaf_until = "reset"
    [found] = modem(tmp_path, emulated)
    assert found.level == "failure"
    assert "does not answer" in found.what
    assert emulated.resets == 0
    assert "AT+CFUN=1,1" not in emulated.commands


@pytest.mark.parametrize(
    ("signal", "level", "words"),
    [
        (31, "ok", "very good"),
        (18, "ok", "good"),
        (10, "ok", "fair"),
        (5, "warning", "weak"),
        (1, "warning", "very weak"),
    ],
)
def test_the_signal_in_words(tmp_path: Path, signal: int, level: str, words: str) -> None:
    emulated = ModemEmulator()
    emulated.signal = signal
    emulated.capacity = {"SM": 5, "ME": 5}
    found = one(modem(tmp_path, emulated), "modem", "signal")
    assert (found.level, found.what) == (level, f"{words} ({2 * signal - 113} dBm)")


@pytest.mark.parametrize(
    ("amount", "level"), [(0.0, "failure"), (-3.0, "failure"), (12.5, "warning"), (900.0, "ok"), (None, "ok")]
)
def test_the_providers_balance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amount: float | None, level: str
) -> None:
    """Asked by the provider's own file, which tests/test_provider.py holds against real answers."""

    class Account:
        async def balance(self) -> Balance | None:
            return None if amount is None else Balance(amount, "KGS")

    monkeypatch.setattr(doctor_sms, "provider_of", lambda *_: Account())
    (tmp_path / "sms.url").write_text("https://sms.example/send?to={to}&text={text}")
    (tmp_path / "sms.url").chmod(0o600)
    findings = examine(station(tmp_path, '[sms]\nprovider = { file = "sms.url" }\n'))
    found = one(findings, "provider", "balance")
    assert found.level == level
    assert amount is None or found.what == f"{amount:g} KGS"


SMS = '[sms]\nmodem = "/dev/serial/by-id/none"\n'
RULE = '[[rule]]\nid = "dusty"\nsensor = "dust1"\nquantity = "pm2_5"\nunit = "ug/m3"\nabove = 150\n'
CRITICAL, HIGH = RULE + 'priority = "critical"\n', RULE + 'priority = "high"\n'
WITH_A = 'send = [["a"]]\n'
A = '[[contact]]\nid = "a"\nphone = "{}"\n'
B = '[[contact]]\nid = "b"\nphone = "{}"\n'
N = "+996555000123"


@pytest.mark.parametrize(
    ("text", "level", "words"),
    [
        (A.format(N) + 'language = "ky"\n', "ok", "+996555000123, told in ky"),
        (A.format("+99655500012"), "failure", "Kyrgyz numbers have 9"),
        (A.format("+996555000000"), "failure", "looks like an example"),
        (A.format(N) + B.format(N), "warning", "told twice"),
        (CRITICAL, "failure", "is critical, and nobody is told"),
        (HIGH + WITH_A + A.format(N), "warning", "no critical alarm reaches anybody"),
        (CRITICAL + WITH_A + A.format(N), "ok", "told in en"),
    ],
)
def test_contacts(tmp_path: Path, text: str, level: str, words: str) -> None:
    from gateway.doctor_sms import check_contacts

    found = check_contacts(config.load(station(tmp_path, SMS + text), lenient=True))
    assert worst(found) == level
    assert any(words in f.what for f in found)
