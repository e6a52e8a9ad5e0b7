"""Being ready to talk to a modem: the port, the SIM, the set-up, and the ladder back when the thread is lost.

    resync              ESC, wait for silence, an answer to AT+CMEE?      a prompt left open, a late answer
    reopen the port     close, open, resync                               a USB adapter that came back
    restart             AT+CFUN=1,1, wait up to 60 s                      a modem that has hung; once in 5 min
    switch its power    a function given by the owner                     a modem that obeys nothing; likewise

Sources: 3GPP TS 27.007, 8.2 (+CFUN), 8.3 (+CPIN), 8.65 (+CPINR); 3GPP TS 27.005, 3.1 to 3.4 (+CMGF, +CSCA,
+CPMS, +CNMI). That AT+CFUN=1,1 brings most hung modems back is general experience, not measured by us.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from alerts.at import AtError, Dialogue, Restarted
from alerts.cms import SmsFix, SmsRetry, error_of
from drivers.base import InstrumentError, NoAnswer, PortLost
from drivers.link import Link

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Waits:
    """How long what may take. Tests run on virtual time and need no others."""

    command_s: float = 5.0
    prompt_s: float = 10.0
    result_s: float = 150.0
    """At least 130: makers name up to 120 s, and who gives up sooner makes sent messages unknown."""
    probe_s: float = 1.0
    quiet_s: float = 0.3
    sim_s: float = 30.0
    boot_s: float = 60.0
    again_s: float = 300.0
    """Between two restarts of the modem: they cost its registration, and bring no network back."""
    parts_s: float = 86400.0
    """How long the rest of an incomplete message is waited for."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the modem says it is; empty where it does not say."""

    maker: str = ""
    model: str = ""
    revision: str = ""
    imei: str = ""
    imsi: str = ""
    smsc: str = ""


@dataclass(frozen=True, slots=True)
class PinTries:
    """Since the SIM last took a PIN: how many were given, the last of them, and whether that was refused.

    With `refused` false its end is not known: the power failed before the modem answered.
    """

    pin: str = field(default="", repr=False)
    tries: int = 0
    refused: bool = False


MOST_PINS = 2
"""A SIM locks itself at the third wrong one."""


