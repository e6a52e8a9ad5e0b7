"""An emulated Modbus unit: its ear for requests, its registers, its answers. The models are in modbus_models.

    read 2 registers from 0x2800 of unit 1     01 03 28 00 00 02 CD AB
    the answer, float 6.86 with its low byte first      01 03 04 1F 85 DB 40 B7 0E

A unit hears everything on its wire and answers only what is for it; after noise it finds the next request by
the CRC, and what it half heard before a silence it forgets. This is a second implementation on purpose: it
shares nothing with the master but the CRC, which is checked against frames that makers printed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from drivers.emulators.base import Answer
from drivers.frames import crc16

Sense = Callable[[str, float], float]
"""What it would measure at a time, by quantity. KeyError where the world lacks it."""

SILENCE_S = 0.2
"""A pause after which a half request is forgotten. Real units take 3.5 characters; terminals dawdle."""
EAR_LIMIT = 600
"""Bytes kept while no request is found in them: more than two of the longest requests."""

TYPICAL = {
    "ph": 7.2, "water_temperature": 11.5, "electrode_potential": -12.0, "turbidity": 8.0, "orp": 210.0,
    "suspended_solids": 12.0, "conductivity": 420.0, "air_temperature": 4.0, "humidity": 55.0,
    "pressure": 830.0, "pm10": 24.0, "pm2_5": 11.0, "pv_voltage": 17.5, "pv_current": 2.1, "power": 36.0,
    "voltage": 12.9, "current": 1.8, "charge": 87.0, "battery_temperature": 9.0,
}  # fmt: skip
"""What is measured where the world does not say."""

_CODES = {"int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "float32": "f"}
_LIMITS = {
    "int16": (-0x8000, 0x7FFF),
    "uint16": (0, 0xFFFF),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
}


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a measured quantity lies: number on the wire = value x factor."""

    quantity: str
    address: int
    format: str
    order: str = "ABCD"
    factor: float = 1.0
    function: int = 3


