"""A serial port or a raw TCP serial server as an asyncio byte pipe, where every wait has a deadline.

This is the one door to ports: nothing else in the product opens one. A port is named as in station.toml:

    /dev/serial/by-path/…      a serial port (also /dev/ttyUSB0, /dev/pts/3)
    tcp://HOST:PORT            a TCP stream; Modbus instruments speak Modbus TCP over it, others their raw bytes
    rtu+tcp://HOST:PORT        a serial server that passes bytes through; Modbus instruments speak RTU over it

Timing on a wire: a character is start bit, data bits, parity and stop bits long. Modbus wants 3.5 characters of 11 bits
of silence between frames, fixed at 1.75 ms above 19200 Bd (Modbus over Serial Line V1.02, section 2.5.1.1); `send` keeps it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import termios
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import serial

from drivers.base import GarbledAnswer, NoAnswer, PortLost

log = logging.getLogger(__name__)

Cut = Callable[[bytes], tuple[bytes, int] | None]
"""A framer without I/O: given all bytes received so far, gives (frame, bytes used up) or None when more must come.

It skips noise by itself, and must give the same frame whether the bytes come whole, one by one, or with others behind them.
"""

BUFFER_LIMIT = 8192
"""Bytes kept of a chattering instrument; older ones are dropped and counted. The largest frame we know is 522 bytes (SHDLC)."""

CONNECT_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Line:
    """A serial line's settings: `format` is data bits, parity (N, E, O) and stop bits, as on a probe's label: "8N1"."""

    baudrate: int = 9600
    format: str = "8N1"

    @property
    def char_s(self) -> float:
        """The time one character takes on the wire."""
        parity_bits = 0 if self.format[1] == "N" else 1
        return (1 + int(self.format[0]) + parity_bits + int(self.format[2])) / self.baudrate

    @property
    def silence_s(self) -> float:
        """The silence Modbus RTU wants between two frames (t3.5)."""
        return 3.5 * 11 / self.baudrate if self.baudrate <= 19200 else 0.00175


class Link:
    """One port. Opened on first use; after `PortLost` the next use opens it again.

    `framing` is "rtu", "ascii" or "tcp" and says only how Modbus instruments pack their frames on this link.
    `echo` says that this adapter hears itself: what was sent comes back and is taken out after comparing it.
    One task at a time may use a link; the bus that owns it takes care of that.
    """

    def __init__(self, port: str, line: Line | None = None, *, framing: str = "", echo: bool = False) -> None:
        self.port = port
        self.line = line or Line()
        self.echo = echo
        self.is_serial = "://" not in port
        self.framing = framing or ("tcp" if port.startswith("tcp://") else "rtu")
        self.dropped_bytes = 0
        """Stale or overflowing bytes thrown away since the start: noise, late answers, a chattering neighbour."""
        self.parity_dropped = False
        """True on a pseudo-terminal that cannot do parity; a real port never drops it silently."""
        self.opened_at_s = 0.0
        """Loop time at which the port was last opened: what hangs on it may have been powered up then."""
        self._serial: serial.Serial | None = None
        self._socket: socket.socket | None = None
        self._fd = -1
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._lost: str | None = None
        self._quiet_at_s = 0.0  # loop time from which the wire has been, or will be, without characters

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    @property
    def silence_s(self) -> float:
        """The silence kept before each `send`: t3.5 on a serial line, none where a network carries the bytes."""
        return self.line.silence_s if self.is_serial else 0.0

    async def open(self) -> None:
        """Open the port if it is closed. Blocks at most `CONNECT_WITHIN_S` (TCP). Raises PortLost."""
        if self.is_open:
            return
        if self.is_serial:
            self._fd = self._open_serial()
        else:
            self._fd = await self._open_tcp()
        self._lost = None
        self._buffer.clear()
        loop = asyncio.get_running_loop()
        self._quiet_at_s = self.opened_at_s = loop.time()
        loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """Close the port. Safe to call twice."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
        self._fd = -1
        if self._serial is not None:
            try:
                self._serial.close()
            except (OSError, termios.error) as e:  # an unplugged adapter cannot be set back to its old state
                log.debug("%s: closing: %s", self.port, e)
            self._serial = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._buffer.clear()

    async def send(self, data: bytes, *, after_s: float = 0.0, keep: bool = False) -> None:
        """Send `data` once the wire has been silent for t3.5, or for `after_s` where an instrument wants longer.

        Stale bytes are thrown away first, unless `keep` (a stream of which nothing may be lost). Blocks until the bytes are
        handed to the port; with `echo`, until they came back. Raises PortLost, and GarbledAnswer when the echo is not what was sent.
        """
        await self.open()
        loop = asyncio.get_running_loop()
        wait_s = self._quiet_at_s + max(self.silence_s, after_s) - loop.time()
        while wait_s > 0:
            await asyncio.sleep(wait_s)
            # A character that came meanwhile starts the silence anew; a wire that is never silent must not hold us for ever.
            wait_s = min(self._quiet_at_s + self.silence_s - loop.time(), self.silence_s) if not keep else 0.0
            if self._buffer and not keep:
                self.discard()
        self._check()
        if not keep:
            self.discard()
        await self._write(data)
        if self.is_serial:
            self._quiet_at_s = max(loop.time(), self._quiet_at_s) + len(data) * self.line.char_s
        if self.echo:
            within_s = len(data) * self.line.char_s + 0.2
            try:
                heard = await self.receive(len(data), within_s)
            except NoAnswer:
                raise NoAnswer(f"{self.port}: the adapter is set to echo but nothing came back") from None
            if heard != data:
                raise GarbledAnswer(f"{self.port}: the echo differs from what was sent: another master, or noise", heard)

    async def receive(self, n: int, within_s: float) -> bytes:
        """Give the next `n` bytes. Raises NoAnswer (nothing came), GarbledAnswer (fewer came) or PortLost."""
        return await self.receive_frame(lambda got: (got[:n], n) if len(got) >= n else None, within_s)

    async def receive_until(self, end: bytes, within_s: float) -> bytes:
        """Give everything up to and with `end`. Raises as `receive` does."""

        def cut(got: bytes) -> tuple[bytes, int] | None:
            at = got.find(end)
            return None if at < 0 else (got[: at + len(end)], at + len(end))

        return await self.receive_frame(cut, within_s)

    async def receive_frame(self, cut: Cut, within_s: float) -> bytes:
        """Give the first frame that `cut` finds. Raises NoAnswer (nothing came), GarbledAnswer (only rubbish came) or PortLost.

        What `cut` raises comes through; the bytes then stay until the next `send` throws them away.
        """
        await self.open()
        deadline_s = asyncio.get_running_loop().time() + within_s
        while True:
            if self._buffer:
                found = cut(bytes(self._buffer))
                if found is not None:
                    frame, used = found
                    del self._buffer[:used]
                    return frame
            self._check()
            if not await self._wait_until(deadline_s):
                break
        if not self._buffer:
            raise NoAnswer(f"{self.port}: no answer within {within_s:g} s")
        rest = bytes(self._buffer)
        raise GarbledAnswer(f"{self.port}: no whole answer within {within_s:g} s: {rest[:64].hex(' ')}", rest)

    def discard(self) -> bytes:
        """Throw away what has come so far and give it, for the curious. Does not block."""
        self._readable()
        stale = bytes(self._buffer)
        self._buffer.clear()
        self.dropped_bytes += len(stale)
        if stale:
            log.debug("%s: dropped stale %s", self.port, stale.hex(" "))
        return stale

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _open_serial(self) -> int:
        parity = self.line.format[1]
        try:
            port = self._serial_port(parity)
        except termios.error as e:
            # The kernel drops the parity bit on a pseudo-terminal and glibc then answers EINVAL; no real port does that.
            if parity == "N" or e.args[0] != errno.EINVAL or not os.path.realpath(self.port).startswith("/dev/pts/"):
                raise PortLost(f"{self.port}: cannot set {self.line.baudrate} {self.line.format}: {e.args[-1]}") from e
            log.warning("%s: a pseudo-terminal cannot do parity; going on without", self.port)
            self.parity_dropped = True
            port = self._serial_port("N")
        self._serial = port
        return int(port.fileno())

    def _serial_port(self, parity: str) -> serial.Serial:
        try:
            return serial.Serial(
                self.port, self.line.baudrate, bytesize=int(self.line.format[0]), parity=parity,
                stopbits=int(self.line.format[2]), timeout=0, exclusive=True,
            )  # fmt: skip
        except serial.SerialException as e:
            if isinstance(e.__context__, BlockingIOError):
                raise PortLost(f"{self.port}: in use by another program") from e
            reason = os.strerror(e.errno) if e.errno else str(e)
            raise PortLost(f"{self.port}: cannot open: {reason}") from e
        except OSError as e:
            raise PortLost(f"{self.port}: cannot open: {e.strerror}") from e

    async def _open_tcp(self) -> int:
        parts = urlsplit(self.port)
        sock: socket.socket | None = None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                found = await loop.getaddrinfo(parts.hostname, parts.port or 502, type=socket.SOCK_STREAM)
                family, kind, protocol, _, address = found[0]
                sock = socket.socket(family, kind, protocol)
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, asyncio.CancelledError) as e:
            if sock is not None:
                sock.close()
            if isinstance(e, asyncio.CancelledError):
                raise
            raise PortLost(f"{self.port}: cannot connect: {e.strerror or 'no answer'}") from e
        self._socket = sock
        return sock.fileno()

    async def _write(self, data: bytes) -> None:
        view = memoryview(data)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + 1.0 + len(data) * self.line.char_s
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                if loop.time() >= deadline_s:
                    raise NoAnswer(f"{self.port}: the port takes no bytes") from None
                await asyncio.sleep(0.005)  # rare: the driver's buffer is full, and it empties at the wire's speed
            except OSError as e:
                self._lose(e.strerror or str(e))
                self._check()

    def _readable(self) -> None:
        """Take what has come into the buffer. Called by the loop; never raises."""
        if self._fd < 0:
            return
        try:
            got = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError as e:  # EIO, ENODEV: unplugged
            self._lose(e.strerror or str(e))
            return
        if not got:
            if not (self.is_serial and self._no_hangup()):
                self._lose("the other end is gone")
            return
        self._quiet_at_s = asyncio.get_running_loop().time()
        self._buffer += got
        if len(self._buffer) > BUFFER_LIMIT:
            excess = len(self._buffer) - BUFFER_LIMIT
            del self._buffer[:excess]
            self.dropped_bytes += excess
        self._wake()

    def _no_hangup(self) -> bool:
        """A tty read gives b"" both at hang-up and when there is nothing (VMIN = 0): tell them apart by asking the driver."""
        try:
            assert self._serial is not None
            return bool(self._serial.in_waiting >= 0 and os.path.exists(self.port))
        except OSError:
            return False

    def _lose(self, reason: str) -> None:
        self._lost = reason
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
        self._wake()

    def _check(self) -> None:
        if self._lost is not None:
            reason = self._lost
            self.close()
            raise PortLost(f"{self.port}: {reason}")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait_until(self, deadline_s: float) -> bool:
        """Wait for more bytes; False when the deadline came first."""
        loop = asyncio.get_running_loop()
        if loop.time() >= deadline_s:
            return False
        self._waiter = loop.create_future()
        timer = loop.call_at(deadline_s, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
        return loop.time() < deadline_s or bool(self._buffer)
