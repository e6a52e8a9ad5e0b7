"""What a bus decides, without doing it: how long to wait for an answer, what an instrument is, whose turn it
is, which slots were missed. No I/O and no clock; see gateway.bus for the doing.

Slots: a sensor is read once in each slot of a grid that is fixed to the boot's clock (CLOCK_BOOTTIME), not
to the start of this process: slot 12 of a sensor read every 10 s is second 120 to 130 of the boot.

    boot clock   120        130        140        150        160        170
                  │ reading  │          │          │          │ reading  │
    slot          └── 12 ────┴── 13 ────┴── 14 ────┴── 15 ────┴── 16 ────┘
                                └─ missed: no_answer, 3 slots ┘

What an instrument can be:

    alive        answers
    slow         answers, but needs more than 80 % of its time-out or a second try in 5 of 20 readings
    crosstalk    3 times in 20 readings somebody else spoke: two units of one address, a second master
    dead         3 readings in a row nothing came (a new one: 1); probed rarely, in the others' pauses
    quarantined  5 readings in a row only rubbish came; probed like a dead one
    faulty       says that it is ill, or refuses; asked on at its rate
    unplugged    its port is gone
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar


class Miss(StrEnum):
    """Why a slot has no reading."""

    NO_ANSWER = "no_answer"
    GARBLED = "garbled"
    WARMING_UP = "warming_up"
    FAULT = "fault"
    REFUSED = "refused"
    BAD_NUMBER = "bad_number"
    DEAD = "dead"
    QUARANTINED = "quarantined"
    UNPLUGGED = "unplugged"
    OVERRUN = "overrun"


ANSWERING = ("alive", "slow", "crosstalk")
"""States in which an instrument gives readings."""
PROBED = ("dead", "quarantined")
"""States in which it is asked rarely, and once."""

# ── how long to wait for an answer ─────────────────────────────────────────────────────────────────────────

LEARN_AFTER = 8
"""Answers before anything is concluded."""
EPOCH = 256
"""The slowest answer is remembered for at least so many answers, and at most for twice as many."""
SHORTEST_S = 0.1
"""No time-out is learned below this: adapters and serial servers dawdle now and then."""
MARGIN, MARGIN_S = 1.5, 0.02


class AnswerTime:
    """Learns how long an instrument's answers take. `limit_s`, its maker's figure, is never exceeded."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._heard = 0
        self._longest_s = self._before_s = 0.0

    @property
    def within_s(self) -> float:
        """How long to wait at first: half as much again as was ever needed lately, `limit_s` until that is
        known.
        """
        if self._heard < LEARN_AFTER:
            return self.limit_s
        longest_s = max(self._longest_s, self._before_s)
        return min(max(MARGIN * longest_s + MARGIN_S, SHORTEST_S), self.limit_s)

    def heard(self, took_s: float) -> None:
        """An answer came, in time or late."""
        if self._heard and self._heard % EPOCH == 0:
            self._before_s, self._longest_s = self._longest_s, 0.0
        self._heard += 1
        self._longest_s = max(self._longest_s, took_s)

    def again_s(self, pause_s: float) -> float:
        """How long to wait where it was silent before: all of `limit_s` if the others' pause is so long."""
        return max(min(pause_s, self.limit_s), self.least_s)

    @property
    def least_s(self) -> float:
        """How long to wait at least for one that may be there or not."""
        return self.within_s if self._heard >= LEARN_AFTER else min(SHORTEST_S, self.limit_s)


# ── what an instrument is ──────────────────────────────────────────────────────────────────────────────────

DEAD_AFTER = 3
QUARANTINED_AFTER = 5
LOOK_BACK = 20
"""Readings looked back on for what is said of an instrument that answers."""
SLOW_FROM, SLOW_TO = 5, 1
"""So many strained readings among them make it slow; so few make it well again."""
CROSSTALK_FROM = 3
STRAINED = 0.8
"""Share of its time-out that an answer may take."""


@dataclass(slots=True)
class Tried:
    """What came of one slot: `miss` is None for a reading. `strained`: it took a second try, or long."""

    miss: Miss | None
    strained: bool = False
    crosstalk: bool = False


