"""Profiles: the format, its mistakes in a technician's words, and how numbers come out of answers."""

from __future__ import annotations

import json
import math
import struct
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import catalogue, datafile, profile, registers
from drivers.base import InstrumentFault, NotReady
from drivers.catalogue import PROFILES, BadProfile
from drivers.modbus_instrument import ModbusInstrument
from drivers.profile_format import SIZES, Profile
from drivers.profile_plan import judge, plan

SCHEMA = Path(__file__).parent.parent / "docs" / "schema" / "profile.schema.json"
SHIPPED = sorted(PROFILES.glob("*.toml"))

HEAD = """
model = "it"
maker = "Somebody"
title = "It"
medium = "water"
verified = "no"
line = { baudrate = 9600, format = "8N1" }
source = { manual = "m", revision = "r", table = "t" }
"""
PH = """
[[register]]
quantity = "ph"
unit = "pH"
digits = 2
address = 0
format = "int16"
scale = 0.01
"""


IT = HEAD + PH
S = IT + '[[status]]\nname = "s"\naddress = 1\n'


def ph(old: str, new: str) -> str:
    """The whole profile with something changed in its register."""
    return HEAD + PH.replace(old, new)


def loaded(tmp_path: Path, text: str) -> Profile:
    file = tmp_path / "it.toml"
    file.write_text(text, encoding="utf-8")
    return profile.load(file)


def read(p: Profile, *data: bytes) -> tuple[dict[str, float], tuple[str, ...]]:
    """What a profile makes of the registers' bytes in the answers to its requests."""
    requests, numbers, states = plan(p)
    answers = [bytes((r.pdu[0], len(d))) + d for r, d in zip(requests, data, strict=True)]
    return judge(answers, requests, numbers, states)


def asked(p: Profile) -> list[str]:
    return [request.pdu.hex(" ") for request in plan(p)[0]]


# ── what comes with the product ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_profile_loads_and_keeps_to_the_published_schema(file: Path) -> None:
    p = profile.load(file)
    assert p.model == file.stem
    jsonschema.validate(
        tomllib.loads(file.read_text(encoding="utf-8")), json.loads(SCHEMA.read_text(encoding="utf-8"))
    )
    assert len(file.read_bytes()) < profile.FILE_LIMIT / 10


def test_the_published_schema_is_the_code_s() -> None:
    made = json.dumps(profile.schema(), indent=1, ensure_ascii=False) + "\n"
    assert SCHEMA.read_text(encoding="utf-8") == made, (
        "write it anew: python -c 'import json; from drivers import profile; "
        "print(json.dumps(profile.schema(), indent=1, ensure_ascii=False))' > docs/schema/profile.schema.json"
    )


# ── mistakes ────────────────────────────────────────────────────────────────────────────────────────────────

