"""The scan on the page: begin, watch, stop, and the station.toml of what was found (gateway.scan_desk).

    GET  /api/scan              what can be scanned, and how the scan is getting on
    GET  /api/scan/stream       the same as server-sent events until it is over: `scan` each time, then `end`
    POST /api/scan              begin
    POST /api/scan/stop         end it with what was found
    GET  /api/scan/station.toml what was found, as a commented station.toml

The scan does not need its listeners: who comes back sees how far it is. So many listen at once, each for so
long; one that does not take what is said is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from aiohttp import web

from gateway.errors import ControlError
from gateway.scan_result import Found, Problem, Progress
from gateway.scan_words import doing, shown, told
from gateway.web.endpoint import Ask, Bad, Endpoint

if TYPE_CHECKING:
    from gateway.scan_desk import Scans

LISTENERS = 16
LISTEN_S = 1200.0
"""Longer than a scan can take."""
BEAT_S, WRITE_S = 10.0, 10.0
CALM_S = 0.4
"""Between two messages at least."""

Port = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Language = Literal["ky", "ru", "en"]


class ScanQuery(msgspec.Struct, forbid_unknown_fields=True):
    """In which language findings are told."""

    language: Language = "en"


class ScanBegin(msgspec.Struct, forbid_unknown_fields=True):
    """Which ports, and whether only the likely addresses are asked."""

    ports: Annotated[list[Port], msgspec.Meta(min_length=1, max_length=32)]
    quick: bool = False


async def scan(ask: Ask) -> Any:
    """How the scan is getting on, and which ports there are."""
    scans = ask.site.station.scans
    return {"ports": await asyncio.to_thread(scans.ports), **state(scans, ask.query.language)}


def state(scans: Scans, language: str) -> dict[str, Any]:
    """How the scan is getting on, or what the last one found."""
    found: dict[str, Any] = {
        "under_way": scans.under_way, "by": scans.by, "began_ms": scans.began_ms, "quick": scans.quick,
        "error": scans.error, "complete": None, "seconds": None, "instruments": 0, "report": [],
    }  # fmt: skip
    if scans.under_way:
        found["report"] = [_progress(port, language) for port in scans.progress]
        found["left_s"] = max((port.left_s for port in scans.progress), default=None)
        found["done_s"] = max((port.done_s for port in scans.progress), default=0.0)
    elif scans.report is not None:
        found |= {"complete": scans.report.complete, "seconds": scans.report.seconds}
        found["report"] = [
            {
                "port": port.port, "state": port.state, "seconds": port.seconds, "asked": port.asked,
                **_findings(port.instruments, port.problems, language),
            }
            for port in scans.report.ports
        ]  # fmt: skip
    found["instruments"] = sum(len(port["instruments"]) for port in found["report"])
    return found


async def begin(ask: Ask) -> Any:
    scans = ask.site.station.scans
    try:
        scans.begin(ask.body.ports, quick=ask.body.quick, by=ask.name)
    except ControlError as e:
        error, _, hint = str(e).partition("; ")
        raise Bad(409, error, hint) from None
    return {"under_way": True}


async def stop(ask: Ask) -> Any:
    """It ends within some seconds; the stream says when."""
    ask.site.station.scans.stop()
    return {"under_way": ask.site.station.scans.under_way}


async def draft(ask: Ask) -> Any:
    try:
        text = await ask.site.station.scans.draft()
    except ControlError as e:
        error, _, hint = str(e).partition(": ")
        raise Bad(409, error, hint) from None
    headers = {"Content-Disposition": 'attachment; filename="station.toml"'}
    return web.Response(text=text, content_type="text/plain", charset="utf-8", headers=headers)


async def stream(ask: Ask) -> web.StreamResponse:
    site, scans = ask.site, ask.site.station.scans
    if site.scan_listeners >= LISTENERS:
        raise Bad(503, "too many watch this scan", "close some pages", 15)
    site.scan_listeners += 1
    headers = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    try:
        await response.prepare(ask.request)
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(LISTEN_S):
                await _pass_on(ask, scans, response)
    finally:
        site.scan_listeners -= 1
    return response


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


async def _pass_on(ask: Ask, scans: Scans, response: web.StreamResponse) -> None:
    seen = -1
    while not ask.site.ending.is_set():
        if scans.changes != seen:
            seen = scans.changes
            said = b"event: scan\ndata: %s\n\n" % msgspec.json.encode(state(scans, ask.query.language))
            if not scans.under_way:
                said += b"event: end\ndata: {}\n\n"
            async with asyncio.timeout(WRITE_S):
                await response.write(said)
            if not scans.under_way:
                return
            await asyncio.sleep(CALM_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT_S):
                await scans.changed(seen)
                continue
        async with asyncio.timeout(WRITE_S):
            await response.write(b": here\n\n")


def _progress(port: Progress, language: str) -> dict[str, Any]:
    return {
        "port": port.port, "doing": doing(port.doing, language), "done_s": port.done_s, "left_s": port.left_s,
        **_findings(port.found, port.problems, language),
    }  # fmt: skip


def _findings(found: list[Found], problems: list[Problem], language: str) -> dict[str, Any]:
    said = [told(problem, language) for problem in problems]
    return {
        "instruments": [
            {"model": one.model, "title": one.title, "text": shown(one, language)} for one in found
        ],
        "problems": [
            {"code": problem.code, "what": what, "helps": helps}
            for problem, (what, helps) in zip(problems, said, strict=True)
        ],
    }


_FULL = {503: "too many watch"}

ENDPOINTS = (
    Endpoint("GET", "/api/scan", scan, "Ports, and how it is getting on", "technician", query=ScanQuery),
    Endpoint("POST", "/api/scan", begin, "Begin a scan", "act", body=ScanBegin, answers={409: "refused"}),
    Endpoint("POST", "/api/scan/stop", stop, "End the scan with what it found", "act"),
    Endpoint(
        "GET", "/api/scan/stream", stream, "Server-sent events until the scan is over: scan, then end",
        "technician", query=ScanQuery, content="text/event-stream", answers=_FULL,
    ),
    Endpoint(
        "GET", "/api/scan/station.toml", draft, "A station.toml of what was found", "technician",
        content="text/plain", answers={409: "nothing was found"},
    ),
)  # fmt: skip
