"""Registers: from their bytes to numbers and back, and which of them to read together. No I/O.

The float 123.456 (big-endian 42 F6 E9 79) in each byte order, as it goes on the wire:

    ABCD  42 F6 E9 79    Aqualabo, In-Situ, Teledyne: big-endian, high word first
    CDAB  E9 79 42 F6    Hamilton Arc; EPEVER's 32-bit integers: low word first
    BADC  F6 42 79 E9    a setting of some panel transmitters: bytes swapped in each register
    DCBA  79 E9 F6 42    Yosemitech and its re-brands: fully little-endian

The Modbus specification knows 16-bit big-endian registers only (V1.1b3, 4.2); how two of them make a
number is each maker's choice. `drivers.modbus` offers everything here under its own name too.
"""
# ruff: noqa: A002  (`format` is the word at the head of that column in every register table)

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

MAX_READ = 125
"""Registers in one read: 250 bytes and their count fill a frame (V1.1b3, 6.3)."""

FORMATS = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "float32": "f", "int64": "q", "uint64": "Q",
    "float64": "d",
}  # fmt: skip
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA", "AB", "BA")


def registers(format: str) -> int:
    """How many registers a value of this format takes."""
    return struct.calcsize(">" + FORMATS[format]) // 2


@lru_cache(maxsize=64)
def decoder(format: str, order: str = "ABCD") -> Callable[[bytes], float]:
    """What turns a value's bytes into its number. See `decode`; take this one where it is done often."""
    unpacker, swap = _packing(format, order)
    if format == "float32":
        return lambda data: shortest32(unpacker.unpack(_swap_words(data) if swap else data))[0]
    if not swap:
        return lambda data: unpacker.unpack(data)[0]
    return lambda data: unpacker.unpack(_swap_words(data))[0]


def decode(data: bytes, format: str, order: str = "ABCD") -> float:
    """The number in `data`, as bytes came from the wire; a float32 by `shortest32`.

    `order` names where the big-endian bytes A B C D stand on the wire: ABCD big-endian, CDAB low word
    first, BADC bytes swapped in each register, DCBA little-endian. 64-bit values follow the same idea. One
    register knows AB and BA only: there ABCD and CDAB mean AB, BADC and DCBA mean BA, so that a probe
    needs one order for its whole map.
    """
    return decoder(format, order)(data)


def encode(value: float, format: str, order: str = "ABCD") -> bytes:
    """The bytes that `decode` turns into `value`. Raises ValueError when the format cannot hold it."""
    packer, swap = _packing(format, order)
    try:
        data = packer.pack(value)
    except (struct.error, OverflowError) as e:
        raise ValueError(f"{value} does not fit {format}: {e}") from e
    return _swap_words(data) if swap else data


def shortest32(numbers: tuple[float, ...]) -> Sequence[float]:
    """Numbers that came as float32, each as a short decimal that means the same float32.

    7.12 comes as the float32 nearest to it, which is 7.119999885559082. Its 24 bits cannot tell the two
    apart, but the second is twice as long wherever it is written: in the journal, by MQTT, in an export.
    So a number is rounded to the decimal place just above the weight of its last bit; where that would be
    another float32, to the place below, which never is. Takes some 0.3 us a number.
    """
    try:
        places = [_PLACES[math.frexp(x)[1]] for x in numbers]
        short = [round(x * coarse) / coarse for x, (coarse, _) in zip(numbers, places, strict=True)]
    except (KeyError, ValueError, OverflowError):  # no number, or one so large or small that it seldom comes
        return numbers if len(numbers) == 1 else [shortest32((x,))[0] for x in numbers]
    wire = _float32s(len(short))
    again = wire.unpack(wire.pack(*short))
    if again == numbers:
        return short
    each = zip(numbers, short, again, places, strict=True)
    return [y if same == x else round(x * fine) / fine for x, y, same, (_, fine) in each]


def plan(spans: Iterable[tuple[int, int]], limit: int = MAX_READ, gap: int = 0) -> list[tuple[int, int]]:
    """The fewest reads (address, count) that cover all spans (address, count), each span whole within one
    read.

    Adjacent and overlapping spans are joined up to `limit` registers. Registers nobody asked for are read
    only where at most `gap` of them lie between two spans: many instruments answer a hole with an exception.
    """
    reads: list[tuple[int, int]] = []
    for address, count in sorted(set(spans)):
        if not 0 < count <= limit or not 0 <= address <= 0x10000 - count:
            raise ValueError(
                f"cannot read {count} registers from {address:#06x} at once: 1 to {limit}, up to 0xffff"
            )
        if reads:
            start, length = reads[-1]
            joined = max(start + length, address + count) - start
            if address <= start + length + gap and joined <= limit:
                reads[-1] = (start, joined)
                continue
        reads.append((address, count))
    return reads


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────────

_PLACES = {
    power: (10.0 ** (digits - 1), 10.0**digits)
    for power in range(-40, 25)
    for digits in (math.ceil((24 - power) * math.log10(2)),)
}
"""By a number's power of two (`math.frexp`): ten to the decimal places that are above and below its last bit.

Beyond 2**24 a float32 is a whole number, and short enough.
"""


@lru_cache(maxsize=256)
def _float32s(count: int) -> struct.Struct:
    return struct.Struct(f"{count}f")


def _packing(format: str, order: str) -> tuple[struct.Struct, bool]:
    """The struct for a format and order, and whether the words stand in reverse as well."""
    if format not in FORMATS:
        raise ValueError(f"no format {format!r}: {', '.join(FORMATS)}")
    if order not in ORDERS:
        raise ValueError(f"no byte order {order!r}: {', '.join(ORDERS)}")
    little = order in ("BADC", "DCBA", "BA")
    if len(order) == 2 and registers(format) > 1:
        raise ValueError(
            f"{format} takes {registers(format)} registers: its order is ABCD, CDAB, BADC or DCBA"
        )
    # BADC is little-endian with its words in reverse, CDAB big-endian with its words in reverse.
    return struct.Struct(("<" if little else ">") + FORMATS[format]), order in ("CDAB", "BADC") and registers(
        format
    ) > 1


def _swap_words(data: bytes) -> bytes:
    if len(data) == 4:
        return data[2:] + data[:2]
    return b"".join(data[i : i + 2] for i in range(len(data) - 2, -2, -2))
