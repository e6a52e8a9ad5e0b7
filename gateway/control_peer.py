"""Who is at the other end of a Unix-domain socket, by the kernel's word (unix(7), SO_PEERCRED)."""

from __future__ import annotations

import contextlib
import pwd
import socket
import struct
from pathlib import Path

_NOBODY = 2**32 - 1


def peer(s: socket.socket) -> tuple[int, int]:
    """User id and process id of whoever connected; a user id that nobody has when the kernel does not say."""
    form = struct.Struct("iII")
    try:
        pid, uid, _ = form.unpack(s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size))
    except OSError:
        return _NOBODY, 0
    return uid, pid


def who(uid: int, pid: int) -> str:
    """The system user; for root, if the kernel knows it, who logged in and became root (sudo)."""
    if uid == 0:
        with contextlib.suppress(OSError, ValueError):
            login = int(Path(f"/proc/{pid}/loginuid").read_text(encoding="ascii"))
            uid = uid if login == _NOBODY else login
    return user(uid)


def user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
