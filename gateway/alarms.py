"""Alarms in the station: a fold of the journal that watches the rules, and the task that hands over its
messages.

    reading, sensor event ──► AlarmFold ──► Event("alarm")   what changed
                                        └─► Event("notify") a message to send, once per
                                        rule/occurrence/kind/contact
                                                 │
                              SmsSender ◄────────┘ outbox
                                   │ Event("sms", sending)    durable before the modem is touched
                                   │ path.send
                                   └ Event("sms", accepted | retry | failed | unknown) durable before the
                                   next message

Why nothing is lost: a message is a row of the fold's state, which the journal commits together with the
reading that caused it; it leaves that state only by an outcome that is in the journal. Why nothing is sent
twice: a row is handed over only after "sending" is on the disk, so whatever a restart finds queued never
reached the modem. What it finds "sending" nobody can know: that is UNKNOWN, and leads to one repetition,
marked as such in its text, and never to a second.

The fold has a time scale of its own (`Steady`): the boot's steady clock within a boot, and over a restart
what UTC says if the clock was right before and after. Neither a clock step nor a wrong clock moves a delay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from alerts.alphabet import TextError
from alerts.cms import SmsError, SmsFix, SmsRefused, SmsRetry, SmsUnknown
from alerts.outbox import Row
from alerts.pdu import NumberError
from alerts.rules import standing
from alerts.watch import Change, Dropped, Memory, Now, Said, Watch
from gateway.governor import ANSWERING
from gateway.model import Average, Body, Event, Flag, Reading, Record, Stamp

log = logging.getLogger(__name__)

SEND_WITHIN_S = 900.0
"""Only against a path that never returns; each path has tighter deadlines of its own."""
PATH_PAUSE_S = 5.0
PATH_PAUSE_CEILING_S = 60.0
"""After a failure nothing is sent for so long, doubling up to the ceiling: a network that refuses is not
stormed.
"""
LOOK_AGAIN_S = 0.5
LATE_KEPT = 50
LISTEN_S = 1.0
_LONG_AGO_MS = 10**10
_BAD = (Flag.FAIL, Flag.MISSING)


class Steady(msgspec.Struct):
    """The alarms' time scale: a moment of it, and the stamp of that moment."""

    ms: int = 0
    stamp: Stamp | None = None

    def place(self, stamp: Stamp, *, newly_started: bool) -> int:
        """Where a stamp lies on the scale. The scale moves on with the latest stamp, never back.

        A stamp of another boot is that of the present one if nothing was heard since the start
        (`newly_started`); later it belongs to a record that was held back, so it is history.
        """
        last = self.stamp
        if last is None:
            self.stamp = stamp
            return self.ms
        both_right = last.synced and stamp.synced
        if stamp.boot == last.boot:
            at_ms = self.ms + stamp.mono_ms - last.mono_ms
        elif newly_started:
            passed_ms = max(0, stamp.utc_ms - last.utc_ms) if both_right else 0
            self.ms, self.stamp = self.ms + passed_ms, stamp
            return self.ms
        else:
            return self.ms + (min(0, stamp.utc_ms - last.utc_ms) if both_right else -_LONG_AGO_MS)
        if at_ms >= self.ms:
            self.ms, self.stamp = at_ms, stamp
        return at_ms


class Kept(msgspec.Struct):
    """What the fold remembers, as the journal keeps it."""

    steady: Steady
    memory: Memory


