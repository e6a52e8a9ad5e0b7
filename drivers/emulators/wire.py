"""The wire between a port's emulated instruments and their reader: time, collisions, faults, the record.

No port is opened here: `drivers.emulators.port` brings the host's bytes and takes the instruments' bytes
away.

On a timed wire every byte takes its time, in both directions. An answer reaches the host in pieces of eight
bytes, as a 16550 hands them over from its FIFO. Half-duplex (RS-485): who speaks while another speaks garbles
both.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drivers.emulators.base import Answer, Emulator
from drivers.emulators.faults import Faults, Treated
from drivers.emulators.record import Record, Said
from drivers.link import Line

PIECE = 8
CLOCK_GRAIN_S = 50e-6
"""How much two clocks read one after the other may differ before a silence counts as broken."""
ORDER_S = 1e-6
"""Between two answers of one unit that start at the same time: timers of the same time have no order."""
SPEAK_AGAIN_S = 0.001
"""The shortest time between two turns of instruments that speak by themselves: a runaway one is held."""


@dataclass(slots=True)
class Counts:
    """What happened on a wire since the start."""

    heard_bytes: int = 0
    host_writes: int = 0
    answers: int = 0
    broken_silences: int = 0
    """Times the host spoke before the line had been silent for 3.5 characters (timed wires only)."""
    shortest_silence_s: float = float("inf")
    collisions: int = 0
    wrong_line_bytes: int = 0
    """Bytes sent with other line settings than the instruments have: to them it was noise."""


@dataclass(slots=True, eq=False)
class _Sending:
    """Bytes on their way to the host. `ends` says up to where they are there, and when (loop time)."""

    name: str
    data: bytearray
    answer: Answer
    ends: list[tuple[int, float]]
    start_s: float
    end_s: float
    turn: int
    spoiled: bool
    faults: tuple[str, ...]
    done: int = 0
    step: int = 0


class Wire:
    """One or several instruments on one wire. Lives in the event loop it was started in.

    `write` hands bytes to the host and gives how many it took. `turnaround_s` is the least time between the
    end of a request and an answer. `zero_s` is the loop time that the instruments call 0. `collide` is False
    where a network keeps the answers apart. `noise` hands over what the line itself says, which the host
    hears at whatever rate it listens.
    """

    def __init__(
        self,
        emulators: Sequence[Emulator],
        write: Callable[[bytes], int],
        *,
        name: str,
        line: Line,
        timed: bool = False,
        faults: Faults | None = None,
        record: Record | None = None,
        echo: bool = False,
        half_duplex: bool | None = None,
        collide: bool = True,
        turnaround_s: float = 0.0,
        noise: Callable[[bytes], int] | None = None,
    ) -> None:
        self.emulators = tuple(emulators)
        self.name = name
        self.line = line
        self.timed = timed
        self.faults = faults if faults is not None else Faults()
        self.record = record if record is not None else Record()
        self.counts = Counts()
        self.zero_s = 0.0
        self._write = write
        self._noise = noise or write
        self._names = tuple(e.name for e in self.emulators)
        self._echo = echo
        self._half_duplex = len(self.emulators) > 1 if half_duplex is None else half_duplex
        self._collide = collide
        self._turnaround_s = turnaround_s
        self._sendings: list[_Sending] = []
        self._turn = 0
        self._host_until_s = 0.0  # when the host's last byte has left
        self._known_until_s = 0.0  # when the last byte was on the wire of which the host can know
        self._timers: set[asyncio.TimerHandle] = set()
        self._speak_timer: asyncio.TimerHandle | None = None
        self._rng = random.Random(f"{name} collisions")

    def start(self, zero_s: float | None = None) -> None:
        """Begin: instruments that speak by themselves speak from now on."""
        loop = asyncio.get_running_loop()
        self.zero_s = loop.time() if zero_s is None else zero_s
        for emulator in self.emulators:
            if hasattr(emulator, "wake"):  # it is told things from outside, also from other threads
                emulator.wake = lambda: loop.call_soon_threadsafe(self._rearm)
        self._rearm()

    def stop(self) -> None:
        """Stop speaking; what is on its way is lost."""
        self.hush("stopped")
        if self._speak_timer is not None:
            self._speak_timer.cancel()
            self._speak_timer = None

    def hush(self, why: str) -> None:
        """Drop everything under way, as when the port is pulled out."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for sending in self._sendings:
            self._note(sending, lost=why)
        self._sendings.clear()

    def from_host(self, data: bytes) -> None:
        """Take what the host sent just now."""
        now_s = asyncio.get_running_loop().time()
        self.counts.heard_bytes += len(data)
        self.counts.host_writes += 1
        if not self.timed:
            self._hear(data, now_s)
            return
        start_s = max(now_s, self._host_until_s)
        if start_s == now_s:  # not the rest of what is leaving now
            silence_s = start_s - max(self._known_until_s, self._host_until_s)
            self.counts.shortest_silence_s = min(self.counts.shortest_silence_s, silence_s)
            if silence_s < self.line.silence_s - CLOCK_GRAIN_S:
                self.counts.broken_silences += 1
        end_s = self._host_until_s = start_s + len(data) * self.line.char_s
        if self._half_duplex:
            for other in self._sendings:
                if other.start_s < end_s and start_s < other.end_s:
                    data = self._clash(other, data, start_s)
        self._later(end_s, lambda: self._hear(data, end_s))

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    def _hear(self, data: bytes, at_s: float) -> None:
        """Let every instrument hear what has arrived, and put their answers on the wire."""
        now_s = at_s - self.zero_s
        self._turn += 1
        put = self._line_says(data, at_s)
        if self.faults.swapped(self.name, self._names, now_s):
            for sending in put:
                self._next(sending)
            return
        for emulator in self.emulators:
            if not self.faults.dead(emulator.name, self.name, now_s):
                put += [self._answer(emulator.name, answer, at_s) for answer in emulator.feed(data, now_s)]
        for sending in put:  # only now: who answers the same bytes must meet before the first is through
            self._next(sending)
        self._rearm()

    def misheard(self, data: bytes) -> None:
        """Take what the host sent with other settings: noise to the instruments, but not to the adapter."""
        for sending in self._line_says(data, asyncio.get_running_loop().time()):
            self._next(sending)

    def _line_says(self, data: bytes, at_s: float) -> list[_Sending]:
        """What adapter and line make of the host's bytes: echo, swapped wires, a line without bias."""
        now_s = at_s - self.zero_s
        put = []
        if self._echo or self.faults.echoes(self.name, self._names, now_s):
            put.append(self._put("", Answer(data), at_s, Treated(((0.0, data),), faults=("echo",))))
        if self.faults.swapped(self.name, self._names, now_s):
            put.append(self._put("", Answer(b"\0"), at_s, Treated(((0.0, b"\0"),), faults=("swapped",))))
        elif rubbish := self.faults.floats(self.name, self._names, now_s):
            put.append(self._put("", Answer(rubbish), at_s, Treated(((0.0, rubbish),), faults=("floating",))))
        return put

    def _speak(self) -> None:
        at_s = asyncio.get_running_loop().time()
        now_s = at_s - self.zero_s
        self._speak_timer = None
        for emulator in self.emulators:
            due_s = emulator.due_s(now_s)
            if due_s is not None and due_s <= now_s:
                for answer in emulator.speak(now_s):
                    gone = self.faults.swapped(self.name, self._names, now_s)
                    if not gone and not self.faults.dead(emulator.name, self.name, now_s):
                        self._turn += 1
                        self._next(self._answer(emulator.name, answer, at_s))
        self._rearm(at_s + SPEAK_AGAIN_S)

    def _rearm(self, not_before_s: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time() - self.zero_s
        dues = [due for due in (e.due_s(now_s) for e in self.emulators) if due is not None]
        at_s = max(min(dues) + self.zero_s, not_before_s) if dues else None
        if self._speak_timer is not None:
            if at_s is not None and abs(self._speak_timer.when() - at_s) < 1e-6:
                return
            self._speak_timer.cancel()
            self._speak_timer = None
        if at_s is not None:
            self._speak_timer = loop.call_at(at_s, self._speak)

    def _answer(self, name: str, answer: Answer, at_s: float) -> _Sending:
        treated = self.faults.treat(name, self.name, answer.data, at_s - self.zero_s)
        after_s = max(answer.after_s, self._turnaround_s if answer.asked else 0.0) + treated.late_s
        self.counts.answers += 1
        return self._put(name, answer, at_s + after_s, treated)

    def _put(self, name: str, answer: Answer, start_s: float, treated: Treated) -> _Sending:
        """Plan when each piece is with the host: from `start_s` on, behind what the same unit is saying."""
        start_s = max([start_s, *(s.end_s + ORDER_S for s in self._sendings if s.name == name)])
        char_s = self.line.char_s if self.timed else 0.0
        data = bytearray()
        ends: list[tuple[int, float]] = []
        at_s = start_s
        for pause_s, piece in treated.pieces:
            at_s += pause_s
            step = PIECE if self.timed else len(piece)
            for i in range(0, len(piece), step):
                data += piece[i : i + step]
                at_s += len(piece[i : i + step]) * char_s
                ends.append((len(data), at_s))
        sending = _Sending(
            name, data, answer, ends, start_s, at_s, self._turn, treated.spoiled, treated.faults
        )
        for other in self._sendings:
            if self._collide and other.name and name and other.name != name and self._overlap(other, sending):
                self._garble(other, start_s)
                self._garble(sending, other.start_s)
                self.counts.collisions += 1
        self._sendings.append(sending)
        return sending

    def _overlap(self, one: _Sending, two: _Sending) -> bool:
        if self.timed:
            return one.start_s < two.end_s and two.start_s < one.end_s
        # Bytes take no time here: answers to the same bytes count that would have overlapped on a wire.
        lasts_s = self.line.char_s * max(len(one.data), len(two.data))
        return one.turn == two.turn and abs(one.start_s - two.start_s) < lasts_s

    def _garble(self, sending: _Sending, from_s: float) -> None:
        """Make unreadable what of `sending` is still to come, from `from_s` on."""
        if not sending.data:
            return
        reached = [end for end, at_s in sending.ends if at_s <= from_s]
        first = max(sending.done, reached[-1] if reached and self.timed else 0)
        for i in range(min(first, len(sending.data) - 1), len(sending.data)):
            sending.data[i] ^= self._rng.randint(1, 255)
        sending.spoiled = True
        if "collision" not in sending.faults:
            sending.faults += ("collision",)

    def _clash(self, sending: _Sending, data: bytes, start_s: float) -> bytes:
        """The host speaks into an answer: both are lost."""
        self._garble(sending, start_s)
        self.counts.collisions += 1
        return bytes(byte ^ self._rng.randint(1, 255) for byte in data)

    def _next(self, sending: _Sending) -> None:
        """Hand over what has arrived; come again for the rest."""
        now_s = asyncio.get_running_loop().time()
        while sending.step < len(sending.ends):
            end, at_s = sending.ends[sending.step]
            if at_s > now_s:
                self._later(at_s, lambda: self._next(sending))
                return
            piece = bytes(sending.data[sending.done : end])
            taken = (self._write if sending.name else self._noise)(piece)
            self._known_until_s = max(self._known_until_s, at_s)
            sending.done, sending.step = end, sending.step + 1
            if taken < len(piece):
                self._sendings.remove(sending)
                self._note(sending, lost="nobody listened")
                return
        self._sendings.remove(sending)
        self._note(sending)

    def _note(self, sending: _Sending, lost: str = "") -> None:
        if not sending.answer.values or not sending.name:
            return
        faults = (*sending.faults, lost) if lost else sending.faults
        at_s = asyncio.get_running_loop().time()
        self.record.add(
            Said(
                name=sending.name,
                port=self.name,
                at_s=at_s,
                utc_ms=time.time_ns() // 1_000_000,
                values=dict(sending.answer.values),
                asked=sending.answer.asked,
                spoiled=sending.spoiled or bool(lost),
                fault=" ".join(faults),
            )
        )

    def _later(self, at_s: float, what: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            what()

        timer = asyncio.get_running_loop().call_at(at_s, run)
        self._timers.add(timer)
