"""A year of readings out of the journal: rows a second, how much memory that takes, and whether it grows.

20 channels of 10 sensors, each read once a minute at a second of its own: 10.5 million rows of csv from 8760
blocks as a station makes them, by the verb itself. JSON lines and parquet, which take longer, have a month
of it. MINUTES=20000 makes the year shorter.

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

from gateway.journal_chain import NOTHING, Signer, chained
from gateway.journal_store import Block, Memory, Store

START_MS = 1_763_892_000_000
YEAR_MINUTES = 525_600
BLOCK_MINUTES = 60
MONTH = ("--from", "2025-11-24", "--to", "2025-12-23")
TOML = """
[station]
id = "kyia"
name = "Kanysh-Kyia"
timezone = "Asia/Bishkek"
data = "data"

[[sensor]]
id = "turb0"
port = "/dev/ttyUSB0"
model = "yosemitech-y511"
address = 1
every = "1 min"
"""
EXPORT = """
import resource, sys, time
from gateway import cli
from gateway import export_rows
early, rows, made = 0, 0, export_rows._quickly
def quickly(*given):
    global early, rows
    found = made(*given)
    rows += found[1]
    if not early and rows > 200_000:
        early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found
export_rows._quickly = quickly
began, cpu = time.perf_counter(), time.process_time()
code = cli.main(["export", *sys.argv[1:]])
took, cpu = time.perf_counter() - began, time.process_time() - cpu
print(code, took, cpu, early / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def journal(folder: Path, minutes: int) -> int:
    """A journal of so many minutes; gives its bytes. Lines are made as text, so a year takes some minutes."""
    noise, signer = random.Random(7), Signer(b"b" * 32)
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder / "journal.db")
    usual = [round(20 + noise.gauss(0, 0.3), 3) for _ in range(10_000)]
    seq, previous, size = 1, NOTHING, 0
    folds = {"calibration": '{"sensors":{}}'}
    for number, first in enumerate(range(0, minutes, BLOCK_MINUTES), 1):
        lines, begin = [], seq
        for minute in range(first, first + BLOCK_MINUTES):
            for sensor in range(10):
                ms = minute * 60_000 + sensor * 5_003
                a, b = usual[(seq * 7) % 10_000], usual[(seq * 13 + 5) % 10_000]
                at = f'[{START_MS + ms},"boot0001",{ms},true]'
                lines.append(
                    f'[{seq},{{"kind":"reading","sensor":"turb{sensor}","model":"y511","medium":"water",'
                    f'"at":{at},"values":{{"turbidity":[{a},{a},"NTU",1,""],'
                    f'"water_temperature":[{b},{b},"degC",1,""]}},"calibration":0}}]'
                )
                seq += 1
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = deflate.compress("\n".join(lines).encode() + b"\n") + deflate.flush()
        times = START_MS + first * 60_000, START_MS + (first + BLOCK_MINUTES) * 60_000 - 1
        block = Block(begin, seq - 1, *times, len(lines), body, begin - 1)
        block, previous = chained(block, number, previous, signer)
        memory = Memory(
            generation=number, last_seq=seq - 1, closed=True, block=number, link=previous.hex(), folds=folds
        )
        store.settle(block, memory)
        size += len(body)
    store.close()
    return size


def run() -> list[tuple[str, str, str]]:
    minutes = int(os.environ.get("MINUTES") or YEAR_MINUTES)
    figures = []
    with tempfile.TemporaryDirectory(prefix="suuaba-export-") as name:
        journal(Path(name) / "data", minutes)
        (Path(name) / "station.toml").write_text(TOML, encoding="utf-8")
        for kind in ("csv", "jsonl", "parquet"):
            out = Path(name) / f"out.{kind}"
            span = () if kind == "csv" else MONTH
            command = [sys.executable, "-c", EXPORT, f"{name}/station.toml", "--format", kind, *span]
            done = subprocess.run(
                [*command, "--output", str(out)], capture_output=True, text=True, check=True, timeout=3600
            )
            code, took_s, cpu_s, early, late = (float(word) for word in done.stdout.split()[-5:])
            if code:
                raise ValueError(done.stderr)
            rows = int(done.stderr.split()[-2])
            about = f"export: {rows / 1e6:.1f} million rows of {kind}"
            goal = "500000" if kind == "csv" else ""
            figures += [
                (f"{about}, a second of CPU", goal, f"{rows / cpu_s:.0f}"),
                (f"{about}, s", "", f"{took_s:.1f} ({cpu_s:.1f} CPU)"),
                (f"{about}, MB at most", "", f"{late:.1f}"),
            ]
            if kind == "csv":
                figures.append(
                    ("export: MB after 200,000 rows and at the end, csv", "flat", f"{early:.1f}, {late:.1f}")
                )
            out.unlink()
    return figures
