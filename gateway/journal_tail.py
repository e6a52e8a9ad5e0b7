"""The journal's tail: the newest records, appended to a file that outlives a killed process and costs the
SD card little.

SQLite writes whole pages: one commit a second would be some 700 MB a day on the card. So the newest records
go to a plain file, and only every few minutes as one compressed block into SQLite (gateway.journal_store).
Then the file is overwritten from its start, as the next generation: it keeps its size, so that a flush
writes data pages and no file-system metadata.

    ┌ frame ───────────────────────────────────────────────┐┌ frame … ┐┌ end mark ┐
    │ generation u32 │ length u32 │ crc32 u32 │ deflated …  ││         ││ u32      │
    └───────────────────────────────────────────────────────┘└─────────┘└──────────┘
    07 00 00 00      2a 00 00 00  9f 1c 44 d0   (little-endian)

The CRC covers generation, length and body, and begins with the CRC of the frame before: a frame is good only
behind the very frame it was written behind. (After a power cut a generation may begin again under the same
number, over sectors of its first attempt.) The end mark, which the next frame overwrites, is made from the
last frame's CRC: without it something was here that is not whole any more.

The bodies of one generation are pieces of one raw deflate stream (each ends at a full byte), which unpacks
to text lines:

    [18231,{"kind":"reading", …}]          a record: its seq and its body
    {"cursors":{"mqtt":18200}}             how far a follower is
    {"fold":["alarms","…"]}                what a fold remembers, after it derived something
    {"reserved":20000,"boot":"39e039a1"}   seq below this may have been given out, even if a power cut took
                                           the records
    {"closed":true}                        nothing came after this: a clean end that SQLite did not take

Reading stops at the first frame that is not whole, not of this generation or not right: that is the torn
tail, cut off.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

_HEADER = struct.Struct("<III")
FRAME_LIMIT = 64 << 20
"""No frame is longer; a length beyond is noise."""
TAIL_LIMIT = 2 << 20
"""The tail grows no further when SQLite takes no blocks: some 60,000 records, which are in memory too."""


SMALL_FRAME = 512
"""Frames smaller than this on average are packed anew for SQLite."""


@dataclass(frozen=True, slots=True)
class Tail:
    """What a tail file holds that is whole."""

    generation: int = 0
    """0 where there is nothing."""
    chunks: tuple[bytes, ...] = ()
    """The bodies: one raw deflate stream, unfinished."""
    lines: tuple[bytes, ...] = ()
    end: int = 0
    """Where the next frame goes."""
    crc: int = 0
    """Of the last frame."""
    broken: bool = False
    """There was more: the end mark is not there."""


class TailFile:
    """One generation being written. All methods block on the disk and are called in the journal's own
    thread.
    """

    def __init__(self, path: Path, generation: int) -> None:
        """Begin a generation over what the file held; that is gone with the first write. Raises OSError."""
        self.generation = generation
        new = not path.exists()
        private(path)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if new:
            sync_name(path)
        self._at = 0
        self._crc = 0
        self._chunks: list[bytes] = []
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, -15)

    @classmethod
    def resumed(cls, path: Path, tail: Tail) -> TailFile:
        """Go on behind what was read. Raises OSError."""
        file = cls(path, tail.generation)
        file._at, file._crc, file._chunks = tail.end, tail.crc, list(tail.chunks)
        return file

    def write(self, lines: bytes) -> None:
        """Append the lines as one frame. They survive a killed process when this returns; a power cut after
        `sync`.

        Raises OSError (no space, the tail is at its limit, …); nothing is then taken, and the next frame is
        written over the broken one.
        """
        deflate = self._deflate.copy()  # the stream goes on only from what was really written
        body = deflate.compress(lines) + deflate.flush(zlib.Z_SYNC_FLUSH)
        head = struct.pack("<II", self.generation, len(body))
        crc = zlib.crc32(body, zlib.crc32(head, self._crc))
        data = head + struct.pack("<I", crc) + body + _end_mark(crc)
        if self._at + len(data) > TAIL_LIMIT:
            raise OSError(errno.EFBIG, "the tail is at its limit")
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], self._at + done)
        except OSError:
            with contextlib.suppress(OSError):  # a part may have got there; the end is here again
                os.pwrite(self._fd, _end_mark(self._crc), self._at)
            raise
        self._at += len(data) - len(_end_mark(crc))
        self._crc = crc
        self._chunks.append(body)
        self._deflate = deflate

    def sync(self) -> None:
        """Make everything written survive a power cut. Raises OSError; what was written is then uncertain."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def body(self, more: bytes = b"") -> bytes:
        """The generation so far, and `more` lines, as one finished raw deflate stream: the block that SQLite
        will keep.

        Where the frames are small, as those of a quiet station are, it is packed anew from the records only:
        that takes 0.6 of the bytes. Large frames are packed well already, and there it would cost.
        """
        if self._at < SMALL_FRAME * len(self._chunks):
            text = b"".join(map(zlib.decompressobj(-15).decompress, self._chunks)) + more
            lines = text.splitlines(keepends=True)
            return deflated(b"".join(line for line in lines if line.startswith(b"[")))
        deflate = self._deflate.copy()
        return b"".join(self._chunks) + deflate.compress(more) + deflate.flush(zlib.Z_FINISH)


def deflated(lines: bytes) -> bytes:
    """Lines as one raw deflate stream, as small as it gets."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    return deflate.compress(lines) + deflate.flush()


def read_tail(path: Path) -> Tail:
    """Read what a tail file holds; a torn end is cut off.

    Raises OSError when the file is there and cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Tail()
    generation, at, last_crc = 0, 0, 0
    chunks: list[bytes] = []
    text = bytearray()
    inflate = zlib.decompressobj(-15)
    while at + _HEADER.size <= len(data):
        own, length, crc = _HEADER.unpack_from(data, at)
        body = data[at + _HEADER.size : at + _HEADER.size + length]
        right = zlib.crc32(body, zlib.crc32(data[at : at + 8], last_crc)) == crc
        if own == 0 or own != (generation or own) or length > FRAME_LIMIT or len(body) < length or not right:
            break
        try:
            text += inflate.decompress(body)
        except zlib.error:
            break
        generation, last_crc = own, crc
        chunks.append(body)
        at += _HEADER.size + length
    broken = len(data) > 0 and data[at : at + 4] != _end_mark(last_crc)
    return Tail(generation, tuple(chunks), tuple(bytes(text).splitlines()), at, last_crc, broken)


def _end_mark(crc: int) -> bytes:
    return struct.pack("<I", zlib.crc32(b"end", crc))


def private(path: Path) -> None:
    """Make a file that only its owner reads, or take everybody else's rights from one that is there; the
    journal holds contacts and one-time codes. What SQLite lays beside it gets the same mode. Raises OSError
    when a new one cannot be made.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        only_its_owner(path)
    else:
        try:
            os.fchmod(fd, 0o600)  # whatever the umask took
        finally:
            os.close(fd)


def only_its_owner(path: Path) -> None:
    """Take everybody else's rights from a file, where that is ours to do."""
    with contextlib.suppress(OSError):
        found = path.stat().st_mode
        if stat.S_ISREG(found) and stat.S_IMODE(found) != 0o600:
            path.chmod(0o600)


def sync_name(path: Path) -> None:
    """Make a new file's name survive a power cut. Raises OSError."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
