"""A verb of the command line in a process of its own: scan, doctor and init import what takes memory that a
running station has no use for afterwards (D12, D18).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec

from gateway.errors import ControlError

CHILD_WITHIN_S = 900.0
END_WITHIN_S = 10.0
LINE_LIMIT = 4 * 1024 * 1024
TEXT_WITHIN_S = 60.0


async def child(
    words: Sequence[str], *, stop: asyncio.Event | None = None
) -> AsyncGenerator[dict[str, Any], None]:
    """Its lines: progress, then {"report": …}. With `stop` it is asked to end and to say what it has; left
    alone it ends with whoever listens. Raises ControlError.
    """
    process = await _process(words, asyncio.subprocess.DEVNULL)
    stopping = asyncio.create_task(_stop(process, stop)) if stop is not None else None
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
        if stopping is not None:
            stopping.cancel()
        await _end(process)
    raise ControlError(f"{words[0]}: it ended without a report; try suuaba {words[0]} in a terminal")


async def text(words: Sequence[str], given: bytes) -> str:
    """What it prints when `given` comes in. Raises ControlError with what it complains about."""
    process = await _process(words, asyncio.subprocess.PIPE, asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(TEXT_WITHIN_S):
            out, wrong = await process.communicate(given)
    except TimeoutError:
        raise ControlError(f"{words[0]}: not done within {TEXT_WITHIN_S:g} s") from None
    finally:
        await _end(process)
    if process.returncode:
        lines = wrong.decode("utf-8", "replace").splitlines()
        raise ControlError(lines[-1][:300] if lines else f"{words[0]}: it broke")
    return out.decode("utf-8")


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


async def _process(
    words: Sequence[str], stdin: int, stderr: int = asyncio.subprocess.DEVNULL
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", *words,
        stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=stderr, limit=LINE_LIMIT,
    )  # fmt: skip


async def _stop(process: asyncio.subprocess.Process, stop: asyncio.Event) -> None:
    """Once asked, end it; one that does not say what it has in good time is killed."""
    await stop.wait()
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await asyncio.sleep(END_WITHIN_S)
    with contextlib.suppress(ProcessLookupError):
        process.kill()


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
