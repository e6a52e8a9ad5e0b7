"""The capture of raw frames on the page (gateway.capture).

GET  /api/capture               what is captured, for how long yet, and which buses there are
POST /api/capture               begin; POST /api/capture/stop ends it
GET  /api/capture/frames.txt    the lines, while it runs and afterwards
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any

import msgspec
from aiohttp import web

from gateway.capture import MINUTES_AT_MOST
from gateway.errors import ControlError
from gateway.web.endpoint import Ask, Bad, Endpoint

WRITE_S = 20.0


class CaptureBegin(msgspec.Struct, forbid_unknown_fields=True):
    """Which bus, and for how long."""

    bus: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    minutes: Annotated[int, msgspec.Meta(ge=1, le=MINUTES_AT_MOST)] = 5


async def capture(ask: Ask) -> Any:
    return ask.site.station.capture.state()


async def begin(ask: Ask) -> Any:
    found = ask.site.station.capture
    try:
        found.begin(ask.body.bus, minutes=ask.body.minutes, by=ask.name)
    except ControlError as e:
        error, _, hint = str(e).partition("; ")
        raise Bad(409, error, hint) from None
    return found.state()


async def stop(ask: Ask) -> Any:
    found = ask.site.station.capture
    found.stop()
    return found.state()


async def text(ask: Ask) -> web.StreamResponse:
    found = ask.site.station.capture
    if not found.bus:
        raise Bad(404, "nothing was captured since the station started", "begin a capture")
    name = f"frames-{ask.site.station.config.id}-{found.bus}.txt"
    response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="{name}"'})
    response.content_type, response.charset = "text/plain", "utf-8"
    response.enable_compression()
    await response.prepare(ask.request)
    with contextlib.suppress(ConnectionError, TimeoutError):
        for part in found.text():
            async with asyncio.timeout(WRITE_S):
                await response.write(part)
    return response


ENDPOINTS = (
    Endpoint("GET", "/api/capture", capture, "The capture of raw frames", "technician"),
    Endpoint("POST", "/api/capture", begin, "Begin one", "act", body=CaptureBegin, answers={409: "refused"}),
    Endpoint("POST", "/api/capture/stop", stop, "End it", "act"),
    Endpoint(
        "GET",
        "/api/capture/frames.txt",
        text,
        "What was captured, as text",
        "technician",
        content="text/plain",
    ),
)
