"""What stands between the journal and a sink: records of an unsure clock wait here until they can be dated.

    journal ─► take ─┬─ synced                     as it is
                     ├─ its boot is dated           with its true time: "dated", "estimated"
                     └─ nobody knows yet ─► None    the follower waits until it is known or `hold` is over;
                                                    then it goes as "unsynced", flagged SUSPECT "clock"

`hold` counts while the machine runs, and at least `GRACE_S` of it while the sink can be reached: a machine
without a network for hours gets both back at the same time, the sink and the right time, and the time a
little later. That a sink gets a boot undated is kept on the disk before it does, and so is what a boot was
dated by: after a crash every record goes out with the same time again, so that InfluxDB has it once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol

from msgspec.structs import replace

from gateway.clock import FAR_MS
from gateway.dating import ERROR_MS, Dated, DatingFold
from gateway.model import Average, Body, Event, Flag, Reading, Record, Stamp

log = logging.getLogger(__name__)

GRACE_S = 1200.0
"""Time daemons that found no network ask again at the latest after about so long."""
LOOK_S = 1.0
ASK_S = 60.0
"""The sink is asked whether it is there at most so often."""
WHY = "clock"
_BETTER = (Flag.GOOD, Flag.NOT_EVALUATED)


class DatedStamp(Stamp, frozen=True, array_like=True):
    """A stamp with its UTC put right as well as can be, on its way to a sink. Never journaled."""

    trust: Literal["dated", "estimated", "unsynced"] = "unsynced"
    """How `utc_ms` is known."""
    uncertainty_ms: int = 0


def clock(at: Stamp) -> Literal["synced", "dated", "estimated", "unsynced"]:
    """How the time of a record is known, in the word that the sinks give it."""
    if at.synced:
        return "synced"
    return at.trust if isinstance(at, DatedStamp) else "unsynced"


def uncertainty_ms(at: Stamp) -> int:
    """How far the time of a record may be from the truth; where it is not known at all, as far as can be."""
    return at.uncertainty_ms if isinstance(at, DatedStamp) else 0 if at.synced else FAR_MS


class Journal(Protocol):
    """What is needed of the journal."""

    @property
    def committed_seq(self) -> int: ...
    def append(self, bodies: Sequence[Body]) -> list[Record]: ...
    async def sync(self) -> None: ...


class Release:
    """One for each follower."""

    def __init__(
        self, fold: DatingFold, journal: Journal, sink: str, *, stamp: Callable[[], Stamp], hold_s: float
    ) -> None:
        self._fold, self._journal, self._sink = fold, journal, sink
        self._stamp, self._hold_s = stamp, hold_s
        self._safe_seq = 0
        self._waiting = False
        self._up_since_s: float | None = None
        self._ask_due_s = 0.0

    def take(self, record: Record) -> Record | None:
        """The record as the sink may have it; None while it must wait, and all that come behind it."""
        body = record.body
        if body.at.synced:
            if self._fold.error_ms > ERROR_MS:  # the source is right only to seconds: said with each point
                dated = Dated(body.at.utc_ms, "dated", self._fold.error_ms)
                record = Record(record.seq, redated(body, dated))
            return record if type(body) is Reading else self._corrected(record)
        dated = self._fold.date(body.at, self._sink)
        if dated.rests_on > self._safe_seq or self._must_wait(body.at, dated):
            if not self._waiting:
                self._waiting = True
                log.warning("%s: the clock is not known to be right: what was read waits", self._sink)
            return None
        if self._waiting:
            self._waiting = False
            log.warning("%s: what waited for the clock goes out: %s", self._sink, dated.trust)
        return self._corrected(Record(record.seq, redated(body, dated)))

    async def look(self, record: Record, reachable: Callable[[], Awaitable[bool]]) -> None:
        """See whether the waiting of this record may end; `take` tells. To be called about every `LOOK_S`.

        `reachable`: whether the sink could take it. Blocks on it, and on the disk, only where that is needed.
        """
        at = record.body.at
        dated = self._fold.date(at, self._sink)
        if dated.rests_on > self._safe_seq:
            await self._keep(dated.rests_on)
            return
        now = self._stamp()
        held_s = self._fold.ran_ms(at, now) / 1000
        grace_s = min(self._hold_s, GRACE_S)
        if not self._must_wait(at, dated) or held_s < self._hold_s - grace_s:
            return
        up_s = await self._up_s(reachable)
        if up_s is None or up_s < grace_s or held_s < self._hold_s:
            return
        detail: dict[str, Any] = {"sink": self._sink, "boot": at.boot, "held_s": round(held_s)}
        [said, *_] = self._journal.append([Event(now, "clock_unknown", detail)])
        await self._keep(said.seq)

    async def _up_s(self, reachable: Callable[[], Awaitable[bool]]) -> float | None:
        """For how long the sink has been there; None when it is not."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._ask_due_s:
            self._ask_due_s = now_s + ASK_S
            up = await reachable()
            self._up_since_s = (now_s if self._up_since_s is None else self._up_since_s) if up else None
        return None if self._up_since_s is None else now_s - self._up_since_s

    def _must_wait(self, at: Stamp, dated: Dated) -> bool:
        return dated.trust == "unknown" and not self._fold.is_gone(at.boot, self._sink)

    async def _keep(self, seq: int) -> None:
        """Have what was learned survive a power cut before it is used."""
        await self._journal.sync()
        if self._journal.committed_seq >= seq:
            self._safe_seq = max(self._safe_seq, seq)

    def _corrected(self, record: Record) -> Record:
        """An event that corrects an undated point: with the time that the point got (gateway.qc_spike)."""
        body = record.body
        if type(body) is not Event or body.what != "flagged" or "mono_ms" not in body.detail:
            return record
        detail = body.detail
        dated = self._fold.date(Stamp(detail["time_ms"], body.at.boot, detail["mono_ms"], False), self._sink)
        return Record(record.seq, replace(body, detail=detail | {"time_ms": dated.utc_ms}))


def redated(body: Body, dated: Dated) -> Body:
    """The same with its time put right, and flagged where nobody can vouch for the time."""
    at = body.at
    trust: Any = "unsynced" if dated.trust == "unknown" else dated.trust
    stamp = DatedStamp(dated.utc_ms, at.boot, at.mono_ms, False, trust, dated.uncertainty_ms)
    if isinstance(body, Event):
        return replace(body, at=stamp)
    values: Any = body.values
    if dated.trust in ("estimated", "unknown"):
        values = {name: _suspect(value) for name, value in body.values.items()}
    if isinstance(body, Average):
        start_ms = body.start_ms + dated.utc_ms - at.utc_ms
        return replace(body, at=stamp, start_ms=start_ms, values=values)
    return replace(body, at=stamp, values=values)


def _suspect(value: Any) -> Any:
    """A value or a mean, no better than SUSPECT."""
    why = f"{value.why}; {WHY}" if value.why else WHY
    flag = int(Flag.SUSPECT) if value.flag in _BETTER else value.flag
    return replace(value, flag=flag, why=why)
