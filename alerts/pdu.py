"""SMS protocol data units, without I/O: SMS-SUBMIT out, SMS-DELIVER and SMS-STATUS-REPORT in.

    AT+CMGS=19, then  00 31 00 0C 91 99 56 55 00 00 10 00 00 A7 05 C8 32 9B FD 06
                      s  f  mr n  ty number (nibbles)   pi cs vp ul "Hello" in septets
    s   00: the message centre stored in the SIM; not counted in AT+CMGS=n
    f   first octet: 01 submit, +10 relative validity, +20 delivery report wanted, +40 a header in the text
    mr  00: the modem numbers the messages itself, and says the number in +CMGS
    n   digits of the number; ty 91 international, 81 unknown (national, short)
    cs  coding: 00 GSM-7, 08 UCS-2; +10 class 0 (shown at once, kept by few phones: not for alarms)
    vp  validity: A7 is 24 h
    ul  length of the text: in septets with GSM-7, in octets with UCS-2, the header included
    A part of a longer text begins with the header 05 00 03 ref total number.

Sources: 3GPP TS 23.040, 9.2.2 (the PDUs), 9.1.2.5 (addresses), 9.2.3.12.1 (relative validity), 9.2.3.15
(TP-Status), 9.2.3.24 (header; .1 and .8 concatenation); 3GPP TS 27.005, 3.1 (the message centre in front). TS
23.038, 4 (coding). What comes from the network is hostile: every decoder raises PduError and nothing else.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from alerts.alphabet import (
    GSM7,
    UCS2,
    Segments,
    TextError,
    alphabet_of,
    decode_septets,
    fold,
    pack,
    segments,
    split,
    unpack,
)
from alerts.alphabet import encode as encode_text

__all__ = [
    "BINARY", "GSM7", "UCS2", "Deliver", "NumberError", "Part", "PduError", "Segments", "StatusReport",
    "TextError", "decode", "fold", "normalise", "segments", "submit", "validity_octet",
]  # fmt: skip

BINARY = "8-bit"


class PduError(ValueError):
    """Octets that are no PDU we can read."""


class NumberError(ValueError):
    """A telephone number that cannot be dialled."""


@dataclass(frozen=True, slots=True)
class Part:
    """One SMS-SUBMIT: the line to write after the prompt, and the number for AT+CMGS=."""

    line: str
    length: int
    number: int
    total: int
    text: str


@dataclass(frozen=True, slots=True)
class Deliver:
    """One SMS as it came. `reference`, `number`, `total` are 0, 1, 1 unless it is a part of a longer message.

    `sent_ms` is the message centre's stamp, UTC; None when it is no date. `alphabet` "8-bit" means data, with
    no text. `sender` is a number ("+996…", or without plus as the network wrote it) or a name (`is_name`). It
    can be forged.
    """

    sender: str
    is_name: bool
    text: str
    alphabet: str
    sent_ms: int | None
    reference: int
    number: int
    total: int


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What became of a message: `reference` is the modem's (+CMGS), `status` the TP-Status octet."""

    reference: int
    recipient: str
    status: int
    sent_ms: int | None
    done_ms: int | None

    @property
    def outcome(self) -> str:
        """What the status means: "delivered", "waiting" (the message centre is still trying) or "failed".

        23.040, 9.2.3.15: 00-1F done, 20-3F still trying, 40-5F permanent error, 60-7F temporary error but it
        gave up. Reserved values count as rejected service.
        """
        if self.status <= 0x02 or 0x10 <= self.status <= 0x1F:
            return "delivered"
        return "waiting" if 0x20 <= self.status <= 0x3F else "failed"


def normalise(number: str, country: str = "996", trunk: str = "0") -> str:
    """Give a telephone number as E.164: "+996555000001". Raises NumberError, saying what to write instead.

    Spaces, hyphens, dots, slashes and brackets are dropped; 00 means +; a national number gets the country's
    code.
    """
    plain = re.sub(r"[\s\u00a0\-\u2010-\u2013./()]", "", number)
    digits = plain[1:] if plain.startswith("+") else plain
    if not digits:
        raise NumberError("the telephone number is empty")
    if not (digits.isascii() and digits.isdigit()):
        wrong = next(c for c in digits if not (c.isascii() and c.isdigit()))
        raise NumberError(f"{number!r}: {wrong!r} is not a digit; write +{country} and the number")
    if not plain.startswith("+"):
        if digits.startswith("00"):
            digits = digits[2:]
        elif trunk and digits.startswith(trunk):
            digits = country + digits[len(trunk) :]
        elif not digits.startswith(country):
            raise NumberError(f"{number!r}: the country code is missing; write it as +{country}…")
    if digits.startswith("0"):
        raise NumberError(f"{number!r}: a country code does not begin with 0")
    if not 8 <= len(digits) <= 15:
        raise NumberError(f"{number!r}: {len(digits)} digits; an international number has 8 to 15")
    return "+" + digits


