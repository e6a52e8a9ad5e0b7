"""Emulated Modbus units: the frames of the sources byte for byte, independent masters, and our own driver."""

from __future__ import annotations

import pytest

from drivers.emulators.modbus_models import Y511, unit_for
from drivers.emulators.modbus_unit import SILENCE_S, ModbusUnit
from drivers.frames import crc16
from tests.modbus_units import river, sense


def said(unit: ModbusUnit, request: str, now_s: float = 100.0) -> str:
    """What a unit answers to these bytes, in hex."""
    return b"".join(answer.data for answer in unit.feed(bytes.fromhex(request), now_s)).hex(" ").upper()


def framed(body: str) -> str:
    data = bytes.fromhex(body)
    return (data + crc16(data).to_bytes(2, "little")).hex(" ").upper()


# ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────

# model, address, what it senses, request, answer. The start of the Y510 with a count of 1 is the maker's own
# sketch's; the others were computed for the makers' register tables, and their CRCs checked by pymodbus.
FRAMES = [
    ("yosemitech-y532", 1, {}, "01 03 28 00 00 02 CD AB", "01 03 04 1F 85 DB 40 B7 0E"),
    (
        "yosemitech-y532", 1, {"water_temperature": 20.5},
        "01 03 24 00 00 02 CE FB", "01 03 04 00 00 A4 41 40 C3",
    ),
    ("yosemitech-y532", 1, {}, "01 03 12 00 00 02 C1 73", "01 03 04 00 00 48 C1 0D A3"),
    ("yosemitech-y532", 1, {}, "01 03 0E 00 00 01 86 E2", "01 03 02 00 00 B8 44"),
    ("yosemitech-y510", 1, {}, "01 03 25 00 00 01 8F 06", "01 03 02 00 00 B8 44"),
    ("yosemitech-y510", 1, {}, "01 03 25 00 00 00 4E C6", "01 03 00 20 F0"),
    ("yosemitech-y510", 1, {}, "01 03 2E 00 00 01 8D 22", "01 03 02 00 00 B8 44"),
    (
        "yosemitech-y510", 1, {}, "01 03 25 00 00 00 4E C6 01 03 26 00 00 05 8E 81",
        "01 03 00 20 F0 01 03 0A 00 00 92 41 00 00 2A 42 00 00 55 0B",
    ),
    ("yosemitech-y511", 1, {}, "01 10 31 00 00 00 00 74 94", "01 10 31 00 00 00 CE F5"),
    ("yosemitech-y520", 1, {}, "01 10 1C 00 00 00 00 D8 92", "01 10 1C 00 00 00 C7 99"),
    ("aqualabo-ntu", 40, {}, "28 06 00 01 00 0F 9F F7", "28 06 00 01 00 0F 9F F7"),
    ("aqualabo-ntu", 40, {}, "28 03 00 A4 00 01 C2 10", "28 03 02 01 F4 E5 95"),
    (
        "seeed-s-ph-01", 1, {"water_temperature": -1.25, "ph": 7.12},
        "01 04 00 00 00 02 71 CB", "01 04 04 FF 83 02 C8 3A 8E",
    ),
    ("seeed-s-ph-01", 1, {}, "01 06 00 31 FF FF D9 B5", "01 06 00 31 FF FF D9 B5"),
    (
        "dfrobot-sen0710", 1, {"water_temperature": -3.5},
        "01 03 00 00 00 02 C4 0B", "01 03 04 01 A9 FF DD AA 46",
    ),
    (
        "dfrobot-sen0710", 1, {}, "01 10 10 10 00 02 04 00 01 00 00 6E A3", framed("01 10 10 10 00 02"),
    ),
    (
        "renke-rs-ph-n01", 1, {"ph": 7.12, "water_temperature": -3.5},
        "01 03 00 00 00 02 C4 0B", "01 03 04 02 C8 FF DD FB DC",
    ),
    ("xy-md02", 1, {}, "01 04 00 01 00 02 20 0B", "01 04 04 FF 97 02 22 FB 05"),
    ("epever-tracer", 1, {}, "01 04 31 04 00 01 7E F7", "01 04 02 05 04 BB A3"),
    ("epever-tracer", 1, {}, "01 04 31 02 00 02 DE F7", "01 04 04 30 39 00 00 24 89"),
    ("epever-tracer", 1, {}, "01 04 33 1B 00 02 0E 88", "01 04 04 FF 85 FF FF DB C9"),
    ("epever-tracer", 1, {}, "01 04 31 1A 00 01 1E F1", "01 04 02 00 57 F8 CE"),
    ("epever-tracer", 1, {}, "01 04 31 10 00 01 3E F3", "01 04 02 FB 1E 7A 08"),
    (
        "hamilton-ph-arc", 1, {"ph": 7.04}, "01 03 08 29 00 0A 16 65",
        "01 03 14 10 00 00 00 47 AE 40 E1 00 00 00 00 00 00 00 00 00 00 41 60 31 52",
    ),
    ("teledyne-t640", 1, {}, "01 04 00 06 00 04 11 C8", framed("01 04 08 41 A4 00 00 41 44 00 00")),
]  # fmt: skip


