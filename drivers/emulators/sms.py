"""SMS PDUs from the network's side, for the emulated modem: reads what is submitted, makes what is delivered.

Written apart from the station's own coder and by another method (strings of bits), so that each checks the
other. Sources: 3GPP TS 23.040, 9.2.2 and 9.2.3; 3GPP TS 23.038, 6.2.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

ROWS = (
    "@ £ $ ¥ è é ù ì ò Ç LF Ø ø CR Å å",
    "Δ _ Φ Γ Λ Ω Π Ψ Σ Θ Ξ ESC Æ æ ß É",
    "SP ! \" # ¤ % & ' ( ) * + , - . /",
    "0 1 2 3 4 5 6 7 8 9 : ; < = > ?",
    "¡ A B C D E F G H I J K L M N O",
    "P Q R S T U V W X Y Z Ä Ö Ñ Ü §",
    "¿ a b c d e f g h i j k l m n o",
    "p q r s t u v w x y z ä ö ñ ü à",
)
_NAMED = {"LF": "\n", "CR": "\r", "SP": " ", "ESC": ""}
_PLAIN = [_NAMED.get(c, c) for row in ROWS for c in row.split(" ")]
_EXTENDED = {10: "\f", 20: "^", 40: "{", 41: "}", 47: "\\", 60: "[", 61: "~", 62: "]", 64: "|", 101: "€"}
START = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
"""The network's clock when the emulator's time is 0."""


class BadPdu(ValueError):
    """The modem would answer +CMS ERROR: 304."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """One SMS-SUBMIT as the network reads it."""

    to: str
    text: str
    alphabet: str
    reference: int
    number: int
    total: int
    report: bool
    validity: int | None
    flash: bool


def read_submit(octets: bytes) -> Submitted:
    """Read an SMS-SUBMIT without the message centre. Raises BadPdu."""
    try:
        return _read_submit(octets)
    except (IndexError, ValueError) as e:
        raise BadPdu(f"{octets.hex()}: {e}") from e


def make_delivers(sender: str, text: str, reference: int, now_s: float) -> list[bytes]:
    """SMS-DELIVER PDUs as a modem stores them, the centre in front. A sender with letters is a name."""
    codes = _codes(text)
    if codes is not None:
        chunks = [codes] if sum(map(len, codes)) <= 160 else _chunks(codes, 153)
    else:
        letters = [c.encode("utf-16-be") for c in text]
        chunks = [letters] if sum(map(len, letters)) <= 140 else _chunks(letters, 134)
    made = []
    for i, chunk in enumerate(chunks, 1):
        header = bytes((5, 0, 3, reference & 255, len(chunks), i)) if len(chunks) > 1 else b""
        data = b"".join(chunk)
        if codes is not None:
            shift = -(len(header) * 8) % 7
            length = len(data) + (len(header) * 8 + shift) // 7
            body = header + _octets("0" * 0, data, shift)
        else:
            length, body = len(header) + len(data), header + data
        first = 0x04 | (0x40 if header else 0)
        coding = 0 if codes is not None else 8
        made.append(
            bytes((0, first)) + _number(sender) + bytes((0, coding)) + _stamp(now_s) + bytes((length,)) + body
        )
    return made


def make_report(reference: int, to: str, status: int, sent_s: float, now_s: float) -> bytes:
    """An SMS-STATUS-REPORT, the message centre in front."""
    return bytes((0, 0x06, reference)) + _number(to) + _stamp(sent_s) + _stamp(now_s) + bytes((status,))


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────


def _read_submit(octets: bytes) -> Submitted:
    rest = list(octets)
    first = rest.pop(0)
    if first & 3 != 1:
        raise BadPdu("not an SMS-SUBMIT")
    rest.pop(0)
    digits = rest.pop(0)
    kind = rest.pop(0)
    nibbles = "".join(f"{o & 15:x}{o >> 4:x}" for o in rest[: (digits + 1) // 2])
    del rest[: (digits + 1) // 2]
    if digits % 2 and nibbles[-1] != "f":
        raise BadPdu("an odd number without its filler")
    to = ("+" if kind == 0x91 else "") + nibbles[:digits]
    if not to.lstrip("+").isdigit():
        raise BadPdu(f"recipient {to!r}")
    rest.pop(0)
    coding = rest.pop(0)
    validity = None
    if first >> 3 & 3 == 2:
        validity = rest.pop(0)
    elif first >> 3 & 3:
        del rest[:7]
    length = rest.pop(0)
    alphabet = {0: "GSM-7", 1: "8-bit", 2: "UCS-2"}[coding >> 2 & 3]
    wanted = (length * 7 + 7) // 8 if alphabet == "GSM-7" else length
    if len(rest) != wanted or wanted > 140:
        raise BadPdu(f"{len(rest)} octets of text where {wanted} are announced")
    header: list[int] = rest[: rest[0] + 1] if first & 0x40 else []
    reference, total, number = (0, 1, 1) if not header else (header[-3], header[-2], header[-1])
    if header and header[:3] != [5, 0, 3] and header[:3] != [6, 8, 4]:
        raise BadPdu(f"header {header}")
    if alphabet == "GSM-7":
        bits = "".join(f"{o:08b}"[::-1] for o in rest)
        septets = [int(bits[i * 7 : i * 7 + 7][::-1], 2) for i in range(length)]
        text = _text(septets[-(-len(header) * 8 // 7) :])
    else:
        text = bytes(rest[len(header) :]).decode("utf-16-be") if alphabet == "UCS-2" else bytes(rest).hex()
    flash = coding & 0x13 == 0x10
    return Submitted(to, text, alphabet, reference, number, total, bool(first & 0x20), validity, flash)


def _text(septets: list[int]) -> str:
    out = ""
    walk = iter(septets)
    for s in walk:
        out += _EXTENDED.get(next(walk, -1), "?") if s == 27 else _PLAIN[s]
    return out


def _codes(text: str) -> list[bytes] | None:
    """The septets of each character; None where the text needs UCS-2."""
    extended = {c: i for i, c in _EXTENDED.items()}
    try:
        return [bytes((27, extended[c])) if c in extended else bytes((_PLAIN.index(c),)) for c in text]
    except ValueError:
        return None


def _chunks(codes: list[bytes], room: int) -> list[list[bytes]]:
    chunks: list[list[bytes]] = [[]]
    for code in codes:
        if sum(map(len, chunks[-1])) + len(code) > room:
            chunks.append([])
        chunks[-1].append(code)
    return chunks


def _octets(bits: str, septets: bytes, shift: int) -> bytes:
    bits += "0" * shift + "".join(f"{s:07b}"[::-1] for s in septets)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))


def _number(number: str) -> bytes:
    digits = number.lstrip("+")
    if not digits.isdigit():
        packed = _octets("", b"".join(_codes(number[:11]) or [b"?"]), 0)
        return bytes((-(-len(number[:11]) * 7 // 4), 0xD0)) + packed
    padded = digits + "f" * (len(digits) % 2)
    pairs = [padded[i : i + 2][::-1] for i in range(0, len(padded), 2)]
    return bytes((len(digits), 0x91 if number.startswith("+") else 0x81)) + bytes.fromhex("".join(pairs))


def _stamp(now_s: float) -> bytes:
    local = START + timedelta(seconds=now_s % 3e8, hours=6)  # Bishkek, UTC+6: 24 quarters of an hour
    return bytes.fromhex("".join(p[::-1] for p in local.strftime("%y %m %d %H %M %S").split())) + b"\x42"
