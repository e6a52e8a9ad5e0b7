"""`suuaba scan` on emulated wires: instruments are named, planted wiring faults are named in words, and
nothing but reads is ever sent.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from drivers import sps30
from drivers.emulators.atlas import Atlas
from drivers.emulators.base import Answer, Emulator
from drivers.emulators.faults import KINDS, Faults, parse
from drivers.emulators.instruments import make
from drivers.emulators.modbus_models import MODELS, unit_for
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PortThread, PtyPort
from drivers.emulators.world import World
from drivers.frames import crc16, pack, read_pdu, write_register_pdu, write_registers_pdu
from drivers.link import Line
from gateway import scan_words
from gateway.scan import load, render, scan
from gateway.scan_diagnose import Unit, diagnose
from gateway.scan_listen import another_master, recognise
from gateway.scan_port import Wish
from gateway.scan_ports import serial_ports
from gateway.scan_probe import hellos, kinds, may_be_sent
from gateway.scan_result import PortReport, Problem, Report
from gateway.scan_wire import Evidence, Wire
from tests.ptys import Pty

WORLD = World(1, "rain")
THREE = {Line(rate) for rate in (1200, 2400, 4800)}
BAD = Unit(6, 0, 6)
LINE = Line(9600, "8N1")


class Ear:
    """Hears everything that is sent, at any rate, and says nothing."""

    def __init__(self) -> None:
        self.name = "ear"
        self.heard: list[bytes] = []

    def feed(self, data: bytes, now_s: float) -> list[Answer]:
        self.heard.append(data)
        return []

    def due_s(self, now_s: float) -> float | None:
        return None

    def speak(self, now_s: float) -> list[Answer]:
        return []


def probe(name: str = "ph", address: int = 1) -> Emulator:
    return unit_for("yosemitech-y532", address, WORLD.value, name)


def port(name: str, *emulators: Emulator, faults: str = "", echo: bool = False, line: Line = LINE) -> PtyPort:
    names = (name, *(e.name for e in emulators))
    planted = Faults(parse(faults, names), 3)
    return PtyPort(emulators, name=name, line=line, faults=planted, echo=echo, check_line=True)


EAR = Ear()


def planted() -> dict[str, PtyPort]:
    """A port for each fault, and for each model that is emulated."""
    ports = {
        "nothing": port("nothing", probe(), faults="dead:ph"),
        "swapped": port("swapped", probe(), faults="swapped:swapped"),
        "garbage": port("garbage", probe(), faults="floating:garbage dead:ph"),
        "no bias": port("no bias", probe(), faults=""),
        "two": port("two", probe("a"), probe("b")),
        "echo": port("echo", probe(), echo=True),
        "sometimes": port("sometimes", probe(), faults="garbled:ph@0.4"),
        "modem": PtyPort([ModemEmulator()], name="modem", line=Line(115200, "8N1"), check_line=True),
        "ear": PtyPort([EAR], name="ear"),
        "quiet ezo": port("quiet ezo", _quiet_ezo()),
    }
    ports["no bias"].wire.faults.plant("floating", "no bias", times=None)
    for kind in KINDS:
        name, when = f"fault-{kind}", "@25+300" if kind == "unplug" else ""
        target = name if kind == "unplug" else "ph"
        ports[name] = port(name, probe(), faults=f"{kind}:{target}{when}")
    for model, line in LINES.items():
        address = {"aqualabo-ntu": 40, "aqualabo-pheht": 20}.get(model, 1)
        ports[model] = port(model, make(model, address, WORLD, model), line=line)
    return ports


LINES = {
    **{kind.model: kind.line for kind in kinds()},
    **dict.fromkeys(("plantower", "sds011", "atlas"), LINE),
    "sps30": sps30.LINE,
}
LINES.pop("yosemitech-y510")  # as Y511; a port less


def _quiet_ezo() -> Atlas:
    circuit = make("atlas", None, WORLD, "quiet")
    assert isinstance(circuit, Atlas)
    circuit.continuous_s = 0
    return circuit


@pytest.fixture(scope="module")
def scanned() -> dict[str, PortReport]:
    """All ports scanned at once, quickly: as long as the slowest takes, half a minute."""
    ports = planted()
    with PortThread(*ports.values()):
        held = os.openpty()
        holder = subprocess.Popen(["sleep", "200"], stdin=held[1])
        names = {each.path: name for name, each in ports.items()}
        names[os.ttyname(held[1])] = "held"
        os.close(held[1])
        try:
            report = asyncio.run(_scan(names))
        finally:
            holder.kill()
            holder.wait()
            os.close(held[0])
    assert report.complete
    return {names.get(each.port, "master"): each for each in report.ports}


async def _scan(names: dict[str, str]) -> Report:
    with Pty() as wire:

        async def another() -> None:
            while True:
                wire.say(pack("rtu", 7, read_pdu(3, 0x2800, 2)))
                await asyncio.sleep(0.3)

        talking = asyncio.create_task(another())
        every, wish = [*names, wire.port], Wish(quick=True, kinds=kinds())
        halves = await asyncio.gather(scan(every[::2], wish), scan(every[1::2], wish))
        report = Report(ports=[p for half in halves for p in half.ports])
        report.complete = all(half.complete for half in halves)
        talking.cancel()
        assert wire.overheard() == b""  # nothing is said where another master speaks
        return report


FAULTS = ("nothing", "swapped", "garbage", "no bias", "echo", "sometimes", "modem", "held", "master")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(scanned: dict[str, PortReport], fault: str) -> None:
    assert [problem.code for problem in scanned[fault].problems] == [fault]


NAMED = {
    "dead": ["nothing"], "silence": ["nothing"], "truncated": ["breaks off"],
    "garbled": ["two on one address"], "dribble": [], "noise": ["no bias"], "stray": ["no bias"],
    "wrong-unit": ["stranger"], "late": ["late"], "exception": ["refuses"], "echo": ["echo"],
    "swapped": ["swapped"], "floating": ["no bias"], "unplug": ["lost"],
}  # fmt: skip
"""What the scan says of each fault that the emulators can plant; of dribbling bytes nothing: they count."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_of_the_emulators_is_named(scanned: dict[str, PortReport], kind: str) -> None:
    found = scanned[f"fault-{kind}"]
    assert [problem.code for problem in found.problems] == NAMED[kind]
    if kind != "unplug":  # it may have been named before
        assert bool(found.instruments) == (kind in ("dribble", "noise", "stray", "echo", "floating"))


