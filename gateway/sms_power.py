"""The owner's command that switches the SMS modem off and on: the last way to bring one back that hangs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

log = logging.getLogger(__name__)

WITHIN_S = 60.0
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
"""All that it gets of ours: a secret may have been given by the environment."""


def power_switch(command: Sequence[str]) -> Callable[[], Awaitable[None]]:
    """What runs the command when it is called: for WITHIN_S at most; a failure is logged."""

    async def switch() -> None:
        log.warning("sms: switching the modem's power: %s", command[0])
        quiet = asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=quiet, stdout=quiet, stderr=quiet, env=ENVIRONMENT
            )
        except OSError as e:
            log.error("sms: %s cannot be run: %s", command[0], e.strerror)
            return
        try:
            async with asyncio.timeout(WITHIN_S):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            code = -1
        if code:
            log.error("sms: %s ended with code %d", command[0], code)

    return switch
