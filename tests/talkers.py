"""An instrument that answers with what it was asked, and questions to it; for tests of wires."""

from __future__ import annotations

import time
from collections.abc import Callable

from drivers.emulators.base import Answer
from drivers.link import Link

WITHIN_S = 20.0


class Talker:
    """The smallest instrument: `a?` is answered with `a=N.` where N counts up; other letters are ignored."""

    def __init__(self, name: str, letter: str, after_s: float = 0.0, every_s: float | None = None) -> None:
        self.name = name
        self.letter = letter.encode()
        self.after_s = after_s
        self.every_s = every_s
        self.n = 0
        self.heard = b""
        self.said_at_s = 0.0

    def feed(self, data: bytes, now_s: float) -> list[Answer]:
        self.heard += data
        return [self._next(True) for _ in range(data.count(self.letter + b"?"))]

    def due_s(self, now_s: float) -> float | None:
        return None if self.every_s is None else self.said_at_s + self.every_s

    def speak(self, now_s: float) -> list[Answer]:
        self.said_at_s = now_s
        return [self._next(False)]

    def _next(self, asked: bool) -> Answer:
        self.n += 1
        data = self.letter + b"=%04d." % self.n
        return Answer(data, self.after_s if asked else 0.0, {"n": float(self.n)}, asked)


def until(true: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    deadline_s = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < deadline_s, "it never came"
        time.sleep(0.002)


async def question(link: Link, what: bytes, within_s: float = WITHIN_S) -> bytes:
    await link.send(what)
    return await link.receive_until(b".", within_s)
