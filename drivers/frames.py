"""Modbus frames: requests to bytes, and bytes to answers. No I/O; `drivers.modbus` sends and waits.

The same request and answer on the three framings (read 3 holding registers from PDU address 0 of unit 1):

    rtu    01 03 00 00 00 03 05 CB                 unit, function, data, CRC with its low byte first
           01 03 06 00 01 00 02 00 03 FD 74
    ascii  :010300000003F9 CR LF                   the same bytes as hex digits, then LRC
    tcp    00 01 00 00 00 06 01 03 00 00 00 03     transaction, protocol 0, bytes that follow, unit,
    function, data

Sources: MODBUS Application Protocol Specification V1.1b3 (functions in chapter 6, exception codes in
chapter 7); MODBUS over Serial Line V1.02 (RTU 2.5.1, ASCII 2.5.2, CRC and LRC in appendix B); MODBUS
Messaging on TCP/IP Implementation Guide V1.0b (MBAP header, 3.1.3). Reads of zero registers and writes of
zero registers are outside these documents; Yosemitech probes take them as commands
(EnviroDIY/YosemitechModbus, src/YosemitechModbus.cpp).
"""

from __future__ import annotations

import struct

from drivers.link import Cut
from drivers.registers import MAX_READ

READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS = 5, 6, 15, 16
BITS = (READ_COILS, READ_DISCRETE)
REGISTERS = (READ_HOLDING, READ_INPUT)
MAX_WRITE = 123


# ── requests ──────────────────────────────────────────────────────────────────────────────────────────────


def read_pdu(function: int, address: int, count: int) -> bytes:
    """A read of `count` registers or bits; a count of 0 is allowed, Yosemitech probes take it as a
    command.
    """
    if function not in REGISTERS + BITS:
        raise ValueError(f"function {function} does not read")
    most = MAX_READ if function in REGISTERS else 2000
    if not (0 <= count <= most and address >= 0 and address + count <= 0x10000):
        raise ValueError(f"cannot read {count} from {address:#06x}: at most {most}, and not beyond 0xffff")
    return struct.pack(">BHH", function, address, count)


def write_register_pdu(address: int, value: int) -> bytes:
    """A write of one register; negative values are sent as two's complement."""
    if not (0 <= address <= 0xFFFF and -0x8000 <= value <= 0xFFFF):
        raise ValueError(f"cannot write {value} to register {address:#06x}")
    return struct.pack(">BHH", WRITE_REGISTER, address, value & 0xFFFF)


def write_registers_pdu(address: int, data: bytes) -> bytes:
    """A write of `data`, two bytes a register; no data at all is a command to some probes."""
    count, odd = divmod(len(data), 2)
    if odd or count > MAX_WRITE or not 0 <= address <= 0x10000 - max(count, 1):
        raise ValueError(
            f"cannot write {len(data)} bytes to {address:#06x}: whole registers, at most {MAX_WRITE}"
        )
    return struct.pack(">BHHB", WRITE_REGISTERS, address, count, len(data)) + data


# ── frames ────────────────────────────────────────────────────────────────────────────────────────────────


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS. It goes on the wire with its low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc


def lrc(data: bytes) -> int:
    """The check of ASCII frames: the two's complement of the sum of the bytes."""
    return -sum(data) & 0xFF


def pack(framing: str, unit: int, pdu: bytes, transaction: int = 0) -> bytes:
    """A whole frame for the wire. `transaction` counts on TCP only."""
    if framing == "rtu":
        body = bytes((unit, *pdu))
        return body + crc16(body).to_bytes(2, "little")
    if framing == "ascii":
        body = bytes((unit, *pdu))
        return b":%s%02X\r\n" % (body.hex().upper().encode(), lrc(body))
    if framing == "tcp":
        return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu
    raise ValueError(f"no Modbus framing {framing!r}: rtu, ascii or tcp")


def unpack(framing: str, frame: bytes) -> bytes:
    """The PDU in a frame that `answer_cut` gave."""
    if framing == "rtu":
        return frame[1:-2]
    if framing == "ascii":
        return bytes.fromhex(frame[3:-4].decode("ascii"))
    return frame[7:]


def answer_cut(framing: str, unit: int, pdu: bytes, transaction: int = 0) -> Cut:
    """The framer for the answer to this request: gives the whole frame.

    It passes over noise, stray bytes of the turn-around, other units, other functions, other byte counts
    and other transactions. The length follows from the request, so it never waits for a silence.
    """
    if framing == "rtu":
        return _rtu_cut(unit, pdu)
    if framing == "ascii":
        return _ascii_cut(unit, pdu)
    if framing == "tcp":
        return _tcp_cut(unit, pdu, transaction)
    raise ValueError(f"no Modbus framing {framing!r}: rtu, ascii or tcp")


def answer_length(framing: str, pdu: bytes) -> int:
    """How many bytes the whole answer to this request takes on the wire."""
    length = 1 + len(_head(pdu)) + _rest(pdu)
    return {"rtu": length + 2, "ascii": 2 * length + 5, "tcp": length + 6}[framing]