class AlarmFold:
    """The rules' states and the outbox, moved only by records and by time. See gateway.journal.Fold.

    `more` is set when there may be something to send.
    """

    name = "alarms"

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.more = asyncio.Event()
        self._steady = Steady()
        self._newly_started = True

    def step(self, record: Record) -> Sequence[Body]:
        """See one record. Its own events pass without effect."""
        body = record.body
        if isinstance(body, Reading):
            at_ms, now = self._now(body.at)
            values = {name: (value.value, value.flag not in _BAD) for name, value in body.values.items()}
            return self._bodies(body.at, now, self.watch.see_values(body.sensor, at_ms, values, now))
        if isinstance(body, Average):
            return ()  # a rule over a length has its own running mean, which need not wait for a window's end
        match body.what:
            case "sensor":
                at_ms, now = self._now(body.at)
                works = body.detail.get("state") in ANSWERING
                said = self.watch.see_health(str(body.detail.get("sensor")), at_ms, works, now)
            case "acknowledge":
                _, now = self._now(body.at)
                said = self.watch.acknowledge(str(body.detail.get("rule")), str(body.detail.get("by")), now)
            case "sms":
                said = self._outcome(body)
                _, now = self._now(body.at)
            case _:
                return ()
        return self._bodies(body.at, now, said)

    def tick(self, at: Stamp) -> Sequence[Body]:
        """See that time passes."""
        _, now = self._now(at)
        self._newly_started = False
        return self._bodies(at, now, self.watch.tick(now))

    def save(self) -> bytes:
        """All of it as JSON."""
        return msgspec.json.encode(Kept(self._steady, self.watch.memory))

    def restore(self, state: bytes) -> None:
        """Go on where a state was kept. One that cannot be read (of another version) is said and left: an
        alarm system that begins anew is better than none.
        """
        try:
            kept = msgspec.json.decode(state, type=Kept)
        except msgspec.DecodeError as e:
            log.error("alarms: the kept state cannot be read, beginning anew: %s", e)
            kept = Kept(Steady(), Memory())
        self._steady, self.watch.memory = kept.steady, kept.memory
        self._newly_started = True
        self.more.set()

    def standing(self) -> list[dict[str, Any]]:
        """Every rule with its present state, for the page, the command line and MQTT."""
        now = self._present()
        states = self.watch.memory.states
        rows = []
        for rule in self.watch.rules.values():
            state = states.get(rule.id)
            row: dict[str, Any] = {"rule": rule.id, "sensor": rule.sensor, "quantity": rule.quantity}
            row |= {"unit": rule.unit, "priority": str(rule.priority)}
            if state is None:
                rows.append(row | {"state": "normal", "occurrence": 0})
                continue
            since_ms = now.utc_ms - (now.ms - state.since_ms)
            row |= {"state": standing(state), "occurrence": state.occurrence, "since_ms": since_ms}
            rows.append(row | {"value": state.value, "limit": state.limit})
        return rows

    def next_row(self) -> Row | None:
        """The message to send now, if there is one."""
        return self.watch.memory.outbox.next(self._steady.ms)

    def next_in_s(self) -> float | None:
        """In how long the next message is due; None when none waits."""
        due_ms = self.watch.memory.outbox.next_due_ms()
        return None if due_ms is None else max(0.0, (due_ms - self._steady.ms) / 1000)

    def _now(self, stamp: Stamp) -> tuple[int, Now]:
        at_ms = self._steady.place(stamp, newly_started=self._newly_started)
        return at_ms, self._present()

    def _present(self) -> Now:
        stamp = self._steady.stamp
        if stamp is None:
            return Now(self._steady.ms, 0, sure=False)
        return Now(self._steady.ms, stamp.utc_ms, stamp.synced)

    def _outcome(self, event: Event) -> list[Said]:
        detail = event.detail
        row_id, outcome, attempt = detail.get("id"), detail.get("state"), detail.get("attempt", 0)
        _, now = self._now(event.at)
        if not (isinstance(row_id, str) and isinstance(outcome, str) and isinstance(attempt, int)):
            return []
        self.more.set()
        return self.watch.outcome(row_id, outcome, attempt, now)

    def _bodies(self, at: Stamp, now: Now, said: Sequence[Said]) -> Sequence[Body]:
        if not said:
            return ()
        bodies: list[Body] = []
        for one in said:
            match one:
                case Change():
                    bodies.append(Event(at, "alarm", _change_detail(one, now)))
                case Row():
                    self.more.set()
                    bodies.append(Event(at, "notify", _row_detail(one, now)))
                case Dropped():
                    detail = {"id": one.row.id, "to": one.row.contact, "state": "withdrawn", "error": one.why}
                    bodies.append(Event(at, "sms", detail))
        return bodies


class JournalDoor(Protocol):
    """What the sender needs of gateway.journal.Journal."""

    def append(self, bodies: Sequence[Body]) -> list[Record]: ...

    async def sync(self) -> None: ...


class Sent(Protocol):
    """What a path says of a message it took: its reference for each part."""

    @property
    def references(self) -> Sequence[int | str]: ...


class SmsPath(Protocol):
    """A way by which SMS leave the station: a modem, a provider."""

    async def send(self, to: str, text: str, *, reference: int) -> Sent:
        """Hand one message over; return when it was taken. `reference` numbers it for the recipient (0 to
        255).

        Raises SmsRetry, SmsFix, SmsRefused when it was certainly not taken, SmsUnknown when nobody knows.
        """
        ...


class LateAnswer(Protocol):
    """A message of unknown end that was sent after all: its recipient and the reference it was given."""

    @property
    def to(self) -> str: ...

    @property
    def reference(self) -> int: ...


@runtime_checkable
class HearsLate(Protocol):
    """A path that may hear of a message after its time."""

    async def listen(self, within_s: float) -> bool: ...

    def take_late(self) -> Sequence[LateAnswer]: ...


