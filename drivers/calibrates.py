"""What a driver says of a calibration that the instrument keeps itself.

An instrument that can be calibrated over its wire has `calibrates: Calibrates` and

    calibrate(link, nominal, value) -> dict[str, str]      one point, written and read back: what it says now
    calibration(link) -> dict[str, str]                    what it says of its calibration now

They write into the instrument: only a step that somebody has confirmed may call `calibrate`. Coefficients
(`way` "coefficients") are not taken point by point: `adjust(link, slope, offset)` folds a straight line,
true = slope x reading + offset, into those that the instrument has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Calibrates:
    """How it wants it. No `standards`: any. `first`: the one that must come before the others."""

    quantity: str
    way: Literal["points", "coefficients"] = "points"
    standards: tuple[float, ...] = ()
    least: int = 1
    most: int = 3
    first: float | None = None
    settle_s: float = 0.0
    """How long it wants to stand in a standard before its point is taken."""

    def order(self, nominals: list[float]) -> list[float]:
        """The standards in the order in which it takes them."""
        rest = sorted(nominals)
        if self.first is None or not rest:
            return rest
        first = min(rest, key=lambda n: abs(n - (self.first or 0.0)))
        return [first, *(n for n in rest if n != first)]

    def wrong(self, nominals: list[float]) -> str:
        """Why these standards cannot calibrate it; "" if they can."""
        if len(set(nominals)) != len(nominals):
            return "a standard stands there twice"
        if self.standards:
            known = ", ".join(f"{n:g}" for n in self.standards)
            for n in nominals:
                if not any(abs(n - s) < 0.005 for s in self.standards):
                    return f"it does not know a standard of {n:g}: it takes {known}"
        if not self.least <= len(nominals) <= self.most:
            many = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
            return f"it takes {many} standards, not {len(nominals)}"
        return ""
