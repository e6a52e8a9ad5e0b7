"""The messages that are still to be sent, and what became of those that were: pure bookkeeping, kept with
the alarms' state.

    put ──► QUEUED ──"sending"──► SENDING ──"accepted"──► ACCEPTED ──every part "delivered" / a day──► gone
              ▲                      ├──"retry"────► QUEUED, after a pause that grows to its ceiling;
              │                      │               only the parts that are not yet taken
              │ ├──"unknown"──► QUEUED once more, marked as a repetition; the second time: gone
              │                      │              ("accepted" or "delivered" before that: it had gone)
              └──────────────────────┴──"failed"───► gone

Several rows for one contact may go as one message: a digest, of which they are members (`group`). They do
what it does. Nothing moves but by an outcome that stands in the journal. An outcome counts once: it names its
attempt, and what does not fit the row's state is ignored, so that showing a record twice changes nothing.
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
_ORDER = {Notice.CLEAR: 1, Notice.REMIND: 2, Notice.LIFE: 3}


class RowState(StrEnum):
    QUEUED = "queued"
    SENDING = "sending"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Row:
    """One message to one contact. `reference` is the concatenation number (per contact, kept over
    restarts).

    `bundle`: it waits for others to go with, and `brief` is what a digest says of it (or only its `sensor`).
    `taken` are the path's references of the parts that it took, from the first on; `reported` the parts known
    to be delivered. `path` is the way by which it went, or may have gone; `trying` the one that
    has it now, while the state is SENDING.
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
    bundle: bool = False
    brief: str = ""
    sensor: str = ""
    group: str = ""
    taken: tuple[int | str, ...] = ()
    reported: tuple[int, ...] = ()
    path: str = ""
    trying: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt, as the journal has it. `references`: of the parts that were taken.

    `part`: which one a report is about (0: all of it). `final`: an unknown end that must not be repeated.
    """

    state: str
    attempt: int = 0
    references: tuple[int | str, ...] = ()
    part: int = 0
    path: str = ""
    final: bool = False


@dataclass(slots=True)
class Outbox:
    """The rows by id. `references` counts per contact, `made` over all."""

    rows: dict[str, Row] = field(default_factory=dict)
    references: dict[str, int] = field(default_factory=dict)
    made: int = 0

    def put(self, row: Row) -> list[Row]:
        """Add a row whose id is new. Gives the rows that had to go because the outbox is full, perhaps this
        one.
        """
        if row.id in self.rows:
            return []
        self.rows[row.id] = row
        if len(self.rows) <= MOST_ROWS:
            return []
        reported = [old for old in self.rows.values() if old.state is RowState.ACCEPTED]
        if reported:  # these were sent; only their reports are still waited for
            del self.rows[min(reported, key=lambda old: old.made).id]
            return []
        queued = [old for old in self.rows.values() if old.state is RowState.QUEUED and not old.group]
        least = max(queued, key=lambda old: (*_urgency(old), old.made))
        members = self.members(least)
        return [*members, *self._give_up(least)]

    def number(self, contact: str) -> int:
        """The next concatenation number for a contact: two messages to one phone never share one at one
        time.
        """
        self.references[contact] = (self.references.get(contact, 0) + 1) % 256
        return self.references[contact]

    def next(self, now_ms: int) -> Row | None:
        """The most urgent message that is due."""
        ready = (row for row in self._queued() if row.due_ms <= now_ms and not row.bundle)
        return min(
            (row for row in ready if not self._waits(row)),
            key=lambda row: (*_urgency(row), row.due_ms, row.made),
            default=None,
        )

    def next_due_ms(self) -> int | None:
        """When the earliest of the messages is due that do not wait for others."""
        waiting = (row for row in self._queued() if not row.bundle and not self._waits(row))
        return min((row.due_ms for row in waiting), default=None)

    def due_bundles(self, now_ms: int) -> dict[str, list[Row]]:
        """By contact the rows that have waited long enough for others to go with."""
        found: dict[str, list[Row]] = {}
        for row in self._queued():
            if row.bundle and row.due_ms <= now_ms and not self._waits(row):
                found.setdefault(row.contact, []).append(row)
        return found

    def bundled(self, contact: str) -> list[Row]:
        """The rows for a contact that wait for others to go with."""
        return [row for row in self._queued() if row.bundle and row.contact == contact]

    def join(self, digest: Row, members: list[Row]) -> list[Row]:
        """Let these rows go as one message. Gives what `put` gives."""
        for row in members:
            self.rows[row.id] = replace(row, group=digest.id, bundle=False)
        return self.put(digest)

    def alone(self, row: Row) -> None:
        """This one goes by itself after all."""
        self.rows[row.id] = replace(row, bundle=False)

    def members(self, row: Row) -> list[Row]:
        """The rows that go with a digest; of another row itself."""
        return [old for old in self.rows.values() if old.group == row.id] or [row]

    def sending(self) -> list[Row]:
        """Rows whose attempt has begun and not ended. At start these are the ones that nobody can tell the
        end of.
        """
        return [row for row in self.rows.values() if row.state is RowState.SENDING and not row.group]

    def segments_waiting(self, contact: str) -> int:
        """What is still to be sent to a contact, in segments."""
        return sum(row.segments for row in self.rows.values() if self._costs(row, contact))

    def apply(self, row_id: str, outcome: Outcome, now_ms: int) -> list[Row]:
        """Take an outcome into account. Gives rows that need not be sent any more because of it."""
        row = self.rows.get(row_id)
        if row is None or row.group:
            return []
        if outcome.state == "sending":
            if outcome.attempt == row.attempts + (row.state is RowState.QUEUED):
                self._set(replace(row, state=RowState.SENDING, attempts=outcome.attempt, trying=outcome.path))
            return []
        if outcome.state in ("delivered", "undelivered", "withdrawn"):
            return self._reported(row, outcome)
        if outcome.state == "failed" and row.state is RowState.QUEUED:
            return self._give_up(row)
        was_sent = outcome.state == "accepted" and row.repeat and row.state is RowState.QUEUED
        if outcome.attempt != row.attempts or not (was_sent or row.state is RowState.SENDING):
            return []
        match outcome.state:
            case "accepted":
                self._accepted(row, outcome, now_ms)
            case "retry":
                pause_ms = int(min(PAUSE_S * 2 ** min(row.attempts - 1, 16), PAUSE_CEILING_S) * 1000)
                taken = (*row.taken, *outcome.references)
                path = outcome.path if outcome.references else row.path
                row = replace(row, state=RowState.QUEUED, due_ms=now_ms + pause_ms, taken=taken, path=path)
                self._set(row)
            case "unknown" if len(row.reported) >= row.segments:
                self._remove(row)  # the reports were quicker than the answer
            case "unknown" if not (row.repeat or outcome.final):
                due_ms = now_ms + int(REPEAT_AFTER_S * 1000)
                # A marked text is another text: its parts must not be put together with those of the first.
                number = self.number(row.contact) if row.segments > 1 else row.reference
                row = replace(row, state=RowState.QUEUED, due_ms=due_ms, repeat=True, taken=(), reported=())
                self._set(replace(row, reference=number, path=outcome.path))
            case "unknown":
                self._remove(row)
            case "failed":
                return self._give_up(row)
        return []

    def again_now(self, now_ms: int) -> None:
        """The path sends again: what failed meanwhile need not wait for the end of its pause."""
        for row in [row for row in self._queued() if row.attempts and not row.repeat and not row.bundle]:
            if row.due_ms > now_ms:
                self._set(replace(row, due_ms=now_ms))

    def expire(self, now_ms: int) -> list[Row]:
        """Remove what has outlived its use; gives those that were never sent, and what need not follow
        them.
        """
        late = [row for row in self.rows.values() if row.expires_ms <= now_ms and not row.group]
        gone = []
        for row in late:
            if row.state is RowState.SENDING or row.id not in self.rows:
                continue  # its end is still to be told
            if row.state is RowState.ACCEPTED:
                self._remove(row)
                continue
            members = self.members(row)
            clears = self._give_up(row)
            gone += [*members, *clears]
        return gone

    def withdraw(self, rule: str, now_ms: int, *, whole: bool = False) -> tuple[list[Row], set[str]]:
        """The alarm is over: drop reminders, and what quiet hours or a bundle still hold back. `whole`: drop
        all that has not been tried.

        Gives those rows, and the contacts who thus were never told, so that no "back to normal" follows.
        """
        gone, untold = [], set()
        for row in [row for row in self._queued() if row.rule == rule and row.attempts == 0]:
            held = row.notice in TELLING and (whole or row.due_ms > now_ms or row.bundle)
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

    def has_gone(self, rule: str, told: tuple[str, ...]) -> bool:
        """Whether to any of these the message by which they learn of the rule's alarm has left."""
        waiting = {row.contact for row in self.rows.values()
                   if row.rule == rule and row.notice in TELLING and row.state is not RowState.ACCEPTED
                   and not row.repeat}  # fmt: skip
        return any(contact not in waiting for contact in told)

    def accepted(self) -> list[Row]:
        """Messages whose delivery report is waited for."""
        return [row for row in self.rows.values() if row.state is RowState.ACCEPTED]

    def unknown(self) -> list[Row]:
        """Messages that may have gone, and wait to be repeated."""
        return [row for row in self._queued() if row.repeat]

    def find(self, contact: str, reference: int) -> Row | None:
        """The message that a delivery report of this concatenation number is about: the latest one."""
        mine = (row for row in self.rows.values() if row.contact == contact and row.reference == reference)
        sent = (row for row in mine if not row.group and row.attempts)
        return max(sent, key=lambda row: row.made, default=None)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _queued(self) -> Iterator[Row]:
        return (row for row in self.rows.values() if row.state is RowState.QUEUED and not row.group)

    def _set(self, row: Row) -> None:
        """Change a row, and the members of a digest with it."""
        for old in self.members(row):
            if old.id != row.id:
                self.rows[old.id] = replace(old, state=row.state, attempts=row.attempts)
        self.rows[row.id] = row

    def _remove(self, row: Row) -> None:
        for old in self.members(row):
            self.rows.pop(old.id, None)
        self.rows.pop(row.id, None)

    def _give_up(self, row: Row) -> list[Row]:
        members = self.members(row)
        self._remove(row)
        return [clear for old in members for clear in self._withdraw_clear(old)]

    def _accepted(self, row: Row, outcome: Outcome, now_ms: int) -> None:
        for old in self.members(row):
            if old.id != row.id:
                del self.rows[old.id]
        taken = (*row.taken, *outcome.references)
        expires_ms = now_ms + int(REPORT_WITHIN_S * 1000)
        row = replace(row, state=RowState.ACCEPTED, expires_ms=expires_ms, taken=taken, path=outcome.path)
        self.rows[row.id] = row
        if len(row.reported) >= row.segments:  # the reports were quicker
            self._remove(row)

    def _reported(self, row: Row, outcome: Outcome) -> list[Row]:
        """A report about a part or the whole; what was withdrawn. A repetition that waits is needless when
        its first attempt was delivered.
        """
        reported = tuple(sorted({*row.reported, outcome.part} - {0}))
        under_way = row.state is RowState.SENDING
        if outcome.state == "delivered" and outcome.part and (under_way or len(reported) < row.segments):
            self.rows[row.id] = replace(row, reported=reported)
            return []
        if under_way or (outcome.state == "undelivered" and row.state is RowState.QUEUED):
            return []  # its end is still to be told; or the first attempt came to nothing and is repeated
        if outcome.state == "delivered" or row.state is RowState.ACCEPTED:
            self._remove(row)
            return []
        return self._give_up(row)

    def _costs(self, row: Row, contact: str) -> bool:
        return row.contact == contact and row.state is not RowState.ACCEPTED and not row.group

    def _waits(self, row: Row) -> bool:
        """A "back to normal" never overtakes the alarm it belongs to."""
        together = (told for told in self._tellings(row) if not (row.bundle and told.bundle))
        return row.notice is Notice.CLEAR and any(together)

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
        self._remove(clear)
        return [clear]


def _urgency(row: Row) -> tuple[int, int]:
    return rank(row.priority), _ORDER.get(row.notice, 0)
