"""The messages that are still to be sent, and what became of those that were: pure bookkeeping, kept with
the alarms' state.

    put ──► QUEUED ──"sending"──► SENDING ──"accepted"──► ACCEPTED ──"delivered" / "failed" / a day──► gone
              ▲                      ├──"retry"────► QUEUED, after a pause that grows to its ceiling
              │ ├──"unknown"──► QUEUED once more, marked as a repetition; the second time: gone
              │                      │              ("accepted" before that: a late answer told the end)
              └──────────────────────┴──"failed"───► gone

Nothing moves but by an outcome that stands in the journal. An outcome counts once: it names its attempt,
and what does not fit the row's state is ignored, so that showing a record twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from alerts.policy import Notice, rank
from alerts.rules import Priority

MOST_ROWS = 200
"""Messages kept at most; beyond it the least urgent is given up, and that is said."""
PAUSE_S = 10.0
PAUSE_CEILING_S = 600.0
REPEAT_AFTER_S = 60.0
"""After an attempt with an unknown end: time for a late delivery report."""
REPORT_WITHIN_S = 86_400.0
"""How long a delivery report is waited for."""

TELLING = (Notice.RAISE, Notice.FLAPPING, Notice.ESCALATE)
"""The notices by which a contact first learns of an alarm."""
_ORDER = {Notice.CLEAR: 1, Notice.REMIND: 2}


class RowState(StrEnum):
    QUEUED = "queued"
    SENDING = "sending"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Row:
    """One message to one contact. `reference` is the concatenation number (per contact, kept over
    restarts).
    """

    id: str
    rule: str
    occurrence: int
    notice: Notice
    contact: str
    priority: Priority
    text: str
    segments: int
    reason: str
    due_ms: int
    expires_ms: int
    reference: int
    made: int
    state: RowState = RowState.QUEUED
    attempts: int = 0
    repeat: bool = False


@dataclass(slots=True)
class Outbox:
    """The rows by id. `references` counts per contact, `made` over all."""

    rows: dict[str, Row] = field(default_factory=dict)
    references: dict[str, int] = field(default_factory=dict)
    made: int = 0

    def put(self, row: Row) -> Row | None:
        """Add a row whose id is new. Gives the row that had to go because the outbox is full: another, or
        this one.
        """
        if row.id in self.rows:
            return None
        self.rows[row.id] = row
        if len(self.rows) <= MOST_ROWS:
            return None
        reported = [old for old in self.rows.values() if old.state is RowState.ACCEPTED]
        if reported:  # these were sent; only their reports are still waited for
            del self.rows[min(reported, key=lambda old: old.made).id]
            return None
        queued = [old for old in self.rows.values() if old.state is RowState.QUEUED]
        least = max(queued, key=lambda old: (*_urgency(old), old.made))
        del self.rows[least.id]
        return least

    def number(self, contact: str) -> int:
        """The next concatenation number for a contact: two messages to one phone never share one at one
        time.
        """
        self.references[contact] = (self.references.get(contact, 0) + 1) % 256
        return self.references[contact]

    def next(self, now_ms: int) -> Row | None:
        """The most urgent message that is due."""
        return min(self._ready(now_ms), key=lambda row: (*_urgency(row), row.due_ms, row.made), default=None)

    def next_due_ms(self) -> int | None:
        """When the earliest of the queued messages is due."""
        return min((row.due_ms for row in self._queued() if not self._waits(row)), default=None)

    def sending(self) -> list[Row]:
        """Rows whose attempt has begun and not ended. At start these are the ones that nobody can tell the
        end of.
        """
        return [row for row in self.rows.values() if row.state is RowState.SENDING]

    def apply(self, row_id: str, outcome: str, attempt: int, now_ms: int) -> list[Row]:
        """Take an outcome into account. Gives rows that need not be sent any more because of it."""
        row = self.rows.get(row_id)
        if row is None:
            return []
        if outcome == "sending":
            if row.state is RowState.QUEUED and attempt == row.attempts + 1:
                self.rows[row_id] = replace(row, state=RowState.SENDING, attempts=attempt)
            return []
        if outcome in ("delivered", "failed", "withdrawn") and row.state is not RowState.SENDING:
            del self.rows[row_id]
            return []
        was_sent = outcome == "accepted" and row.repeat and row.state is RowState.QUEUED
        if attempt != row.attempts or not (was_sent or row.state is RowState.SENDING):
            return []
        match outcome:
            case "accepted":
                expires_ms = now_ms + int(REPORT_WITHIN_S * 1000)
                self.rows[row_id] = replace(row, state=RowState.ACCEPTED, expires_ms=expires_ms)
            case "delivered":
                del self.rows[row_id]
            case "retry":
                pause_ms = int(min(PAUSE_S * 2 ** min(row.attempts - 1, 16), PAUSE_CEILING_S) * 1000)
                self.rows[row_id] = replace(row, state=RowState.QUEUED, due_ms=now_ms + pause_ms)
            case "unknown" if not row.repeat:
                due_ms = now_ms + int(REPEAT_AFTER_S * 1000)
                self.rows[row_id] = replace(row, state=RowState.QUEUED, due_ms=due_ms, repeat=True)
            case "unknown":
                del self.rows[row_id]
            case "failed":
                del self.rows[row_id]
                return self._withdraw_clear(row)
        return []

    def expire(self, now_ms: int) -> list[Row]:
        """Remove what has outlived its use; gives those that were never sent, and what need not follow
        them.
        """
        late = [row for row in self.rows.values() if row.expires_ms <= now_ms]
        gone = []
        for row in late:
            if row.state is RowState.SENDING:
                continue  # its end is still to be told
            if self.rows.pop(row.id, None) is not None and row.state is RowState.QUEUED:
                gone.append(row)
                gone += self._withdraw_clear(row)
        return gone

    def withdraw(self, rule: str, now_ms: int) -> tuple[list[Row], set[str]]:
        """The alarm is over: drop reminders, and what quiet hours still hold back.

        Gives those rows, and the contacts who thus were never told, so that no "back to normal" follows.
        """
        gone, untold = [], set()
        for row in [row for row in self._queued() if row.rule == rule and row.attempts == 0]:
            held = row.notice in TELLING and row.due_ms > now_ms
            if held or row.notice is Notice.REMIND:
                del self.rows[row.id]
                gone.append(row)
            if held:
                untold.add(row.contact)
        return gone, untold

    def is_waiting(self, rule: str, occurrence: int, contact: str) -> bool:
        """Whether something about this occurrence is still on its way to the contact: then a reminder is
        pointless.
        """
        return any(
            row.rule == rule and row.occurrence == occurrence and row.contact == contact
            for row in self.rows.values()
            if row.state is not RowState.ACCEPTED
        )

    def _queued(self) -> Iterator[Row]:
        return (row for row in self.rows.values() if row.state is RowState.QUEUED)

    def _ready(self, now_ms: int) -> Iterator[Row]:
        return (row for row in self._queued() if row.due_ms <= now_ms and not self._waits(row))

    def _waits(self, row: Row) -> bool:
        """A "back to normal" never overtakes the alarm it belongs to."""
        return row.notice is Notice.CLEAR and any(self._tellings(row))

    def _tellings(self, row: Row) -> Iterator[Row]:
        return (
            other
            for other in self.rows.values()
            if other.state is not RowState.ACCEPTED
            and other.notice in TELLING
            and (other.rule, other.contact) == (row.rule, row.contact)
            and other.occurrence <= row.occurrence
        )

    def _withdraw_clear(self, row: Row) -> list[Row]:
        """The contact never got the alarm: then not its end either."""
        if row.notice not in TELLING:
            return []
        clear = self.rows.get(f"{row.rule}/{row.occurrence}/{Notice.CLEAR}/{row.contact}")
        if clear is None or clear.state is not RowState.QUEUED or any(self._tellings(clear)):
            return []
        del self.rows[clear.id]
        return [clear]


def _urgency(row: Row) -> tuple[int, int]:
    return rank(row.priority), _ORDER.get(row.notice, 0)
