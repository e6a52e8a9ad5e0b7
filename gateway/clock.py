"""The clock stamps, it never sleeps: waiting is the event loop's time everywhere, so a clock step moves no
schedule.

A stamp holds UTC as well as it was known, and the boot's own clock, which runs through suspend and is never
set (CLOCK_BOOTTIME, clock_gettime(2)). With both a reading is dated again when the machine learns the time
(gateway.dating). Who says that the system clock is right, [clock] source:

    "ntp"    the kernel: something disciplines its clock, chrony, systemd-timesyncd or ntpd
             (adjtimex(2), STA_UNSYNC)
    "rtc"    also a hardware clock that agrees with the system clock
    "trust"  the owner of the station
    "modem"  the mobile network, by the SMS modem (gateway.clock_modem). The system clock is not set by it;
             where the kernel is not synchronised, UTC is what the network said and how long that is ago

No source is believed when it says what cannot be: earlier than a time this station was once sure of, or
`FAR_MS` beyond it. (A receiver of GPS that lost count of the weeks is 1024 of them off, 19.6 years: the week
number has ten bits.) Within a boot that once was right, "ntp" and "rtc" may correct the clock by a day.

Until the clock is right, UTC is the system's if that can be, and else the earliest that it can be: the last
sure time and how long the machine has run since. So time does not run back when a machine without a battery
starts again. And when the clock was right and is not any more, it goes on from there: whoever sets the system
clock by hand then moves no reading.

A correction that the time daemon slews (systemd-timesyncd below 0.4 s, chrony below 1 s) moves both clocks
alike and cannot be told from true time; gateway.dating adds it to what it says of its uncertainty.
"""

from __future__ import annotations

import ctypes
import logging
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

from gateway.model import Stamp

log = logging.getLogger(__name__)

Source = Literal["ntp", "rtc", "trust", "modem"]

BUILT_MS = 1_735_689_600_000
"""2025-01-01: no station was ever read before; raise it now and then."""
FAR_MS = 15 * 365 * 86_400_000
"""A clock that is further ahead of what was sure is wrong, however sure it is of itself."""
CORRECTION_MS = 86_400_000
"""So much a source may take back of what it said before."""
TOLD_APART_MS = 3000
"""A modem's network that says again what it said does not move the clock back and forth by less than this."""
STEP_MS = 500
"""A jump of the system clock that is said, as an event."""
NOTICE_MS = 20
"""After such a jump the source is asked at once: whoever set the clock may have taken its discipline away."""
ASK_AGAIN_MS = 10_000
"""The kernel is asked for its sync state at most this often: a system call per reading would cost more than
the reading.
"""
RTC_ASK_AGAIN_MS = 600_000
RTC_APART_S = 5.0
RTC_DRIFT = 200e-6
"""How far a hardware clock may be from a system clock that was set by it at boot."""
RTC = Path("/sys/class/rtc")
"""Linux, Documentation/ABI/testing/sysfs-class-rtc: since_epoch; hctosys is 1 where the kernel set its clock
by this one at boot.
"""

_STA_UNSYNC = 0x0040  # linux/timex.h
_TIMEX_BYTES = (
    208  # sizeof(struct timex) on 64-bit Linux; `status` is the int after modes (padded), offset, freq,
)
_STATUS_AT = 40  #     maxerror, esterror: 8 + 4 * 8


class Memory(Protocol):
    """What the station remembers of the time (gateway.dating.DatingFold)."""

    def known_ms(self, boot: str, mono_ms: int) -> int | None:
        """UTC by the last right clock of this boot; None when it was never right."""
        ...

    def least_ms(self, boot: str, mono_ms: int) -> int:
        """UTC at the earliest, by what was sure before."""
        ...

    def note(self, what: str, detail: dict[str, Any]) -> None:
        """Have this said as an event."""
        ...


