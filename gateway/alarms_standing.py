"""The last Event "alarm" of each rule: what a retained topic must hold, though the event itself is long past.

A fold that derives nothing. A follower that jumps to the newest records (gateway.backfill) jumps over alarms
too; their last states are published all the same, from here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from gateway.model import Body, Event, Record, Stamp

log = logging.getLogger(__name__)

RULES = 500
"""Rules remembered; beyond, the one that was silent longest is forgotten."""


class LastAlarms:
    """See gateway.journal.Fold."""

    name = "last_alarms"

    def __init__(self) -> None:
        self._last: dict[str, Record] = {}

    def up_to(self, seq: int) -> list[Record]:
        """Those that are not beyond `seq`, oldest first."""
        return [record for record in self._last.values() if record.seq <= seq]

    def step(self, record: Record) -> Sequence[Body]:
        body = record.body
        if type(body) is Event and body.what == "alarm":
            rule = str(body.detail.get("rule", ""))
            self._last.pop(rule, None)
            self._last[rule] = record
            if len(self._last) > RULES:
                del self._last[next(iter(self._last))]
        return ()

    def tick(self, at: Stamp) -> Sequence[Body]:
        return ()

    def save(self) -> bytes:
        return msgspec.json.encode(list(self._last.values()))

    def restore(self, state: bytes) -> None:
        try:
            records = msgspec.json.decode(state, type=list[Record])
        except msgspec.DecodeError as e:
            log.error("last alarms: the kept state cannot be read, beginning anew: %s", e)
            records = []
        self._last = {}
        for record in records:
            self.step(record)
