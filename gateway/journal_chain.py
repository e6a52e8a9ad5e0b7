"""The evidence chain: every block of the journal is hashed onto the one before and signed by the station.

    text 1 ── Ed25519 ─► signature 1        text 2 ── Ed25519 ─► signature 2
      └──── SHA-256 ────────┘ = link 1 ──► previous ┘ └── SHA-256 ──┘ = link 2 ──► …

A block's text is these lines (ASCII, each ended by \\n), made from what its row in SQLite holds:

    suuaba block 1
    block 1842
    previous 9c1f…                    the link of the block before; 64 zeros for the first of all
    seq 18231 19012
    after 18230                       where the block before ended
    time 1795428000000 1795428600000  utc_ms of its earliest and latest record, as dated when written
    records 782
    body 5d0a…                        SHA-256 of the body as it stands there: raw deflate of text lines
    key 71be…                         the public key; "none" where the station had none

What is signed is the text; what the next block names is the SHA-256 of text and signature together. So the
last signature proves every byte before it, and it takes hashing alone to see where a chain was broken.

Ed25519 is RFC 8032, by libsodium (PyNaCl). The key is kept as PKCS #8 in PEM (RFC 8410), so that
`openssl pkey` and `openssl pkeyutl -verify -rawin` can do without us. docs/evidence.md says what the chain
proves and what it cannot.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.journal_tail import sync_name

if TYPE_CHECKING:
    from gateway.journal_store import Block

NOTHING = bytes(32)
"""What the first block of all names as the one before."""
KEY, PUBLIC = "station.key", "station.pub"
_PRIVATE_DER = bytes.fromhex("302e020100300506032b657004220420")  # RFC 8410, section 7; the seed follows
_PUBLIC_DER = bytes.fromhex("302a300506032b6570032100")  # RFC 8410, section 4; the key follows
_FILE_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: the newest block and its link."""

    block: int
    from_seq: int
    to_seq: int
    link: bytes


class Signer:
    """Signs with the station's private key, which nothing shows."""

    def __init__(self, seed: bytes) -> None:
        """Raises ImportError where PyNaCl is missing."""
        from nacl import bindings

        self.public, self._secret = bindings.crypto_sign_seed_keypair(seed)
        self._sign = bindings.crypto_sign

    def sign(self, text: bytes) -> bytes:
        return bytes(self._sign(text, self._secret)[:64])


def right(public: bytes, signature: bytes, text: bytes) -> bool:
    """Whether this key signed this text. Raises ImportError where PyNaCl is missing."""
    from nacl import bindings, exceptions

    if len(public) != 32 or len(signature) != 64:
        return False
    try:
        bindings.crypto_sign_open(signature + text, public)
    except exceptions.BadSignatureError:
        return False
    return True


def fingerprint(public: bytes) -> str:
    """What people compare: half of the SHA-256 of the public key, in groups of four."""
    digits = hashlib.sha256(public).hexdigest()[:32]
    return "-".join(digits[i : i + 4] for i in range(0, 32, 4))


def text(block: Block) -> bytes:
    """What is signed of a chained block."""
    return (
        f"suuaba block 1\nblock {block.number}\nprevious {(block.previous or b'').hex()}\n"
        f"seq {block.first_seq} {block.last_seq}\nafter {block.after_seq}\n"
        f"time {block.from_ms} {block.to_ms}\nrecords {block.records}\n"
        f"body {hashlib.sha256(block.body).hexdigest()}\nkey {block.public.hex() or 'none'}\n"
    ).encode()


def link(signed: bytes, signature: bytes) -> bytes:
    """What the next block names."""
    return hashlib.sha256(signed + signature).digest()


def chained(block: Block, number: int, previous: bytes, signer: Signer | None) -> tuple[Block, bytes]:
    """The block as the next of the chain, and its link."""
    from dataclasses import replace

    public = b"" if signer is None else signer.public
    block = replace(block, number=number, previous=previous, public=public)
    signed = text(block)
    signature = b"" if signer is None else signer.sign(signed)
    return replace(block, signature=signature), link(signed, signature)


# ── statements beside the chain ─────────────────────────────────────────────────────────────────


def head_text(head: Head) -> bytes:
    """What is signed of a published head."""
    said = f"block {head.block} seq {head.from_seq} {head.to_seq} hash {head.link.hex()}"
    return f"suuaba head 1 {said}\n".encode()


