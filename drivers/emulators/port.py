"""Emulated instruments on ports that a program can open: a pseudo-terminal or a TCP port.

    with PortThread(PtyPort([probe], name="river", line=Line(9600, "8N1"))) as ports:
        minimalmodbus.Instrument(ports[0].path, 1)

A port lives in one event loop: start it in your own (`await port.start()`), or give it to a `PortThread`,
whose loop runs in a thread of its own, so that blocking readers and the station can sit in the same process.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import select
import socket
import termios
import tty
from collections.abc import Sequence
from pathlib import Path

from drivers.emulators.base import Emulator
from drivers.emulators.faults import Faults
from drivers.emulators.record import Record, Said, answered, load
from drivers.emulators.thread import Port, PortThread, plan_unplugs
from drivers.emulators.wire import Counts, Wire
from drivers.link import Line

__all__ = ["Counts", "Port", "PortThread", "PtyPort", "Record", "Said", "TcpPort", "answered", "load"]

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 0.02
"""How often a pseudo-terminal that nobody has open is looked at."""


class PtyPort:
    """Instruments on a pseudo-terminal.

    `path` is what the station opens: the terminal, or `link_path` pointing to it.

    `check_line`: a host with other settings than `line` (rate, data and stop bits; a pseudo-terminal has no
    parity) is noise to the instruments, and they to it. `echo`: the adapter hears itself. `zero_s`: the
    loop's time that the instruments call 0 (default: the start). See `Wire` for the rest.
    """

    def __init__(
        self,
        emulators: Sequence[Emulator],
        *,
        name: str = "",
        line: Line | None = None,
        link_path: Path | str | None = None,
        timed: bool = False,
        faults: Faults | None = None,
        record: Record | None = None,
        echo: bool = False,
        half_duplex: bool | None = None,
        check_line: bool = False,
        turnaround_s: float = 0.0,
        zero_s: float | None = None,
    ) -> None:
        self.name = name or emulators[0].name
        self.wire = Wire(
            emulators, self._write, name=self.name, line=line or Line(), timed=timed, faults=faults,
            record=record, echo=echo, half_duplex=half_duplex, turnaround_s=turnaround_s,
            noise=self._write_anyhow,
        )  # fmt: skip
        self.link_path = str(link_path) if link_path else ""
        self._check_line = check_line
        self._zero_s = zero_s
        self._master = -1
        self._slave_path = ""
        self._open = False  # whether a host has the port open
        self._look: asyncio.TimerHandle | None = None
        self._plan: list[asyncio.TimerHandle] = []

    @property
    def path(self) -> str:
        return self.link_path or self._slave_path

    async def start(self) -> None:
        """Create the terminal. Raises OSError when there are none left."""
        self.replug()
        self.wire.start(self._zero_s)
        self._plan = plan_unplugs(self)

    async def stop(self) -> None:
        for timer in self._plan:
            timer.cancel()
        self.unplug()
        self.wire.stop()

    def unplug(self) -> None:
        """Take the port away as a pulled plug does: the host gets EIO or an end of file, the path is gone."""
        if self._master < 0:
            return
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self._open:
            asyncio.get_running_loop().remove_reader(self._master)
        self._open = False
        self.wire.hush("unplugged")
        if self.link_path and os.path.islink(self.link_path):
            os.unlink(self.link_path)
        os.close(self._master)
        self._master = -1
        self._slave_path = ""

    def replug(self) -> None:
        """Put the port back: a new terminal (another number where the old one is held), the same link."""
        if self._master >= 0:
            return
        self._master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        self._slave_path = os.ttyname(slave)
        os.close(slave)  # from here on the terminal says by itself whether somebody has it open
        if self.link_path:
            fresh = f"{self.link_path}.new"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh)
            os.symlink(self._slave_path, fresh)
            os.replace(fresh, self.link_path)
        self._look_again()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    def _look_again(self) -> None:
        """Look whether somebody has opened the port: the kernel tells nobody about that."""
        loop = asyncio.get_running_loop()
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        events = poll.poll(0)
        if events and events[0][1] & select.POLLHUP and not events[0][1] & select.POLLIN:
            self._look = loop.call_later(LOOK_AGAIN_S, self._look_again)
            return
        self._look = None
        self._open = True
        loop.add_reader(self._master, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError:
            return
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            asyncio.get_running_loop().remove_reader(self._master)  # the last host has closed it
            self._open = False
            self._look_again()
            return
        if self._check_line and not self._line_fits():
            self.wire.counts.wrong_line_bytes += len(data)
            self.wire.misheard(data)
            return
        self.wire.from_host(data)

    def _write(self, data: bytes) -> int:
        return 0 if self._check_line and not self._line_fits() else self._write_anyhow(data)

    def _write_anyhow(self, data: bytes) -> int:
        if not self._open:
            return 0
        try:
            return os.write(self._master, data)
        except OSError as e:  # BlockingIOError: nobody takes the bytes out; EIO: closed just now
            log.debug("%s: %s", self.name, e)
            return 0

    def _line_fits(self) -> bool:
        """Whether the host has set what the instruments have.

        Asked of the kernel each time: hosts try rates.
        """
        line = self.wire.line
        try:
            _, _, cflag, _, _, speed, _ = termios.tcgetattr(self._master)
        except termios.error:
            return False
        sizes = {"5": termios.CS5, "6": termios.CS6, "7": termios.CS7, "8": termios.CS8}
        wanted = getattr(termios, f"B{line.baudrate}", None)
        return (
            speed == wanted
            and cflag & termios.CSIZE == sizes[line.format[0]]
            and bool(cflag & termios.CSTOPB) == (line.format[2] == "2")
        )


class TcpPort:
    """Instruments behind a TCP port: raw bytes, as the emulators speak them. The newest client has the port.

    `framing` says what `path` begins with: "tcp" (Modbus TCP, or the raw bytes of other instruments) or "rtu"
    (a serial server: Modbus RTU passed through). Only with "rtu" can the answers of two units collide.
    """

    def __init__(
        self,
        emulators: Sequence[Emulator],
        *,
        name: str = "",
        framing: str = "tcp",
        host: str = "127.0.0.1",
        port: int = 0,
        line: Line | None = None,
        timed: bool = False,
        faults: Faults | None = None,
        record: Record | None = None,
        turnaround_s: float = 0.0,
        zero_s: float | None = None,
    ) -> None:
        self.name = name or emulators[0].name
        self.wire = Wire(
            emulators, self._write, name=self.name, line=line or Line(), timed=timed, faults=faults,
            record=record, collide=framing == "rtu", turnaround_s=turnaround_s,
        )  # fmt: skip
        self.host, self.port = host, port
        self.clients = 0
        """Clients so far."""
        self._scheme = "rtu+tcp" if framing == "rtu" else "tcp"
        self._zero_s = zero_s
        self._listening: socket.socket | None = None
        self._client: socket.socket | None = None
        self._plan: list[asyncio.TimerHandle] = []

    @property
    def path(self) -> str:
        return f"{self._scheme}://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self.replug()
        self.wire.start(self._zero_s)
        self._plan = plan_unplugs(self)

    async def stop(self) -> None:
        for timer in self._plan:
            timer.cancel()
        self.unplug()
        self.wire.stop()

    def unplug(self) -> None:
        """Take the port away: the client's connection breaks, new ones are refused."""
        self._drop()
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        self.wire.hush("unplugged")

    def replug(self) -> None:
        """Put the port back under the same number."""
        if self._listening is not None:
            return
        listening = socket.create_server((self.host, self.port), backlog=16)
        listening.setblocking(False)
        self.port = listening.getsockname()[1]
        self._listening = listening
        asyncio.get_running_loop().add_reader(listening, self._acceptable)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    def _acceptable(self) -> None:
        if self._listening is None:
            return
        try:
            client, _ = self._listening.accept()
        except OSError as e:  # the client is gone again
            log.debug("%s: %s", self.name, e)
            return
        self._drop()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client
        self.clients += 1
        asyncio.get_running_loop().add_reader(client, self._readable)

    def _readable(self) -> None:
        if self._client is None:
            return
        try:
            data = self._client.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.wire.from_host(data)
        else:
            self._drop()

    def _write(self, data: bytes) -> int:
        if self._client is None:
            return 0
        try:
            return self._client.send(data)
        except OSError as e:
            log.debug("%s: %s", self.name, e)
            return 0

    def _drop(self) -> None:
        if self._client is not None:
            asyncio.get_running_loop().remove_reader(self._client)
            self._client.close()
            self._client = None
