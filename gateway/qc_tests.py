"""The QARTOD tests that remember: gap, rate of change, flat line, attenuated signal, and climatology.

Each sees the finite values of one quantity in order of time and gives 1 good, 2 not evaluated, 3 suspect or
4 fail. A reading is missed when the next comes later than one and a half times `every`; after
`DEAD_CYCLES` of them in a row nobody knows what happened meanwhile, and what looks back begins anew.

The flat line and the attenuated signal need the largest and the smallest value of a window that slides. Two
queues hold only the values that can still become it (the classic sliding-window maximum): exact, a step on
average, and short, because instruments have few digits; so they are lists, which take a tenth of a deque. See
`Extremes` for their limit.
"""

from __future__ import annotations

import calendar
import math
import time
from collections.abc import Mapping

from gateway.model import Stamp

State = list[float | None]
"""What a test remembers, for the journal."""

_GOOD, _NOT_EVALUATED, _SUSPECT, _FAIL = 1, 2, 3, 4

DEAD_CYCLES = 3
"""As many cycles without an answer make a sensor dead (gateway.bus): what comes later is a new beginning."""
EXTREMES_LIMIT = 256
"""Values that each queue of a sliding window may hold."""


def missed_ms(every_s: float, cycles: int = 0) -> float:
    """An interval longer than this means that more than `cycles` readings were missed in it."""
    return (cycles + 1.5) * every_s * 1000


class Gap:
    """Too long since the last value: SUSPECT (the value itself may well be right)."""

    name = "gap"
    __slots__ = ("_gap_ms", "_last_ms")

    def __init__(self, gap_s: float) -> None:
        self._gap_ms = gap_s * 1000
        self._last_ms: int | None = None

    def judge(self, value: float, at: Stamp) -> int:
        last_ms, self._last_ms = self._last_ms, at.mono_ms
        if last_ms is None:
            return _NOT_EVALUATED
        return _SUSPECT if self._last_ms - last_ms > self._gap_ms else _GOOD

    def forget(self) -> None:
        self._last_ms = None

    def save(self) -> State:
        return [self._last_ms]

    def restore(self, state: State) -> None:
        [last_ms] = state
        self._last_ms = None if last_ms is None else int(last_ms)


class RateOfChange:
    """Changing faster, from one reading to the next, than `per_s` a second: SUSPECT."""

    name = "rate of change"
    __slots__ = ("_last", "_last_ms", "_longest_ms", "_per_s")

    def __init__(self, per_s: float, every_s: float) -> None:
        self._per_s = per_s
        self._longest_ms = missed_ms(every_s)
        self._last, self._last_ms = 0.0, -math.inf

    def judge(self, value: float, at: Stamp) -> int:
        now_ms = at.mono_ms
        passed_ms, last = now_ms - self._last_ms, self._last
        self._last, self._last_ms = value, now_ms
        if not 0 < passed_ms <= self._longest_ms or passed_ms == math.inf:
            return _NOT_EVALUATED
        return _SUSPECT if abs(value - last) / (passed_ms / 1000) > self._per_s else _GOOD

    def forget(self) -> None:
        self._last_ms = -math.inf

    def save(self) -> State:
        return [] if self._last_ms == -math.inf else [self._last, self._last_ms]

    def restore(self, state: State) -> None:
        if state:
            self._last, last_ms = _numbers(state)
            self._last_ms = int(last_ms)