def submit(
    to: str,
    text: str,
    *,
    reference: int = 0,
    validity_h: float = 24.0,
    report: bool = True,
    flash: bool = False,
) -> list[Part]:
    """Make the PDUs of a text, one per segment. `to` is E.164, or a short code of 3 to 8 digits.

    `reference` (its low 8 bits) ties the parts together: it must differ between messages to one phone at one
    time. Raises NumberError or TextError.
    """
    parts = split(text)
    alphabet = alphabet_of(text)
    first = 0x11 | (0x20 if report else 0) | (0x40 if len(parts) > 1 else 0)
    coding = (0x00 if alphabet == GSM7 else 0x08) | (0x10 if flash else 0)
    head = bytes((first, 0)) + _address(to) + bytes((0, coding, validity_octet(validity_h)))
    made = []
    for number, part in enumerate(parts, 1):
        header = bytes((5, 0, 3, reference & 0xFF, len(parts), number)) if len(parts) > 1 else b""
        body = encode_text(part, alphabet)
        if alphabet == GSM7:
            skip_bits = -len(header) * 8 % 7
            length = (len(header) * 8 + skip_bits) // 7 + len(body)
            body = pack(body, skip_bits)
        else:
            length = len(header) + len(body)
        tpdu = head + bytes((length,)) + header + body
        made.append(Part("00" + tpdu.hex().upper(), len(tpdu), number, len(parts), part))
    return made


def validity_octet(hours: float) -> int:
    """The relative validity that lasts at least `hours`: 5 min steps to 12 h, 30 min to 24 h, days, weeks."""
    minutes = math.ceil(hours * 60)
    if minutes <= 12 * 60:
        return max(math.ceil(minutes / 5) - 1, 0)
    if minutes <= 24 * 60:
        return 143 + math.ceil((minutes - 720) / 30)
    if minutes <= 30 * 1440:
        return 166 + math.ceil(minutes / 1440)
    return min(192 + max(math.ceil(minutes / (7 * 1440)), 5), 255)


def decode(line: str, *, centre: bool = True) -> Deliver | StatusReport:
    """Read a PDU as the modem shows it: hex, the message centre in front unless told. Raises PduError."""
    try:
        octets = bytes.fromhex(line)
    except ValueError:
        raise PduError(f"not hexadecimal: {line[:40]!r}") from None
    if len(octets) > 400:
        raise PduError(f"{len(octets)} octets are no SMS")
    reader = _Reader(octets)
    if centre:
        reader.take(reader.octet())
    first = reader.octet()
    kind = first & 0x03
    if kind == 0:
        return _deliver(reader, first)
    if kind == 2:
        return _status_report(reader)
    raise PduError(f"a PDU of type {kind} does not come from a network")


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────────


