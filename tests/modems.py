"""The SMS modem on a pseudo-terminal, its instrument side emulated, in time that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from alerts.cms import SmsError
from alerts.modem import Modem
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PtyPort
from drivers.link import Line, Link

TO, OTHER = "+996555000001", "+996777000002"


class Station:
    """A modem and its emulated other side on one pseudo-terminal."""

    def __init__(self, folder: Path, emulated: ModemEmulator, **settings: Any) -> None:
        self.emulated = emulated
        self.port = PtyPort([emulated], link_path=folder / "modem", line=Line(115200))
        self.settings = settings
        self.modem = self.another()

    def another(self, **settings: Any) -> Modem:
        """A second program's modem object on the same port, as after a restart."""
        return Modem(Link(str(self.port.link_path), Line(115200)), **(self.settings | settings))

    @property
    def texts(self) -> list[str]:
        return [sms.text for sms in self.emulated.sent]


@asynccontextmanager
async def station(folder: Path, **settings: Any) -> AsyncIterator[Station]:
    made = Station(folder, settings.pop("emulated", None) or ModemEmulator(), **settings)
    await made.port.start()
    try:
        yield made
    finally:
        made.modem.close()
        await made.port.stop()


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def fails(modem: Modem, text: str = "alarm", **more: Any) -> SmsError:
    """The error of a send that must not succeed."""
    with pytest.raises(SmsError) as caught:
        await modem.send(TO, text, reference=1, **more)
    return caught.value
