"""What the one who verifies brings along: fingerprints of keys, and heads that a station has published."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError
from gateway.journal_chain import Head, fingerprint, head_text, public_from_pem, right

HEADS_LIMIT = 50_000_000
FINGERPRINT_LEAST = 16


@dataclass(frozen=True, slots=True)
class Trusted:
    """What the one who verifies brings along: fingerprints of keys, and published heads by block."""

    keys: tuple[str, ...] = ()
    heads: Mapping[int, frozenset[str]] = field(default_factory=dict)

    def key(self, public: bytes) -> bool:
        """Whether this key is one of those that were named; any is, where none was."""
        digits = fingerprint(public).replace("-", "")
        return not self.keys or any(digits.startswith(key) for key in self.keys)


def trusted(keys: Sequence[str], heads: Path | None) -> Trusted:
    """From the command line: fingerprints, public keys or their files; a file of published heads, as
    `mosquitto_sub -t 'suuaba/1/STATION/event'` writes it. Raises ConfigError.
    """
    prefixes = tuple(_key(key) for key in keys)
    return Trusted(prefixes, {} if heads is None else _heads(heads, Trusted(prefixes)))


def _key(given: str) -> str:
    path = Path(given)
    if path.is_file():
        try:
            return fingerprint(public_from_pem(path.read_bytes()[:1000])).replace("-", "")
        except (OSError, ValueError) as e:
            raise ConfigError(
                [f"--key {given}: no public key ({e}); name the station's station.pub"]
            ) from None
    digits = re.sub(r"[-: ]", "", given).lower()
    if re.fullmatch(r"[0-9a-f]{64}", digits):
        return fingerprint(bytes.fromhex(digits)).replace("-", "")
    if not re.fullmatch(rf"[0-9a-f]{{{FINGERPRINT_LEAST},32}}", digits):
        how = f"give {FINGERPRINT_LEAST} to 32 hex digits, or the file station.pub"
        raise ConfigError([f"--key {given}: no fingerprint; {how}"])
    return digits


def _heads(path: Path, trusted: Trusted) -> dict[int, frozenset[str]]:
    """The published heads in a file of JSON lines; other lines are passed over, a forged one is an error."""
    heads: dict[int, frozenset[str]] = {}
    try:
        if path.stat().st_size > HEADS_LIMIT:
            raise ConfigError([f"--heads {path}: larger than {HEADS_LIMIT} bytes"])
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as e:
        raise ConfigError([f"--heads {path}: {e.strerror}"]) from None
    for number, line in enumerate(lines, 1):
        start = line.find("{")
        try:
            said: Any = json.loads(line[start:]) if start >= 0 else None
        except ValueError:
            continue
        detail = said.get("detail", said) if isinstance(said, dict) else None
        if not isinstance(detail, dict) or not {"block", "hash", "signature"} <= set(detail):
            continue
        try:
            head = Head(
                int(detail["block"]), int(detail["from_seq"]), int(detail["to_seq"]), unhex(detail["hash"])
            )
            public = unhex(detail["public_key"])
            signature = base64.b64decode(detail["signature"])
        except (KeyError, TypeError, ValueError, binascii.Error):
            continue
        if not (trusted.key(public) and right(public, signature, head_text(head))):
            raise ConfigError(
                [f"--heads {path}: line {number}: the head is not signed by a key that you named"]
            )
        heads[head.block] = heads.get(head.block, frozenset()) | {head.link.hex()}
    if not heads:
        raise ConfigError([f"--heads {path}: there is no event chain_head in it"])
    return heads


def unhex(given: Any) -> bytes:
    try:
        return bytes.fromhex(given) if isinstance(given, str) else b""
    except ValueError:
        return b""
