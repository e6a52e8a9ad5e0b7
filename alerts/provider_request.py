"""A request to a provider, made of its file: every value escaped for the place where it stands.

    fields  { text = "{text}" }   and the text   a&b "c" <d>
    form    text=a%26b+%22c%22+%3Cd%3E
    json    {"text": "a&b \\"c\\" <d>"}
    xml     <text>a&amp;b "c" &lt;d&gt;</text>

Sources: application/x-www-form-urlencoded: WHATWG URL Standard, 5; JSON: RFC 8259; XML 1.0, 2.2 (which signs
there may be) and 2.4 (escaping); basic authentication: RFC 7617.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from alerts.provider_format import PLACEHOLDER, XML_NAME, Fields, Request

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TYPES = {
    "form": "application/x-www-form-urlencoded",
    "json": "application/json",
    "xml": "text/xml; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What goes out. Its text shows nothing of it: there are passwords in all parts."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


def make(request: Request, values: Mapping[str, str]) -> HttpRequest:
    """Fill a request in. Raises ValueError for a value that cannot stand where it should."""
    url = _url(request.url, values)
    query = _flat(request.query, values)
    if query:
        url += ("&" if "?" in url else "?") + urlencode(query)
    headers = {"User-Agent": "suuaba", "Accept-Encoding": "identity"} | _flat(request.headers, values)
    if request.basic:
        who = ":".join(fill(part, values) for part in request.basic)
        headers["Authorization"] = f"Basic {b64encode(who.encode()).decode()}"
    if not all(sign.isprintable() and sign < "\u0100" for text in headers.values() for sign in text):
        raise ValueError("a header can only hold Latin letters")
    body = None
    if request.format != "none":
        headers["Content-Type"] = _TYPES[request.format]
        body = _body(request, values).encode()
    return HttpRequest(request.method, url, headers, body)


def fill(template: str, values: Mapping[str, str], escape: Callable[[str], str] = str) -> str:
    """The template with its placeholders filled in, each once: what a value holds is never a placeholder."""

    def one(found: re.Match[str]) -> str:
        return escape(values[found[1]]) if found[1] else found[0][0]

    return PLACEHOLDER.sub(one, template)


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _url(template: str, values: Mapping[str, str]) -> str:
    base, rest = "", template
    first = PLACEHOLDER.match(template)
    if first and first[1]:  # a setting of kind "url": the file's check saw to it
        base, rest = values[first[1]].rstrip("/"), template[first.end() :]
    return base + fill(rest, values, lambda value: quote(value, safe=""))


def _flat(names: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    filled = {
        fill(name, values): fill(value, values) for name, value in names.items() if _given(value, values)
    }
    return {name: value for name, value in filled.items() if name}


def _given(value: Any, values: Mapping[str, str]) -> bool:
    """False for a value of which every placeholder is empty: "{sender}", "Bearer {token}"."""
    if not isinstance(value, str):
        return True
    inside = [found[1] for found in PLACEHOLDER.finditer(value) if found[1]]
    return not inside or any(values[name] for name in inside)


def _body(request: Request, values: Mapping[str, str]) -> str:
    if request.format == "form":
        return urlencode(_flat(request.fields, values))
    fields = _filled(request.fields, values)
    if request.format == "json":
        return json.dumps(fields, ensure_ascii=False)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return head + _element(fill(request.root, values), fields)


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return fill(value, values)
    if isinstance(value, dict):
        kept = {fill(name, values): inner for name, inner in value.items() if _given(inner, values)}
        return {name: _filled(inner, values) for name, inner in kept.items() if name}
    if isinstance(value, list):
        return [_filled(inner, values) for inner in value]
    return value


def _element(name: str, value: Any) -> str:
    if not XML_NAME.fullmatch(name):
        raise ValueError(f"{name!r:.60} is no name of an XML element")
    if isinstance(value, list):
        return "".join(_element(name, inner) for inner in value)
    attributes = ""
    if isinstance(value, dict):
        attributes = "".join(
            f' {key[1:]}="{_escaped(str(inner))}"' for key, inner in value.items() if key.startswith("@")
        )
        inner: Fields = {key: each for key, each in value.items() if not key.startswith("@")}
        content = "".join(_element(key, each) for key, each in inner.items())
    else:
        content = _escaped(("true" if value else "false") if isinstance(value, bool) else str(value))
    return f"<{name}{attributes}>{content}</{name}>"


def _escaped(text: str) -> str:
    """Text for XML. A sign that XML cannot hold, however it is written, becomes a space."""
    text = _NOT_IN_XML.sub(" ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("\r", "&#13;")
