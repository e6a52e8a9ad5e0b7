"""Signing in and out, the first password, and who is looking."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec

from gateway.web.endpoint import Ask, Bad, Endpoint, openapi, reply
from gateway.web.guard import COOKIE, is_loopback, session_of
from gateway.web.sessions import LASTS_S, LEAST_LENGTH, MOST_LENGTH

Secret = Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_LENGTH)]
Who = Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern=r"^[^\x00-\x1f<>]+$")]


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """The password, and a name that stands beside what is done."""

    password: Secret
    name: Who = "page"


class Setup(msgspec.Struct, forbid_unknown_fields=True):
    """The code that the station printed, and the password to be."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    password: Annotated[str, msgspec.Meta(min_length=LEAST_LENGTH, max_length=MOST_LENGTH)]
    name: Who = "page"


async def session(ask: Ask) -> Any:
    """Who is looking, and what they may."""
    found = session_of(ask.site, ask.request)
    return {
        "face": "technician" if ask.technician else "public",
        "signed_in": found is not None,
        "name": found.name if found is not None else "",
        "csrf": found.csrf if found is not None else "",
        "needs_setup": not ask.site.password.is_set,
        "here": is_loopback(ask.request),
        "version": ask.site.version,
    }


async def login(ask: Ask) -> Any:
    _may_try(ask)
    if not ask.site.password.is_set:
        raise Bad(
            409, "no password is set yet", "set one with the code that the station printed when it started"
        )
    if not await ask.site.password.fits(ask.body.password):
        raise Bad(401, "wrong password", "five tries a minute")
    return _begin(ask, ask.body.name)


async def setup(ask: Ask) -> Any:
    _may_try(ask)
    if ask.site.password.is_set:
        raise Bad(409, "a password is set already", "sign in with it")
    try:
        right = await ask.site.password.set_first(ask.body.code, ask.body.password)
    except OSError as e:
        raise Bad(507, f"the password cannot be kept: {e.strerror}", "see `suuaba doctor`") from None
    if not right:
        raise Bad(401, "wrong code", "it stands in the station's log: journalctl -u suuaba")
    return _begin(ask, ask.body.name)


async def logout(ask: Ask) -> Any:
    ask.site.sessions.end(ask.request.cookies.get(COOKIE, ""))
    response = reply({"signed_in": False})
    response.del_cookie(COOKIE, path="/", samesite="Strict", httponly=True)
    return response


async def description(ask: Ask) -> Any:
    return openapi(ask.site.endpoints, ask.site.version)


def _may_try(ask: Ask) -> None:
    wait_s = ask.site.tries.wait_s(ask.request.remote or "")
    if wait_s > 0:
        raise Bad(429, "too many tries", f"wait {math.ceil(wait_s)} s", math.ceil(wait_s))


def _begin(ask: Ask, name: str) -> Any:
    cookie, begun = ask.site.sessions.begin(name)
    response = reply({"signed_in": True, "csrf": begun.csrf, "name": name})
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=int(LASTS_S),
        path="/",
        httponly=True,
        samesite="Strict",
        secure=ask.request.secure or ask.request.headers.get("X-Forwarded-Proto") == "https",
    )
    return response


_TRIES = {401: "wrong", 429: "too many tries"}

ENDPOINTS = (
    Endpoint("GET", "/api/session", session, "Who is looking, and what they may"),
    Endpoint("POST", "/api/login", login, "Sign in", body=Login, answers=_TRIES),
    Endpoint("POST", "/api/setup", setup, "Set the first password", body=Setup, answers=_TRIES),
    Endpoint("POST", "/api/logout", logout, "Sign out", "act"),
    Endpoint("GET", "/api/openapi.json", description, "This description"),
)
