"""Records that a sink refused: kept with their reasons, and offered once more when the cause is mended.

    Event "refused"  {"sink": "influxdb", "seq": 4711, "reason": "400 field type …"}    gateway.follow
    Event "retried"  {"sink": "influxdb", "seqs": [4711, 4713]}                             from here

A fold, so what is on the list is exact after every crash: "refused" puts a record on it, "retried" takes it
off, and if the sink refuses it again it stands there again. The record itself is in the journal, as long as
that keeps it. Offering moves no cursor back: the records are owed as history (gateway.backfill), so InfluxDB
gets the same points at the same times, and a subscriber to MQTT the same `seq`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.control import Answer, Request
from gateway.errors import ControlError
from gateway.follow_sink import Progress
from gateway.model import Body, Event, Record, Stamp

log = logging.getLogger(__name__)

LIMIT = 500
"""Records remembered for each sink; of more only their number."""
REASON_LIMIT = 300


class List(msgspec.Struct):
    """What one sink refused, by seq, and how many more were not remembered."""

    reasons: dict[int, str] = {}
    beyond: int = 0


class RefusedFold:
    """See gateway.journal.Fold."""

    name = "refused"

    def __init__(self) -> None:
        self.lists: dict[str, List] = {}

    def step(self, record: Record) -> Sequence[Body]:
        body = record.body
        if type(body) is not Event or body.what not in ("refused", "retried"):
            return ()
        sink = str(body.detail.get("sink", ""))
        of = self.lists.setdefault(sink, List())
        if body.what == "retried":
            for seq in body.detail.get("seqs", ()):
                of.reasons.pop(seq, None)
        elif isinstance(seq := body.detail.get("seq"), int):
            if len(of.reasons) < LIMIT or seq in of.reasons:
                of.reasons[seq] = str(body.detail.get("reason", ""))[:REASON_LIMIT]
            else:
                of.beyond += 1
        return ()

    def of(self, sink: str) -> dict[int, str]:
        """What is on a sink's list: reasons by seq."""
        return self.lists.get(sink, List()).reasons

    def tick(self, at: Stamp) -> Sequence[Body]:
        return ()

    def save(self) -> bytes:
        return msgspec.json.encode(self.lists)

    def restore(self, state: bytes) -> None:
        """Go on where a state was kept; one that cannot be read costs the list, not the records."""
        self.lists = read(state)


def read(state: bytes) -> dict[str, List]:
    """The lists as the fold kept them; empty where that cannot be read."""
    try:
        return msgspec.json.decode(state, type=dict[str, List])
    except msgspec.DecodeError as e:
        log.error("the list of refused records cannot be read: %s", e)
        return {}


class TakesAgain(Protocol):
    """What is needed of a follower (gateway.follow.Follower)."""

    @property
    def progress(self) -> Progress: ...

    def again(self, seqs: Iterable[int]) -> int: ...


class Appends(Protocol):
    def append(self, bodies: Sequence[Body]) -> object: ...


class Stamps(Protocol):
    def stamp(self) -> Stamp: ...


class Offers(Protocol):
    """What is needed of a station."""

    @property
    def refused(self) -> RefusedFold: ...
    @property
    def followers(self) -> Mapping[str, TakesAgain]: ...
    @property
    def journal(self) -> Appends: ...
    @property
    def clock(self) -> Stamps: ...


def offer(station: Offers, sink: str, only: Iterable[int]) -> list[int]:
    """Offer these records to the sink once more, as far as they are on its list and it has room. Gives which
    it took: the oldest. Does not block.
    """
    listed = station.refused.of(sink)
    seqs = sorted(seq for seq in set(only) if seq in listed)
    taken = seqs[: station.followers[sink].again(seqs)] if seqs else []
    if taken:  # the cursors and this event are kept by the same commit
        station.journal.append([Event(station.clock.stamp(), "retried", {"sink": sink, "seqs": taken})])
    return taken


def retry_verb(station: Offers) -> Callable[[Request], Awaitable[Answer]]:
    """The verb "retry": {"sink": …} lists, with "only": [seq, …] it offers those. See gateway.retry.

    The answer: {"sinks": {NAME: {"refused": {seq: reason}, "beyond": …, "history": …, "down": …}},
    "taken": [seq, …]}
    """

    async def retry(request: Request) -> Answer:
        return state(station, request.text("sink", ""), request.body.get("only"))

    return retry


def state(station: Offers, sink: str = "", only: object = None) -> Answer:
    """What `retry_verb` answers. Raises ControlError for a sink that is not there."""
    if sink and sink not in station.followers:
        there = ", ".join(station.followers) or "none"
        raise ControlError(f"there is no sink {sink!r}; there are: {there}")
    taken: list[int] = []
    if only is not None:
        if not sink or not isinstance(only, list) or not all(type(seq) is int for seq in only):
            raise ControlError("retry: only: a list of record numbers is needed, and a sink")
        taken = offer(station, sink, only)
    sinks = {}
    for name, follower in station.followers.items():
        progress, of = follower.progress, station.refused.lists.get(name, List())
        sinks[name] = {
            "refused": {str(seq): reason for seq, reason in of.reasons.items()},
            "beyond": of.beyond,
            "history": progress.history,
            "down": progress.last_error if progress.down_since_ms is not None else None,
        }
    return {"sinks": sinks, "taken": taken}
