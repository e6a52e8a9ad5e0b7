"""What the station was configured as: its station.toml goes into the journal at a start when it has changed.

Secrets do not stand in station.toml. Should one stand there by mistake, it is blacked out here, and so are
phone numbers: the journal is published. The SHA-256 is that of the whole file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.model import Body, Event, Record, Stamp
from gateway.version import VERSION

WHAT = "configuration"
LONGEST = 30_000
"""Characters kept of a file; InfluxDB takes 64 KB in a field."""
_SECRET = re.compile(
    r"""(?im)^(\s*["']?[\w.-]*(?:password|token|secret|pin|phone|key|passphrase)["']?\s*=\s*)(["'].*)$"""
)
_INLINE = re.compile(r"""(?i)\b(password|token|secret|pin|phone|key)(\s*=\s*)(["'])[^"'\n]*\3""")
_IN_URL = re.compile(r"(://)[^/@\s\"']+@")


class ConfigurationFold:
    """Remembers which configuration was journaled last. See gateway.journal.Fold."""

    name = "configuration"

    def __init__(self) -> None:
        self.sha256 = ""

    def step(self, record: Record) -> Sequence[Body]:
        body = record.body
        if type(body) is Event and body.what == WHAT:
            self.sha256 = str(body.detail.get("sha256", ""))
        return ()

    def tick(self, at: Stamp) -> Sequence[Body]:
        return ()

    def save(self) -> bytes:
        return msgspec.json.encode(self.sha256)

    def restore(self, state: bytes) -> None:
        try:
            self.sha256 = msgspec.json.decode(state, type=str)
        except msgspec.DecodeError:
            self.sha256 = ""  # it is journaled once more

    def news(self, file: Path, at: Stamp) -> list[Body]:
        """The event, if the file is another than the one journaled last. Blocks on the disk, briefly."""
        try:
            content = file.read_bytes()
        except OSError:
            return []
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 == self.sha256:
            return []
        text = without_secrets(content.decode("utf-8-sig", "replace"))
        return [Event(at, WHAT, {"sha256": sha256, "version": VERSION, "text": text[:LONGEST]})]


def without_secrets(text: str) -> str:
    """The text of a station.toml without what nobody may read."""
    text = _SECRET.sub(r'\1"***"', text)
    text = _INLINE.sub(r'\1\2"***"', text)
    return _IN_URL.sub(r"\1***@", text)
