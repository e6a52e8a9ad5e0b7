"""What can never be written, kept as lines of JSON with its reason, as long as there is room for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

LIMIT_BYTES = 100_000_000
PAYLOAD_BYTES = 4096
"""Of a message, at most."""


class Aside:
    """The file `poison.jsonl`. Says the first ones in the log, and then one in a thousand."""

    def __init__(self, folder: Path, now_ms: Callable[[], int]) -> None:
        self.count = 0
        self._folder, self._now_ms = folder, now_ms
        self._bytes = -1

    def put(self, topic: str, payload: bytes, why: str) -> None:
        """Keep a message. Never raises: a full disk is logged."""
        self.count += 1
        if self.count <= 3 or self.count % 1000 == 0:
            log.warning("set aside (%d by now): %s: %s", self.count, topic[:100], why)
        text = payload[:PAYLOAD_BYTES].decode("utf-8", "replace")
        line = msgspec.json.encode(
            {"time_ms": self._now_ms(), "topic": topic[:1000], "why": why[:500], "payload": text}
        )
        file = self._folder / "poison.jsonl"
        try:
            if self._bytes < 0:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._bytes = file.stat().st_size if file.exists() else 0
            if self._bytes + len(line) < LIMIT_BYTES:
                with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as out:
                    out.write(line + b"\n")
                self._bytes += len(line) + 1
        except OSError as e:
            log.error("%s: %s", file, e.strerror)
