"""The control verb `scan`: `suuaba scan` for the page, in a process of its own: the profiles it needs take
memory that a running station has no use for afterwards (decision D18).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from gateway.errors import ControlError

CHILD_WITHIN_S = 900.0
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
        words = [*(["--port", port] if port else []), *(["--quick"] if quick else []), "--stream"]
        async with lock:
            async for answer in _child(words):
                yield answer

    return verb


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


async def _child(words: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
    """Run `suuaba scan` in a process of its own and pass on its lines; it ends with whoever listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", "scan", *words,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        limit=LINE_LIMIT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(CHILD_WITHIN_S):
            while process.stdout is not None and (line := await process.stdout.readline()):
                got = msgspec.json.decode(line, type=dict[str, Any])
                yield got if "progress" in got else {"report": got}
    except (TimeoutError, ValueError) as e:
        raise ControlError(f"scan: broken off: {e or 'it took too long'}") from None
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
