"""Calibrating a Modbus instrument as its profile says: points taken in a bottle, or coefficients changed.

    Y532, standing in 6.86: write 6.86 at 0x2300   01 10 23 00 00 02 04  1F 85 DB 40  33 A3
    its verdict at 0x0E00                          01 03 02  00 00  B8 44     0: in force

Everything written is read back, or the instrument is asked for its verdict. See drivers.calibrates.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from drivers import modbus
from drivers.base import GarbledAnswer, InstrumentFault, RequestRefused
from drivers.calibrates import Calibrates
from drivers.link import Link

if TYPE_CHECKING:
    from drivers.profile_format import Calibrate, Verdict


def calibrates(c: Calibrate) -> Calibrates:
    """What the profile says, for whoever guides the technician."""
    return Calibrates(
        c.quantity,
        "points" if c.coefficients is None else "coefficients",
        tuple(c.standards),
        c.least,
        c.most,
        settle_s=c.settle_s,
    )


class Wire:
    """The calibration registers of one instrument."""

    def __init__(self, c: Calibrate, link: Link, unit: int, within_s: float, gap_s: float) -> None:
        self._c = c
        self._link, self._unit, self._within_s, self._gap_s = link, unit, within_s, gap_s

    async def take(self, nominal: float) -> dict[str, str]:
        """Take the point of the standard it stands in. Raises RequestRefused, InstrumentFault and what
        `drivers.modbus` raises.
        """
        c = self._c
        if c.value is not None:
            await self._write(16, c.value, modbus.encode(nominal, "float32", c.order))
            return await self.says(taken=True)
        for point in c.point:
            if abs(point.standard - nominal) < 0.005:
                data = b"".join(word.to_bytes(2, "big") for word in point.words)
                await self._write(point.function, point.address, data)
                return await self.says(taken=True)
        raise RequestRefused(f"it has no point for a standard of {nominal:g}")

    async def adjust(self, slope: float, offset: float) -> dict[str, str]:
        """Fold true = slope x reading + offset into K and B, and read both back. Raises as `take` does."""
        c = self._c
        if c.coefficients is None or not (0.2 < slope < 5.0 and math.isfinite(offset)):
            raise RequestRefused(f"a slope of {slope:g} is no calibration: look for the fault")
        k, b = await self._coefficients(c.coefficients)
        wanted = (k * slope, b * slope + offset / c.scale)
        data = b"".join(modbus.encode(number, "float32", c.order) for number in wanted)
        await self._write(16, c.coefficients, data)
        back = await self._coefficients(c.coefficients)
        if any(abs(got - want) > 1e-5 * max(1.0, abs(want)) for got, want in zip(back, wanted, strict=True)):
            text = f"it was given K = {wanted[0]:g}, B = {wanted[1]:g}"
            raise InstrumentFault(f"{text} and has {back[0]:g}, {back[1]:g}")
        return {"k": f"{back[0]:.7g}", "b": f"{back[1]:.7g}", "k_was": f"{k:.7g}", "b_was": f"{b:.7g}"}

    async def says(self, *, taken: bool = False) -> dict[str, str]:
        """What it says of its calibration; just after a point, a bad verdict raises InstrumentFault."""
        c = self._c
        if c.coefficients is not None:
            k, b = await self._coefficients(c.coefficients)
            return {"k": f"{k:.7g}", "b": f"{b:.7g}"}
        if c.verdict is None:
            return {}
        number = await self._number(c.verdict)
        if number in c.verdict.good:
            return {"verdict": "in force"}
        if number in c.verdict.pending:
            return {"verdict": "more points are needed"}
        words = c.verdict.values.get(str(number), f"status {number}")
        if taken:
            raise InstrumentFault(f"it does not take the calibration: {words}")
        return {"verdict": words}

    async def _coefficients(self, address: int) -> tuple[float, float]:
        data = await self._read(address, 4)
        k, b = (float(modbus.decode(part, "float32", self._c.order)) for part in (data[:4], data[4:]))
        if not (math.isfinite(k) and math.isfinite(b)) or k == 0.0:
            raise GarbledAnswer(f"K = {k:g} and B = {b:g} are no coefficients", data)
        return k, b

    async def _number(self, verdict: Verdict) -> int:
        if verdict.format in ("first-byte", "second-byte"):
            return (await self._read(verdict.address, 1))[verdict.format == "second-byte"]
        data = await self._read(verdict.address, 1 if verdict.format.endswith("16") else 2)
        return int(modbus.decode(data, verdict.format, verdict.order))

    async def _read(self, address: int, count: int) -> bytes:
        pdu, within_s = modbus.read_pdu(3, address, count), self._within_s
        answer = await modbus.ask(
            self._link, self._unit, pdu, within_s=within_s, after_s=self._gap_s, late_s=2 * within_s
        )
        return answer[2:]

    async def _write(self, function: int, address: int, data: bytes) -> None:
        link, unit, within_s, after_s = self._link, self._unit, self._within_s, self._gap_s
        if function == 6:
            value = int.from_bytes(data, "big")
            await modbus.write_register(link, unit, address, value, within_s=within_s, after_s=after_s)
        else:
            await modbus.write_registers(link, unit, address, data, within_s=within_s, after_s=after_s)
