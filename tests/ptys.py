"""A pseudo-terminal for tests: one end is ours, the other is the port a `Link` opens."""

from __future__ import annotations

import asyncio
import os
import tty
from pathlib import Path


class Pty:
    """The instrument's end of a wire. `port` is what the link opens: the terminal, or a symlink to it like
    udev's.

    Use it inside a running loop: `with Pty() as wire: ...`.
    """

    def __init__(self, symlink: Path | None = None) -> None:
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)  # ours stays open too: a link that closes is no hang-up for the instrument
        os.set_blocking(self._ours, False)
        self.port = os.ttyname(self._theirs)
        if symlink is not None:
            symlink.unlink(missing_ok=True)
            symlink.symlink_to(self.port)
            self.port = str(symlink)
        self._heard = bytearray()
        self._other: Pty | None = None
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._ours, self._readable)

    def __enter__(self) -> Pty:
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def say(self, data: bytes) -> None:
        """Put bytes on the wire."""
        while data:
            data = data[os.write(self._ours, data) :]

    async def hear(self, n: int, within_s: float = 30.0) -> bytes:
        """The next `n` bytes the link sends; fewer when the deadline came first."""
        deadline_s = self._loop.time() + within_s
        while len(self._heard) < n and await self._wait(deadline_s):
            pass
        got = bytes(self._heard[:n])
        del self._heard[:n]
        return got

    def overheard(self) -> bytes:
        """What the link has sent and nobody has asked for."""
        self._readable()
        got = bytes(self._heard)
        self._heard.clear()
        return got

    def unplug(self) -> None:
        """Pull the plug: the link's end sees a hang-up. Safe to call twice."""
        if self._ours >= 0:
            self._loop.remove_reader(self._ours)
            os.close(self._ours)
            os.close(self._theirs)
        self._ours = -1

    def pass_on_to(self, other: Pty) -> None:
        """From now on say on `other` whatever is heard here."""
        self._other = other

    async def _wait(self, deadline_s: float) -> bool:
        self._news.clear()
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _readable(self) -> None:
        if self._ours < 0:
            return
        try:
            got = os.read(self._ours, 4096)
        except BlockingIOError:
            return
        if self._other is not None:
            self._other.say(got)
            return
        self._heard += got
        self._news.set()


class TcpPort:
    """An instrument on a loopback TCP port, with the same words as `Pty`. `unplug` drops the connection."""

    def __init__(self) -> None:
        self.port = ""
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._heard = bytearray()
        self._news = asyncio.Event()
        self.connections = 0

    @classmethod
    async def open(cls) -> TcpPort:
        """Listen on a free port. `port` is how a link names it: tcp://127.0.0.1:…"""
        made = cls()
        made._server = await asyncio.start_server(made._serve, "127.0.0.1", 0)
        host, port = made._server.sockets[0].getsockname()
        made.port = f"tcp://{host}:{port}"
        return made

    def __enter__(self) -> TcpPort:
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()
        self.refuse()

    def say(self, data: bytes) -> None:
        if self._writer is None:
            raise ConnectionError("nobody is connected")
        self._writer.write(data)

    async def hear(self, n: int, within_s: float = 30.0) -> bytes:
        try:
            async with asyncio.timeout(within_s):
                while len(self._heard) < n:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass
        got = bytes(self._heard[:n])
        del self._heard[:n]
        return got

    def overheard(self) -> bytes:
        got = bytes(self._heard)
        self._heard.clear()
        return got

    def unplug(self) -> None:
        """Drop the connection; a new one is taken."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def refuse(self) -> None:
        """Take no new connections."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        self._heard.clear()
        try:
            while got := await reader.read(4096):
                self._heard += got
                self._news.set()
        finally:
            writer.close()
            if self._writer is writer:
                self._writer = None


class PtyPair:
    """Two pseudo-terminals joined by their far ends: what one port's program says, the other's hears.

    For two programs that both want to open a serial port. Use it inside a running loop.
    """

    def __init__(self) -> None:
        self._ends = (Pty(), Pty())
        self.ports = (self._ends[0].port, self._ends[1].port)
        for here, there in (self._ends, self._ends[::-1]):
            here.pass_on_to(there)

    def __enter__(self) -> PtyPair:
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            end.unplug()
