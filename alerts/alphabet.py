"""The two alphabets of SMS, how many segments a text costs, and which signs needlessly make it dear.

A segment carries 140 octets. In the GSM 7-bit default alphabet these are 160 characters, in UCS-2 70: one
sign outside the alphabet (a degree sign is enough) turns a whole text into UCS-2. A longer text is sent as
parts, each with a six-octet header: 153 characters or 67.

    text       H    e    l    l    o        seven bits each, the first in the lowest bits
    septets    48   65   6C   6C   6F
    octets     C8   32   9B   FD   06       "Hello", packed

Sources: 3GPP TS 23.038, 6.2.1 (default alphabet), 6.2.1.1 (extension table), 6.1.2.1.1 (packing), 6.2.3
(UCS2); 3GPP TS 23.040, 9.2.3.24.1 (concatenation). A sign beyond U+FFFF is sent as a surrogate pair, as all
phones do; 23.038 speaks only of UCS2, which has no pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The default alphabet by septet value; 1B is the escape to the extension table (23.038, 6.2.1)."""

EXTENSION = {
    0x0A: "\f", 0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|",
    0x65: "€",
}  # fmt: skip
"""What follows an escape (23.038, 6.2.1.1). Each of these costs two septets."""

ESCAPE = 0x1B
_SEPTETS: dict[str, bytes] = {c: bytes((i,)) for i, c in enumerate(BASIC) if i != ESCAPE}
_SEPTETS |= {c: bytes((ESCAPE, i)) for i, c in EXTENSION.items()}

GSM7, UCS2 = "GSM-7", "UCS-2"
SINGLE = {GSM7: 160, UCS2: 70}
"""Units (septets, UTF-16 units) in a text of one segment."""
EACH = {GSM7: 153, UCS2: 67}
"""Units in each part of a longer one: 160 less the 7 septets, 70 less the 3 units, that the header takes."""
MOST_PARTS = 255

_FOLD = str.maketrans({
    "°": " deg", "º": " deg", "µ": "u", "μ": "u", "¹": "1", "²": "2", "³": "3", "⁴": "4", "₁": "1", "₂": "2",
    "₃": "3", "₄": "4", "≤": "<=", "≥": ">=", "≠": "<>", "≈": "~", "±": "+/-", "×": "x", "·": ".", "⋅": ".",
    "÷": "/", "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "•": "-", "→": "->", "←": "<-", "↑": "^",
    "↓": "v", "«": '"', "»": '"', "„": '"', "“": '"', "”": '"', "‹": "'", "›": "'", "‚": "'", "‘": "'",
    "’": "'", "′": "'", "″": '"', "`": "'", "´": "'", "№": "No.", "…": "...", "™": "TM", "‰": " per mille",
    "\t": " ", "\u00a0": " ", "\u2007": " ", "\u2009": " ", "\u202f": " ",
    "\u00ad": "", "\u200b": "", "\u2060": "", "\ufeff": "",
})  # fmt: skip


class TextError(ValueError):
    """A text that cannot be sent: too long, or half of a surrogate pair."""


@dataclass(frozen=True, slots=True)
class Segments:
    """What a text costs: `count` segments; `units_left` septets or UTF-16 units are free in the last."""

    alphabet: str
    count: int
    units_left: int


def segments(text: str) -> Segments:
    """Say what `text` costs. Raises TextError when it cannot be sent at all."""
    parts = split(text)
    alphabet = alphabet_of(text)
    room = (SINGLE if len(parts) == 1 else EACH)[alphabet]
    return Segments(alphabet, len(parts), room - len(units(parts[-1], alphabet)))


def fold(text: str) -> str:
    """Give `text` with plain signs for those outside the GSM alphabet (12 °C → 12 C, µg/m³ → ug/m3, « → ").

    Only where that makes the text GSM-7; a text that stays UCS-2 anyhow (Kyrgyz, Russian) is given back as it
    was, for there the signs cost nothing.
    """
    if alphabet_of(text) == GSM7:
        return text
    folded = (
        text.replace("℃", "°C")
        .replace(" °", "°")
        .replace("\u00a0°", "°")
        .replace("°C", " C")
        .translate(_FOLD)
    )
    return folded if alphabet_of(folded) == GSM7 else text


def alphabet_of(text: str) -> str:
    """The cheaper alphabet that holds the whole text."""
    return GSM7 if all(c in _SEPTETS for c in text) else UCS2


def units(text: str, alphabet: str) -> bytes | list[int]:
    """The septets, or the UTF-16 units, of a text: what is counted."""
    if alphabet == GSM7:
        return b"".join(_SEPTETS[c] for c in text)
    raw = text.encode("utf-16-be", "surrogatepass")
    return [raw[i] << 8 | raw[i + 1] for i in range(0, len(raw), 2)]


def split(text: str) -> list[str]:
    """Cut a text into parts; none ends inside an escape pair or a surrogate pair. Raises TextError."""
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise TextError("the text holds half of a surrogate pair")
    alphabet = alphabet_of(text)
    costs = [len(_SEPTETS[c]) for c in text] if alphabet == GSM7 else [2 if c > "\uffff" else 1 for c in text]
    if sum(costs) <= SINGLE[alphabet]:
        return [text]
    room, parts, start, used = EACH[alphabet], [], 0, 0
    for i, cost in enumerate(costs):
        if used + cost > room:
            parts.append(text[start:i])
            start, used = i, 0
        used += cost
    parts.append(text[start:])
    if len(parts) > MOST_PARTS:
        raise TextError(f"the text needs {len(parts)} segments; {MOST_PARTS} is the most there can be")
    return parts


def encode(text: str, alphabet: str) -> bytes:
    """The octets of one part without header: septets not yet packed (GSM-7), or UTF-16 big-endian (UCS-2)."""
    return b"".join(_SEPTETS[c] for c in text) if alphabet == GSM7 else text.encode("utf-16-be")


def decode_septets(septets: bytes) -> str:
    """Text of septets. An unknown extension is shown as its plain character, as 23.038 asks of a receiver."""
    out: list[str] = []
    escaped = False
    for s in septets:
        if escaped:
            out.append(EXTENSION.get(s) or (" " if s == ESCAPE else BASIC[s]))
            escaped = False
        elif s == ESCAPE:
            escaped = True
        else:
            out.append(BASIC[s])
    if escaped:
        out.append(" ")  # an escape with nothing behind it: shown as a space
    return "".join(out)


def pack(septets: bytes, skip_bits: int = 0) -> bytes:
    """Pack septets into octets, after `skip_bits` zero bits (which align the text behind a header)."""
    bits = 0
    for i, s in enumerate(septets):
        bits |= s << (7 * i)
    total = skip_bits + 7 * len(septets)
    return (bits << skip_bits).to_bytes((total + 7) // 8, "little")


def unpack(octets: bytes, count: int, skip_bits: int = 0) -> bytes:
    """The first `count` septets in `octets` after `skip_bits` bits; fewer when the octets end sooner."""
    count = min(count, (len(octets) * 8 - skip_bits) // 7)
    bits = int.from_bytes(octets, "little") >> skip_bits
    return bytes(bits >> (7 * i) & 0x7F for i in range(max(count, 0)))
