"""A serial port or a raw TCP serial server as an asyncio byte pipe, where every wait has a deadline.

This is the one door to ports: nothing else in the product opens one. A port is named as in station.toml:

    /dev/serial/by-path/…      a serial port (also /dev/ttyUSB0, /dev/pts/3)
    tcp://HOST:PORT            a TCP stream; Modbus instruments speak Modbus TCP over it, others raw bytes
    rtu+tcp://HOST:PORT        a serial server that passes bytes through; Modbus instruments speak RTU over it

Timing on a wire: a character is start bit, data bits, parity and stop bits long. Modbus wants 3.5
characters of 11 bits of silence between frames, fixed at 1.75 ms above 19200 Bd (Modbus over Serial Line
V1.02, section 2.5.1.1); `send` keeps it.
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

from drivers import tcp
from drivers.base import GarbledAnswer, NoAnswer, PortLost

log = logging.getLogger(__name__)

Cut = Callable[[bytes], tuple[bytes, int] | None]
"""A framer without I/O: given all bytes received so far, gives (frame, bytes used up) or None for "not yet".

It skips noise by itself, and must give the same frame whether the bytes come whole, one by one, or with
others behind them.
"""

BUFFER_LIMIT = 8192
"""Bytes kept of a chattering instrument; older ones are dropped and counted.

