"""What every port of the emulated station can do, and a thread with a loop of its own to run ports in."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from drivers.emulators.wire import Wire

READY_WITHIN_S = 10.0

T = TypeVar("T")


class Port(Protocol):
    """What a `PortThread` and a station can run."""

    name: str
    wire: Wire

    @property
    def path(self) -> str:
        """What goes behind `port =` in station.toml; set once started."""
        ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def unplug(self) -> None: ...

    def replug(self) -> None: ...


def plan_unplugs(port: Port) -> list[asyncio.TimerHandle]:
    """Set the timers for the faults that take this port away and put it back."""
    loop = asyncio.get_running_loop()
    timers = []
    for fault in port.wire.faults.unplugs(port.name):
        timers.append(loop.call_at(port.wire.zero_s + fault.start_s, port.unplug))
        if fault.start_s + fault.length_s < float("inf"):
            timers.append(loop.call_at(port.wire.zero_s + fault.start_s + fault.length_s, port.replug))
    return timers


class PortThread:
    """Ports in a loop of their own in a thread of their own; a context manager that gives the ports.

    The loop waits with select(2), which knows microseconds; epoll(7) rounds up to milliseconds, too coarse
    for a timed wire.
    """

    def __init__(self, *ports: Port) -> None:
        self.ports = ports
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="emulated ports", daemon=True)

    def __enter__(self) -> tuple[Port, ...]:
        self.start()
        return self.ports

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the thread and wait until all ports can be opened. Raises what a port's start raised."""
        self._thread.start()
        if not self._ready.wait(READY_WITHIN_S):
            raise TimeoutError("the emulated ports did not start")
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """Take the ports away and end the thread. Safe to call twice."""
        loop = self._loop
        if loop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(self._end.set)
        self._thread.join(READY_WITHIN_S)

    def call(self, what: Callable[[], T]) -> T:
        """Do something with a port in its own loop (`thread.call(port.unplug)`) and give its result."""
        if self._loop is None:
            raise RuntimeError("the ports have not been started")

        async def run() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(READY_WITHIN_S)

    def _run(self) -> None:
        with asyncio.Runner(
            loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
        ) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        started: list[Port] = []
        try:
            try:
                for port in self.ports:
                    await port.start()
                    started.append(port)
            except OSError as e:
                self._failed = e
                return
            finally:
                self._ready.set()
            await self._end.wait()
        finally:
            for port in started:
                await port.stop()
