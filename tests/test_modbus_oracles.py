"""Our Modbus master against implementations that know nothing of it: pymodbus, libmodbus, minimalmodbus."""

from __future__ import annotations

import asyncio
import os
import random
import struct
import subprocess
import threading
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import minimalmodbus
import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.link import Line, Link
from drivers.modbus import (
    IllegalDataAddress,
    decode,
    encode,
    pack,
    read_bits,
    read_pdu,
    read_registers,
    write_register,
    write_register_pdu,
    write_registers,
    write_registers_pdu,
)
from tests.ptys import PtyPair

WITHIN_S = 20.0  # only there to catch a hang
LINE = Line(115200, "8N1")


def words(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


async def reads_at_random(
    link: Link, unit: int, holding: Callable[[int], int], inputs: Callable[[int], int]
) -> None:
    dice = random.Random(1)
    for _ in range(25):
        function, value = dice.choice([(3, holding), (4, inputs)])
        count = dice.choice([1, 2, 5, 125, dice.randint(1, 125)])
        address = dice.randint(0, 500 - count)
        data = await read_registers(link, unit, function, address, count, within_s=WITHIN_S)
        assert words(data) == [value(n) & 0xFFFF for n in range(address, address + count)]


# ── pymodbus ──────────────────────────────────────────────────────────────────────────────────────────────


def pymodbus_device() -> SimDevice:
    coils = [SimData(0, values=[n % 3 == 0 for n in range(64)], datatype=DataType.BITS)]
    discrete = [SimData(0, values=[n % 4 == 1 for n in range(64)], datatype=DataType.BITS)]
    holding = [SimData(0, values=[7 * n + 3 for n in range(500)], datatype=DataType.REGISTERS)]
    inputs = [SimData(0, values=[5 * n + 1 for n in range(500)], datatype=DataType.REGISTERS)]
    return SimDevice(17, (coils, discrete, holding, inputs))


@asynccontextmanager
async def pymodbus_server(framing: str) -> AsyncIterator[Link]:
    server: Any
    if framing == "tcp":
        server = ModbusTcpServer(pymodbus_device(), address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        host, port = server.transport.sockets[0].getsockname()
        link = Link(f"tcp://{host}:{port}")
        try:
            yield link
        finally:
            link.close()
            await server.shutdown()
        return
    with PtyPair() as pair:
        framer = FramerType.ASCII if framing == "ascii" else FramerType.RTU
        server = ModbusSerialServer(
            pymodbus_device(), framer=framer, port=pair.ports[0], baudrate=LINE.baudrate
        )
        await server.serve_forever(background=True)
        link = Link(pair.ports[1], LINE, framing=framing)
        try:
            yield link
        finally:
            link.close()
            await server.shutdown()


@pytest.mark.parametrize("framing", ["rtu", "ascii", "tcp"])
def test_pymodbus_server(framing: str) -> None:
    async def main() -> None:
        async with pymodbus_server(framing) as link:
            await reads_at_random(link, 17, lambda n: 7 * n + 3, lambda n: 5 * n + 1)
            coils = await read_bits(link, 17, 1, 3, 20, within_s=WITHIN_S)
            assert coils == tuple(n % 3 == 0 for n in range(3, 23))
            assert await read_bits(link, 17, 2, 1, 9, within_s=WITHIN_S) == tuple(
                n % 4 == 1 for n in range(1, 10)
            )
            await write_register(link, 17, 10, -2, within_s=WITHIN_S)
            await write_registers(link, 17, 11, encode(123.456, "float32", "DCBA"), within_s=WITHIN_S)
            data = await read_registers(link, 17, 3, 10, 3, within_s=WITHIN_S)
            assert words(data)[0] == 0xFFFE
            assert decode(data[2:], "float32", "DCBA") == pytest.approx(123.456)
            with pytest.raises(IllegalDataAddress):
                await read_registers(link, 17, 3, 499, 2, within_s=WITHIN_S)
            assert words(await read_registers(link, 17, 4, 499, 1, within_s=WITHIN_S)) == [5 * 499 + 1]

    asyncio.run(main())


# ── libmodbus ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def libmodbus_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server of tests/libmodbus_server.c, compiled."""
    program = tmp_path_factory.mktemp("libmodbus") / "server"
    source = Path(__file__).with_name("libmodbus_server.c")
    subprocess.run(["gcc", "-o", str(program), str(source), "-lmodbus"], check=True, timeout=60)
    return program


@asynccontextmanager
async def running(program: Path, *arguments: str) -> AsyncIterator[int]:
    """Run the server; gives the port number it says."""
    server = await asyncio.create_subprocess_exec(str(program), *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        assert server.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            ready, port = (await server.stdout.readline()).split()
        assert ready == b"ready"
        yield int(port)
    finally:
        if server.returncode is None:
            server.kill()
        await server.wait()


async def talk_to_libmodbus(link: Link) -> None:
    await reads_at_random(link, 17, lambda n: 7 * n + 3, lambda n: 5 * n + 1)
    assert await read_bits(link, 17, 1, 3, 20, within_s=WITHIN_S) == tuple(n % 3 == 0 for n in range(3, 23))
    assert await read_bits(link, 17, 2, 1, 9, within_s=WITHIN_S) == tuple(n % 4 == 1 for n in range(1, 10))
    await write_register(link, 17, 10, 0xBEEF, within_s=WITHIN_S)
    await write_registers(link, 17, 11, bytes(range(246)), within_s=WITHIN_S)
    data = await read_registers(link, 17, 3, 10, 124, within_s=WITHIN_S)
    assert data == b"\xbe\xef" + bytes(range(246))
    with pytest.raises(IllegalDataAddress):
        await read_registers(link, 17, 3, 500, 1, within_s=WITHIN_S)


def test_libmodbus_server_rtu(libmodbus_server: Path) -> None:
    async def main() -> None:
        with PtyPair() as pair:
            async with running(libmodbus_server, "rtu", pair.ports[0]):
                link = Link(pair.ports[1], Line(9600, "8N1"))
                await talk_to_libmodbus(link)
                link.close()

    asyncio.run(main())


def test_libmodbus_server_tcp(libmodbus_server: Path) -> None:
    async def main() -> None:
        async with running(libmodbus_server, "tcp", "0") as port:
            link = Link(f"tcp://127.0.0.1:{port}")
            await talk_to_libmodbus(link)
            link.close()

    asyncio.run(main())


# ── minimalmodbus ─────────────────────────────────────────────────────────────────────────────────────────

UNIT = 40


class Wire:
    """A pseudo-terminal that gives minimalmodbus one prepared answer and keeps what it asked."""

    def __init__(self, mode: str) -> None:
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.instrument: Any = minimalmodbus.Instrument(
            os.ttyname(self._theirs), UNIT, mode, close_port_after_each_call=True
        )
        self.instrument.serial.timeout = WITHIN_S
        self.mode = mode

    def ask(self, call: Callable[[Any], Any], request: bytes, answer: bytes) -> tuple[bytes, Any]:
        """What minimalmodbus sends for `call`, and what it makes of our packing of `answer`."""
        expected = len(pack(self.mode, UNIT, request))
        heard = bytearray()

        def serve() -> None:
            while len(heard) < expected:
                heard.extend(os.read(self._ours, 512))
            os.write(self._ours, pack(self.mode, UNIT, answer))

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        result = call(self.instrument)
        serving.join(WITHIN_S)
        return bytes(heard), result

    def close(self) -> None:
        os.close(self._ours)
        os.close(self._theirs)


@pytest.fixture(params=["rtu", "ascii"])
def wire(request: pytest.FixtureRequest) -> Any:
    made = Wire(request.param)
    yield made
    made.close()


CALLS: list[tuple[Callable[[Any], Any], bytes, bytes, Any]] = [
    (lambda i: i.read_registers(0x53, 3), read_pdu(3, 0x53, 3), b"\x03\x06\0\1\0\2\0\3", [1, 2, 3]),
    (
        lambda i: i.read_registers(0x3100, 125, 4),
        read_pdu(4, 0x3100, 125),
        b"\x04\xfa" + bytes(250),
        [0] * 125,
    ),
    (lambda i: i.read_register(0xA4), read_pdu(3, 0xA4, 1), b"\x03\x02\x01\xf4", 500),
    (lambda i: i.read_bits(0, 8, 2), read_pdu(2, 0, 8), b"\x02\x01\x22", [0, 1, 0, 0, 0, 1, 0, 0]),
    (
        lambda i: i.write_register(1, 15, functioncode=6),
        write_register_pdu(1, 15),
        write_register_pdu(1, 15),
        None,
    ),
    (
        lambda i: i.write_registers(0x1010, [1, 0]),
        write_registers_pdu(0x1010, b"\0\1\0\0"),
        b"\x10\x10\x10\x00\x02",
        None,
    ),
]


@pytest.mark.parametrize(("call", "request_pdu", "answer", "result"), CALLS)
def test_minimalmodbus_sends_the_same_bytes(
    wire: Wire, call: Callable[[Any], Any], request_pdu: bytes, answer: bytes, result: Any
) -> None:
    heard, got = wire.ask(call, request_pdu, answer)
    assert heard == pack(wire.mode, UNIT, request_pdu)
    assert got == result


BYTE_ORDERS = {
    "ABCD": minimalmodbus.BYTEORDER_BIG,
    "DCBA": minimalmodbus.BYTEORDER_LITTLE,
    "BADC": minimalmodbus.BYTEORDER_BIG_SWAP,
    "CDAB": minimalmodbus.BYTEORDER_LITTLE_SWAP,
}


@pytest.mark.parametrize("order", BYTE_ORDERS)
def test_minimalmodbus_reads_the_same_numbers(order: str) -> None:
    wire = Wire("rtu")
    byteorder = BYTE_ORDERS[order]
    request = read_pdu(3, 0x2600, 2)
    try:
        for value in (123.456, -0.0625, 7.04, 1e-30):
            data = encode(value, "float32", order)
            _, got = wire.ask(lambda i: i.read_float(0x2600, 3, 2, byteorder), request, b"\x03\x04" + data)
            read = decode(data, "float32", order)  # shorter, and the same 32 bits
            assert got == struct.unpack("f", struct.pack("f", read))[0] == pytest.approx(value, rel=1e-6)
        for integer in (12345, -123, 2**31 - 1):
            data = encode(integer, "int32", order)
            _, got = wire.ask(lambda i: i.read_long(0x2600, 3, True, byteorder), request, b"\x03\x04" + data)
            assert got == decode(data, "int32", order) == integer
    finally:
        wire.close()
