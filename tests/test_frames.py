"""Modbus frames against worked examples, however they are delivered; numbers in registers; reading plans."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers import modbus
from drivers.modbus import (
    answer_cut,
    crc16,
    decode,
    encode,
    lrc,
    pack,
    plan,
    read_pdu,
    unpack,
    write_register_pdu,
    write_registers_pdu,
)


def h(text: str) -> bytes:
    return bytes.fromhex(text)


# What a request is made of, the request on the wire, the answer, and the answer's data: worked examples of
# the sources named in the profiles and drivers; every CRC was computed by two implementations.
EXCHANGES = [
    ("three registers", 1, read_pdu(3, 0, 3), "01 03 00 00 00 03 05 CB", "01 03 06 00 01 00 02 00 03 FD 74"),
    ("Y532 pH", 1, read_pdu(3, 0x2800, 2), "01 03 28 00 00 02 CD AB", "01 03 04 1F 85 DB 40 B7 0E"),
    ("Y532 temperature", 1, read_pdu(3, 0x2400, 2), "01 03 24 00 00 02 CE FB", "01 03 04 00 00 A4 41 40 C3"),
    ("Y532 mV", 1, read_pdu(3, 0x1200, 2), "01 03 12 00 00 02 C1 73", "01 03 04 00 00 48 C1 0D A3"),
    ("Y532 status", 1, read_pdu(3, 0x0E00, 1), "01 03 0E 00 00 01 86 E2", "01 03 02 00 00 B8 44"),
    ("Y511 start, a read of nothing", 1, read_pdu(3, 0x2500, 0), "01 03 25 00 00 00 4E C6", "01 03 00 20 F0"),
    (
        "Y511 turbidity", 1, read_pdu(3, 0x2600, 5), "01 03 26 00 00 05 8E 81",
        "01 03 0A 00 00 92 41 00 00 2A 42 00 00 55 0B",
    ),
    (
        "Y511 wipe, a write of nothing", 1, write_registers_pdu(0x3100, b""), "01 10 31 00 00 00 00 74 94",
        "01 10 31 00 00 00 CE F5",
    ),
    (
        "Y520 start, a write of nothing", 1, write_registers_pdu(0x1C00, b""), "01 10 1C 00 00 00 00 D8 92",
        "01 10 1C 00 00 00 C7 99",
    ),
    ("Y511 wiper interval", 1, read_pdu(3, 0x3200, 1), "01 03 32 00 00 01 8A B2", "01 03 02 1E 00 B1 E4"),
    ("Aqualabo start", 40, write_register_pdu(1, 0xF), "28 06 00 01 00 0F 9F F7", "28 06 00 01 00 0F 9F F7"),
    ("Aqualabo wait", 40, read_pdu(3, 0xA4, 1), "28 03 00 A4 00 01 C2 10", "28 03 02 01 F4 E5 95"),
    (
        "Aqualabo values", 40, read_pdu(3, 0x53, 8), "28 03 00 53 00 08 B3 E4",
        "28 03 10 41 92 00 00 42 2A 00 00 42 2A 00 00 42 C4 00 00 7B 40",
    ),
    ("EPEVER battery", 1, read_pdu(4, 0x3104, 1), "01 04 31 04 00 01 7E F7", "01 04 02 05 04 BB A3"),
    ("EPEVER PV power", 1, read_pdu(4, 0x3102, 2), "01 04 31 02 00 02 DE F7", "01 04 04 30 39 00 00 24 89"),
    ("EPEVER current", 1, read_pdu(4, 0x331B, 2), "01 04 33 1B 00 02 0E 88", "01 04 04 FF 85 FF FF DB C9"),
    ("EPEVER charge", 1, read_pdu(4, 0x311A, 1), "01 04 31 1A 00 01 1E F1", "01 04 02 00 57 F8 CE"),
    ("EPEVER temperature", 1, read_pdu(4, 0x3110, 1), "01 04 31 10 00 01 3E F3", "01 04 02 FB 1E 7A 08"),
    ("T640 flags", 1, read_pdu(2, 0, 8), "01 02 00 00 00 08 79 CC", "01 02 01 22 21 91"),
]  # fmt: skip

READ_3 = read_pdu(3, 0, 3)
ANSWER_3 = h("01 03 06 00 01 00 02 00 03 FD 74")


@pytest.mark.parametrize(
    ("name", "unit", "pdu", "request_hex", "answer_hex"), EXCHANGES, ids=[e[0] for e in EXCHANGES]
)
def test_worked_frames(name: str, unit: int, pdu: bytes, request_hex: str, answer_hex: str) -> None:
    answer = h(answer_hex)
    assert pack("rtu", unit, pdu) == h(request_hex)
    assert answer_cut("rtu", unit, pdu)(answer) == (answer, len(answer))
    assert unpack("rtu", answer) == answer[1:-2]
    for framing in ("ascii", "tcp"):
        packed = pack(framing, unit, answer[1:-2], 7)
        assert answer_cut(framing, unit, pdu, 7)(packed) == (packed, len(packed))
        assert unpack(framing, packed) == answer[1:-2]


def test_more_worked_frames() -> None:
    assert pack("rtu", 1, write_registers_pdu(0x2300, h("1F 85 DB 40"))) == h(
        "01 10 23 00 00 02 04 1F 85 DB 40 33 A3"
    )
    assert pack("rtu", 1, write_registers_pdu(0x3000, h("05 00"))) == h("01 10 30 00 00 01 02 05 00 95 03")
    assert pack("rtu", 1, write_register_pdu(0x31, -1)) == h("01 06 00 31 FF FF D9 B5")
    assert pack("ascii", 1, READ_3) == b":010300000003F9\r\n"
    assert pack("tcp", 1, read_pdu(4, 6, 4), 1) == h("00 01 00 00 00 06 01 04 00 06 00 04")
    tcp = h("00 01 00 00 00 0B 01 04 08 41 A4 00 00 41 44 00 00")
    assert answer_cut("tcp", 1, read_pdu(4, 6, 4), 1)(tcp) == (tcp, 17)
    assert (
        crc16(b"123456789") == 0x4B37
    )  # the check value of CRC-16/MODBUS in the catalogue of parametrised CRCs
    assert lrc(h("01 03 00 00 00 03")) == 0xF9


@pytest.mark.parametrize(
    "make",
    [
        lambda: read_pdu(3, 0, 126),
        lambda: read_pdu(3, 0xFFFF, 2),
        lambda: read_pdu(3, -1, 2),
        lambda: read_pdu(1, 0, 2001),
        lambda: read_pdu(6, 0, 1),
        lambda: write_register_pdu(0, 65536),
        lambda: write_register_pdu(0, -32769),
        lambda: write_register_pdu(65536, 0),
        lambda: write_registers_pdu(0, b"\0" * 248),
        lambda: write_registers_pdu(0, b"\0"),
        lambda: write_registers_pdu(0xFFFF, b"\0" * 4),
        lambda: pack("rtux", 1, READ_3),
        lambda: answer_cut("rtux", 1, READ_3),
        lambda: answer_cut("rtu", 1, b"\x2b\x0e\x01\x00"),
        lambda: plan([(0, 126)]),
        lambda: plan([(0, 0)]),
        lambda: plan([(65535, 2)]),
        lambda: decode(b"\0\0", "int17", "AB"),
        lambda: decode(b"\0\0", "int16", "BAC"),
        lambda: decode(b"\0\0\0\0", "float32", "AB"),
        lambda: encode(65536, "uint16", "AB"),
        lambda: encode(1e39, "float32", "ABCD"),
        lambda: encode(1.5, "uint16", "AB"),
    ],
)
def test_impossible_requests_are_refused_here(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (each function says it in its own words)
        make()


# ── framers ───────────────────────────────────────────────────────────────────────────────────────────────

OTHERS = {
    "noise": h("00 FF 7A 13"),
    "a stray unit byte": h("01"),
    "another unit": h("02 03 06 00 01 00 02 00 03 B9 74"),
    "another function": pack("rtu", 1, h("04 06 00 09 00 09 00 09")),
    "another byte count": h("01 03 02 00 00 B8 44"),
    "our own request": h("01 03 00 00 00 03 05 CB"),
    "a damaged answer": h("01 03 06 00 01 00 02 00 04 FD 74"),
    "a damaged exception": h("01 83 02 C0 F0"),
    "the neighbour's exception": h("02 83 02 30 F1"),
    "the neighbour's count of nothing": h("02 03 00 20 00"),
}


def deliver(cut: modbus.Cut, data: bytes) -> bytes | None:
    """What the cut gives when bytes come one by one; checks that it says the same with all of them at
    once.
    """
    whole = cut(data)
    for n in range(1, len(data) + 1):
        found = cut(data[:n])
        if found is not None:
            assert found == whole
            return found[0]
    assert whole is None
    return None


@pytest.mark.parametrize("before", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("after", [b"", b"\0\xff", ANSWER_3], ids=["", "noise after", "twice"])
def test_rtu_passes_over_what_is_not_the_answer(before: bytes, after: bytes) -> None:
    cut = answer_cut("rtu", 1, READ_3)
    assert deliver(cut, before + ANSWER_3 + after) == ANSWER_3
    assert deliver(cut, before) is None


def test_rtu_takes_an_exception_for_the_answer_but_none_inside_one() -> None:
    cut = answer_cut("rtu", 1, READ_3)
    assert deliver(cut, h("00 01 83 02 C0 F1 00")) == h("01 83 02 C0 F1")
    holds_one = pack("rtu", 1, h("03 06 01 83 02 C0 F1 00"))
    assert deliver(cut, holds_one) == holds_one
    assert deliver(cut, h("01 84 02 C2 C1")) is None


@pytest.mark.parametrize(
    ("framing", "before"),
    [
        ("ascii", b"\xff\0:"),
        ("ascii", b":0103\r\n"),
        ("ascii", b":01030600010002000"),
        ("ascii", pack("ascii", 2, ANSWER_3[1:-2])),
        ("ascii", pack("ascii", 1, READ_3)),
        ("ascii", b":010306000100020003F1\r\n"),
        ("ascii", b":01030600010002000\xff\xff\xff\r\n"),
        ("tcp", pack("tcp", 1, ANSWER_3[1:-2], 6)),
        ("tcp", pack("tcp", 2, ANSWER_3[1:-2], 7)),
        ("tcp", pack("tcp", 1, h("04 06 00 01 00 02 00 03"), 7)),
        ("tcp", pack("tcp", 1, h("03 04 00 01 00 02"), 7)),
        ("tcp", pack("tcp", 1, h("84 02"), 7)),
        ("tcp", b"\xff\x00\xff"),
    ],
)
def test_ascii_and_tcp_pass_over_what_is_not_the_answer(framing: str, before: bytes) -> None:
    answer = pack(framing, 1, ANSWER_3[1:-2], 7)
    cut = answer_cut(framing, 1, READ_3, 7)
    assert deliver(cut, before + answer + b"\0\xff") == answer
    assert deliver(cut, before) is None
    refusal = pack(framing, 1, h("83 06"), 7)
    assert deliver(cut, before + refusal) == refusal


@given(
    framing=st.sampled_from(["rtu", "ascii", "tcp"]),
    unit=st.integers(1, 247),
    function=st.sampled_from([3, 4]),
    data=st.binary(max_size=250).map(lambda b: b[: len(b) // 2 * 2]),
    noise=st.binary(max_size=8),
    after=st.binary(max_size=8),
)
@settings(deadline=None, derandomize=True, max_examples=150)
@example(framing="rtu", unit=1, function=3, data=h("01 83 02 C0 F1 00"), noise=b"\x01", after=b"")
def test_any_answer_is_found(
    framing: str, unit: int, function: int, data: bytes, noise: bytes, after: bytes
) -> None:
    request = read_pdu(function, 0, len(data) // 2)
    answer = pack(framing, unit, bytes((function, len(data))) + data, 0x1234)
    cut = answer_cut(framing, unit, request, 0x1234)
    assert deliver(cut, answer + after) == answer
    found = deliver(cut, noise + answer + after)
    # Noise that itself reads as the head of a TCP frame hides what follows until that frame is over, and a
    # damaged head of our own answer does so on RTU; nothing false may come of it.
    assert found == answer or found is None
    assert deliver(cut, noise) is None or len(noise) >= 5


@given(st.binary(max_size=300))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_no_noise_is_an_answer(noise: bytes) -> None:
    for framing in ("rtu", "ascii", "tcp"):
        assert deliver(answer_cut(framing, 1, READ_3, 9), noise) is None


# ── values and plans ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "form", "order", "value"),
    [
        ("42 F6 E9 79", "float32", "ABCD", 123.456),
        ("E9 79 42 F6", "float32", "CDAB", 123.456),
        ("F6 42 79 E9", "float32", "BADC", 123.456),
        ("79 E9 F6 42", "float32", "DCBA", 123.456),
        ("FF 85 FF FF", "int32", "CDAB", -123),
        ("30 39 00 00", "uint32", "CDAB", 12345),
        ("FF FF FF 85", "int32", "ABCD", -123),
        ("FF FF FF 85", "uint32", "ABCD", 4294967173),
        ("FB 1E", "int16", "AB", -1250),
        ("FB 1E", "uint16", "AB", 64286),
        ("1E 00", "uint16", "BA", 30),
        ("1E 00", "uint16", "DCBA", 30),
        ("05 04", "uint16", "CDAB", 1284),
        ("40 5E DD 2F 1A 9F BE 77", "float64", "ABCD", 123.456),
        ("BE 77 1A 9F DD 2F 40 5E", "float64", "CDAB", 123.456),
        ("5E 40 2F DD 9F 1A 77 BE", "float64", "BADC", 123.456),
        ("77 BE 9F 1A 2F DD 5E 40", "float64", "DCBA", 123.456),
        ("FF FF FF FF FF FF FF FE", "int64", "ABCD", -2),
        ("00 02 00 00 00 00 00 00", "uint64", "CDAB", 2),
    ],
)
def test_byte_orders(data: str, form: str, order: str, value: float) -> None:
    assert decode(h(data), form, order) == pytest.approx(value, rel=1e-7)
    assert encode(value, form, order) == h(data)


def test_not_a_number_stays_one() -> None:
    assert math.isnan(decode(h("7F A0 00 00"), "float32", "ABCD"))


@given(
    data=st.binary(min_size=8, max_size=8),
    form=st.sampled_from(sorted(modbus.FORMATS)),
    order=st.sampled_from(modbus.ORDERS[:4]),
)
@settings(deadline=None, derandomize=True, max_examples=200)
def test_encode_undoes_decode(data: bytes, form: str, order: str) -> None:
    data = data[: 2 * modbus.registers(form)]
    value = decode(data, form, order)
    if not math.isnan(value):
        assert encode(value, form, order) == data


@pytest.mark.parametrize(
    ("spans", "limit", "gap", "reads"),
    [
        ([], 125, 0, []),
        ([(0, 2), (2, 2), (4, 1)], 125, 0, [(0, 5)]),
        ([(4, 1), (0, 2), (2, 2), (0, 2)], 125, 0, [(0, 5)]),
        ([(0, 2), (3, 2)], 125, 0, [(0, 2), (3, 2)]),
        ([(0, 2), (3, 2)], 125, 1, [(0, 5)]),
        ([(0, 2), (1, 4), (2, 1)], 125, 0, [(0, 5)]),
        ([(i, 1) for i in range(126)], 125, 0, [(0, 125), (125, 1)]),
        ([(0, 124), (124, 2)], 125, 0, [(0, 124), (124, 2)]),
        ([(0, 2), (2, 2), (4, 2)], 4, 0, [(0, 4), (4, 2)]),
        ([(65534, 2), (0, 1)], 125, 0, [(0, 1), (65534, 2)]),
    ],
)
def test_plan(spans: list[tuple[int, int]], limit: int, gap: int, reads: list[tuple[int, int]]) -> None:
    assert plan(spans, limit, gap) == reads


@given(
    spans=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 20)), max_size=30),
    limit=st.integers(20, 125),
    gap=st.integers(0, 10),
)
@settings(deadline=None, derandomize=True, max_examples=200)
def test_plan_covers_each_span_whole_and_reads_no_hole(
    spans: list[tuple[int, int]], limit: int, gap: int
) -> None:
    reads = plan(spans, limit, gap)
    wanted = {r for address, count in spans for r in range(address, address + count)}
    for address, count in spans:
        assert any(a <= address and address + count <= a + n for a, n in reads)
    for address, count in reads:
        assert count <= limit
        holes = sorted(r for r in range(address, address + count) if r not in wanted)
        runs = [r for i, r in enumerate(holes) if i < gap or holes[i - gap] != r - gap]
        assert len(runs) == len(holes), "a hole wider than the gap was read"
