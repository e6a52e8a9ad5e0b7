"""A web server that answers as a test says, and notes what it was asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# ── a scriptable web server ─────────────────────────────────────────────────────────────────────────


@dataclass
class Reply:
    """What the scripted server answers. `cut` closes in mid-answer; `hang_s` says nothing for so long, then
    closes.
    """

    status: int = 204
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hang_s: float = 0.0


@dataclass
class Asked:
    """What the scripted server was asked."""

    line: str
    headers: dict[str, str]
    body: bytes


class ScriptedWeb:
    """Answers each request by the next reply of `script`, then by `otherwise`, which may be a function of
    what was asked.
    """

    def __init__(self) -> None:
        self.script: list[Reply] = []
        self.otherwise: Reply | Callable[[Asked], Reply] = Reply()
        self.asked: list[Asked] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._ending = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._ending.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in [self._thread, *self._threads]:
            thread.join(10)

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while self._answer_one(connection, stream):
                pass
        with self._lock:
            self._connections.discard(connection)

    def _answer_one(self, connection: socket.socket, stream: Any) -> bool:
        line = stream.readline().decode("latin-1").strip()
        if not line:
            return False
        headers = {}
        while header := stream.readline().decode("latin-1").strip():
            name, _, value = header.partition(":")
            headers[name.strip().lower()] = value.strip()
        asked = Asked(line, headers, stream.read(int(headers.get("content-length", "0"))))
        with self._lock:
            self.asked.append(asked)
            reply = self.script.pop(0) if self.script else self.otherwise
        if callable(reply):
            reply = reply(asked)
        if reply.hang_s:
            self._ending.wait(reply.hang_s)
            return False
        body = reply.body.encode()
        head = f"HTTP/1.1 {reply.status} Scripted\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        if reply.status != 204:
            head += f"Content-Length: {len(body)}\r\n"
        answer = f"{head}\r\n".encode() + body
        connection.sendall(answer[: len(answer) // 2] if reply.cut else answer)
        return not reply.cut