class Climatology:
    """Outside of what is usual in this month (UTC): SUSPECT. A clock nobody vouches for knows no month."""

    name = "climatology"
    __slots__ = ("_from_ms", "_months", "_span", "_to_ms")

    def __init__(self, months: Mapping[int, tuple[float, float]]) -> None:
        self._months = months
        self._from_ms = self._to_ms = 0
        self._span: tuple[float, float] | None = None

    def judge(self, value: float, at: Stamp) -> int:
        if not at.synced:
            return _NOT_EVALUATED
        if not self._from_ms <= at.utc_ms < self._to_ms:
            self._turn(at.utc_ms)
        span = self._span
        if span is None:
            return _NOT_EVALUATED
        return _GOOD if span[0] <= value <= span[1] else _SUSPECT

    def forget(self) -> None:
        """There is nothing to forget: what was, does not matter."""

    def save(self) -> State:
        return []

    def restore(self, state: State) -> None:
        """There is nothing to remember."""

    def _turn(self, utc_ms: int) -> None:
        """Find the month that this is in, and until when."""
        now = time.gmtime(utc_ms // 1000)
        year, month = (now.tm_year + 1, 1) if now.tm_mon == 12 else (now.tm_year, now.tm_mon + 1)
        self._from_ms = calendar.timegm((now.tm_year, now.tm_mon, 1, 0, 0, 0)) * 1000
        self._to_ms = calendar.timegm((year, month, 1, 0, 0, 0)) * 1000
        self._span = self._months.get(now.tm_mon)


class Seen:
    """A value, when it was read, and when the next was: one that leaves a window says where it now begins."""

    __slots__ = ("at_ms", "next_ms", "value")

    def __init__(self, value: float, at_ms: int, next_ms: int) -> None:
        self.value, self.at_ms, self.next_ms = value, at_ms, next_ms


class Extremes:
    """What the largest and the smallest value of a sliding window can be, oldest first.

    Exact while neither queue has more than `EXTREMES_LIMIT` values, which takes a slope of as many different
    numbers. Beyond, neighbours become one, with the more extreme value and the later time: the window then
    looks wider than it is for a moment, so a flat line is told late, never wrongly.
    """

    __slots__ = ("highs", "lows", "newest")

    def __init__(self) -> None:
        self.highs: list[Seen] = []
        self.lows: list[Seen] = []
        self.newest: Seen | None = None

    def add(self, value: float, now_ms: int) -> None:
        if self.newest is not None:
            self.newest.next_ms = now_ms
        new = self.newest = Seen(value, now_ms, now_ms)
        highs, lows = self.highs, self.lows
        while highs and highs[-1].value <= value:
            highs.pop()
        highs.append(new)
        while lows and lows[-1].value >= value:
            lows.pop()
        lows.append(new)
        if len(highs) > EXTREMES_LIMIT:
            self.highs = _thinned(highs)
        if len(lows) > EXTREMES_LIMIT:
            self.lows = _thinned(lows)

    def forget(self) -> None:
        self.highs.clear()
        self.lows.clear()
        self.newest = None

    def save(self) -> State:
        """How many highs there are, the highs, the lows; three numbers each."""
        state: State = [len(self.highs)]
        for seen in (*self.highs, *self.lows):
            state += (seen.value, seen.at_ms, seen.next_ms)
        return state

    def restore(self, state: State) -> None:
        """Raises ValueError for what is no such state."""
        many, *rest = _numbers(state)
        if len(rest) % 3:
            raise ValueError("a value without its times")
        seen = [Seen(rest[i], int(rest[i + 1]), int(rest[i + 2])) for i in range(0, len(rest), 3)]
        highs, lows = seen[: int(many)], seen[int(many) :]
        if bool(highs) != bool(lows):
            raise ValueError("highs without lows")
        if highs:
            self.newest = lows[-1] = highs[-1]  # the newest ends both
        self.highs, self.lows = highs, lows


def _thinned(queue: list[Seen]) -> list[Seen]:
    """Half of it: of two neighbours the older, which is the more extreme, with the time of the younger."""
    *seen, newest = queue
    pairs = zip(seen[::2], seen[1::2], strict=False)
    kept = [Seen(older.value, younger.at_ms, younger.next_ms) for older, younger in pairs]
    if len(seen) % 2:
        kept.append(seen[-1])
    return [*kept, newest]


class FlatLine:
    """All values of the last `suspect_s` less than `within` apart: SUSPECT; of the last `fail_s`: FAIL.

    A time is so many whole readings, as in ioos_qc: 50 min at a reading each 15 min are three intervals. At
    least two. `within` 0 means: exactly the same.
    """

    name = "flat line"
    __slots__ = ("_began_ms", "_dead_ms", "_fail_ms", "_since_ms", "_suspect_ms", "_window", "_within")

    def __init__(self, within: float, suspect_s: float, fail_s: float, every_s: float) -> None:
        self._within = within or math.ulp(0.0)
        self._suspect_ms = _span_ms(suspect_s, every_s)
        self._fail_ms = _span_ms(fail_s, every_s)
        self._dead_ms = missed_ms(every_s, DEAD_CYCLES - 1)
        self._window = Extremes()
        self._began_ms = self._since_ms = 0  # of what is remembered, and of the part of it that is flat

    def judge(self, value: float, at: Stamp) -> int:
        now_ms, window = at.mono_ms, self._window
        newest = window.newest
        if newest is None or not 0 <= now_ms - newest.at_ms <= self._dead_ms:
            window.forget()
            self._began_ms = self._since_ms = now_ms
        window.add(value, now_ms)
        highs, lows = window.highs, window.lows
        while highs[0].value - lows[0].value >= self._within:
            older = highs if highs[0].at_ms <= lows[0].at_ms else lows
            self._since_ms = older.pop(0).next_ms
        flat_ms = now_ms - self._since_ms
        if flat_ms >= self._fail_ms:
            return _FAIL
        if flat_ms >= self._suspect_ms:
            return _SUSPECT
        return _NOT_EVALUATED if self._since_ms == self._began_ms else _GOOD

    def forget(self) -> None:
        self._window.forget()

    def save(self) -> State:
        return [self._began_ms, self._since_ms, *self._window.save()]

    def restore(self, state: State) -> None:
        began_ms, since_ms = _numbers(state[:2])
        self._began_ms, self._since_ms = int(began_ms), int(since_ms)
        self._window.restore(state[2:])


class Attenuated:
    """The values of the last `over_s` less than `suspect` apart: SUSPECT; less than `fail`: FAIL."""

    name = "attenuated signal"
    __slots__ = ("_began_ms", "_dead_ms", "_fail", "_full_ms", "_over_ms", "_suspect", "_window")

    def __init__(self, over_s: float, suspect: float, fail: float, every_s: float) -> None:
        self._over_ms = over_s * 1000
        self._suspect, self._fail = suspect, fail
        self._dead_ms = missed_ms(every_s, DEAD_CYCLES - 1)
        self._full_ms = self._over_ms
        if every_s != math.inf:
            self._full_ms = (max(math.ceil(over_s / every_s - 1e-9) - 1, 1) - 0.5) * every_s * 1000
        self._window = Extremes()
        self._began_ms = 0

    def judge(self, value: float, at: Stamp) -> int:
        now_ms, window = at.mono_ms, self._window
        newest = window.newest
        if newest is None or not 0 <= now_ms - newest.at_ms <= self._dead_ms:
            window.forget()
            self._began_ms = now_ms
            newest = None
        window.add(value, now_ms)
        highs, lows, out_ms = window.highs, window.lows, now_ms - self._over_ms
        while highs[0].at_ms <= out_ms:
            del highs[0]
        while lows[0].at_ms <= out_ms:
            del lows[0]
        if newest is None or newest.at_ms <= out_ms or now_ms - self._began_ms < self._full_ms:
            return _NOT_EVALUATED  # one value alone has no range
        apart = highs[0].value - lows[0].value
        if apart < self._fail:
            return _FAIL
        return _SUSPECT if apart < self._suspect else _GOOD

    def forget(self) -> None:
        self._window.forget()

    def save(self) -> State:
        return [self._began_ms, *self._window.save()]

    def restore(self, state: State) -> None:
        [began_ms] = _numbers(state[:1])
        self._began_ms = int(began_ms)
        self._window.restore(state[1:])


def _numbers(state: State) -> list[float]:
    """Raises ValueError where one is missing."""
    numbers = [number for number in state if number is not None]
    if len(numbers) != len(state):
        raise ValueError("a number is missing")
    return numbers


def _span_ms(length_s: float, every_s: float) -> float:
    """How long a row of values must be to cover `length_s`: whole readings, with half of one to spare for
    readings that are not on the dot.
    """
    if every_s == math.inf:
        return length_s * 1000
    intervals = max(2, math.floor(length_s / every_s + 1e-9))
    return (intervals - 0.5) * every_s * 1000
