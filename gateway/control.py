"""How the command line talks to the running service: a Unix-domain socket `control.sock` in the data folder.

    suuaba alarms … ──► {"verb":"alarms","do":"ack","rule":"turbidity-high"}\\n
                    ◄── {"state":"active_acknowledged"}\\n     or  {"error":"one line"}\\n
    suuaba read --watch ──► {"verb":"read","sensor":"ph1"}\\n
                    ◄── {…}\\n {…}\\n …  {"end":true}\\n

One connection is one request: a JSON object of one line, at most 64 KB, which must be there within 5 s. Only
the service's own user and root are heard: the socket has mode 0600, and besides the kernel says who the peer
is (SO_PEERCRED, unix(7)). A stream ends when the verb has no more to say or the client closes its end.

To add a verb: write an async function that takes the Request and returns the answer, or an async generator
that yields several, and put it into the table that station.py gives to ControlDoor:

    async def weather(request: Request) -> Answer:
        sensor = request.text("sensor")                # raises ControlError when it is missing or no text
        if sensor not in known:
            raise ControlError(f"there is no sensor {sensor!r}")     # the client gets {"error": …}
        return {"sensor": sensor, "asked_by": request.by}

    in the command:    answer = await ask(station.data, "weather", sensor="ph1")      # raises ControlError
                       async for answer in stream(station.data, "read", sensor="ph1"): …

A verb runs in the service's own loop: it must not block, and it has two minutes (a generator as long as it
likes). It is not broken off when the client leaves, so what it has begun it ends; a generator is. A defect
in a verb costs that client its answer, never the station.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gateway.control_peer import peer, user, who
from gateway.errors import ControlError, NotRunning
from gateway.supervise import contained

log = logging.getLogger(__name__)

NAME = "control.sock"
MOST_BYTES = 64 * 1024
CLIENTS = 16
TURNED_AWAY = 48
"""So many more are told that there is no room; beyond, the connection is just closed."""
REQUEST_WITHIN_S = 5.0
ANSWER_WITHIN_S = 120.0
WRITE_WITHIN_S = 10.0
ANSWER_MOST_BYTES = 16 * 1024 * 1024

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: the verb, everything beside it, and the system user who asks."""

    verb: str
    body: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""

    def text(self, name: str, default: str | None = None) -> str:
        """A text of at most 500 characters. Raises ControlError when it is none, or missing and has no
        default.
        """
        value = self.body.get(name, default)
        if not isinstance(value, str) or len(value) > 500:
            raise ControlError(f"{self.verb}: {name}: a text is needed")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number. Raises ControlError as `text` does."""
        value = self.body.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
            raise ControlError(f"{self.verb}: {name}: a number is needed")
        return float(value)


Verb = Callable[[Request], Awaitable[Answer] | AsyncIterator[Answer]]


# ── the service's side ──────────────────────────────────────────────────────────────────────────


class ControlDoor:
    """Listens and answers. `run` belongs under `supervise`. `may` are the user ids that are heard."""

    def __init__(self, data: Path, verbs: Mapping[str, Verb], *, may: Collection[int] | None = None) -> None:
        self.verbs = dict(verbs)
        self._data = data
        self._may = {0, os.geteuid()} if may is None else set(may)
        self._clients = 0

    async def run(self) -> None:
        """Answer until cancelled. A data folder that cannot hold a socket (a FAT stick) is said once: the
        station works without this door. Raises JournalError when a verb met it.
        """
        try:
            listening = _listen(self._data)
        except OSError as e:
            log.error("control: no socket in %s (%s): suuaba alarms and others cannot ask us", self._data, e)
            return
        with _at(self._data) as path:
            inode = path.stat().st_ino
        serving: set[asyncio.Task[None]] = set()
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._meet(reader, writer))
            serving.add(task)
            task.add_done_callback(over)

        def over(task: asyncio.Task[None]) -> None:
            serving.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None and not failed.done():
                failed.set_exception(error)

        # not start_unix_server: from 3.13 on it looks for the socket's file by the short path, to remove it
        server = await asyncio.start_server(meet, sock=listening, limit=MOST_BYTES)
        try:
            await failed  # that is: until cancelled
        finally:
            server.close()
            await _end(*serving)
            with contextlib.suppress(OSError), _at(self._data) as path:
                if path.stat().st_ino == inode:
                    path.unlink()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            with contextlib.suppress(_Gone):
                await self._serve(reader, writer)
        finally:
            self._clients -= 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid, pid = peer(writer.get_extra_info("socket"))
        if self._clients > CLIENTS + TURNED_AWAY:
            return
        try:
            async with asyncio.timeout(REQUEST_WITHIN_S):
                line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            await _say(writer, _error(f"a request has at most {MOST_BYTES} bytes"))
            return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        except TimeoutError:
            await _say(writer, _error(f"no whole request came within {REQUEST_WITHIN_S:g} s"))
            return
        # only now, for whoever is still writing would not see why he is turned away
        if uid not in self._may:
            log.warning("control: user %s (process %d) was turned away", user(uid), pid)
            await _say(writer, _error("only root and the service's own user are heard here"))
            return
        if self._clients > CLIENTS:
            await _say(writer, _error(f"{CLIENTS} others are being served; try again in a moment"))
            return
        try:
            request = _read(line, who(uid, pid))
            verb = self.verbs.get(request.verb)
            if verb is None:
                known = ", ".join(sorted(self.verbs)) or "none"
                raise ControlError(f"this service does not know {request.verb!r}; it knows {known}")
        except ControlError as e:
            await _say(writer, _error(str(e)))
            return
        job = _Job(verb, request, reader, writer)
        if not await contained(f"control {request.verb}", job.run, through=_Gone):
            await _say(writer, _error(f"{request.verb}: a defect in the service; its log has more"))


class _Gone(Exception):
    """The client has left, or takes nothing any more."""


@dataclass(frozen=True, slots=True)
class _Job:
    verb: Verb
    request: Request
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def run(self) -> None:
        """Answer. Raises _Gone, and whatever the verb raises beside ControlError."""
        result = self.verb(self.request)
        try:
            if isinstance(result, AsyncIterator):
                await _stream(result, self.reader, self.writer)
                answer: Answer = {"end": True}
            else:
                answer = await self._within(result)
        except ControlError as e:
            answer = _error(str(e))
        await _say(self.writer, answer)

    async def _within(self, coming: Awaitable[Answer]) -> Answer:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S) as deadline:
                return await coming
        except TimeoutError:
            if not deadline.expired():
                raise
            raise ControlError(f"{self.request.verb}: not done within {ANSWER_WITHIN_S:g} s") from None


async def _stream(
    answers: AsyncIterator[Answer], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Pass everything on, until there is no more or the client has left (a client has nothing more to say,
    so whatever comes is its end).
    """
    left = asyncio.ensure_future(reader.read(1))
    try:
        while True:
            coming = asyncio.ensure_future(anext(answers, None))
            try:
                await asyncio.wait({left, coming}, return_when=asyncio.FIRST_COMPLETED)
                if left.done():
                    raise _Gone
                answer = coming.result()
            finally:
                await _end(coming)
            if answer is None:
                return
            await _say(writer, answer)
    finally:
        await _end(left)
        close = getattr(answers, "aclose", None)
        if close is not None:
            await close()


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def _say(writer: asyncio.StreamWriter, answer: Answer) -> None:
    """Raises _Gone when the client does not take it."""
    writer.write(msgspec.json.encode(answer) + b"\n")
    try:
        async with asyncio.timeout(WRITE_WITHIN_S):
            await writer.drain()
    except OSError:  # that it takes too long is one as well
        writer.transport.abort()
        raise _Gone from None


