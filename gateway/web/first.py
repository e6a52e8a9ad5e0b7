"""The first answer: the page with its first values, texts and session inside, so that a phone shows them as
soon as its scripts run and need not ask three times more.

They stand in a block of JSON that is no script to the browser (the policy of content allows none), and
nothing in it can end the block: "<" is written as \\u003c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from gateway.web import entry, guard
from gateway.web.assets import Asset
from gateway.web.endpoint import Ask
from gateway.web.now import snapshot

if TYPE_CHECKING:
    from gateway.web.page import Site

LANGUAGES = ("ky", "ru", "en")
_HEAD = b'<html lang="en" data-station="en">'
_FIRST = b'<script type="application/json" id="first">{}</script>'
_VIEW = b"/static/views/now.js"


async def page(site: Site, request: web.Request, files: dict[str, Asset]) -> web.Response:
    """The page for whoever asks, in the language that they chose before, or else the station's."""
    station = site.station.config.language
    chosen = request.cookies.get("language", "")
    language = chosen if chosen in LANGUAGES else station
    technician = guard.session_of(site, request) is not None or guard.is_loopback(request)
    first = {
        "language": language,
        "texts": msgspec.Raw(files[f"/static/texts/{language}.json"].plain),
        "session": await entry.session(Ask(site, request, None, None, technician, "")),
        "now": snapshot(site, technician=technician),
    }
    block = msgspec.json.encode(first).replace(b"<", b"\\u003c")
    body = files["/"].plain.replace(_HEAD, f'<html lang="{language}" data-station="{station}">'.encode(), 1)
    body = body.replace(_FIRST, _FIRST.replace(b"{}", block), 1)
    if not technician:
        body = body.replace(_VIEW, b"/static/views/public.js", 1)
    response = web.Response(body=body, content_type="text/html", charset="utf-8")
    response.enable_compression()
    return response
