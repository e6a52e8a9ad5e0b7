"""What an endpoint is. A view's server side is a module with a tuple of these; nothing else is needed.

    ENDPOINTS = (Endpoint("GET", "/api/now", now, "the last reading of every sensor"),)

    async def now(ask: Ask) -> Any: …      gives what is sent as JSON, or a response of its own

`query` and `body` are msgspec structs: what comes in is checked against them before the handler is called,
and the OpenAPI description is made from them. A handler refuses with `Bad` (a status and one line with a
hint).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from gateway.web.page import Site

Face = Literal["public", "technician", "act"]
"""Who may: everybody; a technician, or whoever sits at the machine itself; only a technician who signed
in."""
BODY_LIMIT = 16_384


class Bad(Exception):
    """The request cannot be answered: HTTP status, one line, and what would do."""

    def __init__(self, status: int, error: str, hint: str = "", retry_after_s: int = 0) -> None:
        super().__init__(error)
        self.status, self.error, self.hint, self.retry_after_s = status, error, hint, retry_after_s

    def response(self) -> web.Response:
        return reply(
            {"error": self.error, "hint": self.hint},
            self.status,
            {"Retry-After": str(self.retry_after_s)} if self.retry_after_s else {},
        )


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No parameters."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as a handler sees it."""

    site: Site
    request: web.Request
    query: Any
    body: Any
    technician: bool
    """Signed in, or at the machine itself: may see everything."""
    name: str
    """Who signed in; "" if nobody did."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    method: Literal["GET", "POST"]
    path: str
    handle: Callable[[Ask], Awaitable[Any]]
    summary: str
    face: Face = "public"
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    answers: Mapping[int, str] | None = None
    """Statuses beside 200 and 400 that are no mistake of ours."""
    content: str = "application/json"


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Something as JSON; compressed by the server when it is long."""
    body = msgspec.json.encode(content)
    response = web.Response(
        body=body, status=status, content_type="application/json", headers=dict(headers or {})
    )
    if len(body) > 1400:
        response.enable_compression()
    return response


def checked_query(request: web.Request, wanted: type[msgspec.Struct]) -> Any:
    """The query string as `wanted`. Raises Bad."""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name in given:
            raise Bad(400, f"{name[:40]!r} stands there twice", "give every parameter once")
        given[name] = value
    return _converted(given, wanted, strict=False)


async def checked_body(request: web.Request, wanted: type[msgspec.Struct]) -> Any:
    """The JSON body as `wanted`. Raises Bad."""
    if request.content_type != "application/json":
        raise Bad(415, "the body is not JSON", "send it with Content-Type: application/json")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Bad(415, "the body is packed", "send it as it is, without Content-Encoding")
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Bad(413, "the body is too large", f"at most {BODY_LIMIT} bytes") from None
    except web.RequestPayloadError:
        raise Bad(400, "the body is not sent as HTTP wants it", "send one JSON object") from None
    try:
        given = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        raise Bad(400, f"the body is no JSON: {str(e)[:120]}", "send one JSON object") from None
    return _converted(given, wanted, strict=True)


def _converted(given: Any, wanted: type[msgspec.Struct], *, strict: bool) -> Any:
    names = [field.encode_name for field in msgspec.structs.fields(wanted)]
    try:
        return msgspec.convert(given, wanted, strict=strict)
    except (msgspec.ValidationError, RecursionError) as e:
        hint = f"there are: {', '.join(names)}" if names else "there are no parameters here"
        raise Bad(400, str(e)[:200], hint) from None


_ERROR = {"type": "object", "required": ["error", "hint"],
          "properties": {"error": {"type": "string"}, "hint": {"type": "string"}}}  # fmt: skip


def openapi(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """The description of all endpoints (OpenAPI 3.1)."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operation: dict[str, Any] = {"summary": endpoint.summary, "parameters": []}
        for part in endpoint.path.split("/"):
            if part.startswith("{"):
                operation["parameters"].append(
                    {
                        "name": part[1:-1],
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string", "maxLength": 64},
                    }
                )
        schema = msgspec.json.schema(endpoint.query)
        definition = schema["$defs"][endpoint.query.__name__]
        for name, of in definition.get("properties", {}).items():
            operation["parameters"].append(
                {
                    "name": name,
                    "in": "query",
                    "required": name in definition.get("required", []),
                    "schema": of,
                }
            )
        if endpoint.body is not None:
            described = msgspec.json.schema(endpoint.body)["$defs"][endpoint.body.__name__]
            operation["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": described}},
            }
        responses: dict[str, Any] = {
            "200": {"description": "good", "content": {endpoint.content: {"schema": {}}}},
            "4XX": {
                "description": "the request was wrong: what, and what would do",
                "content": {"application/json": {"schema": _ERROR}},
            },
        }
        for status, description in (endpoint.answers or {}).items():
            responses[str(status)] = {
                "description": description,
                "content": {"application/json": {"schema": {}}},
            }
        operation["responses"] = responses
        operation["x-face"] = endpoint.face
        if endpoint.face != "public":
            operation["security"] = [{"session": []}]
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Suu-Aba station", "version": version},
        "components": {
            "securitySchemes": {"session": {"type": "apiKey", "in": "cookie", "name": "suuaba_session"}}
        },
        "paths": paths,
    }