@pytest.mark.parametrize(("model", "address", "senses", "request_", "answer"), FRAMES)
@pytest.mark.parametrize("way", ["whole", "byte by byte", "after noise", "after another's request"])
def test_worked_frames_are_answered_to_the_byte(
    model: str, address: int, senses: dict[str, float], request_: str, answer: str, way: str
) -> None:
    unit = unit_for(model, address, sense(**senses), "probe")
    request = bytes.fromhex(request_)
    before = {"after noise": "00 FF 01 28 03", "after another's request": framed("05 03 00 00 00 02")}.get(
        way, ""
    )
    pieces = [bytes((byte,)) for byte in request] if way == "byte by byte" else [request]
    heard = unit.feed(bytes.fromhex(before), 100.0)
    for piece in pieces:
        heard += unit.feed(piece, 100.01)
    assert b"".join(a.data for a in heard).hex(" ").upper() == answer


def test_an_aqualabo_answers_zeros_until_its_time_is_over_and_then_the_worked_frame() -> None:
    unit = unit_for("aqualabo-ntu", 40, river, "ntu")
    zeros = framed("28 03 10" + " 00" * 16)
    full = "28 03 10 41 92 00 00 42 2A 00 00 42 2A 00 00 42 C4 00 00 7B 40"
    read = "28 03 00 53 00 08 B3 E4"
    assert said(unit, read, 10.0) == zeros
    said(unit, "28 06 00 01 00 0F 9F F7", 11.0)
    assert said(unit, read, 11.49) == zeros
    (answer,) = unit.feed(bytes.fromhex(read), 11.51)
    assert answer.data.hex(" ").upper() == full
    assert answer.values == {"water_temperature": 18.25, "turbidity": 42.5, "suspended_solids": 98.0}
    assert said(unit, read, 500.0) == full  # the result of the last measurement stands
    unit.sense = sense(turbidity=1.0)
    assert said(unit, read, 500.1) == full
    said(unit, "28 06 00 01 00 0F 9F F7", 501.0)
    assert said(unit, read, 501.1) == zeros
    assert said(unit, read, 502.0) != full


