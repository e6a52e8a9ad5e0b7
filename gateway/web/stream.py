"""Server-sent events: what the journal takes, as it takes it, to every browser that listens.

    journal ─► one reader ─► encoded once ─► a short queue per client ─► the wire

Bounded everywhere: so many clients, so many from one address, so many messages in a queue. Who reads too
slowly is let go, with a record (Event "page", at most one a minute): it never makes anybody else wait,
least of all a bus. A client that comes back says what it had last (Last-Event-ID, the record's seq); what
it missed follows, or the event "reset" if that is too much. Nobody listening costs nothing: the reader
sleeps.

Format: WHATWG HTML, "Server-sent events". A comment every 10 s keeps what is between us open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from gateway.model import Average, Event, Reading, Record
from gateway.web.endpoint import Ask, Bad, Endpoint
from gateway.web.now import snapshot, value_rows

if TYPE_CHECKING:
    from gateway.web.page import Site

CLIENTS, OF_ONE_ADDRESS = 64, 16
QUEUE = 400
"""Messages a client may be behind; a station with 100 sensors at 1 s makes these in four seconds."""
BEAT_S = 10.0
WRITE_S = 10.0
CAUGHT_UP = 2000
"""Records that a client which comes back gets at most."""
BATCH = 500
STATUS_S = 5.0
TOLD_EVERY_S = 60.0
SECRET_FREE = ("alarm",)
"""Events that everybody may see, without who and why."""


class Client:
    """One browser."""

    def __init__(self, address: str, *, technician: bool) -> None:
        self.address, self.technician = address, technician
        self.queue: deque[bytes] = deque()
        self.woken = asyncio.Event()
        self.dropped = False
        self.seq = 0

    def put(self, message: bytes) -> None:
        if len(self.queue) >= QUEUE:
            self.dropped = True
            self.queue.clear()
        elif not self.dropped:
            self.queue.append(message)
        self.woken.set()


class Stream:
    """The reader and its clients."""

    def __init__(self) -> None:
        self.clients: set[Client] = set()
        self.dropped = 0
        self._dropped_untold = 0
        self._somebody = asyncio.Event()

    async def run(self, site: Site) -> None:
        """Read the journal for everybody, until cancelled."""
        loop = asyncio.get_running_loop()
        journal = site.station.journal
        status_s = told_s = 0.0
        seq = journal.committed_seq
        while True:
            if not self.clients:
                self._somebody.clear()
                await self._somebody.wait()
                seq = journal.committed_seq
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATUS_S):
                    await journal.more(seq)
            for record in await journal.after(seq, BATCH):
                seq = record.seq
                self._give(site, record)
            now_s = loop.time()
            if now_s - status_s >= STATUS_S:
                status_s = now_s
                self._status(site)
            if self._dropped_untold and now_s - told_s >= TOLD_EVERY_S:
                told_s = now_s
                detail = {"dropped": self._dropped_untold, "why": "read too slowly"}
                self._dropped_untold = 0
                journal.append([Event(site.station.clock.stamp(), "page", detail)])

    def join(self, client: Client) -> None:
        """Raises Bad when the house is full."""
        of_one = Counter(c.address for c in self.clients)[client.address]
        if len(self.clients) >= CLIENTS or of_one >= OF_ONE_ADDRESS:
            raise Bad(503, "too many pages are open", "close some, or try again later", 15)
        self.clients.add(client)
        self._somebody.set()

    def leave(self, client: Client) -> None:
        self.clients.discard(client)
        if client.dropped:
            self.dropped += 1
            self._dropped_untold += 1

    def _give(self, site: Site, record: Record) -> None:
        public, technician = messages(site, record)
        for client in self.clients:
            if record.seq > client.seq:
                client.seq = record.seq
                message = technician if client.technician else public
                if message:
                    client.put(message)

    def _status(self, site: Site) -> None:
        for face in (False, True):
            whose = [c for c in self.clients if c.technician is face]
            if whose:
                message = _message("status", status(site, technician=face))
                for client in whose:
                    client.put(message)


def status(site: Site, *, technician: bool) -> dict[str, Any]:
    """What changes without a record: states, the clock, the light; for technicians also sinks."""
    now = snapshot(site, technician=technician)
    found: dict[str, Any] = {key: now[key] for key in ("now_ms", "clock", "light", "alarms")}
    found["sensors"] = {row["id"]: row["state"] for row in now["sensors"]}
    if technician:
        found["sinks"] = site.station.health()["sinks"]
    return found


def messages(site: Site, record: Record) -> tuple[bytes, bytes]:
    """A record as everybody may see it, and as a technician may; empty: not at all."""
    body = record.body
    if isinstance(body, Reading):
        content: dict[str, Any] = {
            "sensor": body.sensor,
            "at_ms": site.true_ms(body.at),
            "values": value_rows(body, site.digits.get(body.sensor, {})),
        }
        both = _message("reading", content, record.seq)
        return both, both
    if isinstance(body, Average):
        content = {
            "sensor": body.sensor,
            "start_ms": body.start_ms,
            "length_s": body.length_s,
            "values": {name: mean.mean for name, mean in body.values.items()},
        }
        both = _message("average", content, record.seq)
        return both, both
    detail = body.detail
    content = {"what": body.what, "at_ms": body.at.utc_ms, "detail": detail}
    kind = "alarm" if body.what == "alarm" else "event"
    full = _message(kind, content, record.seq)
    if body.what not in SECRET_FREE:
        return b"", full
    content["detail"] = {k: v for k, v in detail.items() if k not in ("by", "why")}
    return _message(kind, content, record.seq), full


def _message(kind: str, content: Any, seq: int = 0) -> bytes:
    number = b"id: %d\n" % seq if seq else b""
    return b"event: %s\n%sdata: %s\n\n" % (kind.encode(), number, msgspec.json.encode(content))


async def stream(ask: Ask) -> web.StreamResponse:
    site, request = ask.site, ask.request
    client = Client(request.remote or "", technician=ask.technician)
    journal = site.station.journal
    last = request.headers.get("Last-Event-ID", "")
    site.stream.join(client)
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
    )
    try:
        newest = journal.committed_seq
        client.seq = newest
        await response.prepare(request)
        begin = [b"retry: 2000\n\n", _message("hello", {"seq": newest, "boot": site.boot})]
        if last:
            missed = newest - int(last) if last.isdecimal() and len(last) < 16 else -1
            if 0 <= missed <= CAUGHT_UP:
                records = await journal.after(newest - missed, CAUGHT_UP)
                begin += [messages(site, r)[client.technician] for r in records if r.seq <= newest]
            else:
                begin.append(_message("reset", {}))
        async with asyncio.timeout(WRITE_S):
            await response.write(b"".join(begin))
        await _pass_on(site, client, response)
    except TimeoutError:
        client.dropped = client.dropped or not site.ending.is_set()
    except ConnectionError:
        pass  # the page was closed: nothing that anybody has to know
    finally:
        site.stream.leave(client)
    return response


async def _pass_on(site: Site, client: Client, response: web.StreamResponse) -> None:
    while not client.dropped and not site.ending.is_set():
        client.woken.clear()
        if client.queue:
            together = b"".join(client.queue)
            client.queue.clear()
            async with asyncio.timeout(WRITE_S):
                await response.write(together)
            continue
        try:
            async with asyncio.timeout(BEAT_S):
                await client.woken.wait()
        except TimeoutError:
            async with asyncio.timeout(WRITE_S):
                await response.write(b": here\n\n")


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/stream",
        stream,
        "Server-sent events: reading, average, alarm, event, status; go on with Last-Event-ID",
        content="text/event-stream",
        answers={503: "too many listen"},
    ),
)
