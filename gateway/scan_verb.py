"""The control verbs `scan` and `doctor`: both commands for whoever asks the running service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from gateway.errors import ControlError
from gateway.scan_child import child
from gateway.scan_desk import Scans

LANGUAGES = ("ky", "ru", "en")
Doctor = Callable[[Any], AsyncGenerator[dict[str, Any], None]]


def scan_verb(scans: Scans) -> Callable[[Any], AsyncIterator[dict[str, Any]]]:
    """The control verb `scan`: progress, one answer a second at most, and at the end {"report": …}.

    Takes `port` (one, optional) and `quick` (any text). One scan at a time, the page's among them; one that
    nobody listens to any more ends.
    """

    async def verb(request: Any) -> AsyncIterator[dict[str, Any]]:
        port, quick = request.text("port", ""), bool(request.text("quick", ""))
        by = request.text("by", "") or request.by
        scans.begin([port] if port else [], quick=quick, by=by)
        try:
            while True:
                changes, under_way = scans.changes, scans.under_way
                if not under_way:
                    break
                if scans.progress:
                    yield {"progress": scans.progress}
                await scans.changed(changes)
            if scans.report is None:
                raise ControlError(scans.error)
            yield {"report": scans.report}
        finally:
            scans.stop()

    return verb


def doctor_verb(file: Path) -> Doctor:
    """The control verb `doctor`: after a minute at most one answer, {"report": …} as `doctor --json` prints
    it, in `language`. One at a time.
    """
    lock = asyncio.Lock()

    async def verb(request: Any) -> AsyncGenerator[dict[str, Any], None]:
        language = request.text("language", "en")
        if language not in LANGUAGES:
            raise ControlError(f"doctor: language: there are {', '.join(LANGUAGES)}")
        if lock.locked():
            raise ControlError("the doctor is at work; wait for the end")
        words = ["doctor", str(file), "--json", "--language", language]
        async with lock, aclosing(child(words)) as answers:
            async for answer in answers:
                yield answer

    return verb
