"""Checks an evidence pack by itself: the blocks by their chain, the tables by making them again from the
blocks.
"""

from __future__ import annotations

import itertools
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from gateway.errors import ConfigError
from gateway.evidence_pack import LAYOUT, TABLES, Packed, entries, tabled
from gateway.evidence_words import page
from gateway.export_rows import Site
from gateway.export_source import Span, corrections
from gateway.journal_chain import public_pem
from gateway.verify import Chain, Trusted, Verdict

MANIFEST_LIMIT = 100_000
BLOCKS_LIMIT = 2_000_000
LINE_LIMIT = 2000
BODY_LIMIT = 64 << 20
"""Bytes that a block may have, unpacked: the journal makes blocks of about 1 MB."""
_OTHERS = ("index.html", "manifest.json", "chain/blocks.jsonl", "chain/blocks.bin", "chain/station.pub")
_NO_PACK = (zipfile.BadZipFile, zipfile.LargeZipFile, KeyError, ValueError, TypeError, OSError, EOFError,
            NotImplementedError, RuntimeError, zlib.error)  # fmt: skip


def pack(path: Path, trusted: Trusted) -> Verdict:
    """Check a pack. Raises ConfigError where it cannot be opened at all."""
    if not path.is_file():
        raise ConfigError([f"{path}: there is no such file"])
    found = Verdict()
    try:
        with zipfile.ZipFile(path) as opened:
            found = _checked(opened, trusted)
    except _NO_PACK as e:
        found.wrong.append(f"is no whole evidence pack: {e}")
    return found


def _checked(opened: zipfile.ZipFile, trusted: Trusted) -> Verdict:
    names = opened.namelist()
    wanted = {*_OTHERS, *(f"data/{table}.csv" for table in TABLES)}
    if opened.getinfo("manifest.json").file_size > MANIFEST_LIMIT:
        raise ValueError("manifest.json is too long")
    text = opened.read("manifest.json")
    about = json.loads(text)
    if about["layout"] != LAYOUT:
        raise ValueError(f"its layout is {about['layout']}; this suuaba knows {LAYOUT}")
    with opened.open("chain/blocks.jsonl") as lines:
        listed = list(itertools.islice(entries(_lines(lines)), BLOCKS_LIMIT))
    source = Packed(listed, lambda: opened.open("chain/blocks.bin"))
    chain = Chain(trusted, None, part=True)
    end = 0
    for entry in listed:
        if entry.at != end or entry.length > BODY_LIMIT:
            raise ValueError("chain/blocks.bin does not fit to blocks.jsonl")
        end += entry.length
    for block in source.blocks():
        chain.take(block)
    chain.end(source.blocks)
    found = chain.verdict
    for name in sorted(wanted ^ set(names)):
        found.wrong.append(f"{name}: is {'missing' if name in wanted else 'no part of an evidence pack'}")
    if len(names) != len(set(names)):
        found.wrong.append("a file stands in it twice")
    if opened.getinfo("chain/blocks.bin").file_size != end:
        found.wrong.append("chain/blocks.bin: has more than the blocks")
    if found.wrong:
        return found
    for block in source.blocks():  # whoever signed it: nothing is unpacked that fills the memory
        unpacker = zlib.decompressobj(-15)
        unpacker.decompress(block.body, BODY_LIMIT)
        if unpacker.unconsumed_tail:
            raise ValueError("a block that is too long")
    span = Span(int(about["from_ms"]), int(about["to_ms"]))
    site = Site(about["station"], about["name"], about["timezone"], about["latitude"], about["longitude"])
    versions = corrections(source)
    for table in TABLES:
        with opened.open(f"data/{table}.csv") as given:
            line = _first_difference(
                given, (text.encode() for text, _ in tabled(source, span, table, site, versions))
            )
        if line:
            found.wrong.append(f"data/{table}.csv: line {line} is not what the signed blocks say")
    if opened.read("index.html").decode() != page(about):
        found.wrong.append("index.html: was changed")
    if opened.read("chain/station.pub") != b"".join(public_pem(key) for key in found.keys if key):
        found.wrong.append("chain/station.pub: is not the key that signed")
    if found.first is not None and found.last is not None:
        which = f"blocks {found.first.number} to {found.last.number}"
        found.notes.append(f"a stretch of the chain: {which}; the tables are what they say")
        found.notes.append(f"by its own words of {_claim(about, span)}; which station it is, the key says")
    return found


def _claim(about: Mapping[str, Any], span: Span) -> str:
    """Of which station and time a pack says that it is: a name is not signed, and a part may be left out."""
    ends = [
        _day(ms, otherwise) for ms, otherwise in ((span.from_ms, "its beginning"), (span.to_ms, "its end"))
    ]
    return f"station {str(about['station'])[:64]!a}, from {ends[0]} to {ends[1]}"


def _day(ms: int, otherwise: str) -> str:
    if not 0 < ms < 1 << 47:
        return otherwise
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _first_difference(given: IO[bytes], wanted: Iterator[bytes]) -> int:
    """The number of the first line that differs; 0: none does."""
    line = 1
    for piece in wanted:
        there = given.read(len(piece))
        if there != piece:
            pairs = enumerate(zip(there, piece, strict=False))
            same = next((i for i, (a, b) in pairs if a != b), min(len(there), len(piece)))
            return line + piece.count(b"\n", 0, same)
        line += piece.count(b"\n")
    return line if given.read(1) else 0


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(LINE_LIMIT):
        if not line.endswith(b"\n"):
            raise ValueError("chain/blocks.jsonl: a line that is too long")
        yield line