def begun(framing: str, unit: int, pdu: bytes, got: bytes) -> bool:
    """Whether these bytes, of which nothing whole could be made, hold the beginning of an answer to this
    request.
    """
    starts = bytes((unit, pdu[0])), bytes((unit, pdu[0] | 0x80))
    if framing == "ascii":
        return any(b":" + start.hex().upper().encode() in got for start in starts)
    return any(start in got for start in starts)


def speaker(framing: str, unit: int, got: bytes) -> int | None:
    """Another unit of which these bytes hold a whole answer to a read, or a refusal; None when none is."""
    if framing == "ascii":
        for line in got.split(b"\r\n")[:-1]:
            try:
                body = bytes.fromhex(line[line.rfind(b":") + 1 :].decode("ascii"))
            except ValueError:
                continue
            if len(body) > 3 and body[0] != unit and lrc(body[:-1]) == body[-1] and _is_answer(body[:-1]):
                return body[0]
    if framing == "rtu":
        for at in range(len(got) - 4):
            if got[at] == unit or not 1 <= got[at] <= 247:
                continue
            end = at + 5 if got[at + 1] & 0x80 else at + 5 + got[at + 2]
            body, check = got[at : end - 2], got[end - 2 : end]
            if len(check) == 2 and _is_answer(body) and crc16(body) == check[0] | check[1] << 8:
                return got[at]
    return None


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────────


def _is_answer(body: bytes) -> bool:
    """Whether these look like a unit's answer to a read, or its refusal."""
    if body[1] & 0x80:
        return len(body) == 3
    return body[1] in REGISTERS + BITS and len(body) == 3 + body[2]


def _head(pdu: bytes) -> bytes:
    """The bytes an answer's PDU must begin with: the function, and its byte count, or the address it
    echoes.
    """
    function = pdu[0]
    if function in REGISTERS:
        return bytes((function, (pdu[3] << 8 | pdu[4]) * 2 & 0xFF))
    if function in BITS:
        return bytes((function, (pdu[3] << 8 | pdu[4]) + 7 >> 3))
    if function in (WRITE_COIL, WRITE_REGISTER):
        return pdu[:3]
    if function in (WRITE_COILS, WRITE_REGISTERS):
        return pdu[:5]
    raise ValueError(f"the answer to function {function} is unknown here")


def _rest(pdu: bytes) -> int:
    """How many bytes follow the head in the answer's PDU."""
    head = _head(pdu)
    if pdu[0] in REGISTERS + BITS:
        return head[1]
    return 5 - len(head)


def _rtu_cut(unit: int, pdu: bytes) -> Cut:
    head = bytes((unit,)) + _head(pdu)
    whole = len(head) + _rest(pdu) + 2
    refusal = bytes((unit, pdu[0] | 0x80))
    first = head[:1]

    def cut(got: bytes) -> tuple[bytes, int] | None:
        at = got.find(first)
        while at >= 0:
            # What begins as ours is waited for whole and then judged by its CRC; the decision at a place
            # depends on the bytes from there on only, so that it is the same however they are delivered.
            if got.startswith(head, at):
                end = at + whole
            elif got.startswith(refusal, at):
                end = at + 5
            elif (begun := got[at : at + len(head)]) and (
                head.startswith(begun) or refusal.startswith(begun)
            ):
                return None
            else:
                at = got.find(first, at + 1)
                continue
            if len(got) < end:
                return None
            frame = got[at:end]
            if crc16(frame[:-2]) == frame[-2] | frame[-1] << 8:
                return frame, end
            at = got.find(first, at + 1)
        return None

    return cut


def _ascii_cut(unit: int, pdu: bytes) -> Cut:
    head = bytes((unit,)) + _head(pdu)
    whole = len(head) + _rest(pdu) + 1
    refusal = bytes((unit, pdu[0] | 0x80))

    def cut(got: bytes) -> tuple[bytes, int] | None:
        end = got.find(b"\r\n")
        while end >= 0:
            at = got.rfind(b":", 0, end)
            try:
                body = bytes.fromhex(got[at + 1 : end].decode("ascii")) if at >= 0 else b""
            except ValueError:
                body = b""
            is_answer = body.startswith(head) and len(body) == whole
            is_refusal = body.startswith(refusal) and len(body) == 4
            if (is_answer or is_refusal) and lrc(body[:-1]) == body[-1]:
                return got[at : end + 2], end + 2
            end = got.find(b"\r\n", end + 2)
        return None

    return cut


def _tcp_cut(unit: int, pdu: bytes, transaction: int) -> Cut:
    head = _head(pdu)
    whole = len(head) + _rest(pdu)
    function = pdu[0]
    begin = struct.pack(">HHHB", transaction, 0, whole + 1, unit) + head
    refusal = struct.pack(">HHHBB", transaction, 0, 3, unit, function | 0x80)

    def cut(got: bytes) -> tuple[bytes, int] | None:
        at = 0
        while len(got) >= at + 6:
            length = got[at + 4] << 8 | got[at + 5]
            if got[at + 2] or got[at + 3] or not 2 <= length <= 254:
                at += 1  # not a header: a serial server's greeting, or noise it passed on
                continue
            end = at + 6 + length
            if len(got) < end:
                return None
            if got.startswith(begin if length == whole + 1 else refusal, at):
                return got[at:end], end
            at = end
        return None

    return cut


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()
