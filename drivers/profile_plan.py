"""What is worked out once for a profile: the requests of a reading, and how numbers come out of the answers.

    profile          float at 0x2600, float at 0x2602, byte at 0x2604, all low byte first
    one request      03 26 00 00 05
    its answer       03 0A 00 00 92 41 00 00 2A 42 00 00
                           └─ 18.25 ─┘ └─ 42.5 ──┘ └ error byte 0

The places of the wanted bytes, the highest of each number first, are listed beforehand; so any byte order,
holes and single bytes cost one picking, and one `struct` call gives all numbers. No I/O here.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from drivers import registers
from drivers.base import InstrumentFault, NotReady, Quantity
from drivers.modbus import read_pdu
from drivers.profile_sizes import SIZES

if TYPE_CHECKING:
    from drivers.profile_format import Profile, Register, Status

FUNCTIONS = {"holding": 3, "input": 4}
"""The function that reads each table."""

_CODES = {**registers.FORMATS, "first-byte": "B", "second-byte": "B"}
_LARGEST = sys.float_info.max

Number = tuple[
    int, str, float, float, Callable[[float], float] | None, frozenset[float] | None, Callable[[float], str]
]
"""Place among the unpacked numbers, quantity, range, scaling, invalid numbers, words for a bad one."""
State = tuple[int, frozenset[int], "Status"]
"""Place among the unpacked numbers, values that are good, the rest."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a reading, and what turns the PDU of its answer into numbers as they are on the wire."""

    pdu: bytes
    unpack: Callable[[bytes], tuple[Any, ...]]


Plan = tuple[list[Request], list[Number], list[State]]

SPLITS = 3
"""Ways to ask: as the profile says; without reading over holes; each number by itself."""
PROFILES_KNOWN = 256


def quantities(profile: Profile) -> tuple[Quantity, ...]:
    """What an instrument of this profile measures, in the profile's order."""
    return tuple(Quantity(r.quantity, r.unit, r.digits) for r in profile.registers)


def plan(profile: Profile, split: int = 0) -> Plan:
    """The requests of a reading, and for each register and status where its number is and what it means.

    `split`, below `SPLITS`, says how far the requests are taken apart. The profile's blocks stay whole.
    """
    fields: list[Register | Status] = [*profile.registers, *profile.status]
    place: dict[int, int] = {}  # of each field, by its number, among all unpacked numbers
    requests: list[Request] = []
    for table, address, count in _pieces(profile, split):
        mine = [i for i, f in enumerate(fields) if i not in place and _within(f, table, address, count)]
        place |= {i: len(place) + n for n, i in enumerate(mine)}
        at = [byte for i in mine for byte in _bytes(fields[i], 2 + 2 * (fields[i].address - address))]
        codes = "".join(_CODES[fields[i].format] for i in mine)
        pdu = read_pdu(FUNCTIONS[table], address, count)
        requests.append(Request(pdu, _unpacker(codes, at, 2 + 2 * count)))
    first = len(profile.registers)
    numbers = [_number(r, place[i]) for i, r in enumerate(profile.registers)]
    states = [(place[i], frozenset(s.good), s) for i, s in enumerate(profile.status, first)]
    return requests, numbers, states


@dataclass(frozen=True, slots=True)
class _Known:
    profile: Profile
    plans: list[Plan]


_known: dict[int, _Known] = {}


def plans(profile: Profile) -> list[Plan]:
    """All ways to ask that differ, the one with the fewest requests first; worked out once for a profile."""
    known = _known.get(id(profile))
    if known is None:
        found = [plan(profile)]
        for split in range(1, SPLITS):
            finer = plan(profile, split)
            if len(finer[0]) > len(found[-1][0]):
                found.append(finer)
        if len(_known) >= PROFILES_KNOWN:
            _known.clear()
        known = _known[id(profile)] = _Known(profile, found)  # holds the profile, so its id stays its own
    return known.plans


