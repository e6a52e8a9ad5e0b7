"""The commands as a technician types them, each as a process of its own."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.emulators.station import EmulatedStation
from tests.services import InfluxDB, Mosquitto, Subscriber, until
from tests.site import site

ROOT = Path(__file__).parent.parent


def suuaba(*arguments: str | Path, within_s: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False)


def test_check_prints_the_plan(tmp_path: Path) -> None:
    with site(tmp_path, None, None) as place:
        done = suuaba("check", place.file)
    assert done.returncode == 0, done.stderr
    for word in ("river", "dust1", "MB", "1 s", "15 s"):
        assert word in done.stdout


def test_check_names_every_mistake_in_one_line_each(tmp_path: Path) -> None:
    file = tmp_path / "station.toml"
    file.write_text(
        '[station]\nid = "x"\n\n[[sensor]]\nid = "a"\nmodel = "yosemitech-y532"\nport = "/dev/x"\n'
        "adress = 1\n"
        '[[sensor]]\nid = "b"\nmodel = "yosemitech-y523"\nport = "/dev/y"\naddress = 1\n'
    )
    done = suuaba("check", file)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) >= 2
    assert lines[0].startswith("station.toml: sensor[1].adress (a): ")
    assert 'did you mean "address"?' in lines[0]
    assert lines[1].startswith("station.toml: sensor[2].model (b): ")
    assert "yosemitech-y532" in lines[1]


@pytest.mark.parametrize(
    "arguments", [["check", "nowhere.toml"], ["run", "nowhere.toml"], ["read", "nowhere.toml", "ph1"]]
)
def test_a_file_that_is_not_there_is_one_line(arguments: list[str]) -> None:
    done = suuaba(*arguments)
    assert done.returncode == 2
    assert "there is no such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_read_takes_one_reading_with_its_frame(tmp_path: Path) -> None:
    with site(tmp_path, None, None) as place:
        done = suuaba("read", place.file, "ph1", "--frames")
        assert done.returncode == 0, done.stderr
        first, *frames = done.stdout.splitlines()
        assert first.startswith("ph1: ph ")
        assert " pH" in first
        given = {q: v for (name, q, v) in place.given() if name == "ph1"}
        assert f"ph {given['ph']:.2f}" in first
        assert [frame.split()[2] for frame in frames[:2]] == [">", "<"]
        assert all("CRC good" in frame and frame.split()[1] == "river" for frame in frames)


def test_read_of_an_unknown_sensor_names_those_there_are(tmp_path: Path) -> None:
    with site(tmp_path, None, None) as place:
        done = suuaba("read", place.file, "ph9")
    assert done.returncode == 2
    assert "ph1, turb1, dust1, dust2" in done.stderr


def test_read_of_a_silent_sensor_says_so(tmp_path: Path) -> None:
    with site(tmp_path, None, None, faults="dead:ph1@0+600") as place:
        done = suuaba("read", place.file, "ph1")
    assert done.returncode == 1
    assert done.stdout.startswith("ph1: NoAnswer:")


def test_read_while_the_service_has_the_port(tmp_path: Path) -> None:
    with site(tmp_path, None, None) as place:
        place.start()
        until(
            "the service reads",
            lambda: any(said.name == "ph1" for said in place.outside.record.snapshot()),
            30,
        )
        done = suuaba("read", place.file, "ph1", "--frames")
        place.stop()
        heard = [said.values for said in place.outside.record.snapshot() if said.name == "ph1"]
    assert done.returncode == 0, done.stdout + done.stderr
    line, frame = done.stdout.splitlines()
    assert line.startswith("ph1: ph ")
    assert line.split()[2] in {f"{values['ph']:.2f}" for values in heard if "ph" in values}
    assert len(bytes.fromhex(frame)) > 10


def test_read_while_another_program_has_the_port(tmp_path: Path) -> None:
    with (
        site(tmp_path, None, None) as place,
        open(place.outside.ports["river"].path, "rb", buffering=0) as port,
    ):
        fcntl.flock(port, fcntl.LOCK_EX)
        done = suuaba("read", place.file, "ph1", "--watch")
    assert done.returncode == 1
    [line] = done.stdout.splitlines()
    assert "in use by another program" in line
    assert "no service of this station runs" in line


def test_sms_sends_one_message(tmp_path: Path) -> None:
    with site(tmp_path, None, None) as place:
        done = suuaba("sms", place.file, "+996555000009", "Сынак: Ысык-Көл")
        assert done.returncode == 0, done.stdout + done.stderr
        assert [(m.to, m.text) for m in place.outside.modem.sent] == [("+996555000009", "Сынак: Ысык-Көл")]
    assert "1 segment(s), UCS-2" in done.stdout
    assert "accepted by the network" in done.stdout


def test_sms_to_no_number_is_one_line(tmp_path: Path) -> None:
    with site(tmp_path, None, None) as place:
        done = suuaba("sms", place.file, "+99", "test")
        assert place.outside.modem.sent == []
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_simulate_prints_ports_that_can_be_read(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway.cli", "simulate", "--seconds", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or "[[sensor]]" not in lines:
            lines.append(process.stdout.readline().rstrip("\n"))
        port = next(line.split()[0] for line in lines if "dust1: plantower" in line)
        file = tmp_path / "station.toml"
        file.write_text(
            f'[station]\nid = "x"\n[[sensor]]\nid = "d"\nport = "{port}"\nmodel = "plantower"\n'
            "options = { warm_up_s = 0 }\n"
        )
        done = suuaba("read", file, "d")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pm2_5" in done.stdout


def test_simulate_explains_faults_it_does_not_understand() -> None:
    done = suuaba("simulate", "--faults", "ded:turb1@3+1")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "dead" in done.stderr


def test_the_demo_on_real_servers(tmp_path: Path, mosquitto: Mosquitto, influxdb: InfluxDB) -> None:
    subscriber = Subscriber(mosquitto.port, "suuaba/1/kanysh-kyia-1/reading/#")
    done = suuaba("demo", "--seconds", "6", "--json", "--mqtt", mosquitto.url, "--influxdb", influxdb.url)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["lost"] == 0
    assert said["journaled"] == said["delivered"]["mqtt"] == said["delivered"]["influxdb"] > 8
    assert len(subscriber.got) == said["journaled"]
    subscriber.close()


def test_a_port_taken_by_nobody_else_is_not_needed_for_the_demo() -> None:
    """The embedded broker takes another port when 1883 is in use."""
    import socket

    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 1883))
        except OSError:
            pass  # something else has it: as good
        else:
            taken.listen()
        done = suuaba("demo", "--seconds", "3", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["delivered"]["mqtt"] == said["journaled"] > 3


def test_the_example_is_what_check_accepts_but_for_its_secrets() -> None:
    done = suuaba("check", ROOT / "deploy" / "station.example.toml")
    assert done.returncode == 2
    assert done.stderr
    assert all("the secret is missing" in line for line in done.stderr.splitlines()), done.stderr


def test_help_and_version() -> None:
    assert "demo" in suuaba("--help").stdout
    assert suuaba("--version").stdout.startswith("suuaba 0.")
    wrong = suuaba("fly")
    assert wrong.returncode == 2


def test_the_emulated_station_describes_itself(tmp_path: Path) -> None:
    toml = EmulatedStation(tmp_path).station_toml()
    file = tmp_path / "station.toml"
    file.write_text(toml, encoding="utf-8")
    assert suuaba("check", file).returncode == 0