def test_two_probes_on_one_address_are_named(scanned: dict[str, PortReport]) -> None:
    [problem] = scanned["two"].problems
    assert (problem.code, problem.about) == ("two on one address", "1")


def test_faults_do_not_hide_the_instrument(scanned: dict[str, PortReport]) -> None:
    for fault in ("no bias", "echo", "sometimes"):
        [found] = scanned[fault].instruments
        assert (found.model, found.address, found.echo) == ("yosemitech-y532", 1, fault == "echo")


@pytest.mark.parametrize("model", sorted(LINES))
def test_every_emulated_model_is_named(scanned: dict[str, PortReport], model: str) -> None:
    [found] = scanned[model].instruments
    assert model in (found.model, *found.others)
    assert (found.baudrate, found.format) == (LINES[model].baudrate, LINES[model].format)
    assert found.after_s < 40
    assert scanned[model].problems == []


def test_only_what_looks_alike_is_left_open(scanned: dict[str, PortReport]) -> None:
    unsure = {model for model in LINES if not scanned[model].instruments[0].sure}
    assert unsure <= {"renke-rs-ph-n01", "dfrobot-sen0710", "seeed-s-ph-01", "xy-md02"}


def test_a_circuit_that_waits_to_be_asked_is_named(scanned: dict[str, PortReport]) -> None:
    [found] = scanned["quiet ezo"].instruments
    assert (found.model, found.identity["circuit"]) == ("atlas", "EZO-pH")


