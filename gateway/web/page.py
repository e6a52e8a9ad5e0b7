"""The page's server: opens its port, answers, sums the past up, and ends in order.

Belongs under `supervise`. A port that is taken is no defect: the demo takes another and says so; a station
tries again, ever more rarely, for whoever holds its port may leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.journal_history import History
from gateway.model import Reading, Stamp
from gateway.version import VERSION
from gateway.web import (
    alarms,
    assets,
    capture,
    charts,
    entry,
    first,
    guard,
    health,
    now,
    quiet,
    scan,
    state,
    stream,
    verbs,
    visit,
)
from gateway.web.endpoint import BODY_LIMIT, Ask, Bad, Endpoint, checked_body, checked_query, reply
from gateway.web.sessions import Password, Sessions, Tries

if TYPE_CHECKING:
    from gateway.station import Station

log = logging.getLogger(__name__)

ENDPOINTS: tuple[Endpoint, ...] = (
    *now.ENDPOINTS, *charts.ENDPOINTS, *stream.ENDPOINTS, *alarms.ENDPOINTS, *state.ENDPOINTS,
    *verbs.ENDPOINTS, *visit.ENDPOINTS, *scan.ENDPOINTS, *capture.ENDPOINTS,
    *entry.ENDPOINTS, *health.ENDPOINTS,
)  # fmt: skip
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
ROLL_EVERY_S = 1800.0
ROLL_PAUSE_S = 0.2
LEAVE_S = 1.0
CONNECTIONS = 256
FIRST_REQUEST_S, LOOK_EVERY_S = 15.0, 5.0
"""aiohttp has no deadline for the head of a request."""


class Site:
    """What the endpoints work with: the station, and what the page itself remembers."""

    def __init__(self, station: Station) -> None:
        wanted = station.config.web
        given = wanted.password if wanted is not None else None
        self.station = station
        self.endpoints = ENDPOINTS
        self.version = VERSION
        self.boot = ""
        self.history = History(station.config.data, self.true_ms)
        self.desk = charts.Desk()
        self.stream = stream.Stream()
        self.sessions = Sessions()
        self.tries = Tries()
        self.scan_listeners = 0
        self.sms_tries = Tries(state.SMS_PER_MINUTE)
        self.password = Password(station.config.data, given.get_secret_value() if given is not None else None)
        self.names = guard.own_names(wanted.names if wanted is not None else ())
        self.before: dict[str, Reading] = {}
        self.digits = {
            sensor.id: {q.name: q.digits for q in sensor.instrument.quantities}
            for bus in station.buses
            for sensor in bus.sensors
        }
        self.ending = asyncio.Event()

    def true_ms(self, stamp: Stamp) -> int:
        """When it was, as far as that is known by now."""
        return stamp.utc_ms if stamp.synced else self.station.dating.date(stamp).utc_ms


class Page:
    """`run` until cancelled. `say` hears the address and the code of the first start; `any_port`: another
    port
    will do when the wanted one is taken.
    """

    def __init__(
        self, station: Station, *, any_port: bool = False, say: Callable[[str], object] | None = None
    ) -> None:
        self.site = Site(station)
        self.url = ""
        self.listening = asyncio.Event()
        self._any_port = any_port
        self._say = say
        self._began_s: dict[asyncio.Protocol, float] = {}
        self._assets: dict[str, assets.Asset] = {}

    async def run(self) -> None:
        site = self.site
        site.ending.clear()
        self._assets = await asyncio.to_thread(assets.load)
        await now.seed(site)
        site.boot = site.station.clock.stamp().boot
        try:
            await site.password.open()
        except (OSError, ValueError) as e:
            log.error("web: the password cannot be read: %s; nobody can sign in", e)
        runner = web.AppRunner(
            self._app(), access_log=None, logger=quiet.log(), shutdown_timeout=LEAVE_S, keepalive_timeout=30.0
        )
        await runner.setup()
        server: asyncio.Server | None = None
        try:
            server = await self._listen(runner)
            self._tell(server)
            async with asyncio.TaskGroup() as group:
                group.create_task(site.stream.run(site), name="web.stream")
                group.create_task(self._roll(), name="web.history")
                group.create_task(self._look_after(), name="web.connections")
        finally:
            site.ending.set()
            self.listening.clear()
            for client in site.stream.clients:
                client.woken.set()
            if server is not None:
                server.close()
            await runner.cleanup()
            await asyncio.to_thread(site.history.close)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._around], client_max_size=BODY_LIMIT)
        for endpoint in ENDPOINTS:
            app.router.add_route(endpoint.method, endpoint.path, self._handler(endpoint))
        app.router.add_get("/{path:.*}", self._file)
        app.on_response_prepare.append(_headers)
        return app

    def _handler(self, endpoint: Endpoint) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            site = self.site
            session = guard.session_of(site, request)
            technician = session is not None or guard.is_loopback(request)
            if endpoint.method == "POST":
                guard.check_origin(request)
            if endpoint.face == "technician" and not technician:
                raise Bad(401, "this is for technicians", "sign in")
            if endpoint.face == "act":
                if session is None:
                    raise Bad(401, "nobody is signed in", "sign in: whatever changes something needs it")
                if not guard.same(request.headers.get("X-CSRF-Token", ""), session.csrf):
                    raise Bad(403, "the session's token is missing or wrong", "reload the page")
            query = checked_query(request, endpoint.query)
            body = await checked_body(request, endpoint.body) if endpoint.body is not None else None
            name = session.name if session is not None else ""
            found = await endpoint.handle(Ask(site, request, query, body, technician, name))
            return found if isinstance(found, web.StreamResponse) else reply(found)

        return handle

    async def _file(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/":
            return await first.page(self.site, request, self._assets)
        asset = self._assets.get(request.path)
        if asset is None:
            raise Bad(404, "there is nothing here", "the page is at /, its description at /api/openapi.json")
        return assets.serve(asset, request)

    @web.middleware
    async def _around(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            guard.check_host(request, self.site.names)
            response: web.StreamResponse = await handler(request)
        except Bad as e:
            response = e.response()
        except web.HTTPException as e:
            response = reply({"error": e.reason, "hint": "see /api/openapi.json"}, e.status, _allow(e))
        return response

    def _connection(self, runner: web.AppRunner) -> asyncio.Protocol:
        """A new connection; beyond the limit it is cut, for each takes a file of those the journal needs."""
        server = runner.server
        if server is None or len(server.connections) >= CONNECTIONS:
            return _Cut()
        connection: asyncio.Protocol = server()
        self._began_s[connection] = asyncio.get_running_loop().time()
        return connection

    async def _look_after(self) -> None:
        """Let go of connections that never come to the end of their first request."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for connection, began_s in list(self._began_s.items()):
                waits = getattr(connection, "_current_request", self) is None
                waits = waits and getattr(connection, "_keepalive_handle", self) is None
                transport = getattr(connection, "transport", None)
                if loop.time() - began_s > FIRST_REQUEST_S:
                    if waits and transport is not None:
                        transport.abort()
                    if transport is None or not waits:
                        del self._began_s[connection]

    async def _listen(self, runner: web.AppRunner) -> asyncio.Server:
        wanted = self.site.station.config.web
        host, port = wanted.listen if wanted is not None else ("127.0.0.1", 8080)
        pause_s, said = FIRST_PAUSE_S, False
        while True:
            try:
                return await asyncio.get_running_loop().create_server(
                    lambda: self._connection(runner), host or None, port, backlog=64
                )
            except OSError as e:
                if self._any_port and e.errno == errno.EADDRINUSE and port:
                    if self._say:
                        self._say(f"port {port} is taken; the page takes another")
                    port = 0
                    continue
                if not said:
                    log.error("web: cannot listen at %s:%d: %s; trying again", host, port, e.strerror)
                    said = True
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _tell(self, server: asyncio.Server) -> None:
        host, port = server.sockets[0].getsockname()[:2]
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  a comparison
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
        self.listening.set()
        code = self.site.password.code
        lines = [f"page: {self.url}"]
        if code:
            lines.append(f"no password is set: the code to set one on the page is {code}")
        for line in lines:
            if self._say is not None:
                self._say(line)
            else:
                log.warning("web: %s", line)

    async def _roll(self) -> None:
        """Sum up what has settled: at once, then twice an hour."""
        while True:
            try:
                more = True
                while more:
                    more = await asyncio.to_thread(self.site.history.roll)
                    await asyncio.sleep(ROLL_PAUSE_S)
            except OSError as e:
                log.error("web: long charts wait: %s", e)
            await asyncio.sleep(ROLL_EVERY_S)


async def _headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(guard.HEADERS)
    response.headers.pop("Server", None)
    if not request.path.startswith("/static/"):
        response.headers.setdefault("Cache-Control", "no-store")


class _Cut(asyncio.Protocol):
    """A connection that there is no room for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.abort()


def _allow(e: web.HTTPException) -> dict[str, str]:
    with contextlib.suppress(KeyError):
        return {"Allow": e.headers["Allow"]}
    return {}
