"""What the TCP connections of a sink really carried, as the kernel counts it, and whether an address opens.

TCP_INFO (tcp(7); linux/tcp.h, struct tcp_info) counts for each connection the payload sent, repetitions
included, and received, and the packets both ways; TLS is payload there. A packet's heads come on top: IPv4
20, TCP 20, timestamps 12 (RFC 791, 9293, 7323).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading

PACKET_BYTES = 52
SYN_BYTES = 60
KNOCK_WITHIN_S = 2.0

_RECEIVED = struct.Struct("<QII")  # tcpi_bytes_received, tcpi_segs_out, tcpi_segs_in
_RECEIVED_AT = 128
_SENT = struct.Struct("<Q")  # tcpi_bytes_sent, Linux 4.19
_SENT_AT = 200
_INFO_BYTES = 208


class Carried:
    """Adds up what connections carry. Safe to use from several threads."""

    def __init__(self) -> None:
        self._ended_bytes = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """All so far, the open connections included."""
        with self._lock:
            return self._ended_bytes + sum(map(carried, self._open))

    def opened(self, sock: socket.socket) -> None:
        """Count this connection from its beginning."""
        with self._lock:
            self._open.add(sock)

    def closing(self, sock: socket.socket) -> None:
        """This connection is about to end."""
        with self._lock:
            if sock in self._open:
                self._open.remove(sock)
                self._ended_bytes += carried(sock)

    def add(self, more_bytes: int) -> None:
        """Something went over the line that no connection tells of, such as a try to open one."""
        with self._lock:
            self._ended_bytes += more_bytes


def carried(sock: socket.socket) -> int:
    """Bytes that this connection put on the line and took from it; 0 when it is closed already."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except OSError:
        return 0
    if len(info) < _INFO_BYTES:
        return 0
    received, segments_out, segments_in = _RECEIVED.unpack_from(info, _RECEIVED_AT)
    (sent,) = _SENT.unpack_from(info, _SENT_AT)
    return int(sent + received + PACKET_BYTES * (segments_out + segments_in))


async def opens(host: str, port: int) -> bool:
    """Whether somebody takes a connection there. Blocks for `KNOCK_WITHIN_S` at most; never raises."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(KNOCK_WITHIN_S):
            _, writer = await asyncio.open_connection(host, port)
        writer.transport.abort()
        return True
    return False
