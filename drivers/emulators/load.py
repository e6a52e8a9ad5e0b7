"""A cheap Modbus TCP server with many units, to measure a station: `python -m drivers.emulators.load`.

    --units 50 --floats 40        50 units of 40 float32 each from register 0 (FC 03, 04), big-endian (ABCD)
    --port-per-unit               a TCP port for each unit instead of one port for all

It says where it listens as a line of JSON; when it is ended (SIGTERM, SIGINT), what it served as another:

    {"host": "127.0.0.1", "ports": [40123], "units": [1, 2, …], "floats": 40, "registers": 80, "pid": 4711}
    {"answers": 3000, "per_unit": {"1": 60, …}, "refused": 0, "cpu_s": 0.21}

All answers are made before the first client comes; a request costs a slice and a write, so that the server's
own work does not dominate what is measured. Eight generations of values take turns with each answer of a
unit, so that no value stands still: float i of unit u in generation g is u * 10 + i * 0.25 + g * 0.0078125,
exact in float32. Framing: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, section 3.1.3.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import struct
import sys
import time
from functools import partial

GENERATIONS = 8
BUFFER_LIMIT = 65536


def value(unit: int, i: int, generation: int) -> float:
    """The number that float `i` of a unit has in a generation."""
    return unit * 10 + i * 0.25 + generation * 0.0078125


class Units:
    """The registers of all units, and what was asked of them."""

    def __init__(self, numbers: range, floats: int) -> None:
        self.numbers = numbers
        self.registers = floats * 2
        self.answers = dict.fromkeys(numbers, 0)
        self.refused = 0
        self._bytes = {
            unit: [
                struct.pack(f">{floats}f", *(value(unit, i, g) for i in range(floats)))
                for g in range(GENERATIONS)
            ]
            for unit in numbers
        }

    def answer(self, unit: int, pdu: bytes) -> bytes:
        """The answer's function code and data, to a request's."""
        if unit not in self._bytes:
            return self._refuse(pdu, 0x0B)
        if len(pdu) != 5 or pdu[0] not in (3, 4):
            return self._refuse(pdu, 0x01)
        start, count = struct.unpack(">HH", pdu[1:])
        if not 1 <= count <= 125:
            return self._refuse(pdu, 0x03)
        if start + count > self.registers:
            return self._refuse(pdu, 0x02)
        served = self.answers[unit]
        self.answers[unit] = served + 1
        registers = self._bytes[unit][served % GENERATIONS]
        return bytes((pdu[0], count * 2)) + registers[start * 2 : (start + count) * 2]

    def _refuse(self, pdu: bytes, code: int) -> bytes:
        self.refused += 1
        return bytes((pdu[0] | 0x80 if pdu else 0x80, code))


class Client(asyncio.Protocol):
    """One connection.

    Rubbish ends it, as a Modbus TCP server should (there is no way to find the next frame).
    """

    def __init__(self, units: Units) -> None:
        self._units = units
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        out = []
        at = 0
        rubbish = False
        while len(buffer) - at >= 8:
            length = (buffer[at + 4] << 8) | buffer[at + 5]
            rubbish = bool(buffer[at + 2] or buffer[at + 3] or not 2 <= length <= 254)
            if rubbish or len(buffer) - at < 6 + length:
                break
            pdu = self._units.answer(buffer[at + 6], buffer[at + 7 : at + 6 + length])
            head = buffer[at : at + 4] + (len(pdu) + 1).to_bytes(2, "big") + buffer[at + 6 : at + 7]
            out.append(head + pdu)
            at += 6 + length
        self._buffer = buffer[at:]
        if self._transport is None:
            return
        if out:
            self._transport.write(b"".join(out))
        if rubbish:
            self._transport.close()
        elif self._transport.get_write_buffer_size() > BUFFER_LIMIT:  # it asks and never reads
            self._transport.abort()


async def serve(
    units: int, floats: int, *, port_per_unit: bool = False, host: str = "127.0.0.1", port: int = 0
) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when the port is taken."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, ended.set)
    numbers = range(1, units + 1)
    groups = [range(n, n + 1) for n in numbers] if port_per_unit else [numbers]
    kept = [Units(group, floats) for group in groups]
    servers = []
    for i, group in enumerate(kept):
        client = partial(Client, group)
        servers.append(await loop.create_server(client, host, port if i == 0 else 0))
    _say(
        {
            "host": host,
            "ports": [server.sockets[0].getsockname()[1] for server in servers],
            "units": list(numbers),
            "floats": floats,
            "registers": floats * 2,
            "pid": os.getpid(),
        }
    )
    await ended.wait()
    for server in servers:
        server.close()
    per_unit = {str(unit): n for group in kept for unit, n in group.answers.items()}
    _say(
        {
            "answers": sum(per_unit.values()),
            "per_unit": per_unit,
            "refused": sum(group.refused for group in kept),
            "cpu_s": round(time.process_time(), 3),
        }
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m drivers.emulators.load", description="A cheap Modbus TCP server."
    )
    parser.add_argument("--units", type=int, default=50, help="units, 1 to 247 (default 50)")
    parser.add_argument(
        "--floats", type=int, default=40, help="float32 values of each unit, 1 to 1000 (default 40)"
    )
    parser.add_argument("--port-per-unit", action="store_true", help="a TCP port for each unit")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--port", type=int, default=0, help="TCP port of the first unit (default: any free one)"
    )
    chosen = parser.parse_args(arguments)
    if not 1 <= chosen.units <= 247 or not 1 <= chosen.floats <= 1000:
        parser.error("1 to 247 units and 1 to 1000 floats")
    serving = serve(
        chosen.units, chosen.floats, port_per_unit=chosen.port_per_unit, host=chosen.host, port=chosen.port
    )
    try:
        asyncio.run(serving)
    except OSError as e:
        parser.exit(2, f"{chosen.host}:{chosen.port}: {e.strerror or e}\n")


def _say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
