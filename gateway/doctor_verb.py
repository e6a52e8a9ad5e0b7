"""The verb `doctor`: the running service lets itself be examined, for the page.

    doctor {} ─► {"station", "level", "findings": [{"check", "about", "level", "what", "remedy"}]}

In a process of its own, as `suuaba doctor --json` runs it: no check can hold up a bus, and its memory is
given back. One at a time, with a deadline; an answer has a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import msgspec

from gateway.control import Answer, Request, Verb
from gateway.errors import ControlError

WITHIN_S = 75.0
"""The checks themselves end within 55 s (gateway.doctor)."""
ANSWER_MOST_BYTES = 1024 * 1024


def doctor_verb(file: Path) -> Verb:
    """For the control door and the page. Raises ControlError when another examination is under way."""
    busy = asyncio.Lock()

    async def doctor(request: Request) -> Answer:
        if busy.locked():
            raise ControlError("an examination is under way; wait until it is done, a minute at most")
        async with busy:
            return await _examine(file)

    return doctor


async def _examine(file: Path) -> Answer:
    """Waits up to WITHIN_S; the process is ended whatever happens."""
    command = (sys.executable, "-m", "gateway.cli", "doctor", str(file), "--json")
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as e:
        raise ControlError(f"the examination cannot be started: {e.strerror}") from None
    try:
        async with asyncio.timeout(WITHIN_S):
            said = await process.stdout.read(ANSWER_MOST_BYTES) if process.stdout else b""
            more = said
            while more and process.stdout and len(said) < ANSWER_MOST_BYTES:
                more = await process.stdout.read(ANSWER_MOST_BYTES - len(said))
                said += more
            await process.wait()
    except TimeoutError:
        raise ControlError(f"the examination did not end within {WITHIN_S:g} s; try again") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    try:
        answer: Answer = msgspec.json.decode(said, type=dict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ControlError("the examination said nothing; run: suuaba doctor station.toml") from None
    return answer
