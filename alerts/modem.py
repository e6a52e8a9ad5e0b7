"""The SMS modem: one more serial instrument, spoken to with AT commands in PDU mode.

    modem = Modem(Link("/dev/serial/by-id/…", Line(115200)), pin="1234")
    sent = await modem.send("+996555000001", "pH 4.1 < 6.5", reference=7)      # sent.references == (76,)

One send is one transaction for each part: AT+CMGS=n, the prompt within 10 s, the PDU, the result within 150
s, and nothing written meanwhile. What can go wrong is one of four errors (alerts.cms); after a time-out the
outcome is unknown, and an answer that comes later is never taken for the next message's. A modem that has
lost the thread climbs the ladder: resync, reopen the port, AT+CFUN=1,1, the power switch (a function given by
the owner).

Only one task at a time talks to the modem; others wait. `listen` gives way to everybody.

Sources: 3GPP TS 27.005, 3 (+CMGF, +CSCA, +CPMS, +CNMI, +CMGS, +CMGL, +CMGD), 3GPP TS 27.007, 7.2 (+CREG), 7.3
(+COPS), 8.2 (+CFUN), 8.3 (+CPIN), 8.5 (+CSQ), 8.65 (+CPINR), 10.1.22 (+CEREG). That a result can take 120 s:
Quectel's SMS manuals, AT+CMGS. That a character written meanwhile aborts the message: Fibocom's AT manuals.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from alerts.at import AtError, Restarted
from alerts.cms import SmsError, SmsFix, SmsRefused, SmsRetry, SmsUnknown, error_of
from alerts.modem_inbox import Expected, Place, Received, Report, assemble, join
from alerts.modem_session import Identity, PinTries, Session, Waits
from alerts.modem_values import Health, Inbox, Late, Sent
from alerts.pdu import Deliver, Part, PduError, decode, submit
from drivers.base import InstrumentError, NoAnswer, PortLost
from drivers.link import Link

__all__ = [
    "Health", "Identity", "Inbox", "Late", "Modem", "PinTries", "Received", "Report", "Sent", "SmsError",
    "SmsFix", "SmsRefused", "SmsRetry", "SmsUnknown", "Waits",
]  # fmt: skip

log = logging.getLogger(__name__)

NEARLY_FULL = 0.8
"""From this part of the store on, incomplete messages are given out, to make room."""


REGISTRATION = {
    0: "not registered", 1: "home", 2: "searching", 3: "denied", 4: "unknown", 5: "roaming",
    6: "home, SMS only", 7: "roaming, SMS only", 8: "emergency only",
}  # fmt: skip
_REGISTERED = {1, 5, 6, 7}


class Modem:
    """An SMS modem on a link.

    `pin`: the SIM's, tried once; `pin_tries` is what was kept of the tries of an earlier run; `on_pin` keeps
    it, durably: it is called before a PIN is given, and when its end is known. `smsc` replaces the message
    centre's number in the SIM. `power` switches the modem off and on, and returns when it is on.
    """

    def __init__(
        self,
        link: Link,
        *,
        pin: str | None = None,
        pin_tries: PinTries | None = None,
        on_pin: Callable[[PinTries], None] | None = None,
        smsc: str | None = None,
        validity_h: float = 24.0,
        waits: Waits | None = None,
        power: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.link = link
        self.validity_h = validity_h
        self.expected = Expected()
        self._session = Session(
            link, on_late=self._late_result, pin=pin, pin_tries=pin_tries or PinTries(),
            on_pin=on_pin, smsc=smsc, waits=waits or Waits(), power=power,
        )  # fmt: skip
        self._lock = asyncio.Lock()
        self._listener: asyncio.Task[None] | None = None
        self._wanted = 0  # tasks waiting for the modem
        self._open_question: tuple[str, int, int] | None = None
        self._late: list[Late] = []
        self._seen_s: dict[tuple[Place, str], float] = {}

    # ── what its owner asks ─────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> Identity:
        """Make the modem ready; other calls do so by themselves. Raises SmsRetry, SmsFix."""
        async with self._turn():
            await self._session.be_ready()
            return self._session.identity

    async def send(
        self, to: str, text: str, *, reference: int, report: bool = True, flash: bool = False, first: int = 1,
        validity_h: float | None = None,
    ) -> Sent:  # fmt: skip
        """Hand a message over to the network, part by part from part `first` on.

        Blocks for seconds as a rule, at most `Waits.prompt_s + Waits.result_s` for a part, and for the
        ladder. For `validity_h` the network goes on trying to deliver it. `to` is E.164. Two messages to one
        phone within a day need different `reference`s (0 to 255). Raises SmsRetry, SmsFix, SmsRefused,
        SmsUnknown (see alerts.cms; `part` and `taken` say how far it went), NumberError or TextError. When
        cancelled in the middle of a part, its fate is unknown.
        """
        hours = self.validity_h if validity_h is None else validity_h
        parts = submit(to, text, reference=reference, validity_h=hours, report=report, flash=flash)
        taken: list[int] = []
        async with self._turn():
            for part in parts[first - 1 :]:
                try:
                    taken.append(await self._send_part(part, to, reference))
                except SmsError as e:
                    e.part, e.taken = part.number, tuple(taken)
                    raise
                if report:
                    self.expected.sent(to, taken[-1], reference, part.number)
        return Sent(to, reference, tuple(taken), first, len(parts))

    async def listen(self, within_s: float) -> bool:
        """Wait for something to come, at most `within_s`; True when `inbox` or `take_late` is worth a call.

        Gives way whenever another task wants the modem. Never raises for the modem's sake: the next command
        will.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + within_s
        while not (self._session.at.events or self._late):
            left_s = deadline_s - loop.time()
            if left_s <= 0:
                return False
            async with self._lock:
                if self.link.is_open and not self._wanted:
                    await self._hear(left_s)
            if not self.link.is_open:
                await asyncio.sleep(min(left_s, 1.0))
        return True

    async def inbox(self) -> Inbox:
        """Read the store. What it gives stays there until `forget`. Raises SmsRetry, SmsFix."""
        async with self._turn():
            await self._session.be_ready()
            listed = await self._list()
            events = [self._session.at.events.popleft() for _ in range(len(self._session.at.events))]
            known = {place for place, _ in listed}
            for kind, memory, number in events:
                if kind == "CDSI" and (memory, number) not in known:
                    listed += await self._read((memory, number))
            used, size = await self._storage()
            reports = [((), line) for kind, line, _ in events if kind == "CDS"]
            return await self._sort(listed, reports, used, size)

    async def forget(self, *items: Received | Report) -> None:
        """Delete from the store what has been dealt with. Raises SmsRetry, SmsFix."""
        places = sorted(
            {place for item in items for place in item.places},
            key=lambda p: (p[0] != self._session.memory, p),
        )
        if not places:
            return
        async with self._turn():
            await self._session.be_ready()
            for place in places:
                await self._delete(place)

    async def health(self) -> Health:
        """Ask for registration, signal, operator and storage. Raises SmsRetry, SmsFix."""
        async with self._turn():
            await self._session.be_ready()
            states = []
            for command in ("CREG", "CEREG"):
                with contextlib.suppress(SmsError):
                    found = re.search(
                        r":\s*\d+\s*,\s*(\d+)",
                        " ".join(await self._session.ask(f"AT+{command}?", f"+{command}:")),
                    )
                    states += [int(found[1])] if found else []
            state = next((s for s in states if s in _REGISTERED), states[0] if states else 4)
            used, size = await self._storage()
            return Health(
                state in _REGISTERED,
                REGISTRATION.get(state, "unknown"),
                await self._signal(),
                await self._operator(),
                used,
                size,
            )

    async def network_time(self) -> str:
        """What it answers to AT+CCLK?; see alerts.modem_time. Raises SmsRetry, SmsFix, SmsRefused."""
        async with self._turn():
            await self._session.be_ready()
            with contextlib.suppress(SmsRefused):
                await self._session.ask("AT+CTZU=1")  # 3GPP TS 27.007, 8.40: take the time from the network
            return " ".join(await self._session.ask("AT+CCLK?", "+CCLK:"))

    @property
    def identity(self) -> Identity:
        """Who the modem said it is when it was last set up."""
        return self._session.identity

    @property
    def restarts(self) -> int:
        """Times the modem was found to have started anew by itself."""
        return self._session.restarts

    def take_late(self) -> list[Late]:
        """Since the last call: messages whose fate was unknown and that were sent after all."""
        late, self._late = self._late, []
        return late

    def close(self) -> None:
        """Close the port."""
        self._session.close()

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _send_part(self, part: Part, to: str, reference: int) -> int:
        await self._session.be_ready()
        self._open_question = None
        try:
            await self._session.at.prompt(f"AT+CMGS={part.length}", self._session.waits.prompt_s)
        except AtError as e:
            raise error_of(e.source, e.code, e.text) from e
        except (InstrumentError, Restarted) as e:
            raise self._session.lost_thread(e) from e
        except asyncio.CancelledError:
            self._session.doubt = True
            raise
        try:
            return await self._session.at.result(part.line, self._session.waits.result_s)
        except AtError as e:
            raise error_of(e.source, e.code, e.text) from e
        except (InstrumentError, Restarted) as e:
            self._session.lost_thread(e)
            self._open_question = (to, reference, part.number)
            self.expected.unknown(to, reference, part.number)
            why = "the modem restarted" if isinstance(e, Restarted) else str(e)
            raise SmsUnknown(f"the message was handed over, then {why}: it may have been sent") from e
        except asyncio.CancelledError:
            self._session.doubt = True
            self._open_question = (to, reference, part.number)
            self.expected.unknown(to, reference, part.number)
            raise

    def _late_result(self, modem_reference: int) -> None:
        """A +CMGS that nobody waits for: it can only be of the last part whose fate is unknown."""
        if self._open_question is None:
            return
        to, reference, part = self._open_question
        self._open_question = None
        self.expected.sent(to, modem_reference, reference, part)
        self._late.append(Late(to, reference, part, modem_reference))

    # ── being ready ─────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._listener is not None:
            self._listener.cancel()
        self._wanted += 1
        try:
            await self._lock.acquire()
        finally:
            self._wanted -= 1
        try:
            yield
        finally:
            self._lock.release()

    async def _hear(self, within_s: float) -> None:
        self._listener = asyncio.create_task(self._session.at.hear(within_s), name="modem listens")
        try:
            await asyncio.wait({self._listener})
        finally:
            listener, self._listener = self._listener, None
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError, NoAnswer):
                try:
                    await listener
                except (PortLost, Restarted) as e:
                    self._session.lost_thread(e)

    async def _signal(self) -> int | None:
        found = re.search(r":\s*(\d+)", " ".join(await self._session.ask("AT+CSQ", "+CSQ:")))
        return 2 * int(found[1]) - 113 if found and int(found[1]) <= 31 else None

    async def _operator(self) -> str:
        try:
            found = re.search(r'"([^"]*)"', " ".join(await self._session.ask("AT+COPS?", "+COPS:")))
        except SmsRefused:
            return ""
        return found[1] if found else ""

    async def _storage(self) -> tuple[int, int]:
        found = re.search(
            r'"\w\w"\s*,\s*(\d+)\s*,\s*(\d+)', " ".join(await self._session.ask("AT+CPMS?", "+CPMS:"))
        )
        return (int(found[1]), int(found[2])) if found else (0, 0)

    async def _list(self) -> list[tuple[Place, str]]:
        lines = await self._session.ask("AT+CMGL=4", "+CMGL:", pdus=True, within_s=30.0)
        listed: list[tuple[Place, str]] = []
        for head, pdu in zip(lines[::2], lines[1::2], strict=False):
            found = re.match(r"\+CMGL:\s*(\d+)\s*,\s*(\d)", head)
            if found and found[2] in "01":  # 2 and 3 are messages that somebody stored for sending: not ours
                listed.append(((self._session.memory, int(found[1])), pdu))
        return listed

    async def _read(self, place: Place) -> list[tuple[Place, str]]:
        try:
            async with self._in(place[0]):
                lines = await self._session.ask(f"AT+CMGR={place[1]}", "+CMGR:", pdus=True)
        except (SmsFix, SmsRefused):
            return []  # it is gone
        return [(place, lines[1])] if len(lines) == 2 else []

    async def _delete(self, place: Place) -> None:
        try:
            async with self._in(place[0]):
                await self._session.ask(f"AT+CMGD={place[1]}", within_s=30.0)
        except (SmsFix, SmsRefused) as e:
            if e.code not in (21, 321):  # deleted before
                raise

    @contextlib.asynccontextmanager
    async def _in(self, memory: str) -> AsyncIterator[None]:
        """Work in another memory, and come back."""
        if memory == self._session.memory:
            yield
            return
        await self._session.ask(f'AT+CPMS="{memory}"')
        try:
            yield
        finally:
            try:
                await self._session.ask(f'AT+CPMS="{self._session.memory}"')
            except SmsError:
                self._session.set_up_again()
                raise

    async def _sort(
        self,
        listed: list[tuple[Place, str]],
        direct: Iterable[tuple[tuple[Place, ...], str]],
        used: int,
        size: int,
    ) -> Inbox:
        parts: list[tuple[Place, Deliver]] = []
        reports: list[Report] = []
        unreadable: list[str] = []
        for places, line in [*(((place,), line) for place, line in listed), *direct]:
            try:
                found = decode(line)
            except PduError as e:
                log.warning("%s: unreadable SMS: %s", self.link.port, e)
                unreadable.append(line)
                for place in places:
                    await self._delete(place)
                continue
            if isinstance(found, Deliver):
                parts += [(place, found) for place in places]
            else:
                reports.append(self.expected.match(found, places))
        messages, loose = assemble(parts)
        now_s = self._session.now_s()
        self._seen_s = {key: self._seen_s.get(key, now_s) for key in listed}
        lines = dict(listed)
        full = size > 0 and used >= NEARLY_FULL * size
        for group in loose:
            oldest_s = min(self._seen_s[place, lines[place]] for place, _ in group)
            if full or now_s - oldest_s > self._session.waits.parts_s:
                messages.append(join(group))
        return Inbox(tuple(messages), tuple(reports), tuple(unreadable), used, size)
