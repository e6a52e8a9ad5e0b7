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
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

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
    """What is needed of a follower."""

    def again(self, seqs: Iterable[int]) -> int: ...


class Offered(msgspec.Struct, frozen=True):
    """What became of a wish to retry, for one sink. `left` are still on the list: ask again in a while."""

    offered: int
    left: int


def offer(
    fold: RefusedFold,
    followers: Mapping[str, TakesAgain],
    append: Callable[[Sequence[Body]], object],
    at: Stamp,
    only: Iterable[int] | None = None,
) -> dict[str, Offered]:
    """Offer what was refused once more, to each of these followers as much as it takes now. `only` these
    records, where it is given. Does not block.
    """
    wanted = None if only is None else set(only)
    said = {}
    for name, follower in followers.items():
        of = fold.lists.get(name, List())
        seqs = sorted(seq for seq in of.reasons if wanted is None or seq in wanted)
        taken = follower.again(seqs) if seqs else 0
        if taken:  # it takes the oldest; the cursors and this event are kept by the same commit
            append([Event(at, "retried", {"sink": name, "seqs": seqs[:taken]})])
        said[name] = Offered(taken, len(seqs) - taken)
    return said