def judge(
    answers: list[bytes], requests: list[Request], numbers: list[Number], states: list[State]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """The numbers in the answers, and notes about those that are none.

    Raises InstrumentFault or NotReady where a status says so.
    """
    raw: tuple[float, ...] = ()
    for request, answer in zip(requests, answers, strict=True):
        raw += request.unpack(answer)
    notes: list[str] = []
    withheld: list[str] = []
    for place, good, status in states:
        if raw[place] not in good:
            _heed(status, int(raw[place]), notes, withheld)
    values: dict[str, float] = {}
    for place, name, lowest, highest, convert, invalid, explain in numbers:
        number = raw[place]
        if invalid is None or number not in invalid:
            value = number if convert is None else convert(number)
            if lowest <= value <= highest:  # false for NaN
                values[name] = value
                continue
        notes.append(explain(number))
    for name in withheld:
        values.pop(name, None)
    return values, tuple(notes)


# ── inside ─────────────────────────────────────────────────────────────────────────────────────────────────


def _pieces(profile: Profile, split: int) -> Iterator[tuple[str, int, int]]:
    """Table, address and count of each request: the profile's blocks, then as few others as it takes."""
    fields: list[Register | Status] = [*profile.registers, *profile.status]
    for block in profile.block:
        yield block.table, block.address, block.count
    for table in FUNCTIONS:
        spans = [
            (f.address, SIZES[f.format])
            for f in fields
            if f.table == table and not any(_within(f, b.table, b.address, b.count) for b in profile.block)
        ]
        if split < 2:
            pieces = registers.plan(spans, gap=0 if split else profile.gap)
        else:
            pieces = [piece for piece in sorted(set(spans)) if not any(_covers(s, piece) for s in set(spans))]
        for address, count in pieces:
            yield table, address, count


def _covers(span: tuple[int, int], piece: tuple[int, int]) -> bool:
    """Whether a span holds another one, and more."""
    return span != piece and span[0] <= piece[0] and piece[0] + piece[1] <= span[0] + span[1]


def _within(f: Register | Status, table: str, address: int, count: int) -> bool:
    return f.table == table and address <= f.address and f.address + SIZES[f.format] <= address + count


def _bytes(f: Register | Status, first: int) -> list[int]:
    """The places of a number's bytes in the answer, the highest first; `first` is where it begins."""
    if f.format.endswith("-byte"):
        return [first + (f.format == "second-byte")]
    pairs = [(first + i, first + i + 1) for i in range(0, 2 * SIZES[f.format], 2)]
    if f.order in ("CDAB", "DCBA"):
        pairs.reverse()
    if f.order in ("BADC", "DCBA"):
        pairs = [(low, high) for high, low in pairs]
    return [place for pair in pairs for place in pair]


def _unpacker(codes: str, at: list[int], size: int) -> Callable[[bytes], tuple[Any, ...]]:
    """What gives the numbers whose bytes lie at these places of an answer."""
    unpack = _picker(struct.Struct(">" + codes), at, size)
    floats = [place for place, code in enumerate(codes) if code == "f"]
    if not floats:
        return unpack
    if len(floats) == len(codes):
        return lambda answer: tuple(registers.shortest32(unpack(answer)))

    def short(answer: bytes) -> tuple[Any, ...]:
        numbers = list(unpack(answer))
        shorter = registers.shortest32(tuple(numbers[place] for place in floats))
        for place, number in zip(floats, shorter, strict=True):
            numbers[place] = number
        return tuple(numbers)

    return short


def _picker(wire: struct.Struct, at: list[int], size: int) -> Callable[[bytes], tuple[Any, ...]]:
    if at == list(range(2, size)):  # as they lie: nothing to sort
        return lambda answer: wire.unpack_from(answer, 2)
    if len(at) <= 1:
        return lambda answer: wire.unpack(bytes(answer[i] for i in at))
    pick = itemgetter(*at)
    return lambda answer: wire.unpack(bytes(pick(answer)))


def _number(r: Register, place: int) -> Number:
    lowest, highest = r.valid or (-_LARGEST, _LARGEST)
    invalid = frozenset(r.invalid) or None
    convert = _scaling(r.scale, r.offset, is_float=r.format.startswith("float"))

    def explain(raw: float) -> str:
        if not math.isfinite(raw) or (invalid and raw in invalid):
            return f"{r.quantity}: {raw:g} stands for no number"
        value = convert(raw) if convert else raw
        return f"{r.quantity}: {value:g} {r.unit} is outside {lowest:g} to {highest:g}, all it can measure"

    return place, r.quantity, lowest, highest, convert, invalid, explain


def _scaling(scale: float, offset: float, *, is_float: bool) -> Callable[[float], float] | None:
    """A number's way from the wire into its unit. 35 x 0.01 is 0.35000000000000003; so it is 35 / 100."""
    if scale == 1.0 and offset == 0.0:
        return None if is_float else float
    parts = round(1 / scale)
    if parts and math.isclose(parts * scale, 1.0, rel_tol=1e-12):
        return (lambda raw: raw / parts + offset) if offset else (lambda raw: raw / parts)
    return lambda raw: raw * scale + offset


def _heed(status: Status, value: int, notes: list[str], withheld: list[str]) -> None:
    """Act on a status that is not good. Raises what the profile says it means."""
    meaning = status.values.get(str(value), "")
    if not meaning and status.bits:
        meaning = " and ".join(text for bit, text in status.bits.items() if value >> int(bit) & 1)
        if not meaning:
            return  # only bits that do not count
    text = f"{status.name} {value}: {meaning or 'the source gives no meaning for it'}"
    if status.of:
        withheld.extend(status.of)
        notes.append(f"{', '.join(status.of)}: {text}")
    elif status.means == "fault":
        raise InstrumentFault(text)
    elif status.means == "not-ready":
        raise NotReady(text)
    else:
        notes.append(text)
