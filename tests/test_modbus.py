"""The Modbus master on a bad wire: silence, rubbish, late answers, exceptions, echo."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import modbus
from drivers.base import GarbledAnswer, InstrumentError, InstrumentFault, NoAnswer, NotReady, RequestRefused
from drivers.link import Line, Link
from drivers.modbus import (
    ask,
    pack,
    read_bits,
    read_pdu,
    read_registers,
    write_register,
    write_register_pdu,
    write_registers,
)
from drivers.registers import decode, shortest32
from tests.ptys import Pty, TcpPort
from tests.virtual_time import run


def h(text: str) -> bytes:
    return bytes.fromhex(text)


READ_3 = read_pdu(3, 0, 3)
ANSWER_3 = h("01 03 06 00 01 00 02 00 03 FD 74")

Conversation = Callable[[Link, Pty], Awaitable[None]]


def on_a_pty(conversation: Conversation, framing: str = "rtu", echo: bool = False) -> None:
    async def main() -> None:
        with Pty() as wire:
            link = Link(wire.port, Line(9600, "8N1"), framing=framing, echo=echo)
            try:
                await conversation(link, wire)
            finally:
                link.close()

    run(main())


async def exchange(
    link: Link, wire: Pty | TcpPort, answer: bytes, unit: int = 1, pdu: bytes = READ_3
) -> bytes:
    """Ask, hear the request, say `answer`; the answer's PDU."""
    asking = asyncio.create_task(ask(link, unit, pdu, within_s=0.5))
    request = pack(link.framing, unit, pdu, 1)
    heard = await wire.hear(len(request))
    assert heard[2:] == request[2:]
    wire.say(answer if link.framing != "tcp" else heard[:2] + answer[2:])
    return await asking


@pytest.mark.parametrize(
    ("bits", "short"),
    [
        ("40e3d70a", 7.12), ("3dcccccd", 0.1), ("42f6e979", 123.456), ("41ccf0c5", 25.617563),
        ("00000000", 0.0), ("c1b40000", -22.5), ("43b90300", 370.02344), ("3f800001", 1.0000001),
        ("4b7fffff", 16777215.0), ("7f7fffff", 3.4028234663852886e38),
        ("00000001", 1.401298464324817e-45), ("7f800000", math.inf),
    ],
)  # fmt: skip
def test_a_float32_is_the_short_number_that_means_the_same(bits: str, short: float) -> None:
    assert decode(bytes.fromhex(bits), "float32") == short
    assert shortest32((1.5, short))[1] == short  # also beside others


@given(st.lists(st.floats(width=32), min_size=1, max_size=8))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_short_numbers_are_the_same_float32s(numbers: list[float]) -> None:
    for x, y in zip(numbers, shortest32(tuple(numbers)), strict=True):
        assert math.isnan(y) if math.isnan(x) else struct.pack("f", y + 0.0) == struct.pack("f", x + 0.0)


@given(st.decimals(min_value="-99999", max_value="99999", places=1), st.integers(0, 5))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_a_number_of_six_digits_comes_as_it_was_meant(number: Decimal, places: int) -> None:
    meant = float(number / 10**places)
    assert shortest32(struct.unpack("f", struct.pack("f", meant))) in ([meant], (meant,))


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
def test_asks_over_a_pty(framing: str) -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        for before in (b"", b"\0\xff"):
            answer = pack(framing, 1, ANSWER_3[1:-2])
            assert await exchange(link, wire, before + answer + b"\0") == ANSWER_3[1:-2]

    on_a_pty(conversation, framing)


@pytest.mark.parametrize("scheme", ["tcp", "rtu+tcp"])
def test_asks_over_tcp(scheme: str) -> None:
    async def main() -> None:
        with await TcpPort.open() as wire:
            link = Link(wire.port.replace("tcp", scheme, 1))
            for _ in range(3):
                answer = pack(link.framing, 1, ANSWER_3[1:-2], 0)
                assert await exchange(link, wire, answer) == ANSWER_3[1:-2]
            assert wire.connections == 1
            link.close()

    run(main())