MISTAKES = [
    ("", "it.toml: model: is missing; the file's name"),
    (HEAD, "it.toml: register: is missing; at least one [[register]]"),
    (
        HEAD.replace('"it"', '"other"') + PH,
        "model: 'other' is not the file's name; name the file other.toml",
    ),
    (
        HEAD.replace('"it"', '"../it"') + PH,
        "model: '../it' cannot be used; the file's name: small letters",
    ),
    (HEAD.replace("source =", "sauce =") + PH, "sauce: no such key; did you mean source?"),
    (
        HEAD.replace(', table = "t"', "") + PH,
        "source.table: is missing; the table or page with the registers",
    ),
    (HEAD.replace("9600", "9601") + PH, "line.baudrate: 9601 cannot be used; 1200, 2400"),
    (HEAD.replace("8N1", "8N3") + PH, "line.format: '8N3' cannot be used; data bits, parity, stop bits"),
    (HEAD.replace("water", "wine") + PH, "medium: 'wine' cannot be used; water, air, soil"),
    (
        HEAD + "address = 0\n" + PH,
        "address: 0 cannot be used; the address it leaves the factory with, 1 to 247",
    ),
    (HEAD + "timing = { answer = 1 }\n" + PH, "timing.answer: no such key; did you mean answer_s?"),
    (
        HEAD + "timing = { answer_s = nan }\n" + PH,
        "timing.answer_s: nan cannot be used; seconds it may take",
    ),
    (HEAD + "timing = 5\n" + PH, "timing: 5 cannot be used"),
    (
        ph("adress", "x").replace("address", "adress"),
        "register 1 (ph).adress: no such key; did you mean address?",
    ),
    (
        ph("address = 0", "address = 65536"),
        "register 1 (ph).address: 65536 cannot be used; the address on the wire",
    ),
    (ph("address = 0", "address = -1"), "register 1 (ph).address: -1 cannot be used"),
    (ph("address = 0", 'address = "0"'), "register 1 (ph).address: '0' cannot be used"),
    (ph("address = 0", "address = true"), "register 1 (ph).address: True cannot be used"),
    (ph("int16", "int15"), "register 1 (ph).format: 'int15' cannot be used; one of int16, uint16"),
    (ph("digits = 2\n", ""), "register 1 (ph).digits: is missing; digits behind the point"),
    (ph('"ph"', '"pH"'), "register 1 (pH).quantity: 'pH' cannot be used; small letters"),
    (ph('"pH"', '"рН"'), "register 1 (ph).unit: 'рН' cannot be used; ASCII without spaces"),  # Cyrillic
    (ph('"pH"', '"mV"'), "register 1 (ph).unit: ph is kept in pH, not mV; convert with scale"),
    (ph("0.01", "0"), "register 1 (ph).scale: is 0; value = number on the wire x scale + offset"),
    (
        IT + "valid = [14, 0]\n",
        "register 1 (ph).valid: [14.0, 0.0] is no range; write [lowest, highest]",
    ),
    (IT + "valid = [0]\n", "register 1 (ph).valid: cannot be used"),
    (IT + PH, "register 2 (ph).quantity: stands twice; give each quantity a name of its own"),
    (
        IT + PH.replace('"ph"', '"orp"').replace('"pH"', '"mV"'),
        "register 2 (orp).address: overlaps the register of ph",
    ),
    (ph("address = 0", "address = 65535").replace("int16", "float32"), "ends behind 65535"),
    (IT + "[[status]]\naddress = 1\n", "status 1.name: is missing; what the manual calls it"),
    (S + 'values = { x = "y" }\n', "status 1 (s).values: 'x' is no number from 0"),
    (S + 'bits = { 16 = "y" }', "status 1 (s).bits: '16' is no number from 0 to 15"),
    (S + 'of = ["turbidity"]\n', "no register measures 'turbidity'; there are: ph"),
    (S + 'format = "float32"\n', "a status is no float"),
    (IT + "[[start]]\n", "start 1: has 0 steps in it; write exactly one of: write, write_zero"),
    (
        IT + "[[before]]\nwait_s = 1\nread_zero = 2\n",
        "before 1: has 2 steps in it; write exactly one of",
    ),
    (IT + "[[before]]\nsleep_s = 1\n", "before 1.sleep_s: no such key"),
    (
        IT + "[[before]]\nwrite = { address = 1, value = 65536 }\n",
        "before 1.write.value: 65536 cannot be used; 0 to 65535",
    ),
    (
        IT + "[[block]]\naddress = 0\ncount = 126\n",
        "block 1.count: 126 cannot be used; 1 to 125 registers",
    ),
    (IT + "[[block]]\naddress = 65535\ncount = 2\n", "block 1.count: ends behind 65535"),
    (IT + "[clean]\nbusy_s = 1\nstep = []\n", "clean.step: cannot be used"),
    (
        IT + '[[setting]]\noption = "o_min"\nsays = "x"\naddress = 9\nallowed = [0, 9]\ncleans_every_s = 60',
        "setting 1 (o_min).cleans_every_s: there is no [clean]",
    ),
    (
        IT + '[[setting]]\noption = "o_min"\nsays = "x"\naddress = 9\nallowed = [0, 70000]\n',
        "setting 1 (o_min).allowed: [0, 70000] is no range; [lowest, highest] within 0 to 65535",
    ),
    (
        IT + "[not_ready]\nzeros = false\n",
        "not_ready.zeros: False cannot be used; true: a reading whose bytes",
    ),
    ("register = 5\n" + HEAD, "register: 5 cannot be used; at least one [[register]]"),
    ("model = ", "it.toml: is not TOML: Invalid value (at end of document); compare it with one"),
    ("a" + ".a" * 5000 + " = 1", "it.toml: "),
    ("model = " + "[" * 5000, "it.toml: is not TOML"),
    ("#" * 70000, "has more than 65536 bytes; a profile is short"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_one_line_with_file_key_and_remedy(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadProfile) as e:
        loaded(tmp_path, text)
    assert says in str(e.value)
    assert str(tmp_path / "it.toml") in str(e.value)
    assert all("\n" not in line and len(line) < 700 for line in e.value.lines)
    assert e.value.lines[0] == str(e.value)


def test_each_mistake_has_its_line_and_a_misspelt_key_comes_first(tmp_path: Path) -> None:
    with pytest.raises(BadProfile) as e:
        loaded(tmp_path, HEAD + PH.replace("address", "adress").replace("int16", "int15"))
    keys = [line.split(": ")[1] for line in e.value.lines]
    assert keys == ["register 1 (ph).adress", "register 1 (ph).address", "register 1 (ph).format"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "it.toml").write_bytes(b'model = "\xff"')
    with pytest.raises(BadProfile, match=r"is not UTF-8 \(byte 9\); save it as UTF-8 text"):
        profile.load(tmp_path / "it.toml")
    with pytest.raises(BadProfile, match="cannot be read: No such file"):
        profile.load(tmp_path / "none.toml")


words = st.sampled_from([*Profile.model_fields, "register", "address", "format", "quantity", "name", "x"])
plain = st.recursive(
    st.one_of(st.integers(-(2**65), 2**65), st.floats(), st.text(max_size=5), st.booleans()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.dictionaries(st.sampled_from([*Profile.model_fields, "register", "y"]), plain, max_size=8))
def test_whatever_a_file_holds_the_answer_is_a_profile_or_lines(data: dict[str, Any]) -> None:
    base = tomllib.loads(HEAD + PH)
    try:
        Profile.model_validate({**base, **data})
    except ValueError as e:  # pydantic's; its complaints must all find words
        for error in e.errors(include_url=False):  # type: ignore[attr-defined]  # pydantic's ValidationError
            key, what, remedy = datafile.mistake(error, {**base, **data}, Profile)
            assert key
            assert what
            assert remedy


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_registers_side_by_side_are_one_request_and_holes_are_not_read_unless_allowed(tmp_path: Path) -> None:
    far = PH.replace('"ph"', '"ph_b"').replace("address = 0", "address = 3")
    near = PH.replace('"ph"', '"ph_c"').replace("address = 0", "address = 1")
    elsewhere = PH.replace('"ph"', '"ph_d"').replace("address = 0", 'address = 0\ntable = "input"')
    assert asked(loaded(tmp_path, HEAD + PH + near)) == ["03 00 00 00 02"]
    assert asked(loaded(tmp_path, HEAD + far + PH)) == ["03 00 00 00 01", "03 00 03 00 01"]
    assert asked(loaded(tmp_path, HEAD + "gap = 2\n" + far + PH)) == ["03 00 00 00 04"]
    assert asked(loaded(tmp_path, HEAD + PH + elsewhere)) == ["03 00 00 00 01", "04 00 00 00 01"]
    block = "[[block]]\naddress = 2\ncount = 5\n"
    assert asked(loaded(tmp_path, HEAD + PH + far + block)) == ["03 00 02 00 05", "03 00 00 00 01"]
    p = loaded(tmp_path, HEAD + PH + far + block)
    values, _ = read(p, bytes.fromhex("FFFF 02C8 FFFF FFFF FFFF"), bytes.fromhex("02BC"))
    assert values == {"ph": 7.0, "ph_b": 7.12}


def test_numbers_are_the_nearest_to_what_the_display_shows(tmp_path: Path) -> None:
    p = loaded(tmp_path, HEAD + PH)
    for raw in range(-2000, 2000):
        assert read(p, raw.to_bytes(2, "big", signed=True))[0]["ph"] == float(f"{raw}e-2")
    offset = loaded(tmp_path, HEAD + PH.replace("0.01", "0.5") + "offset = -40\n")
    assert read(offset, bytes.fromhex("00A1"))[0]["ph"] == 40.5
    odd = loaded(tmp_path, HEAD + PH.replace("0.01", "1.5"))
    assert read(odd, bytes.fromhex("0003"))[0]["ph"] == 4.5
    whole = loaded(tmp_path, HEAD + PH.replace("scale = 0.01\n", ""))
    (value,) = read(whole, bytes.fromhex("0007"))[0].values()
    assert (value, type(value)) == (7.0, float)


BYTES = [  # format, order, bytes on the wire, number: the float as every manual's example, 123.456
    ("float32", "ABCD", "42 F6 E9 79", 123.456),
    ("float32", "CDAB", "E9 79 42 F6", 123.456),
    ("float32", "BADC", "F6 42 79 E9", 123.456),
    ("float32", "DCBA", "79 E9 F6 42", 123.456),
    ("uint32", "CDAB", "30 39 00 00", 12345.0),
    ("int32", "CDAB", "FF 85 FF FF", -123.0),
    ("int16", "ABCD", "FF 83", -125.0),
    ("uint16", "DCBA", "1E 00", 30.0),
    ("uint16", "BADC", "1E 00", 30.0),
    ("uint16", "CDAB", "00 1E", 30.0),
    ("first-byte", "ABCD", "03 FF", 3.0),
    ("second-byte", "DCBA", "FF 03", 3.0),
    ("float64", "ABCD", "40 5E DD 2F 1A 9F BE 77", 123.456),
    ("int64", "DCBA", "FE FF FF FF FF FF FF FF", -2.0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "order", "wire", "number"), BYTES)
def test_byte_orders(tmp_path: Path, kind: str, order: str, wire: str, number: float) -> None:
    text = PH.replace("int16", kind).replace("scale = 0.01", f'order = "{order}"')
    values, notes = read(loaded(tmp_path, HEAD + text), bytes.fromhex(wire))
    assert values == {"ph": pytest.approx(number, rel=1e-6)}
    assert notes == ()


kinds = st.sampled_from(list(registers.FORMATS))
orders = st.sampled_from(("ABCD", "CDAB", "BADC", "DCBA"))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    layout=st.lists(st.tuples(kinds, orders), min_size=1, max_size=12),
    data=st.binary(min_size=200, max_size=200),
    hole=st.integers(0, 3),
)
def test_one_unpacking_gives_what_decoding_each_number_gives(
    layout: list[tuple[str, str]], data: bytes, hole: int
) -> None:
    end, entries, expected = 0, [], {}
    for number, (kind, order) in enumerate(layout):
        name, first, end = f"q{number}", end, end + SIZES[kind]
        place = {"address": first, "format": kind, "order": order}
        entries.append({"quantity": name, "unit": "x", "digits": 0, **place})
        expected[name] = registers.decode(data[2 * first : 2 * end], kind, order)
        end += hole
    p = Profile.model_validate({**tomllib.loads(HEAD), "register": entries, "gap": 3})
    values, notes = read(p, data[: 2 * (end - hole)])
    assert values == {name: float(x) for name, x in expected.items() if math.isfinite(x)}
    bad = [f"{name}: {x:g} stands for no number" for name, x in expected.items() if not math.isfinite(x)]
    assert list(notes) == bad


# ── what is no number ───────────────────────────────────────────────────────────────────────────────────────


def test_sentinels_and_impossible_values_are_noted_and_not_passed_on(tmp_path: Path) -> None:
    p = loaded(tmp_path, HEAD + PH + "invalid = [32767, -32768]\nvalid = [0, 14]\n")
    for raw, note in (
        ("7FFF", "ph: 32767 stands for no number"),
        ("8000", "ph: -32768 stands for no number"),
        ("FFFF", "ph: -0.01 pH is outside 0 to 14, all it can measure"),
        ("0579", "ph: 14.01 pH is outside 0 to 14, all it can measure"),
    ):
        assert read(p, bytes.fromhex(raw)) == ({}, (note,))
    for raw, value in (("0000", 0.0), ("0578", 14.0)):
        assert read(p, bytes.fromhex(raw)) == ({"ph": value}, ())
    inside = loaded(tmp_path, HEAD + PH + "invalid = [0]\n")  # a sentinel that would pass for a number
    assert read(inside, bytes(2)) == ({}, ("ph: 0 stands for no number",))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_never_numbers(tmp_path: Path, number: float) -> None:
    p = loaded(tmp_path, HEAD + PH.replace("int16", "float32"))
    values, notes = read(p, struct.pack(">f", number))
    assert values == {}
    assert notes == (f"ph: {number:g} stands for no number",)


STATUS = '[[status]]\nname = "state"\naddress = 1\n'


def test_a_status_that_is_not_good_is_a_fault_unless_the_profile_says_otherwise(tmp_path: Path) -> None:
    def with_status(more: str) -> Profile:
        return loaded(tmp_path, HEAD + PH + STATUS + more)

    good = bytes.fromhex("02C8 0000")
    for more in ("", 'means = "note"', 'bits = { 3 = "lamp" }'):
        assert read(with_status(more), good) == ({"ph": 7.12}, ())
    bad = bytes.fromhex("02C8 0009")
    with pytest.raises(InstrumentFault, match=r"^state 9: the source gives no meaning for it$"):
        read(with_status(""), bad)
    with pytest.raises(InstrumentFault, match=r"^state 9: lamp out$"):
        read(with_status('values = { 9 = "lamp out" }'), bad)
    with pytest.raises(InstrumentFault, match=r"^state 9: wet and lamp out$"):
        read(with_status('bits = { 0 = "wet", 3 = "lamp out" }'), bad)
    assert read(with_status('bits = { 1 = "dry" }'), bad) == ({"ph": 7.12}, ())  # bits that do not count
    with pytest.raises(NotReady, match=r"^state 9: warming up$"):
        read(with_status('values = { 9 = "warming up" }\nmeans = "not-ready"'), bad)
    assert read(with_status('means = "note"\ngood = [0, 9]'), bad) == ({"ph": 7.12}, ())
    assert read(with_status('means = "note"\nvalues = { 9 = "old" }'), bad) == (
        {"ph": 7.12},
        ("state 9: old",),
    )
    assert read(with_status('of = ["ph"]\nvalues = { 9 = "unplugged" }'), bad) == (
        {},
        ("ph: state 9: unplugged",),
    )


# ── options ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("address", "options", "says"),
    [
        (0, {}, "address 0 is no Modbus address: 1 to 247"),
        (248, {}, "address 248 is no Modbus address: 1 to 247"),
        (1, {"warmup_s": 1}, "yosemitech-y511 has no option 'warmup_s': did you mean warm_up_s?"),
        (1, {"colour": 1}, "has no option 'colour': it has: warm_up_s, answer_s, wipe_interval_min"),
        (1, {"warm_up_s": "1"}, "option warm_up_s = '1': must be a number from 0 to 3600"),
        (1, {"warm_up_s": -1}, "must be a number from 0 to 3600"),
        (1, {"warm_up_s": math.nan}, "must be a number from 0 to 3600"),
        (1, {"warm_up_s": True}, "must be a number from 0 to 3600"),
        (
            1,
            {"wipe_interval_min": 1.5},
            "option wipe_interval_min = 1.5: must be a whole number from 0 to 1440",
        ),
        (1, {"wipe_interval_min": 1441}, "must be a whole number from 0 to 1440"),
    ],
)
def test_a_bad_address_or_option_is_refused_with_a_hint(
    address: int, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError) as e:  # noqa: PT011  # the text is compared below
        catalogue.find("yosemitech-y511").make(address, options)
    assert says in str(e.value)


def test_an_instrument_offers_only_what_its_profile_has() -> None:
    def offers(model: str) -> set[str]:
        made = catalogue.find(model).make()
        assert isinstance(made, ModbusInstrument)
        return {name for name in ("identify", "clean", "sleep", "wake") if hasattr(made, name)}

    assert offers("yosemitech-y511") == {"identify", "clean"}
    assert offers("yosemitech-y510") == {"identify"}
    assert offers("dfrobot-sen0710") == set()
