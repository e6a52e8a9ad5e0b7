"""One HTTP request in a thread of its own, with deadlines, of which one thing is always known: whether it had
begun to go out.

    look the name up, connect, TLS     NotReached: nothing was sent
    ── from here on ────────────────────────────────────────────────────────
    send, wait, read the answer        NotAnswered: it may have been sent

A connection is made for each request and none is kept: messages are rare, and a connection that died in the
meantime would make the end of a message uncertain. A request that is given up (deadline, cancellation) has
its socket shut, and can never begin to send afterwards. Nothing is followed, nothing unpacked, no proxy
asked; a certificate that does not fit ends it. Nothing here shows an address, a header or a body.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from alerts.provider_answer import ANSWER_LIMIT, HttpAnswer
from alerts.provider_request import HttpRequest

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection

log = logging.getLogger(__name__)

CONNECT_S = 5.0
"""For each address of the name."""
REACH_S = 15.0
"""Looking the name up and connecting to all its addresses."""
ANSWER_S = 20.0
"""From the request's first byte to the answer's last."""
HANGING_LIMIT = 4
"""Requests that were given up and still hold a thread (a name that is being looked up cannot be interrupted);
with so many no new one is begun.
"""


class NotReached(Exception):
    """Nothing was sent. `remedy` says what a person must do; empty where waiting may help."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.remedy = remedy


class NotAnswered(Exception):
    """The request may have been taken: it had begun to go out, and no answer came."""


class Web:
    """Where requests go out. `ca`: a file with the authority that certificates are checked against."""

    def __init__(
        self,
        *,
        ca: str | None = None,
        connect_s: float = CONNECT_S,
        reach_s: float = REACH_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self.connect_s, self.reach_s, self.answer_s = connect_s, reach_s, answer_s
        self._ca = ca
        self._hanging = 0

    async def ask(self, request: HttpRequest) -> HttpAnswer:
        """Send a request and give the answer. Raises NotReached, NotAnswered. At most reach_s + answer_s."""
        if self._hanging >= HANGING_LIMIT:
            raise NotReached(f"{self._hanging} earlier requests still hang")
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[HttpAnswer] = loop.create_future()
        begun = asyncio.Event()
        call = _Call(request, self._ca, self.connect_s, self.answer_s, lambda: _tell(loop, begun.set))

        def settle(answer: HttpAnswer | None, e: Exception | None) -> None:
            self._hanging -= 1
            begun.set()  # or over before it began
            if ended.done():
                return
            if answer is not None:
                ended.set_result(answer)
            else:
                ended.set_exception(e or RuntimeError("the request ended in a defect"))

        def run() -> None:
            answer: HttpAnswer | None = None
            failed: Exception | None = None
            try:
                answer = call.run()
            except (NotReached, NotAnswered) as e:
                failed = e
            finally:
                _tell(loop, lambda: settle(answer, failed))

        self._hanging += 1
        threading.Thread(target=run, name="sms-provider", daemon=True).start()
        try:
            try:
                async with asyncio.timeout(self.reach_s):
                    await begun.wait()
            except TimeoutError:
                if not call.leave():
                    raise NotReached(f"no connection within {self.reach_s:g} s") from None
            try:
                async with asyncio.timeout(self.answer_s):
                    return await ended
            except TimeoutError:
                raise NotAnswered(f"no answer within {self.answer_s:g} s") from None
        finally:
            call.leave()
            if not ended.cancel() and not ended.cancelled():
                ended.exception()  # looked at: also when this was cancelled at the same time


class _Call:
    """One request, in its thread. `leave` is called from another."""

    def __init__(
        self,
        request: HttpRequest,
        ca: str | None,
        connect_s: float,
        answer_s: float,
        on_begun: Callable[[], None],
    ) -> None:
        self._request, self._ca = request, ca
        self._connect_s, self._answer_s = connect_s, answer_s
        self._on_begun = on_begun
        self._lock = threading.Lock()
        self._left = self._begun = False
        self._connection: HTTPConnection | None = None

    def leave(self) -> bool:
        """Give the request up. True when it had begun to go out; if not, it never will."""
        with self._lock:
            self._left = True
            connection = self._connection
            if self._begun and connection is not None and connection.sock is not None:
                with contextlib.suppress(OSError):
                    # of the plain class: SSLSocket's own would take the TLS layer away under the reader
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
            return self._begun

    def run(self) -> HttpAnswer:
        from urllib3.exceptions import HTTPError

        connection = self._connection = self._connect()
        try:
            with self._lock:
                if self._left:
                    raise NotReached("given up before it began")
                self._begun = True
            self._on_begun()
            try:
                return self._exchange(connection)
            except (OSError, HTTPError, HTTPException) as e:
                raise NotAnswered(f"the connection ended without an answer: {_why(e)}") from None
        finally:
            with self._lock:
                connection.close()

    def _connect(self) -> HTTPConnection:
        from urllib3.connection import HTTPConnection, HTTPSConnection
        from urllib3.exceptions import HTTPError

        try:
            parts = urlsplit(self._request.url)
            host, port = parts.hostname or "", parts.port
            if parts.scheme == "https":
                context = ssl.create_default_context(cafile=self._ca)
                connection: HTTPConnection = HTTPSConnection(
                    host, port, timeout=self._connect_s, ssl_context=context
                )
            else:
                connection = HTTPConnection(host, port, timeout=self._connect_s)
        except (OSError, ValueError) as e:
            raise NotReached(
                f"the address or the certificate authority's file: {_why(e)}", "Correct it"
            ) from None
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as e:
            connection.close()
            remedy = "Check this station's clock, and the address; for a CA of your own give its file"
            raise NotReached(f"{host}: its certificate does not fit: {e.verify_message}", remedy) from None
        except (OSError, HTTPError, UnicodeError) as e:
            connection.close()
            raise NotReached(f"{host} cannot be reached: {_why(e)}") from None
        return connection

    def _exchange(self, connection: HTTPConnection) -> HttpAnswer:
        from urllib3.exceptions import HTTPError

        request = self._request
        parts = urlsplit(request.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.timeout = self._answer_s + 1  # against a caller that is gone; its own deadline comes first
        connection.request(
            request.method,
            quote(target, safe="%/:=&?~#+!$,;'@()*[]"),
            body=request.body,
            headers=request.headers,
            preload_content=False,
            decode_content=False,
        )
        response = connection.getresponse()
        body, whole = b"", True
        try:
            while len(body) <= ANSWER_LIMIT and (
                more := response.read(ANSWER_LIMIT + 1 - len(body), decode_content=False)
            ):
                body += more
        except (OSError, HTTPError, HTTPException):
            body, whole = b"", False  # the status is known, and says more than nothing
        whole = whole and len(body) <= ANSWER_LIMIT
        location = urlsplit(response.headers.get("Location") or "").hostname or ""
        return HttpAnswer(response.status, body[:ANSWER_LIMIT], whole, location)


def _tell(loop: asyncio.AbstractEventLoop, do: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(do)
    except RuntimeError as e:
        log.debug("the loop has ended: %s", e)


def _why(e: BaseException) -> str:
    """A failure in a word or two, without the address that urllib3 puts into its own text."""
    cause: BaseException | None = e
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(e).__name__
