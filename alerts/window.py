"""A running mean over the last minutes or hours, in a few numbers however often the sensor is read. Pure.

The time is cut into at most sixty bins of sum and count; the mean is of the bins of the last `over_s`, the
present one included. It counts as a mean only when 75 % of the values that should be there are there (the
share that 40 CFR 50, appendix N asks of a day's hours; that figure is from memory, not from the document).
"""

from __future__ import annotations

from dataclasses import dataclass

BINS = 60
COMPLETE = 0.75


@dataclass(frozen=True, slots=True)
class Window:
    """Bins (number, sum, count), oldest first, and when the last value came."""

    bins: tuple[tuple[int, float, int], ...] = ()
    last_ms: int | None = None


def add(window: Window, at_ms: int, value: float | None, over_s: float, every_s: float) -> Window:
    """The window after a value (None: one that was bad), without what is too old by now."""
    if window.last_ms is not None and at_ms <= window.last_ms:
        return window
    bin_ms = _bin_ms(over_s, every_s)
    number = at_ms // bin_ms
    first = number - round(over_s * 1000 / bin_ms) + 1
    bins = [old for old in window.bins if old[0] >= first]
    if value is not None:
        if bins and bins[-1][0] == number:
            _, total, count = bins.pop()
            bins.append((number, total + value, count + 1))
        else:
            bins.append((number, value, 1))
    return Window(tuple(bins), at_ms)


def mean(window: Window, over_s: float, every_s: float) -> float | None:
    """The mean, or None while too many values are missing."""
    count = sum(n for _, _, n in window.bins)
    if count == 0 or count < COMPLETE * over_s / every_s:
        return None
    return sum(total for _, total, _ in window.bins) / count


def _bin_ms(over_s: float, every_s: float) -> int:
    return max(1, round(max(over_s / BINS, min(every_s, over_s)) * 1000))
