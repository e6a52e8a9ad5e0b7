"""What the running service does for the command line (gateway.control), for whoever signed in on the page:
the
same functions, so that both do the same and the journal says who.

    POST /api/alarms/{id}/ack …      by name, with a body of its own (alarms.py)
    POST /api/calibrations           the guided calibration's steps
    POST /api/verbs/{verb}           any verb; an answer of several parts comes as JSON lines

A verb has two minutes. What it refuses is 409, in its own words.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Literal

import msgspec
from aiohttp import web

from gateway.control import ANSWER_WITHIN_S, Request
from gateway.errors import ControlError
from gateway.web.endpoint import Ask, Bad, Endpoint

WRITE_S = 10.0
PARTS = 10_000


class VerbBody(msgspec.Struct, forbid_unknown_fields=True):
    """What goes with the verb, as on the service's socket."""

    body: dict[str, Any] = {}


class CalibrationStep(msgspec.Struct, forbid_unknown_fields=True):
    """One step of the guided calibration (gateway.calibrate), and what goes with it."""

    do: Literal["begin", "step", "finish", "by_hand"]
    body: dict[str, Any] = {}


async def calibrations(ask: Ask) -> Any:
    return await call(ask, f"calibrate_{ask.body.do}", ask.body.body)


async def call(ask: Ask, verb: str, body: dict[str, Any]) -> Any:
    """What the verb answers. Raises Bad."""
    return await _within(verb, _begun(ask, verb, body))


async def _within(verb: str, coming: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await coming
    except ControlError as e:
        raise _refused(e) from None
    except TimeoutError:
        raise Bad(503, f"{verb}: not done within {ANSWER_WITHIN_S:g} s", "try again", 10) from None


async def verb(ask: Ask) -> Any:
    name = ask.request.match_info["verb"]
    result = _begun(ask, name, ask.body.body)
    if not isinstance(result, AsyncIterator):
        return await _within(name, result)
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    count = 0
    try:
        async for part in result:
            if not response.prepared:
                await response.prepare(ask.request)
            async with asyncio.timeout(WRITE_S):
                await response.write(msgspec.json.encode(part) + b"\n")
            count += 1
            if count >= PARTS or ask.site.ending.is_set():
                break
    except ControlError as e:
        if not response.prepared:
            raise _refused(e) from None
        await response.write(msgspec.json.encode({"error": str(e), "hint": ""}) + b"\n")
    except (ConnectionError, TimeoutError):
        pass  # whoever asked has gone
    finally:
        close = getattr(result, "aclose", None)
        if close is not None:
            await close()
    if not response.prepared:
        await response.prepare(ask.request)
    return response


def _begun(ask: Ask, verb: str, body: dict[str, Any]) -> Any:
    verbs = ask.site.station.verbs
    if verb not in verbs:
        raise Bad(404, "this service does not know that", f"it knows {', '.join(sorted(verbs))}")
    try:
        return verbs[verb](Request(verb, {**body, "by": ask.name}, "page"))
    except ControlError as e:
        raise _refused(e) from None


def _refused(e: ControlError) -> Bad:
    error, _, hint = " ".join(str(e).split()).partition("; ")
    return Bad(409, error, hint)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/calibrations",
        calibrations,
        "The guided calibration's steps",
        "act",
        body=CalibrationStep,
        answers={409: "refused", 503: "not done in time"},
    ),
    Endpoint(
        "POST",
        "/api/verbs/{verb}",
        verb,
        "What the command line can ask of the running service",
        "act",
        body=VerbBody,
        answers={409: "refused", 503: "not done in time"},
    ),
)