def test_a_y511_answers_its_old_value_until_started_and_rubbish_while_it_wipes() -> None:
    now = {"turbidity": 42.5}
    unit = unit_for("yosemitech-y511", 1, lambda q, t: now.get(q, 18.25), "turb")
    assert isinstance(unit, Y511)
    read, start = bytes.fromhex("01 03 26 00 00 05 8E 81"), "01 03 25 00 00 00 4E C6"
    (old,) = unit.feed(read, 1.0)
    assert old.values == {}
    assert old.data[3:11] == bytes(8)
    said(unit, start, 2.0)
    assert unit.feed(read, 3.0)[0].values == {"water_temperature": 18.25, "turbidity": 42.5}
    said(unit, "01 10 31 00 00 00 00 74 94", 10.0)
    (wiping,) = unit.feed(read, 15.0)
    assert wiping.values == {}
    assert wiping.data != unit.feed(read, 20.0)[0].data
    assert unit.feed(read, 20.0)[0].values["turbidity"] == 42.5

    set_30_min = framed("01 10 32 00 00 01 02 1E 00")
    assert said(unit, set_30_min, 100.0) == framed("01 10 32 00 00 01")
    assert said(unit, "01 03 32 00 00 01 8A B2", 101.0) == "01 03 02 1E 00 B1 E4"
    assert [bool(unit.feed(read, 100.0 + t)[0].values) for t in (1799, 1801, 1809, 1811, 3599, 3605)] == [
        True, False, False, True, True, False,
    ]  # fmt: skip

    unit.power_cycle(5000.0)
    assert unit.feed(read, 5007.9) == []
    assert unit.feed(read, 5008.1)[0].values == {}
    assert said(unit, "01 03 32 00 00 01 8A B2", 5008.2) == "01 03 02 00 00 B8 44"
    assert unit.wipes == 2


def test_an_error_byte_comes_with_numbers_that_are_none() -> None:
    unit = unit_for("yosemitech-y510", 1, river, "turb")
    said(unit, "01 03 25 00 00 00 4E C6")
    unit.error_byte = 3  # type: ignore[attr-defined]  # the Y510's own
    (answer,) = unit.feed(bytes.fromhex("01 03 26 00 00 05 8E 81"), 100.0)
    assert answer.values == {}
    assert answer.data[11] == 3


def test_calibration_registers() -> None:
    ph = unit_for("yosemitech-y532", 1, river, "ph")
    status = "01 03 0E 00 00 01 86 E2"
    ph.bath["ph"] = 6.86
    said(ph, "01 10 23 00 00 02 04 1F 85 DB 40 33 A3")  # 6.86
    assert said(ph, status) == framed("01 03 02 02 00")  # fewer than three points
    for buffer in ("00 00 80 40", "48 E1 12 41"):  # 4.00 and 9.18, with the probe still in 6.86
        assert said(ph, framed(f"01 10 23 00 00 02 04 {buffer}"))
    assert said(ph, status) == framed("01 03 02 04 00")  # coefficients out of range
    for truth, buffer in ((6.86, "1F 85 DB 40"), (4.0, "00 00 80 40"), (9.18, "48 E1 12 41")):
        ph.bath["ph"] = truth
        assert said(ph, framed(f"01 10 23 00 00 02 04 {buffer}"))
    assert said(ph, status) == "01 03 02 00 00 B8 44"
    ph.bath["ph"] = 6.86
    said(ph, framed("01 10 23 00 00 02 04 00 00 E0 40"))  # 7.00 is no buffer of its
    assert said(ph, status) == framed("01 03 02 01 00")
    assert said(ph, "01 10 30 00 00 01 02 05 00 95 03") == framed("01 10 30 00 00 01")
    assert said(ph, "01 03 28 00 00 02 CD AB") == ""  # it is unit 5 now
    assert said(ph, framed("05 03 28 00 00 02")) == framed("05 03 04 1F 85 DB 40")

    turbidity = unit_for("yosemitech-y510", 1, river, "turb")
    said(turbidity, "01 03 25 00 00 00 4E C6")
    said(turbidity, framed("01 10 11 00 00 04 08 00 00 00 40 00 00 00 3F"))  # K = 2, B = 0.5
    assert turbidity.feed(bytes.fromhex("01 03 26 00 00 05 8E 81"), 100.0)[0].values["turbidity"] == 85.5

    dfrobot = unit_for("dfrobot-sen0710", 1, river, "turb")
    said(dfrobot, framed("01 06 00 50 FF F6"))  # -1.0 NTU
    assert dfrobot.feed(bytes.fromhex("01 03 00 00 00 02 C4 0B"), 100.0)[0].values["turbidity"] == 41.5


