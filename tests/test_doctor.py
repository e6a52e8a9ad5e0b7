"""`suuaba doctor` against real faults: each is told by name, with what helps, and nothing else is accused."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from gateway import doctor, doctor_database, doctor_network
from gateway.doctor_finding import Finding, in_thread, worst
from tests.doctors import about, command, examine, one, report, station
from tests.services import InfluxDB, Mosquitto, Subscriber
from tests.site import site

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
