"""Modbus master: frames without I/O, and `ask`, the one place where a request goes out over a link.

How the frames look stands in `drivers.frames`, how numbers stand in registers in `drivers.registers`;
everything of both that a driver needs has its name here too.
"""

from __future__ import annotations

import asyncio
import logging
from functools import lru_cache
from weakref import WeakKeyDictionary

from drivers.base import (
    GarbledAnswer,
    InstrumentError,
    InstrumentFault,
    NoAnswer,
    NotReady,
    RequestRefused,
)
from drivers.frames import (
    MAX_WRITE,
    READ_COILS,
    READ_DISCRETE,
    READ_HOLDING,
    READ_INPUT,
    WRITE_COIL,
    WRITE_COILS,
    WRITE_REGISTER,
    WRITE_REGISTERS,
    answer_cut,
    answer_length,
    begun,
    crc16,
    lrc,
    pack,
    read_pdu,
    speaker,
    unpack,
    write_register_pdu,
    write_registers_pdu,
)
from drivers.link import Cut, Link
from drivers.registers import FORMATS, MAX_READ, ORDERS, decode, decoder, encode, plan, registers

__all__ = [
    "FORMATS", "MAX_READ", "MAX_WRITE", "ORDERS", "READ_COILS", "READ_DISCRETE", "READ_HOLDING", "READ_INPUT",
    "WRITE_COIL", "WRITE_COILS", "WRITE_REGISTER", "WRITE_REGISTERS", "Acknowledge", "DeviceBusy",
    "DeviceFailure", "GatewayPathUnavailable", "GatewayTargetSilent", "IllegalDataAddress",
    "IllegalDataValue", "IllegalFunction", "MemoryParity", "ModbusException", "UnknownException",
    "answer_cut", "ask", "crc16", "decode", "decoder", "encode", "late_until_s", "lrc", "pack", "plan",
    "read_bits", "read_pdu", "read_registers", "registers", "unpack", "write_register", "write_register_pdu",
    "write_registers", "write_registers_pdu",
]  # fmt: skip

log = logging.getLogger(__name__)

BROADCAST_PAUSE_S = 0.1
"""What instruments get to digest a broadcast, which none of them answers (Serial Line V1.02, 2.4.1: 100 to
200 ms).
"""


class ModbusException:
    """An exception answer: `unit`, `function` and `code` of what was refused.

    The classes below say what each means.
    """

    unit: int
    function: int
    code: int


class IllegalFunction(ModbusException, RequestRefused):
    """01: the instrument does not have this function."""


class IllegalDataAddress(ModbusException, RequestRefused):
    """02: no such register, or a block that reaches beyond one: the wrong map for this instrument."""


class IllegalDataValue(ModbusException, RequestRefused):
    """03: the value or the count is not allowed."""


class DeviceFailure(ModbusException, InstrumentFault):
    """04: the instrument failed while it tried."""


class Acknowledge(ModbusException, NotReady):
    """05: accepted, and takes long."""


class DeviceBusy(ModbusException, NotReady):
    """06: busy with a long command."""


class MemoryParity(ModbusException, InstrumentFault):
    """08: the instrument's memory is damaged."""


class GatewayPathUnavailable(ModbusException, NoAnswer):
    """0A: the gateway between us and the instrument is overloaded or set up wrongly."""


class GatewayTargetSilent(ModbusException, NoAnswer):
    """0B: the gateway answers, the instrument behind it does not."""


class UnknownException(ModbusException, RequestRefused):
    """Any other code: the maker's own."""


_EXCEPTIONS: dict[int, tuple[type[InstrumentError], str]] = {
    1: (IllegalFunction, "illegal function"),
    2: (IllegalDataAddress, "illegal data address"),
    3: (IllegalDataValue, "illegal data value"),
    4: (DeviceFailure, "device failure"),
    5: (Acknowledge, "acknowledged, still working"),
    6: (DeviceBusy, "busy"),
    8: (MemoryParity, "memory parity error"),
    10: (GatewayPathUnavailable, "gateway path unavailable"),
    11: (GatewayTargetSilent, "the gateway's target does not answer"),
}


# ── asking ────────────────────────────────────────────────────────────────────────────────────────────────


