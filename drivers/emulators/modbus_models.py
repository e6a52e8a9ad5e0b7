"""The emulated Modbus instruments, each with the habits of the real one.

Written from the sources that the profiles of the same names give, but not from the profiles: a mistake in a
profile shall show. What is invented (serial numbers, how wrong a number is while the wiper passes) is marked.
"""

from __future__ import annotations

import math
import struct
from itertools import pairwise
from typing import ClassVar

from drivers.emulators.electrode import Points, Wear
from drivers.emulators.modbus_calibrated import Dfrobot, SeeedPh
from drivers.emulators.modbus_unit import ModbusUnit, Refused, Sense, Spot


def unit_for(model: str, address: int, sense: Sense, name: str, *, framing: str = "rtu") -> ModbusUnit:
    """An emulated unit of a model. Raises ValueError for a model that is not emulated."""
    for kind in MODELS:
        if kind.model == model:
            return kind(name, address, sense, framing=framing)
    raise ValueError(f"no emulator of {model!r}; there are: {', '.join(kind.model for kind in MODELS)}")


class Yosemitech(ModbusUnit):
    """What the Yosemitech probes share: little-endian, silent where others refuse, no broadcast."""

    functions = (3, 16)
    silent = True
    kind: ClassVar[str] = "00"
    """Characters 4 and 5 of the serial number: the type."""

    def __init__(self, name: str, address: int, sense: Sense, *, framing: str = "rtu") -> None:
        super().__init__(name, address, sense, framing=framing)
        self.put(3, 0x0700, bytes((1, 2, 1, 7)))  # hardware 1.02, software 1.07: invented
        self.put(
            3, 0x0900, b")YL" + self.kind.encode() + b"20042057\0"
        )  # invented, behind the stray sign seen on real ones
        self.put(3, 0x3000, bytes((address, 0)))

    def listens_to(self, unit: int) -> bool:
        return unit in (self.address, 0xFF)

    def read(self, function: int, address: int, count: int, now_s: float) -> tuple[bytes, dict[str, float]]:
        if count == 0 and address in (0x2500, 0x2E00):
            self.command(address, now_s)
            return b"", {}
        data, values = super().read(function, address, count, now_s)
        self.command(address, now_s)
        return data, values

    def write(self, address: int, data: bytes, now_s: float) -> None:
        super().write(address, data, now_s)
        if address == 0x3000:
            self.address = data[0]

    def command(self, address: int, now_s: float) -> None:
        """Reads that make it do something."""


class Y532(Yosemitech):
    model = "yosemitech-y532"
    kind = "43"
    spots = (
        Spot("ph", 0x2800, "float32", "DCBA"),
        Spot("water_temperature", 0x2400, "float32", "DCBA"),
        Spot("electrode_potential", 0x1200, "float32", "DCBA"),
    )
    writable = (0x3000, *range(0x2300, 0x2302), *range(0x2900, 0x290C))
    boot_s = 0.5

    def __init__(self, name: str, address: int, sense: Sense, *, framing: str = "rtu") -> None:
        super().__init__(name, address, sense, framing=framing)
        self.put(3, 0x2900, struct.pack("<6f", 6.86, -6.72, 0.04, 6.86, -6.56, -1.04))
        self.put(3, 0x0E00, bytes(2))
        self.wear = Wear()
        self.points = Points()
        self._taken: dict[float, float] = {}

    def look(self, quantity: str, now_s: float) -> float:
        truth = super().look(quantity, now_s)
        return self.points.says(self.wear.sees(truth)) if quantity == "ph" else truth

    def write(self, address: int, data: bytes, now_s: float) -> None:
        super().write(address, data, now_s)
        if address == 0x2300 and len(data) == 4:
            self._take(struct.unpack("<f", data)[0], self.wear.sees(super().look("ph", now_s)))

    def _take(self, value: float, seen: float) -> None:
        """Three points, by the buffer they are for; that the third one makes them count is assumed."""
        nominal = min((4.00, 6.86, 9.18), key=lambda buffer: abs(value - buffer))
        if abs(value - nominal) > 0.01:
            self.put(3, 0x0E00, bytes((1, 0)))
            return
        self._taken[nominal] = seen
        if len(self._taken) < 3:
            self.put(3, 0x0E00, bytes((2, 0)))
            return
        seens = [self._taken[buffer] for buffer in (4.00, 6.86, 9.18)]
        good = all(0.7 * 2.5 < b - a < 1.3 * 2.9 for a, b in pairwise(seens))  # its limits: invented
        if good:
            self.points.set((seen, buffer) for buffer, seen in self._taken.items())
        self.put(3, 0x0E00, bytes((0 if good else 4, 0)))
        self._taken.clear()


