"""The modem's side of the alarms in the station: what it receives, how it is, the paths that messages take.

    modem.inbox ──► delivery report ──► Event("sms", delivered | undelivered)
                ├─► a known number  ──► command ──► Event("answer")   without number, code or PIN
                │                       too many ──► counted, dropped
                └─► everybody else  ──► counted, dropped, never answered; said each ten minutes
    modem.health ─► Event("modem")     when it changes

What was received is deleted from the SIM only after its events are on the disk, and what an event says is
done once for each message (its key), so a crash in between loses nothing and does nothing twice. The modem is
made ready when the station starts: the first alarm need not wait for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from alerts import answers
from alerts.cms import SmsError
from alerts.commands import parse
from alerts.modem import Health, Inbox, Late, Modem, PinTries, Waits
from alerts.modem_inbox import Expected, Received, Report
from alerts.outbox import Outbox
from alerts.paths import Paths
from alerts.pdu import NumberError, normalise
from drivers.link import Line, Link
from gateway.alarms import AlarmFold
from gateway.alarms_sender import JournalDoor, SmsSender
from gateway.clock_modem import ModemTime
from gateway.errors import JournalError
from gateway.model import Event, Stamp
from gateway.sms_power import power_switch

if TYPE_CHECKING:
    from pydantic import SecretStr

    from gateway import config

log = logging.getLogger(__name__)

LOOK_S = 60.0
"""The store is read at least so often, also when the modem announces nothing."""
HEALTH_S = 600.0
AGAIN_S = 5.0
AGAIN_CEILING_S = 60.0
"""After a failure the modem is left alone for so long, doubling up to the ceiling."""
SPAM_SAID_S = 600.0
NEARLY_FULL = 0.8
BEAT_S = 1200.0


class ReadsSms(Protocol):
    """What the desk needs of a modem (alerts.modem.Modem)."""

    expected: Expected

    async def inbox(self) -> Inbox: ...

    async def forget(self, *items: Received | Report) -> None: ...

    async def health(self) -> Health: ...

    async def listen(self, within_s: float) -> bool: ...

    def take_late(self) -> list[Late]: ...


class SmsDesk:
    """Reads what the modem receives and turns it into events. Belongs under `supervise`.

    `sender` is told of messages that were sent after all. `salt` is this station's own: without it, a key in
    an event tells nothing of the number or of what was written.
    """

    def __init__(
        self,
        journal: JournalDoor,
        fold: AlarmFold,
        modem: ReadsSms,
        stamp: Callable[[], Stamp],
        *,
        salt: bytes = b"",
        sender: SmsSender | None = None,
        beat: Callable[[float], None] = lambda _: None,
        name: str = "modem",
    ) -> None:
        self.health: dict[str, Any] = {"state": "unknown"}
        """As it was last seen, for the status message."""
        self._journal, self._fold, self._modem, self._stamp = journal, fold, modem, stamp
        self._sender, self._beat, self._salt = sender, beat, salt
        self._name = name
        self._looked = asyncio.Event()
        if sender is not None and sender.looked is None:
            sender.looked = self._looked
        self._failures = 0
        self._health_due_s = 0.0
        self._strangers = self._too_many = 0
        self._strangers_due_s = 0.0
        self._full = False

    async def run(self) -> None:
        """Look, and wait for more, until cancelled. Raises JournalError."""
        self._expect_reports(self._fold.watch.memory.outbox)
        while True:
            self._beat(BEAT_S)
            try:
                more = await self._look()
                self._looked.set()
                await self._look_after()
            except SmsError as e:
                self._failures += 1
                self._say_health("not ready", str(e))
                pause_s = min(AGAIN_S * 2 ** min(self._failures - 1, 8), AGAIN_CEILING_S)
                await asyncio.sleep(pause_s)
                continue
            self._failures = 0
            if not more:
                await self._modem.listen(LOOK_S)
            if self._sender is not None:
                self._sender.heard(self._modem.take_late())

    # ── what came ───────────────────────────────────────────────────────────────────────────────

    async def _look(self) -> bool:
        """Deal with what lies in the store. True when there may be more behind it (a full one)."""
        box = await self._modem.inbox()
        said = [self._report(report) for report in box.reports]
        said += [self._message(message) for message in box.messages]
        self._say_strangers()
        self._say_storage(box)
        if any(said):
            await self._journal.sync()
        await self._modem.forget(*box.reports, *box.messages)
        return box.size > 0 and len(box.messages) + len(box.reports) >= NEARLY_FULL * box.size

    def _report(self, report: Report) -> bool:
        """A delivery report becomes an event; whether one was appended."""
        contact = self._contact(report.recipient)
        if contact is None or report.reference is None or report.outcome == "waiting":
            return False
        row = self._fold.watch.memory.outbox.find(contact, report.reference)
        if row is None:
            return False
        state = "delivered" if report.outcome == "delivered" else "undelivered"
        detail = {"id": row.id, "rule": row.rule, "occurrence": row.occurrence, "to": row.contact}
        detail |= {"state": state, "attempt": row.attempts, "path": self._name, "part": report.part}
        self._journal.append([Event(self._stamp(), "sms", detail | {"status": report.status})])
        return True

    def _message(self, message: Received) -> bool:
        """An answer of a known number becomes an event; others are counted. Whether one was appended."""
        contact = None if message.is_name else self._contact(message.sender)
        if contact is None:
            self._strangers += 1
            return False
        key = _key(message, self._salt)
        if key in self._fold.watch.memory.desk.seen:
            return False
        at = self._stamp()
        now = self._fold.now(at)
        answer = answers.decide(self._fold.watch, contact, parse(message.text), now, key)
        if not answers.is_news(self._fold.watch, answer, now):
            self._too_many += 1
            return False
        self._journal.append([Event(at, "answer", answer.detail())])
        return True

    def _contact(self, number: str) -> str | None:
        try:
            plain = normalise(number)
        except NumberError:
            return None
        contacts = self._fold.watch.contacts.values()
        return next((contact.id for contact in contacts if contact.phone == plain), None)

    def _say_strangers(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if (self._strangers or self._too_many) and now_s >= self._strangers_due_s:
            self._strangers_due_s = now_s + SPAM_SAID_S
            counts = {"unknown_senders": self._strangers, "too_many": self._too_many}
            self._journal.append(
                [Event(self._stamp(), "sms_dropped", {k: n for k, n in counts.items() if n})]
            )
            self._strangers = self._too_many = 0

    def _say_storage(self, box: Inbox) -> None:
        full = box.size > 0 and box.used >= NEARLY_FULL * box.size
        if full != self._full:
            self._full = full
            detail = {"state": "nearly full" if full else "room again", "used": box.used, "size": box.size}
            self._journal.append([Event(self._stamp(), "sms_storage", detail)])

    # ── how the modem is ────────────────────────────────────────────────────────────────────────

    async def _look_after(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._health_due_s and self.health["state"] == "ready":
            return
        self._health_due_s = now_s + HEALTH_S
        health = await self._modem.health()
        more = {"signal_dbm": health.signal_dbm, "operator": health.operator}
        state = "ready" if health.registered else "not registered"
        self._say_health(state, "" if health.registered else health.registration, **more)

    def _say_health(self, state: str, why: str, **more: Any) -> None:
        """How the modem is; an event when that changes."""
        before = self.health["state"]
        self.health = {"state": state, **({"why": why} if why else {}), **more}
        if state == before:
            return
        if state == "ready":
            log.info("sms: the modem is ready: %s", more)
        else:
            log.warning("sms: the modem is %s: %s", state, why)
        which = {} if self._name == "modem" else {"modem": self._name}
        self._journal.append([Event(self._stamp(), "modem", which | self.health)])

    def _expect_reports(self, outbox: Outbox) -> None:
        """After a restart: which delivery reports are still waited for."""
        contacts = self._fold.watch.contacts
        for row in outbox.accepted():
            if row.path not in ("", self._name):
                continue  # another modem's references are others
            for part, reference in enumerate(row.taken, 1):
                if row.contact in contacts and isinstance(reference, int) and part not in row.reported:
                    self._modem.expected.sent(contacts[row.contact].phone, reference, row.reference, part)
        for row in [*outbox.unknown(), *outbox.sending()]:
            if row.contact in contacts and row.segments == 1:
                self._modem.expected.unknown(contacts[row.contact].phone, row.reference, 1)


class SmsService:
    """The sender, and with a modem its desk, from [sms]. `tasks` are the parts to run, by name."""

    def __init__(
        self,
        wanted: config.Station,
        journal: JournalDoor,
        fold: AlarmFold,
        stamp: Callable[[], Stamp],
        beat: Callable[[float], None] = lambda _: None,
        tell: Callable[[int], str] = lambda _: "",
    ) -> None:
        self.desk: SmsDesk | None = None
        self.second: SmsDesk | None = None
        self.tasks: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
        self._fold = fold
        self.path: Any = None
        """What hands a message over: the modem, the provider, or both; None without any."""
        paths: list[tuple[str, Any]] = []
        sms = wanted.sms
        if sms is None or (sms.modem is None and sms.provider is None):
            return
        modem = None if sms.modem is None else modem_of(sms, sms.modem, wanted.data)
        if modem is not None:
            paths.append(("modem", modem))
        second = None if sms.second is None else modem_of(sms.second, sms.second.modem, wanted.data, "second")
        if second is not None:
            paths.append(("second", second))
        if sms.provider is not None:
            paths.append(("provider", provider_of(sms, sms.provider, wanted.id)))
        name, path = paths[0] if len(paths) == 1 else ("sms", Paths(paths))
        self.path = path
        sender = SmsSender(journal, fold, path, stamp, name=name)
        self.tasks["sms"] = sender.run
        if modem is not None:
            salt = _salt(wanted.data)
            self.desk = SmsDesk(journal, fold, modem, stamp, salt=salt, sender=sender, beat=beat)
            self.tasks["sms.inbox"] = self.desk.run
            if second is not None:
                self.second = SmsDesk(
                    journal, fold, second, stamp, salt=salt, sender=sender, beat=beat, name="second"
                )
                self.tasks["sms.second"] = self.second.run
            if wanted.clock.source == "modem":
                self.tasks["clock.modem"] = ModemTime(modem, tell, wanted.clock.modem_time).run

    def health(self) -> dict[str, Any]:
        """For the status message."""
        health = self._fold.path()
        desks = {"modem": self.desk, "second": self.second}
        return health | {name: desk.health for name, desk in desks.items() if desk is not None}


def modem_of(
    sms: config.Sms | config.SecondModem, port: str, data: Path, name: str = "modem", *,
    waits: Waits | None = None,
) -> Modem:  # fmt: skip
    """The modem of [sms] or [sms.second], with the PIN that must not be tried again."""
    note = _PinNote(data, name)
    return Modem(
        Link(port, Line(sms.baudrate, "8N1")),
        pin=None if sms.pin is None else sms.pin.get_secret_value(),
        pin_tries=note.read(),
        on_pin=note.keep,
        smsc=sms.smsc,
        power=power_switch(sms.power) if sms.power else None,
        waits=waits,
    )


def provider_of(sms: config.Sms, name: str | SecretStr, station: str) -> Any:
    """The second path; imported only for a station that has one."""
    from alerts import provider

    if not isinstance(name, str):
        return provider.of_url(name.get_secret_value(), station=station)
    settings = {key: value.get_secret_value() for key, value in sms.provider_settings.items()}
    return provider.Provider(provider.find(name), settings, station=station)


class _PinNote:
    """Remembers the SIM PINs that were given and not taken: tried at every start, they would lock the SIM.

    A file of three words: the PIN, how many were given, "refused" or "given" (its end is not known).
    """

    def __init__(self, data: Path, name: str = "modem") -> None:
        self._path = data / ("wrong-pin" if name == "modem" else f"wrong-pin-{name}")

    def read(self) -> PinTries:
        try:
            words = self._path.read_text(encoding="utf-8").split()
        except (FileNotFoundError, UnicodeDecodeError):
            return PinTries()
        match words:
            case [pin, ("1" | "2") as tries, ("refused" | "given") as end]:
                return PinTries(pin, int(tries), end == "refused")
            case [pin, *_]:
                return PinTries(pin, 1, refused=True)
        return PinTries()

    def keep(self, tries: PinTries) -> None:
        """On the disk when it returns. Blocks for its sync: it happens only where a PIN is given."""
        if not tries.tries:
            self._path.unlink(missing_ok=True)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_name(self._path.name + ".new")
        end = "refused" if tries.refused else "given"
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as f:
            f.write(f"{tries.pin} {tries.tries} {end}\n")
            f.flush()
            os.fsync(f.fileno())
        new.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _salt(data: Path) -> bytes:
    """A secret of this station, made once."""
    file = data / "sms-salt"
    try:
        return file.read_bytes()
    except FileNotFoundError:
        pass
    salt = secrets.token_bytes(16)
    try:
        data.mkdir(parents=True, exist_ok=True)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
            f.write(salt)
    except OSError as e:
        raise JournalError(f"{data}: cannot be written: {e.strerror}") from e
    return salt


def _key(message: Received, salt: bytes) -> str:
    """What tells one message from another, and tells nothing of it."""
    text = f"{message.sender}|{message.sent_ms}|{message.text}"
    return hmac.new(salt, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]
