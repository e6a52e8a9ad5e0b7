"""How the station itself is, for rules with `watch`: room on the disk, supply voltage.

    Event("station", {"part": "disk" | "power", "works": false, "why": "0.3 GB are free"})

Said when it changes, and once after each start. The clock and the SMS need nobody here: the alarms see them.

The supply voltage is the Raspberry Pi's own measurement: the kernel's driver raspberrypi-hwmon (Linux
source, drivers/hwmon/raspberrypi-hwmon.c) is called "rpi_volt" and has `in0_lcrit_alarm`, 1 while the voltage
is too low. Not tried on hardware. Where there is no such file, nothing is said of the power.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from gateway.model import Body, Event, Record, Stamp

log = logging.getLogger(__name__)

LOOK_S = 60.0
LEAST_FREE_BYTES = 700_000_000
"""A little more than what the journal leaves to the system before it begins to forget (500 MB)."""
HWMON = Path("/sys/class/hwmon")


class Keeper(Protocol):
    """What is needed of gateway.journal.Journal."""

    @property
    def trouble(self) -> str | None: ...

    def append(self, bodies: Sequence[Body]) -> list[Record]: ...


class OwnWatch:
    """Looks at the station's disk and supply voltage each minute. Belongs under `supervise`."""

    def __init__(
        self,
        journal: Keeper,
        folder: Path,
        stamp: Callable[[], Stamp],
        *,
        hwmon: Path = HWMON,
    ) -> None:
        self._journal, self._folder, self._stamp, self._hwmon = journal, folder, stamp, hwmon
        self._said: dict[str, bool] = {}

    async def run(self) -> None:
        """Look until cancelled. Blocks only for files that are in memory."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Look once, and say what has changed."""
        self._say("disk", self._disk())
        power = self._power()
        if power is not None:
            self._say("power", power)

    def _disk(self) -> str:
        """What is wrong with the disk; "" if nothing is."""
        if self._journal.trouble is not None:
            return self._journal.trouble
        try:
            disk = os.statvfs(self._folder)
        except OSError as e:
            return e.strerror or str(e)
        free_bytes = disk.f_bavail * disk.f_frsize
        return f"{free_bytes / 1e9:.1f} GB are free" if free_bytes < LEAST_FREE_BYTES else ""

    def _power(self) -> str | None:
        """What is wrong with the supply voltage; None where nobody measures it."""
        for name in sorted(self._hwmon.glob("hwmon*/name")):
            try:
                if name.read_text(encoding="ascii").strip() == "rpi_volt":
                    low = name.with_name("in0_lcrit_alarm").read_text(encoding="ascii").strip() == "1"
                    return "the supply voltage is too low" if low else ""
            except (OSError, UnicodeDecodeError):
                continue
        return None

    def _say(self, part: str, why: str) -> None:
        works = not why
        if self._said.get(part) == works:
            return
        if why or part in self._said:
            log.log(logging.INFO if works else logging.WARNING, "%s: %s", part, why or "well again")
        self._said[part] = works
        detail = {"part": part, "works": works, **({"why": why} if why else {})}
        self._journal.append([Event(self._stamp(), "station", detail)])