@dataclass(slots=True)
class Health:
    """What has lately come of asking one instrument."""

    silent: int = 0
    """Readings in a row without a valid answer."""
    garbled: int = 0
    """Readings in a row of which only rubbish came."""
    smooth: int = 0
    """Readings in a row that were neither strained nor disturbed."""
    recent: deque[Tried] = field(default_factory=lambda: deque(maxlen=LOOK_BACK))

    def after(self, state: str, tried: Tried) -> str:
        """The state that follows from `state` and what came of one slot."""
        self.recent.append(tried)
        self.smooth = 0 if tried.strained or tried.crosstalk else self.smooth + 1
        match tried.miss:
            case Miss.NO_ANSWER:
                self.silent += 1
                self.garbled = 0
                if self.silent >= DEAD_AFTER or state == "new":
                    return "dead"
                return state
            case Miss.GARBLED:
                self.silent += 1
                self.garbled += 1
                if self.garbled >= QUARANTINED_AFTER:
                    return "quarantined"
                return self._answering(state) if state in ANSWERING else state
            case Miss.FAULT | Miss.REFUSED:
                self.silent = self.garbled = 0
                return "faulty"
            case Miss.WARMING_UP | Miss.BAD_NUMBER if state == "faulty":
                self.silent = self.garbled = 0
                return state
            case _:
                self.silent = self.garbled = 0
                return self._answering(state)

    def forget(self) -> None:
        """It may be another instrument: what was before does not count."""
        self.recent.clear()

    def _answering(self, state: str) -> str:
        if self.smooth >= LOOK_BACK:
            return "alive"
        crosstalk = sum(tried.crosstalk for tried in self.recent)
        strained = sum(tried.strained for tried in self.recent)
        if crosstalk >= (1 if state == "crosstalk" else CROSSTALK_FROM):
            return "crosstalk"
        if strained >= (SLOW_TO + 1 if state == "slow" else SLOW_FROM):
            return "slow"
        return "alive"


# ── whose turn it is ───────────────────────────────────────────────────────────────────────────────────────

SHARE = 0.04
"""Of the bus's time that all probes of dead instruments together may take from the living: below 5 % also
over a minute, whichever probes fall into it.
"""
LONGEST_PAUSE_S = 60.0
LONG_PROBE_S = 1800.0
"""A probe waits as long as the others' pause lasts; so often it waits as long as its maker says."""


def longer_pause_s(pause_s: float, every_s: float) -> float:
    """The pause before a dead instrument is probed again; the first when `pause_s` is 0."""
    return max(min(2 * pause_s, LONGEST_PAUSE_S), every_s)


class Turn(Protocol):
    """A sensor that waits for its turn. Times are the loop's."""

    due_s: float
    cost_s: float
    """What asking it costs if nothing comes."""
    patience_s: float | None
    """How long after it is due it waits for a pause of the others; None: it does not wait."""

    @property
    def is_probe(self) -> bool: ...


T = TypeVar("T", bound=Turn)


def choose(turns: Sequence[T], now_s: float, probe_from_s: float) -> tuple[T | None, float]:
    """Whose turn it is, or None and how long to wait before asking again.

    Probes and second tries wait for a pause of the others that is long enough, so that those keep their
    phase; when there is none for long they are made all the same. `probe_from_s` is when the living owe the
    dead the next probe.
    """
    if len(turns) == 1:
        wait_s = turns[0].due_s - now_s
        return (None, wait_s) if wait_s > 0 else (turns[0], 0.0)
    first: T | None = None
    for turn in turns:
        if turn.patience_s is None and (first is None or turn.due_s < first.due_s):
            first = turn
    anyone_living = first is not None or not all(turn.is_probe for turn in turns)
    pause_s = math.inf if first is None else first.due_s - now_s
    chosen: T | None = None
    wait_s = pause_s
    for turn in turns:
        if turn.patience_s is None:
            continue
        from_s = max(turn.due_s, probe_from_s) if turn.is_probe and anyone_living else turn.due_s
        if from_s > now_s:
            wait_s = min(wait_s, from_s - now_s)
        elif pause_s >= turn.cost_s or now_s >= from_s + turn.patience_s:
            if chosen is None or turn.due_s < chosen.due_s:
                chosen = turn
        else:
            wait_s = min(wait_s, from_s + turn.patience_s - now_s)
    if chosen is not None:
        return chosen, 0.0
    if pause_s <= 0:
        return first, 0.0
    return None, wait_s


# ── which slots were missed ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Run:
    """Slots in a row without a reading, from `first` up to and without `end`, all for one reason."""

    first: int
    end: int
    why: Miss


class Slots:
    """The slots of one sensor that are accounted for: all before `next`."""

    def __init__(self, every_s: float) -> None:
        self.every_ms = max(1, round(every_s * 1000))
        self.next = -1
        """-1 until the first."""
        self._run: Run | None = None

    @property
    def open_from_ms(self) -> int | None:
        """Boot time at which the run began that has not been said yet."""
        return None if self._run is None else self._run.first * self.every_ms

    def at(self, mono_ms: int) -> int:
        """The slot of a moment of the boot's clock."""
        return mono_ms // self.every_ms

    def missed(self, end: int, why: Miss) -> list[Run]:
        """All slots before `end` that are not accounted for were missed. Gives the run that ended by that."""
        if end <= self.next:
            return []
        run, first = self._run, self.next
        self.next = end
        if run is not None and run.why is why:
            self._run = Run(run.first, end, why)
            return []
        self._run = Run(first, end, why)
        return [] if run is None else [run]

    def taken(self, slot: int) -> list[Run]:
        """`slot`, which is the next or a later one, has a reading. Gives the run that ended by that."""
        self.next = max(slot + 1, self.next)
        return self.close()

    def close(self) -> list[Run]:
        """End the open run; what follows for the same reason is another."""
        run, self._run = self._run, None
        return [] if run is None else [run]