class SmsSender:
    """Hands over what the outbox holds, the most urgent first, one at a time. Belongs under `supervise`."""

    def __init__(
        self,
        journal: JournalDoor,
        fold: AlarmFold,
        path: SmsPath,
        stamp: Callable[[], Stamp],
        *,
        name: str = "modem",
    ) -> None:
        self._journal = journal
        self._fold = fold
        self._path = path
        self._stamp = stamp
        self._name = name
        self._failures = 0
        self._late: list[tuple[str, int]] = []

    async def run(self) -> None:
        """Send until cancelled. Raises JournalError."""
        for row in self._fold.watch.memory.outbox.sending():
            await self._record(row, row.attempts, "unknown", error="interrupted; it may have been sent")
        while True:
            self._fold.more.clear()
            row_to_send = self._fold.next_row()
            if row_to_send is not None:
                await self._send(row_to_send)
                continue
            wait_s = self._fold.next_in_s()
            try:
                async with asyncio.timeout(None if wait_s is None else max(wait_s, LOOK_AGAIN_S)):
                    await self._fold.more.wait()
            except TimeoutError:
                pass

    async def _send(self, row: Row) -> None:
        contact = self._fold.watch.contacts.get(row.contact)
        if contact is None:
            await self._record(row, 0, "failed", error="this contact is no longer in the configuration")
            return
        if row.repeat and await self._came_late(row, contact.phone):
            await self._record(row, row.attempts, "accepted", parts=1, why="a late answer: it was sent")
            return
        attempt = row.attempts + 1
        await self._record(row, attempt, "sending")
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                text = self._fold.watch.text_of(row)
                sent = await self._path.send(contact.phone, text, reference=row.reference)
        except TimeoutError:
            await self._failed(row, attempt, "unknown", SmsUnknown("the path did not answer at all"))
        except SmsError as e:
            await self._failed(row, attempt, _outcome_of(e, attempt), e)
        except (NumberError, TextError) as e:
            await self._failed(row, attempt, "failed", SmsRefused(str(e)))
        else:
            if self._failures:
                log.info("sms: %s sends again", self._name)
            self._failures = 0
            references = list(sent.references)
            await self._record(row, attempt, "accepted", parts=len(references), reference=references)

    async def _came_late(self, row: Row, phone: str) -> bool:
        """Whether the path meanwhile heard that the attempt with the unknown end had succeeded."""
        if isinstance(self._path, HearsLate):
            await self._path.listen(LISTEN_S)
            self._late += [(late.to, late.reference) for late in self._path.take_late()]
            del self._late[:-LATE_KEPT]
        return row.segments == 1 and (phone, row.reference) in self._late

    async def _failed(self, row: Row, attempt: int, outcome: str, error: SmsError) -> None:
        if self._failures == 0:
            log.warning("sms: %s: %s", self._name, error)
        await self._record(row, attempt, outcome, error=str(error))
        if isinstance(error, SmsRefused):
            return  # this message only: the path itself works
        self._failures += 1
        await asyncio.sleep(min(PATH_PAUSE_S * 2 ** min(self._failures - 1, 8), PATH_PAUSE_CEILING_S))

    async def _record(self, row: Row, attempt: int, state: str, **more: Any) -> None:
        """Write down, durably, what becomes of a message; the fold takes it from there."""
        detail = {"id": row.id, "rule": row.rule, "occurrence": row.occurrence, "to": row.contact}
        detail |= {"state": state, "attempt": attempt, "path": self._name, **more}
        self._journal.append([Event(self._stamp(), "sms", detail)])
        await self._journal.sync()


def _outcome_of(error: SmsError, attempt: int) -> str:
    if error.taken:
        return "unknown"  # a part of it went: sent again, it comes twice, so it must say so
    match error:
        case SmsRefused():
            return "failed"
        case SmsRetry() if error.tries is not None and attempt >= error.tries:
            return "failed"
        case SmsRetry() | SmsFix():
            return "retry"
    return "unknown"


def _change_detail(change: Change, now: Now) -> dict[str, Any]:
    rule, after = change.rule, change.after
    detail = {
        "rule": rule.id,
        "occurrence": after.occurrence,
        "what": str(change.what),
        "from": standing(change.before),
        "to": standing(after),
        "sensor": rule.sensor,
        "quantity": rule.quantity,
        "unit": rule.unit,
        "value": after.value,
        "limit": after.limit,
        "worst": after.worst,
        "priority": str(rule.priority),
        "since_ms": now.utc_ms - (now.ms - after.begin_ms),
    }
    return detail | ({"by": change.by} if change.by else {})


def _row_detail(row: Row, now: Now) -> dict[str, Any]:
    return {
        "id": row.id,
        "rule": row.rule,
        "occurrence": row.occurrence,
        "kind": str(row.notice),
        "to": row.contact,
        "reason": row.reason,
        "text": row.text,
        "segments": row.segments,
        "priority": str(row.priority),
        "due_ms": now.utc_ms + row.due_ms - now.ms,
    }
