"""What `suuaba doctor` finds, as data: so that the terminal, the page and an SMS can show the same.

A check is a coroutine that gives findings and changes nothing. It says of each thing it looks at one line
what is, and where that is not well one line what helps.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

import msgspec

Level = Literal["ok", "warning", "failure"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "failure")
T = TypeVar("T")


class Said(str):
    """A text in English that knows how it was made, so that it can be told in another language
    (gateway.doctor_words).
    """

    template: str
    given: dict[str, object]


def said(template: str, **given: object) -> Said:
    """An English text; `template` is its key in the tables of gateway.doctor_words."""
    text = Said(template.format(**given))
    text.template, text.given = template, given
    return text


class Finding(msgspec.Struct, frozen=True):
    """One line of a doctor's report. `check` and `about` name the thing: "port", "river". `what` and
    `remedy` are made by `said`, or are the words of another program.
    """

    check: str
    about: str
    level: Level
    what: str
    remedy: str = ""


Check = Callable[[], Awaitable[Sequence[Finding]]]


def worst(findings: Sequence[Finding]) -> Level:
    """The worst of all; "ok" for none."""
    return LEVELS[max((LEVELS.index(finding.level) for finding in findings), default=0)]


def one_line(text: object, limit: int = 300) -> str:
    """A text from outside as one line without control characters."""
    plain = "".join(c if c.isprintable() else " " for c in str(text))
    return " ".join(plain.split())[:limit]


async def in_thread(job: Callable[[], T], within_s: float) -> T:
    """Run what blocks in a thread that dies with the process, so that nothing that hangs holds up the end.

    Raises TimeoutError, and OSError, ValueError or LookupError as the job does.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(got: list[T], e: OSError | ValueError | LookupError | None) -> None:
        if future.done():
            return
        if got:
            future.set_result(got[0])
        else:
            future.set_exception(e or RuntimeError("the check ended in a defect"))

    def run() -> None:
        got: list[T] = []
        failed: OSError | ValueError | LookupError | None = None
        try:
            got.append(job())
        except (OSError, ValueError, LookupError) as e:
            failed = e
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, got, failed)

    threading.Thread(target=run, name="doctor", daemon=True).start()
    async with asyncio.timeout(within_s):
        return await future
