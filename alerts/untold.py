"""What a server says, without the secrets that it was given: many repeat what they got.

    untold('401: no "Basic aHVzaDp3b3Jk"', "word", basic("hush", "word"))    → '401: no "Basic …"'

A secret is found as it is, percent-encoded (RFC 3986), as a form has it and as JSON has it; so is one that is
cut off by the text's end.
"""

from __future__ import annotations

import json
from base64 import b64encode
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

SHORTEST = 3
"""Signs of a secret at least: with less of it the text would be holes."""
CUT_SHORTEST = 4
"""So much of a secret at the text's end is taken for one that was cut off."""
PATH_SHORTEST = 6
"""Parts of a path that are as long may be a secret; "send" is none."""


def untold(text: str, *secrets: str | None) -> str:
    """The text with "…" in the place of every secret."""
    for way in sorted({way for secret in secrets for way in _ways(secret or "")}, key=len, reverse=True):
        text = text.replace(way, "…")
        for length in range(min(len(way) - 1, len(text)), CUT_SHORTEST - 1, -1):
            if text.endswith(way[:length]):
                text = f"{text[:-length]}…"
                break
    return text


def basic(user: str | None, password: str | None) -> str:
    """What stands behind "Basic" in the header of a request: RFC 7617, 2."""
    return b64encode(f"{user or ''}:{password or ''}".encode("utf-8", "replace")).decode()


def parts_of(url: str) -> list[str]:
    """What may be a secret in an address: the values in its query, names and long parts of its path."""
    split = urlsplit(url)
    values = [value for _, value in parse_qsl(split.query)]
    path = [part for part in split.path.split("/") if len(part) >= PATH_SHORTEST]
    return [part for part in (split.username, split.password, *path, *values) if part]


def _ways(secret: str) -> set[str]:
    """How it may be written."""
    if len(secret) < SHORTEST:
        return set()
    quoted = {quote(secret, safe="", errors="replace"), quote(secret, errors="replace")}
    return {secret, *quoted, quote_plus(secret, errors="replace"), json.dumps(secret)[1:-1]}
