"""What a scan finds, as data: the terminal, the page and `suuaba init` use the same.

An instrument is one that answered or spoke; a finding is something about the port in words (its `code` is a
key of gateway.scan_words). Nothing here does I/O.
"""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["found", "modem", "silent", "trouble", "held", "closed", "broken off"]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument. `others` are the models that fit what it answers as well; `sure` where none does."""

    port: str
    baudrate: int
    format: str
    framing: str = "rtu"
    echo: bool = False
    model: str = ""
    """"" for one that speaks and that no driver knows."""
    title: str = ""
    medium: str = ""
    address: int | None = None
    shares_bus: bool = False
    sure: bool = True
    others: tuple[str, ...] = ()
    identity: dict[str, str] = {}
    values: dict[str, float] = {}
    after_s: float = 0.0
    """Seconds from the scan's begin until it was named."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something about a port, or about one address on it: what was seen, named by `code`."""

    code: str
    port: str
    about: str = ""
    """The address or the program it is about."""
    seen: str = ""
    """The raw evidence, short: bytes, counts."""


class Doing(msgspec.Struct, frozen=True):
    """What the scan of a port is at; `code` is a key of gateway.scan_words.DOING."""

    code: str
    about: str = ""
    line: str = ""


class Progress(msgspec.Struct, kw_only=True):
    """The scan of a port while it is under way. Seconds are estimates."""

    port: str
    doing: Doing
    done_s: float
    left_s: float
    found: list[Found] = []
    problems: list[Problem] = []


class PortReport(msgspec.Struct, kw_only=True):
    """One port after its scan."""

    port: str
    state: State = "silent"
    instruments: list[Found] = []
    problems: list[Problem] = []
    asked: int = 0
    seconds: float = 0.0


class Report(msgspec.Struct, kw_only=True):
    """A whole scan. `complete` is False where somebody broke it off."""

    ports: list[PortReport] = []
    complete: bool = True
    seconds: float = 0.0

    @property
    def instruments(self) -> list[Found]:
        return [found for port in self.ports for found in port.instruments]
