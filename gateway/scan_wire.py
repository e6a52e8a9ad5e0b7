"""Asking on a port of which nothing is known yet: one question, everything that came, and what it looks like.

Every frame goes through `ask` or `put`, which send nothing that `scan_probe.may_be_sent` does not know as a
read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from drivers import frames
from drivers.base import GarbledAnswer, NoAnswer
from drivers.link import Line, Link
from gateway.scan_probe import Question, may_be_sent

SLACK_S = 0.05
"""What a USB adapter may hold bytes back: its latency timer is 16 ms from the factory (FTDI)."""
KEPT = 64
"""Bytes of raw evidence that are kept of each kind."""


@dataclass(slots=True)
class Evidence:
    """What a port showed while it was asked. Counts are of questions."""

    asked: int = 0
    silent: int = 0
    echoed: int = 0
    specks: int = 0
    """Nothing but one or two bytes 00 or FF came."""
    rubbish: int = 0
    """Bytes came that are no answer."""
    answered: int = 0
    stray: int = 0
    """A good answer with rubbish ahead of it."""
    rubbish_lines: set[Line] = field(default_factory=set)
    heard_lines: set[Line] = field(default_factory=set)
    """Settings at which bytes came that nobody had asked for."""
    sample: bytes = b""
    """Some of the rubbish."""


@dataclass(frozen=True, slots=True)
class Came:
    """What came upon one question. `answer` is the PDU of a whole answer, `late` the unit whose answer to an
    earlier question this is.
    """

    answer: bytes | None = None
    raw: bytes = b""
    late: int | None = None

    @property
    def refused(self) -> bool:
        return self.answer is not None and bool(self.answer[0] & 0x80)

    @property
    def is_garbled(self) -> bool:
        return self.answer is None and len(self.raw) > 2


class Wire:
    """One port, opened with one line setting after another."""

    def __init__(self, port: str) -> None:
        self.port = port
        self.link = Link(port)
        self.evidence = Evidence()
        self._transaction = 0

    async def set(self, line: Line) -> None:
        """Open the port with these settings. Raises PortLost."""
        if self.link.line != line or not self.link.is_open:
            self.link.close()
            self.link = Link(self.port, line)
        await self.link.open()

    def close(self) -> None:
        self.link.close()

    async def listen(self, seconds: float, enough: Callable[[bytes], object]) -> bytes:
        """Everything that comes without being asked for, until `enough` says so. Raises PortLost."""
        heard = b""

        def cut(got: bytes) -> tuple[bytes, int] | None:
            nonlocal heard
            heard = got
            return (got, len(got)) if enough(got) else None

        try:
            await self.link.receive_frame(cut, seconds)
        except NoAnswer:
            return b""
        except GarbledAnswer as e:
            heard = e.frame
        if heard:
            self.evidence.heard_lines.add(self.link.line)
            self.evidence.sample = self.evidence.sample or heard[:KEPT]
        return heard

    async def ask(self, unit: int, pdu: bytes, within_s: float, *, linger_s: float = 0.0) -> Came:
        """One Modbus read. With `linger_s` what comes behind the answer is waited for too. Raises PortLost,
        and ValueError for what is no read.
        """
        framing = self.link.framing
        self._transaction = self._transaction % 0xFFFF + 1
        request = frames.pack(framing, unit, pdu, self._transaction)
        cut = frames.answer_cut(framing, unit, pdu, self._transaction)
        rest_s = frames.answer_length(framing, pdu) * self.link.line.char_s + SLACK_S
        frame, raw = await self.put(request, cut, within_s, rest_s)
        if frame is not None:
            self.evidence.answered += 1
            if linger_s:
                await asyncio.sleep(linger_s)
                raw += self.link.discard()
            if not raw.startswith(frame):
                self.evidence.stray += 1
            return Came(frames.unpack(framing, frame), raw)
        late = frames.speaker(framing, unit, raw) if framing == "rtu" else None
        self._judge(raw, late)
        return Came(None, raw, late)

    async def question(self, asked: Question) -> object:
        """One question to what is no Modbus unit: what it meant, or None. Raises PortLost."""

        def cut(got: bytes) -> tuple[bytes, int] | None:
            return (got, len(got)) if asked.meant(got) is not None else None

        frame, raw = await self.put(asked.data, cut, asked.within_s, SLACK_S)
        if frame is None:
            self._judge(raw, None)
            return None
        self.evidence.answered += 1
        return asked.meant(frame)

    async def put(
        self,
        data: bytes,
        cut: Callable[[bytes], tuple[bytes, int] | None],
        within_s: float,
        rest_s: float,
    ) -> tuple[bytes | None, bytes]:
        """Send what only reads; the frame that `cut` finds, and everything that came but our own echo."""
        if not may_be_sent(self.link.framing, data):
            raise ValueError(f"a scan only reads; it does not send {data.hex(' ')}")
        raw, frame = b"", None

        def keep(got: bytes) -> tuple[bytes, int] | None:
            nonlocal raw
            raw = got
            return cut(got.removeprefix(data))

        self.evidence.asked += 1
        self.link.discard()
        try:
            await self.link.send(data)
            frame = await self.link.receive_frame(keep, within_s, rest_s=rest_s)
        except NoAnswer:
            raw = b""
        except GarbledAnswer as e:
            raw = e.frame
        if raw.startswith(data):
            self.evidence.echoed += 1
            raw = raw[len(data) :]
        return frame, raw

    def _judge(self, raw: bytes, late: int | None) -> None:
        evidence = self.evidence
        if not raw:
            evidence.silent += 1
        elif late is None and len(raw) <= 2 and set(raw) <= {0, 0xFF}:
            evidence.specks += 1
        elif late is None:
            evidence.rubbish += 1
            evidence.rubbish_lines.add(self.link.line)
            evidence.sample = raw[:KEPT]
