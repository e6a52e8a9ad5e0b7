"""`suuaba doctor` about ports and instruments: what is wrong with each is told by name, with what helps."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import config, doctor
from gateway.doctor_finding import Finding
from gateway.doctor_journal import Evidence
from gateway.doctor_ports import Port, journaled, judge, look
from gateway.model import Event, Stamp
from tests.doctors import about, examine, one, report, station
from tests.services import free_port, until
from tests.site import site


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter; pytest's own they cannot."""
    folder = Path(tempfile.mkdtemp(prefix="suuaba-doctor-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


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


@pytest.mark.parametrize(
    ("ago_s", "wait_s", "reading_ago_s", "level", "words"),
    [
        (10, 30, None, "ok", "warming up, until 06:00"),  # 20 s from now, in Bishkek
        (40, 90, 100, "ok", "warming up, until 06:00"),  # it gave readings before its power went
        (40, 30, None, "ok", "warming up, until 06:00"),  # only just over
        (90, 30, None, "failure", "there is no reading of it"),  # long over: that is no warming up
        (40, 30, 35, "failure", "last reading 35 s ago"),  # it was warm, and then fell silent
    ],
)
def test_one_that_warms_up_is_no_failure(
    tmp_path: Path, ago_s: float, wait_s: float, reading_ago_s: float | None, level: str, words: str
) -> None:
    [sensor] = config.load(station(tmp_path), lenient=True).sensors
    now = Stamp(1_795_478_400_000, "boot1", 10_000_000, True)  # midnight in UTC

    def ago(seconds: float) -> Stamp:
        return Stamp(now.utc_ms - round(seconds * 1000), "boot1", now.mono_ms - round(seconds * 1000), True)

    evidence = Evidence(now=now)
    evidence.warming["dust1"] = Event(ago(ago_s), "warming_up", {"sensor": "dust1", "wait_s": wait_s})
    if reading_ago_s is not None:
        evidence.last_at["dust1"] = ago(reading_ago_s)
    found = journaled(sensor, evidence, "Asia/Bishkek")
    assert (found.level, found.what) == (level, words)


def test_a_dead_probe_is_told_from_its_neighbour(tmp_path: Path) -> None:
    with site(tmp_path, None, None, faults="dead:ph1@0+600") as place:
        head, dust1, rest = place.file.read_text(encoding="utf-8").partition('id = "dust1"')
        rest = rest.replace("warm_up_s = 0", "warm_up_s = 900", 1)
        place.file.write_text(head + dust1 + rest, encoding="utf-8")
        findings = examine(place.file)
        assert re.fullmatch(r"warming up, until \d\d:\d\d", one(findings, "sensor", "dust1").what)
        ill = one(findings, "sensor", "ph1")
        assert ill.level == "failure"
        assert ill.what.startswith("no reading: NoAnswer: ")
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
    warming = one(findings, "sensor", "dust1")
    assert warming.level == "ok"
    assert re.fullmatch(r"warming up, until \d\d:\d\d", warming.what)


async def _until_ill(file: Path) -> list[Finding]:
    """The event is committed within a second."""
    wanted = config.load(file, lenient=True)
    async with asyncio.timeout(20):
        while True:
            findings = await doctor.examine(wanted)
            warm = one(findings, "sensor", "dust1").level == "ok"
            if warm and "dead" in one(findings, "sensor", "ph1").what:
                return findings


def test_a_serial_server_that_is_off(tmp_path: Path) -> None:
    found = about(examine(station(tmp_path, port=f"tcp://127.0.0.1:{free_port()}")), "port", "dust1")
    assert found[-1].level == "failure"
    assert "cannot connect" in found[-1].what