def test_reads_and_writes() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        async def instrument() -> None:
            for request, answer in (
                ("01 03 28 00 00 02 CD AB", "01 03 04 1F 85 DB 40 B7 0E"),
                ("01 02 00 00 00 08 79 CC", "01 02 01 22 21 91"),
                ("28 06 00 01 00 0F 9F F7", "28 06 00 01 00 0F 9F F7"),
                ("01 10 31 00 00 00 00 74 94", "01 10 31 00 00 00 CE F5"),
                ("28 06 00 01 00 0F 9F F7", pack("rtu", 40, h("06 00 01 00 0E")).hex()),
            ):
                assert await wire.hear(len(h(request))) == h(request)
                wire.say(h(answer))

        speaking = asyncio.create_task(instrument())
        assert await read_registers(link, 1, 3, 0x2800, 2, within_s=0.5) == h("1F 85 DB 40")
        bits = await read_bits(link, 1, 2, 0, 8, within_s=0.5)
        assert [i for i, bit in enumerate(bits) if bit] == [1, 5]
        await write_register(link, 40, 1, 0xF, within_s=0.5)
        await write_registers(link, 1, 0x3100, b"", within_s=0.5)
        with pytest.raises(GarbledAnswer, match="register 0x0001: 000e came back, not 15"):
            await write_register(link, 40, 1, 0xF, within_s=0.5)
        await speaking

    on_a_pty(conversation)


def test_silence_is_no_answer_at_the_deadline() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        loop = asyncio.get_running_loop()
        await link.open()
        began_s = loop.time()
        with pytest.raises(NoAnswer, match=r"unit 5: .*no answer within 0\.5 s"):
            await ask(link, 5, READ_3, within_s=0.5)
        spent_s = loop.time() - began_s
        assert spent_s == pytest.approx(link.silence_s + 8 * link.line.char_s + 0.5, abs=0.002)

    on_a_pty(conversation)


@pytest.mark.parametrize(
    "answer",
    ["01 03 06 00 01 00 02 00", "01 03 06 00 01 00 02 00 04 FD 74", "02 03 06 00 01 00 02 00 03 B9 74", "FF"],
    ids=["truncated", "garbled", "wrong unit", "noise"],
)
def test_rubbish_is_a_garbled_answer(answer: str) -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        with pytest.raises(GarbledAnswer, match=f"unit 1: .*{answer.lower()}") as caught:
            await exchange(link, wire, h(answer))
        assert caught.value.frame == h(answer)
        assert await exchange(link, wire, ANSWER_3) == ANSWER_3[1:-2]

    on_a_pty(conversation)


def test_a_damaged_answer_is_asked_again_at_once() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        with pytest.raises(GarbledAnswer):
            await exchange(link, wire, h("01 03 06 00 01 00 02 00 04 FD 74"))
        began_s = asyncio.get_running_loop().time()
        await exchange(link, wire, ANSWER_3)
        assert asyncio.get_running_loop().time() - began_s < 0.1

    on_a_pty(conversation)


def test_a_long_answer_may_end_after_the_deadline() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        pdu = read_pdu(3, 0, 125)
        answer = pack("rtu", 1, bytes((3, 250)) + bytes(250))
        asking = asyncio.create_task(ask(link, 1, pdu, within_s=0.05))
        await wire.hear(8)
        for byte in answer:  # 265 ms on the wire, begun at once
            wire.say(bytes((byte,)))
            await asyncio.sleep(link.line.char_s)
        assert await asking == answer[1:-2]

    on_a_pty(conversation)


