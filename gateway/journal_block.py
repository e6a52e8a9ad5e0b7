"""A block: some minutes of records as one raw deflate stream of lines, with its place in the chain."""

from __future__ import annotations

import zlib
from dataclasses import astuple, dataclass, replace
from typing import Any


class Unreadable(Exception):
    """A block, or a place in the file, that cannot be read."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a block covers."""

    first_seq: int
    last_seq: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Block:
    first_seq: int
    last_seq: int
    from_ms: int
    to_ms: int
    records: int
    body: bytes
    after_seq: int | None = None
    """Where the block before ended; None: written by version 1."""
    number: int | None = None
    """Its place in the evidence chain; None: written before version 3."""
    previous: bytes | None = None
    public: bytes = b""
    signature: bytes = b""

    def lines(self) -> list[bytes]:
        """The block's records as lines of JSON; the journal's own notes between them are left out. Raises
        Unreadable.
        """
        return [line for line in self.text().splitlines() if line.startswith(b"[")]

    def text(self) -> bytes:
        """Everything in it. Raises Unreadable."""
        try:
            return zlib.decompress(self.body, -15)
        except zlib.error as e:
            raise Unreadable(str(e)) from e


def block_of(row: Any, *, trusted: bool = True) -> Block:
    """A block from its COLUMNS and crc; not `trusted`: whatever the crc says. Raises Unreadable."""
    if row is None or not (isinstance(row[5], bytes) and all(isinstance(n, int) for n in row[:5])):
        raise Unreadable("it is not there")
    number, previous, public, signature = row[7:11]
    if isinstance(number, int) and isinstance(previous, bytes):
        public, signature = (b if isinstance(b, bytes) else b"" for b in (public, signature))
        block = replace(Block(*row[:7]), number=number, previous=previous, public=public, signature=signature)
    else:
        block = Block(*row[:7])
    if trusted and row[11] not in (None, block_crc(block)):
        raise Unreadable("its checksum is wrong")
    return block


def block_crc(block: Block) -> int:
    return zlib.crc32(block.body, zlib.crc32(repr((*astuple(block)[:5], block.after_seq)).encode()))
