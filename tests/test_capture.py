"""Raw frames as text: what a line says, where a frame ends, and a capture of a station's bus."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drivers.emulators.station import EmulatedStation
from drivers.link import Line, Link
from gateway import capture as capture_module
from gateway.capture_frames import Frames, meaning
from gateway.errors import ControlError
from gateway.model import Event
from gateway.station import Station
from tests.services import until
from tests.stations import run

LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<bus>\S+) (?P<way>[<>=]) "
    r"(?P<what>.*?)(  \| (?P<means>.*))?"
)


FIFTH = "transaction 5377, unit 255"


@pytest.mark.parametrize(
    ("framing", "data", "sent", "says"),
    [
        # MODBUS Application Protocol V1.1b3, 6.3 (its example, with the CRC of the serial line), 6.6 and 7
        ("rtu", "1103006B00037687", True, "unit 17: read 3 registers (function 3) from 0x006B; CRC good"),
        ("rtu", "11 03 06 AE41 5652 4340 49AD", False, "unit 17: 3 registers: ae41 5652 4340; CRC good"),
        ("rtu", "01 83 02 C0 F1", False, "unit 1: refused (exception 2: illegal data address); CRC good"),
        ("rtu", "11 06 00 01 00 03 9A 9B", True, "unit 17: write 1 (function 6) at 0x0001; CRC good"),
        ("rtu", "11 03 00 6B 00 03 76 88", True, ""),
        ("tcp", "15010000 0006 FF040004 0002", True, f"{FIFTH}: read 2 registers (function 4) from 0x0004"),
        ("tcp", "15010000 0007 FF0404 0001 0002", False, f"{FIFTH}: 2 registers: 0001 0002"),
        ("tcp", "15010000 0009 FF04", False, "no whole Modbus TCP frame"),
        ("rtu", b"7.156\r".hex(), False, 'text "7.156"'),
        ("rtu", "AAC0BB009C01A16059AB", False, "sds011: pm2_5 18.7, pm10 41.2"),
        ("rtu", "7E 00 D0 01 03 2B 7E", True, "SHDLC frame (SPS30)"),
        ("rtu", "00", False, ""),
    ],
)  # fmt: skip
def test_a_frame_says_what_it_means(framing: str, data: str, sent: bool, says: str) -> None:
    assert meaning(framing, bytes.fromhex(data), sent=sent) == says


def test_a_frame_ends_where_the_wire_turns_or_rests() -> None:
    said: list[str] = []
    now = SimpleNamespace(utc_ms=1_764_000_000_000, mono_ms=0)
    link = Link("/dev/null", Line(9600, "8N1"))
    frames = Frames("river", link, lambda: now, said.append)  # type: ignore[arg-type]  # all of a stamp it uses

    def after(ms: int) -> None:
        now.utc_ms += ms
        now.mono_ms += ms

    frames(True, b"\x01\x03")
    after(10)
    frames(False, b"\x01")
    after(20)
    frames(False, b"\x02\x03")  # an adapter held it back
    frames.flush(resting=True)
    assert len(said) == 1
    after(60)
    frames.flush(resting=True)
    frames(False, b"\xff")  # a frame of its own
    after(41)
    frames(False, b"\xfe")
    frames(True, b"\x05")
    frames(True, b"\x06")  # two requests are two frames
    frames.flush()
    frames(False, b"\x07" * 3000)
    frames.flush()
    shown = [LINE.fullmatch(line) for line in said]
    assert [(m["way"], m["what"]) for m in shown[:6] if m] == [
        (">", "01 03"), ("<", "01 02 03"), ("<", "FF"), ("<", "FE"), (">", "05"), (">", "06"),
    ]  # fmt: skip
    assert said[0].startswith("2025-11-24T16:00:00.000Z river > ")
    assert said[1].startswith("2025-11-24T16:00:00.010Z river < ")
    assert len(said[6]) < 3200  # never longer than its limit


def crc(data: bytes) -> int:
    """CRC-16/MODBUS, once more and bit by bit: not the one that the frames were made with."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


@pytest.fixture
def outside(tmp_path: Path) -> EmulatedStation:
    return EmulatedStation(tmp_path / "ports")


def test_a_capture_has_every_frame_of_its_bus_and_ends_by_itself(
    outside: EmulatedStation, tmp_path: Path
) -> None:
    async def capture(station: Station) -> tuple[str, list[dict[str, Any]]]:
        seq = station.journal.committed_seq
        station.capture.begin("river", minutes=0.06, by="Aibek")
        with pytest.raises(ControlError, match="under way, begun by Aibek"):
            station.capture.begin("river", minutes=1, by="Bermet")
        await asyncio.to_thread(until, "some lines", lambda: station.capture.lines >= 8, 30)
        so_far = b"".join(station.capture.text()).decode()
        assert so_far.count("\n") >= 8
        await asyncio.to_thread(until, "its end", lambda: not station.capture.under_way, 30)
        assert station.buses[0].link.tap is None
        assert station.capture.state()["ended"] == "its time was over"
        whole = b"".join(station.capture.text()).decode()
        assert whole.startswith(so_far)
        await station.journal.sync()
        records = await station.journal.after(seq, 1000)
        return whole, [
            r.body.detail for r in records if isinstance(r.body, Event) and r.body.what == "capture"
        ]

    text, events = run(outside, tmp_path, capture)
    lines = [LINE.fullmatch(line) for line in text.splitlines() if not line.startswith("#")]
    assert all(lines)
    found = [m for m in lines if m]
    ways = [m["way"] for m in found]
    assert min(ways.count(way) for way in "<>=") >= 2
    for m in found:
        if m["way"] != "=":
            data = bytes.fromhex(m["what"])
            assert crc(data[:-2]) == int.from_bytes(data[-2:], "little")
            assert m["means"].endswith("CRC good")
    read = " ".join(m["what"] for m in found if m["way"] == "=")
    numbers = [f"ph {said.values['ph']:g} pH" for said in outside.record.snapshot() if "ph" in said.values]
    assert any(number in read for number in numbers)
    assert [(e["bus"], e["by"], e["state"]) for e in events] == [
        ("river", "Aibek", state) for state in ("begun", "ended")
    ]
    assert events[1]["lines"] == len(text.splitlines())


def test_a_capture_is_bounded_and_knows_no_modem(
    outside: EmulatedStation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture_module, "TEXT_LIMIT", 500)

    async def capture(station: Station) -> None:
        modem = station.config.sms.modem if station.config.sms else ""
        for name in ("sms", "modem", modem or "modem", ""):
            with pytest.raises(ControlError, match="there is no bus"):
                station.capture.begin(name, minutes=1, by="x")
        for minutes in (0, -1, 61, float("nan"), float("inf")):
            with pytest.raises(ControlError, match="60 at most"):
                station.capture.begin("river", minutes=minutes, by="x")
        station.capture.begin("river", minutes=60, by="Aibek")
        await asyncio.to_thread(until, "its end", lambda: not station.capture.under_way, 30)
        assert station.capture.state()["ended"] == "it was full"
        assert len(b"".join(station.capture.text())) < 500 + capture_module.PART
        station.capture.begin("dust1", minutes=60, by="Aibek")
        await asyncio.sleep(0.1)
        station.capture.stop()
        await asyncio.to_thread(until, "its end", lambda: not station.capture.under_way, 30)
        assert station.capture.state()["ended"] == "stopped"

    run(outside, tmp_path, capture)