The largest frame we know is 522 bytes (SHDLC).
"""

CONNECT_WITHIN_S = 5.0
CHATTER_S = 0.5
"""How long `send` waits for a wire to fall silent that never does; then it sends into the noise."""


@dataclass(frozen=True, slots=True)
class Line:
    """A serial line's settings.

    `format` is data bits, parity (N, E, O) and stop bits, as on a label: "8N1".
    """

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
        """Bytes thrown away since the start: noise, late answers, a chattering neighbour."""
        self.parity_dropped = False
        """True on a pseudo-terminal that cannot do parity; a real port never drops it silently."""
        self.took_s = 0.0
        """The longest time a frame took to come since somebody set this to 0, counted as `within_s` is."""
        self.opened_at_s = 0.0
        """Loop time at which the port was last opened: what hangs on it may have been powered up then."""
        self.tap: Callable[[bool, bytes], object] | None = None  # sees all that is sent (True) and comes
        self._serial: serial.Serial | None = None
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fd = -1
        self._buffer = bytearray()
        self._received = 0
        self._waiter: asyncio.Future[None] | None = None
        self._lost: str | None = None
        self._quiet_at_s = 0.0  # loop time from which the wire has been, or will be, without characters

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    @property
    def silence_s(self) -> float:
        """The silence kept before each `send`: t3.5 on a serial line, none where a network carries the
        bytes.
        """
        return self.line.silence_s if self.is_serial else 0.0

    @property
    def quiet_at_s(self) -> float:
        """Loop time from which the wire has been, or will be, without characters."""
        return self._quiet_at_s

    async def open(self) -> None:
        """Open the port if it is closed. Blocks at most `CONNECT_WITHIN_S` (TCP). Raises PortLost."""
        if self._fd >= 0:
            return
        fd = self._open_serial() if self.is_serial else await self._open_tcp()
        self._fd = fd
        self._lost = None
        self._buffer.clear()
        self._loop = asyncio.get_running_loop()
        self._quiet_at_s = self.opened_at_s = self._loop.time()
        self._loop.add_reader(fd, self._readable)

    def close(self) -> None:
        """Close the port. Safe to call twice."""
        if self._fd >= 0 and self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
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
        """Send once the wire has been silent for t3.5, or for `after_s` where an instrument wants longer.

        A character that comes meanwhile starts that silence anew, for at most `CHATTER_S`. Stale bytes are
        thrown away first, unless `keep` (a stream of which nothing may be lost: there no silence is waited
        for but the one after our own last bytes). Blocks until the bytes are handed to the port; with
        `echo`, until they came back. Raises PortLost, and GarbledAnswer when what comes back is not what
        was sent.
        """
        if self._fd < 0:
            await self.open()
        self._check()
        loop = asyncio.get_running_loop()
        quiet_s = max(self.silence_s, after_s)
        until_s = self._quiet_at_s + quiet_s
        give_up_s = max(until_s, loop.time()) + CHATTER_S
        while loop.time() < until_s:
            await self._more(until_s)
            self._check()
            if not keep:
                until_s = min(self._quiet_at_s + quiet_s, give_up_s)
        if not keep:
            self.discard()
            self._check()
        await self._write(data)
        if self.is_serial:
            self._quiet_at_s = max(loop.time(), self._quiet_at_s) + len(data) * self.line.char_s
        if self.echo and data:
            await self._hear(data)

    async def spacing(self, break_s: float, mark_s: float) -> None:
        """Hold a serial line at space (a break), then at mark; not so a pseudo-terminal. Raises PortLost."""
        await self.open()
        for is_break, seconds in ((True, break_s), (False, mark_s)):
            try:
                if self._serial is not None:
                    self._serial.break_condition = is_break
            except OSError as e:
                self._lose(e.strerror or str(e))
            self._check()
            await asyncio.sleep(seconds)

    async def receive(self, n: int, within_s: float) -> bytes:
        """Give the next `n` bytes. Raises NoAnswer (nothing came), GarbledAnswer (fewer came) or PortLost."""
        return await self.receive_frame(lambda got: (got[:n], n) if len(got) >= n else None, within_s)

    async def receive_until(self, end: bytes, within_s: float) -> bytes:
        """Give everything up to and with `end`. Raises as `receive` does."""

        def cut(got: bytes) -> tuple[bytes, int] | None:
            at = got.find(end)
            return None if at < 0 else (got[: at + len(end)], at + len(end))

        return await self.receive_frame(cut, within_s)

    async def receive_frame(self, cut: Cut, within_s: float, *, rest_s: float = 0.0) -> bytes:
        """Give the first frame that `cut` finds. `within_s` counts from when our own last bytes left the
        wire.

        A frame of which something has come by then gets `rest_s` more for the rest. Raises NoAnswer (nothing
        came), GarbledAnswer (only rubbish, or a part of a frame) or PortLost, at once when the port goes.
        What `cut` raises comes through; the bytes then stay until the next `send` throws them away.
        """
        if self._fd < 0:
            await self.open()
        loop = asyncio.get_running_loop()
        began_s = max(loop.time(), self._quiet_at_s)
        deadline_s = began_s + within_s
        while True:
            if self._buffer:
                found = cut(bytes(self._buffer))
                if found is not None:
                    frame, used = found
                    del self._buffer[:used]
                    self.took_s = max(self.took_s, loop.time() - began_s)
                    return frame
            self._check()
            if await self._more(deadline_s):
                continue
            if not self._buffer or rest_s <= 0:
                break
            deadline_s += rest_s
            rest_s = 0.0
        if not self._buffer:
            raise NoAnswer(f"{self.port}: no answer within {within_s:g} s")
        rest = bytes(self._buffer)
        raise GarbledAnswer(f"{self.port}: no whole answer within {within_s:g} s: {rest[:64].hex(' ')}", rest)

    def discard(self) -> bytes:
        """Throw away what has come so far and give it, for the curious. Does not block."""
        self._readable()
        if not self._buffer:
            return b""
        stale = bytes(self._buffer)
        self._buffer.clear()
        self.dropped_bytes += len(stale)
        log.debug("%s: dropped stale %s", self.port, stale.hex(" "))
        return stale

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────

    def _open_serial(self) -> int:
        bits, parity = int(self.line.format[0]), self.line.format[1]
        try:
            port = self._serial_port(bits, parity)
        except termios.error as e:
            if e.args[0] != errno.EINVAL or not self._drop_parity():
                line = f"{self.line.baudrate} {self.line.format}"
                raise PortLost(f"{self.port}: cannot set {line}: {e.args[-1]}") from e
            port = self._serial_port(8, "N")
        fd = int(port.fileno())
        settings = termios.tcgetattr(fd)
        if parity != "N" and not settings[2] & termios.PARENB and not self._drop_parity():
            port.close()
            raise PortLost(f"{self.port}: cannot set {self.line.baudrate} {self.line.format}: no parity here")
        # With VMIN = 1 "nothing there" is EAGAIN, and an empty read means hang-up and nothing else.
        settings[6][termios.VMIN] = 1
        termios.tcsetattr(fd, termios.TCSANOW, settings)
        self._serial = port
        return fd

    def _drop_parity(self) -> bool:
        """Whether to go on as 8N1: on a pseudo-terminal, which has no wire. Never anywhere else.

        The kernel drops the bits there; glibc answers EINVAL when nothing else changed, and is silent
        otherwise.
        """
        if self.line.format[:2] == "8N" or not os.path.realpath(self.port).startswith("/dev/pts/"):
            return False
        if not self.parity_dropped:
            log.warning("%s: a pseudo-terminal cannot do %s; going on as 8N1", self.port, self.line.format)
        self.parity_dropped = True
        return True

    def _serial_port(self, bits: int, parity: str) -> serial.Serial:
        try:
            return serial.Serial(
                self.port, self.line.baudrate, bytesize=bits, parity=parity,
                stopbits=int(self.line.format[2]), timeout=0, exclusive=True,
            )  # fmt: skip
        except serial.SerialException as e:
            if isinstance(e.__context__, BlockingIOError):
                raise PortLost(f"{self.port}: in use by another program") from e
            reason = os.strerror(e.errno) if e.errno else str(e)
            raise PortLost(f"{self.port}: cannot open: {reason}") from e
        except OSError as e:
            raise PortLost(f"{self.port}: cannot open: {e.strerror}") from e
        except ValueError as e:  # a rate or a character format this port cannot do
            raise PortLost(f"{self.port}: cannot set {self.line.baudrate} {self.line.format}: {e}") from e

    async def _open_tcp(self) -> int:
        try:
            parts = urlsplit(self.port)
            async with asyncio.timeout(CONNECT_WITHIN_S):
                self._socket = await tcp.connect(parts.hostname or "", parts.port or 502)
        except ValueError as e:  # a number that is no port, a name that cannot be one
            raise PortLost(f"{self.port}: cannot connect: {e}") from e
        except OSError as e:
            raise PortLost(f"{self.port}: cannot connect: {e.strerror or 'no answer'}") from e
        return self._socket.fileno()

    async def _write(self, data: bytes) -> None:
        if self.tap is not None:
            self.tap(True, data)
        view = memoryview(data)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + 1.0 + len(data) * self.line.char_s
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                if loop.time() >= deadline_s:
                    raise NoAnswer(f"{self.port}: the port takes no bytes") from None
                await asyncio.sleep(0.005)  # rare: the buffer below is full; it empties at the wire's speed
                self._check()
            except OSError as e:
                self._lose(e.strerror or str(e))
                self._check()

    async def _hear(self, data: bytes) -> None:
        """Take our own bytes out of what comes, with what the turn-around put before them."""

        def cut(got: bytes) -> tuple[bytes, int] | None:
            at = got.find(data)
            return None if at < 0 else (data, at + len(data))

        try:
            await self.receive_frame(cut, 0.2)
        except NoAnswer:
            raise NoAnswer(f"{self.port}: the adapter is set to echo but nothing came back") from None
        except GarbledAnswer as e:
            why = "the echo differs from what was sent: another master, or noise"
            text = f"{self.port}: {why}: {e.frame[:64].hex(' ')}"
            raise GarbledAnswer(text, e.frame, crosstalk=True) from None

    def _readable(self) -> None:
        """Take what has come into the buffer. Called by the loop; never raises."""
        if self._fd < 0 or self._lost is not None:
            return
        try:
            got = os.read(self._fd, BUFFER_LIMIT)
        except BlockingIOError:
            return
        except OSError as e:  # EIO, ENODEV: unplugged
            self._lose(e.strerror or str(e))
            return
        if not got:
            self._lose("unplugged" if self.is_serial else "the other end closed the connection")
            return
        if self._loop is not None:
            self._quiet_at_s = self._loop.time()
        if self.tap is not None:
            self.tap(False, got)
        self._received += len(got)
        self._buffer += got
        if len(self._buffer) > BUFFER_LIMIT:
            excess = len(self._buffer) - BUFFER_LIMIT
            del self._buffer[:excess]
            self.dropped_bytes += excess
        self._wake()

    def _lose(self, reason: str) -> None:
        self._lost = reason
        if self._fd >= 0 and self._loop is not None:
            self._loop.remove_reader(self._fd)
        self._wake()

    def _check(self) -> None:
        if self._lost is not None:
            reason = self._lost
            self.close()
            self._lost = None
            raise PortLost(f"{self.port}: {reason}")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self, deadline_s: float) -> bool:
        """Wait until more bytes came or the port went; False when the deadline came first."""
        loop = asyncio.get_running_loop()
        before = self._received
        if loop.time() < deadline_s:
            self._waiter = loop.create_future()
            timer = loop.call_at(deadline_s, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        if self._received == before:
            self._readable()  # a deadline that is over still takes what is there: we may be late to look
        return self._received != before or self._lost is not None