EXCEPTIONS: list[tuple[int, type[InstrumentError], type[InstrumentError]]] = [
    (1, modbus.IllegalFunction, RequestRefused),
    (2, modbus.IllegalDataAddress, RequestRefused),
    (3, modbus.IllegalDataValue, RequestRefused),
    (4, modbus.DeviceFailure, InstrumentFault),
    (5, modbus.Acknowledge, NotReady),
    (6, modbus.DeviceBusy, NotReady),
    (8, modbus.MemoryParity, InstrumentFault),
    (10, modbus.GatewayPathUnavailable, NoAnswer),
    (11, modbus.GatewayTargetSilent, NoAnswer),
    (0x92, modbus.UnknownException, RequestRefused),
]


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
@pytest.mark.parametrize(("code", "error", "kind"), EXCEPTIONS)
def test_exceptions(
    framing: str, code: int, error: type[InstrumentError], kind: type[InstrumentError]
) -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        with pytest.raises(kind, match=f"unit 7: function 0x03: exception {code:#04x}") as caught:
            await exchange(link, wire, pack(framing, 7, bytes((0x83, code))), unit=7)
        assert type(caught.value) is error
        assert isinstance(caught.value, modbus.ModbusException)
        assert (caught.value.unit, caught.value.function, caught.value.code) == (7, 3, code)
        began_s = asyncio.get_running_loop().time()
        await exchange(link, wire, pack(framing, 7, ANSWER_3[1:-2]), unit=7)
        assert asyncio.get_running_loop().time() - began_s < 0.1, (
            "an exception is an answer: nothing late to wait for"
        )

    on_a_pty(conversation, framing)


# ── late answers ──────────────────────────────────────────────────────────────────────────────────────────

LATE = pack("rtu", 1, h("03 06 00 0A 00 0B 00 0C"))


@pytest.mark.parametrize("delay_s", [0.1, 0.49])
def test_a_late_answer_is_not_the_next_requests(delay_s: float) -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        with pytest.raises(NoAnswer):
            await ask(link, 1, READ_3, within_s=0.5)
        await wire.hear(8)
        asking = asyncio.create_task(ask(link, 1, READ_3, within_s=0.5))
        await asyncio.sleep(delay_s)
        assert wire.overheard() == b"", "the same unit was asked again while its answer may still come"
        wire.say(LATE)
        assert await wire.hear(8) == pack("rtu", 1, READ_3)
        wire.say(ANSWER_3)
        assert await asking == ANSWER_3[1:-2]

    on_a_pty(conversation)


def test_an_answer_that_never_comes_holds_its_unit_for_the_time_out_and_no_longer() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(NoAnswer):
            await ask(link, 1, READ_3, within_s=0.5)
        await wire.hear(8)
        silent_from_s = loop.time()
        asking = asyncio.create_task(ask(link, 1, READ_3, within_s=0.5))
        await wire.hear(8)
        assert loop.time() - silent_from_s == pytest.approx(0.5, abs=0.01)
        wire.say(ANSWER_3)
        await asking
        began_s = loop.time()
        await exchange(link, wire, ANSWER_3)
        assert loop.time() - began_s < 0.1

    on_a_pty(conversation)


def test_other_units_are_asked_at_once_and_pass_over_the_late_answer() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(NoAnswer):
            await ask(link, 1, READ_3, within_s=0.5)
        await wire.hear(8)
        began_s = loop.time()
        answer = pack("rtu", 2, ANSWER_3[1:-2])
        assert await exchange(link, wire, LATE + answer, unit=2) == ANSWER_3[1:-2]
        assert loop.time() - began_s < 0.1

    on_a_pty(conversation)


def test_a_neighbours_late_answer_does_not_excuse_ours() -> None:
    """Unit 2 stays silent while the late answer of unit 1 comes: unit 2's own may still come late."""

    async def conversation(link: Link, wire: Pty) -> None:
        with pytest.raises(NoAnswer):
            await ask(link, 1, READ_3, within_s=0.5)
        await wire.hear(8)
        with pytest.raises(GarbledAnswer):
            await exchange(link, wire, LATE, unit=2)
        asking = asyncio.create_task(ask(link, 2, READ_3, within_s=0.5))
        await asyncio.sleep(0.1)
        wire.say(pack("rtu", 2, LATE[1:-2]))
        await wire.hear(8)
        wire.say(pack("rtu", 2, ANSWER_3[1:-2]))
        assert await asking == ANSWER_3[1:-2]

    on_a_pty(conversation)