class Session:
    """A modem on a link, made ready when it is needed. See `Modem` for the arguments."""

    def __init__(
        self,
        link: Link,
        *,
        on_late: Callable[[int], None],
        pin: str | None,
        pin_tries: PinTries,
        on_pin: Callable[[PinTries], None] | None,
        smsc: str | None,
        waits: Waits,
        power: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self.link = link
        self.at = Dialogue(link, on_late)
        self.waits = waits
        self.identity = Identity()
        self.memory = "SM"
        """The memory that received messages are put into, and that commands are about."""
        self.restarts = 0
        self.doubt = False
        """Something was not answered: find the thread before the next command."""
        self._pin = pin
        self._pin_tries = pin_tries
        self._on_pin = on_pin
        self._pin_is_open = False
        self._smsc = smsc
        self._power = power
        self._started = False
        self._restarted_at_s = self._powered_at_s = -1e9

    def close(self) -> None:
        """Close the port."""
        self._started = False
        self.link.close()

    def lost_thread(self, why: Exception) -> SmsRetry:
        """Remember that the modem must be found again before the next command."""
        if isinstance(why, Restarted):
            self.restarts += 1
            self._started = False
            log.warning("%s: the modem has restarted by itself", self.link.port)
            return SmsRetry("the modem restarted")
        if isinstance(why, PortLost):
            self._started = False
            return SmsRetry(
                str(why), "Is the modem plugged in, and does no other program (ModemManager) hold it?"
            )
        self.doubt = True
        return SmsRetry(f"the modem does not answer: {why}")

    async def be_ready(self) -> None:
        """Bring the modem to where commands are answered, as far up the ladder as needed and allowed."""
        if self._started and self.link.is_open:
            try:
                await self.at.quiet(0.0)  # what it said since: a restart too
            except PortLost as e:
                self.lost_thread(e)
        if self._started and self.at.restarted:
            self.lost_thread(Restarted())
        if self._started and self.link.is_open and not self.doubt:
            return
        why = SmsRetry("the modem does not answer")
        self.at.watch_restarts = False
        for name, rung in (
            ("resync", self._resync),
            ("reopen the port", self._reopen),
            ("restart it", self._reset),
            ("switch its power", self._power_cycle),
        ):
            try:
                if not await rung():
                    continue
                if not self._started or self.at.restarted:
                    await self._set_up()
            except (InstrumentError, Restarted) as e:
                why = self.lost_thread(e)
                log.info("%s: modem: %s: %s", self.link.port, name, e)
            else:
                self.doubt = False
                self.at.watch_restarts = True
                return
        self.doubt = True
        raise why

    def set_up_again(self) -> None:
        """Something of the set-up may be lost."""
        self._started = False

    async def _resync(self) -> bool:
        await self.link.open()
        await self.at.resync(wait_s=self.waits.probe_s, quiet_s=self.waits.quiet_s)
        return True

    async def _reopen(self) -> bool:
        self._started = False
        self.link.close()
        return await self._resync()

    async def _reset(self) -> bool:
        if self._restarted_at_s + self.waits.again_s > self.now_s():
            return False
        await self.link.open()
        self._restarted_at_s = self.now_s()
        with contextlib.suppress(NoAnswer, AtError, Restarted):
            await self.at.command("AT+CFUN=1,1", within_s=self.waits.command_s)
        await self._await_boot()
        return True

    async def _power_cycle(self) -> bool:
        if self._power is None or self._powered_at_s + self.waits.again_s > self.now_s():
            return False
        self._powered_at_s = self.now_s()
        self.link.close()
        await self._power()
        await self._await_boot()
        return True

    async def _await_boot(self) -> None:
        """Wait until it answers; a USB modem goes away and comes back. Raises NoAnswer, PortLost."""
        self._started = False
        deadline_s = self.now_s() + self.waits.boot_s
        while True:
            await asyncio.sleep(2.0)
            try:
                await self.link.open()
                await self.at.resync(tries=1, wait_s=self.waits.probe_s, quiet_s=self.waits.quiet_s)
                return
            except (NoAnswer, PortLost):
                if self.now_s() >= deadline_s:
                    raise

    async def _set_up(self) -> None:
        """Set everything up. Raises SmsFix, SmsRetry, InstrumentError."""
        try:
            for _ in range(3):  # again when it started anew meanwhile, as it says after a restart or a PIN
                self.at.restarted = False
                await self._settings()
                if not self.at.restarted:
                    break
        except AtError as e:
            raise error_of(e.source, e.code, e.text) from e
        self.at.restarted = False
        self._started = True

    async def _settings(self) -> None:
        """Echo, errors, SIM, mode, message centre, store, announcements."""
        await self._try("ATE0")
        await self._try("AT+CMEE=1")
        await self._unlock()
        await self._must("AT+CMGF=0")
        await self._try("AT+CSMS=0")
        smsc = await self._message_centre()
        await self._choose_store()
        for report in (
            2,
            1,
            0,
        ):  # stored reports survive a restart of ours; not all modems can store them
            if await self._try(f"AT+CNMI=2,1,0,{report},0") is not None:
                break
        asked = [await self._try(c) for c in ("AT+CGMI", "AT+CGMM", "AT+CGMR", "AT+CGSN", "AT+CIMI")]
        said = [re.sub(r"^\+\w+:\s*", "", lines[0]).strip('" ')[:60] if lines else "" for lines in asked]
        maker, model, revision, imei, imsi = said
        self.identity = Identity(maker, model, revision, imei, imsi, smsc)
        log.info("%s: modem %s %s %s, message centre %s", self.link.port, *said[:3], smsc)

    async def _unlock(self) -> None:
        deadline_s = self.now_s() + self.waits.sim_s
        while True:
            try:
                state = " ".join(await self._must("AT+CPIN?", "+CPIN:")).removeprefix("+CPIN:").strip()
            except AtError as e:
                error = error_of(e.source, e.code, e.text)
                if not isinstance(error, SmsRetry) or self.now_s() >= deadline_s:
                    raise error from e
                state = "busy"
            if state == "READY":
                self._note_pin(PinTries())
                return
            if state == "SIM PIN":
                await self._give_pin()
            elif state == "NOT INSERTED":
                raise error_of("CME", 10)
            elif state not in ("busy", "NOT READY", ""):
                raise error_of("CME", 12 if "PUK" in state else 5)
            if self.now_s() >= deadline_s:
                raise SmsRetry("the SIM does not get ready")
            await asyncio.sleep(0.5)

    async def _give_pin(self) -> None:
        """Give the PIN, once. A third wrong one would lock the SIM, so a wrong one is never tried again.

        That it is given is kept before it is: killed in between, one more try may follow, and never a third.
        """
        if self._pin is None:
            raise error_of("CME", 11)
        before = self._pin_tries
        if self._pin == before.pin and (before.refused or self._pin_is_open):
            raise error_of("CME", 16)
        if not re.fullmatch(r"\d{4,8}", self._pin):
            raise SmsFix("the PIN in the configuration is not 4 to 8 digits", "Correct it")
        left = re.search(r"SIM PIN\s*,\s*(\d+)", " ".join(await self._try("AT+CPINR") or ()))
        if left and int(left[1]) < 3:
            raise SmsFix(
                f"the SIM has been given a wrong PIN before; {left[1]} tries are left",
                "Put the SIM in a telephone and enter the right PIN once; correct it in the configuration",
            )
        tries = 0 if left else before.tries  # all three are left, so what was given before was not wrong
        if tries >= MOST_PINS:
            raise SmsFix(
                f"a PIN was given {tries} times, and a third wrong one would lock the SIM",
                "Switch the SIM's PIN off with a telephone, or use a SIM without one",
            )
        self._pin_is_open = True  # until we know better, also if no answer comes
        self._note_pin(PinTries(self._pin, tries + 1))
        self.at.hidden = self._pin
        try:
            await self.at.command(f'AT+CPIN="{self._pin}"', within_s=self.waits.sim_s)
        except AtError:
            self._note_pin(PinTries(self._pin, tries + 1, refused=True))
            raise error_of("CME", 16) from None  # what the modem said has the command, and the PIN, in it
        self._pin_is_open = False
        self._note_pin(PinTries())
        await self.at.quiet(1.0)  # it says +CPIN: READY once more

    def _note_pin(self, tries: PinTries) -> None:
        if tries != self._pin_tries:
            self._pin_tries = tries
            if self._on_pin is not None:
                self._on_pin(tries)

    async def _message_centre(self) -> str:
        found = re.search(r'"([+\d]*)"', " ".join(await self._must("AT+CSCA?", "+CSCA:")))
        smsc = found[1] if found else ""
        if self._smsc and smsc != self._smsc:
            await self._must(f'AT+CSCA="{self._smsc}",{145 if self._smsc.startswith("+") else 129}')
            smsc = self._smsc
        if not smsc:
            raise error_of("CMS", 330)
        return smsc

    async def _choose_store(self) -> None:
        """Read where received messages are put: a modem's third memory."""
        memories = re.findall(r'"(\w\w)"', " ".join(await self._must("AT+CPMS?", "+CPMS:")))
        self.memory = memories[2] if len(memories) == 3 else "SM"
        if len(set(memories)) > 1:
            await self._must(f'AT+CPMS="{self.memory}"')

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def _must(self, command: str, expect: str = "") -> list[str]:
        return await self.at.command(command, expect, within_s=self.waits.command_s)

    async def _try(self, command: str) -> list[str] | None:
        """A command that a modem may refuse: None then."""
        try:
            return await self._must(command)
        except AtError:
            return None

    async def ask(
        self, command: str, expect: str = "", *, pdus: bool = False, within_s: float = 0.0
    ) -> list[str]:
        """A command while ready. Raises SmsRetry, SmsFix, SmsRefused."""
        try:
            return await self.at.command(
                command, expect, pdus=pdus, within_s=within_s or self.waits.command_s
            )
        except AtError as e:
            raise error_of(e.source, e.code, e.text) from e
        except (InstrumentError, Restarted) as e:
            raise self.lost_thread(e) from e
        except asyncio.CancelledError:
            self.doubt = True
            raise
