"""What every driver shares: the words for a quantity, a measurement, and what can go wrong on a wire.

A driver is an object with `quantities` and `async read(link) -> Measurement`; nothing else is required and
there is nothing to inherit. See `Instrument` for the optional parts. A driver emits what the hardware says
when it says it: no caching, no filling of gaps, no derived values, and no number when the hardware says
that the number is bad.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from drivers.link import Link


class InstrumentError(Exception):
    """An instrument did not give a measurement. Subclasses say why, and so what helps."""


class NoAnswer(InstrumentError):
    """Nothing came before the deadline. Worth a retry; several in a row mean a dead instrument."""


class GarbledAnswer(InstrumentError):
    """Bytes came that are no valid answer. Worth a retry at once. `frame` holds what came.

    `crosstalk` says that somebody else spoke: another instrument's whole answer, another master.
    """

    def __init__(self, message: str, frame: bytes = b"", *, crosstalk: bool = False) -> None:
        super().__init__(message)
        self.frame = frame
        self.crosstalk = crosstalk


class NotReady(InstrumentError):
    """The instrument works but has no number now: warming up, busy, no new value. Try later; not a fault.

    `wait_s` says how long the instrument asks for, where it is known.
    """

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class RequestRefused(InstrumentError):
    """The instrument understood and refuses for good: wrong function, register or value.

    A retry cannot help.
    """


class InstrumentFault(InstrumentError):
    """The instrument reports that it is ill (fault bits, error byte, sensor unplugged): an event, never a
    number.
    """


class PortLost(InstrumentError):
    """The port is gone, busy or cannot be opened. The owner of the link reopens it, with back-off."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a driver measures: a canonical name ("pm2_5"), an ASCII unit ("ug/m3") and the digits worth
    showing.
    """

    name: str
    unit: str
    digits: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """One answer of an instrument: numbers by quantity name, the bytes they came in, and what it said
    beside them.

    A quantity the hardware calls bad is absent from `values` and named in `notes` ("ph: sentinel"), so that
    no bad number can travel further. `frame` is the raw answer, or several joined, as it came from the wire.
    """

    values: Mapping[str, float]
    frame: bytes
    notes: tuple[str, ...] = ()


class Instrument(Protocol):
    """A driver's instance for one instrument.

    Optional methods, looked up where they exist: `identify(link) -> dict[str, str]` (serial number, firmware,
    slope; called once when an instrument appears), `sleep(link)`, `wake(link)`, `clean(link)`; and for a
    calibration that the instrument keeps itself what drivers.calibrates names.

    Optional attributes, for instruments that share a wire: `answer_s` (the longest an answer may take),
    `took_s` (how long the slowest answer of the last reading took), `answer_within_s` (how long to wait for
    one, which the bus shortens as it learns), `late_until_s(link)` (loop time until which a late answer may
    come, for which the next request waits), `split` (why a reading now takes more requests, or "").
    """

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The quantities this instrument gives, in the order of its manual."""
        ...

    async def read(self, link: Link) -> Measurement:
        """Take one measurement. Blocks until the instrument answered, at most as long as its own deadlines
        say.

        Raises an `InstrumentError` when there is no number.
        """
        ...
