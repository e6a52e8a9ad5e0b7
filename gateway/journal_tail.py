"""The journal's tail: the newest records, appended to a file that outlives a killed process and costs the
SD card little.

SQLite writes whole pages: one commit a second would be some 700 MB a day on the card. So the newest records
go to a plain file, and only every few minutes as one compressed block into SQLite (gateway.journal_store).
Then the file is overwritten from its start, as the next generation: it keeps its size, so that a flush
writes data pages and no file-system metadata.

    ┌ frame ───────────────────────────────────────────────┐┌ frame ───────
    │ generation u32 │ length u32 │ crc32 u32 │ deflated …  ││ generation …
    └───────────────────────────────────────────────────────┘└─────────────
    07 00 00 00      2a 00 00 00  9f 1c 44 d0   (little-endian; the CRC covers generation, length and body)

The bodies of one generation are pieces of one raw deflate stream (each ends at a full byte), which unpacks
to text lines:

    [18231,{"kind":"reading", …}]          a record: its seq and its body
    {"cursors":{"mqtt":18200}}             how far a follower is
    {"fold":["alarms","…"]}                what a fold remembers, after it derived something
    {"reserved":20000,"boot":"39e039a1"}   seq below this may have been given out, even if a power cut took
    the records

Reading stops at the first frame that is not whole, not of this generation or not right: that is the torn
tail, cut off.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

_HEADER = struct.Struct("<III")
FRAME_LIMIT = 64 << 20
"""No frame is longer; a length beyond is noise."""


class TailFile:
    """One generation being written. All methods block on the disk and are called in the journal's own
    thread.
    """

    def __init__(self, path: Path, generation: int) -> None:
        """Begin a generation over what the file held; that is gone with the first write. Raises OSError."""
        self.generation = generation
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._at = 0
        self._chunks: list[bytes] = []
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, -15)

    def write(self, lines: bytes) -> None:
        """Append the lines as one frame. They survive a killed process when this returns; a power cut after
        `sync`.

        Raises OSError (no space, …); nothing is then taken, and the next frame is written over the broken
        one.
        """
        deflate = self._deflate.copy()  # the stream goes on only from what was really written
        body = deflate.compress(lines) + deflate.flush(zlib.Z_SYNC_FLUSH)
        head = struct.pack("<II", self.generation, len(body))
        frame = head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body
        done = 0
        while done < len(frame):
            done += os.pwrite(self._fd, frame[done:], self._at + done)
        self._at += len(frame)
        self._chunks.append(body)
        self._deflate = deflate

    def sync(self) -> None:
        """Make everything written survive a power cut. Raises OSError; what was written is then uncertain."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    @property
    def body(self) -> bytes:
        """The generation so far as one finished raw deflate stream: the block that SQLite will keep."""
        return b"".join(self._chunks) + self._deflate.copy().flush(zlib.Z_FINISH)


def read_tail(path: Path) -> tuple[int, list[bytes]]:
    """Read what a tail file holds: (generation, lines). A torn end is cut off. (0, []) where there is
    nothing.

    Raises OSError when the file is there and cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0, []
    generation, at, text = 0, 0, bytearray()
    inflate = zlib.decompressobj(-15)
    while at + _HEADER.size <= len(data):
        own, length, crc = _HEADER.unpack_from(data, at)
        body = data[at + _HEADER.size : at + _HEADER.size + length]
        right = zlib.crc32(body, zlib.crc32(data[at : at + 8])) == crc
        if own == 0 or own != (generation or own) or length > FRAME_LIMIT or len(body) < length or not right:
            break
        generation = own
        try:
            text += inflate.decompress(body)
        except zlib.error:
            break
        at += _HEADER.size + length
    return generation, bytes(text).splitlines()