async def ask(
    link: Link,
    unit: int,
    pdu: bytes,
    *,
    within_s: float,
    after_s: float = 0.0,
    late_s: float | None = None,
) -> bytes:
    """Send a request and give the answer's PDU, its function byte first; b"" for a broadcast, which nobody
    answers.

    `within_s` is the time the instrument gets to begin its answer, counted from the end of the request on
    the wire; the answer's own time on the wire comes on top. `after_s` is the quiet this instrument wants
    before a request.

    RTU and ASCII answers do not say which request they answer. So after a silence the same unit is not
    asked again until its late answer came and was dropped, or `late_s` after the request (twice `within_s`
    where not given) have passed; other units are asked at once. `link.took_s` then knows how long a late
    answer took. Raises the errors above, NoAnswer, GarbledAnswer and PortLost.
    """
    framing = link.framing
    state = _states.get(link)
    if state is None:
        state = _states[link] = _State()
    if framing == "tcp":  # each answer names its transaction: nothing can be mistaken
        state.transaction = state.transaction % 0xFFFF + 1
        request = pack(framing, unit, pdu, state.transaction)
        cut = answer_cut(framing, unit, pdu, state.transaction)
        rest_s, late = within_s, None
    else:
        request, cut, longest = _exchange(framing, unit, pdu)
        rest_s, late = longest * link.line.char_s if link.is_serial else within_s, state.late
        if unit == 0:
            return await _broadcast(link, request, pdu, after_s)
        if unit in late:
            await _drop_late(link, late, unit)
    has_left = False
    try:
        await link.send(request, after_s=after_s)
        has_left = True
        frame = await link.receive_frame(cut, within_s, rest_s=rest_s)
    except (NoAnswer, GarbledAnswer, asyncio.CancelledError) as e:
        # An answer that came damaged will not come again; after silence, noise, a damaged echo or a
        # neighbour's answer it may.
        came = has_left and isinstance(e, GarbledAnswer) and begun(framing, unit, pdu, e.frame)
        if late is not None and not came:
            now_s = asyncio.get_running_loop().time()
            asked_s = now_s - within_s
            late[unit] = (asked_s, asked_s + (2 * within_s if late_s is None else late_s), cut)
        if isinstance(e, GarbledAnswer):
            another = speaker(framing, unit, e.frame)
            said = "" if another is None else f"unit {another} answered instead: "
            crosstalk = e.crosstalk or another is not None
            raise GarbledAnswer(f"unit {unit}: {said}{e}", e.frame, crosstalk=crosstalk) from e
        if isinstance(e, NoAnswer):
            raise NoAnswer(f"unit {unit}: {e}") from e
        raise
    answer = unpack(framing, frame)
    if answer[0] & 0x80:
        raise _exception(unit, answer[0] & 0x7F, answer[1])
    return answer


def late_until_s(link: Link, unit: int) -> float:
    """Loop time until which a late answer of this unit may come, and `ask` would wait; 0 when none may."""
    state = _states.get(link)
    return state.late[unit][1] if state is not None and unit in state.late else 0.0


async def read_registers(
    link: Link, unit: int, function: int, address: int, count: int, *, within_s: float, after_s: float = 0.0
) -> bytes:
    """Read `count` registers (function 3 or 4) and give their bytes as they came.

    `address` is the one on the wire.
    """
    answer = await ask(link, unit, read_pdu(function, address, count), within_s=within_s, after_s=after_s)
    return answer[2:]


async def read_bits(
    link: Link, unit: int, function: int, address: int, count: int, *, within_s: float, after_s: float = 0.0
) -> tuple[bool, ...]:
    """Read `count` coils (function 1) or discrete inputs (function 2)."""
    answer = await ask(link, unit, read_pdu(function, address, count), within_s=within_s, after_s=after_s)
    return tuple(bool(answer[2 + i // 8] >> i % 8 & 1) for i in range(count))


async def write_register(
    link: Link, unit: int, address: int, value: int, *, within_s: float, after_s: float = 0.0
) -> None:
    """Write one register (function 6). Raises GarbledAnswer when the instrument echoes another value."""
    request = write_register_pdu(address, value)
    answer = await ask(link, unit, request, within_s=within_s, after_s=after_s)
    if answer and answer != request:
        raise GarbledAnswer(
            f"unit {unit}: register {address:#06x}: {answer[3:].hex()} came back, not {value}", answer
        )


async def write_registers(
    link: Link, unit: int, address: int, data: bytes, *, within_s: float, after_s: float = 0.0
) -> None:
    """Write registers (function 16) from bytes as they go on the wire.

    No bytes at all is a command to some probes.
    """
    await ask(link, unit, write_registers_pdu(address, data), within_s=within_s, after_s=after_s)


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────────


Late = dict[int, tuple[float, float, Cut]]
"""By unit: when it was asked, until when its answer may still come, and what that would look like."""


class _State:
    """What the master remembers of a link: the last transaction, and the units whose answer may still
    come.
    """

    __slots__ = ("late", "transaction")

    def __init__(self) -> None:
        self.transaction = 0
        self.late: Late = {}


_states: WeakKeyDictionary[Link, _State] = WeakKeyDictionary()


async def _drop_late(link: Link, late: Late, unit: int) -> None:
    """Wait until the late answer of `unit` came, or its window is over, and drop it."""
    asked_s, until_s, cut = late[unit]
    left_s = until_s - asyncio.get_running_loop().time()
    if left_s > 0 or link.is_open:
        try:
            frame = await link.receive_frame(cut, max(left_s, 0.0))
        except (NoAnswer, GarbledAnswer):
            pass
        else:
            link.took_s = max(link.took_s, link.quiet_at_s - asked_s)
            log.debug("%s: unit %d: dropped a late answer %s", link.port, unit, frame.hex(" "))
    late.pop(unit, None)


async def _broadcast(link: Link, request: bytes, pdu: bytes, after_s: float) -> bytes:
    if pdu[0] not in (WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS):
        raise ValueError("unit 0 is everybody: only writes can be broadcast")
    await link.send(request, after_s=after_s)
    await asyncio.sleep(BROADCAST_PAUSE_S)
    return b""


def _exception(unit: int, function: int, code: int) -> InstrumentError:
    kind, words = _EXCEPTIONS.get(code, (UnknownException, "the maker's own exception"))
    error = kind(f"unit {unit}: function {function:#04x}: exception {code:#04x}, {words}")
    if isinstance(error, ModbusException):
        error.unit, error.function, error.code = unit, function, code
    return error


@lru_cache(maxsize=1024)
def _exchange(framing: str, unit: int, pdu: bytes) -> tuple[bytes, Cut, int]:
    """The request's frame, the cut for its answer, and the answer's length on the wire.

    A station asks the same again.
    """
    return pack(framing, unit, pdu), answer_cut(framing, unit, pdu), answer_length(framing, pdu)
