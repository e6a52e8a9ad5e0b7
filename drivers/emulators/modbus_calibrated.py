"""Emulated Modbus probes that take a calibration point by a write: see drivers.emulators.modbus_models."""

from __future__ import annotations

from drivers.emulators.electrode import NERNST_MV, Points, Wear
from drivers.emulators.modbus_unit import ModbusUnit, Refused, Sense, Spot


class SeeedPh(ModbusUnit):
    model = "seeed-s-ph-01"
    spots = (
        Spot("water_temperature", 0x0000, "int16", factor=100, function=4),
        Spot("ph", 0x0001, "int16", factor=100, function=4),
    )
    writable = (0x0020, 0x0030, 0x0031, 0x0032, 0x0200, 0x0201)
    boot_s = 2.0

    def __init__(self, name: str, address: int, sense: Sense, *, framing: str = "rtu") -> None:
        super().__init__(name, address, sense, framing=framing)
        self.wear = Wear()
        self.points = Points()
        self._taken: dict[float, float] = {}
        self.put(4, 0x0002, bytes(2))
        self.memory[3] = self.memory[4]  # functions 3 and 4 read the same
        for register, value in ((0x20, 0), (0x30, 0), (0x31, 0), (0x32, 0), (0x200, address), (0x201, 3)):
            self.put(3, register, value.to_bytes(2, "big"))

    def measure(self, function: int, address: int, count: int, now_s: float) -> dict[str, float]:
        millivolts = round(NERNST_MV * (7 - self._seen(now_s)))
        self.put(4, 0x0002, millivolts.to_bytes(2, "big", signed=True))  # invented
        return super().measure(4, address, count, now_s)

    def _seen(self, now_s: float) -> float:
        return self.wear.sees(super().look("ph", now_s))

    def look(self, quantity: str, now_s: float) -> float:
        return self.points.says(self._seen(now_s)) if quantity == "ph" else super().look(quantity, now_s)

    def write(self, address: int, data: bytes, now_s: float) -> None:
        super().write(address, data, now_s)
        if address in (0x30, 0x31, 0x32) and data == b"\xff\xff":  # takes the point: the raw value is stored
            self.measure(4, 0, 3, now_s)
            self.put(3, address, self.memory[4][0x0002])
            self._taken[{0x30: 4.01, 0x31: 7.00, 0x32: 10.01}[address]] = self._seen(now_s)
            self.points.set((seen, ph) for ph, seen in self._taken.items())


class Dfrobot(ModbusUnit):
    model = "dfrobot-sen0710"
    spots = (
        Spot("turbidity", 0x0000, "uint16", factor=10),
        Spot("water_temperature", 0x0001, "int16", factor=10),
    )
    writable = (0x0050, 0x0051, 0x1010, 0x1011)

    def __init__(self, name: str, address: int, sense: Sense, *, framing: str = "rtu") -> None:
        super().__init__(name, address, sense, framing=framing)
        self.wear = Wear(middle=0.0)
        self.points = Points()
        self._taken: dict[float, float] = {}
        for register in (0x0050, 0x0051):
            self.put(3, register, bytes(2))
        self.memory[4] = self.memory[3]

    def measure(self, function: int, address: int, count: int, now_s: float) -> dict[str, float]:
        return super().measure(3, address, count, now_s)

    def look(self, quantity: str, now_s: float) -> float:
        register = 0x0050 if quantity == "turbidity" else 0x0051
        value = super().look(quantity, now_s)
        if quantity == "turbidity":
            value = max(self.points.says(self.wear.sees(value)), 0.0)
        return value + int.from_bytes(self.memory[3][register], "big", signed=True) / 10

    def write(self, address: int, data: bytes, now_s: float) -> None:
        super().write(address, data, now_s)
        if address == 0x1010 and len(data) == 4:  # 1: this is zero; 2: this is full scale, 1000 NTU (assumed)
            value = {b"\0\1\0\0": 0.0, b"\0\2\0\1": 1000.0}.get(data)
            if value is None:
                raise Refused(3)
            self._taken[value] = self.wear.sees(super().look("turbidity", now_s))
            self.points.set((seen, ntu) for ntu, seen in self._taken.items())
