"""Many messages in one, where bytes are paid for: `[mqtt] pack = "15 min"`.

    suuaba/1/STATION/packed     xz of JSON Lines, each {"TOPIC":MESSAGE}, TOPIC below suuaba/1/STATION/

    {"average/ph1":{"station":"kyia-1","seq":128, …}}
    {"event":{"station":"kyia-1","seq":130, …}}

The messages are the ordinary ones, word for word, so `mosquitto_sub -C 1 -t suuaba/1/kyia-1/packed | xz -dc`
shows them. xz, because what is left of such lines is digits, which it packs tighter than others: a quarter of
an hour in 3.4 KB, bzip2 in 4.0, deflate in 4.9 (measured). An average's numbers are rounded here, and only
here, to what the instrument can show (its mean to a digit more): else half of all bytes would be digits
without meaning. Pure.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from gateway.model import Average, Body, Event

PACKED_STATUS_S = 3600.0
"""A status message each minute would be more than all readings."""
PACKED_KEEPALIVE_S = 600
"""A ping is 200 bytes with TLS. The last will comes a quarter of an hour after the line broke, then."""
URGENT = frozenset({"alarm", "loss", "stopped"})
"""Events that wait for nobody."""
PACKED_LIMIT = 48 * 1024
"""Bytes of a pack; what is above goes as two."""
UNPACKED_LIMIT = 2 * 1024 * 1024
"""Bytes of a pack's lines. Whoever unpacks stops here: a few bytes may claim to be gigabytes."""
MESSAGES_LIMIT = 5000
MEMORY_LIMIT = 16 * 1024 * 1024
"""What a pack may ask for to be unpacked."""


class Unpackable(Exception):
    """No pack; says why, in one line."""


@dataclass(slots=True)
class Packer:
    """How one sink packs. `digits` are those that each instrument shows, by sensor and quantity."""

    every_s: float
    digits: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def rounded(self, average: Average) -> Average:
        """The average as it goes into a pack."""
        values = {}
        for quantity, mean in average.values.items():
            digits = self.digits.get((average.sensor, quantity))
            if digits is not None:
                mean = replace(
                    mean,
                    mean=_round(mean.mean, digits + 1),
                    minimum=_round(mean.minimum, digits),
                    maximum=_round(mean.maximum, digits),
                )
            values[quantity] = mean
        return replace(average, values=values)


def urgent(body: Body) -> bool:
    """Whether a record does not wait until the pack is due."""
    return isinstance(body, Event) and body.what in URGENT


def packs(messages: Iterable[tuple[int, str, bytes]]) -> Iterator[tuple[list[int], bytes]]:
    """(seq, topic below the station, payload) as (seqs, payload of a pack), as few as the limits allow."""
    lines: list[tuple[int, bytes]] = []
    size = 0
    for seq, topic, payload in messages:
        line = b"{%b:%b}\n" % (msgspec.json.encode(topic), payload)
        if lines and (size + len(line) > UNPACKED_LIMIT // 2 or len(lines) >= MESSAGES_LIMIT):
            yield from _pack(lines)
            lines, size = [], 0
        lines.append((seq, line))
        size += len(line)
    if lines:
        yield from _pack(lines)


def unpack(payload: bytes) -> Iterator[tuple[str, bytes]]:
    """(topic below the station, payload) of each message, in order. Raises Unpackable, perhaps behind some
    good ones.
    """
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, MEMORY_LIMIT)
    try:
        text = reader.decompress(payload, UNPACKED_LIMIT)
    except (lzma.LZMAError, EOFError) as e:
        raise Unpackable(f"no xz: {e}") from None
    if not reader.eof or reader.unused_data:
        lacks = "cut off" if reader.needs_input else f"more than {UNPACKED_LIMIT} bytes"
        raise Unpackable("something behind its end" if reader.eof else lacks)
    for number, line in enumerate(text.splitlines()):
        if number >= MESSAGES_LIMIT:
            raise Unpackable(f"more than {MESSAGES_LIMIT} messages")
        try:
            said = _LINE.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise Unpackable(f"line {number + 1}: {str(e)[:100]}") from None
        for topic, message in said.items():
            yield topic, bytes(message)


# ── inside ──────────────────────────────────────────────────────────────────────────────────────

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 18, "pb": 0}]
"""A dictionary of 256 KB takes 3 MB to pack, and no more than that to unpack; `pb` 0 is for text (xz(1))."""
_LINE = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _pack(lines: list[tuple[int, bytes]]) -> Iterator[tuple[list[int], bytes]]:
    text = b"".join(line for _, line in lines)
    payload = lzma.compress(text, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=_FILTERS)
    if len(payload) > PACKED_LIMIT and len(lines) > 1:
        half = len(lines) // 2
        yield from _pack(lines[:half])
        yield from _pack(lines[half:])
    else:
        yield [seq for seq, _ in lines], payload


def _round(number: float | None, digits: int) -> float | None:
    return None if number is None else round(number, digits)
