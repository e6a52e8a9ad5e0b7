"""The files of the page: read once, compressed once, and given out with a tag of what they hold.

Only what is in the list can be asked for: a path is a key of a dictionary and never a path of the disk.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).parent / "static"
KINDS = {
    ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json",
    ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json", ".txt": "text/plain",
}  # fmt: skip
FILE_LIMIT = 500_000
FILES = 200


@dataclass(frozen=True, slots=True)
class Asset:
    kind: str
    plain: bytes
    small: bytes
    tag: str


def load(folder: Path = STATIC) -> dict[str, Asset]:
    """Every file by its address. Blocks for some hundredths of a second."""
    found: dict[str, Asset] = {}
    for file in sorted(folder.rglob("*"))[:FILES]:
        kind = KINDS.get(file.suffix)
        if kind is None or not file.is_file() or file.stat().st_size > FILE_LIMIT:
            continue
        plain = file.read_bytes()
        tag = f'"{hashlib.sha256(plain).hexdigest()[:20]}"'
        name = file.relative_to(folder).as_posix()
        asset = Asset(kind, plain, gzip.compress(plain, 9, mtime=0), tag)
        found["/" if name == "index.html" else f"/static/{name}"] = asset
    return found


def serve(asset: Asset, request: web.Request) -> web.Response:
    """The file, or that nothing has changed since."""
    headers = {"ETag": asset.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if asset.tag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    body = asset.plain
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = asset.small
    return web.Response(body=body, content_type=asset.kind, charset="utf-8", headers=headers)