@pytest.mark.parametrize(
    ("model", "request_", "answer"),
    [
        ("yosemitech-y532", framed("01 03 77 77 00 01"), ""),  # silent where others refuse
        ("yosemitech-y532", framed("01 06 28 00 00 01"), ""),
        ("yosemitech-y532", framed("01 03 26 00 00 05"), ""),  # no such block in this probe
        ("yosemitech-y532", framed("00 10 30 00 00 01 02 05 00"), ""),  # takes no broadcast
        ("yosemitech-y532", framed("02 03 28 00 00 02"), ""),
        ("yosemitech-y532", "01 03 28 00 00 02 CD AC", ""),  # wrong CRC
        ("seeed-s-ph-01", framed("01 03 77 77 00 01"), "01 83 02 C0 F1"),
        ("seeed-s-ph-01", framed("01 03 00 00 00 7E"), framed("01 83 03")),
        ("seeed-s-ph-01", framed("01 06 00 00 00 01"), framed("01 86 02")),
        ("seeed-s-ph-01", framed("01 2B 0E 01 00"), framed("01 AB 01")),
        ("hamilton-ph-arc", framed("01 03 08 29 00 02"), framed("01 83 02")),  # blocks whole or not at all
        ("epever-tracer", framed("01 04 31 00 00 14"), framed("01 84 02")),  # holes
        ("teledyne-t640", framed("01 02 00 00 00 08"), framed("01 02 01 00")),
    ],
)
def test_what_is_refused_and_how(model: str, request_: str, answer: str) -> None:
    assert said(unit_for(model, 1, river, "probe"), request_) == answer


def test_a_half_request_is_forgotten_after_a_silence() -> None:
    unit = unit_for("yosemitech-y532", 1, river, "ph")
    request = bytes.fromhex("01 03 28 00 00 02 CD AB")
    assert unit.feed(request[:5], 1.0) == []
    assert len(unit.feed(request[5:], 1.0 + SILENCE_S / 2)) == 1
    assert unit.feed(request[:5], 2.0) == []
    assert unit.feed(request[5:], 2.0 + SILENCE_S * 2) == []


def test_noise_without_end_fills_no_memory_and_deafens_nobody() -> None:
    unit = unit_for("yosemitech-y532", 1, river, "ph")
    noise = bytes(range(256)) * 4
    for _ in range(50):
        unit.feed(noise, 1.0)
    assert len(unit._ear) < 1000
    assert len(unit.feed(bytes.fromhex("01 03 28 00 00 02 CD AB"), 1.0)) == 1


def test_ascii_and_tcp_frames() -> None:
    ascii_unit = unit_for("renke-rs-ph-n01", 1, sense(ph=7.12, water_temperature=-3.5), "ph", framing="ascii")
    (answer,) = ascii_unit.feed(b"noise:010300\r\n:010300000002FA\r\n", 1.0)
    assert answer.data == b":010304" + b"02C8FFDD" + b"52\r\n"
    tcp = unit_for("teledyne-t640", 1, river, "t640", framing="tcp")
    request = bytes.fromhex("00 01 00 00 00 06 01 04 00 06 00 04")
    assert tcp.feed(request[:7], 1.0) == []
    (answer,) = tcp.feed(request[7:], 1.0)
    assert answer.data == bytes.fromhex("00 01 00 00 00 0B 01 04 08 41 A4 00 00 41 44 00 00")
    assert tcp.feed(bytes.fromhex("00 02 00 00 00 06 07 04 00 06 00 04"), 1.0) == []


def test_an_unknown_model_or_framing() -> None:
    with pytest.raises(ValueError, match="no emulator of 'y532'; there are: yosemitech-y532"):
        unit_for("y532", 1, river, "ph")
    with pytest.raises(ValueError, match="rtu, ascii or tcp"):
        unit_for("yosemitech-y532", 1, river, "ph", framing="udp")