class _Reader:
    """Octets, taken from the front; the end is a PduError."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.at = 0

    def take(self, n: int) -> bytes:
        if self.at + n > len(self.octets):
            raise PduError(f"ends after {len(self.octets)} octets, wants {n} more at {self.at}")
        self.at += n
        return self.octets[self.at - n : self.at]

    def octet(self) -> int:
        return self.take(1)[0]


def _address(to: str) -> bytes:
    plus = to.startswith("+")
    digits = to[1:] if plus else to
    if not (digits.isascii() and digits.isdigit()):
        raise NumberError(f"{to!r}: only digits can be dialled, and + in front")
    if not (7 <= len(digits) <= 15 if plus else 3 <= len(digits) <= 12):
        raise NumberError(f"{to!r}: {len(digits)} digits")
    padded = digits + "F" * (len(digits) % 2)
    swapped = "".join(padded[i + 1] + padded[i] for i in range(0, len(padded), 2))
    return bytes((len(digits), 0x91 if plus else 0x81)) + bytes.fromhex(swapped)


def _read_address(reader: _Reader) -> tuple[str, bool]:
    """(number or name, whether it is a name). The length counts nibbles (9.1.2.5)."""
    nibbles = reader.octet()
    if nibbles > 20:
        raise PduError(f"an address of {nibbles} digits; 20 is the most")
    kind = reader.octet() >> 4 & 0x07
    octets = reader.take((nibbles + 1) // 2)
    if kind == 5:
        return decode_septets(unpack(octets, nibbles * 4 // 7)), True
    digits = "".join("0123456789*#abc"[n] for o in octets for n in (o & 0x0F, o >> 4) if n < 15)[:nibbles]
    return ("+" if kind == 1 else "") + digits, False


def _read_stamp(octets: bytes) -> int | None:
    """UTC in milliseconds of a time stamp of seven octets (9.2.3.11); None if it is no date."""
    digits = [(o & 0x0F, o >> 4) for o in octets]
    zone_tens = digits[6][0] & 0x07
    if any(d > 9 for pair in digits[:6] for d in pair) or digits[6][1] > 9:
        return None
    year, month, day, hour, minute, second = (a * 10 + b for a, b in digits[:6])
    quarters = (zone_tens * 10 + digits[6][1]) * (-1 if digits[6][0] & 0x08 else 1)
    try:
        local = datetime(
            2000 + year if year < 90 else 1900 + year, month, day, hour, minute, second, tzinfo=UTC
        )
    except ValueError:
        return None
    return int(local.timestamp() - quarters * 900) * 1000


def _deliver(reader: _Reader, first: int) -> Deliver:
    sender, is_name = _read_address(reader)
    reader.octet()  # TP-PID: whatever it asks for, we only read text
    alphabet = _alphabet(reader.octet())
    sent_ms = _read_stamp(reader.take(7))
    length = reader.octet()
    body = reader.octets[reader.at :]
    in_octets = (length * 7 + 7) // 8 if alphabet == GSM7 else length
    if len(body) < in_octets or in_octets > 140:
        raise PduError(f"{length} units of text are announced, {len(body)} octets are there")
    body = body[:in_octets]
    reference, number, total, header, ported = 0, 1, 1, 0, False
    if first & 0x40:
        reference, number, total, header, ported = _read_header(body)
    if alphabet == GSM7:
        skip_bits = -header * 8 % 7
        gone = (header * 8 + skip_bits) // 7
        text = decode_septets(unpack(body[header:], length - gone, skip_bits))
    elif alphabet == UCS2:
        text = body[header:].decode("utf-16-be", "replace")
    else:
        text = ""
    if ported:  # addressed to a program in the phone (WAP, ring tones), not to a reader
        text, alphabet = "", BINARY
    return Deliver(sender, is_name, text, alphabet, sent_ms, reference, number, total)


def _read_header(body: bytes) -> tuple[int, int, int, int, bool]:
    """(reference, number, total, octets of the header, addressed to a port) of a header (9.2.3.24)."""
    if not body or body[0] + 1 > len(body):
        raise PduError("the header is longer than the text")
    reader = _Reader(body[1 : body[0] + 1])
    reference, number, total, ported = 0, 1, 1, False
    while reader.at < len(reader.octets):
        element = reader.octet()
        data = reader.take(reader.octet())
        if element in (0x00, 0x08) and len(data) == (3 if element == 0 else 4):
            # 23.040: a part number of 0 or above the total makes the element void
            if 0 < data[-1] <= data[-2]:
                reference, total, number = int.from_bytes(data[:-2], "big"), data[-2], data[-1]
                reference |= element << 16  # an 8-bit and a 16-bit reference are different things
        elif element in (0x04, 0x05):
            ported = True
    return reference, number, total, body[0] + 1, ported


def _alphabet(coding: int) -> str:
    """The alphabet of a data coding scheme (23.038, 4). Compressed text is data to us; reserved is GSM-7."""
    group = coding >> 4
    if group < 8:
        if coding & 0x20:
            return BINARY
        return (GSM7, BINARY, UCS2, GSM7)[coding >> 2 & 0x03]
    if group == 0x0E:
        return UCS2
    if group == 0x0F:
        return BINARY if coding & 0x04 else GSM7
    return GSM7


def _status_report(reader: _Reader) -> StatusReport:
    reference = reader.octet()
    recipient, _ = _read_address(reader)
    sent_ms, done_ms = _read_stamp(reader.take(7)), _read_stamp(reader.take(7))
    return StatusReport(reference, recipient, reader.octet(), sent_ms, done_ms)
