"""The control verbs `scan` and `doctor`: both commands for the page, each in a process of its own, which ends
with whoever listens: what they import takes memory that a running station has no use for afterwards (D18).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import ControlError

CHILD_WITHIN_S = 900.0
END_WITHIN_S = 10.0
LINE_LIMIT = 4 * 1024 * 1024


def scan_verb() -> Callable[[Any], AsyncIterator[dict[str, Any]]]:
    """The control verb `scan`: progress, one answer a second at most, and at the end {"report": …}.

    Takes `port` (one, optional) and `quick` (any text). One scan at a time.
    """
    lock = asyncio.Lock()

    async def verb(request: Any) -> AsyncIterator[dict[str, Any]]:
        port, quick = request.text("port", ""), bool(request.text("quick", ""))
        if port and not port.startswith(("/dev/", "tcp://", "rtu+tcp://")):
            raise ControlError("scan: port: begins with /dev/, tcp:// or rtu+tcp://")
        if lock.locked():
            raise ControlError("a scan is under way; wait for its end")
        words = ["scan", *(["--port", port] if port else []), *(["--quick"] if quick else []), "--stream"]
        async with lock, aclosing(_child(words)) as answers:
            async for answer in answers:
                yield answer

    return verb


def doctor_verb(file: Path) -> Callable[[Any], AsyncIterator[dict[str, Any]]]:
    """The control verb `doctor`: after a minute at most one answer, {"report": …} as `doctor --json` prints
    it. One at a time.
    """
    lock = asyncio.Lock()

    async def verb(request: Any) -> AsyncIterator[dict[str, Any]]:
        if lock.locked():
            raise ControlError("the doctor is at work; wait for the end")
        async with lock, aclosing(_child(["doctor", str(file), "--json"])) as answers:
            async for answer in answers:
                yield answer

    return verb


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


async def _child(words: Sequence[str]) -> AsyncGenerator[dict[str, Any], None]:
    """Run a verb in a process of its own and pass on its lines: progress, then the report."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", *words,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        limit=LINE_LIMIT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(CHILD_WITHIN_S):
            while process.stdout is not None and (line := await process.stdout.readline()):
                got = msgspec.json.decode(line, type=dict[str, Any])
                yield got if "progress" in got else {"report": got}
                if "progress" not in got:
                    return
    except (TimeoutError, ValueError) as e:
        raise ControlError(f"{words[0]}: broken off: {e or 'it took too long'}") from None
    finally:
        await _end(process)
    raise ControlError(f"{words[0]}: it ended without a report; try suuaba {words[0]} in a terminal")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(END_WITHIN_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