class Machine:
    """The machine's own clocks; a test brings others. `rtc` is where the kernel shows its hardware clocks."""

    def __init__(self, rtc: Path = RTC) -> None:
        self._rtc = rtc

    def boot(self) -> str:
        return boot_id()

    def read_ms(self) -> tuple[int, int]:
        """UTC as the system has it, and the boot's clock, of the same moment."""
        for _ in range(3):
            before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            utc = time.time_ns()
            after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            if after - before < 1_000_000:  # else we were interrupted between the two
                break
        return utc // 1_000_000, (before + after) // 2_000_000

    def synced(self) -> bool:
        return kernel_synced()

    def rtc_s(self) -> float | None:
        """UTC of the hardware clock; None where there is none."""
        for clock in sorted(self._rtc.glob("rtc*"), key=lambda c: (_text(c / "hctosys") != "1", c.name)):
            if (said := _text(clock / "since_epoch")).isdecimal():
                return int(said) + 0.5
        return None


class Clock:
    """Makes stamps. One for the whole station."""

    def __init__(
        self, source: Source = "ntp", *, memory: Memory | None = None, machine: Machine | None = None
    ) -> None:
        self.source = source
        self.synced = False
        """As of the last stamp."""
        self.doubt: str | None = None
        """Why the source is not believed; None while nothing speaks against it."""
        self._machine = machine or Machine()
        self._memory = memory
        self.boot = self._machine.boot()
        self._offset_ms: int | None = None
        self._asked_ms = 0
        self._first_ms = self._machine.read_ms()[1]
        self._rtc_asked_ms: int | None = None
        self._rtc_agrees = False
        self._told_offset_ms: int | None = None
        self._kernel = (False, -ASK_AGAIN_MS)  # whether it was synchronised, and when it was asked

    def stamp(self) -> Stamp:
        """Now. Does not block."""
        utc_ms, mono_ms = self._machine.read_ms()
        if self._told_offset_ms is not None and not self._kernel_synced(mono_ms):
            utc_ms = mono_ms + self._told_offset_ms
        offset_ms = utc_ms - mono_ms
        last_ms = self._offset_ms
        if (
            last_ms is None
            or mono_ms < self._first_ms + ASK_AGAIN_MS  # the memory may come only after the first stamp
            or mono_ms - self._asked_ms >= ASK_AGAIN_MS
            or not -NOTICE_MS <= offset_ms - last_ms <= NOTICE_MS
        ):
            self._asked_ms, self._offset_ms = mono_ms, offset_ms
            step_ms = 0 if last_ms is None else offset_ms - last_ms
            self._ask(utc_ms, mono_ms, step_ms)
            if abs(step_ms) > STEP_MS:
                log.warning("the system clock was set by %+.3f s", step_ms / 1000)
                self._note("clock_step", {"step_ms": step_ms, "believed": self.synced})
        if self.synced:
            return Stamp(utc_ms, self.boot, mono_ms, True)
        return Stamp(self._best_ms(utc_ms, mono_ms), self.boot, mono_ms, False)

    def tell(self, utc_ms: int) -> str:
        """What the modem's network says that it is now. Gives why that is not believed, or ""."""
        mono_ms = self._machine.read_ms()[1]
        offset_ms, told_ms = utc_ms - mono_ms, self._told_offset_ms
        known_ms, least_ms = self._known_ms(mono_ms), self._least_ms(mono_ms)
        if not self._can_be(utc_ms, known_ms, least_ms):
            sure = _date(least_ms if known_ms is None else known_ms)
            return f"it says {_date(utc_ms)}, and this station was sure of {sure}"
        if told_ms is None or abs(offset_ms - told_ms) > TOLD_APART_MS:
            self._told_offset_ms, self._offset_ms = offset_ms, None  # so this is no step of the system clock
            step = {} if told_ms is None else {"step_ms": offset_ms - told_ms}
            self._note("clock_told", {"by": "modem", "utc_ms": utc_ms, **step})
        return ""

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _kernel_synced(self, mono_ms: int) -> bool:
        """Asked now and then: a system call per reading would cost more than the reading."""
        if mono_ms - self._kernel[1] >= ASK_AGAIN_MS:
            self._kernel = (self._machine.synced(), mono_ms)
        return self._kernel[0]

    @staticmethod
    def _can_be(utc_ms: int, known_ms: int | None, least_ms: int) -> bool:
        if known_ms is None:
            return max(least_ms - CORRECTION_MS, BUILT_MS) <= utc_ms <= least_ms + FAR_MS
        return abs(utc_ms - known_ms) <= CORRECTION_MS

    def _ask(self, utc_ms: int, mono_ms: int, step_ms: int) -> None:
        """Ask the source whether the system clock is right, and look whether that can be."""
        said = self._says_so(utc_ms, mono_ms, step_ms)
        known_ms, least_ms = self._known_ms(mono_ms), self._least_ms(mono_ms)
        if self.source == "trust":
            can_be = BUILT_MS <= utc_ms <= least_ms + FAR_MS
        else:
            can_be = self._can_be(utc_ms, known_ms, least_ms)
        self.synced = said and can_be
        if not said or can_be:
            self.doubt = None
        elif self.doubt is None:
            sure = _date(least_ms)
            self.doubt = f"the system clock says {_date(utc_ms)}, and this station was sure of {sure}"
            log.error("%s: not believed", self.doubt)
            detail = {"source": self.source, "utc_ms": utc_ms, "least_ms": least_ms}
            self._note("clock_doubted", detail)

    def _says_so(self, utc_ms: int, mono_ms: int, step_ms: int) -> bool:
        if self.source == "trust" or self._machine.synced():
            return True
        if self.source == "modem":
            return self._told_offset_ms is not None
        if self.source != "rtc":
            return False
        asked_ms = self._rtc_asked_ms
        if asked_ms is None or abs(step_ms) > STEP_MS or mono_ms - asked_ms >= RTC_ASK_AGAIN_MS:
            self._rtc_asked_ms = mono_ms
            rtc_s = self._machine.rtc_s()
            may_s = RTC_APART_S + RTC_DRIFT * mono_ms / 1000
            self._rtc_agrees = rtc_s is not None and abs(rtc_s - utc_ms / 1000) <= may_s
        return self._rtc_agrees

    def _best_ms(self, utc_ms: int, mono_ms: int) -> int:
        """UTC as well as it is known while the system clock is not known to be right."""
        known_ms = self._known_ms(mono_ms)
        if known_ms is not None:
            return known_ms
        least_ms = self._least_ms(mono_ms)
        return utc_ms if least_ms <= utc_ms <= least_ms + FAR_MS else least_ms

    def _known_ms(self, mono_ms: int) -> int | None:
        return None if self._memory is None else self._memory.known_ms(self.boot, mono_ms)

    def _least_ms(self, mono_ms: int) -> int:
        least_ms = 0 if self._memory is None else self._memory.least_ms(self.boot, mono_ms)
        return max(least_ms, BUILT_MS + mono_ms)

    def _note(self, what: str, detail: dict[str, Any]) -> None:
        if self._memory is not None:
            self._memory.note(what, detail)


def system_ms() -> int:
    """What the system clock says, right or wrong; for programs whose machine is not a station."""
    return time.time_ns() // 1_000_000


def boot_id() -> str:
    """The first eight hex digits of the kernel's random id of this boot: enough to tell one boot from its
    neighbours.
    """
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def kernel_synced() -> bool:
    """Whether something keeps the kernel's clock right. False where the kernel cannot be asked."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: read only, needs no privilege
    if _libc().adjtimex(timex) < 0:
        return False
    status = int.from_bytes(timex.raw[_STATUS_AT : _STATUS_AT + 4], "little", signed=True)
    return not status & _STA_UNSYNC


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):  # a hardware clock that answers nothing: EIO
        return ""


def _date(utc_ms: int) -> str:
    try:
        return datetime.fromtimestamp(utc_ms / 1000, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{utc_ms} ms"
