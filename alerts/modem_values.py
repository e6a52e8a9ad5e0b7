"""What a modem gives to those who ask it: plain values."""

from __future__ import annotations

from dataclasses import dataclass

from alerts.modem_inbox import Received, Report


@dataclass(frozen=True, slots=True)
class Health:
    """How the modem stands. `signal_dbm` is None when unknown; `used` of `size` places hold messages."""

    registered: bool
    registration: str
    signal_dbm: int | None
    operator: str
    used: int
    size: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that the network took: the modem's reference of each part, beginning with part `first`."""

    to: str
    reference: int
    references: tuple[int, ...]
    first: int
    parts: int


@dataclass(frozen=True, slots=True)
class Late:
    """A result that came after its time: this part, whose fate was unknown, was sent."""

    to: str
    reference: int
    part: int
    modem_reference: int


@dataclass(frozen=True, slots=True)
class Inbox:
    """What lies in the store; PDUs that nobody can read are already deleted."""

    messages: tuple[Received, ...]
    reports: tuple[Report, ...]
    unreadable: tuple[str, ...]
    used: int
    size: int
