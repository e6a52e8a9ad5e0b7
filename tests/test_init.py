"""From a blank folder to live values: scan, init, check, run on emulated instruments; what init writes."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import tomllib
from pathlib import Path

import pytest

from drivers.emulators.station import EXTRAS, EmulatedStation
from gateway import cli, config
from gateway.init import Answers, compose
from gateway.model import Reading
from gateway.scan import as_json
from gateway.scan_result import Found, PortReport, Problem, Report
from gateway.station import Station, live

FOUND = Found(
    port="/dev/pts/99", baudrate=9600, format="8N1", model="yosemitech-y532", address=1, medium="water",
    shares_bus=True, identity={"serial": 'YL43"\n[sms]\nmodem = "x'}, title="Yosemitech Y532 pH probe",
)  # fmt: skip


def test_from_a_blank_folder_to_live_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All emulated instruments, no editing by hand, within five minutes."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    began_s = time.monotonic()
    outside = EmulatedStation(tmp_path / "ports", also=EXTRAS)
    file, scanned = tmp_path / "station.toml", tmp_path / "scan.json"
    with outside.in_thread():
        network = [port.path for port in outside.ports.values() if "://" in port.path]
        words = [word for path in network for word in ("--port", path)]
        assert cli.main(["scan", "--ports-from", str(tmp_path / "ports"), *words, "--json"]) == 0
        scanned.write_text(capsys.readouterr().out, encoding="utf-8")
        begin = ["init", "--from", str(scanned), "--output", str(file)]
        assert cli.main([*begin, "--id", "test-1", "--name", "Test", "--language", "ky"]) == 0
        assert cli.main(["check", str(file)]) == 0
        wanted = config.load(file)
        models = sorted(sensor.model for sensor in wanted.sensors)
        assert models == sorted(place.model for place in outside.places.values())
        heard = asyncio.run(_until_live(wanted))
    assert heard == {sensor.id for sensor in wanted.sensors}
    assert time.monotonic() - began_s < 300
    assert (wanted.id, wanted.name, wanted.language) == ("test-1", "Test", "ky")


async def _until_live(wanted: config.Station) -> set[str]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    station = Station(wanted, embedded_port=port, say=lambda _: None)
    everybody = {sensor.id for sensor in wanted.sensors}
    heard: set[str] = set()

    async def watch() -> None:
        seq = 0
        while heard != everybody:
            await station.journal.more(seq)
            for record in await station.journal.after(seq, 1000):
                seq = record.seq
                if isinstance(record.body, Reading) and record.body.values:
                    heard.add(record.body.sensor)
        station.stop()

    watching = asyncio.create_task(watch())
    asyncio.get_running_loop().call_later(150, station.stop)
    assert await live(station) == 0
    watching.cancel()
    await asyncio.wait([watching])
    return heard


def test_what_was_heard_cannot_write_configuration(tmp_path: Path) -> None:
    """A serial number and a station's name with quotes, line ends and tables in them stay texts."""
    report = Report(ports=[PortReport(port="/dev/pts/99", state="found", instruments=[FOUND])])
    nasty = Answers("s-1", 'Mine "K"\n[sms]\nmodem = "x"', "ru")
    written = tomllib.loads(compose(report, nasty))
    assert set(written) == {"station", "clock", "bus", "sensor", "mqtt", "web"}
    assert written["station"]["name"] == nasty.name
    [sensor] = written["sensor"]
    assert sensor["expect"] == {"ph": {"gross": [0, 14]}}
    assert (sensor["id"], sensor["bus"], sensor["address"]) == ("ph1", "bus1", 1)


def test_doubts_stand_as_comments() -> None:
    unsure = Found(
        port="/dev/p", baudrate=4800, format="8N1", model="renke-rs-ph-n01", address=1, shares_bus=True,
        sure=False, others=("dfrobot-sen0710",), echo=True,
    )  # fmt: skip
    stranger = Found(port="/dev/p", baudrate=4800, format="8N1", identity={"line": "$GPZDA"})
    port = PortReport(
        port="/dev/p", state="found", instruments=[unsure, stranger],
        problems=[Problem(code="two on one address", port="/dev/p", about="3")],
    )  # fmt: skip
    modem = PortReport(port="/dev/m", state="modem", problems=[Problem(code="modem", port="/dev/m")])
    text = compose(Report(ports=[port, modem]), Answers("s", "s"), listen="127.0.0.1:8085")
    assert "# or dfrobot-sen0710" in text
    assert "two probes on address 3" in text
    assert "no driver knows it" in text
    assert '# modem = "/dev/m"' in text
    written = tomllib.loads(text)
    assert written["bus"][0]["echo"] is True
    assert written["web"]["listen"] == "127.0.0.1:8085"


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, scanned = tmp_path / "station.toml", tmp_path / "scan.json"
    file.write_text("mine")
    scanned.write_text(as_json(Report(ports=[PortReport(port="/dev/p", instruments=[FOUND])])))
    assert cli.main(["init", "--from", str(scanned), "--output", str(file)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("scanned", "words", "says"),
    [
        ("[", [], "not what suuaba scan --json prints"),
        ('{"ports": 7}', [], "not what suuaba scan --json prints"),
        ("{}", [], "found no instrument"),
        (None, [], "No such file"),
        ("{}", ["--id", "two words"], "letters, digits and - only"),
        ("{}", ["--language", "fr"], "there is no 'fr'"),
    ],
)
def test_bad_input_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scanned: str | None, words: list[str], says: str
) -> None:
    if scanned is not None:
        (tmp_path / "scan.json").write_text(scanned)
    begin = ["init", "--from", str(tmp_path / "scan.json"), "--output", str(tmp_path / "new.toml")]
    assert cli.main([*begin, *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert says in line
    assert not (tmp_path / "new.toml").exists()


def test_the_scan_of_a_folder_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["scan", "--ports-from", str(tmp_path / "x")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "No such file" in line
    assert cli.main(["scan", "--port", str(tmp_path / "x"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ports"][0]["problems"][0]["code"] == "closed"
