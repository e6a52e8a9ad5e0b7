"""An asyncio loop whose time jumps to the next timer when nothing else is left to do.

    from tests.virtual_time import run

    def test_warm_up() -> None:
        run(thirty_seconds_of_warming_up())     # takes milliseconds

Real pseudo-terminals and sockets work under it. Before every jump the loop looks for bytes that are on
their way:

* A pseudo-terminal's bytes wait in a kernel work queue between write and read. epoll does not look there;
poll(2) asks
  the line discipline of each descriptor, and that empties the queue first (n_tty_poll in
  drivers/tty/n_tty.c). So this loop polls, and bytes written in this process before a poll are seen by it.
* A loopback socket's bytes arrive by an interrupt that may be put off on a loaded machine, so each jump
waits `GRACE_S`
  of real time for them when a socket is watched.
* Work handed to threads (`run_in_executor`, name look-ups) and anything inside `with loop.hold():` stops
jumps until it
  is done. Use `hold` while another process or thread is expected to say something: nobody can see that
  coming.

When there is no timer to jump to and nothing comes, `HANG_S` of real time later the loop raises instead of
hanging.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import stat
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

GRACE_S = 0.002
HANG_S = 30.0

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that starts at 1000 s and never waits where it can jump."""

    def __init__(self) -> None:
        self._now_s = 1000.0
        self._holds = 0
        super().__init__(_JumpingSelector(self))
        self._clock_resolution = 1e-6  # after months of virtual seconds a float is no finer

    def time(self) -> float:
        return self._now_s

    @contextmanager
    def hold(self) -> Iterator[None]:
        """No jumps inside: time stands still while something outside this loop works."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._holds += 1

        def release(_: object) -> None:
            self._holds -= 1

        future.add_done_callback(release)
        return future


class _JumpingSelector(selectors.PollSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if timeout is not None and not self._loop._holds:
            if self._watches_a_socket():
                events = super().select(GRACE_S)
            if not events:
                self._loop._now_s += timeout
            return events
        until_s = time.monotonic() + HANG_S  # nothing to jump to, or held: only the outside world can go on
        while not events:
            if time.monotonic() > until_s:
                raise RuntimeError(f"virtual time: nothing for {HANG_S:g} s, and no timer to jump to")
            events = super().select(0.05)
            if timeout is not None and not self._loop._holds:
                break
        return events

    def _watches_a_socket(self) -> bool:
        # The loop's own self-pipe is a socket pair: AF_UNIX, delivered within the write.
        return any(_is_network(key.fd) for key in self.get_map().values())


def _is_network(fd: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return False
    with socket.socket(fileno=os.dup(fd)) as sock:
        return sock.family != socket.AF_UNIX
