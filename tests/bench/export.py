"""A year of readings out of the journal: rows a second, and how much memory that takes.

20 channels of 10 sensors; blocks as the station makes them. By default a part of a year; the memory at the
end of it beside that after a tenth says whether a year would be flat. `YEAR=1` does the whole year.

    python -m tests.bench export
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

from gateway.journal import _line
from gateway.journal_chain import NOTHING, Signer, chained
from gateway.journal_store import Block, Memory, Store
from gateway.model import Reading, Record, Stamp, Value

START_MS = 1_763_892_000_000
YEAR_MINUTES = 525_600
BLOCK_MINUTES = 60

EXPORT = """
import resource, sys, time
from gateway.export_json import json_lines
from gateway.export_rows import Site, csv_text
from gateway.export_source import Span
from gateway.journal_blocks import Reader
from pathlib import Path
site, span = Site("kyia", "Kyia", "Asia/Bishkek"), Span(0, 1 << 60)
rows, early, began = 0, 0, time.process_time()
with Reader(Path(sys.argv[1])) as reader, open(sys.argv[2], "wb") as out:
    total = reader.count()[0]
    if sys.argv[3] == "csv":
        pieces = csv_text(reader, span, "readings", frozenset(), site)
    else:
        pieces = json_lines(reader, span, "readings", frozenset(), site, "plain")
    for i, (text, more) in enumerate(pieces):
        out.write(text.encode() if isinstance(text, str) else text)
        rows += more
        if not early and rows > 200_000:
            early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
took = time.process_time() - began
print(rows, took, early / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def journal(folder: Path, minutes: int) -> int:
    """A journal of so many minutes, 10 sensors with 2 channels, a reading a minute; gives its bytes."""
    noise, signer = random.Random(7), Signer(b"b" * 32)
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder / "journal.db")
    seq, previous, size = 1, NOTHING, 0
    for number, first in enumerate(range(0, minutes, BLOCK_MINUTES), 1):
        lines, begin = [], seq
        for minute in range(first, first + BLOCK_MINUTES):
            at = Stamp(START_MS + minute * 60_000, "boot0001", minute * 60_000, True)
            for sensor in range(10):
                values = {}
                for name, unit in (("turbidity", "NTU"), ("water_temperature", "degC")):
                    raw = round(20 + noise.gauss(0, 0.3), 3)
                    values[name] = Value(raw, raw, unit, 1)
                lines.append(_line.encode(Record(seq, Reading(f"turb{sensor}", "y511", "water", at, values))))
                seq += 1
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = deflate.compress(b"\n".join(lines) + b"\n") + deflate.flush()
        times = START_MS + first * 60_000, START_MS + (first + BLOCK_MINUTES - 1) * 60_000
        block = Block(begin, seq - 1, *times, len(lines), body, begin - 1)
        block, previous = chained(block, number, previous, signer)
        memory = Memory(generation=number, last_seq=seq - 1, closed=True, block=number, link=previous.hex())
        store.settle(block, memory)
        size += len(body)
    store.close()
    return size


def run() -> list[tuple[str, str, str]]:
    minutes = YEAR_MINUTES if os.environ.get("YEAR") else YEAR_MINUTES // 20
    figures = []
    with tempfile.TemporaryDirectory(prefix="suuaba-export-") as name:
        journal(Path(name), minutes)
        for kind in ("csv", "jsonl"):
            out = Path(name) / f"out.{kind}"
            command = [sys.executable, "-c", EXPORT, name, str(out), kind]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1800)
            rows, took_s, early, late = (float(word) for word in done.stdout.split())
            goal = "500000" if kind == "csv" else ""
            figures += [
                (f"export: rows a second of CPU, {kind}, {rows:.0f} rows", goal, f"{rows / took_s:.0f}"),
                (
                    f"export: MB after 200,000 rows and at the end, {kind}",
                    "flat",
                    f"{early:.1f}, {late:.1f}",
                ),
            ]
            out.unlink()
    return figures
