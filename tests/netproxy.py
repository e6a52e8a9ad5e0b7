"""A bad network between the station and a real server: a TCP proxy that cuts, stalls, delays, drips and
corrupts.

Runs in a thread and a loop of its own. `weather` changes its ways by a seed; each way can be set by hand too.
Corruption touches only what a checksum covers: in a request the gzip body behind the head. TCP has its own
checksum, so damage comes from a broken middle box or memory; in a head it could do anything, which only TLS
detects.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from tests.services import free_port

WAYS = ("clear", "cut", "shut", "stall", "delay", "drip", "half")
"""clear: all passes · cut: every connection breaks, new ones pass · shut: nobody opens · stall: connections
stay, nothing passes · delay: every piece waits · drip: a few bytes at a time · half: what comes back is held,
and lost with the connection.
"""


class Proxy:
    """Pass connections of `port` on to a server on `to_port`, in the present way. `corrupts` is how many of a
    million body bytes of requests get a wrong bit.
    """

    def __init__(self, to_port: int, *, seed: int = 1, corrupts: int = 0) -> None:
        self.port = free_port()
        self.way = "clear"
        self.corrupts = corrupts
        self.corrupted = 0
        self.passed: Counter[str] = Counter()
        """Bytes that went "there" and "back"."""
        self.ways: Counter[str] = Counter()
        """How often each way was taken."""
        self._to_port = to_port
        self._chance = random.Random(seed)
        self._writers: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="netproxy", daemon=True)

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        self._thread.start()
        try:
            self._do(self._open())
            yield self
        finally:
            self._do(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    def set(self, way: str) -> None:
        """Go on this way from now on."""
        self._do(self._set(way))

    def cut(self) -> None:
        """Break every connection; the way stays."""
        self._do(self._cut())

    def weather(self) -> None:
        """Change the way by itself, by the seed, until `set` is called."""
        self._do(self._begin_weather())

    # ── inside: in the proxy's own loop ─────────────────────────────────────────────────────────

    def _do(self, job: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(20)

    async def _open(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._clouds: asyncio.Task[None] | None = None
        await self._listen()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _close(self) -> None:
        if self._clouds is not None:
            self._clouds.cancel()
        await self._unlisten()
        await self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _set(self, way: str) -> None:
        if self._clouds is not None:
            self._clouds.cancel()
            self._clouds = None
        await self._go(way)

    async def _begin_weather(self) -> None:
        async def change() -> None:
            while True:
                await self._go(self._chance.choice(WAYS))
                await asyncio.sleep(self._chance.uniform(0.1, 1.0 if self.way != "clear" else 3.0))

        self._clouds = asyncio.create_task(change())

    async def _go(self, way: str) -> None:
        was, self.way = self.way, way
        self.ways[way] += 1
        self._changed.set()
        self._changed = asyncio.Event()
        if way in ("cut", "shut") or was == "half":
            await self._cut()
        if way == "shut":
            await self._unlisten()
        else:
            await self._listen()

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        there_writer = None
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
            self._writers.add(there_writer)
            await asyncio.gather(
                self._pass(reader, there_writer, "there"), self._pass(there_reader, writer, "back")
            )
        except OSError:
            pass
        finally:
            for one in (writer, there_writer):
                if one is not None:
                    self._writers.discard(one)
                    one.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, where: str) -> None:
        body = _Body()
        while data := await source.read(65536):
            if where == "there" and self.corrupts:
                data = self._spoil(data, body)
            while data:
                while self.way == "stall" or (self.way == "half" and where == "back"):
                    await self._changed.wait()
                piece = data
                if self.way == "drip":
                    piece = data[: self._chance.randint(1, 700)]
                    await asyncio.sleep(0.01)
                elif self.way == "delay":
                    await asyncio.sleep(self._chance.uniform(0.05, 0.4))
                sink.write(piece)
                await sink.drain()
                self.passed[where] += len(piece)
                data = data[len(piece) :]
        with contextlib.suppress(OSError):
            sink.write_eof()

    def _spoil(self, data: bytes, body: _Body) -> bytes:
        spoiled = bytearray(data)
        for at in body.places(data):
            if self._chance.random() < self.corrupts / 1e6:
                spoiled[at] ^= 1 << self._chance.randrange(8)
                self.corrupted += 1
        return bytes(spoiled)


class _Body:
    """Where in a stream of HTTP requests the bodies are that are packed by gzip."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    def places(self, data: bytes) -> range:
        """Which of these bytes belong to a body; the first request that is not whole ends the looking."""
        if self._left:
            count = min(self._left, len(data))
            self._left -= count
            return range(count)
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return range(0)
        self._head = b""
        fields = head.lower().split(b"\r\n")
        packed = b"content-encoding: gzip" in fields
        length = next((int(f.split(b":")[1]) for f in fields if f.startswith(b"content-length:")), 0)
        self._left = max(length - len(rest), 0)
        return range(len(data) - len(rest), len(data)) if packed else range(0)