def head_detail(head: Head, signer: Signer) -> dict[str, Any]:
    """The event "chain_head": whoever keeps it can later prove what the chain was."""
    return {
        "block": head.block,
        "from_seq": head.from_seq,
        "to_seq": head.to_seq,
        "hash": head.link.hex(),
        "signature": base64.b64encode(signer.sign(head_text(head))).decode(),
        "key": fingerprint(signer.public),
        "public_key": signer.public.hex(),
    }


def anchor_text(block: int, previous: bytes, why: str) -> bytes:
    """What is signed of where a chain begins when it does not begin with its first block."""
    return f"suuaba anchor 1 behind block {block} hash {previous.hex()} why {why}\n".encode()


# ── the key ─────────────────────────────────────────────────────────────────────────────────────


def signer_of(folder: Path, *, make: bool) -> tuple[Signer | None, list[tuple[str, dict[str, Any]]]]:
    """The station's signer, and what has to be said about it. A key is made where there is none; one that
    cannot be read is kept beside. None where there can be no key: the chain is then hashed, not signed.
    """
    path = folder / KEY
    said: dict[str, Any] = {}
    try:
        seed = _seed(path)
    except FileNotFoundError:
        seed = None
    except OSError as e:
        return None, [("chain_unsigned", {"why": f"{KEY}: {e.strerror}"})] if make else []
    except ValueError:
        if not make:
            return None, []
        number = 1
        while (aside := path.with_name(f"{KEY}.unreadable-{number}")).exists():
            number += 1
        with contextlib.suppress(OSError):
            path.rename(aside)
        said["old_key_kept_as"] = aside.name
        seed = None
    if seed is None and not make:
        return None, []
    try:
        if seed is not None:
            signer = Signer(seed)
            if make and not (folder / PUBLIC).exists():
                with contextlib.suppress(OSError):
                    _keep(folder / PUBLIC, public_pem(signer.public), 0o644)
            return signer, []
        seed = os.urandom(32)
        signer = Signer(seed)
        _keep(path, _pem("PRIVATE KEY", _PRIVATE_DER + seed), 0o600)
        _keep(folder / PUBLIC, public_pem(signer.public), 0o644)
    except OSError as e:
        return None, [("chain_unsigned", {"why": f"{KEY}: {e.strerror}"})]
    except ImportError:
        return None, [("chain_unsigned", {"why": "PyNaCl is not installed"})] if make else []
    said |= {"key": fingerprint(signer.public), "public_key": signer.public.hex()}
    return signer, [("chain_key", said)]


def public_pem(public: bytes) -> bytes:
    """A public key as `openssl pkeyutl -pubin` wants it."""
    return _pem("PUBLIC KEY", _PUBLIC_DER + public)


def public_from_pem(pem: bytes) -> bytes:
    """The raw public key. Raises ValueError."""
    der = _der(pem, "PUBLIC KEY")
    if not der.startswith(_PUBLIC_DER) or len(der) != len(_PUBLIC_DER) + 32:
        raise ValueError("no Ed25519 public key")
    return der[-32:]


def _seed(path: Path) -> bytes:
    with path.open("rb") as file:
        der = _der(file.read(_FILE_LIMIT), "PRIVATE KEY")
    if not der.startswith(_PRIVATE_DER) or len(der) != len(_PRIVATE_DER) + 32:
        raise ValueError("no Ed25519 private key")
    return der[-32:]


def _pem(what: str, der: bytes) -> bytes:
    return b"-----BEGIN %s-----\n%s\n-----END %s-----\n" % (
        what.encode(),
        base64.b64encode(der),
        what.encode(),
    )


def _der(pem: bytes, what: str) -> bytes:
    lines = pem.decode("ascii", "replace").split("\n")
    if len(lines) < 3 or lines[0] != f"-----BEGIN {what}-----":
        raise ValueError(f"no {what}")
    try:
        return base64.b64decode(lines[1], validate=True)
    except binascii.Error as e:
        raise ValueError(str(e)) from None


def _keep(path: Path, content: bytes, mode: int) -> None:
    """A file that is there whole or not at all, also after a power cut. Raises OSError."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(new, path)
    sync_name(path)
