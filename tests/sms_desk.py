"""A station with an emulated modem, somebody who listens to it, and the people who answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from alerts.modem import Modem
from alerts.rules import Rule
from alerts.watch import Limits
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PtyPort
from drivers.link import Line, Link
from gateway.alarms_sender import SmsSender
from gateway.sms import SmsDesk
from tests.alarm_station import TURBIDITY, LoopClock, Station

WITH_CODES = Limits(collect_s=0)
STRANGER = "+996700999999"


class Desk(Station):
    """The journal, the fold, the sender, and the desk beside it, on a modem."""

    def __init__(self, folder: Path, modem: Any, rules: Sequence[Rule] = (TURBIDITY,), **more: Any) -> None:
        super().__init__(folder, LoopClock(), modem, rules, limits=more.pop("limits", WITH_CODES), **more)
        self.sender = SmsSender(self.door, self.fold, modem, self.clock.stamp)
        self.desk = SmsDesk(self.door, self.fold, modem, self.clock.stamp, salt=b"salt", sender=self.sender)

    async def work(self, seconds: float, *, tick_s: float = 1.0) -> None:
        desk = asyncio.create_task(self.desk.run())
        try:
            await super().work(seconds, tick_s=tick_s)
        finally:
            if desk.done():
                desk.result()
            desk.cancel()
            with suppress(asyncio.CancelledError):
                await desk

    def code(self, rule: str = "turbidity-high") -> str:
        """The one-time code of a rule's alarm."""
        grants = self.fold.watch.memory.codes.items()
        return next(code for code, grant in grants if rule in dict(grant.alarms))


@asynccontextmanager
async def port(folder: Path, **emulated: Any) -> AsyncIterator[tuple[ModemEmulator, str]]:
    modem = ModemEmulator(**emulated)
    pty = PtyPort([modem], link_path=folder / "modem", line=Line(115200))
    await pty.start()
    try:
        yield modem, str(pty.link_path)
    finally:
        await pty.stop()


@asynccontextmanager
async def desk(folder: Path, path: str, **more: Any) -> AsyncIterator[Desk]:
    """A life of the station; it ends as a killed process does."""
    modem = Modem(Link(path, Line(115200)))
    made = Desk(folder / "journal", modem, **more)
    await made.open()
    try:
        yield made
    finally:
        modem.close()
        await made.kill()


def texts(emulated: ModemEmulator) -> list[str]:
    return [sms.text.partition(" since ")[0] for sms in emulated.sent]
