"""A bench for UART drivers: an emulated sensor on a pseudo-terminal and a link to it, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from drivers.base import (
    InstrumentError,
    Measurement,
)
from drivers.emulators.base import Emulator
from drivers.emulators.port import PtyPort
from drivers.link import Line, Link


@dataclass
class Air:
    """What the sensors sense: with each question a little more, so that no number stands still."""

    asked: int = 0
    base: dict[str, float] = field(default_factory=lambda: {"ph": 7.0, "air_temperature": -5.0})

    def __call__(self, quantity: str, now_s: float) -> float:
        self.asked += 1
        return self.base.get(quantity, 20.0) + self.asked % 50 * 0.1


@dataclass
class Bench:
    """A sensor on a pseudo-terminal, and a link to it."""

    sensor: Any
    port: PtyPort
    link: Link

    @property
    def now_s(self) -> float:
        """What the emulated sensor calls now."""
        return asyncio.get_running_loop().time() - self.port.wire.zero_s

    def power_cycle(self, *reason: str) -> None:
        self.sensor.power_cycle(self.now_s, *reason)
        self.poke()

    def poke(self) -> None:
        """Let the wire see that the sensor's schedule has changed."""
        self.port.wire.from_host(b"")

    @property
    def last_said(self) -> dict[str, float]:
        return dict(self.port.wire.record.snapshot()[-1].values)


@asynccontextmanager
async def bench(sensor: Emulator, line: Line) -> AsyncIterator[Bench]:
    port = PtyPort([sensor], line=line)
    await port.start()
    link = Link(port.path, line)
    try:
        yield Bench(sensor, port, link)
    finally:
        link.close()
        await port.stop()


async def fails(driver: Any, link: Link, error: type[InstrumentError], text: str) -> InstrumentError:
    with pytest.raises(error, match=text) as caught:
        await driver.read(link)
    return caught.value


async def read(driver: Any, bench: Bench) -> Measurement:
    """Read, and compare with what the sensor says it said."""
    measurement: Measurement = await driver.read(bench.link)
    assert measurement.values == bench.last_said
    assert [q.name for q in driver.quantities if q.name in measurement.values] == list(
        dict.fromkeys(q.name for q in driver.quantities)
    )
    return measurement
