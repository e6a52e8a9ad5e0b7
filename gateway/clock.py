"""The clock stamps, it never sleeps: waiting is the event loop's time everywhere, so a clock step moves no
schedule.

A stamp holds UTC as the machine believed it, and the boot's own clock, which runs through suspend and is
never set (CLOCK_BOOTTIME, clock_gettime(2)). With both a reading can be dated again when the machine learns
the time. Whether the kernel's clock is disciplined is asked of the kernel itself (adjtimex(2), STA_UNSYNC),
whoever does it: chrony, systemd-timesyncd or ntpd.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

from gateway.model import Stamp

ASK_AGAIN_S = 10.0
"""The kernel is asked for its sync state at most this often: a system call per reading would cost more than
the reading.
"""

_STA_UNSYNC = 0x0040  # linux/timex.h
_TIMEX_BYTES = (
    208  # sizeof(struct timex) on 64-bit Linux; `status` is the int after modes (padded), offset, freq,
)
_STATUS_AT = 40  #     maxerror, esterror: 8 + 4 * 8


class Clock:
    """Makes stamps. One for the whole station."""

    def __init__(self) -> None:
        self.boot = boot_id()
        self._synced = False
        self._asked_s = -ASK_AGAIN_S

    def stamp(self) -> Stamp:
        """Now. Does not block."""
        mono_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        if mono_s - self._asked_s >= ASK_AGAIN_S:
            self._asked_s = mono_s
            self._synced = kernel_synced()
        return Stamp(time.time_ns() // 1_000_000, self.boot, int(mono_s * 1000), self._synced)


def boot_id() -> str:
    """The first eight hex digits of the kernel's random id of this boot: enough to tell one boot from its
    neighbours.
    """
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]


def kernel_synced() -> bool:
    """Whether something keeps the kernel's clock right. False where the kernel cannot be asked."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: read only, needs no privilege
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        return False
    status = int.from_bytes(timex.raw[_STATUS_AT : _STATUS_AT + 4], "little", signed=True)
    return not status & _STA_UNSYNC
