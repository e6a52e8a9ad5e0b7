"""Every long-running part of the station runs under `supervise`; systemd is the last supervisor.

A part that ends by a defect (any exception it did not expect) is restarted, with its traceback in the log and
an event `defect` in the journal.
Three defects in ten minutes end the process: something is wrong that a restart of one part does not mend.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.errors import JournalError

log = logging.getLogger(__name__)

DEFECTS = 3
WITHIN_S = 600.0
RESTART_AFTER_S = 1.0


class Defects(Exception):
    """A part failed too often."""


class Pulse:
    """Who has shown life lately. A part beats at least as often as it promised; the watchdog asks who is
    silent.
    """

    def __init__(self) -> None:
        self._last_s: dict[str, float] = {}
        self._within_s: dict[str, float] = {}

    def beat(self, part: str, within_s: float) -> None:
        """`part` lives, and will say so again within `within_s`."""
        self._last_s[part] = asyncio.get_running_loop().time()
        self._within_s[part] = within_s

    def rest(self, part: str) -> None:
        """`part` ended as it should: nobody waits for its beat."""
        self._last_s.pop(part, None)

    def silent(self) -> list[str]:
        """The parts that are overdue."""
        now_s = asyncio.get_running_loop().time()
        return [part for part, last_s in self._last_s.items() if now_s - last_s > self._within_s[part]]


async def supervise(
    part: str, run: Callable[[], Awaitable[None]], say: Callable[[str, str], object] | None = None
) -> None:
    """Run `run` until it returns; restart it after a defect. `say` is told of each: the part, and in one line
    what and where.

    Raises Defects when it failed three times within ten minutes, and JournalError at once: nobody can mend
    the disk from here.
    """
    loop = asyncio.get_running_loop()
    defects: deque[float] = deque(maxlen=DEFECTS)
    while True:
        try:
            await run()
            return
        except JournalError:
            raise
        except Exception as e:
            defects.append(loop.time())
            log.exception("%s: defect; restarting this part", part)
            if say is not None:
                _said(say, part, e)
            if len(defects) == DEFECTS and defects[-1] - defects[0] < WITHIN_S:
                raise Defects(f"{part}: {DEFECTS} defects within {WITHIN_S:g} s") from None
        await asyncio.sleep(RESTART_AFTER_S)


def _said(say: Callable[[str, str], object], part: str, e: Exception) -> None:
    """Tell of a defect. Its own words stay in the log: a secret may stand in them."""
    frames = traceback.extract_tb(e.__traceback__)
    where = f", {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
    try:
        say(part, f"{type(e).__name__}{where}")
    except Exception:
        log.exception("%s: the defect cannot be journaled", part)


async def contained(
    part: str, run: Callable[[], Awaitable[None]], *, through: type[Exception] = JournalError
) -> bool:
    """Run a job once on somebody's behalf; whether it ended without a defect. A defect goes to the log with
    its traceback, and is no reason to end anything else. Raises JournalError and `through`.
    """
    try:
        await run()
    except (JournalError, through):
        raise
    except Exception:
        log.exception("%s: defect", part)
        return False
    return True


class Notify:
    """systemd's notification socket (sd_notify(3)). Does nothing when systemd did not start us."""

    def __init__(self, address: str | None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address

    def send(self, *lines: str) -> None:
        """Send e.g. "READY=1", "STATUS=…", "WATCHDOG=1". Does not block; a deaf systemd is not our fault."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as s:
            try:
                s.sendto("\n".join(lines).encode(), self._address)
            except OSError as e:
                log.debug("systemd does not listen: %s", e)
