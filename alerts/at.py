"""The AT dialogue with a modem: lines, results, what it says unasked, and finding the thread again.

    > AT+CSQ\\r                 < AT+CSQ\\r\\r\\n+CSQ: 18,99\\r\\n\\r\\nOK\\r\\n       (echo and answer)
    > AT+CMGS=19\\r             < \\r\\n>·                                    the prompt has no line end
    > 0031000C91…\\x1a          < \\r\\n+CMGS: 76\\r\\n\\r\\nOK\\r\\n            within 2 min

A line that is no answer to what was asked is either known to come by itself (a message stored, a report, a
restart) or noise. After `prompt` and until the result nothing may be written: any character aborts the
message on some modems.

Sources: ITU-T V.250, 5.7 (results); 3GPP TS 27.005, 3.4.1 (+CMTI, +CDSI, +CDS), 3.5.1 (+CMGS); 3GPP TS
27.007, 9.2 (+CME ERROR). That RDY and an unasked +CPIN mean a restart is how SIMCom and Quectel modems
behave; ^SYSSTART is Cinterion's: general knowledge, not from a standard.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable

from alerts.untold import untold
from drivers.base import GarbledAnswer, NoAnswer
from drivers.link import Link

LINE_LIMIT = 1024
"""Characters of one line; the longest real one is a PDU of 176 octets in hex."""
EVENTS_LIMIT = 256

_ERROR = re.compile(r"\+(CM[ES]) ERROR:\s*(.*)")
_STORED = re.compile(r'\+(CMTI|CDSI):\s*"?(\w\w)"?\s*,\s*(\d{1,5})')
_RESTART = re.compile(r"RDY|\^SYSSTART|\+CPIN:.*")
_BY_ITSELF = re.compile(
    r"\+(CREG|CGREG|CEREG|CRING|CLIP|CBM|CIEV|CTZV|CFUN|CUSD|CUSATP|CMT|CPIN|QIND|QUSIM|CGEV):|"
    r"\^|RING\b|RDY\b|NO CARRIER|Call Ready|SMS Ready|SMS DONE|PB DONE|\*PSUTTZ|DST:"
)


class AtError(Exception):
    """The modem answered with an error: `source` "CMS", "CME" or "" (a bare ERROR); `code`, or `text`."""

    def __init__(self, command: str, source: str = "", code: int | None = None, text: str = "") -> None:
        super().__init__(f"{command}: {f'+{source} ' if source else ''}ERROR{f': {text}' if text else ''}")
        self.source = source
        self.code = code
        self.text = text


class Restarted(Exception):
    """The modem started anew in the middle of a command."""


class Dialogue:
    """A conversation over a link. `on_late` gets the reference of a +CMGS that nobody waits for any more."""

    def __init__(self, link: Link, on_late: Callable[[int], None]) -> None:
        self.link = link
        self.events: deque[tuple[str, str, int]] = deque(maxlen=EVENTS_LIMIT)
        """What it said unasked: ("CMTI" or "CDSI", memory, place) and ("CDS", PDU, 0)."""
        self.restarted = False
        self.watch_restarts = False
        """Whether a command is broken off when the modem starts anew; off while we start it ourselves."""
        self.hidden = ""
        """What no error may show, though the modem echoes it: the SIM's PIN."""
        self.noise = 0
        """Lines that meant nothing."""
        self._on_late = on_late
        self._report_follows = False

    async def command(
        self, text: str, expect: str = "", *, within_s: float = 5.0, pdus: bool = False
    ) -> list[str]:
        """Give a command and its information lines. Raises AtError, NoAnswer, Restarted, PortLost.

        `expect` is how its lines begin ("+CSQ:"); without it, all lines that do not come by themselves are
        taken. `pdus`: each such line is followed by one of hexadecimal digits.
        """
        await self._write(text + "\r")
        deadline_s = self._now_s() + within_s
        lines: list[str] = []
        while True:
            line = await self._line(deadline_s)
            if line == text:
                continue
            if line == "OK":
                return lines
            self._raise_error(text, line)
            if expect and line.startswith(expect):
                lines.append(line)
                if pdus:
                    lines.append(await self._line(deadline_s))
            elif not self._unasked(line):
                if expect:
                    self.noise += 1
                elif len(lines) < 100:
                    lines.append(line)

    async def prompt(self, text: str, within_s: float) -> None:
        """Give a command that is answered by the prompt. Raises as `command` does."""
        await self._write(text + "\r")
        deadline_s = self._now_s() + within_s
        while True:
            line = await self._line(deadline_s)
            if line == ">":
                return
            if line != text:
                self._raise_error(text, line)
                self._unasked(line)

    async def result(self, pdu: str, within_s: float) -> int:
        """Write a PDU, and nothing more; give the modem's reference. Raises as `command` does."""
        await self._write(pdu + "\x1a")
        deadline_s = self._now_s() + within_s
        while True:
            line = await self._line(deadline_s)
            self._raise_error("AT+CMGS", line)
            reference = _reference(line)
            if reference is None:
                self._unasked(line)
                continue
            try:
                while await self._line(self._now_s() + 2.0) != "OK":
                    pass
            except (NoAnswer, Restarted):
                pass  # the reference is the proof; the OK behind it says nothing more
            return reference

    async def resync(self, *, tries: int = 3, wait_s: float = 1.0, quiet_s: float = 0.3) -> None:
        """Leave a prompt, drop what is stale, get an answer. Raises NoAnswer, PortLost."""
        await self._write("\x1b")
        await self.quiet(quiet_s)
        for left in reversed(range(tries)):
            try:
                # A stale OK cannot answer this one: the line in front of it must come too, or an error.
                if await self.command("AT+CMEE?", "+CMEE:", within_s=wait_s):
                    break
            except AtError:
                break
            except NoAnswer:
                if not left:
                    raise
        await self.quiet(quiet_s)

    async def quiet(self, quiet_s: float, most_s: float = 3.0) -> None:
        """Take what comes until nothing has come for `quiet_s`, at most `most_s`."""
        deadline_s = self._now_s() + most_s
        try:
            while (now_s := self._now_s()) < deadline_s:
                self._unasked(await self._line(now_s + quiet_s))
        except (NoAnswer, Restarted):
            return

    async def hear(self, within_s: float) -> None:
        """Wait for one line that comes by itself. Raises NoAnswer, Restarted, PortLost."""
        self._unasked(await self._line(self._now_s() + within_s))

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def _write(self, text: str) -> None:
        await self.link.send(
            text.encode("ascii"), keep=True
        )  # what came by itself meanwhile must not be lost

    async def _line(self, deadline_s: float) -> str:
        while True:
            try:
                frame = await self.link.receive_frame(cut_line, max(deadline_s - self._now_s(), 0.0))
            except GarbledAnswer as e:
                shown = untold(e.frame.decode("latin-1"), self.hidden)[:40]
                raise NoAnswer(f"{self.link.port}: no end of the line {shown!r}") from None
            line = frame.decode("latin-1").strip()
            if not line:
                continue
            if self._report_follows:
                self._report_follows = False
                if re.fullmatch(r"[0-9A-Fa-f]+", line):
                    self.events.append(("CDS", line, 0))
                    continue
            return line

    def _raise_error(self, command: str, line: str) -> None:
        found = _ERROR.match(line)
        if found:
            code = int(found[2]) if re.fullmatch(r"\d{1,5}", found[2]) else None
            raise AtError(command, found[1], code, found[2])
        if line in ("ERROR", "COMMAND NOT SUPPORT", "+CMS ERROR", "+CME ERROR"):
            raise AtError(command, text="" if line == "ERROR" else line)

    def _unasked(self, line: str) -> bool:
        """Take note of a line that came by itself; False when it is not known to. Raises Restarted."""
        stored = _STORED.match(line)
        if stored:
            self.events.append((stored[1], stored[2], int(stored[3])))
            return True
        if line.startswith("+CDS:"):
            self._report_follows = True
            return True
        reference = _reference(line)
        if reference is not None:
            self._on_late(reference)
            return True
        if _RESTART.fullmatch(line):
            self.restarted = True
            if self.watch_restarts:
                raise Restarted(line)
            return True
        return _BY_ITSELF.match(line) is not None


def cut_line(got: bytes) -> tuple[bytes, int] | None:
    """The framer of a modem's lines: what ends in CR or LF; and the prompt ">", which has no end."""
    start = 0
    while start < len(got) and got[start] <= 0x20:
        start += 1
    if start == len(got):
        return None
    if got[start] == 0x3E:
        return b">", start + 1
    ends = [at for at in (got.find(b"\r", start), got.find(b"\n", start)) if at >= 0]
    if ends:
        return got[start : min(ends)], min(ends) + 1
    return (b"", len(got)) if len(got) - start > LINE_LIMIT else None


def _reference(line: str) -> int | None:
    found = re.match(r"\+CMGS:\s*(\d{1,3})\b", line)
    return int(found[1]) if found and int(found[1]) < 256 else None