class Y510(Yosemitech):
    """Before it is started it answers its last numbers."""

    model = "yosemitech-y510"
    kind = "10"
    spots = (
        Spot("water_temperature", 0x2600, "float32", "DCBA"),
        Spot("turbidity", 0x2602, "float32", "DCBA"),
    )
    writable = (0x3000, *range(0x1100, 0x1104))
    boot_s = 0.5

    def __init__(self, name: str, address: int, sense: Sense, *, framing: str = "rtu") -> None:
        super().__init__(name, address, sense, framing=framing)
        self.put(3, 0x1100, struct.pack("<2f", 1.0, 0.0))
        self.put(3, 0x2500, bytes(2))
        self.put(3, 0x2E00, bytes(2))
        self.started = False
        self.error_byte = 0

    def measure(self, function: int, address: int, count: int, now_s: float) -> dict[str, float]:
        self.put(3, 0x2604, bytes((self.error_byte, 0)))
        if not self.started:
            return {}
        values = super().measure(function, address, count, now_s)
        return values if self.error_byte == 0 else {}

    def look(self, quantity: str, now_s: float) -> float:
        value = super().look(quantity, now_s)
        if quantity != self.spots[1].quantity:
            return value
        slope, offset = struct.unpack("<2f", b"".join(self.memory[3][0x1100 + i] for i in range(4)))
        return float(value * slope + offset)

    def command(self, address: int, now_s: float) -> None:
        if address in (0x2500, 0x2E00):
            self.started = address == 0x2500

    def power_cycle(self, now_s: float) -> None:
        super().power_cycle(now_s)
        self.started = False
        self.put(3, 0x2600, bytes(8))


class Y511(Y510):
    """With a wiper: at power-on, on command, and by its interval, which it loses with its power."""

    model = "yosemitech-y511"
    kind = "29"
    writable = (*Y510.writable, 0x3200)
    boot_s = 8.0
    wipe_s = 10.0

    def __init__(self, name: str, address: int, sense: Sense, *, framing: str = "rtu") -> None:
        super().__init__(name, address, sense, framing=framing)
        self.put(3, 0x3200, bytes(2))  # what it has at power-on is in no source: none
        self.wipes = 0
        self._wiped_s = -math.inf
        self._interval_set_s = 0.0

    def wiping(self, now_s: float) -> bool:
        """Whether the wiper is before the window."""
        interval_s = int.from_bytes(self.memory[3][0x3200], "little") * 60.0
        began_s = self._wiped_s
        if interval_s and now_s >= self._interval_set_s + interval_s:
            rounds = math.floor((now_s - self._interval_set_s) / interval_s)
            began_s = max(began_s, self._interval_set_s + rounds * interval_s)
        return began_s <= now_s < began_s + self.wipe_s

    def measure(self, function: int, address: int, count: int, now_s: float) -> dict[str, float]:
        values = super().measure(function, address, count, now_s)
        return {} if self.wiping(now_s) else values  # the bytes hold numbers, but none that are any

    def look(self, quantity: str, now_s: float) -> float:
        value = super().look(quantity, now_s)
        return (
            value + 500.0 if quantity == "turbidity" and self.wiping(now_s) else value
        )  # how much: invented

    def write(self, address: int, data: bytes, now_s: float) -> None:
        if address == 0x3100 and not data:
            self.wipes += 1
            self._wiped_s = now_s
            return
        super().write(address, data, now_s)
        if address == 0x3200:
            self._interval_set_s = now_s

    def power_cycle(self, now_s: float) -> None:
        super().power_cycle(now_s)
        self.put(3, 0x3200, bytes(2))
        self.wipes += 1
        self._wiped_s = now_s