class Refused(Exception):
    """The unit answers with this exception code, or not at all if it is of the silent kind."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code:#04x}")
        self.code = code


class ModbusUnit:
    """One unit on a wire. A model says its registers and what is special about it.

    `memory` maps a function (3 holding, 4 input) to registers of two bytes each; others do not exist.
    It has been on the wire for an hour when it is made; `power_cycle` switches it off and on.
    """

    model: ClassVar[str] = ""
    default_address: ClassVar[int] = 1
    spots: ClassVar[tuple[Spot, ...]] = ()
    functions: ClassVar[tuple[int, ...]] = (3, 4, 6, 16)
    silent: ClassVar[bool] = False
    """It never answers with an exception, but not at all."""
    writable: ClassVar[tuple[int, ...]] = ()
    answer_after_s: float = 0.01
    boot_s: float = 0.0
    """How long after power-up it is deaf."""

    def __init__(self, name: str, address: int, sense: Sense, *, framing: str = "rtu") -> None:
        if framing not in ("rtu", "ascii", "tcp"):
            raise ValueError(f"no Modbus framing {framing!r}: rtu, ascii or tcp")
        self.name = name
        self.address = address
        self.sense = sense
        self.bath: dict[str, float] = {}
        """What is in the bottle that it stands in, by quantity; instead of what the world has."""
        self.framing = framing
        self.powered_s = -3600.0
        self.memory: dict[int, dict[int, bytes]] = {3: {}, 4: {}}
        for spot in self.spots:
            self.put(spot.function, spot.address, bytes(2 * _registers(spot.format)))
        self._ear = bytearray()
        self._heard_s = 0.0

    # ── what models change ─────────────────────────────────────────────────────────────────────────────────

    def read(self, function: int, address: int, count: int, now_s: float) -> tuple[bytes, dict[str, float]]:
        """The registers' bytes, and the numbers they carry. Raises Refused."""
        if not 1 <= count <= 125:
            raise Refused(3)
        values = self.measure(function, address, count, now_s)
        memory = self.memory[function]
        try:
            return b"".join([memory[i] for i in range(address, address + count)]), values
        except KeyError:
            raise Refused(2) from None

    def write(self, address: int, data: bytes, now_s: float) -> None:
        """Take registers that the master writes. Raises Refused."""
        for i in range(address, address + len(data) // 2):
            if i not in self.writable:
                raise Refused(2)
        self.put(3, address, data)

    def power_cycle(self, now_s: float) -> None:
        """Switch it off and on: it boots, and forgets what it does not keep."""
        self.powered_s = now_s
        self._ear.clear()

    # ── registers ──────────────────────────────────────────────────────────────────────────────────────────

    def put(self, function: int, address: int, data: bytes) -> None:
        """Set registers to these bytes."""
        for i in range(0, len(data), 2):
            self.memory[function][address + i // 2] = data[i : i + 2]

    def measure(self, function: int, address: int, count: int, now_s: float) -> dict[str, float]:
        """Put fresh numbers into the measured registers of a span, and give those that lie in it whole."""
        values: dict[str, float] = {}
        for spot in self.spots:
            end = spot.address + _registers(spot.format)
            if spot.function == function and spot.address < address + count and address < end:
                data, seen = on_the_wire(spot, self.look(spot.quantity, now_s))
                self.put(function, spot.address, data)
                if address <= spot.address and end <= address + count:
                    values[spot.quantity] = seen
        return values

    def look(self, quantity: str, now_s: float) -> float:
        """What the sensor sees."""
        if quantity in self.bath:
            return self.bath[quantity]
        try:
            return self.sense(quantity, now_s)
        except KeyError:
            return TYPICAL[quantity]

    # ── the wire ───────────────────────────────────────────────────────────────────────────────────────────

    def feed(self, data: bytes, now_s: float) -> list[Answer]:
        """Take bytes as they come from the wire and give the answers they call for."""
        if now_s - self._heard_s > SILENCE_S and self.framing == "rtu":
            self._ear.clear()
        self._heard_s = now_s
        if now_s < self.powered_s + self.boot_s:
            self._ear.clear()
            return []
        self._ear += data
        hear = {"rtu": self._hear_rtu, "ascii": self._hear_ascii, "tcp": self._hear_tcp}[self.framing]
        answers = [answer for request, pack in hear() for answer in self._answer(request, pack, now_s)]
        del self._ear[:-EAR_LIMIT]
        return answers

    def due_s(self, now_s: float) -> float | None:
        """Never: it only answers."""
        return None

    def speak(self, now_s: float) -> list[Answer]:
        return []

    def listens_to(self, unit: int) -> bool:
        """Whether a request to this address is for it; 0 is for everybody."""
        return unit in (self.address, 0)

    # ── inside ─────────────────────────────────────────────────────────────────────────────────────────────

    def _answer(self, request: bytes, pack: Callable[[bytes], bytes], now_s: float) -> Iterator[Answer]:
        unit, function, body = request[0], request[1], request[2:]
        values: dict[str, float] = {}
        try:
            if function not in self.functions:
                raise Refused(1)
            if function in (3, 4) and len(body) == 4:
                address, count = struct.unpack(">HH", body)
                data, values = self.read(function, address, count, now_s)
                said = bytes((function, len(data))) + data
            elif function in (1, 2) and len(body) == 4:
                said = self._bits(function, *struct.unpack(">HH", body))
            elif function == 6 and len(body) == 4:
                self.write(struct.unpack(">H", body[:2])[0], body[2:], now_s)
                said = request[1:]
            elif (
                function == 16 and len(body) >= 5 and body[4] == len(body) - 5 == 2 * (body[2] << 8 | body[3])
            ):
                self.write(struct.unpack(">H", body[:2])[0], body[5:], now_s)
                said = bytes((function,)) + body[:4]
            else:
                raise Refused(3)
        except Refused as e:
            if self.silent:
                return
            said, values = bytes((function | 0x80, e.code)), {}
        if unit != 0:  # nobody answers a broadcast
            yield Answer(pack(bytes((unit,)) + said), self.answer_after_s, values)

    def _bits(self, function: int, address: int, count: int) -> bytes:
        bits = self.memory.get(function, {})
        if not 1 <= count <= 2000:
            raise Refused(3)
        if any(i not in bits for i in range(address, address + count)):
            raise Refused(2)
        number = sum(any(bits[address + i]) << i for i in range(count))
        return bytes((function, (count + 7) // 8)) + number.to_bytes((count + 7) // 8, "little")

    def _hear_rtu(self) -> Iterator[tuple[bytes, Callable[[bytes], bytes]]]:
        at = 0
        while at < len(self._ear):
            frame = _rtu_request(bytes(self._ear[at:])) if self.listens_to(self._ear[at]) else None
            if frame is None:
                at += 1
                continue
            del self._ear[: at + len(frame)]
            at = 0
            yield frame[:-2], _pack_rtu

    def _hear_ascii(self) -> Iterator[tuple[bytes, Callable[[bytes], bytes]]]:
        while (end := self._ear.find(b"\r\n")) >= 0:
            line = bytes(self._ear[:end])
            del self._ear[: end + 2]
            try:
                body = bytes.fromhex(line[line.rindex(b":") + 1 :].decode("ascii"))
            except ValueError:
                continue
            if len(body) >= 3 and sum(body) & 0xFF == 0 and self.listens_to(body[0]):
                yield body[:-1], _pack_ascii

    def _hear_tcp(self) -> Iterator[tuple[bytes, Callable[[bytes], bytes]]]:
        while len(self._ear) >= 8:
            transaction, protocol, length = struct.unpack(">HHH", self._ear[:6])
            if protocol != 0 or not 3 <= length <= 254:
                self._ear.clear()
                return
            if len(self._ear) < 6 + length:
                return
            request = bytes(self._ear[6 : 6 + length])
            del self._ear[: 6 + length]
            if self.listens_to(request[0]):
                yield request, lambda said, t=transaction: struct.pack(">HHH", t, 0, len(said)) + said  # type: ignore[misc]  # the default binds the transaction


def on_the_wire(spot: Spot, value: float) -> tuple[bytes, float]:
    """A value's bytes in its registers, and the number that can be read from them."""
    number: float = value * spot.factor
    if spot.format in _LIMITS:
        lowest, highest = _LIMITS[spot.format]
        number = min(max(round(number), lowest), highest)
    elif spot.format == "float32":
        number = float(f"{number:.6g}")  # what a float32 surely holds
    big = struct.pack(">" + _CODES[spot.format], number)
    if len(big) == 2:
        data = big[::-1] if spot.order in ("BADC", "DCBA") else big
    else:
        data = bytes(big["ABCD".index(letter)] for letter in spot.order)
    return data, number / spot.factor if spot.factor >= 1 else number * round(1 / spot.factor)


def _registers(kind: str) -> int:
    return struct.calcsize(">" + _CODES[kind]) // 2


def _rtu_request(heard: bytes) -> bytes | None:
    """The request that begins these bytes, with its CRC; None when none does, or not yet whole."""
    if len(heard) < 4:
        return None
    if heard[1] in (1, 2, 3, 4, 5, 6):
        size = 8
    elif heard[1] in (15, 16):
        size = 9 + heard[6] if len(heard) > 6 else 9
    else:
        size = len(heard)  # a function we know nothing of: all there is, if the CRC says so
    frame = heard[:size]
    return frame if len(frame) == size and crc16(frame[:-2]) == frame[-2] | frame[-1] << 8 else None


def _pack_rtu(said: bytes) -> bytes:
    return said + crc16(said).to_bytes(2, "little")


def _pack_ascii(said: bytes) -> bytes:
    return b":" + (said + bytes((-sum(said) & 0xFF,))).hex().upper().encode("ascii") + b"\r\n"
