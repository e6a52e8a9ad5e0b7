"""What dust sensors on a UART have in common: a fan and a laser that must warm up, zeros that are no numbers,
and answers that come among other frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from drivers.base import GarbledAnswer, InstrumentError, InstrumentFault, NoAnswer, NotReady
from drivers.link import Cut, Link

ZEROS_ARE_A_FAULT_S = 120.0


def warm_up_of(driver: str, given: object) -> float:
    """The length of a warm-up as station.toml has it. Raises ValueError with a hint."""
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 <= given <= 3600:
        raise ValueError(f"{driver}: warm_up_s is a number of seconds from 0 to 3600, not {given!r}")
    return float(given)


class WarmUp:
    """No number before it is over; it begins with each start. Times are the loop's. Raises ValueError with a
    hint for a length that cannot be.
    """

    def __init__(self, driver: str, length_s: float) -> None:
        self.length_s = warm_up_of(driver, length_s)
        self.until_s = 0.0
        self._zeros_since_s: float | None = None

    def begin(self) -> None:
        """The sensor has just been started."""
        self.until_s = asyncio.get_running_loop().time() + self.length_s
        self._zeros_since_s = None

    def check(self) -> None:
        """Raise NotReady while it lasts."""
        left_s = self.until_s - asyncio.get_running_loop().time()
        if left_s > 0:
            raise NotReady(f"warming up for another {left_s:.0f} s", wait_s=left_s)

    def numbers(self) -> None:
        """Numbers came, or what was before does not count."""
        self._zeros_since_s = None

    def zeros(self, why: str) -> InstrumentError:
        """Zeros from a warm sensor mean that it has restarted; after two minutes, that it is ill."""
        now_s = asyncio.get_running_loop().time()
        if self._zeros_since_s is None:
            self._zeros_since_s = now_s
            self.until_s = now_s + self.length_s
        zeros_s = now_s - self._zeros_since_s
        if zeros_s >= ZEROS_ARE_A_FAULT_S:
            return InstrumentFault(f"all zero for {zeros_s:.0f} s: the laser or the fan stands still")
        return NotReady(why, wait_s=max(self.until_s - now_s, 1.0))


async def hear(link: Link, cut: Cut, fits: Callable[[bytes], bool], within_s: float) -> bytes:
    """Wait for a frame that fits, past others. Raises NoAnswer, GarbledAnswer and PortLost."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    passed = b""
    while (left_s := deadline_s - loop.time()) > 0:
        try:
            frame = await link.receive_frame(cut, left_s)
        except (NoAnswer, GarbledAnswer):
            if passed:
                break
            raise
        if fits(frame):
            return frame
        passed = frame
    raise GarbledAnswer(f"{link.port}: other frames came, not the one asked for: {passed.hex(' ')}", passed)


def unasked(link: Link, cut: Cut, is_data: Callable[[bytes], bool], *, late: bool) -> int:
    """How many data frames have come that nobody asked for; `late`: the first may be a late answer."""
    stale = link.discard()
    count = 0
    while (found := cut(stale)) is not None:
        stale = stale[found[1] :]
        count += is_data(found[0])
    return count - (late and count > 0)
