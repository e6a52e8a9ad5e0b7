"""Before every request: is it for us, from where, and who asks; behind every response: the headers.

    Host       an IP address, localhost, the machine's own name, or one of [web] names; else 421. A name that
               an attacker points at the station (DNS rebinding) is none of these.
    loopback   the peer is this machine, the Host too, and no proxy says otherwise: may see everything without
               a password. Acting wants a session everywhere.
    acting     POST: Origin is our own Host, Sec-Fetch-Site is not cross-site, the body is JSON, and the
               session's token comes in X-CSRF-Token (OWASP, Cross-Site Request Forgery Prevention).

The policy of content allows our own files and nothing else: no inline script or style, no foreign request.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Collection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

from gateway.web.endpoint import Bad
from gateway.web.sessions import Session

if TYPE_CHECKING:
    from gateway.web.page import Site

COOKIE = "suuaba_session"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


def own_names(more: Collection[str] = ()) -> frozenset[str]:
    """The names that this machine goes by."""
    host = socket.gethostname().lower()
    return frozenset({"localhost", host, f"{host}.local", *(name.lower() for name in more)})


def check_host(request: web.Request, names: Collection[str]) -> None:
    """Raises Bad for a Host that is not ours."""
    host = host_name(request.headers.get("Host", ""))
    if host in names or _is_address(host):
        return
    raise Bad(
        421, "this name is not this station's", "open the page by its address, or add the name to [web] names"
    )


def host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def is_loopback(request: web.Request) -> bool:
    """Whether somebody at this very machine is asking, and not through a proxy on it."""
    if any(header in request.headers for header in _FORWARDED):
        return False
    host = host_name(request.headers.get("Host", ""))
    here = host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
    remote = request.remote or ""
    return here and _is_address(remote) and ipaddress.ip_address(remote).is_loopback


def session_of(site: Site, request: web.Request) -> Session | None:
    cookie = request.cookies.get(COOKIE, "")
    return site.sessions.find(cookie) if cookie else None


def check_origin(request: web.Request) -> None:
    """Raises Bad for a request that another site's page makes."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Bad(403, "the request comes from another site", "use the station's own page")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("Host", "").lower():
        raise Bad(403, "the request comes from another site", "use the station's own page")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def same(given: str, wanted: str) -> bool:
    """Compared without telling by the time how much was right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