class Y520(Y510):
    """Started by a write of no register; millisiemens."""

    model = "yosemitech-y520"
    kind = "09"
    spots = (
        Spot("water_temperature", 0x2600, "float32", "DCBA"),
        Spot("conductivity", 0x2602, "float32", "DCBA", factor=0.001),
    )
    boot_s = 1.2

    def command(self, address: int, now_s: float) -> None:
        pass

    def write(self, address: int, data: bytes, now_s: float) -> None:
        if address == 0x1C00 and not data:
            self.started = True
            return
        super().write(address, data, now_s)


class Aqualabo(ModbusUnit):
    """Measures when told to; zeros until the time in 0x00A4 is over. That it sends exceptions is assumed."""

    functions = (3, 6, 16)
    writable = (0x0001, 0x00A3, *range(0x00A5, 0x00AB))
    description: ClassVar[str] = ""
    wait_ms = 500

    def __init__(self, name: str, address: int, sense: Sense, *, framing: str = "rtu") -> None:
        super().__init__(name, address, sense, framing=framing)
        for register in (0x00A3, *range(0x00A5, 0x00AB), *range(0x0064, 0x0069)):
            self.put(3, register, bytes(2))
        self.put(3, 0x0001, bytes(2))
        self.put(3, 0x00A3, address.to_bytes(2, "big"))
        self.put(3, 0x0053, bytes(16))
        self.put(3, 0x0D00, self.description.encode().ljust(32, b" "))
        self.put(3, 0x0D10, b"SN-PNTU-0042".ljust(32, b"\0"))  # invented
        self.ready_s = math.inf
        self._fresh = False
        self._values: dict[str, float] = {}

    def read(self, function: int, address: int, count: int, now_s: float) -> tuple[bytes, dict[str, float]]:
        self.put(3, 0x00A4, self.wait_ms.to_bytes(2, "big"))
        return super().read(function, address, count, now_s)

    def measure(self, function: int, address: int, count: int, now_s: float) -> dict[str, float]:
        if now_s < self.ready_s:
            return {}
        if not self._fresh:
            self._values = super().measure(3, 0x0053, 8, now_s)
            self._fresh = True
        return self._values if (address, count) == (0x0053, 8) else {}

    def write(self, address: int, data: bytes, now_s: float) -> None:
        super().write(address, data, now_s)
        if address == 0x0001:
            self.ready_s = now_s + self.wait_ms / 1000
            self._fresh = False
            self.put(3, 0x0053, bytes(16))
        if address == 0x00A3:
            self.address = data[1]

    def power_cycle(self, now_s: float) -> None:
        super().power_cycle(now_s)
        self.ready_s = math.inf
        self.put(3, 0x0053, bytes(16))


class AqualaboNtu(Aqualabo):
    model = "aqualabo-ntu"
    default_address = 40
    description = "Nephelo/TU / Temperature PONSEL"
    spots = (
        Spot("water_temperature", 0x0053, "float32"),
        Spot("turbidity", 0x0055, "float32"),
        Spot("suspended_solids", 0x0059, "float32"),
    )

    def measure(self, function: int, address: int, count: int, now_s: float) -> dict[str, float]:
        values = super().measure(function, address, count, now_s)
        for i in (0, 1):  # FNU is always the same number as NTU
            self.memory[3][0x0057 + i] = self.memory[3][0x0055 + i]
        return values


