"""Hands over the messages of the alarms, one at a time, the most urgent first.

    outbox ──► SmsSender
                  │ Event("sms", sending)    durable before the path is touched
                  │ path.send
                  └ Event("sms", accepted | retry | failed | unknown)    durable before the next message

Why nothing is sent twice: a row is handed over only after "sending" is on the disk, so whatever a restart
finds queued never reached the modem. What it finds "sending" nobody can know: that is UNKNOWN, and leads to
one repetition, marked as such in its text, and never to a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from alerts.alphabet import TextError
from alerts.cms import SmsError, SmsFix, SmsRefused, SmsRetry, SmsUnknown
from alerts.outbox import Row
from alerts.paths import SmsUnknownTwice
from alerts.pdu import NumberError
from alerts.rules import Priority
from gateway.alarms import AlarmFold, without_codes
from gateway.model import Body, Event, Record, Stamp

log = logging.getLogger(__name__)

SEND_WITHIN_S = 900.0
"""Only against a path that never returns; each path has tighter deadlines of its own."""
PATH_PAUSE_S = 5.0
PATH_PAUSE_CEILING_S = 60.0
"""After a failure nothing is sent for so long, doubling up to the ceiling: a network that refuses is not
stormed.
"""
VALID_LEAST_H, VALID_MOST_H = 4.0, 24.0
"""So long the network goes on trying to deliver what it took: as long as the message is worth sending."""
LOOK_AGAIN_S = 0.5
LATE_KEPT = 50
LOOKED_WITHIN_S = 30.0
"""So long a repetition waits, after a start, for somebody to look whether its first attempt was delivered."""
LISTEN_S = 1.0


class JournalDoor(Protocol):
    """What the sender needs of gateway.journal.Journal."""

    def append(self, bodies: Sequence[Body]) -> list[Record]: ...

    async def sync(self) -> None: ...


class Sent(Protocol):
    """What a path says of a message it took: its reference for each part."""

    @property
    def references(self) -> Sequence[int | str]: ...


class SmsPath(Protocol):
    """A way by which SMS leave the station: a modem, a provider, several in order.

    A path whose `send` also has `message_id`, `urgent`, `validity_h` or `before` (which path may have sent
    it) is told them. One with `begins` waits for it before it lets one of several ways have the message; one
    with `first` can go on where a message was broken off.
    """

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
        self.looked: asyncio.Event | None = None
        """Set when the delivery reports that came while we were away have been read; None: nobody does."""
        self._failures = 0
        self._late: list[tuple[str, int]] = []
        self._understands = set(inspect.signature(path.send).parameters)

    def heard(self, late: Sequence[LateAnswer]) -> None:
        """These messages of unknown end were sent after all: who listens to the modem says so."""
        self._late += [(one.to, one.reference) for one in late]
        del self._late[:-LATE_KEPT]

    async def run(self) -> None:
        """Send until cancelled. Raises JournalError."""
        for row in self._fold.watch.memory.outbox.sending():
            said = "interrupted; it may have been sent"
            await self._record(row, row.attempts, "unknown", error=said, path=row.trying or self._name)
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
        if row.repeat:
            if await self._came_late(row, contact.phone):
                await self._record(row, row.attempts, "accepted", parts=1, why="a late answer: it was sent")
                return
            if self._fold.watch.memory.outbox.rows.get(row.id) is not row:
                return  # meanwhile its delivery was reported
        attempt = row.attempts + 1

        async def begins(path: str) -> None:
            await self._record(row, attempt, "sending", path=path)

        if "begins" not in self._understands:
            await begins(self._name)
        more: dict[str, Any] = {"message_id": row.id, "first": len(row.taken) + 1}
        more |= {"urgent": row.priority is Priority.CRITICAL, "before": row.path}
        left_h = (row.expires_ms - self._fold.now(self._stamp()).ms) / 3_600_000
        more["validity_h"] = min(max(left_h, VALID_LEAST_H), VALID_MOST_H)
        more["begins"] = begins
        more = {name: value for name, value in more.items() if name in self._understands}
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                text = self._fold.watch.mail.text_of(row)
                sent = await self._path.send(contact.phone, text, reference=row.reference, **more)
        except TimeoutError:
            await self._failed(row, attempt, SmsUnknown("the path did not answer at all"))
        except SmsError as e:
            await self._failed(row, attempt, e)
        except NumberError:  # which names the number
            await self._failed(row, attempt, SmsRefused("the contact's number is no telephone number"))
        except TextError as e:
            await self._failed(row, attempt, SmsRefused(str(e)))
        else:
            if self._failures:
                log.info("sms: %s sends again", self._name)
            self._failures = 0
            references = list(sent.references)
            path = str(getattr(sent, "path", self._name))
            await self._record(
                row, attempt, "accepted", parts=len(references), reference=references, path=path
            )

    async def _came_late(self, row: Row, phone: str) -> bool:
        """Whether the path meanwhile heard that the attempt with the unknown end had succeeded."""
        if self.looked is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOKED_WITHIN_S):
                    await self.looked.wait()
        if isinstance(self._path, HearsLate):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_S):  # somebody else may be listening for longer
                    await self._path.listen(LISTEN_S)
            self.heard(self._path.take_late())
        return row.segments == 1 and (phone, row.reference) in self._late

    async def _failed(self, row: Row, attempt: int, error: SmsError) -> None:
        said = self._discreet(row, str(error))
        if self._failures == 0:
            log.warning("sms: %s: %s", self._name, said)
        outcome = _outcome_of(error, row, attempt, resumes="first" in self._understands)
        more: dict[str, Any] = {"error": said}
        if error.taken:
            more["reference"] = list(error.taken)
        if error.path:
            more["path"] = error.path
        if isinstance(error, SmsUnknownTwice):
            more["final"] = True
        await self._record(row, attempt, outcome, **more)
        if isinstance(error, SmsRefused):
            return  # this message only: the path itself works
        self._failures += 1
        await asyncio.sleep(min(PATH_PAUSE_S * 2 ** min(self._failures - 1, 8), PATH_PAUSE_CEILING_S))

    def _discreet(self, row: Row, said: str) -> str:
        """What a path says, without the number and the codes, which it may have repeated."""
        contact, memory = self._fold.watch.contacts.get(row.contact), self._fold.watch.memory
        if contact is not None:
            said = re.sub(rf"\+?\d*{re.escape(contact.phone[-9:])}", "(the number)", said)
        return without_codes(said.replace(row.text, "(the text)"), memory)

    async def _record(self, row: Row, attempt: int, state: str, **more: Any) -> None:
        """Write down, durably, what becomes of a message; the fold takes it from there."""
        detail = {"id": row.id, "rule": row.rule, "occurrence": row.occurrence, "to": row.contact}
        detail |= {"state": state, "attempt": attempt, "path": self._name} | more
        self._journal.append([Event(self._stamp(), "sms", detail)])
        await self._journal.sync()


def _outcome_of(error: SmsError, row: Row, attempt: int, *, resumes: bool) -> str:
    match error:
        case SmsRefused():
            return "failed"
        case SmsRetry() | SmsFix() if error.taken and not resumes:
            return "unknown"  # a part of it went: sent again, it comes twice, so it must say so
        case SmsRetry() if row.priority is Priority.CRITICAL:
            return "retry"  # ever more slowly, but as long as it is worth sending
        case SmsRetry() if error.tries is not None and attempt >= error.tries:
            return "failed"
        case SmsRetry() | SmsFix():
            return "retry"
    return "unknown"