def _read(line: bytes, by: str) -> Request:
    try:
        body = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
        raise ControlError(f"a request is one JSON object on one line: {e}") from e
    verb = body.pop("verb", None)
    if not isinstance(verb, str) or len(verb) > 50:
        raise ControlError('a request names its verb: {"verb": …}')
    return Request(verb, body, by)


def _error(text: str) -> Answer:
    return {"error": " ".join(text.split())}


def _listen(data: Path) -> socket.socket:
    """Bind anew; the socket appears under its name when it has its mode and can be connected to. Whoever
    calls this holds the data folder's lock, so what lies there is left over. Raises OSError.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _at(data) as path:
            new = path.with_name(f"{NAME}.new")
            new.unlink(missing_ok=True)
            listening.bind(str(new))
            new.chmod(0o600)
            listening.listen(CLIENTS)
            new.replace(path)
    except OSError:
        listening.close()
        raise
    return listening


@contextlib.contextmanager
def _at(data: Path) -> Iterator[Path]:
    """A short path to the socket: an address has room for 107 bytes (unix(7), sun_path), a folder's path may
    be longer.
    """
    folder = os.open(data, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{folder}") / NAME
    finally:
        os.close(folder)


# ── the command's side ──────────────────────────────────────────────────────────────────────────


async def ask(
    data: Path, verb: str, *, within_s: float = ANSWER_WITHIN_S + 10.0, **body: Any
) -> dict[str, Any]:
    """Ask the service that runs on this data folder, and give its answer. Waits at most `within_s`.

    Raises NotRunning when no service runs there, and ControlError with one line for everything else.
    """
    async with _connected(data, verb, body) as reader:
        try:
            async with asyncio.timeout(within_s):
                answer = await _hear(reader)
        except TimeoutError:
            raise ControlError(f"{verb}: the service did not answer within {within_s:g} s") from None
    return answer


async def stream(data: Path, verb: str, **body: Any) -> AsyncGenerator[dict[str, Any], None]:
    """The answers to a verb that gives several, one after another, until it ends. Raises as `ask` does.

    Waits for each as long as it takes: put your own deadline around it. To leave early, close it
    (contextlib.aclosing).
    """
    async with _connected(data, verb, body) as reader:
        while (answer := await _hear(reader)) != {"end": True}:
            yield answer


@contextlib.asynccontextmanager
async def _connected(data: Path, verb: str, body: Mapping[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
    line = msgspec.json.encode({"verb": verb, **body}) + b"\n"
    if len(line) > MOST_BYTES:
        raise ControlError(f"{verb}: this is too much for one request ({MOST_BYTES} bytes at most)")
    try:
        async with asyncio.timeout(WRITE_WITHIN_S):
            with _at(data) as path:
                reader, writer = await asyncio.open_unix_connection(path, limit=ANSWER_MOST_BYTES)
            writer.write(line)
            with contextlib.suppress(ConnectionError):  # it may have answered and closed already
                await writer.drain()
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NotRunning(f"no service runs on {data}; start it (systemctl start suuaba)") from None
    except PermissionError:
        raise ControlError(f"the service on {data} hears only its own user and root; use sudo") from None
    except OSError as e:
        raise ControlError(f"the service on {data} cannot be asked: {e or 'too slow'}") from None
    try:
        yield reader
    finally:
        writer.close()


async def _hear(reader: asyncio.StreamReader) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(await reader.readuntil(b"\n"), type=dict[str, Any])
    except (asyncio.IncompleteReadError, ConnectionError):
        raise ControlError("the service broke off; it may be ending: see its log") from None
    except (asyncio.LimitOverrunError, msgspec.DecodeError) as e:
        raise ControlError(f"the service's answer cannot be read: {e}") from None
    if "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer
