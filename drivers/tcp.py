"""A TCP connection to a serial server or a Modbus TCP instrument, set up so that it cannot die unnoticed."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

DEAD_AFTER_S = 15
"""A connection whose far end confirms nothing for so long is dead: a pulled cable says nothing by itself."""


async def connect(host: str, port: int) -> socket.socket:
    """Connect to the first of the host's addresses that answers. The caller sets the deadline.

    Raises OSError.
    """
    why: OSError = OSError(0, "no such host")
    loop = asyncio.get_running_loop()
    for family, address in await _resolve(host, port):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            _keep_honest(sock)
        except OSError as e:  # the name may have another address
            sock.close()
            why = e
        except asyncio.CancelledError:
            sock.close()
            raise
        else:
            return sock
    raise why


async def _resolve(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    """Families and addresses of a host; one given by number needs no thread and no name server."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(family, (str(address[0]), port)) for family, _, _, _, address in found]
    return [(family, (host, port))]


def _keep_honest(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_S * 1000)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_AFTER_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
