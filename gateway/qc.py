"""Quality flags while readings stream in (QARTOD): gross range and user range.

QARTOD manuals name the tests: gross range (what the sensor can measure: outside is FAIL), and user range
(what is usual here: outside is SUSPECT). A quantity without a test is NOT_EVALUATED, not GOOD.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.model import Flag, Stamp


@dataclass(frozen=True, slots=True)
class Expect:
    """What is expected of one quantity, in its own unit. None leaves a test out."""

    gross: tuple[float, float] | None = None
    usual: tuple[float, float] | None = None


class Checks:
    """The tests of one sensor."""

    def __init__(self, expect: Mapping[str, Expect]) -> None:
        self._expect = dict(expect)

    def flag(self, quantity: str, value: float, at: Stamp) -> tuple[int, str]:
        """The flag of one value and why; "" for GOOD and NOT_EVALUATED."""
        expect = self._expect.get(quantity)
        if expect is None:
            return int(Flag.NOT_EVALUATED), ""
        if expect.gross is not None and not expect.gross[0] <= value <= expect.gross[1]:
            return int(Flag.FAIL), "gross range"
        if expect.usual is not None and not expect.usual[0] <= value <= expect.usual[1]:
            return int(Flag.SUSPECT), "user range"
        return int(Flag.GOOD), ""