def test_nothing_but_reads_was_sent(scanned: dict[str, PortReport]) -> None:
    """Judged from the bytes on the wire by a reader of its own, not by `may_be_sent`."""
    allowed = {b"i\r", b"AT\r", b"?!", bytes.fromhex("424de20000 0171"), bytes.fromhex("7e00d001032b7e")}
    allowed.add(bytes.fromhex("aab407" + "00" * 12 + "ffff05ab"))
    assert len(EAR.heard) >= 12
    for data in EAR.heard:
        if data in allowed:
            continue
        assert len(data) == 8
        assert crc16(data[:6]) == data[6] | data[7] << 8
        assert data[1] in (3, 4)
        assert (data[4] << 8 | data[5]) > 0
        assert data[2] << 8 | data[3] not in (0x2500, 0x2E00)  # these start and stop a Yosemitech


def test_a_write_is_refused() -> None:
    coil = pack("rtu", 1, b"\x05\0\0\xff\0")
    no_registers = pack("rtu", 1, read_pdu(3, 0x2500, 0))
    writes = [pack("rtu", 1, write_register_pdu(1, 15)), pack("rtu", 1, write_registers_pdu(0x3100, b""))]
    others = [b"Cal,clear\r", b"AT+CMGD=1\r", sps30.request(sps30.START, sps30.FLOATS)]
    for data in (coil, no_registers, *writes, *others, pack("tcp", 1, write_register_pdu(1, 1), 5)):
        assert not may_be_sent("tcp" if data[:2] == b"\0\5" else "rtu", data)
        with pytest.raises(ValueError, match="only reads"):
            asyncio.run(Wire("/dev/null").put(data, lambda got: None, 0.1, 0.0))
    assert may_be_sent("rtu", pack("rtu", 1, read_pdu(4, 0, 2)))
    assert may_be_sent("tcp", pack("tcp", 1, read_pdu(4, 0, 2), 9))


def test_the_questions_reach_every_model() -> None:
    """What the sweep asks is answered by every emulated unit, be it with an exception."""
    asked = hellos(kinds())
    assert len(asked) == 2
    for kind in MODELS:
        unit = kind("x", 9, WORLD.value)
        assert any(unit.feed(pack("rtu", 9, pdu), 10.0 * n) for n, pdu in enumerate(asked, 1)), kind.model


def test_no_question_is_a_command_to_another_model() -> None:
    """A read of 0x2500 starts a Yosemitech, one of 0x2E00 stops it: nobody is asked for them."""
    known = kinds()
    asked = {*hellos(known), *(pdu for kind in known for pdu in (*kind.plan, kind.first))}
    asked |= {pdu for kind in known for pdu, _ in kind.identify}
    assert len(asked) > 20
    for pdu in asked:
        assert may_be_sent("rtu", pack("rtu", 1, pdu))
        first, count = pdu[1] << 8 | pdu[2], pdu[3] << 8 | pdu[4]
        assert pdu[0] == 4 or not {0x2500, 0x2E00} & set(range(first, first + count))


