"""The byte budget of a sink: `budget = "20 MB / 30 d"` in station.toml, for a line that is paid by the byte.

A purse: it holds at most a quarter of the budget, and the other three quarters flow in evenly over the time.
So in any such time no more than the budget can flow out, whenever one begins to count, and a night's backlog
still finds something in it. What is left decides what is sent:

    full        what station.toml asks for
    averages    averages and events, no readings; the status message every 10 minutes
    essential   averages over an hour, and alarms; the status message hourly
    alarms      alarms alone: they go even when nothing is left

                full ── half left ──► averages ── a quarter ──► essential ── a tenth ──► alarms
                     ◄── 3/4 left ──          ◄── 2/5 ────────          ◄── a fifth ──

What is held back stays in the journal and is not sent later: that would cost the same. Each change is an
Event "budget". Spent is what the sink put on the line and took from it, failed attempts included.

It is a fold of the journal, only so that the journal keeps its purse: with each block, so every half
hour and at a clean end. After a crash the records since then are shown to it again; it takes them as sent,
which they may have been, so a station that restarts for ever does not overspend.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from enum import IntEnum

import msgspec

from gateway.follow_lane import weigh
from gateway.model import Average, Body, Event, Reading, Record, Stamp

log = logging.getLogger(__name__)

PURSE = 0.25
"""The part of the budget that may be saved up."""
THIN_BELOW = (0.5, 0.25, 0.1)
"""Less than this part of a full purse: no longer full, averages, essential."""
BACK_AT = (0.75, 0.4, 0.2)
PATIENCE = (1.0, 10.0, 60.0, 60.0)
"""How many times rarer the status message is."""
DEFAULT_AVERAGE_S = 600.0
"""The averages of a sink that was not to send any, when its readings are held back."""
ESSENTIAL_AVERAGE_S = 3600.0


class Level(IntEnum):
    FULL = 0
    AVERAGES = 1
    ESSENTIAL = 2
    ALARMS = 3


def level(left: float, now: Level) -> Level:
    """What may be sent when this part of a full purse is left and `now` was sent till now. Pure."""
    while now < Level.ALARMS and left < THIN_BELOW[now]:
        now = Level(now + 1)
    while now > Level.FULL and left >= BACK_AT[now - 1]:
        now = Level(now - 1)
    return now


class _Kept(msgspec.Struct):
    """What must be remembered."""

    left_bytes: float
    at: Stamp | None
    level: int = 0
    withheld: int = 0


class Budget:
    """The purse of one sink; see gateway.journal.Fold. `averages_s` are the averages it sends by itself."""

    def __init__(
        self, sink: str, amount_bytes: float, per_s: float, averages_s: Collection[float] = ()
    ) -> None:
        self.name = f"budget.{sink}"
        self.level = Level.FULL
        self.withheld = 0
        """Records held back since it was last full."""
        self._sink = sink
        self._amount_bytes, self._per_s = amount_bytes, per_s
        self._size_bytes = amount_bytes * PURSE
        self._inflow_per_s = amount_bytes * (1 - PURSE) / per_s
        self._averages_s = frozenset(averages_s) or {DEFAULT_AVERAGE_S}
        self._left_bytes = self._size_bytes
        self._at: Stamp | None = None
        self._said = Level.FULL
        self._replaying = True

    @property
    def left_bytes(self) -> float:
        """What may still be spent; negative when alarms took more."""
        return self._left_bytes

    @property
    def patience(self) -> float:
        """How many times rarer than else a sign of life is wanted."""
        return PATIENCE[self.level]

    def spend(self, carried_bytes: float) -> None:
        """So much went over the line."""
        self._replaying = False
        if carried_bytes > 0:
            self._left_bytes -= carried_bytes
            self.level = level(self._left_bytes / self._size_bytes, self.level)

    def takes(self, body: Body, wants: Callable[[Body], bool]) -> bool:
        """Whether the sink is to have such a record now; `wants` says what it takes when nothing is short."""
        if self.level is Level.FULL:
            return wants(body)
        taken = self._takes_thinned(body, wants)
        if not taken and wants(body):
            self.withheld += 1
        return taken

    def _takes_thinned(self, body: Body, wants: Callable[[Body], bool]) -> bool:
        if isinstance(body, Average):
            if self.level is Level.AVERAGES:
                return body.length_s in self._averages_s
            return self.level is Level.ESSENTIAL and body.length_s == ESSENTIAL_AVERAGE_S
        if isinstance(body, Reading):
            return False
        if self.level is Level.AVERAGES:
            return wants(body) and body.what != "flagged"  # that corrects a reading, which was not sent
        return wants(body) and body.what in ("alarm", "budget")

    # ── as a fold of the journal ────────────────────────────────────────────────────────────────

    def step(self, record: Record) -> Sequence[Body]:
        """After a crash: see what may have been sent since the purse was last kept."""
        if self._replaying:
            self._left_bytes -= weigh(record.body)
        return ()

    def tick(self, at: Stamp) -> Sequence[Body]:
        """See that time passes, and say what changed."""
        self._flow_in(at)
        self.level = level(self._left_bytes / self._size_bytes, self.level)
        if self.level is self._said:
            return ()
        detail = {
            "sink": self._sink,
            "from": self._said.name.lower(),
            "to": self.level.name.lower(),
            "left_bytes": round(self._left_bytes),
            "budget_bytes": round(self._amount_bytes),
            "per_s": self._per_s,
            "withheld": self.withheld,
        }
        log.warning(
            "%s: %.1f MB of the budget are left: %s is sent now",
            self._sink,
            self._left_bytes / 1e6,
            detail["to"],
        )
        self._said = self.level
        if self.level is Level.FULL:
            self.withheld = 0
        return [Event(at, "budget", detail)]

    def save(self) -> bytes:
        return msgspec.json.encode(_Kept(self._left_bytes, self._at, self.level, self.withheld))

    def restore(self, state: bytes) -> None:
        try:
            kept = msgspec.json.decode(state, type=_Kept)
            self.level = self._said = Level(kept.level)
        except (msgspec.DecodeError, ValueError) as e:
            log.error("%s: the kept state cannot be read, beginning with a full purse: %s", self.name, e)
            return
        self._left_bytes = min(kept.left_bytes, self._size_bytes)  # the budget may have been lowered
        self._at, self.withheld = kept.at, kept.withheld

    def _flow_in(self, at: Stamp) -> None:
        last, self._at = self._at, at
        if last is None:
            return
        if at.boot == last.boot:
            passed_ms = at.mono_ms - last.mono_ms
        else:  # over a reboot only what both clocks vouch for
            passed_ms = at.utc_ms - last.utc_ms if at.synced and last.synced else 0
        gained = max(passed_ms, 0) / 1000 * self._inflow_per_s
        self._left_bytes = min(self._left_bytes + gained, self._size_bytes)
