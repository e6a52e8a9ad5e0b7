"""What the server says in the log: its own mistakes whole, what is no HTTP not at all.

aiohttp writes a stack of thirty lines for every line that is too long and every body that is not packed as
it says: whoever can reach the page could fill the station's log with them.
"""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError


def log() -> logging.Logger:
    """The log for aiohttp's server."""
    server = logging.getLogger("gateway.web.server")
    server.addFilter(_is_ours)  # the same function once more changes nothing
    return server


def _is_ours(record: logging.LogRecord) -> bool:
    trouble = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return not isinstance(trouble, HttpProcessingError | RequestPayloadError)