def test_the_answer_to_a_cancelled_request_is_late_too() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        asking = asyncio.create_task(ask(link, 1, READ_3, within_s=0.5))
        await wire.hear(8)
        asking.cancel()
        await asyncio.wait((asking,))
        again = asyncio.create_task(ask(link, 1, READ_3, within_s=0.5))
        await asyncio.sleep(0.2)
        wire.say(LATE)
        await wire.hear(8)
        wire.say(ANSWER_3)
        assert await again == ANSWER_3[1:-2]

    on_a_pty(conversation)


def test_the_answer_after_a_damaged_echo_is_late_too() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        asking = asyncio.create_task(ask(link, 1, READ_3, within_s=0.5))
        await wire.hear(8)
        wire.say(h("01 03 00 00 00 07 05 CB"))
        with pytest.raises(GarbledAnswer, match="echo"):
            await asking
        again = asyncio.create_task(ask(link, 1, READ_3, within_s=0.5))
        await asyncio.sleep(0.2)
        assert wire.overheard() == b"", "the same unit was asked again while its answer may still come"
        wire.say(LATE)
        wire.say(await wire.hear(8) + ANSWER_3)
        assert await again == ANSWER_3[1:-2]

    on_a_pty(conversation, echo=True)


def test_tcp_knows_a_late_answer_by_its_transaction() -> None:
    async def main() -> None:
        with await TcpPort.open() as wire:
            link = Link(wire.port)
            with pytest.raises(NoAnswer):
                await ask(link, 1, READ_3, within_s=0.5)
            late = (await wire.hear(12))[:2] + pack("tcp", 1, LATE[1:-2])[2:]
            asking = asyncio.create_task(ask(link, 1, READ_3, within_s=0.5))
            request = await wire.hear(12)
            wire.say(late + request[:2] + pack("tcp", 1, ANSWER_3[1:-2])[2:])
            assert await asking == ANSWER_3[1:-2]
            link.close()

    run(main())


# ── broadcast, echo ───────────────────────────────────────────────────────────────────────────────────────


def test_a_broadcast_awaits_no_answer_but_gives_time_to_digest_it() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        loop = asyncio.get_running_loop()
        await link.open()
        began_s = loop.time()
        await write_register(link, 0, 1, 2, within_s=30.0)
        assert await wire.hear(8) == pack("rtu", 0, write_register_pdu(1, 2))
        assert loop.time() - began_s == pytest.approx(link.silence_s + modbus.BROADCAST_PAUSE_S, abs=0.01)
        with pytest.raises(ValueError, match="only writes"):
            await ask(link, 0, READ_3, within_s=0.5)

    on_a_pty(conversation)


@pytest.mark.parametrize("echo", [False, True])
def test_an_answer_that_equals_its_request_is_told_from_the_echo(echo: bool) -> None:
    """Function 06 answers with the request itself: heard once without echo, twice with it."""

    async def conversation(link: Link, wire: Pty) -> None:
        request = write_register_pdu(1, 15)
        asking = asyncio.create_task(write_register(link, 1, 1, 15, within_s=0.5))
        heard = await wire.hear(8)
        assert heard == pack("rtu", 1, request)
        wire.say(heard)
        await asyncio.sleep(0.1)
        assert asking.done() is not echo
        if echo:
            wire.say(heard)
        await asking

    on_a_pty(conversation, echo=echo)


def test_transactions_never_use_the_same_number_twice_in_a_row() -> None:
    async def main() -> None:
        with await TcpPort.open() as wire:
            link = Link(wire.port)
            seen = []
            for _ in range(3):
                asking = asyncio.create_task(ask(link, 1, READ_3, within_s=0.5))
                request = await wire.hear(12)
                seen.append(struct.unpack(">H", request[:2])[0])
                wire.say(request[:2] + pack("tcp", 1, ANSWER_3[1:-2])[2:])
                await asking
            assert seen == [1, 2, 3]
            link.close()

    run(main())
