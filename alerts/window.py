"""A running mean over the last minutes or hours, in a few numbers however often the sensor is read. Pure.

The time is cut into at most sixty bins of sum and count; the mean is of the bins of the last `over_s`, the
present one included. It counts as a mean only when 75 % of the values that should be there are there (the
share that 40 CFR 50, appendix N, 3.0(c) asks of a day's hours; seen quoted, not in the document itself).

The NowCast (alerts.air_quality) is here one of hours of the rules' time scale, not of the clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from alerts import air_quality

BINS = 60
COMPLETE = 0.75
NOWCAST_HOURS = air_quality.HOURS


@dataclass(frozen=True, slots=True)
class Window:
    """Bins (number, sum, count), oldest first, and when the last value came."""

    bins: tuple[tuple[int, float, int], ...] = ()
    last_ms: int | None = None


def add(
    window: Window, at_ms: int, value: float | None, over_s: float, every_s: float, bins: int = BINS
) -> Window:
    """The window after a value (None: one that was bad), without what is too old by now."""
    if window.last_ms is not None and at_ms <= window.last_ms:
        return window
    bin_ms = _bin_ms(over_s, every_s, bins)
    number = at_ms // bin_ms
    first = number - round(over_s * 1000 / bin_ms) + 1
    kept = [old for old in window.bins if old[0] >= first]
    if value is not None:
        if kept and kept[-1][0] == number:
            _, total, count = kept.pop()
            kept.append((number, total + value, count + 1))
        else:
            kept.append((number, value, 1))
    return Window(tuple(kept), at_ms)


def mean(window: Window, over_s: float, every_s: float) -> float | None:
    """The mean, or None while too many values are missing."""
    count = sum(n for _, _, n in window.bins)
    if count == 0 or count < COMPLETE * over_s / every_s:
        return None
    return sum(total for _, total, _ in window.bins) / count


def change(window: Window, over_s: float, every_s: float) -> float | None:
    """By how much the value has changed in `over_s`, up or down; None while too many values are missing."""
    if mean(window, over_s, every_s) is None:
        return None
    bins = [total / count for _, total, count in window.bins]
    return abs(bins[-1] - bins[0])


def add_hour(window: Window, at_ms: int, value: float | None) -> Window:
    """The window of a NowCast after a value: twelve whole hours and the one under way."""
    return add(window, at_ms, value, (NOWCAST_HOURS + 1) * 3600.0, 0.0, NOWCAST_HOURS + 1)


def nowcast(window: Window, every_s: float) -> float | None:
    """The NowCast of the whole hours, or None while too many are missing."""
    if window.last_ms is None:
        return None
    present = window.last_ms // 3_600_000
    hours = {
        present - 1 - number: total / count
        for number, total, count in window.bins
        if number < present and count >= COMPLETE * 3600 / every_s
    }
    return air_quality.nowcast(hours)


def _bin_ms(over_s: float, every_s: float, bins: int) -> int:
    return max(1, round(max(over_s / bins, min(every_s, over_s)) * 1000))
