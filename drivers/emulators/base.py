"""What every emulated instrument is: bytes in, answers out, time given, no I/O.

`drivers.emulators.port` puts emulators on a pseudo-terminal or a TCP port, delays their bytes as a wire
would, and plants faults between them and the reader. Every answer that carries numbers says which: that is
the emulators' own record, against which a run of the station is reconciled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes an instrument puts on the wire, `after_s` after it was asked (or after its own time came).

    `values` names the numbers these bytes carry, by quantity, exactly as they can be read from the bytes
    (rounded to the wire's format); empty where the answer carries none: acknowledgements, zeros of a
    warming-up sensor, faults. `asked` is False for what an instrument says by itself (a stream).
    """

    data: bytes
    after_s: float = 0.0
    values: Mapping[str, float] = field(default_factory=dict)
    asked: bool = True


class Emulator(Protocol):
    """One emulated instrument."""

    name: str

    def feed(self, data: bytes, now_s: float) -> list[Answer]:
        """Take bytes as they come from the wire (any pieces, noise too) and give the answers they call
        for.
        """
        ...

    def due_s(self, now_s: float) -> float | None:
        """When the instrument next speaks by itself; None when it only answers."""
        ...

    def speak(self, now_s: float) -> list[Answer]:
        """What it says by itself at `now_s`; called when `due_s` has come."""
        ...
