"""Faults of the emulated station: what each does to an answer, when, and how their text form is read."""

from __future__ import annotations

import pytest

from drivers.emulators.faults import (
    KINDS,
    BadFault,
    Fault,
    Faults,
    exception_instead,
    parse,
    signed_by_another,
)

RTU = bytes.fromhex("01 03 02 01 F4 B8 53")  # one register, 500: the CRC is checked against pymodbus below
TCP = bytes.fromhex("00 07 00 00 00 05 01 03 02 01 F4")


def treat(
    text: str, data: bytes = RTU, name: str = "ph1", now_s: float = 0.0, seed: int = 0
) -> tuple[bytes, bool]:
    treated = Faults(parse(text), seed).treat(name, "river", data, now_s)
    return b"".join(piece for _, piece in treated.pieces), treated.spoiled


def test_what_each_fault_does_to_an_answer() -> None:
    assert treat("silence:ph1") == (b"", True)
    assert treat("truncated:ph1") == (RTU[:4], True)
    assert treat("truncated=0.99:ph1") == (RTU[:6], True)
    garbled, spoiled = treat("garbled=3:ph1")
    assert spoiled
    assert (int.from_bytes(garbled, "big") ^ int.from_bytes(RTU, "big")).bit_count() == 3
    noisy, spoiled = treat("noise:ph1")
    assert not spoiled
    assert noisy[1:-1] != RTU
    assert RTU in noisy
    assert not noisy.startswith(RTU)
    assert not noisy.endswith(RTU)
    stray, spoiled = treat("stray:ph1")
    assert stray[1:] == RTU
    assert stray[0] in (0x00, 0xFF)
    assert not spoiled
    assert treat("wrong-unit=2:ph1")[0][:5] == b"\x03" + RTU[1:5]
    assert treat("wrong-unit:ph1", TCP) == (TCP[:6] + b"\x02" + TCP[7:], True)
    assert treat("wrong-unit:ph1", b"7.01\r") == (b"8.01\r", True)
    assert treat("exception=2:ph1", TCP) == (bytes.fromhex("00 07 00 00 00 03 01 83 02"), True)
    assert treat("exception:ph1", b"7.01\r") == (b"", True)
    dribble = Faults(parse("dribble=0.5:ph1")).treat("ph1", "river", b"abc", 0.0)
    assert dribble.pieces == ((0.0, b"a"), (0.5, b"b"), (0.5, b"c"))
    assert not dribble.spoiled
    late = Faults(parse("late=3:ph1")).treat("ph1", "river", b"abc", 0.0)
    assert (late.pieces, late.late_s, late.spoiled) == (((0.0, b"abc"),), 3.0, True)


def test_changed_modbus_frames_have_right_check_sums() -> None:
    """Oracle: the exception in the Modbus specification's manner, and pymodbus' own CRC."""
    from pymodbus.framer.rtu import FramerRTU

    frames = (RTU, signed_by_another(RTU, 2), exception_instead(RTU, 2))
    assert exception_instead(RTU, 2) == bytes.fromhex("01 83 02 C0 F1")
    for frame in frames:
        assert FramerRTU.compute_CRC(frame[:-2]).to_bytes(2, "big") == frame[-2:]


def test_windows_targets_and_probabilities() -> None:
    faults = Faults(parse("dead:turb1@30+60, unplug:dust1@120+15 noise:river@0.05  garbled:*@0.5@10+5;"[:-1]))
    assert faults.planned == (
        Fault("dead", "turb1", 30, 60),
        Fault("unplug", "dust1", 120, 15),
        Fault("noise", "river", probability=0.05),
        Fault("garbled", "*", 10, 5, 0.5),
    )
    assert [faults.dead("turb1", "river", s) for s in (29.9, 30, 89.9, 90)] == [False, True, True, False]
    assert not faults.dead("ph1", "river", 40)
    assert [f.target for f in faults.unplugs("dust1")] == ["dust1"]
    assert faults.unplugs("river") == []
    open_end = Faults(parse("dead:river@5+"))
    assert open_end.dead("ph1", "river", 1e9)


def test_the_same_seed_gives_the_same_faults() -> None:
    def run(seed: int) -> list[bytes]:
        faults = Faults(parse("noise:river@0.5 garbled:ph1@0.3"), seed)
        return [b"".join(p for _, p in faults.treat("ph1", "river", RTU, i).pieces) for i in range(200)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    clean = sum(data == RTU for data in run(1))
    assert 40 < clean < 100  # 0.5 * 0.7 of 200


def test_planted_one_by_one() -> None:
    faults = Faults()
    faults.plant("silence", "ph1", times=2)
    assert [faults.treat("ph1", "river", RTU, 0).pieces for _ in range(3)] == [(), (), ((0.0, RTU),)]
    assert faults.counts == {"silence": 2}
    faults.plant("dead", "ph1", times=None)
    assert faults.dead("ph1", "river", 0)
    faults.clear("ph1")
    assert not faults.dead("ph1", "river", 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dead", "not KIND:TARGET@WHEN"),
        ("daed:ph1", "did you mean 'dead'"),
        ("bang:ph1", "there are dead, silence"),
        ("dead:ph2", "did you mean 'ph1'"),
        ("dead:ph1@x+3", "'x' is not a start in s"),
        ("dead:ph1@3+-1", "'-1' is not a length in s"),
        ("noise:ph1@1.5", "not a probability"),
        ("noise:ph1@nan", "not a probability"),
        ("noise:ph1@0.1@0.2", "one window and one probability"),
        ("dead=3:ph1", "takes no amount"),
        ("late=soon:ph1", "'soon' is not delay in s"),
        ("truncated=2:ph1", "not part that comes"),
        ("dead:ph1@0.5", "wants a window"),
        ("unplug:river@0.5", "wants a window"),
    ],
)
def test_bad_texts_are_explained(text: str, says: str) -> None:
    with pytest.raises(BadFault, match=says.replace("+", r"\+")):
        parse(text, ("ph1", "river"))


def test_every_kind_is_understood_and_applied() -> None:
    for kind in KINDS:
        assert parse(f"{kind}:*")[0].kind == kind