class AqualaboPheht(Aqualabo):
    model = "aqualabo-pheht"
    default_address = 20
    description = "pH / Redox / Temperature PONSEL"  # invented
    spots = (
        Spot("water_temperature", 0x0053, "float32"),
        Spot("ph", 0x0055, "float32"),
        Spot("orp", 0x0057, "float32"),
    )


class RenkePh(ModbusUnit):
    model = "renke-rs-ph-n01"
    functions = (3, 6)
    spots = (
        Spot("ph", 0x0000, "uint16", factor=100),
        Spot("water_temperature", 0x0001, "int16", factor=10),
    )


class XyMd02(ModbusUnit):
    model = "xy-md02"
    spots = (
        Spot("air_temperature", 0x0001, "int16", factor=10, function=4),
        Spot("humidity", 0x0002, "uint16", factor=10, function=4),
    )
    writable = (0x0101, 0x0102, 0x0103, 0x0104)


class Epever(ModbusUnit):
    """Holes are refused, as on the stricter firmware."""

    model = "epever-tracer"
    functions = (2, 3, 4, 5, 16)
    spots = (
        Spot("pv_voltage", 0x3100, "uint16", factor=100, function=4),
        Spot("pv_current", 0x3101, "uint16", factor=100, function=4),
        Spot("power", 0x3102, "uint32", "CDAB", factor=100, function=4),
        Spot("voltage", 0x3104, "uint16", factor=100, function=4),
        Spot("battery_temperature", 0x3110, "int16", factor=100, function=4),
        Spot("charge", 0x311A, "uint16", function=4),
        Spot("current", 0x331B, "int32", "CDAB", factor=100, function=4),
    )

    def __init__(self, name: str, address: int, sense: Sense, *, framing: str = "rtu") -> None:
        super().__init__(name, address, sense, framing=framing)
        for register in (0x3200, 0x3201, 0x3202):
            self.put(4, register, bytes(2))


class T640(ModbusUnit):
    model = "teledyne-t640"
    functions = (2, 4)
    spots = (
        Spot("pm10", 6, "float32", function=4),
        Spot("pm2_5", 8, "float32", function=4),
        Spot("pressure", 34, "float32", factor=0.1, function=4),
        Spot("humidity", 36, "float32", function=4),
        Spot("air_temperature", 40, "float32", function=4),
    )

    def __init__(self, name: str, address: int, sense: Sense, *, framing: str = "rtu") -> None:
        super().__init__(name, address, sense, framing=framing)
        self.put(4, 38, struct.pack(">f", 25.0))
        self.memory[2] = dict.fromkeys(range(8), b"\0")


class HamiltonPh(ModbusUnit):
    """Blocks are read whole or not at all."""

    model = "hamilton-ph-arc"
    functions = (3, 4, 16)
    spots = (
        Spot("ph", 2091, "float32", "CDAB"),
        Spot("water_temperature", 2411, "float32", "CDAB"),
    )

    def __init__(self, name: str, address: int, sense: Sense, *, framing: str = "rtu") -> None:
        super().__init__(name, address, sense, framing=framing)
        for first, code, lowest, highest in ((2089, 0x1000, 0.0, 14.0), (2409, 0x4, -10.0, 140.0)):
            self.put(3, first, _swapped(struct.pack(">I", code)) + bytes(8))
            self.put(3, first + 6, _swapped(struct.pack(">f", lowest)) + _swapped(struct.pack(">f", highest)))
        self.memory[4] = self.memory[3]

    def read(self, function: int, address: int, count: int, now_s: float) -> tuple[bytes, dict[str, float]]:
        if (address, count) not in ((2089, 10), (2409, 10)):
            raise Refused(2)
        return super().read(3, address, count, now_s)


def _swapped(data: bytes) -> bytes:
    return data[2:] + data[:2]


MODELS: tuple[type[ModbusUnit], ...] = (
    Y532, Y510, Y511, Y520, AqualaboNtu, AqualaboPheht, SeeedPh, Dfrobot, RenkePh, XyMd02, Epever, T640,
    HamiltonPh,
)  # fmt: skip
"""All that are emulated."""