@pytest.mark.parametrize(
    ("stream", "model"),
    [
        ("424D001C000C00120015000C00120015090602 8A0062000C00030001970002B5", "plantower"),
        ("AAC0BB009C01A16059AB", "sds011"),
        (b"7.15\r7.156\r".hex(), "atlas"),
        (b"$GPZDA,160012.71,11,03,2004,-1,00*7D\r\n".hex(), ""),
    ],
)
def test_a_stream_names_itself(stream: str, model: str) -> None:
    got = bytes.fromhex(stream)
    heard = recognise(b"\xff\x00" + got + got)
    assert heard is not None
    assert heard.model == model
    assert recognise(got[: len(got) // 2 - 2]) is None
    damaged = bytes(b ^ 0x21 if i % 3 == 1 else b for i, b in enumerate(got + got))
    assert recognise(damaged) is None


def test_another_master_is_heard_between_noise() -> None:
    request = pack("rtu", 3, read_pdu(3, 0, 2))
    assert another_master(b"\x00\xff" + request + b"\x01")
    assert not another_master(b"\x00\xff" + request[:-1] + b"\x01")


@pytest.mark.parametrize(
    ("seen", "units", "found", "codes"),
    [
        (Evidence(asked=20, silent=20), {}, False, ["nothing"]),
        (Evidence(asked=3, silent=3), {}, False, []),
        (Evidence(asked=20, specks=19, silent=1), {}, False, ["swapped"]),
        (Evidence(asked=20, echoed=20, silent=20), {}, False, ["echo", "nothing"]),
        (Evidence(asked=20, rubbish=18, rubbish_lines=THREE), {}, False, ["garbage"]),
        (Evidence(asked=20, rubbish=7, rubbish_lines={LINE}), {4: BAD}, False, ["two on one address"]),
        (Evidence(asked=90, answered=30), {4: Unit(10, 10, 0, 8)}, True, ["two on one address"]),
        (Evidence(asked=90, answered=30), {4: Unit(10, 7)}, True, ["sometimes"]),
        (Evidence(asked=90, answered=30, stray=29), {4: Unit(10, 10)}, True, ["no bias"]),
        (Evidence(asked=90, answered=30, stray=1), {4: Unit(10, 10)}, True, []),
    ],
)  # fmt: skip
def test_evidence_becomes_a_finding(
    seen: Evidence, units: dict[int, Unit], found: bool, codes: list[str]
) -> None:
    assert [problem.code for problem in diagnose("p", seen, units, found=found)] == codes


def test_every_finding_has_words_in_every_language() -> None:
    codes = set(scan_words.TEXTS["en"])
    for language, texts in scan_words.TEXTS.items():
        assert set(texts) == codes
        for code in codes:
            what, helps = scan_words.told(Problem(code=code, port="/dev/x", about="7", seen="ff"), language)
            assert what
            assert helps
            assert "{" not in what + helps


def test_ports_are_named_by_where_they_are_plugged_in(tmp_path: Path) -> None:
    dev, tty = tmp_path / "dev", tmp_path / "tty"
    for name in ("ttyUSB0", "ttyUSB1", "ttyS0", "ttyS1", "ttyAMA0", "null"):
        (dev / name).parent.mkdir(exist_ok=True)
        (dev / name).touch()
    for name, kind in (("ttyS0", "4"), ("ttyS1", "0")):
        (tty / name).mkdir(parents=True)
        (tty / name / "type").write_text(kind)
    (dev / "serial" / "by-path").mkdir(parents=True)
    (dev / "serial" / "by-path" / "usb-1.3").symlink_to(dev / "ttyUSB1")
    found = [Path(name).name for name in serial_ports(dev, tty)]
    assert sorted(found) == ["ttyAMA0", "ttyS0", "ttyUSB0", "usb-1.3"]


def test_ctrl_c_gives_what_was_found() -> None:
    async def run() -> Report:
        stop = asyncio.Event()
        with Pty() as streams, Pty() as dead:
            for _ in range(3):
                streams.say(bytes.fromhex("AAC0BB009C01A16059AB"))

            def watch(scans: object) -> None:
                if any(each.report.instruments for each in scans):  # type: ignore[attr-defined]  # the scans
                    stop.set()

            task = asyncio.create_task(scan([streams.port, dead.port], Wish(kinds=kinds()), watch, stop=stop))
            while not task.done():
                streams.say(bytes.fromhex("AAC0BB009C01A16059AB"))
                await asyncio.sleep(0.2)
            return await task

    report = asyncio.run(run())
    assert [found.model for found in report.instruments] == ["sds011"]
    assert not report.complete
    assert report.seconds < 20
    assert "broken off" in render(report)[-1]


def test_a_report_survives_its_json(tmp_path: Path, scanned: dict[str, PortReport]) -> None:
    from gateway.scan import as_json

    report = Report(ports=list(scanned.values()))
    file = tmp_path / "scan.json"
    file.write_text(as_json(report), encoding="utf-8")
    assert load(file) == report
