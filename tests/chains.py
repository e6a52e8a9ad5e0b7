"""Journals with an evidence chain, made quickly, and what a forger does to them."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway import journal_block, journal_chain, journal_store
from gateway.journal import Journal
from gateway.journal_blocks import Reader
from gateway.journal_store import Block
from gateway.model import Body
from tests.journals import FixedClock, reading

FILES = ("journal.db", "journal.db-wal", "tail")


def made(
    folder: Path, blocks: int = 6, each: int = 20, *, tail: int = 0, clock: FixedClock | None = None
) -> None:
    """A journal of so many blocks, and some records in the tail."""
    clock = clock or FixedClock()

    async def job() -> None:
        journal = Journal(folder, clock, make_key=True)
        await journal.open()
        for number in range(blocks):
            for i in range(each):
                clock.now_ms += 1000
                journal.append([reading(clock, number + i / 100)])
            assert await journal._settle()
        for i in range(tail):
            clock.now_ms += 1000
            journal.append([reading(clock, 9 + i / 100)])
        if tail:
            await journal.sync()
            await journal._in_thread(journal._disk.close)
            journal._thread.shutdown()
        else:
            await journal.close()

    asyncio.run(job())


def appended(folder: Path, bodies: Sequence[Body], clock: FixedClock | None = None) -> None:
    """Open the journal, append, close."""

    async def job() -> None:
        journal = Journal(folder, clock or FixedClock(), make_key=True)
        await journal.open()
        journal.append(bodies)
        await journal.close()

    asyncio.run(job())


def copied(folder: Path, to: Path) -> Path:
    """A copy without the key."""
    to.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (folder / name).exists():
            shutil.copy(folder / name, to / name)
    return to


def blocks(folder: Path) -> list[Block]:
    with Reader(folder) as reader:
        return list(reader.blocks())


def write(folder: Path, block: Block, *, instead_of: int | None = None) -> None:
    """Put a row into the file, with the right checksum, as a forger would."""
    db = sqlite3.connect(folder / "journal.db")
    row = (*_fields(block), journal_block.block_crc(block))
    db.execute("DELETE FROM block WHERE first_seq = ?", (instead_of or block.first_seq,))
    sql = f"INSERT INTO block ({journal_store.COLUMNS}, crc) VALUES ({','.join('?' * 12)})"  # noqa: S608  our own words
    db.execute(sql, row)
    db.commit()
    db.close()


def run_sql(folder: Path, sql: str, *values: Any) -> None:
    db = sqlite3.connect(folder / "journal.db")
    db.execute(sql, values)
    db.commit()
    db.close()


def changed_body(block: Block, old: bytes, new: bytes) -> Block:
    """The block with something else in its records."""
    text = zlib.decompress(block.body, -15)
    assert old in text
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    return replace(block, body=deflate.compress(text.replace(old, new)) + deflate.flush())


def resigned(block: Block, seed: bytes, previous: bytes | None = None) -> Block:
    """The block signed with another key."""
    signer = journal_chain.Signer(seed)
    assert block.number is not None
    assert block.previous is not None
    return journal_chain.chained(block, block.number, previous or block.previous, signer)[0]


def flip(path: Path, at: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        [byte] = struct.unpack("B", file.read(1))
        file.seek(at)
        file.write(struct.pack("B", byte ^ (1 << bit)))


def _fields(block: Block) -> tuple[Any, ...]:
    from dataclasses import astuple

    return astuple(block)
