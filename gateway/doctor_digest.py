"""The doctor for somebody who asked by SMS: examines as the page does, and says the worst of it in few words.

    "DOCTOR" ─► Event("answer") ─► AlarmFold: who waits ─┬─► Event("doctor", begun)
                                                         └─► Event("doctor", done | failed) ─► AlarmFold: SMS

Who waits is kept with the alarms. A kill in between loses nothing: after the start the examination is made
again, once; if that too is broken off, it is said to have failed. The same step of the fold puts the reply
into the outbox and ends the waiting, so there is one reply.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

from alerts import answers
from alerts.alphabet import fold
from gateway.alarms import AlarmFold
from gateway.alarms_sender import JournalDoor
from gateway.control import Request
from gateway.doctor_finding import one_line
from gateway.errors import ControlError
from gateway.model import Event, Stamp
from gateway.scan_verb import Doctor

log = logging.getLogger(__name__)

BEGUN_MOST = 2
WITHIN_S = 180.0
AGAIN_S = 30.0
"""The page may have the doctor at work; that is over within a minute."""
ITEMS_MOST = 10
ITEM_LONGEST = 60
WORD_LONGEST = 12
"""A longer one is cut, so that something of it is seen."""


class DoctorDigest:
    """Lets the doctor look when somebody waits for it. Belongs under `supervise`."""

    def __init__(
        self, journal: JournalDoor, fold: AlarmFold, stamp: Callable[[], Stamp], doctor: Doctor
    ) -> None:
        """`doctor`: the control verb, which the page has too: one examination at a time."""
        self._journal, self._fold, self._stamp, self._doctor = journal, fold, stamp, doctor

    async def run(self) -> None:
        """Wait to be asked, and examine, until cancelled. Raises JournalError."""
        while True:
            language = answers.doctor_wanted(self._fold.watch)
            if language is None:
                self._fold.asked.clear()
                await self._fold.asked.wait()
                continue
            if self._fold.watch.memory.desk.doctor_tries >= BEGUN_MOST:
                found: dict[str, Any] = {"state": "failed", "why": "the service ended in the middle, twice"}
            else:
                await self._say({"state": "begun", "language": language})
                found = await self._examine(language)
            await self._say({**found, "language": language})

    async def _say(self, detail: dict[str, Any]) -> None:
        self._journal.append([Event(self._stamp(), "doctor", detail)])
        await self._journal.sync()

    async def _examine(self, language: str) -> dict[str, Any]:
        """What the doctor found, or why there is nothing. Blocks up to `WITHIN_S`."""
        why = ""
        try:
            async with asyncio.timeout(WITHIN_S):
                while True:
                    try:
                        return digest(await self._report(language))
                    except ControlError as e:
                        why = one_line(e)
                    await asyncio.sleep(AGAIN_S)
        except TimeoutError:
            log.warning("sms: the doctor did not finish: %s", why or "it took too long")
            return {"state": "failed", "why": why or "it took too long"}

    async def _report(self, language: str) -> Mapping[str, Any]:
        async with aclosing(self._doctor(Request("doctor", {"language": language}, "sms"))) as parts:
            async for part in parts:
                if isinstance(report := part.get("report"), dict):
                    return report
        raise ControlError("doctor: it ended without a report")


def digest(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report of `doctor --json` in counts and the worst of it: failures first, each in a few words.

    Events are published, so of a contact, whose number its finding tells, there is only the name.
    """
    findings = report.get("findings") or []
    failures, warnings = (
        [_short(one) for one in findings if one["level"] == level] for level in ("failure", "warning")
    )
    good = len(findings) - len(failures) - len(warnings)
    counts = {"failures": len(failures), "warnings": len(warnings), "good": good}
    return {"state": "done", **counts, "items": [*failures, *warnings][:ITEMS_MOST]}


def _short(finding: Mapping[str, str]) -> str:
    title = one_line(finding["title"], ITEM_LONGEST)
    if finding["check"] == "contact":
        return title
    text = fold(f"{title}: {one_line(finding['what'])}")
    if len(text) <= ITEM_LONGEST:
        return text
    room = ITEM_LONGEST - 2
    return text[: max(text.rfind(" ", 0, room + 1), room - WORD_LONGEST)].rstrip(" ,;:") + ".."
